//! What is found, and what becomes of it.

use std::fs;
use std::path::Path;

use porthole_tests::pod::EnginePin;
use porthole_tests::{Bundle, Container, Netns, Node, Runtime, on_a_node, tools};
use serde_json::Value;

use crate::setting::{
    adopted, cri_o, delete_task, reconcile, run_task, sandbox, sandbox_without_process, task, unhooked,
    userdata,
};

const NONE: [String; 0] = [];

fn a_container_without_hooks_is_adopted(node: &Node) {
    for runtime in [Runtime::Runc, Runtime::Crun] {
        let container = Container::run(runtime, &unhooked(node, "web-0"));
        assert_eq!((node.records(), node.pins()), (vec![], vec![]), "{runtime:?}");
        assert_eq!(adopted(), [container.id()], "{runtime:?}");
        let record = node.record(container.id()).unwrap();
        assert_eq!(
            (&record["stage"], &record["engine"], &record["name"], &record["pid"]),
            (&"adopt".into(), &"containerd".into(), &"app".into(), &container.pid().into())
        );
        assert_eq!((&record["pod"]["name"], &record["pin"]["name"]), (&"web-0".into(), &"web-0".into()));
        assert_eq!(record["bundle"], container.bundle().dir.to_str().unwrap());
        assert_eq!(node.pin("web-0"), Some(container.netns()));
        tools::ip(&["netns", "exec", "web-0", "true"]).expect_success();
        assert_eq!(adopted(), NONE, "a second time there is nothing to do");
        assert_eq!(node.record(container.id()).unwrap(), record);
        let id = container.id().to_owned();
        container.delete();
        assert_eq!(reconcile(), [("release".to_owned(), id)], "{runtime:?}");
    }
    node.expect_silence("adoption");
}

fn the_age_is_the_containers_and_not_that_of_its_record(node: &Node) {
    let container = Container::run(Runtime::Runc, &unhooked(node, "web-0"));
    std::thread::sleep(std::time::Duration::from_millis(3100));
    assert_eq!(adopted(), [container.id()]);
    let time = |value: &Value| -> u64 {
        let mut date = std::process::Command::new("date");
        date.args(["-u", "+%s", "-d", value.as_str().unwrap_or_default()]);
        tools::run(date).expect_success().trim().parse().unwrap()
    };
    let shown = |words: &[&str]| -> Value {
        serde_json::from_str(tools::porthole(&[&["-o", "json"], words].concat()).expect_success()).unwrap()
    };
    let (row, inspected) = (&shown(&["list"])[0], shown(&["inspect", "web-0"]));
    let record = node.record(container.id()).unwrap();
    for started in [&row["started"], &inspected["containers"][0]["started"]] {
        let before = time(&record["created"]).checked_sub(time(started)).unwrap();
        assert!((2..20).contains(&before), "{started} is {before} s before {}", record["created"]);
    }
    let table = tools::porthole(&["list"]).expect_success().to_owned();
    let age = table.lines().nth(1).unwrap().split_whitespace().last().unwrap().to_owned();
    assert!(age.trim_end_matches('s').parse::<u64>().unwrap() >= 3, "{table}");
    let page = tools::porthole(&["inspect", "web-0"]).expect_success().to_owned();
    assert!(page.contains(&format!("started {}", row["started"].as_str().unwrap())), "{page}");
    // An ended container keeps its age.
    container.kill();
    assert_eq!(shown(&["list"])[0]["started"], row["started"]);
    container.delete();
    reconcile();
}

fn a_container_that_was_only_created_is_adopted_too(node: &Node) {
    for runtime in [Runtime::Runc, Runtime::Crun] {
        let container = Container::create(runtime, &unhooked(node, "web-0"));
        assert_eq!(adopted(), [container.id()]);
        container.start();
        assert_eq!(adopted(), NONE);
        container.delete();
        reconcile();
    }
}

fn a_pod_of_two_and_its_sandbox_are_one_pin_named_after_the_pod(node: &Node) {
    let engine = EnginePin::new_netns("/run/engine-netns/cni-1");
    let pause = run_task(Runtime::Runc, &task(sandbox(node, "shop", "web-0", engine.path()), "k8s.io"));
    let netns = format!("/proc/{}/ns/net", pause.pid());
    let app = |name: &str| {
        let bundle = Bundle::of_pod(node, "shop", "web-0", name, &netns).hooked(&[]);
        run_task(Runtime::Runc, &task(bundle, "k8s.io"))
    };
    let (nginx, logger) = (app("nginx"), app("logger"));
    let ids = adopted();
    assert_eq!(ids.len(), 3, "the same containers are in the runtime's root as well: {ids:?}");
    assert_eq!(ids[0], pause.id(), "the sandbox is first");
    assert_eq!(node.pins(), ["web-0"]);
    assert_eq!(node.pin("web-0"), Some(engine.netns()));
    for (container, kind) in [(&pause, "sandbox"), (&nginx, "container"), (&logger, "container")] {
        let record = node.record(container.id()).unwrap();
        assert_eq!((&record["kind"], &record["pin"]["name"]), (&kind.into(), &"web-0".into()));
        assert_eq!(record["bundle"], container.bundle().dir.to_str().unwrap(), "that of the engine");
    }
    assert_eq!(adopted(), NONE);
    // In back-off: both containers have ended.
    delete_task(nginx);
    delete_task(logger);
    assert_eq!(reconcile().len(), 2);
    assert_eq!(node.pins(), ["web-0"]);
    tools::ip(&["netns", "exec", "web-0", "true"]).expect_success();
    delete_task(pause);
    engine.remove();
    reconcile();
    assert_eq!((node.records(), node.pins()), (vec![], vec![]));
}

