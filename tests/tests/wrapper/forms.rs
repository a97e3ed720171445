//! How a runtime can be told which bundle it is about: what runc and crun take, the wrapper takes too.

use std::fs;
use std::path::Path;

use porthole_tests::{Bundle, Node, Runtime, on_a_node};

use crate::installed::{Installed, text, web_0};

/// Makes the container of a bundle with `args` before its id, called in `dir`, and looks whether it is hooked.
#[track_caller]
fn is_hooked(node: &Node, porthole: &Installed, bundle: &Bundle, dir: &Path, args: &[&str]) {
    let args: Vec<_> = args.iter().copied().chain([bundle.id.as_str()]).collect();
    porthole.call_in(dir, &args).expect_success();
    assert_eq!(node.records(), [bundle.id.as_str()], "{args:?}");
    porthole.delete(bundle);
    node.expect_silence("a container");
}

fn a_bundle_is_found_however_it_is_named(node: &Node) {
    for runtime in [Runtime::Runc, Runtime::Crun] {
        let porthole = Installed::new(node, runtime);
        for form in
            ["--bundle DIR", "--bundle=DIR", "-b DIR", "-b=DIR", "-bundle DIR", "-bDIR", "--bun DIR", ""]
        {
            // Each takes what the other does not.
            let other = match runtime {
                Runtime::Runc => ["-bDIR", "--bun DIR"],
                _ => ["-b=DIR", "-bundle DIR"],
            };
            if other.contains(&form) {
                continue;
            }
            let bundle = web_0(node);
            bundle.write();
            let (root, dir) = (bundle.dir.parent().unwrap(), bundle.dir.to_str().unwrap());
            let relative = format!("../{}/{}", root.file_name().unwrap().display(), bundle.id);
            let places = match form {
                "" => vec![(bundle.dir.as_path(), "")],
                _ => vec![(Path::new("/"), dir), (root, &relative), (root, &bundle.id)],
            };
            for (cwd, named) in places {
                let form = form.replace("DIR", named);
                let args: Vec<_> = ["create"].into_iter().chain(form.split_whitespace()).collect();
                is_hooked(node, &porthole, &bundle, cwd, &args);
                bundle.write();
            }
        }
        let bundle = web_0(node);
        bundle.write();
        let dir = bundle.dir.to_str().unwrap();
        let log = node.scratch().join("runtime.log");
        let log = log.to_str().unwrap();
        for args in [
            &["--log", log, "--log-format=json", "create", "--bundle", dir][..],
            &["--debug", "--log", log, "create", "--no-pivot", "--pid-file", "/mnt/pid", "--bundle", dir],
            &["--systemd-cgroup=false", "run", "--detach", "--bundle", dir]
                [usize::from(runtime == Runtime::Crun)..],
            &["create", "--bundle", "/nonexistent", "--bundle", dir],
        ] {
            bundle.write();
            is_hooked(node, &porthole, &bundle, Path::new("/"), args);
        }
    }
}

fn crun_takes_a_configuration_of_another_name(node: &Node) {
    let porthole = Installed::new(node, Runtime::Crun);
    for form in ["--config", "--config=", "-f", "-f="] {
        for (dir, is_relative) in [("/", false), ("/mnt", true)] {
            let bundle = web_0(node);
            bundle.write();
            let before = text(&bundle);
            let other = node.scratch().join("other.json");
            fs::copy(bundle.dir.join("config.json"), &other).unwrap();
            let named = if is_relative { "other.json" } else { "/mnt/other.json" };
            let words = match form {
                "-f=" => vec![format!("-f{named}")],
                "--config=" => vec![format!("--config={named}")],
                form => vec![form.to_owned(), named.to_owned()],
            };
            let args: Vec<_> = ["create", "--bundle", bundle.dir.to_str().unwrap()]
                .into_iter()
                .chain(words.iter().map(String::as_str))
                .collect();
            is_hooked(node, &porthole, &bundle, Path::new(dir), &args);
            assert_eq!(text(&bundle), before, "that one is not what the container is made of");
        }
    }
}

on_a_node!(requires(root, ip, unshare, runc, crun):
    a_bundle_is_found_however_it_is_named,
    crun_takes_a_configuration_of_another_name,
);
