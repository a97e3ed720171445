//! Engines' layouts as they are, and as somebody hostile or a full disk would leave them.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// A tree of files, and engines that have all their state in it.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn with(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), content).unwrap();
        self
    }

    fn find(&self) -> Found {
        let mut engines = Engines::none();
        engines.add(StateKind::Containerd, self.at("containerd"));
        engines.add(StateKind::ContainersStorage, self.at("run"));
        engines.add(StateKind::ContainersStorage, self.at("graph"));
        engines.add(StateKind::Runc, self.at("runc"));
        engines.add(StateKind::Crun, self.at("crun"));
        find(&engines)
    }

    /// The one candidate, where nothing is to be wrong.
    #[track_caller]
    fn one(&self) -> Candidate {
        let Found { mut candidates, unreadable } = self.find();
        assert_eq!(unreadable, vec![]);
        assert_eq!(candidates.len(), 1, "{candidates:?}");
        candidates.remove(0)
    }

    /// The cause of the one failure, where nothing is to be found.
    #[track_caller]
    fn wrong(&self) -> String {
        let Found { candidates, mut unreadable } = self.find();
        assert_eq!(candidates, vec![]);
        assert_eq!(unreadable.len(), 1, "{unreadable:?}");
        assert!(unreadable[0].path.starts_with(self.0.path()));
        unreadable.remove(0).cause
    }
}

fn task(id: &str, file: &str) -> String {
    format!("containerd/io.containerd.runtime.v2.task/k8s.io/{id}/{file}")
}

fn userdata(root: &str, id: &str, file: &str) -> String {
    format!("{root}/overlay-containers/{id}/userdata/{file}")
}

