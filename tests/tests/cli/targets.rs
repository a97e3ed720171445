//! What a target means, and when it means nothing or too much.

use porthole_tests::pod::EnginePin;
use porthole_tests::process::{Sleeper, dead_pid};
use porthole_tests::{Bundle, Container, Node, Runtime, Sandbox, on_a_node};
use serde_json::json;

use crate::setting::{connect, error, ip, json, pod, porthole};

fn member(node: &Node, sandbox: &Sandbox, name: &str, id: &str) -> Container {
    let mut bundle = Bundle::of_pod(node, "shop", "web-0", name, &sandbox.netns_path());
    id.clone_into(&mut bundle.id);
    Container::run(Runtime::Runc, &bundle)
}

fn every_form_of_a_target_finds_its_pod(node: &Node) {
    let sandbox = Sandbox::start();
    let app = member(node, &sandbox, "app", "abcd0123456789");
    let sidecar = member(node, &sandbox, "sidecar", "abcf0123456789");
    let other = pod(node, "shop", "db-0");
    connect("web-0", "host0", "10.88.0.7");
    let (pid, inode) = (app.pid().to_string(), sandbox.netns().ino);
    for (target, containers) in [
        ("web-0", 2),
        ("shop/web-0", 2),
        ("shop/web-0/app", 1),
        ("sidecar", 1),
        ("abcd0123456789", 1),
        ("abcd", 1),
        ("abcf01", 1),
        (&format!("pid:{pid}"), 1),
        ("ip:10.88.0.7", 2),
        ("netns:web-0", 2),
        ("/run/netns/web-0", 2),
        ("/var/run/netns/web-0", 2),
        (&format!("/proc/{pid}/ns/net"), 2),
    ] {
        if target.starts_with("/var") && !std::path::Path::new(target).exists() {
            continue;
        }
        let found = json(&["inspect", target]);
        assert_eq!((&found["pod"], &found["namespace"]), (&json!("web-0"), &json!("shop")), "{target}");
        assert_eq!(found["network"]["inode"], inode, "{target}");
        assert_eq!(found["containers"].as_array().unwrap().len(), containers, "{target}");
        let entered = porthole(&["exec", target, "--", "readlink", "/proc/self/ns/net"]);
        assert_eq!(entered.expect_success().trim(), format!("net:[{inode}]"), "{target}");
    }
    for container in [app, sidecar, other] {
        container.delete();
    }
    sandbox.end();
    porthole_tests::tools::reconcile();
}

fn what_nobody_registered_is_found_by_pid_and_path(_: &Node) {
    let sleeper = Sleeper::unshared(&["--net"]);
    let pin = EnginePin::mount(sleeper.pid(), "/mnt/engine/cni-1");
    let by_pid = format!("pid:{}", sleeper.pid());
    for target in [by_pid.as_str(), pin.path()] {
        let found = json(&["inspect", target]);
        assert_eq!(found["network"]["inode"], pin.netns().ino, "{target}");
        assert!(found["pod"].is_null(), "{target}");
        let entered = porthole(&["exec", target, "--", "readlink", "/proc/self/ns/net"]);
        assert_eq!(entered.expect_success().trim(), format!("net:[{}]", pin.netns().ino), "{target}");
    }
    ip("netns add by-hand");
    assert!(json(&["inspect", "netns:by-hand"])["pod"].is_null());
    ip("netns del by-hand");
    pin.remove();
    sleeper.end();
}

fn ambiguous_is_an_error_with_candidates_never_a_guess(node: &Node) {
    let shop = pod(node, "shop", "web-0");
    let stage = pod(node, "stage", "web-0");
    for (target, words) in [
        ("web-0", ["shop/web-0", "stage/web-0"]),
        ("app", ["shop/web-0/app", "stage/web-0/app"]),
        ("000000", ["shop/web-0/app", "stage/web-0/app"]),
    ] {
        let report = error(4, &["inspect", target]);
        assert_eq!(report["code"], "ambiguous_target");
        let candidates = report["candidates"].as_array().unwrap();
        assert_eq!(candidates.len(), 2, "{report}");
        for (candidate, word) in candidates.iter().zip(words) {
            assert!(candidate.as_str().unwrap().starts_with(word), "{report}");
        }
        assert_eq!(error(125, &["exec", target, "--", "true"])["code"], "ambiguous_target");
        let text = porthole(&["inspect", target]).stderr;
        assert!(text.contains(words[0]) && text.contains(words[1]) && text.contains("\nhelp: "), "{text}");
    }
    assert_eq!(json(&["inspect", "stage/web-0"])["namespace"], "stage");
    shop.delete();
    stage.delete();
}

/// Ends the container without a call of its hook.
fn lose(container: Container) {
    container.kill();
    container.delete();
}

