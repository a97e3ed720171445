//! The terminal of the caller, and that of the command.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use porthole_tests::process::wait_until;
use porthole_tests::{Node, on_a_node};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OutputModes, Winsize, tcgetattr, tcsetwinsize};

use crate::setting::{children, command, exec, send, web_0};

/// A terminal with porthole in it, as a person would have.
pub struct Terminal {
    master: OwnedFd,
    pub slave: File,
    shown: Arc<Mutex<String>>,
    setsid: Child,
}

impl Terminal {
    pub fn start(words: &[&str]) -> Self {
        Self::start_as(&[], words)
    }

    /// The same with more variables in porthole's environment.
    pub fn start_as(variables: &[(&str, &str)], words: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        tcsetwinsize(&slave, size(24, 80)).unwrap();
        let mut command = command(&["setsid", "--wait", "--ctty"], words, Path::new("/"));
        let end = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "dumb").envs(variables.iter().copied());
        let setsid = command.spawn().unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut reader, text) = (File::from(master.try_clone().unwrap()), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                text.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Self { master, slave, shown, setsid }
    }

    pub fn types(&self, keys: &str) {
        File::from(self.master.try_clone().unwrap()).write_all(keys.as_bytes()).unwrap();
    }

    pub fn expect(&self, text: &str) {
        wait_until(text, || self.shown.lock().unwrap().contains(text));
    }

    pub fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    /// Modes, as numbers.
    fn modes(&self) -> (u32, u32, u32, u32) {
        let modes = tcgetattr(self.slave.as_fd()).unwrap();
        let output = modes.output_modes & !OutputModes::empty();
        (modes.input_modes.bits(), output.bits(), modes.control_modes.bits(), modes.local_modes.bits())
    }

    /// Pid of porthole: setsid is its parent, or has become it.
    fn porthole(&self) -> u32 {
        let is_porthole =
            |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("porthole"));
        let mut found = 0;
        wait_until("porthole", || {
            let candidates = std::iter::once(self.setsid.id()).chain(children(self.setsid.id()));
            candidates.into_iter().find(|&pid| is_porthole(pid)).inspect(|&pid| found = pid).is_some()
        });
        found
    }

    pub fn end(&mut self) -> Option<i32> {
        self.setsid.wait().unwrap().code()
    }
}

pub const fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn a_terminal_is_restored_on_every_exit(node: &Node) {
    let container = web_0(node);
    for (words, keys, signal, status) in [
        (&["web-0", "--", "sh", "-c", "echo here; exit 7"][..], "", None, 7),
        (&["web-0", "--", "sh", "-c", "echo here; kill -KILL $$"], "", None, 137),
        (&["web-0", "--", "sh", "-c", "echo here; exec cat"], "\x04", None, 0),
        (&["web-0", "--", "sh", "-c", "echo here; exec cat"], "\x03", None, 130),
        (&["web-0", "--", "sh", "-c", "echo here; exec cat"], "", Some("TERM"), 143),
        (&["web-0", "--", "sh", "-c", "echo here; exec cat"], "", Some("HUP"), 129),
        (&["web-0", "--", "no-such-command-here"], "", None, 127),
        (&["-p", "web-0", "--", "sh", "-c", "stty raw -echo; echo here; exit 3"], "", None, 3),
    ] {
        let mut terminal = Terminal::start(&[]);
        terminal.end();
        let before = terminal.modes();
        let mut terminal = Terminal::start(words);
        terminal.expect("here");
        if signal.is_some() || !keys.is_empty() {
            wait_until("raw mode", || terminal.is_raw());
        }
        terminal.types(keys);
        if let Some(signal) = signal {
            send(terminal.porthole(), signal);
        }
        assert_eq!(terminal.end(), Some(status), "{words:?} {keys:?} {signal:?}");
        assert_eq!(terminal.modes(), before, "{words:?} {keys:?} {signal:?}");
    }
    container.delete();
}

fn the_command_has_a_terminal_of_its_own(node: &Node) {
    let container = web_0(node);
    let mut terminal =
        Terminal::start(&["web-0", "--", "sh", "-c", "tty; stat -L -c 'on %d.' /dev/stdin; echo /dev/pts/*"]);
    assert_eq!(terminal.end(), Some(0));
    terminal.expect("/dev/pts/0");
    terminal.expect("/dev/pts/0 /dev/pts/ptmx");
    let callers = rustix::fs::fstat(&terminal.slave).unwrap().st_dev;
    let shown = terminal.shown.lock().unwrap().clone();
    assert!(!shown.contains(&format!("on {callers}.")), "it is on the caller's devpts: {shown}");
    container.delete();
}

