//! The pod's name resolution: its files, whatever the host's are, and nothing that a hostile target puts in their place.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use porthole_tests::process::wait_until;
use porthole_tests::{Container, Node, Runtime, on_a_node, tools};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::setting::{as_ann, bundle, comm, exec, output, own_etc, policy, web_0};

pub const RESOLV: &str = "nameserver 10.96.0.10\nsearch shop.svc.cluster.local\n";

pub fn target_etc(node: &Node, name: &str) -> PathBuf {
    node.rootfs().join("etc").join(name)
}

fn write_target(node: &Node) {
    fs::write(target_etc(node, "resolv.conf"), RESOLV).unwrap();
    fs::write(target_etc(node, "hosts"), "10.88.0.7 web-0\n").unwrap();
    fs::write(target_etc(node, "hostname"), "web-0\n").unwrap();
}

pub fn seen(name: &str) -> String {
    output(&["web-0", "--", "cat", &format!("/etc/{name}")])
}

fn expect_the_pods() {
    assert_eq!(seen("resolv.conf"), RESOLV);
    assert_eq!(seen("hosts"), "10.88.0.7 web-0\n");
    assert_eq!(seen("hostname"), "web-0\n");
}

fn resolver_files_are_the_pods(node: &Node) {
    own_etc(node);
    write_target(node);
    let container = web_0(node);
    expect_the_pods();
    let sysadmin = output(&["--profile", "sysadmin", "web-0", "--", "cat", "/etc/resolv.conf"]);
    assert_eq!(sysadmin, RESOLV);
    let other = output(&["-u", "web-0", "--", "cat", "/etc/resolv.conf"]);
    assert_eq!(
        other,
        fs::read_to_string("/etc/resolv.conf").unwrap(),
        "without the pod's network, the host's"
    );
    container.delete();
}

fn where_the_host_has_links_the_pods_files_are_seen(node: &Node) {
    own_etc(node);
    write_target(node);
    fs::remove_file("/etc/resolv.conf").unwrap();
    // As systemd-resolved leaves it: a link into a /run that is not in the view.
    symlink("../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf").unwrap();
    fs::remove_file("/etc/hosts").unwrap();
    symlink("/nowhere/at/all", "/etc/hosts").unwrap();
    let container = web_0(node);
    expect_the_pods();
    container.delete();
}

fn where_the_host_has_no_files_the_pods_are_seen(node: &Node) {
    own_etc(node);
    write_target(node);
    for name in ["resolv.conf", "hosts", "hostname", "nsswitch.conf"] {
        drop(fs::remove_file(format!("/etc/{name}")));
    }
    let container = web_0(node);
    expect_the_pods();
    assert!(seen("nsswitch.conf").contains("hosts: files dns\n"));
    assert_eq!(seen("passwd"), fs::read_to_string("/etc/passwd").unwrap(), "the other files stay");
    container.delete();
}

fn the_administrators_files_for_the_name_win(node: &Node) {
    own_etc(node);
    write_target(node);
    fs::create_dir_all("/etc/netns/web-0").unwrap();
    fs::write("/etc/netns/web-0/resolv.conf", "nameserver 192.0.2.53\n").unwrap();
    fs::write("/etc/netns/web-0/porthole-test", "of the administrator\n").unwrap();
    let container = web_0(node);
    assert_eq!(seen("resolv.conf"), "nameserver 192.0.2.53\n");
    assert_eq!(seen("porthole-test"), "of the administrator\n");
    assert_eq!(seen("hosts"), "10.88.0.7 web-0\n", "what is not there is the pod's");
    container.delete();
}

