//! Who may do what: `policy.toml`, asked by `exec` and by `porthole policy`.

mod beforehand;
mod identity;
mod words;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use porthole_tests::tools::{self, Outcome, binary};
use porthole_tests::{Node, on_a_node, requires};
use serde_json::Value;

use crate::setting::{SUDO, as_ann, command, exec, output, own_etc, policy, web_0, work};

const FILE: &str = "/etc/porthole/policy.toml";

/// A rule for ann.
fn rule(keys: &str) -> String {
    format!("[[rule]]\nusers = ['1234']\neffect = 'allow'\n{keys}\n")
}

#[track_caller]
fn refused(outcome: &Outcome, why: &str) {
    assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
    assert!(
        outcome.stderr.contains("ask the policy: refused") && outcome.stderr.contains(why),
        "{outcome:?}"
    );
    assert_eq!(outcome.stdout, "");
}

fn without_a_policy_root_may_do_everything_and_nobody_else_anything(node: &Node) {
    let container = web_0(node);
    own_etc(node);
    assert!(!Path::new(FILE).exists());
    exec(&["web-0", "--", "true"]).expect_success();
    exec(&["--profile", "sysadmin", "web-0", "--", "true"]).expect_success();
    refused(&as_ann(&["web-0", "--", "echo", "ran"]), "there is no /etc/porthole/policy.toml");
    let groups = fs::read_to_string("/etc/group").unwrap();
    let others = groups.lines().filter(|line| !line.starts_with("sudo:"));
    let text: String = others.chain(["sudo:x:27:ann"]).map(|line| format!("{line}\n")).collect();
    fs::write("/etc/group", text).unwrap();
    as_ann(&["web-0", "--", "true"]).expect_success();
    fs::write("/etc/group", groups).unwrap();
    let mut root = command(&[], &["web-0", "--", "true"], Path::new("/"));
    root.envs([("SUDO_UID", "0"), ("SUDO_GID", "0"), ("SUDO_USER", "root")]);
    tools::run(root).expect_success();
    let mut garbage = command(&[], &["web-0", "--", "true"], Path::new("/"));
    garbage.env("SUDO_UID", "root");
    assert_eq!(tools::run(garbage).status.code(), Some(125), "what sudo cannot have said is not root");
    container.delete();
}

fn the_first_rule_that_matches_decides(node: &Node) {
    let container = web_0(node);
    let shop = rule("namespaces = ['sh*']");
    policy(node, &shop);
    as_ann(&["web-0", "--", "true"]).expect_success();
    policy(node, &rule("namespaces = ['team-*', '-']"));
    refused(&as_ann(&["web-0", "--", "echo", "ran"]), "rule 1: it is about other namespaces");
    let deny = "[[rule]]\neffect = 'deny'\nnamespaces = ['shop']\nreason = 'closed for today'\n";
    policy(node, &format!("{deny}{shop}"));
    refused(&as_ann(&["web-0", "--", "true"]), "by rule 1 (/etc/porthole/policy.toml:1): closed for today");
    policy(node, &format!("{shop}{deny}"));
    as_ann(&["web-0", "--", "true"]).expect_success();
    exec(&["web-0", "--", "true"]).expect_success();
    container.delete();
}

fn groups_are_those_of_the_hosts_files_and_of_sudo(node: &Node) {
    let container = web_0(node);
    own_etc(node);
    fs::create_dir_all("/etc/porthole").unwrap();
    let add = |file: &str, line: &str| {
        let text = fs::read_to_string(file).unwrap();
        fs::write(file, format!("{text}{line}\n")).unwrap();
    };
    add("/etc/passwd", "ann:x:1234:4321::/:/bin/sh");
    add("/etc/group", "sre-of-the-test:x:4567:bob,ann");
    for group in ["sre-of-the-test", "%4567", "4321", "567"] {
        policy(node, &format!("[[rule]]\ngroups = ['{group}']\neffect = 'allow'\n"));
        as_ann(&["web-0", "--", "true"]).expect_success();
    }
    for group in ["root", "%0", "daemon"] {
        policy(node, &format!("[[rule]]\ngroups = ['{group}']\neffect = 'allow'\n"));
        refused(&as_ann(&["web-0", "--", "true"]), "other users");
    }
    container.delete();
}