fn pods_of_one_name_have_the_same_pins_on_every_run(node: &Node) {
    let names = ["a", "b", "c"].map(|namespace| {
        let bundle = Bundle::of_pod(node, namespace, "web-0", "app", "/none").own_netns().hooked(&[]);
        Container::run(Runtime::Runc, &bundle)
    });
    let pins = || names.each_ref().map(|c| node.record(c.id()).unwrap()["pin"]["name"].clone());
    adopted();
    let first = pins();
    assert_eq!(node.pins().len(), 3);
    // As after a reboot: the registry is empty.
    for container in &names {
        fs::remove_file(node.run_dir().join("containers").join(format!("{}.json", container.id()))).unwrap();
    }
    reconcile();
    adopted();
    assert_eq!(pins(), first);
    names.into_iter().for_each(|container| drop(container.delete()));
    reconcile();
}

fn a_namespace_is_named_after_whom_it_was_made_for(node: &Node) {
    let own = |bundle: Bundle, name: &str| {
        bundle.hooked(&[]).annotations(&serde_json::Map::from_iter([("nerdctl/name".into(), name.into())]))
    };
    // The one that joins has the smaller id.
    let first = Bundle::new(node);
    let owner = Container::run(Runtime::Runc, &own(Bundle::new(node), "web"));
    let joining = own(first, "debug").netns(&format!("/proc/{}/ns/net", owner.pid()));
    let joined = Container::run(Runtime::Runc, &joining);
    assert_eq!(adopted(), [owner.id(), joined.id()]);
    assert_eq!(node.pins(), ["web"]);
    joined.delete();
    owner.delete();
    reconcile();
}

fn on_the_hosts_network_there_is_a_record_and_no_pin(node: &Node) {
    let container = run_task(Runtime::Runc, &task(unhooked(node, "web-0").host_network(), "k8s.io"));
    assert_eq!(adopted(), [container.id()]);
    let record = node.record(container.id()).unwrap();
    assert_eq!((&record["namespaces"]["net"]["host"], &record["pin"]), (&true.into(), &Value::Null));
    assert_eq!(node.pins(), NONE);
    assert_eq!(adopted(), NONE);
    delete_task(container);
    assert_eq!(reconcile().len(), 1);
}

fn a_pod_whose_sandbox_has_no_process_has_its_name(node: &Node) {
    let engine = EnginePin::new_netns("/run/engine-netns/6b1d");
    let id = sandbox_without_process(node, "shop", "web-0", engine.path());
    let on_host = sandbox_without_process(node, "shop", "host-0", "/proc/1/ns/net");
    let stopped = sandbox_without_process(node, "shop", "gone-0", "/run/engine-netns/gone");
    let odd = sandbox_without_process(node, "shop", "odd-0", "/proc/1/ns/uts");
    assert_eq!(adopted(), [id.as_str()]);
    assert_eq!((node.records(), node.pins()), (vec![], vec!["web-0".to_owned()]));
    assert_eq!(node.pin("web-0"), Some(engine.netns()));
    tools::ip(&["netns", "exec", "web-0", "true"]).expect_success();
    let shown = tools::porthole(&["list"]).expect_success().to_owned();
    assert!(shown.contains("web-0") && shown.contains("shop"), "{shown}");
    tools::porthole(&["exec", "shop/web-0", "--", "true"]).expect_success();
    assert_eq!(adopted(), NONE, "a second time there is nothing to do");
    // Its first container comes, hooked, and ends: the name stays.
    let container =
        Container::run(Runtime::Runc, &Bundle::of_pod(node, "shop", "web-0", "app", engine.path()));
    assert_eq!(node.record(container.id()).unwrap()["pin"]["name"], "web-0");
    assert_eq!(adopted(), NONE);
    container.delete();
    assert_eq!(node.pins(), ["web-0"]);
    engine.remove();
    assert_eq!(reconcile(), [("unpin".to_owned(), "web-0".to_owned())]);
    assert_eq!(node.pins(), NONE);
    for id in [id, on_host, stopped, odd] {
        fs::remove_dir_all(userdata(&id)).unwrap();
    }
    node.expect_silence("a pod without a process");
}