fn a_pod_name_cannot_leave_etc_netns(node: &Node) {
    own_etc(node);
    let secret = node.scratch().join("elsewhere");
    fs::create_dir_all(&secret).unwrap();
    fs::write(secret.join("resolv.conf"), "nameserver 203.0.113.66\n").unwrap();
    fs::create_dir_all("/etc/netns").unwrap();
    symlink("../../mnt/elsewhere", "/etc/netns/web-0").unwrap();
    let container = web_0(node);
    let outcome = exec(&["web-0", "--", "cat", "/etc/resolv.conf"]);
    assert!(!outcome.stdout.contains("203.0.113.66"), "{outcome:?}");
    assert_eq!(
        outcome.status.code(),
        Some(125),
        "the administrator's mistake is not passed over: {outcome:?}"
    );
    container.delete();
    fs::remove_file("/etc/netns/web-0").unwrap();
    // A namespace that no record tells of, by a path that leads out of the directory of the pins and back.
    tools::ip(&["netns", "add", "other"]).expect_success();
    fs::create_dir_all("/etc/netns/other").unwrap();
    fs::write("/etc/netns/other/resolv.conf", "nameserver 192.0.2.1\n").unwrap();
    let by = |target: &str| output(&[target, "--", "cat", "/etc/resolv.conf"]);
    assert_eq!(by("/run/netns/other"), "nameserver 192.0.2.1\n");
    let host = fs::read_to_string("/etc/resolv.conf").unwrap();
    assert_eq!(by("/run/netns/../netns/other"), host, "that is no name of a pin");
    tools::ip(&["netns", "del", "other"]).expect_success();
}

