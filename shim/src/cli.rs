//! The words of the command line. Help, man page and completions are made from this.

use crate::demo::DemoArgs;
use crate::doctor::DoctorArgs;
use crate::exec::ExecArgs;
use crate::install::{InstallArgs, UninstallArgs};
use crate::list::ListArgs;
use crate::output::Format;
use crate::policy::PolicyArgs;
use crate::reconcile::ReconcileArgs;
use crate::sys;
use clap::{Parser, Subcommand};
use std::ffi::OsStr;
use std::path::PathBuf;

/// Pods and containers by name: their network namespaces, their processes, and a confined way in
///
/// TARGET is a pod (web-0, shop/web-0), a container (shop/web-0/nginx, its name, its id or the first four or more
/// characters of that), pid:4242, ip:10.88.0.7, netns:NAME or a path below /run/netns. A target that can mean several
/// things is an error that lists them.
#[derive(Debug, Parser)]
#[command(name = "porthole", version, max_term_width = 100, after_help = EXIT_STATUS)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// How results are printed
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
    /// Another configuration than /etc/porthole/config.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// The same command line with nothing but `exec`, which is measured by how fast it starts: building the description of
/// all commands takes longer than reading one.
#[derive(Debug, Parser)]
#[command(name = "porthole")]
struct OnlyExec {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: OnlyExecCommand,
}

#[derive(Debug, Subcommand)]
enum OnlyExecCommand {
    Exec {
        #[arg(value_name = "TARGET")]
        target: String,
        #[command(flatten)]
        args: Box<ExecArgs>,
    },
}

impl Cli {
    /// Reads the command line of this process.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        // What is wrong, and what is asked about, the whole description answers.
        if Given::scan(sys::arguments().iter().skip(1)).exec
            && let Ok(OnlyExec { global, command: OnlyExecCommand::Exec { target, args } }) =
                OnlyExec::try_parse_from(sys::arguments())
        {
            return Ok(Self { global, command: Command::Exec { target, args } });
        }
        Self::try_parse_from(sys::arguments())
    }
}

/// Shown below the help, and in the man page.
const EXIT_STATUS: &str = "\
Exit status: 0 done; 1 failed, or something was found; 2 usage; 3 no such target; 4 ambiguous target;
5 the policy does not allow it.
exec ends as its command does (128+N on signal N), with 126 if that cannot be executed, 127 if it is not found, and
125 for everything that is porthole's own.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the pods and containers of this node
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Tell which pod a pid, inode, IP, MAC, host interface, cgroup or netns belongs to
    Identify {
        /// What was seen on the node
        #[arg(value_name = "THING")]
        thing: String,
    },
    /// Show everything about one pod or container
    Inspect {
        /// Which
        #[arg(value_name = "TARGET")]
        target: String,
    },
    /// Run a program of the host in the namespaces of a target, confined
    Exec {
        /// Which
        #[arg(value_name = "TARGET")]
        target: String,
        #[command(flatten)]
        args: Box<ExecArgs>,
    },
    /// Show and try the rules that say who may enter what
    Policy(PolicyArgs),
    /// List the profiles of exec: what a command may do and use
    Profiles,
    /// Make the container engines of this node call the hook
    Install(InstallArgs),
    /// Take back what install has changed
    Uninstall(UninstallArgs),
    /// Check everything on this node that porthole needs, and say what to do
    Doctor(DoctorArgs),
    /// Bring registry and kernel to agreement, register what runs already, and print what was done
    Reconcile(ReconcileArgs),
    /// Show what porthole does, on a pod that is made for it
    Demo(DemoArgs),
    /// Print completions for a shell
    Completions {
        /// Which
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory
    #[command(hide = true, name = "__man")]
    Man {
        /// Which
        directory: PathBuf,
    },
}

/// What can be told of a command line that clap refused.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    /// The command is `exec`.
    pub(crate) exec: bool,
    /// `-o json`
    pub(crate) json: bool,
}

impl Given {
    /// Looks at the words up to the command of the user, which has its own.
    pub(crate) fn scan(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut given = Self::default();
        let mut command = None;
        let mut words = words.into_iter().filter_map(|word| word.as_ref().to_str().map(str::to_owned));
        while let Some(word) = words.next() {
            let format = match word.as_str() {
                "--" => break,
                "-o" | "--output" => words.next(),
                "--config" => {
                    words.next();
                    None
                }
                word if word.starts_with("--") => word.strip_prefix("--output=").map(str::to_owned),
                word if word.starts_with('-') => {
                    word.strip_prefix("-o").map(|format| format.trim_start_matches('=').to_owned())
                }
                word => {
                    command.get_or_insert_with(|| word.to_owned());
                    None
                }
            };
            given.json |= format.as_deref() == Some("json");
        }
        given.exec = command.as_deref() == Some("exec");
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_command_line_still_tells_whether_it_was_exec_and_json() {
        let scan = |words: &str| {
            let Given { exec, json } = Given::scan(words.split(' '));
            (exec, json)
        };
        assert_eq!(scan("exec"), (true, false));
        assert_eq!(scan("-o json exec --nope"), (true, true));
        assert_eq!(scan("-ojson exec --nope"), (true, true));
        assert_eq!(scan("--config exec list"), (false, false));
        assert_eq!(scan("--config=/x exec --output=json T"), (true, true));
        assert_eq!(scan("list --nope"), (false, false));
        assert_eq!(scan("exec T -- -o json"), (true, false));
        assert_eq!(scan("-- exec"), (false, false));
    }
}