fn a_broken_policy_allows_nobody_and_says_where_it_is_broken(node: &Node) {
    let container = web_0(node);
    for (text, what) in [
        ("[[rule]]\nusers = ['1234']\neffect = 'alow'\n", ":3:10: effect is"),
        (&format!("{}[[rule]]\nusr = 1\neffect = 'deny'\n", rule("")), ":6:1: unknown field `usr`"),
        ("[[rule\n", ":1:"),
    ] {
        policy(node, text);
        refused(
            &as_ann(&["web-0", "--", "true"]),
            &format!("the policy is broken, so it allows nothing: {FILE}{what}"),
        );
        let shown = tools::porthole(&["policy", "show"]);
        assert!(
            shown.status.code() == Some(2) && shown.stderr.contains(&format!("{FILE}{what}")),
            "{shown:?}"
        );
        exec(&["web-0", "--", "true"]).expect_success();
    }
    fs::write(FILE, b"# \n\xff\n").unwrap();
    refused(&as_ann(&["web-0", "--", "true"]), ":2:1: it is no UTF-8");
    container.delete();
}

fn a_policy_that_others_can_write_is_none(node: &Node) {
    let container = web_0(node);
    let ask = || as_ann(&["web-0", "--", "true"]);
    let mode = |path: &str, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    policy(node, &rule(""));
    ask().expect_success();
    mode(FILE, 0o664);
    refused(&ask(), "others than root can write to it (mode 0664)");
    mode(FILE, 0o646);
    refused(&ask(), "others than root can write to it (mode 0646)");
    mode(FILE, 0o600);
    ask().expect_success();
    chown(FILE, Some(1234), None).unwrap();
    refused(&ask(), "it belongs to uid 1234, not to root");
    chown(FILE, Some(0), None).unwrap();
    mode("/etc/porthole", 0o777);
    refused(&ask(), "/etc/porthole: others than root can write to it");
    mode("/etc/porthole", 0o755);
    fs::rename(FILE, "/etc/porthole/elsewhere.toml").unwrap();
    symlink("elsewhere.toml", FILE).unwrap();
    ask().expect_success();
    chown("/etc/porthole/elsewhere.toml", Some(1234), None).unwrap();
    refused(&ask(), "it belongs to uid 1234");
    fs::remove_file("/etc/porthole/elsewhere.toml").unwrap();
    refused(&ask(), "No such file");
    fs::remove_file(FILE).unwrap();
    fs::create_dir(FILE).unwrap();
    refused(&ask(), "it is no regular file");
    container.delete();
}

fn a_configuration_of_ones_own_is_for_root_alone(node: &Node) {
    let container = web_0(node);
    let own = work(node).join("config.toml");
    fs::write(&own, "").unwrap();
    fs::write(own.with_file_name("policy.toml"), rule("")).unwrap();
    policy(node, "");
    let words = ["--config", own.to_str().unwrap(), "web-0", "--", "true"];
    let outcome = as_ann(&words);
    assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
    assert!(outcome.stderr.contains("only root"), "{outcome:?}");
    exec(&words).expect_success();
    // What is none is quoted in the error.
    for words in [&["policy", "show"][..], &["list"], &["inspect", "web-0"], &["profiles"], &["reconcile"]] {
        let mut porthole = Command::new(binary("porthole"));
        porthole.args(["--config", "/etc/shadow"]).args(words).envs(SUDO);
        let outcome = tools::run(porthole);
        assert_eq!(outcome.status.code(), Some(2), "{words:?}: {outcome:?}");
        assert!(outcome.stderr.contains("only root") && !outcome.stderr.contains("root:"), "{outcome:?}");
    }
    container.delete();
}

