//! Who a target is to the policy: each pod that shares a namespace or a cgroup with it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use porthole_tests::pod::EnginePin;
use porthole_tests::process::{Sleeper, wait_until};
use porthole_tests::{Bundle, Container, Node, Runtime, on_a_node, tools};
use serde_json::{Value, json};

use super::{refused, rule};
use crate::setting::{as_ann, comm, policy};

/// ann may do everything but in `vault`.
fn all_but_vault() -> String {
    let deny = "[[rule]]\neffect = 'deny'\nnamespaces = ['vault']\nreason = 'not theirs'\n";
    format!("{deny}{}", rule("allow = ['enter', 'host']"))
}

fn pod(node: &Node, namespace: &str, name: &str, container: &str) -> Bundle {
    Bundle::of_pod(node, namespace, name, container, "/none").own_netns()
}

/// The one process that the first process of a container has started.
fn child_of(container: &Container) -> u32 {
    let children = format!("/proc/{0}/task/{0}/children", container.pid());
    let read = || fs::read_to_string(&children).ok()?.trim().parse::<u32>().ok();
    wait_until("the child", || read().is_some());
    read().unwrap()
}

/// Runs `script` as a child, with what it takes to make namespaces.
fn with_child(bundle: Bundle, script: &str) -> Bundle {
    let capabilities = json!(["CAP_SYS_ADMIN"]);
    let script = format!("{script} & wait");
    bundle.args(&["/bin/sh", "-c", &script]).with(|config| {
        for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
            config["process"]["capabilities"][set] = capabilities.clone();
        }
    })
}

fn a_rule_for_a_pod_covers_a_process_of_it_with_another_network_namespace(node: &Node) {
    policy(node, &all_but_vault());
    for script in ["unshare -n sleep 5000", "unshare -n -m -u -i sleep 5000"] {
        let vault = Container::run(Runtime::Runc, &with_child(pod(node, "vault", "db", "app"), script));
        let child = child_of(&vault);
        let netns = format!("/proc/{child}/ns/net");
        wait_until("its network namespace", || {
            fs::read_link(&netns).ok() != fs::read_link(format!("/proc/{}/ns/net", vault.pid())).ok()
        });
        let target = format!("pid:{child}");
        for words in [&["-n", "-m", &target][..], &["-n", &target], &["-a", &target], &[&netns]] {
            let words = [words, &["--", "/bin/busybox", "true"]].concat();
            refused(
                &as_ann(&words),
                "refused for vault/db by rule 1 (/etc/porthole/policy.toml:1): not theirs",
            );
        }
        let check = tools::porthole(&["policy", "check", "1234", &target, "general", "true"]);
        assert!(check.stdout.contains("refused for vault/db by rule 1"), "{check:?}");
        vault.delete();
    }
}

/// No process is in it, and no path of the host leads there.
fn a_rule_for_a_pod_covers_a_network_namespace_that_it_alone_has_pinned(node: &Node) {
    policy(node, &all_but_vault());
    let pin = "/bin/busybox touch /tmp/pin; /bin/busybox mount -o bind /proc/self/ns/net /tmp/pin";
    let script = format!("{{ unshare -n sh -c '{pin}'; exec 5</tmp/pin; exec sleep 5000; }}");
    let vault = Container::run(Runtime::Runc, &with_child(pod(node, "vault", "db", "app"), &script));
    let child = child_of(&vault);
    wait_until("the pin", || comm(child) == "sleep");
    let link = node.scratch().join("link");
    let pinned = format!("/proc/{child}/root/tmp/pin");
    symlink(&pinned, &link).unwrap();
    tools::porthole(&["exec", &pinned, "--", "true"]).expect_success();
    let places = [&pinned, &format!("/proc/{child}/fd/5"), link.to_str().unwrap()];
    for place in places {
        let outcome = as_ann(&[place, "--", "true"]);
        assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
        assert!(outcome.stderr.contains(&format!("no network namespace at {place}")), "{outcome:?}");
    }
    // What is on the host is nobody's; a process tells whose the others are.
    tools::ip(&["netns", "add", "plain"]).expect_success();
    as_ann(&["netns:plain", "--", "true"]).expect_success();
    tools::ip(&["netns", "del", "plain"]).expect_success();
    let process = Sleeper::unshared(&["-n"]);
    fs::remove_file(&link).unwrap();
    symlink(format!("/proc/{}/ns/net", process.pid()), &link).unwrap();
    as_ann(&[link.to_str().unwrap(), "--", "true"]).expect_success();
    drop(process);
    vault.delete();
}

