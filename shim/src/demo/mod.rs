//! `porthole demo`: a pod made with nothing but this build, shown, entered and gone again.
//!
//! Two processes: the *stage* makes the pod and shows it, the *supervisor* waits for the stage and takes away whatever
//! it left, however it ended. So Ctrl-C, a failed step and a crash all end in the same place.

mod error;
mod leftovers;
mod network;
mod pod;
mod preflight;
mod rootfs;
mod runtime;
mod scene;
mod screen;
mod server;
mod supervise;

use crate::exit::ExitCode;
use std::path::{Path, PathBuf};

use porthole_registry::config::Config;

pub use error::Error;
pub(crate) use server::guest;

use pod::Pod;

/// Show what porthole does on a pod of its own, made with nothing but this build, and take it away again.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DemoArgs {
    /// Leave the pod running
    #[arg(long, conflicts_with = "end")]
    pub keep: bool,
    /// End a pod that was left running
    #[arg(long)]
    pub end: bool,
    /// The hook to use [default: porthole-hook beside porthole, or in ../libexec/porthole]
    #[arg(long, value_name = "PATH")]
    pub hook: Option<PathBuf>,
    /// Be the process that makes and shows the pod
    #[arg(long, hide = true)]
    pub stage: bool,
}

/// Where the demo works: the real registry and the real pins.
#[derive(Clone, Debug)]
pub struct Places {
    /// `/run/porthole`.
    pub run_dir: PathBuf,
    /// `/run/netns`.
    pub netns_dir: PathBuf,
    /// The `--config` that porthole was called with; the hook and the commands shown get it too.
    pub config: Option<PathBuf>,
}

impl Places {
    /// Of a configuration and, where one was named, its file.
    pub fn new(config: &Config, file: Option<&Path>) -> Self {
        Self {
            run_dir: config.run_dir.clone(),
            netns_dir: config.netns_dir.clone(),
            config: file.map(absolute),
        }
    }

    /// Everything the demo keeps is below this directory; that it exists says that a demo runs or was left.
    fn demo_dir(&self) -> PathBuf {
        self.run_dir.join("demo")
    }

    fn records(&self) -> PathBuf {
        self.run_dir.join("containers")
    }
}

/// Hooks run in a directory of the runtime's choice, so a relative name would mean something else to them.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Runs the demo, or ends one that was kept.
pub(crate) fn run(args: &DemoArgs, places: &Places) -> Result<ExitCode, Error> {
    preflight::privileges()?;
    if args.end {
        return leftovers::end_kept(places);
    }
    let hook = preflight::hook(args.hook.as_deref())?;
    preflight::machine()?;
    if args.stage {
        supervise::begin_stage()?;
        return scene::play(places, &hook, args.keep);
    }
    supervise::supervise(places, &hook, args.keep)
}
