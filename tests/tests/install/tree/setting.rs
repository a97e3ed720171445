//! A tree as an image has it, and what is in it.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use porthole_tests::Node;
use porthole_tests::tools::{self, Outcome};
use rustix::fs::{lgetxattr, llistxattr};
use serde_json::Value;

pub(super) const SITE: &str =
    "{\n    \"log-driver\" : \"json-file\",\n    \"max-concurrent-downloads\": 1e1\n}\n";

/// A tree as an image has it.
pub(super) struct Tree {
    pub(super) root: PathBuf,
}

/// What is at a path: kind and mode, owner, group, contents or target, extended attributes.
pub(super) type Listed = (u32, u32, u32, Vec<u8>, BTreeMap<String, Vec<u8>>);

impl Tree {
    pub(super) fn new(node: &Node) -> Self {
        let root = node.scratch().join("tree");
        let _ = fs::remove_dir_all(&root);
        for dir in ["etc/docker", "usr/bin", "usr/sbin", "usr/libexec", "usr/share", "opt", "var/lib"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let tree = Self { root };
        tree.program("/usr/sbin/runc");
        // As from a package, and static as ours are; what copies them is tested by itself.
        fs::create_dir_all(tree.at("/usr/libexec/porthole")).unwrap();
        for program in ["bin/porthole", "libexec/porthole/porthole-hook", "libexec/porthole/porthole-runtime"]
        {
            fs::copy("/bin/busybox", tree.at("/usr").join(program)).unwrap();
        }
        tree.write("/etc/docker/daemon.json", SITE);
        tree
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    pub(super) fn program(&self, path: &str) {
        self.write(path, "#!/bin/sh\n");
        fs::set_permissions(self.at(path), Permissions::from_mode(0o755)).unwrap();
    }

    pub(super) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    pub(super) fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.read(path)).unwrap()
    }

    pub(super) fn command(&self, command: &str, more: &[&str]) -> Command {
        let mut porthole = Command::new(tools::binary("porthole"));
        porthole.args(more).arg(command).arg("--root").arg(&self.root).stdin(Stdio::null());
        if command == "install" {
            porthole.args(["--engine", "docker=26.1", "--engine", "podman=5.4"]);
        }
        porthole
    }

    pub(super) fn install(&self) -> Outcome {
        tools::run(self.command("install", &[]))
    }

    pub(super) fn uninstall(&self) -> Outcome {
        tools::run(self.command("uninstall", &[]))
    }

    /// An install that is refused changes nothing; returns what it said.
    pub(super) fn refuses(&self) -> String {
        let before = self.list();
        let mut command = Command::new(tools::binary("porthole"));
        command.args(["install", "--engine", "docker=26.1", "--root"]).arg(&self.root).stdin(Stdio::null());
        let outcome = tools::run(command);
        assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
        assert_eq!(self.list(), before, "{outcome:?}");
        outcome.stderr
    }

    pub(super) fn list(&self) -> BTreeMap<PathBuf, Listed> {
        let mut found = BTreeMap::new();
        list(&self.root, &mut found);
        found
    }
}

pub(super) fn list(dir: &Path, found: &mut BTreeMap<PathBuf, Listed>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else if meta.is_file() && meta.len() < 4 << 20 {
            fs::read(&path).unwrap()
        } else {
            // Of what is large, or no file, the size.
            meta.len().to_string().into_bytes()
        };
        let content = if meta.is_dir() { Vec::new() } else { content };
        found.insert(path.clone(), (meta.mode(), meta.uid(), meta.gid(), content, attributes(&path)));
        if meta.is_dir() {
            list(&path, found);
        }
    }
}

pub(super) fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0_u8; 4096];
    let length = llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0_u8; 4096];
        let length = lgetxattr(path, name, &mut value[..]).unwrap();
        value[..length].to_vec()
    };
    names.map(|name| (String::from_utf8_lossy(name).into_owned(), value(name))).collect()
}