fn runc_state(id: &str, pid: i64, bundle: &Path) -> String {
    let labels = format!(r#"["bundle=/forged","a=b","bundle={}"]"#, bundle.display());
    format!(
        r#"{{"id":"{id}","init_process_pid":{pid},"init_process_start":77,"created":"x","config":{{"labels":{labels}}}}}"#
    )
}

fn crun_status(pid: i64, bundle: &Path) -> String {
    let bundle = bundle.display().to_string().replace('/', "\\/");
    format!(
        r#"{{"pid":{pid},"process-start-time":77,"cgroup-path":"","scope":"","rootfs":"\/r","bundle":"{bundle}"}}"#
    )
}

fn pid(candidate: &Candidate) -> Option<i32> {
    candidate.process.map(|claim| claim.pid)
}

fn is_exact(candidate: &Candidate) -> bool {
    matches!(candidate.process, Some(Claim { evidence: Evidence::Start(77), .. }))
}

#[test]
fn nothing_is_found_where_no_engine_is() {
    let Found { candidates, unreadable } = Tree::new().find();
    assert_eq!((candidates, unreadable), (vec![], vec![]));
}

#[test]
fn a_task_of_containerd_is_a_container_of_any_of_its_namespaces() {
    let tree = Tree::new()
        .with(&task(A, "init.pid"), "4242")
        .with(&task(A, "config.json"), "{}")
        .with(&format!("containerd/io.containerd.runtime.v2.task/moby/{B}/init.pid"), "4243\n")
        // Being created: no process yet.
        .with(&task("cccc", "config.json"), "{}")
        .with("containerd/io.containerd.runtime.v2.task/README", "");
    let Found { candidates, unreadable } = tree.find();
    assert_eq!(unreadable, vec![]);
    let [a, b] = &candidates[..] else { panic!("{candidates:?}") };
    assert_eq!((a.id.as_str(), pid(a), &a.bundle), (A, Some(4242), &tree.at(&task(A, ""))));
    assert_eq!((b.id.as_str(), pid(b), b.bundle.ends_with(format!("moby/{B}"))), (B, Some(4243), true));
    assert!(matches!(a.process.unwrap().evidence, Evidence::Written(_)));
}

#[test]
fn cri_os_bundle_is_in_the_run_root_and_podmans_in_the_graph_root() {
    let cri_o = Tree::new()
        .with(&userdata("run", A, "config.json"), "{}")
        .with(&userdata("run", A, "pidfile"), "4242")
        .with(&userdata("graph", A, "config.json"), "{}");
    assert_eq!(pid(&cri_o.one()), Some(4242));
    assert_eq!(cri_o.one().bundle, cri_o.at(&userdata("run", A, "")));
    let podman = Tree::new()
        .with(&userdata("run", A, "pidfile"), "4242")
        .with(&userdata("graph", A, "config.json"), "{}")
        .with("graph/overlay-containers/containers.json", "[]")
        .with("graph/overlay-layers/x/userdata/config.json", "{}");
    assert_eq!(pid(&podman.one()), Some(4242));
    assert_eq!(podman.one().bundle, podman.at(&userdata("graph", A, "")));
    let other_driver = Tree::new()
        .with(&format!("run/vfs-containers/{A}/userdata/pidfile"), "4242")
        .with(&format!("graph/vfs-containers/{A}/userdata/config.json"), "{}");
    assert_eq!(pid(&other_driver.one()), Some(4242));
}

#[test]
fn a_container_in_storage_without_a_pidfile_has_no_process() {
    let tree = Tree::new().with(&userdata("run", A, "config.json"), "{}");
    assert_eq!(pid(&tree.one()), None);
}

#[test]
fn runc_and_crun_tell_the_exact_start_and_the_bundle() {
    let bundle = Path::new("/b/c1");
    let runc = Tree::new().with("runc/c1/state.json", runc_state("c1", 4242, bundle));
    assert_eq!((pid(&runc.one()), is_exact(&runc.one())), (Some(4242), true));
    assert_eq!(runc.one().bundle, bundle, "an annotation of that name is not the bundle");
    let crun =
        Tree::new().with("crun/c1/status", crun_status(4242, bundle)).with("crun/.cache/seccomp/x", "");
    assert_eq!((pid(&crun.one()), is_exact(&crun.one())), (Some(4242), true));
    assert_eq!(crun.one().bundle, bundle);
}

#[test]
fn a_container_found_twice_is_one_with_the_engines_bundle_and_the_exact_start() {
    let tree = Tree::new()
        .with(&task(A, "init.pid"), "4242")
        .with(&format!("runc/{A}/state.json"), runc_state(A, 4242, Path::new("/elsewhere")));
    assert_eq!((tree.one().kind, is_exact(&tree.one())), (StateKind::Containerd, true));
    assert_eq!(tree.one().bundle, tree.at(&task(A, "")));
    // podman's pidfile has gone, say.
    let tree = Tree::new()
        .with(&userdata("graph", A, "config.json"), "{}")
        .with(&format!("crun/{A}/status"), crun_status(4242, Path::new("/elsewhere")));
    assert_eq!((tree.one().kind, pid(&tree.one())), (StateKind::ContainersStorage, Some(4242)));
}

#[test]
fn two_processes_under_one_id_are_two_candidates() {
    let tree = Tree::new()
        .with(&task("c1", "init.pid"), "4242")
        .with("runc/c1/state.json", runc_state("c1", 4243, Path::new("/b")));
    let pids: Vec<_> = tree.find().candidates.iter().map(pid).collect();
    assert_eq!(pids, [Some(4242), Some(4243)]);
}

#[test]
fn a_number_that_is_no_containers_process_is_refused() {
    for number in ["0", "1", "-1", "99999999999", "4294967297"] {
        let cause = Tree::new().with(&task(A, "init.pid"), number).wrong();
        assert!(cause.starts_with("init.pid: "), "{cause}");
        let number: i64 = number.parse().unwrap();
        assert!(
            Tree::new()
                .with("runc/c1/state.json", runc_state("c1", number, Path::new("/b")))
                .wrong()
                .contains("no number of a container's process")
        );
        let crun = Tree::new().with("crun/c1/status", crun_status(number, Path::new("/b")));
        assert!(crun.wrong().starts_with("status: "));
    }
    for text in ["", "x", "12 13", "\u{661}", "4242;rm"] {
        let cause = Tree::new().with(&userdata("run", A, "pidfile"), text).wrong();
        assert_eq!(cause, "pidfile: holds no process id", "{text:?}");
    }
}

#[test]
fn what_is_no_id_is_told_of_and_not_looked_into() {
    for name in ["a b", "ü", "a\nb", &"x".repeat(250)] {
        let cause = Tree::new().with(&task(name, "init.pid"), "4242").wrong();
        assert!(cause.contains("container id"), "{cause}");
    }
    // No directory can be called `..`; a state file can say that its container is.
    let forged = runc_state("..", 4242, Path::new("/b"));
    assert!(Tree::new().with("runc/c1/state.json", forged).wrong().contains("another container"));
}

#[test]
fn only_a_regular_file_of_plausible_size_is_read() {
    let huge = Tree::new().with(&task(A, "init.pid"), "4".repeat(65));
    assert_eq!(huge.wrong(), "init.pid: is larger than 64 bytes");
    let tree = Tree::new().with("real", "4242").with(&task(A, "config.json"), "{}");
    symlink(tree.at("real"), tree.at(&task(A, "init.pid"))).unwrap();
    assert_eq!(tree.wrong(), "init.pid: is a symbolic link");
    let tree = Tree::new().with(&task(A, "init.pid/x"), "");
    assert_eq!(tree.wrong(), "init.pid: is no regular file");
    let tree = Tree::new().with(&userdata("graph", A, "x"), "");
    let fifo = tree.at(&userdata("graph", A, "pidfile"));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert_eq!(tree.wrong(), "pidfile: is no regular file");
}

#[test]
fn a_link_in_the_place_of_a_containers_directory_is_not_followed() {
    let tree = Tree::new().with("elsewhere/init.pid", "4242").with(&task(B, "init.pid"), "4243");
    symlink(tree.at("elsewhere"), tree.at("containerd/io.containerd.runtime.v2.task/k8s.io/linked")).unwrap();
    assert_eq!(tree.one().id.as_str(), B);
}

#[test]
fn state_that_is_cut_short_or_of_another_shape_is_one_failure() {
    let whole = runc_state("c1", 4242, Path::new("/b"));
    for text in ["", "{", "[]", "null", &whole[..whole.len() / 2], r#"{"id":7}"#, "\0\0"] {
        let cause = Tree::new().with("runc/c1/state.json", text).wrong();
        assert!(cause.starts_with("state.json: no state of runc, at line"), "{cause}");
    }
    for text in ["", "{}", r#"{"pid":"4242"}"#] {
        let cause = Tree::new().with("crun/c1/status", text).wrong();
        assert!(cause.starts_with("status: no status of crun, at line"), "{cause}");
    }
    for bundle in ["", "relative", "/a/../b"] {
        let cause = Tree::new().with("crun/c1/status", crun_status(4242, Path::new(bundle))).wrong();
        assert!(cause.contains("names no bundle"), "{cause}");
    }
}

#[test]
fn one_unreadable_container_does_not_hide_the_others() {
    let tree = Tree::new()
        .with(&task(A, "init.pid"), "rubbish")
        .with(&task(B, "init.pid"), "4242")
        .with("runc/c1/state.json", "{")
        .with("crun/c2/status", crun_status(4243, Path::new("/b")));
    let Found { candidates, unreadable } = tree.find();
    assert_eq!(candidates.iter().map(pid).collect::<Vec<_>>(), [Some(4242), Some(4243)]);
    assert_eq!(unreadable.len(), 2);
}

#[test]
fn config_json_is_read_as_carefully() {
    let read = |tree: &Tree| spec::read(&tree.at("bundle"));
    assert_eq!(read(&Tree::new()), Ok(None));
    assert_eq!(read(&Tree::new().with("bundle/other", "")), Ok(None));
    let tree = Tree::new().with("bundle/config.json", r#"{"hostname":"h"}"#);
    assert_eq!(read(&tree).unwrap().unwrap().hostname.as_deref(), Some("h"));
    assert!(read(&Tree::new().with("bundle/config.json", r#"{"hostname":"#)).is_err());
    let tree = Tree::new().with("bundle/real", "{}");
    symlink(tree.at("bundle/real"), tree.at("bundle/config.json")).unwrap();
    assert_eq!(read(&tree), Err("config.json: is a symbolic link".to_owned()));
    let tree = Tree::new().with("bundle/x", "");
    let file = fs::File::create(tree.at("bundle/config.json")).unwrap();
    file.set_len((8 << 20) + 1).unwrap();
    assert!(read(&tree).unwrap_err().contains("is larger than"));
}

#[test]
fn a_reused_number_is_not_the_containers_process() {
    let me = i32::try_from(std::process::id()).unwrap();
    let start = crate::process::Process::open(me).unwrap().start();
    let candidate = |evidence| Candidate {
        id: ContainerId::parse(A).unwrap(),
        process: Some(Claim { pid: me, evidence }),
        bundle: "/b".into(),
        kind: StateKind::Runc,
    };
    let is_taken = |evidence| verify::process(&candidate(evidence)).unwrap().is_some();
    assert!(is_taken(Evidence::Start(start)));
    assert!(!is_taken(Evidence::Start(start + 1)));
    assert!(is_taken(Evidence::Written(SystemTime::now())));
    assert!(!is_taken(Evidence::Written(SystemTime::now() - std::time::Duration::from_secs(86_400))));
    assert!(!is_taken(Evidence::Written(SystemTime::now() + std::time::Duration::from_secs(3600))));
    let gone = Candidate {
        process: Some(Claim { pid: i32::MAX, evidence: Evidence::Start(1) }),
        ..candidate(Evidence::Start(1))
    };
    assert!(!matches!(verify::process(&gone), Ok(Some(_))));
}

#[test]
fn an_engines_name_is_one_of_the_four() {
    for kind in StateKind::ALL {
        assert_eq!(kind.as_str().parse(), Ok(kind));
    }
    let error = "docker".parse::<StateKind>().unwrap_err().to_string();
    for kind in StateKind::ALL {
        assert!(error.contains(kind.as_str()), "{error}");
    }
}
