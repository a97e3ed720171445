//! What can be told of cgroups without the kernel's: a tree of plain files.

use super::*;
use std::fs;

fn limits(version: Version) -> OwnLimits {
    OwnLimits { version, pids: Some(512), memory: Some(1 << 30), cpu_weight: Some(50) }
}

fn tree() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A directory of v2 as the kernel fills it.
fn fill(directory: &Path, files: &[&str]) {
    fs::create_dir_all(directory).unwrap();
    files.iter().for_each(|file| fs::write(directory.join(file), "").unwrap());
}

#[test]
fn v1_has_a_directory_for_each_controller_and_v2_one_for_all() {
    let root = Path::new("/c");
    let v1 = hierarchies(root, &limits(Version::V1));
    let parents: Vec<_> = v1.iter().map(|h| h.parent.as_path()).collect();
    assert_eq!(parents, ["/c/pids/porthole", "/c/memory/porthole", "/c/cpu/porthole"].map(Path::new));
    let shares = v1[2].knobs.iter().map(|knob| (knob.file, knob.value)).collect::<Vec<_>>();
    assert_eq!(shares, [("cpu.shares", 512)]);
    let v2 = hierarchies(root, &limits(Version::V2));
    assert_eq!(v2.len(), 1);
    let knobs: Vec<_> = v2[0].knobs.iter().map(|knob| (knob.file, knob.value)).collect();
    let wanted = [("pids.max", 512), ("memory.max", 1 << 30), ("memory.swap.max", 0), ("cpu.weight", 50)];
    assert_eq!(knobs, wanted);
    let without = OwnLimits { memory: None, ..limits(Version::V1) };
    assert_eq!(hierarchies(root, &without).len(), 2);
}

#[test]
fn limits_of_v2_are_written_and_read_back() {
    let root = tree();
    let all = hierarchies(root.path(), &limits(Version::V2));
    let directory = root.path().join("porthole/exec-1");
    fill(&directory, &["pids.max", "memory.max", "cpu.weight"]);
    let lock = lock(&directory).unwrap();
    let own =
        Own { version: Version::V2, hierarchies: all, name: "exec-1".to_owned(), life: Life::Free, lock };
    assert!(own.set().is_ok());
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap();
    assert_eq!(
        (read("pids.max"), read("memory.max"), read("cpu.weight")),
        ("512".into(), "1073741824".into(), "50".into())
    );
}

#[test]
fn missing_controllers_are_asked_for_in_the_root_and_in_our_directory() {
    let root = tree();
    let parent = root.path().join("porthole");
    fill(root.path(), &["cgroup.subtree_control"]);
    fill(&parent, &["cgroup.subtree_control"]);
    fs::create_dir(parent.join("exec-1")).unwrap();
    let own = Own {
        version: Version::V2,
        hierarchies: hierarchies(root.path(), &limits(Version::V2)),
        name: "exec-1".to_owned(),
        life: Life::Free,
        lock: lock(&parent.join("exec-1")).unwrap(),
    };
    // No kernel answers with the files.
    assert!(own.set().is_err());
    for directory in [root.path(), parent.as_path()] {
        assert_eq!(
            fs::read_to_string(directory.join("cgroup.subtree_control")).unwrap(),
            "+pids +memory +cpu"
        );
    }
}

#[test]
fn a_limit_reads_back_as_itself_or_as_whole_pages_of_it() {
    let all = hierarchies(Path::new("/c"), &limits(Version::V1));
    let (pids, memory) = (&all[0].knobs[0], &all[1].knobs[0]);
    assert!(pids.is("512\n") && !pids.is("511\n") && !pids.is("max\n"));
    assert!(memory.is("1073741824\n") && memory.is("1073737728\n"));
    assert!(!memory.is("1073745920\n") && !memory.is("9223372036854771712\n") && !memory.is(""));
}

#[test]
fn joined_is_only_who_is_in_every_hierarchy() {
    let root = tree();
    fs::create_dir_all(root.path().join("porthole/exec-1")).unwrap();
    let own = Own {
        version: Version::V1,
        hierarchies: hierarchies(Path::new("/c"), &limits(Version::V1)),
        name: "exec-1".to_owned(),
        life: Life::Free,
        lock: lock(&root.path().join("porthole/exec-1")).unwrap(),
    };
    let all = "8:pids:/porthole/exec-1\n4:memory:/porthole/exec-1\n1:cpu,cpuacct:/porthole/exec-1\n0::/\n";
    assert!(own.is_joined(all));
    assert!(!own.is_joined(&all.replace("8:pids:/porthole/exec-1", "8:pids:/porthole/exec-12")));
    assert!(!own.is_joined("8:pids:/\n"));
}

#[test]
fn what_is_locked_is_left_alone_and_what_is_not_goes() {
    let root = tree();
    let parent = root.path().join("porthole");
    for name in ["exec-1", "exec-2", "free-3"] {
        fs::create_dir_all(parent.join(name)).unwrap();
    }
    let own = |name: &str| Own {
        version: Version::V2,
        hierarchies: hierarchies(root.path(), &limits(Version::V2)),
        name: name.to_owned(),
        life: Life::Free,
        lock: lock(&parent.join(name)).unwrap(),
    };
    let (mine, other) = (own("exec-1"), own("exec-2"));
    mine.sweep();
    assert!(parent.join("exec-1").is_dir() && parent.join("exec-2").is_dir());
    assert!(!parent.join("free-3").exists());
    drop(other);
    mine.sweep();
    assert!(parent.join("exec-1").is_dir() && !parent.join("exec-2").exists());
}
