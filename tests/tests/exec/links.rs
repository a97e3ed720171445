//! Files of the host's `/etc` that are links out of the view: the command sees what `--explain` says.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use porthole_tests::{Node, on_a_node, tools};
use serde_json::{Value, json};

use crate::dns::{RESOLV, seen, target_etc};
use crate::setting::{exec, output, own_etc, web_0};

/// The plan in JSON.
fn exec_json(words: &[&str]) -> Value {
    let outcome = tools::porthole(&[&["-o", "json", "exec", "--explain"], words].concat());
    serde_json::from_str(outcome.expect_success()).unwrap()
}

/// Links out of every view, with a file at their end: `/run` and a directory of a view's own are not the host's there.
fn link(name: &str, to: &str, text: &str) {
    let place = Path::new("/etc").join(to);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, text).unwrap();
    drop(fs::remove_file(format!("/etc/{name}")));
    symlink(to, format!("/etc/{name}")).unwrap();
}

fn a_link_of_the_hosts_into_run_is_seen_with_what_it_leads_to(node: &Node) {
    own_etc(node);
    let nobody = fs::read_to_string("/etc/passwd").unwrap();
    let files = [
        ("resolv.conf", "../run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\n"),
        ("hosts", "/run/hosts", "127.0.0.1 host\n"),
        ("hostname", "/run/hostname", "host\n"),
        ("localtime", "/run/zone", "TZif"),
        ("passwd", "/run/accounts/passwd", &nobody),
    ];
    for (name, to, text) in files {
        link(name, to, text);
    }
    // Without resolver files of its own.
    let container = web_0(node);
    // In a view of the host, in one with the tools alone, and without the pod's network.
    for words in [&["web-0"] as &[&str], &["-S=0", "web-0"], &["-u", "web-0"]] {
        for (name, to, text) in files {
            let path = format!("/etc/{name}");
            let cat = [words, &["--", "cat", &path]].concat();
            assert_eq!(output(&cat), text, "{words:?} {name}");
            let place = format!("/run/{}", to.rsplit("run/").next().unwrap());
            let plan = output(&[&["--explain"], words, &["--", "true"]].concat());
            let line = format!("             /etc/{name} from the host's {place}\n");
            assert!(plan.contains(&line) && !plan.contains(&format!("/etc/{name} stays")), "{line}{plan}");
            let json = exec_json(&[words, &["--", "true"]].concat());
            let overlays = json["view"]["dns"]["overlays"].as_array().unwrap().clone();
            let overlay = overlays.iter().find(|overlay| overlay["name"] == name).unwrap();
            assert_eq!(*overlay, json!({"name": name, "source": "host_link", "place": place}), "{words:?}");
        }
    }
    // Profile sysadmin has the host's /run.
    assert_eq!(output(&["--profile", "sysadmin", "web-0", "--", "cat", "/etc/hostname"]), "host\n");
    // A file of the pod's own takes precedence.
    fs::write(target_etc(node, "resolv.conf"), RESOLV).unwrap();
    assert_eq!(seen("resolv.conf"), RESOLV);
    container.delete();
}

fn a_link_of_the_hosts_that_cannot_be_shown_is_told(node: &Node) {
    own_etc(node);
    link("resolv.conf", "/run/resolv.conf", "hunter2\n");
    fs::set_permissions("/run/resolv.conf", fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file("/etc/hosts").unwrap();
    symlink("/nowhere/at/all", "/etc/hosts").unwrap();
    let container = web_0(node);
    for words in [&["web-0"] as &[&str], &["-S=0", "web-0"]] {
        let plan = output(&[&["--explain"], words, &["--", "true"]].concat());
        for line in [
            "/etc/resolv.conf of the host is left out: not everybody may read it\n",
            "/etc/hosts of the host is left out: No such file or directory (os error 2)\n",
        ] {
            assert!(plan.contains(line), "{words:?}: {line}{plan}");
        }
        assert!(!plan.contains("resolv.conf stays"), "{plan}");
        let outcome = exec(&[words, &["--", "cat", "/etc/resolv.conf"]].concat());
        assert!(!outcome.status.success() && !outcome.stdout.contains("hunter2"), "{outcome:?}");
    }
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    a_link_of_the_hosts_into_run_is_seen_with_what_it_leads_to,
    a_link_of_the_hosts_that_cannot_be_shown_is_told,
);
