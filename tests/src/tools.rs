//! The programs under test, and those a person would use beside them.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, thread};

use serde_json::{Map, Value, json};

/// What a program did.
#[derive(Debug)]
pub struct Outcome {
    /// The program and its arguments.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
}

impl Outcome {
    /// Returns standard output of a program that succeeded.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn expect_success(&self) -> &str {
        assert!(
            self.status.success(),
            "{} failed: {}\n{}{}",
            self.command,
            self.status,
            self.stdout,
            self.stderr
        );
        &self.stdout
    }
}

/// Runs a command to its end.
///
/// Its output goes through files: a container's process inherits them and outlives the command, and would
/// keep a pipe open.
#[must_use]
pub fn run(mut command: Command) -> Outcome {
    let mut out = tempfile::tempfile_in("/mnt").expect("make a file for the output");
    let mut err = tempfile::tempfile_in("/mnt").expect("make a file for the errors");
    command.stdout(clone(&out)).stderr(clone(&err));
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let start = Instant::now();
    let status = command.status().unwrap_or_else(|e| panic!("start {}: {e}", words.join(" ")));
    let took = start.elapsed();
    Outcome { command: words.join(" "), status, stdout: read(&mut out), stderr: read(&mut err), took }
}

fn clone(file: &File) -> Stdio {
    file.try_clone().expect("clone a file").into()
}

fn read(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("read the output");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where cargo put the binaries: the directory above that of the test program, or `PORTHOLE_BIN_DIR`.
#[must_use]
pub fn bin_dir() -> PathBuf {
    // Looked up before a node gets another root: there the kernel has no path of this program any more.
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    let find = || {
        if let Some(dir) = env::var_os("PORTHOLE_BIN_DIR") {
            return dir.into();
        }
        let exe = env::current_exe().expect("path of the test program");
        exe.parent().and_then(Path::parent).expect("a test program in target/…/deps").to_owned()
    };
    FOUND.get_or_init(find).clone()
}

/// The path of a built binary.
///
/// # Panics
/// When it was not built, or not since its source was changed: cargo builds no other package's programs
/// for a test.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let path = bin_dir().join(name);
    let built = fs::metadata(&path).and_then(|meta| meta.modified());
    let built = built.unwrap_or_else(|e| panic!("{}: {e}: run `cargo build --workspace`", path.display()));
    // What cargo made it of is in a file beside it, as make reads it.
    let made_of = fs::canonicalize(&path).expect("path of a program").with_extension("d");
    let made_of = fs::read_to_string(&made_of).unwrap_or_else(|e| panic!("{}: {e}", made_of.display()));
    let (_, sources) = made_of.split_once(": ").expect("a rule");
    for source in sources.lines().next().unwrap_or_default().replace("\\ ", "\0").split(' ') {
        let source = source.replace('\0', " ");
        let changed = fs::metadata(&source).and_then(|meta| meta.modified());
        let older = changed.is_ok_and(|changed| changed > built);
        assert!(!older, "{} is older than {source}: run `cargo build --workspace`", path.display());
    }
    path
}

/// Runs `ip` with `args`.
#[must_use]
pub fn ip(args: &[&str]) -> Outcome {
    let mut command = Command::new("ip");
    command.args(args).stdin(Stdio::null());
    run(command)
}

/// Runs `porthole` with `args`.
#[must_use]
pub fn porthole(args: &[&str]) -> Outcome {
    let mut command = Command::new(binary("porthole"));
    command.args(args).stdin(Stdio::null());
    run(command)
}

/// Runs `porthole reconcile` and returns what was done, one line each.
///
/// # Panics
/// When it fails as a whole, or on one thing.
#[track_caller]
pub fn reconcile() -> Vec<String> {
    let outcome = porthole(&["-o", "json", "reconcile"]);
    let done: Value = serde_json::from_str(outcome.expect_success()).expect("a list in JSON");
    done.as_array().expect("a list").iter().map(Value::to_string).collect()
}

/// A container's state, as runtimes write it to a hook.
#[must_use]
pub fn state(id: &str, pid: Option<u32>, bundle: &Path, annotations: &Map<String, Value>) -> Value {
    let mut state = json!({
        "ociVersion": "1.0.2", "id": id, "status": "created", "bundle": bundle, "annotations": annotations,
    });
    if let Some(pid) = pid {
        state["pid"] = pid.into();
    }
    state
}

/// One call of the hook by hand.
#[derive(Debug)]
pub struct HookRun {
    stage: String,
    stdin: Vec<u8>,
    pause: Option<Duration>,
    config: Option<PathBuf>,
    cwd: PathBuf,
    umask: u32,
    env: Vec<(String, String)>,
    wrapper: Vec<String>,
}

impl HookRun {
    /// A call for `stage` with `stdin`.
    #[must_use]
    pub fn new(stage: &str, stdin: impl Into<Vec<u8>>) -> Self {
        Self {
            stage: stage.to_owned(),
            stdin: stdin.into(),
            pause: None,
            config: None,
            cwd: PathBuf::from("/"),
            umask: 0o022,
            env: Vec::new(),
            wrapper: Vec::new(),
        }
    }

    /// A call with a container's state.
    #[must_use]
    pub fn with_state(stage: &str, state: &Value) -> Self {
        Self::new(stage, state.to_string())
    }

    /// Waits in the middle of writing the state.
    #[must_use]
    pub fn slowly(mut self, pause: Duration) -> Self {
        self.pause = Some(pause);
        self
    }

    /// Names a configuration file.
    #[must_use]
    pub fn config(mut self, path: impl Into<PathBuf>) -> Self {
        self.config = Some(path.into());
        self
    }

    /// Calls it from another directory.
    #[must_use]
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = dir.into();
        self
    }

    /// Calls it with another umask.
    #[must_use]
    pub fn umask(mut self, umask: u32) -> Self {
        self.umask = umask;
        self
    }

    /// Adds a variable to its environment, which is empty otherwise.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts a program with arguments before it.
    #[must_use]
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Makes the call.
    #[must_use]
    pub fn run(&self) -> Outcome {
        let mut command = Command::new("/bin/sh");
        // The shell sets what a Command cannot.
        command.args(["-c", &format!("umask {:04o}; exec \"$@\"", self.umask), "sh"]);
        command.args(&self.wrapper).arg(binary("porthole-hook"));
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command.arg(&self.stage).current_dir(&self.cwd).env_clear().stdin(Stdio::piped());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        self.feed(command)
    }

    fn feed(&self, mut command: Command) -> Outcome {
        let mut out = tempfile::tempfile_in("/mnt").expect("make a file for the output");
        let mut err = tempfile::tempfile_in("/mnt").expect("make a file for the errors");
        let start = Instant::now();
        let mut child = command.stdout(clone(&out)).stderr(clone(&err)).spawn().expect("start the hook");
        let mut pipe = child.stdin.take().expect("stdin is a pipe");
        let (first, rest) = self.stdin.split_at(if self.pause.is_some() { self.stdin.len() / 2 } else { 0 });
        // A hook that has given up closes its end; its exit status and its log line say why.
        let mut write = |bytes: &[u8]| drop(pipe.write_all(bytes));
        write(first);
        thread::sleep(self.pause.unwrap_or_default());
        write(rest);
        drop(pipe);
        let status = child.wait().expect("wait for the hook");
        let took = start.elapsed();
        let command = format!("porthole-hook {}", self.stage);
        Outcome { command, status, stdout: read(&mut out), stderr: read(&mut err), took }
    }
}
