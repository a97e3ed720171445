//! A process with the name, command line, environment and mounts of an engine's, which does nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::process::wait_until;

/// Its command line, environment and mounts.
#[derive(Debug, Default)]
pub struct Fake<'a> {
    /// Its command line, without the program.
    pub words: &'a [&'a str],
    /// Its environment.
    pub environment: &'a [(&'a str, &'a str)],
    /// Its working directory; `/` if none is named.
    pub directory: Option<&'a Path>,
    /// A command that starts it, such as `unshare --mount`.
    pub through: &'a [&'a str],
    /// A command that becomes its child and sleeps, such as `unshare --mount`.
    pub child: &'a [&'a str],
    /// The answer of its program to `--version`.
    pub version: &'a str,
}

/// A process that runs until this is dropped.
#[derive(Debug)]
pub struct Running {
    process: Child,
    /// It, and its child, end with this.
    input: Option<ChildStdin>,
    child: Option<u32>,
}

impl Fake<'_> {
    /// Writes the program and starts it.
    #[must_use]
    pub fn start(&self, program: &str) -> Running {
        let path = PathBuf::from(program);
        fs::create_dir_all(path.parent().expect("a directory")).expect("make a directory");
        let version = format!("[ \"$1\" = --version ] && {{ echo '{}'; exit; }}\n", self.version);
        let child = match self.child {
            [] => String::new(),
            // A shell gives a background process no stdin.
            command => format!("exec 3<&0\n{} /bin/busybox sh -c 'read -r line <&3' &\n", command.join(" ")),
        };
        fs::write(&path, format!("#!/bin/sh\n{version}{child}read -r line\n")).expect("write a program");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("set a program's mode");
        let line = [self.through, &[program], self.words].concat();
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(self.environment.iter().copied()).current_dir(self.directory.unwrap_or(Path::new("/")));
        let mut process = command.stdin(Stdio::piped()).spawn().expect("start a process");
        let pid = process.id();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let comm = format!("/proc/{pid}/comm");
        wait_until("a process of that name", || {
            fs::read_to_string(&comm).is_ok_and(|comm| name.starts_with(comm.trim_end()))
        });
        let mut running = Running { input: process.stdin.take(), process, child: None };
        if !self.child.is_empty() {
            let children = format!("/proc/{pid}/task/{pid}/children");
            let first = || fs::read_to_string(&children).ok()?.split_whitespace().next()?.parse::<u32>().ok();
            wait_until("its child in its namespaces", || {
                let comm = first().and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
                comm.is_some_and(|comm| comm.trim_end() == "busybox" || comm.trim_end() == "sh")
            });
            // Before the shell becomes the command, it has the program's name.
            running.child = first();
        }
        running
    }
}

impl Running {
    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Pid of its child.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn child(&self) -> u32 {
        self.child.expect("it was started with a child")
    }

    /// Ends it now.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.input.take());
        // Both fail only when it is gone already.
        drop(self.process.kill());
        drop(self.process.wait());
        let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}")).exists();
        while self.child.as_ref().is_some_and(|pid| !gone(pid)) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}