fn a_command_is_known_by_its_place_and_runs_from_there(node: &Node) {
    let container = web_0(node);
    let work = work(node);
    let at = |name: &str| work.join(name).to_str().unwrap().to_owned();
    fs::write(work.join("id"), "#!/bin/sh\necho forged\n").unwrap();
    fs::set_permissions(work.join("id"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("/usr/bin/id", work.join("link")).unwrap();
    symlink("/usr/bin", work.join("bin")).unwrap();
    symlink("id", work.join("whoami")).unwrap();
    let path = format!("PATH={}", work.display());
    for pattern in ["id", "/usr/bin/id", "/bin/id", "/usr/bin/i?", "id -u"] {
        policy(node, &rule(&format!("commands = [\"{pattern}\"]\nallow = ['env']")));
        for program in ["id", "/usr/bin/id", "/bin/id", "/usr/bin/../bin/./id", &at("bin/id")] {
            assert_eq!(
                as_ann(&["web-0", "--", program, "-u"]).expect_success(),
                "1234\n",
                "{pattern} {program}"
            );
        }
        for program in [&at("id"), &at("link"), "/usr/bin/env", "sh", &at("whoami")] {
            refused(&as_ann(&["web-0", "--", program, "-u"]), "it is about other commands");
        }
        refused(&as_ann(&["-e", &path, "web-0", "--", "id", "-u"]), "it is about other commands");
    }
    refused(&as_ann(&["web-0", "--", "id", "-u", "-n"]), "it is about other commands");
    refused(&as_ann(&["web-0", "--", "no-such-program"]), "no such program");
    policy(node, &rule("commands = ['id']\nallow = ['env']"));
    let shown = as_ann(&["-e", "LD_SHOW_AUXV=1", "web-0", "--", &at("bin/id"), "-u"]);
    let executed = shown.expect_success().lines().find_map(|line| line.strip_prefix("AT_EXECFN:"));
    assert_eq!(
        executed.map(str::trim),
        Some("/usr/bin/id"),
        "not by way of a link that may be another by then"
    );
    policy(node, &rule("commands = ['id']"));
    refused(&as_ann(&["-e", "LD_PRELOAD=/tmp/x.so", "web-0", "--", "id"]), "does not allow env");
    let mut plan = command(&[], &["--explain", "web-0", "--", &at("bin/id")], Path::new("/"));
    plan.envs(SUDO);
    let plan = tools::run(plan);
    assert!(
        plan.expect_success().contains("policy       allowed by rule 1 (/etc/porthole/policy.toml:1)"),
        "{plan:?}"
    );
    container.delete();
}

fn explain_shows_the_verdict_and_json_names_the_code(node: &Node) {
    let container = web_0(node);
    assert!(
        output(&["--explain", "web-0", "--", "true"])
            .contains("policy       allowed: root may do everything\n")
    );
    let other = "[[rule]]\nusers = ['1234']\neffect = 'allow'\nnamespaces = ['elsewhere']\n";
    policy(node, &format!("{other}{}", rule("profiles = ['restricted']\nreason = 'looking'")));
    let json = |words: &[&str]| {
        let outcome = as_ann(&[&["-o", "json"], words].concat());
        (
            serde_json::from_str::<Value>(if outcome.stdout.is_empty() {
                &outcome.stderr
            } else {
                &outcome.stdout
            })
            .unwrap(),
            outcome,
        )
    };
    let (plan, _) = json(&["--explain", "web-0", "--", "true"]);
    assert_eq!(plan["policy"]["allowed"], false);
    let (plan, _) = json(&["--explain", "--profile", "restricted", "web-0", "--", "true"]);
    assert_eq!((&plan["policy"]["rule"], &plan["policy"]["reason"]), (&2.into(), &"looking".into()));
    let (error, outcome) = json(&["web-0", "--", "true"]);
    assert_eq!((&error["code"], outcome.status.code()), (&"policy".into(), Some(125)));
    assert!(
        error["remedy"].as_str().unwrap().contains("porthole policy check ann shop/web-0 general -- true")
    );
    container.delete();
}

fn check_tells_which_rule_decides_and_why_others_do_not(node: &Node) {
    let container = web_0(node);
    policy(
        node,
        "[[rule]]\nusers = ['2000']\neffect = 'allow'\n\n\
         [[rule]]\nusers = ['1234']\nnamespaces = ['shop', 'team-*']\nprofiles = ['netadmin']\ncommands = ['ip link *']\neffect = 'allow'\nreason = 'links'\n\n\
         [[rule]]\nusers = ['1234']\npods = ['db-*']\neffect = 'deny'\n",
    );
    let check = |words: &[&str]| tools::porthole(&[&["policy", "check"], words].concat());
    for (words, status, text) in [
        (
            &["1234", "web-0", "netadmin", "--", "ip", "link", "set", "eth0", "up"][..],
            0,
            "allowed by rule 2 (/etc/porthole/policy.toml:5): links",
        ),
        (
            &["1234", "web-0", "netadmin", "ip", "addr"],
            5,
            "rule 2 (line 5) does not match: it is about other commands",
        ),
        (&["1234", "web-0", "netadmin"], 5, "command  /bin/sh"),
        (&["1234", "team-a/none-yet", "netadmin", "ip", "link"], 0, "namespace team-a, pod none-yet"),
        (
            &["1234", "other/web-0", "netadmin", "ip", "link"],
            5,
            "rule 2 (line 5) does not match: it is about other namespaces",
        ),
        (&["1234", "shop/db-0", "general", "true"], 5, "refused by rule 3 (/etc/porthole/policy.toml:13)"),
        (&["2000", "shop/db-0", "general", "true"], 0, "allowed by rule 1"),
        (
            &["--with", "enter", "2000", "shop/db-0", "general", "true"],
            5,
            "rule 1 (line 1) does not match: it does not allow enter",
        ),
        (&["2000", "pid:1", "general", "true"], 5, "does not allow host"),
        (&["root", "web-0", "sysadmin"], 0, "allowed: root may do everything"),
    ] {
        let outcome = check(words);
        assert_eq!(outcome.status.code(), Some(status), "{outcome:?}");
        assert!(outcome.stdout.contains(text), "{outcome:?}");
    }
    assert_eq!(check(&["1234", "nothing-like-it", "general"]).status.code(), Some(3));
    assert_eq!(check(&["nobody-here", "web-0", "general"]).status.code(), Some(1));
    let answer = check(&["1234", "web-0", "general", "--", "ip", "link"]);
    let json =
        tools::porthole(&["-o", "json", "policy", "check", "1234", "web-0", "general", "--", "ip", "link"]);
    assert_eq!((answer.status.code(), json.status.code()), (Some(5), Some(5)));
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (&json["allowed"], &json["namespace"], &json["uid"]),
        (&false.into(), &"shop".into(), &1234.into())
    );
    assert_eq!(json["not_matched"].as_array().unwrap().len(), 3);
    assert_eq!(
        json["not_matched"][1],
        serde_json::json!({"rule": 2, "line": 5, "why": "it is not about profile general"})
    );
    // What check says is what exec does.
    refused(&as_ann(&["web-0", "--", "ip", "link"]), "not about profile general");
    as_ann(&["--profile", "netadmin", "web-0", "--", "ip", "link", "show"]).expect_success();
    let shown = tools::porthole(&["policy", "show"]);
    let second =
        shown.expect_success().lines().nth(2).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(second, "2 5 allow 1234 shop,team-* any netadmin \"ip link *\" - - links");
    container.delete();
}

fn the_examples_are_accepted(node: &Node) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    policy(node, &fs::read_to_string(root.join("policy.toml.example")).unwrap());
    let shown = tools::porthole(&["policy", "show"]);
    assert_eq!(shown.expect_success().lines().count(), 6);
    let denied = tools::porthole(&["policy", "check", "1234", "vault/x", "restricted", "ping"]);
    assert!(denied.stdout.contains("refused by rule 1"), "{denied:?}");
    requires!(visudo);
    let sudoers = node.scratch().join("sudoers");
    fs::copy(root.join("sudoers.d/porthole"), &sudoers).unwrap();
    fs::set_permissions(&sudoers, fs::Permissions::from_mode(0o440)).unwrap();
    let mut visudo = Command::new("visudo");
    visudo.arg("-cf").arg(&sudoers);
    tools::run(visudo).expect_success();
}

on_a_node!(requires(root, ip, runc):
    without_a_policy_root_may_do_everything_and_nobody_else_anything,
    the_first_rule_that_matches_decides,
    groups_are_those_of_the_hosts_files_and_of_sudo,
    a_broken_policy_allows_nobody_and_says_where_it_is_broken,
    a_policy_that_others_can_write_is_none,
    a_configuration_of_ones_own_is_for_root_alone,
    a_command_is_known_by_its_place_and_runs_from_there,
    explain_shows_the_verdict_and_json_names_the_code,
    check_tells_which_rule_decides_and_why_others_do_not,
    the_examples_are_accepted,
);
