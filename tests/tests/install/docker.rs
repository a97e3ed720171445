//! Docker: a runtime of ours in `daemon.json`, on real daemons.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use porthole_tests::engine::docker::{CONFIG, config};
use porthole_tests::engine::{Docker, system};
use porthole_tests::process::wait_until;
use porthole_tests::tools::{self, Outcome};
use porthole_tests::{Node, node, requires, test_path};
use serde_json::{Value, json};

const RUNTIME: &str = "/usr/libexec/porthole/porthole-runtime";
const HOOK: &str = "/usr/libexec/porthole/porthole-hook";
const GUARD: &str = "/etc/porthole/runtime/docker-runc";

/// Puts our programs where a package has them.
fn package() {
    fs::create_dir_all("/usr/libexec/porthole").unwrap();
    for (name, path) in
        [("porthole", "/usr/bin/porthole"), ("porthole-hook", HOOK), ("porthole-runtime", RUNTIME)]
    {
        fs::copy(tools::binary(name), path).unwrap();
    }
}

fn porthole(args: &[&str]) -> Outcome {
    let mut command = Command::new("/usr/bin/porthole");
    command.args(args).stdin(Stdio::null());
    tools::run(command)
}

fn install() -> String {
    porthole(&["install", "--engine", "docker"]).expect_success().to_owned()
}

fn uninstall() -> String {
    porthole(&["uninstall", "--engine", "docker"]).expect_success().to_owned()
}

fn default_runtime(docker: &Docker) -> Value {
    docker.info()["DefaultRuntime"].clone()
}

fn runtime_of(docker: &Docker, container: &str) -> String {
    let outcome = docker.call(&["container", "inspect", "--format", "{{.HostConfig.Runtime}}", container]);
    outcome.expect_success().trim().to_owned()
}

/// Nothing is left of a container.
fn expect_no_pod(node: &Node) {
    wait_until("no pin and no record", || node.pins().is_empty() && node.records().is_empty());
}

fn a_container_has_its_name_until_it_ends_and_everything_is_taken_back(node: &Node, version: &str) {
    let docker = Docker::start(node, version);
    package();
    let older = docker.run("older", &[], &[]);
    let before = system::changes();
    let said = install();
    assert!(said.contains("docker: reads the new configuration and answers"), "{said}");
    assert!(said.contains("1 that are there already"), "{said}");
    assert_eq!(default_runtime(&docker), "porthole");
    assert!(docker.inspect("older").pid == older.pid && node.pins().is_empty(), "it runs as it did");

    let web = docker.run("web", &[], &[]);
    assert_eq!(node.pins(), ["web"]);
    assert_eq!(node.pin("web"), Some(web.netns()));
    let addresses = tools::ip(&["netns", "exec", "web", "ip", "-br", "addr"]);
    assert!(addresses.expect_success().contains(&web.ip), "{addresses:?}");

    let installed = system::changes();
    assert!(install().contains("nothing to change"));
    assert_eq!(system::changes(), installed);

    docker.call(&["stop", "--time", "0", "web"]).expect_success();
    expect_no_pod(node);
    docker.call(&["start", "web"]).expect_success();
    assert_eq!(node.pin("web"), Some(docker.inspect("web").netns()));
    docker.rm("web");
    expect_no_pod(node);
    docker.call(&["restart", "--time", "0", "older"]).expect_success();
    assert_eq!((runtime_of(&docker, "older"), node.pins().len()), ("runc".to_owned(), 0));

    uninstall();
    assert_eq!(system::changes(), before);
    let info = docker.info();
    assert_eq!((&info["DefaultRuntime"], &info["Runtimes"]["porthole"]), (&json!("runc"), &Value::Null));
    let _ = docker.run("newer", &[], &[]);
    assert_eq!(runtime_of(&docker, "newer"), "runc");
    docker.rm("newer");
    docker.rm("older");
    node.expect_silence("containers that come and go");
}

fn what_a_site_has_set_stays_and_its_runtime_is_called(node: &Node, version: &str) {
    let more = json!({
        "runtimes": { "site": { "path": "runc", "runtimeArgs": ["--debug"] } }, "default-runtime": "site",
    });
    // As somebody has written it by hand.
    let text = config(node, &more).replace("  \"", "\t \"").replace("\": ", "\" :");
    let docker = Docker::configured(node, version, &text);
    package();
    install();
    let info = docker.info();
    assert_eq!(info["DefaultRuntime"], "porthole");
    assert!(info["Runtimes"]["site"].is_object(), "{}", info["Runtimes"]);
    let guard = fs::read_to_string("/etc/porthole/runtime/docker-site").unwrap();
    assert!(guard.ends_with("/runc --debug \"$@\"\n"), "{guard}");
    let web = docker.run("web", &[], &[]);
    assert_eq!(node.pin("web"), Some(web.netns()));
    let theirs = docker.run("theirs", &["--runtime", "site"], &[]);
    assert_eq!(node.pins(), ["web"], "{theirs:?} was to have another");
    docker.rm("theirs");
    docker.rm("web");
    expect_no_pod(node);
    uninstall();
    assert_eq!(fs::read_to_string(CONFIG).unwrap(), text);
    assert_eq!(default_runtime(&docker), "site");
}

