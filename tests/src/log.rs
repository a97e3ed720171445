//! The node's system log: a listener at `/dev/log` that keeps every line, so that a test can read what was said.

use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Where it listens.
pub const SOCKET: &str = "/dev/log";
const MARK: &str = "porthole-tests: up to here";

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
