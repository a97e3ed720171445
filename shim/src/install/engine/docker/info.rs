//! What a daemon says of itself over its socket: `GET /info`.

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer has some kilobytes.
const LARGEST: usize = 4 << 20;

/// What it has read from its configuration.
#[derive(Debug, Deserialize)]
pub(super) struct Info {
    #[serde(rename = "DefaultRuntime")]
    pub(super) default_runtime: String,
    #[serde(rename = "Runtimes")]
    pub(super) runtimes: BTreeMap<String, Runtime>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Runtime {
    #[serde(default)]
    pub(super) path: PathBuf,
}

/// Asks the daemon.
pub(super) fn ask(address: &Path) -> io::Result<Info> {
    let answer = get(address, "/info")?;
    serde_json::from_slice(&answer)
        .map_err(|e| io::Error::other(format!("an answer that is not Docker's: {e}")))
}

/// The body of the answer to one request. With HTTP/1.0 it comes in one piece and ends with the connection.
fn get(address: &Path, path: &str) -> io::Result<Vec<u8>> {
    let until = Instant::now() + PATIENCE;
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // The socket's own, as a daemon whose backlog is full blocks connect(2) too.
    set_socket_timeout(&fd, Timeout::Send, Some(PATIENCE))?;
    connect(&fd, &SocketAddrUnix::new(address)?)?;
    let mut stream = UnixStream::from(fd);
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => return body(&answer),
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        if answer.len() > LARGEST {
            return Err(io::Error::other("too long an answer"));
        }
    }
}

fn body(answer: &[u8]) -> io::Result<Vec<u8>> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or_else(|| io::Error::other("no answer in HTTP"))?;
    let line = String::from_utf8_lossy(answer[..end].split(|&byte| byte == b'\r').next().unwrap_or_default());
    if !line.starts_with("HTTP/1.") || line.split(' ').nth(1) != Some("200") {
        let line = porthole_registry::text::clean(&line).unwrap_or_default();
        return Err(io::Error::other(format!("it answers {line:?}")));
    }
    Ok(answer[end + 4..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn answered(with: &'static [u8]) -> io::Result<Info> {
        let dir = std::env::temp_dir().join(format!("porthole-info-{}-{:p}", std::process::id(), with));
        let listener = UnixListener::bind(&dir).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 256];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(with);
        });
        let answer = ask(&dir);
        server.join().unwrap();
        std::fs::remove_file(dir).unwrap();
        answer
    }

    #[test]
    fn the_default_runtime_is_read_from_the_answer() {
        let info = answered(
            b"HTTP/1.0 200 OK\r\nServer: Docker\r\n\r\n{\"DefaultRuntime\":\"porthole\",\"Runtimes\":{\"porthole\":{\"path\":\"/g\"},\"x\":{}}}",
        )
        .unwrap();
        assert_eq!((info.default_runtime.as_str(), info.runtimes.len()), ("porthole", 2));
        assert_eq!(info.runtimes["porthole"].path, Path::new("/g"));
    }

    #[test]
    fn anything_else_is_an_error() {
        for answer in [
            &b""[..],
            b"SSH-2.0-x\r\n",
            b"HTTP/1.0 500 Internal Server Error\r\n\r\n{\"message\":\"no\"}",
            b"HTTP/1.0 200 OK\r\n\r\n",
            b"HTTP/1.0 200 OK\r\n\r\n{\"DefaultRuntime\":3}",
        ] {
            assert!(answered(answer).is_err(), "{}", String::from_utf8_lossy(answer));
        }
        assert!(ask(Path::new("/nowhere/docker.sock")).is_err());
    }
}
