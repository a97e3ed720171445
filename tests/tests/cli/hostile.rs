//! What containers name and the kernel repeats: it is shown, and does nothing.

use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::time::Duration;

use porthole_tests::tools::Outcome;
use porthole_tests::{Bundle, Container, Node, Runtime, on_a_node, tools};
use serde_json::Value;

use crate::setting::{ip, json, pod, porthole};

/// No character of it does anything but end a line.
#[track_caller]
fn is_harmless(outcome: &Outcome) {
    let invisible = |c| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
    let acts = |c: char| c != '\n' && (c.is_control() || invisible(c));
    for text in [&outcome.stdout, &outcome.stderr] {
        assert!(!text.contains(acts), "{text:?}");
    }
}

/// As a person sees the columns, and as a program does.
fn columns(line: &str) -> [usize; 2] {
    let by_eye = line.split("  ").filter(|cell| !cell.trim().is_empty()).count();
    [by_eye, line.split_whitespace().count()]
}

fn names_of_others_move_no_column_and_reach_no_terminal(node: &Node) {
    let name = "app  containerd  1  \u{1b}[2J";
    let bundle = Bundle::of_pod(node, "shop", "web-0", name, "/none").own_netns().with(|config| {
        config["annotations"]["io.kubernetes.cri.image-name"] = "img:\u{202e}1\nforged row  x\u{a0}y".into();
    });
    let container = Container::run(Runtime::Runc, &bundle);
    for words in [&["list"][..], &["-o", "wide", "list"], &["identify", "web-0"]] {
        let outcome = porthole(words);
        is_harmless(&outcome);
        let lines: Vec<_> = outcome.expect_success().lines().collect();
        assert_eq!(lines.len(), 2, "{words:?}: {lines:#?}");
        assert_eq!(columns(lines[1]), columns(lines[0]), "{words:?}: {lines:#?}");
    }
    // The value itself is what the record has.
    let rows = json(&["list"]);
    assert_eq!(rows[0]["container"], rows[0]["record"]["name"]);
    assert!(rows[0]["container"].as_str().unwrap().starts_with("app  containerd  1  "), "{rows}");
    is_harmless(&porthole(&["inspect", "web-0"]));
    container.delete();
}

fn names_of_interfaces_and_paths_do_nothing(node: &Node) {
    let container = pod(node, "shop", "web-0");
    let red = "\u{1b}[31mx\u{202e}y";
    for words in [
        &["link", "add", "\u{9b}2Jhost", "type", "veth", "peer", "name", red, "netns", "web-0"][..],
        &["link", "add", "br\u{1b}]0;t", "type", "bridge"],
        &["link", "set", "\u{9b}2Jhost", "master", "br\u{1b}]0;t"],
        &["link", "set", "\u{9b}2Jhost", "up"],
        &["-n", "web-0", "addr", "add", "10.88.0.7/24", "dev", red],
    ] {
        tools::ip(words).expect_success();
    }
    let inspect = porthole(&["inspect", "web-0"]);
    is_harmless(&inspect);
    assert!(inspect.expect_success().contains("    ?[31mx?y  "), "{inspect:?}");
    assert!(inspect.stdout.contains("port of br?]0;t)"), "{inspect:?}");
    let raw = porthole(&["-o", "json", "inspect", "web-0"]);
    is_harmless(&raw);
    let report: Value = serde_json::from_str(raw.expect_success()).unwrap();
    let interfaces = report["network"]["interfaces"].as_array().unwrap();
    assert!(interfaces.iter().any(|link| link["name"] == red), "JSON has the name itself: {report}");
    // A network namespace that no record tells of.
    let path = "/run/netns/a\nforged line\u{1b}[2J";
    tools::ip(&["netns", "add", "plain"]).expect_success();
    fs::write(path, "").unwrap();
    rustix::mount::mount_bind("/run/netns/plain", path).unwrap();
    let inspect = porthole(&["inspect", path]);
    is_harmless(&inspect);
    assert!(inspect.expect_success().starts_with("/run/netns/a?forged line?[2J (of no "), "{inspect:?}");
    for words in [&["inspect", "no\u{1b}[2J\nporthole: forged"][..], &["exec", path, "--", "no\u{1b}[2J\nx"]]
    {
        let outcome = porthole(words);
        assert!(!outcome.status.success(), "{outcome:?}");
        is_harmless(&outcome);
        assert!(!outcome.stderr.contains("\nporthole: forged"), "{outcome:?}");
    }
    rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).unwrap();
    fs::remove_file(path).unwrap();
    tools::ip(&["netns", "del", "plain"]).expect_success();
    container.delete();
}

const MANY: usize = 10_000;

fn a_pod_with_thousands_of_addresses_has_lines_with_an_end(node: &Node) {
    let container = pod(node, "shop", "web-0");
    ip("-n web-0 link add many0 type veth peer name many1");
    let mut batch = String::new();
    for number in 0..MANY {
        let (b, c) = (number >> 8, number & 255);
        writeln!(batch, "addr add 10.99.{b}.{c}/32 dev many0").unwrap();
    }
    for number in 0..50 {
        writeln!(batch, "link add d{number} type veth peer name e{number}").unwrap();
    }
    let file = node.scratch().join("batch");
    fs::write(&file, batch).unwrap();
    let mut ip = Command::new("ip");
    ip.args(["-n", "web-0", "-batch"]).arg(&file);
    tools::run(ip).expect_success();
    for words in [&["list"][..], &["-o", "wide", "list"], &["inspect", "web-0"], &["identify", "10.99.1.1"]] {
        let outcome = porthole(words);
        let longest = outcome.expect_success().lines().map(str::len).max().unwrap();
        assert!(longest < 400, "{words:?}: a line of {longest} bytes");
        assert!(outcome.stdout.lines().count() < 200, "{words:?}: {} lines", outcome.stdout.lines().count());
        assert!(outcome.stdout.contains(" more"), "{words:?}: {}", outcome.stdout);
        assert!(outcome.took < Duration::from_secs(5), "{words:?}: {:?}", outcome.took);
    }
    assert!(porthole(&["list"]).stdout.contains(&format!("+{} more", MANY - 4)));
    assert_eq!(json(&["list"])[0]["ips"].as_array().unwrap().len(), MANY);
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    names_of_others_move_no_column_and_reach_no_terminal,
    names_of_interfaces_and_paths_do_nothing,
    a_pod_with_thousands_of_addresses_has_lines_with_an_end,
);
