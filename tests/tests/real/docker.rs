//! Docker: containers made before porthole came, and through its runtime.

use std::collections::BTreeSet;
use std::path::Path;

use porthole_tests::engine::{Docker, Started};
use porthole_tests::{Node, on_each_version};

use crate::setting::{
    Counts, adopted, ended, hook_docker, is_reached, json as porthole, nothing_to_do, pin_of, pins,
    reconcile, row_of, summary, take_programs_away,
};

fn ids(of: &[&Started]) -> BTreeSet<String> {
    of.iter().map(|started| started.id.clone()).collect()
}

fn containers_have_their_names_whether_they_were_adopted_or_hooked(node: &Node, version: &str) {
    let docker = Docker::start(node, version);
    let web = docker.run("web", &[], &[]);
    let beside = docker.run("beside", &["--network", "container:web"], &[]);
    let on_host = docker.run("on-host", &["--network", "host"], &[]);
    let stopped = docker.run("stopped", &[], &[]);
    docker.call(&["stop", "--time", "0", "stopped"]).expect_success();

    assert_eq!(adopted(), ids(&[&web, &beside, &on_host]));
    nothing_to_do();
    assert_eq!((pins(node), node.pin("web")), (vec!["web".to_owned()], Some(web.netns())));
    assert!(node.record(&stopped.id).is_none() && pin_of(node, &on_host.id).is_none());
    is_reached("web", "web", &web.ip);
    let rows = porthole(&["list"]);
    assert_eq!(summary(row_of(&rows, &web.id)), ["web", "-", "web", "container", "docker"]);
    assert_eq!(row_of(&rows, &web.id)["record"]["name"], "web");
    assert_eq!(row_of(&rows, &beside.id)["record"]["name"], "beside");
    assert_eq!(porthole(&["identify", &format!("ip:{}", web.ip)])[0]["pod"], "web");

    // Under the same id another process in another namespace.
    docker.rm("beside");
    docker.call(&["restart", "--time", "0", "web"]).expect_success();
    reconcile();
    nothing_to_do();
    assert_eq!(node.pin("web"), Some(docker.inspect("web").netns()));

    // From now on through porthole, without a restart.
    hook_docker(node, &docker);
    let before = Counts::of(node);
    for _ in 0..2 {
        let hooked = docker.run("hooked", &[], &[]);
        assert_eq!((node.pin("hooked"), node.pin("web").is_some()), (Some(hooked.netns()), true));
        is_reached("hooked", "hooked", &hooked.ip);
        docker.call(&["restart", "--time", "0", "hooked"]).expect_success();
        assert_eq!(node.pin("hooked"), Some(docker.inspect("hooked").netns()));
        nothing_to_do();
        docker.rm("hooked");
        assert_eq!(Counts::of(node), before, "nobody has run reconcile");
    }
    node.expect_silence("containers of Docker");

    // Containers outlive the engine, and so do their names.
    let hooked = docker.run("hooked", &[], &[]);
    docker.restart();
    assert_eq!(
        (node.pin("hooked"), node.pins()),
        (Some(hooked.netns()), vec!["hooked".into(), "web".into()])
    );
    nothing_to_do();

    take_programs_away();
    let without = docker.run("without", &[], &[]);
    assert!(without.pid > 0 && node.pin("without").is_none() && hooked.pid > 0);
    docker.call(&["restart", "--time", "0", "without"]).expect_success();
    for name in ["without", "hooked", "web", "on-host", "stopped"] {
        docker.rm(name);
    }
    assert_eq!(ended().len(), 3);
    assert_eq!((node.records(), pins(node)), (vec![], vec![]));
    // Docker's own, of containers on the node's network.
    drop(docker);
    node.unmount_all(Path::new("/run/docker/netns/default"));
}

on_each_version!(docker: docker_20_10 "20.10", docker_26_1 "26.1": [
    containers_have_their_names_whether_they_were_adopted_or_hooked,
]);