const RESOLV: &str = "nameserver 10.85.0.10\nsearch shop.svc.cluster.local\n";

fn a_sandbox_without_a_process_keeps_its_identity(node: &Node) {
    let engine = EnginePin::new_netns("/run/engine-netns/6b1d");
    let id = sandbox_without_process(node, "shop", "web-0", engine.path());
    // The last id has the same beginning.
    let twin = EnginePin::new_netns("/run/engine-netns/6b1e");
    let other = sandbox_without_process(node, "stage", "web-0", twin.path());
    fs::write(userdata(&id).join("resolv.conf"), RESOLV).unwrap();
    assert_eq!(adopted(), [id.as_str(), other.as_str()]);
    let json = |words: &[&str]| -> Value {
        serde_json::from_str(tools::porthole(&[&["-o", "json"], words].concat()).expect_success()).unwrap()
    };
    let sandbox = |ready: bool| serde_json::json!({ "id": id, "engine": "cri-o", "ready": ready });
    let rows = json(&["list", "--engine", "cri-o", "--namespace", "shop"]);
    assert_eq!((&rows[0]["pod"], &rows[0]["namespace"]), (&"web-0".into(), &"shop".into()), "{rows}");
    assert_eq!(rows[0]["sandbox"], sandbox(true), "{rows}");
    let table = tools::porthole(&["-o", "wide", "list", "-n", "shop"]).expect_success().to_owned();
    for word in ["(sandbox)", "cri-o", "ready", &id[..12]] {
        assert!(table.contains(word), "{word} in {table}");
    }
    // By its id, as `crictl pods` shows it, and by the beginning of that.
    for target in [id.as_str(), &id[..12], "shop/web-0"] {
        assert_eq!(json(&["inspect", target])["sandbox"], sandbox(true), "{target}");
        let seen = tools::porthole(&["exec", target, "--", "cat", "/etc/resolv.conf"]);
        assert_eq!(seen.expect_success(), RESOLV, "{target}");
    }
    let page = tools::porthole(&["inspect", &id]).expect_success().to_owned();
    assert!(page.contains(&id) && page.contains("cri-o") && page.contains("ready"), "{page}");
    let beginning: String =
        id.chars().zip(other.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
    let ambiguous = tools::porthole(&["inspect", &beginning]);
    assert_eq!(ambiguous.status.code(), Some(4), "{beginning}: {ambiguous:?}");
    // A node with many has an index of names.
    let many: Vec<_> = (0..20)
        .map(|n| {
            let bundle = Bundle::new(node).hooked(&[]).host_network();
            let name = serde_json::Map::from_iter([("nerdctl/name".into(), format!("x{n}").into())]);
            Container::run(Runtime::Runc, &bundle.annotations(&name))
        })
        .collect();
    assert_eq!(adopted().len(), 20);
    std::thread::sleep(std::time::Duration::from_millis(50));
    json(&["list"]);
    assert!(node.run_dir().join("names").exists());
    assert_eq!(json(&["inspect", &id[..12]])["sandbox"]["id"], id.as_str());
    assert_eq!(tools::porthole(&["inspect", &beginning]).status.code(), Some(4));
    many.into_iter().for_each(|container| drop(container.delete()));
    assert_eq!(reconcile().len(), 20);
    // Its container comes and goes: then it is there as before, and may have been stopped.
    let app = || {
        let bundle = Bundle::new(node).netns(engine.path()).with(|config| {
            config["annotations"] = cri_o("container", "shop", "web-0", &id);
        });
        let dir = userdata(&bundle.id);
        Container::run(Runtime::Runc, &bundle.at(dir))
    };
    let container = app();
    assert_eq!(json(&["inspect", &id])["pod"], "web-0", "its pod is found by it");
    let dir = container.bundle().dir.clone();
    container.delete();
    fs::remove_dir_all(dir.parent().unwrap()).unwrap();
    assert_eq!(json(&["inspect", &id])["sandbox"], sandbox(true));
    fs::write(userdata(&id).join("stopped"), "").unwrap();
    assert_eq!(json(&["inspect", &id])["sandbox"], sandbox(false));
    engine.remove();
    twin.remove();
    assert_eq!(reconcile().len(), 2);
    // Without adoption of the sandbox, the hook of its container names the pod.
    let engine = EnginePin::new_netns("/run/engine-netns/6b1f");
    let bundle = Bundle::new(node).netns(engine.path()).with(|config| {
        config["annotations"] = cri_o("container", "shop", "web-0", &id);
    });
    let dir = userdata(&bundle.id);
    Container::run(Runtime::Runc, &bundle.at(dir)).delete();
    assert_eq!(json(&["list"])[0]["sandbox"]["id"], id.as_str());
    let seen = tools::porthole(&["exec", &id, "--", "cat", "/etc/resolv.conf"]);
    assert_eq!(seen.expect_success(), RESOLV);
    engine.remove();
    reconcile();
    node.expect_silence("a sandbox without a process");
}

fn a_container_of_cri_o_is_found_by_its_pidfile(node: &Node) {
    let engine = EnginePin::new_netns("/run/engine-netns/77aa");
    let bundle = Bundle::new(node).hooked(&[]).netns(engine.path());
    let annotations = cri_o("container", "shop", "web-0", &node.new_id());
    let bundle = bundle.with(|config| config["annotations"] = annotations);
    let dir = userdata(&bundle.id);
    let bundle = bundle.at(dir);
    let container = Container::run(Runtime::Crun, &bundle);
    fs::write(bundle.dir.join("pidfile"), container.pid().to_string()).unwrap();
    assert_eq!(adopted(), [container.id()]);
    let record = node.record(container.id()).unwrap();
    assert_eq!((&record["engine"], &record["pod"]["namespace"]), (&"cri-o".into(), &"shop".into()));
    assert_eq!(node.pin("web-0"), Some(engine.netns()));
    container.delete();
    engine.remove();
    reconcile();
}

fn the_configuration_tells_where_engines_are(node: &Node) {
    let container = Container::run(Runtime::Runc, &unhooked(node, "web-0"));
    let file = node.scratch().join("config.toml");
    let name = file.to_str().unwrap();
    let reconcile = |text: &str| {
        fs::write(&file, text).unwrap();
        let outcome = tools::porthole(&["-o", "json", "--config", name, "reconcile"]);
        serde_json::from_str::<Value>(outcome.expect_success()).unwrap()
    };
    assert_eq!(reconcile("[engines]\nrunc = []\n"), Value::Array(vec![]));
    assert_eq!(reconcile("[engines]\ncrun = ['/mnt/state/Runc']\n"), Value::Array(vec![]), "another layout");
    assert_eq!(reconcile("[engines]\nrunc = ['/mnt/state/Runc']\n")[0]["subject"], container.id());
    let wrong = tools::porthole(&["reconcile", "--engine-state", "docker=/run/docker"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("containerd, containers-storage, runc, crun"), "{wrong:?}");
    for words in ["runc", "runc=relative", "=/run"] {
        let wrong = tools::porthole(&["reconcile", "--engine-state", words]);
        assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    }
    container.delete();
    tools::reconcile();
}

fn pins_are_made_where_pid_1_sees_them(node: &Node) {
    let container = run_task(Runtime::Runc, &task(unhooked(node, "web-0"), "k8s.io"));
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]).arg(tools::binary("porthole"));
    command.args(["reconcile", "--engine-state", &format!("containerd={}", crate::setting::CONTAINERD)]);
    tools::run(command).expect_success();
    assert_eq!(node.pin("web-0"), Some(container.netns()));
    assert_eq!(Netns::at(Path::new("/run/netns/web-0")), Some(container.netns()));
    delete_task(container);
    reconcile();
}