/// Nothing is shared but the pid namespace around its own.
fn a_rule_for_a_pod_covers_what_is_nested_in_it(node: &Node) {
    policy(node, &all_but_vault());
    let script = "unshare -n -m -u -i -p -f sleep 5000";
    let vault = Container::run(Runtime::Runc, &with_child(pod(node, "vault", "db", "app"), script));
    let children =
        |pid: u32| fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let unshare = child_of(&vault);
    wait_until("the grandchild", || !children(unshare).trim().is_empty());
    let nested: u32 = children(unshare).trim().parse().unwrap();
    // Out of the container's cgroups, as one could be that was started with others.
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        drop(fs::write(hierarchy.path().join("cgroup.procs"), nested.to_string()));
    }
    drop(fs::write("/sys/fs/cgroup/cgroup.procs", nested.to_string()));
    let target = format!("pid:{nested}");
    refused(&as_ann(&["-n", "-m", &target, "--", "true"]), "refused for vault/db by rule 1");
    vault.delete();
}

/// Nothing is shared but the cgroup.
fn a_rule_for_a_pod_covers_its_cgroup(node: &Node) {
    policy(node, &all_but_vault());
    let vault = Container::run(Runtime::Runc, &pod(node, "vault", "db", "app"));
    let moved = Sleeper::unshared(&["--net", "--mount", "--uts", "--ipc"]);
    let cgroup = node.cgroup(vault.id());
    let mut written = false;
    let mut hierarchies: Vec<_> =
        fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|e| e.path()).collect();
    hierarchies.push("/sys/fs/cgroup".into());
    for hierarchy in hierarchies {
        let procs = hierarchy.join(cgroup.trim_start_matches('/')).join("cgroup.procs");
        written |= fs::write(procs, moved.pid().to_string()).is_ok();
    }
    assert!(written, "the container's cgroup {cgroup}");
    let target = format!("pid:{}", moved.pid());
    refused(&as_ann(&["-n", &target, "--", "true"]), "refused for vault/db by rule 1");
    moved.end();
    vault.delete();
}

/// The file of a container's record.
fn record(node: &Node, id: &str) -> std::path::PathBuf {
    node.run_dir().join(format!("containers/{id}.json"))
}

/// Has the record of a container that ended without a sign tell of the network namespace that has `ino` now.
fn leave_a_stale_record(node: &Node, container: Container, ino: u64) -> String {
    let id = container.id().to_owned();
    let file = record(node, &id);
    let mut stale: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let before = stale["namespaces"]["net"]["ino"].as_u64().unwrap();
    stale["namespaces"]["net"]["ino"] = ino.into();
    container.kill();
    tools::ip(&["netns", "del", stale["pin"]["name"].as_str().unwrap()]).expect_success();
    drop(fs::remove_dir_all(node.run_dir().join(format!("netns/{before}"))));
    fs::write(&file, stale.to_string()).unwrap();
    container.delete();
    id
}

