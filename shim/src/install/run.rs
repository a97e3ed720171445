//! Running the node's own programs: an engine's for its version and its effective configuration, the service manager's.

use super::tree::Tree;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// The time that a program has to answer a question that changes nothing.
const ANSWER: Duration = Duration::from_secs(8);
/// More than this is no answer.
const LARGEST: u64 = 16 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The program could not be run at all: made for another machine, or without what it needs.
    Start(String),
    /// It ran, and failed.
    Run(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(cause) | Self::Run(cause) => f.write_str(cause),
        }
    }
}

/// Runs a program of a tree as [`output`] does, with the tree as its root, so that it finds its own libraries and files.
pub(crate) fn in_tree(tree: &Tree, program: &Path, args: &[&str]) -> Result<String, Failure> {
    if tree.is_live() {
        return output_within(program, args, ANSWER).map_err(|e| match e.raw_os_error() {
            Some(_) => Failure::Start(e.to_string()),
            // A program that gives no answer is not the engine's, or hangs. Its configuration may still be good.
            None if e.kind() == io::ErrorKind::TimedOut => Failure::Start(e.to_string()),
            None => Failure::Run(e.to_string()),
        });
    }
    let (root, program) = (tree.root().display().to_string(), program.display().to_string());
    let args: Vec<_> = [root.as_str(), &program].into_iter().chain(args.iter().copied()).collect();
    let chroot =
        ["/usr/sbin/chroot", "/usr/bin/chroot"].map(Path::new).into_iter().find(|path| path.exists());
    let Some(chroot) = chroot else { return Err(Failure::Start("there is no chroot(8)".to_owned())) };
    output(chroot, &args).map_err(|e| {
        let cause = e.to_string();
        // Its own statuses, and those of a program that it cannot run.
        let own = ["exit status: 125:", "exit status: 126:", "exit status: 127:"];
        if own.iter().any(|status| cause.starts_with(status)) {
            Failure::Start(cause)
        } else {
            Failure::Run(cause)
        }
    })
}

/// Runs a program without input and with an environment of its own, and returns what it prints to standard output.
///
/// # Errors
/// When it cannot be started, takes too long, or fails; then with the last line of what it said.
pub(crate) fn output(program: &Path, args: &[&str]) -> io::Result<String> {
    output_within(program, args, PATIENCE)
}

/// As [`output`], for what takes longer.
pub(crate) fn output_within(program: &Path, args: &[&str], patience: Duration) -> io::Result<String> {
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    // A process group of its own, so that its children end with it.
    command.process_group(0);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // Drained beside, so that neither pipe can fill up while the other is read.
    let errors = child.stderr.take().map(|mut stderr| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.by_ref().take(LARGEST).read_to_end(&mut text);
            text
        })
    });
    let answer = child.stdout.take().map_or_else(|| Ok(Vec::new()), |stdout| read(stdout, patience));
    if answer.is_err() {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        // It has not been waited for, so the number is still its own.
        let _ = pid.map(|pid| kill_process_group(pid, Signal::KILL));
        let _ = child.kill();
    }
    let status = child.wait()?;
    let errors = errors.and_then(|thread| thread.join().ok()).unwrap_or_default();
    let answer = answer?;
    if !status.success() {
        let text = String::from_utf8_lossy(&errors);
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        return Err(io::Error::other(format!(
            "{status}: {}",
            porthole_registry::text::clean(last).unwrap_or_default()
        )));
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn read(mut from: std::process::ChildStdout, patience: Duration) -> io::Result<Vec<u8>> {
    let until = Instant::now() + patience;
    let mut answer = Vec::new();
    let mut buffer = [0; 64 << 10];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        if poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&timeout))? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {} s", patience.as_secs()),
            ));
        }
        match from.read(&mut buffer)? {
            0 => return Ok(answer),
            length => answer.extend_from_slice(&buffer[..length]),
        }
        if answer.len() as u64 > LARGEST {
            return Err(io::Error::other("too long an answer"));
        }
    }
}