fn a_hundred_containers_are_adopted_and_released(node: &Node) {
    let containers: Vec<_> =
        (0..100).map(|n| Container::run(Runtime::Crun, &unhooked(node, &format!("web-{n}")))).collect();
    assert_eq!(adopted().len(), 100);
    assert_eq!((node.records().len(), node.pins().len()), (100, 100));
    for (n, container) in containers.iter().enumerate() {
        assert_eq!(node.record(container.id()).unwrap()["pin"]["name"], format!("web-{n}"));
    }
    assert_eq!(adopted(), NONE);
    containers.into_iter().for_each(|container| drop(container.delete()));
    assert_eq!(reconcile().len(), 100);
}

on_a_node!(requires(root, ip, runc, crun, unshare):
    a_container_without_hooks_is_adopted,
    the_age_is_the_containers_and_not_that_of_its_record,
    a_container_that_was_only_created_is_adopted_too,
    a_pod_of_two_and_its_sandbox_are_one_pin_named_after_the_pod,
    pods_of_one_name_have_the_same_pins_on_every_run,
    a_namespace_is_named_after_whom_it_was_made_for,
    on_the_hosts_network_there_is_a_record_and_no_pin,
    a_pod_whose_sandbox_has_no_process_has_its_name,
    a_sandbox_without_a_process_keeps_its_identity,
    a_container_of_cri_o_is_found_by_its_pidfile,
    the_configuration_tells_where_engines_are,
    pins_are_made_where_pid_1_sees_them,
    a_hundred_containers_are_adopted_and_released,
);
