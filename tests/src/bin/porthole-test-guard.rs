//! `porthole-test-guard COMMAND [ARGUMENT...]`: runs a command, such as all tests, that cannot write to the machine, and
//! lists what it has left in the few places that it can write to. Ends with the command's status, or with 1 where something
//! is left.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::Duration;
use std::{env, fs};

use porthole_tests::machine;

/// Set where the mount namespace is the command's own.
const INSIDE: &str = "PORTHOLE_TEST_GUARD";

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    let Some((program, args)) = words.split_first() else {
        eprintln!("usage: porthole-test-guard COMMAND [ARGUMENT...]");
        return ExitCode::from(2);
    };
    if env::var_os(INSIDE).is_some() {
        machine::make_read_only();
        let error = Command::new(program).args(args).env_remove(INSIDE).exec();
        eprintln!("porthole-test-guard: start {}: {error}", program.display());
        return ExitCode::from(127);
    }
    let before = machine::names();
    let this = fs::read_link("/proc/self/exe").expect("path of this program");
    let mut unshare = Command::new("unshare");
    let status = unshare.arg("--mount").arg(this).args(&words).env(INSIDE, "1").status();
    let status = match status {
        Ok(status) => status,
        Err(error) => {
            eprintln!("porthole-test-guard: start unshare: {error}");
            return ExitCode::from(127);
        }
    };
    let left = left(&before);
    for path in &left {
        eprintln!("porthole-test-guard: left on the machine: {}", path.display());
    }
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(0) if !left.is_empty() => ExitCode::FAILURE,
        Some(code) => ExitCode::from(code),
        None => ExitCode::FAILURE,
    }
}

/// New names that stay: a process that was killed takes a moment to be gone.
fn left(before: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let look = || machine::names().difference(before).cloned().collect::<BTreeSet<_>>();
    let mut left = look();
    for _ in 0..20 {
        if left.is_empty() {
            break;
        }
        sleep(Duration::from_millis(100));
        left = left.intersection(&look()).cloned().collect();
    }
    left
}