fn a_stale_record_names_no_pod(node: &Node) {
    let live = Container::run(Runtime::Runc, &pod(node, "shop", "web-0", "web"));
    let without_end = pod(node, "vault", "db", "aaa").hooked(&["createRuntime"]);
    let ended = Container::run(Runtime::Runc, &without_end);
    let id = leave_a_stale_record(node, ended, live.netns().ino);
    let json = |words: &[&str]| -> Value {
        let outcome = tools::porthole(&[&["-o", "json"], words].concat());
        serde_json::from_str(outcome.expect_success()).unwrap_or_else(|e| panic!("{e}: {outcome:?}"))
    };
    let rows = json(&["list"]);
    let of = |pod: &str| rows.as_array().unwrap().iter().find(|row| row["pod"] == pod).unwrap().clone();
    assert_eq!(
        (&of("web-0")["namespace"], &of("web-0")["netns"], &of("web-0")["running"]),
        (&json!("shop"), &json!(live.netns().ino), &json!(true)),
        "{rows}"
    );
    assert_eq!((&of("db")["netns"], &of("db")["running"]), (&Value::Null, &json!(false)), "{rows}");
    for trace in [live.pid().to_string(), live.netns().ino.to_string(), "netns:web-0".to_owned()] {
        let found = json(&["identify", &trace]);
        assert_eq!(
            (found.as_array().unwrap().len(), &found[0]["pod"]),
            (1, &json!("web-0")),
            "{trace}: {found}"
        );
    }
    policy(node, &all_but_vault());
    as_ann(&["shop/web-0", "--", "true"]).expect_success();
    as_ann(&["-m", &format!("pid:{}", live.pid()), "--", "/bin/true"]).expect_success();
    policy(node, &rule("namespaces = ['vault']\nallow = ['enter']"));
    refused(&as_ann(&["shop/web-0", "--", "true"]), "it is about other namespaces");
    let gone = as_ann(&["vault/db", "--", "true"]);
    assert!(
        gone.status.code() == Some(125) && gone.stderr.contains("its network namespace has gone"),
        "{gone:?}"
    );
    let again = Container::run(Runtime::Runc, &pod(node, "vault", "db", "app"));
    let inspected = json(&["inspect", "vault/db"]);
    assert_eq!(inspected["network"]["inode"], again.netns().ino, "{inspected}");
    again.delete();
    // Nor does it name a target without a record.
    live.delete();
    let nameless = Sleeper::unshared(&["--net"]);
    let ino = porthole_tests::Netns::of(nameless.pid()).unwrap().ino;
    let mut stale: Value = serde_json::from_slice(&fs::read(record(node, &id)).unwrap()).unwrap();
    stale["namespaces"]["net"]["ino"] = ino.into();
    fs::write(record(node, &id), stale.to_string()).unwrap();
    let target = format!("pid:{}", nameless.pid());
    refused(&as_ann(&[&target, "--", "true"]), "it is about other namespaces");
    for trace in [nameless.pid().to_string(), ino.to_string()] {
        assert_eq!(tools::porthole(&["identify", &trace]).status.code(), Some(3), "{trace}");
    }
    nameless.end();
    fs::remove_file(record(node, &id)).unwrap();
}

fn a_container_that_joins_another_pods_network_does_not_rename_it(node: &Node) {
    let vault = Container::run(Runtime::Runc, &pod(node, "vault", "db", "zzz"));
    let path = format!("/proc/{}/ns/net", vault.pid());
    let joiner = Bundle::of_pod(node, "shop", "web-0", "aaa", &path);
    let joiner = Container::run(Runtime::Runc, &joiner);
    policy(node, &all_but_vault());
    // By the name that it gave itself there is no pod, and by its id it is both.
    let by_name = as_ann(&["-a", "shop/web-0", "--", "/bin/true"]);
    assert_eq!(by_name.status.code(), Some(125), "{by_name:?}");
    refused(&as_ann(&["-a", joiner.id(), "--", "/bin/true"]), "refused for vault/db by rule 1");
    let rows = tools::porthole(&["-o", "json", "list"]);
    let rows: Value = serde_json::from_str(rows.expect_success()).unwrap();
    for row in rows.as_array().unwrap() {
        assert_eq!((&row["pod"], &row["namespace"]), (&json!("db"), &json!("vault")), "{rows}");
    }
    // Nor does the name of the one allow what is not allowed of the other.
    let shop_denied = "[[rule]]\neffect = 'deny'\nnamespaces = ['shop']\n";
    policy(node, &format!("{shop_denied}{}", rule("allow = ['enter']")));
    refused(&as_ann(&["-n", "vault/db", "--", "true"]), "refused for shop/web-0 by rule 1");
    joiner.delete();
    as_ann(&["-n", "vault/db", "--", "true"]).expect_success();
    vault.delete();
}

