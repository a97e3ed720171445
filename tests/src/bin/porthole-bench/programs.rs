//! The programs that are measured: porthole's own as they are installed, those of the system, and small ones in C.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use tempfile::TempDir;

use porthole_tests::tools::{bin_dir, binary};

/// Compiled with optimization, linked statically, as the hook is.
const IN_C: [&str; 4] = ["noop", "probe", "peak", "pods"];

/// Where each program is.
pub struct Programs {
    /// The hook.
    pub hook: PathBuf,
    /// The command line.
    pub porthole: PathBuf,
    /// Reads standard input, no more.
    pub noop: PathBuf,
    /// Makes the hook's system calls.
    pub probe: PathBuf,
    /// Tells how much memory a program takes.
    pub peak: PathBuf,
    /// Processes with network namespaces.
    pub pods: PathBuf,
    /// `nsenter`
    pub nsenter: PathBuf,
    /// `ip`
    pub ip: PathBuf,
    /// `lsns`
    pub lsns: PathBuf,
}

impl Programs {
    /// Brings together what cargo built, and compiles the rest, in a directory that goes with its guard.
    ///
    /// # Panics
    /// When something was not built, or does not compile.
    pub fn build() -> TempDir {
        let dir = tempfile::tempdir().expect("make a directory");
        let exe = env::current_exe().expect("path of this program");
        let built = exe.ancestors().nth(2).expect("a program in target/…/release").to_owned();
        for (profile, name) in [("hook", "porthole-hook"), ("release", "porthole")] {
            let from = built.join(profile).join(name);
            std::os::unix::fs::symlink(&from, dir.path().join(name)).expect("link a program");
            assert!(from.is_file(), "{} is not built: use `make bench`", from.display());
        }
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench");
        for name in IN_C {
            let mut gcc = Command::new("gcc");
            gcc.args(["-O2", "-Wall", "-Wextra", "-static", "-o"]).arg(dir.path().join(name));
            let status = gcc.arg(sources.join(name).with_extension("c")).status().expect("start gcc");
            assert!(status.success(), "gcc {name}.c: {status}");
        }
        dir
    }

    /// Finds what [`Programs::build`] made.
    pub fn find() -> Self {
        let in_c = |name| bin_dir().join(name);
        Self {
            hook: fs::canonicalize(binary("porthole-hook")).expect("path of the hook"),
            porthole: fs::canonicalize(binary("porthole")).expect("path of porthole"),
            noop: in_c("noop"),
            probe: in_c("probe"),
            peak: in_c("peak"),
            pods: in_c("pods"),
            nsenter: of_system("nsenter"),
            ip: of_system("ip"),
            lsns: of_system("lsns"),
        }
    }

    /// The hook at a stage, as a runtime calls it: without an environment.
    pub fn hook(&self, stage: &str) -> Command {
        let mut command = Command::new(&self.hook);
        command.arg(stage).env_clear();
        command
    }

    /// A program without arguments and environment.
    pub fn bare(path: &Path) -> Command {
        let mut command = Command::new(path);
        command.env_clear();
        command
    }
}

/// By its whole path, so that no search is measured.
fn of_system(name: &str) -> PathBuf {
    let dirs = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let found = dirs.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("`{name}` is not installed"))
}

/// Opened anew, as a state has to be read from its beginning.
pub fn stdin(path: &Path) -> Option<File> {
    Some(File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}
