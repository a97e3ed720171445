//! Profiles of the site, and what a user without root gets from one.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use porthole_tests::{Node, on_a_node, requires, tools};
use serde_json::Value;

use crate::setting::{command, exec, exec_in, field, output, own_etc, policy, web_0, work};

const PLACE: &str = "/etc/porthole/profiles.d";

/// Writes a profile of the site into an `/etc` of the node's own.
fn site(node: &Node, name: &str, text: &str) {
    if !Path::new(PLACE).is_dir() {
        own_etc(node);
        fs::create_dir_all(PLACE).unwrap();
    }
    fs::write(format!("{PLACE}/{name}.toml"), text).unwrap();
}

fn a_profile_of_the_site_extends_one(node: &Node) {
    let container = web_0(node);
    let text = "extends = 'netadmin'\ncap_add = ['SYS_PTRACE']\ncap_drop = ['NET_RAW']\npids = 33\n\
                memory = '64MiB'\ncpu_weight = 100\ntimeout = '300ms'\nhide = ['/srv']\n";
    site(node, "site", text);
    let status = output(&["--profile", "site", "web-0", "cat", "/proc/self/status"]);
    assert_eq!(field(&status, "CapEff"), format!("{:016x}", (1 << 12) | (1 << 19)));
    let plan = tools::porthole(&["-o", "json", "exec", "--profile", "site", "--explain", "web-0", "true"]);
    let plan: Value = serde_json::from_str(plan.expect_success()).unwrap();
    assert_eq!(plan["profile"], "site");
    let cgroup = &plan["bounds"]["cgroup"];
    assert_eq!((&cgroup["pids"], &cgroup["memory"]), (&33.into(), &(64 << 20).into()), "{plan}");
    assert_eq!(exec(&["--profile", "site", "web-0", "sleep", "1000"]).status.code(), Some(124));
    let longer = exec(&["--profile", "site", "--timeout", "1h", "web-0", "sleep", "1000"]);
    assert_eq!(longer.status.code(), Some(124), "no option prolongs what the profile allows");
    for option in ["-F", "--detach"] {
        let outcome = exec(&["--profile", "site", option, "web-0", "true"]);
        assert_eq!(outcome.status.code(), Some(125), "{option}: {outcome:?}");
    }
    container.delete();
}

fn a_profile_that_is_too_long_is_refused(node: &Node) {
    let container = web_0(node);
    let comments = format!("#{}\n", "x".repeat(1022)).repeat(64);
    let kept = "cap_drop = ['NET_RAW']\nhide = ['/srv']\n";
    site(node, "short", &format!("extends = 'general'\n{kept}"));
    let status = output(&["--profile", "short", "web-0", "cat", "/proc/self/status"]);
    assert_eq!(field(&status, "CapEff"), "0000000000000000");
    // What keeps something from the command is at the end, behind the longest that is read.
    site(node, "long", &format!("extends = 'general'\n{comments}{kept}"));
    let outcome = exec(&["--profile", "long", "web-0", "cat", "/proc/self/status"]);
    assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
    assert!(outcome.stderr.contains("long.toml: is larger than 65536 bytes"), "{outcome:?}");
    container.delete();
}

fn an_unknown_profile_is_an_error_that_lists_those_there_are(node: &Node) {
    let container = web_0(node);
    site(node, "site", "extends = 'general'\n");
    for name in ["root", "General", "../site", "site.toml", ""] {
        let outcome = exec(&["--profile", name, "web-0", "true"]);
        assert_eq!(outcome.status.code(), Some(125), "{name}: {outcome:?}");
        assert!(
            outcome.stderr.contains("restricted, general, netadmin, trace, sysadmin, site"),
            "{outcome:?}"
        );
    }
    container.delete();
}

fn a_broken_profile_says_where_and_never_falls_back(node: &Node) {
    let container = web_0(node);
    let ran = work(node).join("ran");
    for (text, wrong) in [
        ("extends = 'general'\nspeed = 9\n", "line 2: unknown field `speed`"),
        ("extends = 'general'\n\npids = -1\n", "line 3: pids: expected"),
        ("extends = 'other'\n", "line 1: extends: expected one of"),
        ("extends = 'general'\nextends = 'trace'\n", "line 2: "),
        ("pids = 3\n", "missing field `extends`"),
        ("", "missing field `extends`"),
    ] {
        site(node, "broken", text);
        let touch = ["--profile", "broken", "web-0", "--", "touch", ran.to_str().unwrap()];
        let outcome = exec_in(&work(node), &touch);
        assert_eq!(outcome.status.code(), Some(125), "{text:?}: {outcome:?}");
        let place = format!("{PLACE}/broken.toml: ");
        assert!(outcome.stderr.contains(&place) && outcome.stderr.contains(wrong), "{text:?}: {outcome:?}");
        assert!(!ran.exists());
    }
    container.delete();
}

