//! Containers that are paused: their processes stand still in a frozen cgroup.

use std::fs;

use porthole_tests::{Node, on_a_node};

use crate::setting::{exec, web_0};

const ROOT: &str = "/sys/fs/cgroup";

fn a_frozen_cgroup_of_the_target_is_not_joined(node: &Node) {
    let container = web_0(node);
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    let freezer = text.lines().find_map(|line| line.split_once(":freezer:")).map(|(_, path)| path.to_owned());
    let (state, frozen, thawed) = match &freezer {
        Some(path) => (format!("{ROOT}/freezer{path}/freezer.state"), "FROZEN", "THAWED"),
        None => {
            let path = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
            (format!("{ROOT}{path}/cgroup.freeze"), "1", "0")
        }
    };
    fs::write(&state, frozen).unwrap();
    let joined = exec(&["--cgroup", "target", "--timeout", "2s", "web-0", "true"]);
    let own = exec(&["web-0", "--", "true"]);
    fs::write(&state, thawed).unwrap();
    assert_eq!(joined.status.code(), Some(125), "{joined:?}");
    assert!(joined.stderr.contains("is frozen"), "{joined:?}");
    assert_eq!(own.status.code(), Some(0), "{own:?}");
    assert_eq!(exec(&["--cgroup", "target", "web-0", "true"]).status.code(), Some(0));
    container.delete();
}

on_a_node!(requires(root, ip, runc): a_frozen_cgroup_of_the_target_is_not_joined);