fn programs_that_have_gone_fail_no_container(node: &Node, version: &str) {
    let docker = Docker::start(node, version);
    package();
    install();
    let lives = |name: &str| {
        let _ = docker.run(name, &[], &[]);
        docker.call(&["exec", name, "true"]).expect_success();
        docker.call(&["stop", "--time", "0", name]).expect_success();
        docker.call(&["start", name]).expect_success();
        docker.rm(name);
    };
    let hooked = docker.run("hooked", &[], &[]);
    assert_eq!(node.pin("hooked"), Some(hooked.netns()));
    fs::remove_file(HOOK).unwrap();
    lives("without-hook");
    fs::remove_file(RUNTIME).unwrap();
    lives("without-wrapper");
    docker.call(&["stop", "--time", "0", "hooked"]).expect_success();
    docker.call(&["start", "hooked"]).expect_success();
    docker.rm("hooked");
    package();
    tools::reconcile();
    expect_no_pod(node);
    let _ = node.log();
    uninstall();
}

fn a_container_made_with_it_starts_after_an_uninstall_until_it_is_removed(node: &Node, version: &str) {
    let docker = Docker::start(node, version);
    package();
    let before = system::changes();
    install();
    let _ = docker.run("stopped", &[], &[]);
    docker.call(&["stop", "--time", "0", "stopped"]).expect_success();
    let said = uninstall();
    assert!(said.contains("keep") && said.contains("1 container was made with it"), "{said}");
    assert_eq!(default_runtime(&docker), "runc");
    assert!(Path::new(GUARD).exists());
    for again in [false, true] {
        docker.call(&["start", "stopped"]).expect_success();
        docker.call(&["exec", "stopped", "true"]).expect_success();
        docker.call(&["stop", "--time", "0", "stopped"]).expect_success();
        if !again {
            docker.restart();
        }
    }
    let _ = docker.run("newer", &[], &[]);
    assert_eq!(runtime_of(&docker, "newer"), "runc");
    assert!(uninstall().contains("1 container was made with it"), "as before");
    docker.rm("stopped");
    docker.rm("newer");
    tools::reconcile();
    uninstall();
    assert_eq!(system::changes(), before);
    assert_eq!(docker.info()["Runtimes"]["porthole"], Value::Null);
}

fn a_restart_of_the_daemon_changes_nothing(node: &Node, version: &str) {
    let docker = Docker::configured(node, version, &config(node, &json!({ "live-restore": true })));
    package();
    install();
    let web = docker.run("web", &[], &[]);
    docker.restart();
    assert_eq!((default_runtime(&docker), docker.inspect("web").pid), (json!("porthole"), web.pid));
    assert_eq!(node.pin("web"), Some(web.netns()));
    docker.rm("web");
    expect_no_pod(node);
    uninstall();
}

fn a_daemon_that_does_not_take_it_has_its_configuration_back(node: &Node, version: &str) {
    let docker = Docker::start(node, version);
    package();
    // Written since its start, and wrong.
    let text = config(node, &json!({ "no-such-setting": true }));
    fs::write(CONFIG, &text).unwrap();
    let before = system::changes();
    let outcome = porthole(&["install", "--engine", "docker"]);
    assert!(!outcome.status.success() && outcome.stderr.contains("Docker has not taken"), "{outcome:?}");
    assert_eq!(system::changes(), before);
    assert_eq!(default_runtime(&docker), "runc");
}

fn what_was_written_and_not_read_is_read_by_the_next_run(node: &Node, version: &str) {
    let docker = Docker::start(node, version);
    package();
    let before = fs::read_to_string(CONFIG).unwrap();
    install();
    let after = fs::read_to_string(CONFIG).unwrap();
    // As if the first had been killed before it told the daemon.
    fs::write(CONFIG, config(node, &json!({ "default-runtime": "runc", "runtimes": {} }))).unwrap();
    docker.reload();
    wait_until("the daemon's own default", || default_runtime(&docker) == "runc");
    fs::write(CONFIG, &after).unwrap();
    install();
    assert_eq!(default_runtime(&docker), "porthole");
    // And an uninstall, before it told the daemon.
    fs::write(CONFIG, &before).unwrap();
    uninstall();
    assert_eq!(docker.info()["Runtimes"]["porthole"], Value::Null);
    assert_eq!(fs::read_to_string(CONFIG).unwrap(), before);
    assert!(!Path::new(GUARD).exists());
}

macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod docker_20_10 {
            $(#[test]
            fn $name() {
                super::requires!(root, ip, docker);
                super::node::run(super::test_path!(), |node| super::$name(node, "20.10"));
            })+
        }
        mod docker_26_1 {
            $(#[test]
            fn $name() {
                super::requires!(root, ip, docker);
                super::node::run(super::test_path!(), |node| super::$name(node, "26.1"));
            })+
        }
    };
}

on_both!(
    a_container_has_its_name_until_it_ends_and_everything_is_taken_back,
    what_a_site_has_set_stays_and_its_runtime_is_called,
    programs_that_have_gone_fail_no_container,
    a_container_made_with_it_starts_after_an_uninstall_until_it_is_removed,
    a_restart_of_the_daemon_changes_nothing,
    a_daemon_that_does_not_take_it_has_its_configuration_back,
    what_was_written_and_not_read_is_read_by_the_next_run,
);