fn a_profile_that_others_may_change_is_refused(node: &Node) {
    let container = web_0(node);
    site(node, "site", "extends = 'general'\n");
    let file = format!("{PLACE}/site.toml");
    let set = |path: &str, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let refused = |why: &str| {
        let outcome = exec(&["--profile", "site", "web-0", "true"]);
        assert_eq!(outcome.status.code(), Some(125), "{why}: {outcome:?}");
        assert!(outcome.stderr.contains(why), "{why}: {outcome:?}");
    };
    output(&["--profile", "site", "web-0", "true"]);
    set(&file, 0o664);
    refused("can be written to by others");
    set(&file, 0o644);
    chown(&file, Some(1000), None).unwrap();
    refused("belongs to uid 1000");
    chown(&file, Some(0), None).unwrap();
    for directory in [PLACE, "/etc/porthole"] {
        set(directory, 0o777);
        refused("can be written to by others");
        set(directory, 0o755);
    }
    fs::rename(&file, "/etc/porthole/elsewhere.toml").unwrap();
    symlink("/etc/porthole/elsewhere.toml", &file).unwrap();
    refused("symbolic link");
    container.delete();
}

fn no_profile_of_the_site_takes_a_built_in_name(node: &Node) {
    let container = web_0(node);
    site(node, "restricted", "extends = 'sysadmin'\n");
    let status = output(&["--profile", "restricted", "web-0", "cat", "/proc/self/status"]);
    assert_eq!(field(&status, "CapEff"), "0000000000000000");
    let outcome = tools::porthole(&["profiles"]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(
        outcome.stderr.contains("restricted.toml: the name is that of a built-in profile"),
        "{outcome:?}"
    );
    container.delete();
}

fn profiles_are_listed(node: &Node) {
    let text = "extends = 'general'\ndescription = 'For the database team'\npids = 33\ntimeout = '10m'\n";
    site(node, "db", text);
    let outcome = tools::porthole(&["profiles"]);
    let table = outcome.expect_success();
    let row = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let words = |name: &str| row(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        words("netadmin")[..7],
        ["netadmin", "-", "NET_ADMIN", "NET_RAW", "512", "1", "GiB"].map(str::to_owned)[..7],
        "{table}"
    );
    assert_eq!(
        words("db")[..6],
        ["db", "general", "NET_RAW", "33", "1", "GiB"].map(str::to_owned),
        "{table}"
    );
    assert!(row("db").contains("600s") && row("db").ends_with("For the database team"), "{table}");
    let json: Value =
        serde_json::from_str(tools::porthole(&["-o", "json", "profiles"]).expect_success()).unwrap();
    let names: Vec<_> = json.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["restricted", "general", "netadmin", "trace", "sysadmin", "db"]);
    assert_eq!(json[5]["capabilities"], serde_json::json!(["CAP_NET_RAW"]));
    assert_eq!((&json[5]["timeout_seconds"], &json[4]["capabilities"]), (&600.into(), &"ALL".into()));
}

fn the_user_behind_sudo_pings_and_captures_and_owns_the_file(node: &Node) {
    requires!(ping, tcpdump);
    policy(node, "[[rule]]\neffect = 'allow'\nusers = ['1000']\n");
    let container = web_0(node);
    let here = work(node);
    let as_user = |words: &[&str]| {
        let mut command = command(&[], words, &here);
        command.env("SUDO_UID", "1000").env("SUDO_GID", "1000").env("SUDO_USER", "somebody");
        tools::run(command)
    };
    as_user(&["web-0", "--", "ping", "-c", "1", "-W", "2", "127.0.0.1"]).expect_success();
    let capture = "tcpdump -i lo -c 1 -w capture.pcap & sleep 1; ping -c 3 127.0.0.1 > /dev/null; wait";
    as_user(&["web-0", "--", "bash", "-c", capture]).expect_success();
    let file = fs::metadata(here.join("capture.pcap")).unwrap();
    assert_eq!((file.uid(), file.gid()), (1000, 1000));
    assert!(file.len() > 24, "a packet, not only the header");
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    a_profile_of_the_site_extends_one,
    a_profile_that_is_too_long_is_refused,
    an_unknown_profile_is_an_error_that_lists_those_there_are,
    a_broken_profile_says_where_and_never_falls_back,
    a_profile_that_others_may_change_is_refused,
    no_profile_of_the_site_takes_a_built_in_name,
    profiles_are_listed,
    the_user_behind_sudo_pings_and_captures_and_owns_the_file,
);
