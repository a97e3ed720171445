//! What runs inside the demo's containers: this same program, under hidden names.

use crate::exit::ExitCode;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use super::pod::{NAME, PORT};

const PATIENCE: Duration = Duration::from_secs(2);
const REQUEST_LIMIT: u64 = 8 * 1024;

/// Does the duty that the first argument names, if it names one. For `main`, before the command line is parsed: a
/// container has none of what the rest of the program may look for.
pub(crate) fn guest(args: &[OsString]) -> Option<ExitCode> {
    let outcome = match args.get(1)?.to_str()? {
        "__demo-server" => serve(),
        "__demo-wait" => wait(),
        "__demo-get" => get(),
        _ => return None,
    };
    Some(match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "porthole: {error}");
            ExitCode::FAILURE
        }
    })
}

/// An HTTP server on every address of the pod, 127.0.0.1 among them.
fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    loop {
        // A client that fails is its own problem.
        let _ = listener.accept().and_then(|(client, _)| answer(&client));
    }
}

fn answer(mut client: &TcpStream) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    let mut reader = client.take(REQUEST_LIMIT);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match reader.read(&mut chunk)? {
            0 => break,
            count => request.extend_from_slice(&chunk[..count]),
        }
    }
    let (here, peer) = (client.local_addr()?.ip(), client.peer_addr()?.ip());
    client.write_all(response(&format!("hello from pod {NAME}: {peer} asked {here}\n")).as_bytes())
}

fn response(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn wait() -> io::Result<()> {
    loop {
        std::thread::park();
    }
}

/// For machines without any program that speaks HTTP.
fn get() -> io::Result<()> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
    server.set_read_timeout(Some(PATIENCE))?;
    server.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut text = String::new();
    server.read_to_string(&mut text)?;
    let body = text.split_once("\r\n\r\n").map_or(text.as_str(), |(_, body)| body);
    io::stdout().write_all(body.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_a_greeting_with_both_addresses() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        answer(&listener.accept().unwrap().0).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(text.ends_with("\r\n\r\nhello from pod hello: 127.0.0.1 asked 127.0.0.1\n"));
    }

    #[test]
    fn only_the_hidden_names_are_duties() {
        for args in [&["porthole"][..], &["porthole", "list"], &["porthole", "demo"]] {
            assert!(guest(&args.iter().map(OsString::from).collect::<Vec<_>>()).is_none());
        }
    }
}