fn window_size_follows(node: &Node) {
    let container = web_0(node);
    let script = "stty size; read x; stty size";
    let mut terminal = Terminal::start(&["web-0", "--", "sh", "-c", script]);
    terminal.expect("24 80");
    wait_until("raw mode", || terminal.is_raw());
    tcsetwinsize(&terminal.slave, size(50, 132)).unwrap();
    // The signal of the change, then the key: porthole sees them in this order or the other.
    std::thread::sleep(std::time::Duration::from_millis(200));
    terminal.types("\r");
    assert_eq!(terminal.end(), Some(0));
    terminal.expect("50 132");
    container.delete();
}

fn a_command_is_suspended_by_the_key_and_goes_on(node: &Node) {
    let container = web_0(node);
    let mut terminal = Terminal::start(&["web-0", "--", "sh", "-c", "echo here; exec cat"]);
    terminal.expect("here");
    wait_until("raw mode", || terminal.is_raw());
    let porthole = terminal.porthole();
    let state = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('-')
    };
    terminal.types("\x1a");
    wait_until("porthole to stop", || state(porthole) == 'T');
    let command = children(porthole)[0];
    wait_until("the command to stop with it", || state(command) == 'T');
    assert!(!terminal.is_raw(), "the terminal is the shell's again");
    send(porthole, "CONT");
    wait_until("raw mode again", || terminal.is_raw());
    wait_until("the command to go on", || state(command) == 'S');
    terminal.types("hello\r");
    terminal.expect("hello\r\nhello\r\n");
    terminal.types("\x04");
    assert_eq!(terminal.end(), Some(0));
    container.delete();
}

fn a_shell_keeps_its_own_job_control(node: &Node) {
    let container = web_0(node);
    let mut terminal = Terminal::start(&["web-0", "--", "bash", "--norc", "-i"]);
    wait_until("raw mode", || terminal.is_raw());
    terminal.types("sleep 1000\r");
    wait_until("the job", || {
        let shell = children(terminal.porthole());
        shell.first().is_some_and(|&shell| !children(shell).is_empty())
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.types("\x1a");
    terminal.expect("Stopped");
    terminal.types("kill -9 %1; wait; echo back $((20 + 22))\r");
    terminal.expect("back 42");
    // Twice, as bash asks once more while a job is left.
    terminal.types("exit 5\rexit 5\r");
    assert_eq!(terminal.end(), Some(5));
    container.delete();
}

fn a_pipe_passes_bytes_unchanged(node: &Node) {
    let container = web_0(node);
    let bytes: Vec<u8> = (0..=255_u8).cycle().take(1 << 20).chain(*b"\r\n\n\r\x03\x04\x1a").collect();
    let input = node.scratch().join("bytes");
    fs::write(&input, &bytes).unwrap();
    let copy = node.scratch().join("copy");
    for option in ["-n", "-p"] {
        let mut cat = command(&[], &[option, "web-0", "--", "cat"], Path::new("/"));
        cat.stdin(Stdio::piped()).stdout(File::create(&copy).unwrap());
        let mut cat = cat.spawn().unwrap();
        cat.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(cat.wait().unwrap().success());
        assert!(fs::read(&copy).unwrap() == bytes, "{option}");
    }
    let outcome = exec(&["web-0", "--", "sh", "-c", "echo out; echo err >&2; tty"]);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\nnot a tty\n", "err\n"));
    container.delete();
}

fn a_command_does_not_use_up_the_hosts_terminals(node: &Node) {
    let container = web_0(node);
    // Each shell keeps one.
    let script =
        "for i in $(seq 200); do (exec 2>/dev/null 3<>/dev/ptmx && echo open && sleep 2) & done; wait";
    for options in [&[][..], &["-p"], &["--uid", "0"], &["--profile", "restricted"]] {
        let outcome = exec(&[options, &["web-0", "--", "sh", "-c", script]].concat());
        assert_eq!(outcome.stdout.lines().count(), 64, "{options:?}: {}", outcome.stderr);
    }
    container.delete();
}

on_a_node!(requires(root, ip, runc, setsid):
    a_terminal_is_restored_on_every_exit,
    the_command_has_a_terminal_of_its_own,
    window_size_follows,
    a_command_is_suspended_by_the_key_and_goes_on,
    a_shell_keeps_its_own_job_control,
    a_pipe_passes_bytes_unchanged,
    a_command_does_not_use_up_the_hosts_terminals,
);
