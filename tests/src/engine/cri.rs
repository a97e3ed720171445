//! The CRI of an engine, through a client that makes one call a line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// A client that is connected to an engine. For calls side by side: one of them for each.
#[derive(Debug)]
pub struct Cri {
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

/// What a call gave.
#[derive(Debug)]
pub struct Reply {
    /// The message, as the CRI's protocol has it; what is empty or zero is left out.
    pub fields: Value,
    /// From the request to the reply, as the client has measured it.
    pub elapsed: Duration,
}

impl Cri {
    /// A client for the engine at `socket`.
    #[must_use]
    pub fn connect(socket: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/cri/client.py");
        // The machine's own: what comes first in PATH may be another, without the modules.
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script).arg(super::lab().join("cri.pb")).arg(socket);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start /usr/bin/python3");
        let requests = child.stdin.take();
        let replies = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        Self { child, requests, replies }
    }

    /// Calls `method` of the runtime service.
    ///
    /// # Errors
    /// What the engine says.
    pub fn call(&mut self, method: &str, fields: &Value) -> Result<Reply, String> {
        self.patiently(method, fields, 0)
    }

    /// Goes on calling for `seconds` while there is no engine.
    ///
    /// # Errors
    /// What the engine says.
    pub fn patiently(&mut self, method: &str, fields: &Value, seconds: u32) -> Result<Reply, String> {
        let line = json!({ "call": method, "with": fields, "patience": seconds });
        let requests = self.requests.as_mut().expect("open until the end");
        writeln!(requests, "{line}").expect("write to the CRI client");
        let mut reply = String::new();
        self.replies.read_line(&mut reply).expect("read from the CRI client");
        let mut reply: Value = serde_json::from_str(&reply).expect("the CRI client answers");
        let elapsed = Duration::from_nanos(reply["elapsed_ns"].as_u64().unwrap_or_default());
        match reply["error"].as_str() {
            Some(error) => Err(format!("{method}: {error}")),
            None => Ok(Reply { fields: reply["reply"].take(), elapsed }),
        }
    }
}

impl Drop for Cri {
    fn drop(&mut self) {
        drop(self.requests.take());
        // It ends with its input.
        drop(self.child.wait());
    }
}
