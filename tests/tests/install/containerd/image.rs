//! A tree that is not the running system's: containerd in it may be of another machine, or come later.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use porthole_tests::{Node, leaks, on_a_node, tools};

use super::refused;

const ROOT: &str = "/mnt/image";

fn write(path: &str, mode: u32, text: &str) {
    let path = Path::new(ROOT).join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A tree as images have it.
fn skeleton() {
    fs::create_dir_all(Path::new(ROOT).join("var/lib")).unwrap();
}

/// Every file of the tree with what is in it.
fn image() -> Vec<(String, Vec<u8>)> {
    leaks::below(Path::new(ROOT))
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap_or_default()))
        .collect()
}

fn the_files_of_an_image_are_enough_when_its_programs_cannot_run(_: &Node) {
    const CONFIG: &str = "# of the image\nversion = 2\nimports = [\"site.d/*.toml\"]\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes]\n\
        \x20 crun = { runtime_type = 'io.containerd.runc.v2', options = { BinaryName = '/usr/bin/crun' } }\n\
        \x20 kata.runtime_type = 'io.containerd.kata.v2'\n";
    write("etc/containerd/config.toml", 0o640, CONFIG);
    skeleton();
    write(
        "etc/containerd/site.d/10-metrics.toml",
        0o644,
        "version = 2\n[metrics]\naddress = '127.0.0.1:1'\n",
    );
    write("usr/bin/crun", 0o755, "of another machine");
    write("usr/bin/containerd", 0o755, "\x7fELF of another machine");
    let before = image();
    let root = ["--root", ROOT, "--engine", "containerd=1.7"];
    let outcome = tools::porthole(&[&["install"], &root[..], &["--method", "runtime"]].concat());
    let said = outcome.expect_success();
    assert!(said.contains("cannot be asked") && said.contains("runtime kata is left"), "{said}");
    let text = fs::read_to_string(Path::new(ROOT).join("etc/containerd/config.toml")).unwrap();
    assert_eq!(
        text,
        CONFIG
            .replace("/usr/bin/crun'", "/etc/porthole/runtime/containerd-crun\"")
            .replace("= '/etc", "= \"/etc")
    );
    let guard = fs::read_to_string(Path::new(ROOT).join("etc/porthole/runtime/containerd-crun")).unwrap();
    assert!(guard.ends_with("exec /usr/bin/crun \"$@\"\n"), "{guard}");
    let outcome = tools::porthole(&[&["install"], &root[..]].concat());
    assert!(outcome.expect_success().contains("nothing to change"), "{outcome:?}");
    tools::porthole(&["uninstall", "--root", ROOT]).expect_success();
    assert_eq!(image(), before);

    // A base spec can only come from its own programs.
    let outcome = tools::porthole(&[&["install"], &root[..], &["--method", "base-spec"]].concat());
    refused(&outcome, &["there is no `ctr`", "--method runtime"]);
    assert_eq!(image(), before);
}

fn an_image_without_a_configuration_gets_one_for_the_version_that_comes(_: &Node) {
    for (version, table) in [
        ("1.7", "version = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\""),
        ("2.2", "version = 3\n\n[plugins.\"io.containerd.cri.v1.runtime\""),
    ] {
        skeleton();
        write("usr/sbin/runc", 0o755, "");
        let before = image();
        let engine = format!("containerd={version}");
        tools::porthole(&["install", "--root", ROOT, "--engine", &engine, "--method", "runtime"])
            .expect_success();
        let text = fs::read_to_string(Path::new(ROOT).join("etc/containerd/config.toml")).unwrap();
        assert!(text.contains(table), "{text}");
        assert_eq!(text.contains("runtime_type"), version == "1.7", "{text}");
        tools::porthole(&["uninstall", "--root", ROOT]).expect_success();
        assert_eq!(image(), before);
    }
}

on_a_node!(requires(root): the_files_of_an_image_are_enough_when_its_programs_cannot_run,
    an_image_without_a_configuration_gets_one_for_the_version_that_comes);