fn what_a_hostile_target_puts_there_is_not_read(node: &Node) {
    own_etc(node);
    let secret = node.scratch().join("secret");
    fs::write(&secret, "hunter2\n").unwrap();
    let host = |name: &str| fs::read_to_string(format!("/etc/{name}")).unwrap();
    let container = web_0(node);
    let put: [(&str, &dyn Fn(PathBuf)); 6] = [
        ("a link out of its root", &|at| symlink("../../../../../../mnt/secret", at).unwrap()),
        ("a link to a path of the host", &|at| symlink("/mnt/secret", at).unwrap()),
        ("a link through /proc", &|at| symlink("/proc/self/root/mnt/secret", at).unwrap()),
        ("a FIFO", &|at| {
            mknodat(CWD, at, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
        }),
        ("2 MiB", &|at| fs::write(at, "# hunter2\n".repeat(220_000)).unwrap()),
        ("a directory", &|at| fs::create_dir(at).unwrap()),
    ];
    for (what, put) in put {
        let at = target_etc(node, "resolv.conf");
        put(at.clone());
        let outcome = exec(&["web-0", "--", "cat", "/etc/resolv.conf"]);
        assert_eq!(outcome.expect_success(), host("resolv.conf"), "{what}");
        assert!(outcome.took < Duration::from_secs(5), "{what}: {:?}", outcome.took);
        let plan = exec(&["--explain", "web-0", "--", "true"]);
        assert!(
            plan.expect_success().contains("/etc/resolv.conf stays the host's"),
            "{what}: {}",
            plan.stdout
        );
        drop(fs::remove_file(&at).or_else(|_| fs::remove_dir(&at)));
    }
    container.delete();
}

const ANN: &str = "[[rule]]\neffect = 'allow'\nusers = ['1234']\nprofiles = ['*']\n";

fn with_mode(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What ann sees of the files, and what the plan says of them.
fn seen_by_ann(names: &[&str]) -> (String, String) {
    let files: Vec<_> = names.iter().map(|name| format!("/etc/{name}")).collect();
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    let seen = as_ann(&[&["web-0", "--", "cat"], &files[..]].concat());
    (seen.stdout, as_ann(&["--explain", "web-0", "true"]).expect_success().to_owned())
}

fn what_root_alone_may_read_in_etc_netns_is_shown_to_nobody(node: &Node) {
    policy(node, ANN);
    write_target(node);
    let directory = Path::new("/etc/netns/web-0");
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join("porthole-shown"), "of the administrator\n").unwrap();
    with_mode(&directory.join("porthole-key"), "hunter2\n", 0o600);
    with_mode(&directory.join("porthole-group"), "hunter2\n", 0o640);
    with_mode(&directory.join("resolv.conf"), "nameserver 192.0.2.53\n# hunter2\n", 0o600);
    symlink("/etc/shadow", directory.join("porthole-link")).unwrap();
    symlink("porthole-key", directory.join("porthole-near")).unwrap();
    let container = web_0(node);
    let names =
        ["porthole-shown", "porthole-key", "porthole-group", "porthole-link", "porthole-near", "resolv.conf"];
    let (seen, plan) = seen_by_ann(&names);
    assert_eq!(seen, format!("of the administrator\n{RESOLV}"), "the pod's own, and nothing of root's");
    for name in ["porthole-key", "porthole-group", "resolv.conf"] {
        assert!(
            plan.contains(&format!("/etc/netns/web-0/{name} is left out: not everybody may read it")),
            "{plan}"
        );
    }
    for name in ["porthole-link", "porthole-near"] {
        assert!(plan.contains(&format!("/etc/netns/web-0/{name} is left out: a symbolic link")), "{plan}");
    }
    let root = exec(&["--uid", "0", "web-0", "--", "cat", "/etc/porthole-key"]);
    assert!(
        !root.stdout.contains("hunter2"),
        "nor to root, whose commands everybody may be allowed: {root:?}"
    );
    // A directory that only root may look into, or into which others can write.
    for mode in [0o700, 0o777] {
        fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
        let (seen, plan) = seen_by_ann(&["porthole-shown"]);
        assert_eq!(seen, "", "{mode:o}");
        assert!(plan.contains("/etc/netns/web-0 is left out: "), "{mode:o}: {plan}");
    }
    container.delete();
}

fn what_root_alone_may_read_in_the_target_stays_there(node: &Node) {
    policy(node, ANN);
    write_target(node);
    with_mode(&target_etc(node, "hosts"), "10.88.0.7 hunter2\n", 0o600);
    let container = web_0(node);
    let (seen, plan) = seen_by_ann(&["resolv.conf", "hosts"]);
    assert_eq!(seen, format!("{RESOLV}{}", fs::read_to_string("/etc/hosts").unwrap()));
    assert!(plan.contains("/etc/hosts of the target: not everybody may read it"), "{plan}");
    container.delete();
}

/// Users make mount namespaces of their own, with the host's directories in them.
fn what_is_closed_to_a_user_is_not_read_for_them_by_way_of_links(node: &Node) {
    policy(node, &format!("{ANN}allow = ['root']\n"));
    let closed = node.scratch().join("closed");
    let etc = node.scratch().join("etc-of-ann");
    for directory in [&closed, &etc] {
        fs::create_dir(directory).unwrap();
    }
    with_mode(&closed.join("notes"), "hunter2\n", 0o644);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(closed.join("notes"), etc.join("hosts")).unwrap();
    fs::write(etc.join("resolv.conf"), RESOLV).unwrap();
    let script = format!("mount --bind {} /etc && exec sleep 1000", etc.display());
    let mut process = Command::new("unshare").args(["-n", "-m", "sh", "-c", &script]).spawn().unwrap();
    wait_until("the process", || comm(process.id()) == "sleep");
    let target = format!("pid:{}", process.id());
    for words in [&["-n", &target][..], &["-n", "--uid", "0", &target]] {
        let outcome = as_ann(&[words, &["--", "sh", "-c", "cat /etc/resolv.conf /etc/hosts; true"]].concat());
        assert!(outcome.expect_success().starts_with(RESOLV), "{outcome:?}");
        assert!(!outcome.stdout.contains("hunter2"), "{outcome:?}");
    }
    process.kill().unwrap();
    process.wait().unwrap();
}

fn of_a_bundle_only_what_everybody_may_read_is_shown(node: &Node) {
    policy(node, ANN);
    // As engines keep them: readable, in a directory that is not.
    let engine = node.scratch().join("engine");
    fs::create_dir(&engine).unwrap();
    fs::set_permissions(&engine, fs::Permissions::from_mode(0o700)).unwrap();
    with_mode(&engine.join("resolv.conf"), RESOLV, 0o644);
    with_mode(&engine.join("secret"), "hunter2\n", 0o644);
    symlink("/etc/shadow", engine.join("hosts")).unwrap();
    symlink("secret", engine.join("hostname")).unwrap();
    let mounts = ["resolv.conf", "hosts", "hostname"].map(|name| {
        let (destination, source) = (format!("/etc/{name}"), engine.join(name));
        json!({ "destination": destination, "source": source, "type": "bind", "options": ["bind"] })
    });
    let bundle = bundle(node).with(|config| config["mounts"].as_array_mut().unwrap().extend(mounts.clone()));
    let container = Container::run(Runtime::Runc, &bundle);
    container.kill();
    container.wait_stopped();
    let (seen, plan) = seen_by_ann(&["resolv.conf", "hosts", "hostname"]);
    let host = |name: &str| fs::read_to_string(format!("/etc/{name}")).unwrap();
    assert_eq!(seen, format!("{RESOLV}{}{}", host("hosts"), host("hostname")));
    for name in ["hosts", "hostname"] {
        assert!(plan.contains(&format!("/etc/{name} of the target: a symbolic link")), "{plan}");
    }
    // A directory on the way into which others can put something.
    fs::set_permissions(&engine, fs::Permissions::from_mode(0o777)).unwrap();
    let (seen, plan) = seen_by_ann(&["resolv.conf"]);
    assert_eq!(seen, host("resolv.conf"));
    assert!(plan.contains("/etc/resolv.conf of the target: others than root can write to"), "{plan}");
    container.delete();
}

fn names_are_asked_of_files_and_dns_alone(node: &Node) {
    own_etc(node);
    let host = "passwd: files systemd\nhosts: mymachines resolve [!UNAVAIL=return] files myhostname dns\n";
    fs::write("/etc/nsswitch.conf", host).unwrap();
    let container = web_0(node);
    assert_eq!(seen("nsswitch.conf"), "passwd: files systemd\nhosts: files dns\n");
    container.delete();
}

fn a_file_of_the_pods_stands_before_the_hosts_in_every_view(node: &Node) {
    own_etc(node);
    fs::create_dir_all("/etc/netns/web-0").unwrap();
    let container = web_0(node);
    for (name, text) in
        [("services", "pods 1/tcp\n"), ("localtime", "pods\n"), ("passwd", "pods:x:7:7::/:\n")]
    {
        fs::write(Path::new("/etc/netns/web-0").join(name), text).unwrap();
        for options in [&["-n"][..], &["--uid", "0"], &["-p", "-n"]] {
            let shown = output(&[options, &["web-0", "--", "cat", &format!("/etc/{name}")]].concat());
            assert_eq!(shown, text, "{name} {options:?}");
        }
    }
    container.delete();
}

fn names_of_this_machine_are_known_in_every_view(node: &Node) {
    let container = web_0(node);
    for options in [&["-n"][..], &["-p"], &["-p", "-n"], &["-i", "--uid", "0"], &["--uid", "0"]] {
        let outcome = exec(&[options, &["web-0", "--", "getent", "hosts", "localhost"]].concat());
        assert!(outcome.expect_success().contains("localhost"), "{options:?}: {outcome:?}");
    }
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    resolver_files_are_the_pods,
    where_the_host_has_links_the_pods_files_are_seen,
    where_the_host_has_no_files_the_pods_are_seen,
    the_administrators_files_for_the_name_win,
    a_pod_name_cannot_leave_etc_netns,
    what_a_hostile_target_puts_there_is_not_read,
    what_root_alone_may_read_in_etc_netns_is_shown_to_nobody,
    what_root_alone_may_read_in_the_target_stays_there,
    what_is_closed_to_a_user_is_not_read_for_them_by_way_of_links,
    of_a_bundle_only_what_everybody_may_read_is_shown,
    names_are_asked_of_files_and_dns_alone,
    a_file_of_the_pods_stands_before_the_hosts_in_every_view,
    names_of_this_machine_are_known_in_every_view,
);