fn a_live_sandbox_names_its_pod(node: &Node) {
    let sandbox = pod(node, "vault", "db", "").with(|config| {
        config["annotations"]["io.kubernetes.cri.container-type"] = "sandbox".into();
        config["annotations"].as_object_mut().unwrap().remove("io.kubernetes.cri.container-name");
    });
    let engine = EnginePin::new_netns("/run/cni/of-the-engine");
    // In the namespace first, so that the pin has its name.
    let early = Container::run(Runtime::Runc, &Bundle::of_pod(node, "shop", "web-0", "aaa", engine.path()));
    let sandbox = Container::run(Runtime::Runc, &sandbox.netns(engine.path()));
    let found = tools::porthole(&["-o", "json", "identify", &sandbox.netns().ino.to_string()]);
    let found: Value = serde_json::from_str(found.expect_success()).unwrap();
    assert_eq!((&found[0]["pod"], &found[0]["namespace"]), (&json!("db"), &json!("vault")), "{found}");
    early.delete();
    sandbox.delete();
    engine.remove();
    tools::porthole(&["reconcile"]).expect_success();
}

/// In back-off the index alone tells whose network namespace it is.
fn a_container_that_joined_does_not_name_what_is_left_of_a_pod(node: &Node) {
    let engine = EnginePin::new_netns("/run/cni/of-the-engine");
    let vault = Container::run(Runtime::Runc, &Bundle::of_pod(node, "vault", "db", "app", engine.path()));
    let joiner = Container::run(Runtime::Runc, &Bundle::of_pod(node, "shop", "web-0", "aaa", engine.path()));
    joiner.delete();
    vault.delete();
    let rows = tools::porthole(&["-o", "json", "list"]);
    let rows: Value = serde_json::from_str(rows.expect_success()).unwrap();
    assert_eq!((&rows[0]["pod"], &rows[0]["namespace"]), (&json!("db"), &json!("vault")), "{rows}");
    policy(node, &all_but_vault());
    refused(&as_ann(&["netns:db", "--", "true"]), "by rule 1");
    engine.remove();
    tools::porthole(&["reconcile"]).expect_success();
    assert!(!Path::new("/run/netns/db").exists());
}

/// By a link of `/proc` the root of any process is a directory.
fn a_rule_for_a_pod_covers_its_file_system(node: &Node) {
    let deny = "[[rule]]\neffect = 'deny'\nnamespaces = ['vault']\n";
    policy(node, &format!("{deny}{}", rule("allow = ['enter', 'chroot', 'directory']")));
    let vault = Container::run(Runtime::Runc, &pod(node, "vault", "db", "app"));
    let shop = Container::run(Runtime::Runc, &pod(node, "shop", "web-0", "app"));
    let link = node.scratch().join("link");
    symlink(format!("/proc/{}/root", vault.pid()), &link).unwrap();
    let of_process = ["root", "cwd", "task/../root"].map(|name| format!("/proc/{}/{name}", vault.pid()));
    for place in of_process.into_iter().chain([link.to_str().unwrap().to_owned()]) {
        for option in ["-r", "-w"] {
            let outcome = as_ann(&[&format!("{option}={place}"), "-n", "web-0", "--", "/bin/busybox", "ls"]);
            assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
            assert!(outcome.stderr.contains("leads through a link of /proc"), "{outcome:?}");
        }
    }
    shop.delete();
    vault.delete();
}

on_a_node!(requires(root, ip, runc):
    a_rule_for_a_pod_covers_a_process_of_it_with_another_network_namespace,
    a_rule_for_a_pod_covers_a_network_namespace_that_it_alone_has_pinned,
    a_rule_for_a_pod_covers_what_is_nested_in_it,
    a_rule_for_a_pod_covers_its_cgroup,
    a_rule_for_a_pod_covers_its_file_system,
    a_stale_record_names_no_pod,
    a_container_that_joins_another_pods_network_does_not_rename_it,
    a_live_sandbox_names_its_pod,
    a_container_that_joined_does_not_name_what_is_left_of_a_pod,
);