fn of_a_restarted_container_the_live_one_is_meant(node: &Node) {
    let sandbox = Sandbox::start();
    let app = |id: &str, pod: &str| {
        let mut bundle = Bundle::of_pod(node, "shop", pod, "app", &sandbox.netns_path());
        id.clone_into(&mut bundle.id);
        Container::run(Runtime::Runc, &bundle.hooked(&["createRuntime"]))
    };
    lose(app("abcd0123456789", "web-0"));
    lose(app("abcd1123456789", "web-0"));
    for target in ["app", "shop/web-0/app", "abcd"] {
        assert_eq!(error(4, &["inspect", target])["code"], "ambiguous_target", "{target}: neither lives");
    }
    let live = app("abcd2123456789", "web-0");
    for target in ["app", "shop/web-0/app", "abcd"] {
        let found = json(&["inspect", target]);
        assert_eq!(found["containers"][0]["id"], live.id(), "{target}");
        porthole(&["exec", target, "-m", "--", "/bin/true"]).expect_success();
    }
    assert_eq!(json(&["inspect", "abcd0123456789"])["containers"][0]["running"], false, "a whole id is it");
    let cgroup = node.record(live.id()).unwrap()["cgroup"].as_str().unwrap().to_owned();
    let around = cgroup.rsplit_once('/').unwrap().0;
    let found = json(&["identify", &format!("cgroup:{around}")]);
    let ids: Vec<_> = found.as_array().unwrap().iter().map(|row| &row["record"]["id"]).collect();
    assert_eq!(ids, [live.id()], "its cgroup is around the ended ones' too");
    // Containers with different names stay ambiguous, also if one of them has ended.
    let other = Container::run(
        Runtime::Runc,
        &Bundle::of_pod(node, "stage", "web-0", "app", "/none").own_netns().hooked(&["createRuntime"]),
    );
    lose(other);
    assert_eq!(error(4, &["inspect", "app"])["code"], "ambiguous_target");
    lose(live);
    sandbox.end();
    porthole_tests::tools::reconcile();
}

fn of_a_container_made_again_on_the_hosts_network_the_live_one_is_meant(node: &Node) {
    let run = || {
        let name = serde_json::Map::from_iter([("nerdctl/name".to_owned(), "agent".into())]);
        let bundle = Bundle::new(node).annotations(&name).host_network().hooked(&["createRuntime"]);
        Container::run(Runtime::Runc, &bundle)
    };
    lose(run());
    let live = run();
    assert_eq!(json(&["inspect", "agent"])["containers"][0]["id"], live.id());
    lose(live);
    porthole_tests::tools::reconcile();
}

fn for_more_than_the_network_a_pod_of_two_is_ambiguous(node: &Node) {
    let sandbox = Sandbox::start();
    let app = member(node, &sandbox, "app", "abcd0123456789");
    let sidecar = member(node, &sandbox, "sidecar", "abcf0123456789");
    for option in ["-m", "-p", "-a", "-r"] {
        let report = error(125, &["exec", option, "web-0", "--", "true"]);
        assert_eq!(report["code"], "ambiguous_target", "{option}");
        assert_eq!(report["candidates"].as_array().unwrap().len(), 2, "{option}: {report}");
    }
    porthole(&["exec", "-m", "shop/web-0/sidecar", "--", "/bin/true"]).expect_success();
    porthole(&["exec", "-n", "web-0", "--", "true"]).expect_success();
    app.delete();
    sidecar.delete();
    sandbox.end();
    porthole_tests::tools::reconcile();
}

fn no_such_target_is_3(node: &Node) {
    let container = pod(node, "shop", "web-0");
    let gone = format!("pid:{}", dead_pid());
    for target in [
        "nothing",
        "web-00",
        "shop/web-1",
        "other/web-0",
        "shop/web-0/none",
        "000",
        "ip:192.0.2.1",
        "netns:none",
        "/run/netns/none",
        &gone,
    ] {
        let report = error(3, &["inspect", target]);
        assert_eq!(report["code"], "no_such_target", "{target}: {report}");
        assert_eq!(error(125, &["exec", target, "--", "true"])["code"], "no_such_target", "{target}");
    }
    container.delete();
}

fn usage_is_2_and_in_front_of_a_command_125(_: &Node) {
    for words in [
        &["inspect", "a//b"][..],
        &["inspect", "pid:x"],
        &["inspect", "ip:1.2"],
        &["inspect"],
        &["no-such-command"],
        &["list", "--no-such-option"],
        &["--config", "/nonexistent.toml", "list"],
        &["identify", ""],
    ] {
        assert_eq!(error(2, words)["code"], "usage", "{words:?}");
    }
    for words in [
        &["exec"][..],
        &["exec", "a//b", "true"],
        &["exec", "--no-such-option", "x"],
        &["exec", "--cap-add", "FLY", "x"],
        &["--config", "/nonexistent.toml", "exec", "x", "true"],
    ] {
        assert_eq!(error(125, words)["code"], "usage", "{words:?}");
    }
    for words in [&["--help"][..], &["--version"], &["exec", "--help"]] {
        assert!(!porthole(words).expect_success().is_empty());
    }
}

on_a_node!(requires(root, ip, runc):
    every_form_of_a_target_finds_its_pod,
    what_nobody_registered_is_found_by_pid_and_path,
    ambiguous_is_an_error_with_candidates_never_a_guess,
    of_a_restarted_container_the_live_one_is_meant,
    of_a_container_made_again_on_the_hosts_network_the_live_one_is_meant,
    for_more_than_the_network_a_pod_of_two_is_ambiguous,
    no_such_target_is_3,
    usage_is_2_and_in_front_of_a_command_125,
);
