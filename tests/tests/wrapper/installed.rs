//! Porthole as an engine finds it: the script that looks for the wrapper, the wrapper, the hook.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use porthole_tests::tools::{self, binary};
use porthole_tests::{Bundle, Node, Outcome, Runtime};
use serde_json::Value;

/// What is installed on a node, in front of one runtime.
pub(crate) struct Installed {
    runtime: Runtime,
    /// Where the programs are.
    pub(crate) dir: PathBuf,
    /// What an engine is told to be the runtime.
    pub(crate) script: PathBuf,
}

/// The path of a runtime.
pub(crate) fn real(runtime: Runtime) -> PathBuf {
    let name = match runtime {
        Runtime::Runc => "runc",
        Runtime::Crun => "crun",
        Runtime::Libcontainer => return binary("porthole-test-runtime"),
    };
    let dirs = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
    dirs.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file()).unwrap()
}

impl Installed {
    pub(crate) fn new(node: &Node, runtime: Runtime) -> Self {
        let dir = node.scratch().join("libexec");
        let script = node.scratch().join("runtime-script");
        fs::create_dir_all(&dir).unwrap();
        let installed = Self { runtime, dir, script };
        installed.put_binaries();
        let (wrapper, hook) = (installed.dir.join("porthole-runtime"), installed.dir.join("porthole-hook"));
        let (wrapper, hook, real) = (wrapper.display(), hook.display(), real(runtime));
        let real = real.display();
        let text = format!(
            "#!/bin/sh\ntest -x {wrapper} && exec {wrapper} --real {real} --hook {hook} -- \"$@\"\nexec {real} \"$@\"\n"
        );
        fs::write(&installed.script, text).unwrap();
        fs::set_permissions(&installed.script, fs::Permissions::from_mode(0o755)).unwrap();
        installed
    }

    /// Puts the programs where they belong.
    pub(crate) fn put_binaries(&self) {
        for name in ["porthole-hook", "porthole-runtime"] {
            let _ = fs::remove_file(self.dir.join(name));
            symlink(binary(name), self.dir.join(name)).unwrap();
        }
    }

    /// Takes one of them away.
    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.dir.join(name)).unwrap();
    }

    /// Calls `program` as an engine calls a runtime, in `dir`.
    fn call_of(&self, program: &Path, dir: &Path, args: &[&str]) -> Outcome {
        let mut command = Command::new(program);
        // Not below /run, which some tests fill or make read-only.
        command.args(["--root", &format!("/mnt/state/{:?}", self.runtime)]).args(args);
        command.current_dir(dir).stdin(Stdio::null());
        tools::run(command)
    }

    /// Calls the runtime through porthole.
    pub(crate) fn call(&self, args: &[&str]) -> Outcome {
        self.call_of(&self.script, Path::new("/"), args)
    }

    /// The same from another directory.
    pub(crate) fn call_in(&self, dir: &Path, args: &[&str]) -> Outcome {
        self.call_of(&self.script, dir, args)
    }

    /// Calls the runtime as if there were no porthole.
    pub(crate) fn call_directly(&self, args: &[&str]) -> Outcome {
        self.call_of(&real(self.runtime), Path::new("/"), args)
    }

    /// Creates and starts the container of a bundle that is written.
    #[track_caller]
    pub(crate) fn run(&self, bundle: &Bundle) {
        self.call(&["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]).expect_success();
        self.call(&["start", &bundle.id]).expect_success();
    }

    #[track_caller]
    pub(crate) fn delete(&self, bundle: &Bundle) {
        self.call(&["delete", "--force", &bundle.id]).expect_success();
    }

    /// What the runtime says of the container.
    #[track_caller]
    pub(crate) fn state(&self, bundle: &Bundle) -> Value {
        let outcome = self.call(&["state", &bundle.id]);
        serde_json::from_str(outcome.expect_success()).unwrap()
    }
}

/// A bundle of a pod that no hook is in.
pub(crate) fn web_0(node: &Node) -> Bundle {
    let annotations = porthole_tests::bundle::containerd_annotations("shop", "web-0", "nginx");
    Bundle::new(node)
        .annotations(&annotations)
        .with(|config| drop(config.as_object_mut().unwrap().remove("hooks")))
}

/// The text of its configuration.
pub(crate) fn text(bundle: &Bundle) -> String {
    fs::read_to_string(bundle.dir.join("config.json")).unwrap()
}
