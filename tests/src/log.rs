//! The node's system log: a listener at `/dev/log` that keeps every line, so that a test can read what was said.

use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Where it listens.
pub const SOCKET: &str = "/dev/log";
const MARK: &str = "porthole-tests: up to here";

/// A listener that reads nothing, with so much before it that each sender has to wait.
#[derive(Debug)]
pub struct StandsStill {
    _receiver: UnixDatagram,
    _senders: Vec<UnixDatagram>,
}

impl StandsStill {
    /// Listens at a path until it is dropped.
    #[must_use]
    pub fn at(path: &str) -> Self {
        let receiver = UnixDatagram::bind(path).expect("listen");
        // Each sender may have so much on its way; when a new one has to wait, it is the receiver that is full.
        let mut senders = Vec::new();
        loop {
            let sender = UnixDatagram::unbound().expect("make a socket");
            sender.set_nonblocking(true).expect("set it");
            if sender.send_to(b"x", path).is_err() {
                return Self { _receiver: receiver, _senders: senders };
            }
            while sender.send_to(b"x", path).is_ok() {}
            senders.push(sender);
        }
    }
}

/// A running listener.
#[derive(Debug)]
pub struct SystemLog {
    lines: Arc<Mutex<Vec<String>>>,
}

impl SystemLog {
    /// Listens at `/dev/log` until the process ends.
    #[must_use]
    pub fn listen() -> Self {
        let socket = UnixDatagram::bind(SOCKET).expect("listen at /dev/log");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        thread::spawn(move || {
            let mut buffer = vec![0_u8; 256 << 10];
            while let Ok(n) = socket.recv(&mut buffer) {
                let line = String::from_utf8_lossy(&buffer[..n]).into_owned();
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { lines }
    }

    /// Takes the lines that came since the last call, without what other programs said.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        let sender = UnixDatagram::unbound().expect("make a socket");
        sender.send_to(MARK.as_bytes(), SOCKET).expect("write to /dev/log");
        // Datagrams keep their order: when the mark is there, everything sent before it is.
        loop {
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = lines.iter().position(|line| line == MARK) {
                let mut taken: Vec<_> = lines.drain(..=at).collect();
                taken.pop();
                taken.retain(|line| line.contains("porthole"));
                return taken;
            }
            drop(lines);
            thread::sleep(std::time::Duration::from_micros(200));
        }
    }
}
