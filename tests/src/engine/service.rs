//! A daemon of a node: started, stopped and restarted by a script at `/etc/init.d`, as on a system without systemd.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::wait_until;
use crate::tools::run;

/// A daemon with its script.
#[derive(Debug)]
pub struct Service {
    name: String,
    script: String,
}

impl Service {
    /// Writes the script of `name`, which starts `command`.
    #[must_use]
    pub fn new(name: &str, command: &str) -> Self {
        Self::at(format!("/etc/init.d/{name}"), name, command, ["/usr/sbin:/usr/bin:/sbin:/bin", ":"])
    }

    /// As [`Service::new`], where no service manager knows of it, and with `bin` first in its `PATH`. The shell runs `before`
    /// before each start.
    #[must_use]
    pub fn hidden(name: &str, command: &str, bin: &str, before: &str) -> Self {
        let path = format!("{bin}:/usr/sbin:/usr/bin:/sbin:/bin");
        Self::at(format!("/mnt/{name}.service"), name, command, [&path, before])
    }

    fn at(script: String, name: &str, command: &str, [path, before]: [&str; 2]) -> Self {
        let service = Self { name: name.to_owned(), script };
        let (program, arguments) = command.split_once(' ').unwrap_or((command, ""));
        let script = format!(
            r#"#!/bin/sh
### BEGIN INIT INFO
# Provides:          {name}
# Required-Start:    $remote_fs
# Required-Stop:     $remote_fs
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: {name}
### END INIT INFO
set -e
PATH={path}
start() {{
    {before}
    env -i "PATH=$PATH" start-stop-daemon --start --quiet --background --make-pidfile --pidfile {pid} \
        --output {log} --startas {program} -- {arguments}
}}
stop() {{
    start-stop-daemon --stop --quiet --oknodo --retry TERM/15/KILL/5 --remove-pidfile --pidfile {pid}
}}
case ${{1:-}} in
    start) start ;;
    stop) stop ;;
    restart | force-reload) stop; start ;;
    reload) start-stop-daemon --stop --quiet --signal HUP --pidfile {pid} ;;
    status) start-stop-daemon --status --pidfile {pid} ;;
    *) echo "usage: $0 start|stop|restart|reload|status" >&2; exit 2 ;;
esac
"#,
            pid = service.pid_file(),
            log = service.log_file(),
        );
        super::write(&service.script(), &script);
        fs::set_permissions(service.script(), Permissions::from_mode(0o755)).expect("set the script's mode");
        service
    }

    /// The script.
    #[must_use]
    pub fn script(&self) -> String {
        self.script.clone()
    }

    /// Not `NAME.pid`: Docker has its own there.
    fn pid_file(&self) -> String {
        format!("/run/{}-ssd.pid", self.name)
    }

    fn log_file(&self) -> String {
        format!("/mnt/{}.log", self.name)
    }

    /// Pid of the daemon, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
    }

    /// All that the daemon has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    /// Calls the script with `action`.
    #[track_caller]
    pub fn call(&self, action: &str) {
        let mut command = Command::new(self.script());
        command.arg(action).stdin(Stdio::null());
        let outcome = run(command);
        assert!(outcome.status.success(), "{outcome:?}\n{}", self.last_words());
    }

    /// Waits until `check` is true of the daemon.
    ///
    /// # Panics
    /// When it ends, or after ten seconds.
    #[track_caller]
    pub fn wait_for(&self, what: &str, mut check: impl FnMut() -> bool) {
        wait_until("the daemon's pid", || self.pid().is_some());
        wait_until(what, || {
            assert!(self.pid().is_some(), "{} has ended:\n{}", self.name, self.last_words());
            check()
        });
    }

    /// The last lines of the log.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}
