//! What the view has and does not show.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use porthole_tests::node::{own_home, tmpfs};
use porthole_tests::{Node, on_a_node};

use crate::setting::{exec, exec_in, output, own_etc, web_0, work};

fn secret(path: &str) {
    fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
    fs::write(path, "hunter2\n").unwrap();
}

/// Whether the command can read it, and nothing but that.
#[track_caller]
fn shows(options: &[&str], path: &str) -> bool {
    let outcome = exec(&[options, &["web-0", "--", "cat", path]].concat());
    assert!(["", "hunter2\n"].contains(&outcome.stdout.as_str()), "{path}: {outcome:?}");
    outcome.stdout == "hunter2\n"
}

fn engines_state_and_tokens_are_hidden_and_keys_are_from_root(node: &Node) {
    own_etc(node);
    for place in ["/var/lib", "/srv", "/usr/local"] {
        tmpfs(place, "mode=755");
    }
    own_home(node);
    let always = ["/var/lib/kubelet/pods/1/token", "/var/lib/containerd/blob", "/etc/kubernetes/admin.conf"];
    let from_root = [
        "/etc/shadow",
        "/etc/ssh/ssh_host_rsa_key",
        "/etc/sudoers",
        "/etc/wireguard/wg0.conf",
        "/etc/letsencrypt/live/key.pem",
        "/etc/netplan/wifi.yaml",
        "/etc/credstore/token",
        "/usr/local/etc/password",
        concat!("/root", "/.netrc"),
        "/srv/backup/key",
    ];
    always.iter().chain(&from_root).for_each(|path| secret(path));
    secret("/etc/shown");
    let container = web_0(node);
    assert!(always.iter().all(|path| !shows(&[], path)) && shows(&[], "/etc/shown"));
    // The files of this test are readable for all: what hides them is not their mode.
    for options in [
        &["--uid", "0"][..],
        &["--preserve-credentials"],
        &["-G", "42"],
        &["--uid", "65534", "--cap-add", "DAC_READ_SEARCH"],
    ] {
        for path in always.iter().chain(&from_root).chain(&["/etc/shown"]) {
            assert!(!shows(options, path), "{path} with {options:?}");
        }
    }
    let config = node.scratch().join("config.toml");
    fs::write(&config, "[exec]\nshow = ['/srv/backup', '/etc/shown']\n").unwrap();
    let configured = ["--config", config.to_str().unwrap(), "--uid", "0"];
    assert!(shows(&configured, "/srv/backup/key") && shows(&configured, "/etc/shown"));
    assert!(!shows(&[&configured[..], &["-p"]].concat(), "/srv/backup/key"), "the target would see it");
    assert!(shows(&["--profile", "sysadmin"], "/etc/shadow"), "as nsenter");
    // Then a directory is laid over all of /etc, which does not have what was mounted in it.
    fs::remove_file("/etc/nsswitch.conf").unwrap();
    assert!(from_root.iter().all(|path| !shows(&["--uid", "0"], path)));
    assert!(!shows(&[], "/etc/kubernetes/admin.conf") && shows(&[], "/etc/shown"));
    container.delete();
}

fn neither_links_nor_the_working_directory_lead_to_what_is_hidden(node: &Node) {
    tmpfs("/var/lib", "mode=755");
    tmpfs("/srv", "mode=755");
    secret("/srv/docker/secret");
    symlink("../../srv/docker", "/var/lib/docker").unwrap();
    symlink("/nowhere", "/var/lib/containerd").unwrap();
    secret("/var/lib/kubelet/token");
    let container = web_0(node);
    assert!(!shows(&[], "/var/lib/docker/secret") && !shows(&[], "/srv/docker/secret"));
    for here in ["/var/lib", "/srv", "/var/lib/kubelet", "/srv/docker"] {
        let outcome = exec_in(
            Path::new(here),
            &["web-0", "--", "cat", "kubelet/token", "docker/secret", "token", "secret"],
        );
        assert_eq!(outcome.stdout, "", "{here}: {outcome:?}");
    }
    let outcome = exec(&["-w=/srv/docker", "web-0", "--", "cat", "secret"]);
    assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
    assert!(outcome.stderr.contains("is not in the command's view of the host"), "{outcome:?}");
    container.delete();
}

fn the_configuration_hides_more_and_shows_again(node: &Node) {
    tmpfs("/var/lib", "mode=755");
    secret("/var/lib/kubelet/token");
    secret("/var/lib/mine/secret");
    let here = work(node);
    let config = node.scratch().join("config.toml");
    fs::write(
        &config,
        "[exec]\nhide = ['/var/lib/mine/secret', '/var/lib/none']\nshow = ['/var/lib/kubelet']\n",
    )
    .unwrap();
    let container = web_0(node);
    let configured = ["--config", config.to_str().unwrap()];
    assert!(shows(&[], "/var/lib/mine/secret") && !shows(&[], "/var/lib/kubelet/token"));
    assert!(!shows(&configured, "/var/lib/mine/secret") && shows(&configured, "/var/lib/kubelet/token"));
    let plan = exec_in(&here, &[&configured[..], &["--explain", "web-0", "true"]].concat());
    assert!(plan.expect_success().contains(" /var/lib/mine/secret;"), "{plan:?}");
    let json = output(&[&configured[..], &["-o", "json", "--explain", "web-0", "true"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let wanted = serde_json::json!({ "path": "/var/lib/mine/secret", "directory": false });
    assert!(json["view"]["hidden"].as_array().unwrap().contains(&wanted), "{json}");
    container.delete();
}

fn a_profile_of_the_site_hides_more(node: &Node) {
    own_etc(node);
    tmpfs("/srv", "mode=755");
    secret("/srv/db/password");
    fs::create_dir_all("/etc/porthole/profiles.d").unwrap();
    fs::write("/etc/porthole/profiles.d/db.toml", "extends = 'general'\nhide = ['/srv/db']\n").unwrap();
    let container = web_0(node);
    assert!(shows(&[], "/srv/db/password"));
    assert!(!shows(&["--profile", "db"], "/srv/db/password"));
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    engines_state_and_tokens_are_hidden_and_keys_are_from_root,
    neither_links_nor_the_working_directory_lead_to_what_is_hidden,
    the_configuration_hides_more_and_shows_again,
    a_profile_of_the_site_hides_more,
);
