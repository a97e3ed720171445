//! Installing into trees: what is changed, what never is, and that all of it comes back.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use porthole_tests::tools::{self, Outcome};
use porthole_tests::{Node, on_a_node};
use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
use serde_json::{Value, json};

const SITE: &str = "{\n    \"log-driver\" : \"json-file\",\n    \"max-concurrent-downloads\": 1e1\n}\n";

/// A tree as an image has it.
struct Tree {
    root: PathBuf,
}

/// What is at a path: kind and mode, owner, group, contents or target, extended attributes.
type Listed = (u32, u32, u32, Vec<u8>, BTreeMap<String, Vec<u8>>);

impl Tree {
    fn new(node: &Node) -> Self {
        let root = node.scratch().join("tree");
        let _ = fs::remove_dir_all(&root);
        for dir in ["etc/docker", "usr/bin", "usr/sbin", "usr/libexec", "usr/share", "opt", "var/lib"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let tree = Self { root };
        tree.program("/usr/sbin/runc");
        // As from a package, and static as ours are; what copies them is tested by itself.
        fs::create_dir_all(tree.at("/usr/libexec/porthole")).unwrap();
        for program in ["bin/porthole", "libexec/porthole/porthole-hook", "libexec/porthole/porthole-runtime"]
        {
            fs::copy("/bin/busybox", tree.at("/usr").join(program)).unwrap();
        }
        tree.write("/etc/docker/daemon.json", SITE);
        tree
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    fn program(&self, path: &str) {
        self.write(path, "#!/bin/sh\n");
        fs::set_permissions(self.at(path), Permissions::from_mode(0o755)).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.read(path)).unwrap()
    }

    fn command(&self, command: &str, more: &[&str]) -> Command {
        let mut porthole = Command::new(tools::binary("porthole"));
        porthole.args(more).arg(command).arg("--root").arg(&self.root).stdin(Stdio::null());
        if command == "install" {
            porthole.args(["--engine", "docker=26.1", "--engine", "podman=5.4"]);
        }
        porthole
    }

    fn install(&self) -> Outcome {
        tools::run(self.command("install", &[]))
    }

    fn uninstall(&self) -> Outcome {
        tools::run(self.command("uninstall", &[]))
    }

    /// An install that is refused changes nothing; returns what it said.
    fn refuses(&self) -> String {
        let before = self.list();
        let outcome = self.install();
        assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
        assert_eq!(self.list(), before, "{outcome:?}");
        outcome.stderr
    }

    fn list(&self) -> BTreeMap<PathBuf, Listed> {
        let mut found = BTreeMap::new();
        list(&self.root, &mut found);
        found
    }
}

fn list(dir: &Path, found: &mut BTreeMap<PathBuf, Listed>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else if meta.is_file() && meta.len() < 4 << 20 {
            fs::read(&path).unwrap()
        } else {
            // Of what is large, or no file, the size.
            meta.len().to_string().into_bytes()
        };
        let content = if meta.is_dir() { Vec::new() } else { content };
        found.insert(path.clone(), (meta.mode(), meta.uid(), meta.gid(), content, attributes(&path)));
        if meta.is_dir() {
            list(&path, found);
        }
    }
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0_u8; 4096];
    let length = llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0_u8; 4096];
        let length = lgetxattr(path, name, &mut value[..]).unwrap();
        value[..length].to_vec()
    };
    names.map(|name| (String::from_utf8_lossy(name).into_owned(), value(name))).collect()
}

fn a_dry_run_says_what_would_be_done_and_does_nothing(node: &Node) {
    let tree = Tree::new(node);
    let before = tree.list();
    let mut command = tree.command("install", &[]);
    command.arg("--dry-run");
    let outcome = tools::run(command);
    let text = outcome.expect_success();
    for line in [
        "--- a/etc/docker/daemon.json",
        "+++ b/etc/docker/daemon.json",
        " {\n     \"log-driver\" : \"json-file\",\n-    \"max-concurrent-downloads\": 1e1\n+    \"max-concurrent-downloads\": 1e1,\n",
        "+++ b/etc/porthole/runtime/docker-runc",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert_eq!(tree.list(), before);
    let mut command = tree.command("install", &["-o", "json"]);
    command.arg("--dry-run");
    let document: Value = serde_json::from_str(tools::run(command).expect_success()).unwrap();
    assert_eq!(document["dry_run"], true);
    let engines: Vec<_> =
        document["engines"].as_array().unwrap().iter().map(|e| (&e["name"], &e["version"])).collect();
    assert!(engines.contains(&(&json!("docker"), &json!("26.1"))), "{document}");
    let changes = document["changes"].as_array().unwrap();
    let change = changes.iter().find(|change| change["path"] == "/etc/docker/daemon.json").unwrap();
    assert_eq!((&change["change"], &change["owner"]), (&json!("change"), &json!("docker")));
    assert_eq!(tree.list(), before);
    let mut command = tree.command("uninstall", &[]);
    command.arg("--dry-run");
    assert!(tools::run(command).expect_success().contains("nothing to change"));
    assert_eq!(tree.list(), before);
}

fn a_second_install_changes_nothing_and_an_uninstall_gives_everything_back(node: &Node) {
    let tree = Tree::new(node);
    let before = tree.list();
    tree.install().expect_success();
    let installed = tree.list();
    assert_eq!(tree.json("/etc/docker/daemon.json")["default-runtime"], "porthole");
    assert_eq!(tree.read("/etc/docker/daemon.json.porthole-backup"), SITE);
    assert_eq!(installed[&tree.at("/var/lib/porthole/install.json")].0 & 0o777, 0o600);
    let guard = tree.at("/etc/porthole/runtime/docker-runc");
    assert_eq!(installed[&guard].0 & 0o777, 0o755);
    assert!(tree.install().expect_success().contains("nothing to change"));
    assert_eq!(tree.list(), installed);
    tree.uninstall().expect_success();
    assert_eq!(tree.list(), before);
    assert!(tree.uninstall().expect_success().contains("nothing to change"));
    assert_eq!(tree.list(), before);
}

fn a_file_that_was_not_there_goes_with_its_directories(node: &Node) {
    let tree = Tree::new(node);
    fs::remove_dir_all(tree.at("/etc/docker")).unwrap();
    let before = tree.list();
    tree.install().expect_success();
    assert_eq!(tree.json("/etc/docker/daemon.json")["default-runtime"], "porthole");
    tree.uninstall().expect_success();
    assert_eq!(tree.list(), before);
}

fn mode_owner_attributes_and_links_stay(node: &Node) {
    for (link, target) in
        [("../../srv/site.json", "/srv/site.json"), ("/srv/conf/site.json", "/srv/conf/site.json")]
    {
        let tree = Tree::new(node);
        fs::remove_file(tree.at("/etc/docker/daemon.json")).unwrap();
        tree.write(target, SITE);
        symlink(link, tree.at("/etc/docker/daemon.json")).unwrap();
        let file = tree.at(target);
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        chown(&file, Some(7), Some(8)).unwrap();
        lsetxattr(&file, "trusted.site", b"label", XattrFlags::empty()).unwrap();
        let before = tree.list();
        tree.install().expect_success();
        let installed = tree.list();
        assert_eq!(fs::read_link(tree.at("/etc/docker/daemon.json")).unwrap(), Path::new(link));
        assert_eq!(tree.json(target)["default-runtime"], "porthole");
        let of = |path: &Path| {
            let (mode, user, group, _, attributes) = &installed[path];
            (mode & 0o7777, *user, *group, attributes.clone())
        };
        let label = BTreeMap::from([("trusted.site".to_owned(), b"label".to_vec())]);
        assert_eq!(of(&file), (0o640, 7, 8, label.clone()));
        assert_eq!(
            of(&tree.at(&format!("{target}.porthole-backup"))),
            (0o640, 7, 8, label),
            "the backup too"
        );
        tree.uninstall().expect_success();
        assert_eq!(tree.list(), before, "{link}");
    }
}

fn a_link_out_of_the_tree_leads_to_a_place_within_it(node: &Node) {
    let outside = node.scratch().join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("site.json"), "{}").unwrap();
    for link in [
        "../../../../../../mnt/outside/site.json",
        "/mnt/outside/site.json",
        "/proc/self/root/mnt/outside/site.json",
    ] {
        let tree = Tree::new(node);
        fs::remove_file(tree.at("/etc/docker/daemon.json")).unwrap();
        symlink(link, tree.at("/etc/docker/daemon.json")).unwrap();
        let before = tree.list();
        let _ = tree.install();
        let _ = tree.uninstall();
        assert_eq!(tree.list(), before, "{link}");
        tree.write("/mnt/outside/site.json", SITE);
        let _ = tree.install();
        assert_eq!(fs::read_to_string(outside.join("site.json")).unwrap(), "{}", "{link}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{link}");
    }
    // A directory of ours that somebody has laid elsewhere.
    let tree = Tree::new(node);
    fs::create_dir_all(tree.at("/etc/porthole")).unwrap();
    symlink("/mnt/outside", tree.at("/etc/porthole/runtime")).unwrap();
    let _ = tree.install();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

fn what_somebody_writes_meanwhile_stays(node: &Node) {
    let tree = Tree::new(node);
    tree.install().expect_success();
    let edited = tree.read("/etc/docker/daemon.json").replacen('{', "{ \"debug\":true,", 1);
    tree.write("/etc/docker/daemon.json", &edited);
    assert!(tree.install().expect_success().contains("nothing to change"));
    assert_eq!(tree.read("/etc/docker/daemon.json"), edited);
    assert_eq!(tree.read("/etc/docker/daemon.json.porthole-backup"), SITE, "as it was before the first");
    tree.uninstall().expect_success();
    assert_eq!(tree.read("/etc/docker/daemon.json"), SITE.replacen('{', "{ \"debug\":true,", 1));
    assert!(!tree.at("/etc/porthole").exists() && !tree.at("/var/lib/porthole").exists());
    // And one who has removed it.
    let tree = Tree::new(node);
    tree.install().expect_success();
    fs::remove_file(tree.at("/etc/docker/daemon.json")).unwrap();
    tree.uninstall().expect_success();
    assert!(!tree.at("/etc/docker/daemon.json").exists() && !tree.at("/var/lib/porthole").exists());
}

fn containers_made_with_it_keep_what_they_need(node: &Node) {
    for root in ["/var/lib/docker", "/srv/data/165536.165536"] {
        let tree = Tree::new(node);
        let site = if root.starts_with("/srv") { "{\"data-root\": \"/srv/data\"}\n" } else { SITE };
        tree.write("/etc/docker/daemon.json", site);
        tree.write(&format!("{root}/containers/a/hostconfig.json"), "{\"Runtime\":\"runc\"}");
        tree.write(&format!("{root}/containers/b/hostconfig.json"), "broken");
        let before = tree.list();
        tree.install().expect_success();
        tree.write(&format!("{root}/containers/a/hostconfig.json"), "{\"Runtime\":\"porthole\"}");
        let said = tree.uninstall();
        assert!(said.expect_success().contains("1 container was made with it"), "{said:?}");
        let config = tree.json("/etc/docker/daemon.json");
        assert_eq!(config["default-runtime"], "runc");
        assert_eq!(config["runtimes"]["porthole"]["path"], "/etc/porthole/runtime/docker-runc");
        assert!(tree.at("/etc/porthole/runtime/docker-runc").exists());
        let kept = tree.list();
        tree.uninstall().expect_success();
        assert_eq!(tree.list(), kept);
        tree.write(&format!("{root}/containers/a/hostconfig.json"), "{\"Runtime\":\"runc\"}");
        tree.uninstall().expect_success();
        assert_eq!(tree.list(), before);
    }
}

fn a_tree_that_cannot_be_written_is_left_alone(node: &Node) {
    let tree = Tree::new(node);
    let before = tree.list();
    node.make_read_only(&tree.root);
    let outcome = tree.install();
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("Read-only"), "{outcome:?}");
    let mut command = tree.command("install", &[]);
    command.arg("--dry-run");
    tools::run(command).expect_success();
    node.unmount_all(&tree.root);
    assert_eq!(tree.list(), before);
    // Only what is needed last.
    node.make_read_only(&tree.at("/etc/docker"));
    let outcome = tree.install();
    assert!(outcome.stderr.contains("everything is as it was"), "{outcome:?}");
    node.unmount_all(&tree.at("/etc/docker"));
    assert_eq!(tree.list(), before);
}

fn a_state_that_is_not_understood_is_not_touched(node: &Node) {
    let tree = Tree::new(node);
    tree.install().expect_success();
    let good = tree.read("/var/lib/porthole/install.json");
    let foreign = good.replacen("\"schema\": 1", "\"schema\": 999", 1);
    assert_ne!(good, foreign);
    for state in [&good[..good.len() / 2], "", "[]", "{}", &foreign, "\u{0}\u{ff}"] {
        tree.write("/var/lib/porthole/install.json", state);
        let before = tree.list();
        for outcome in [tree.install(), tree.uninstall()] {
            assert_eq!(outcome.status.code(), Some(1), "{state}: {outcome:?}");
            assert!(
                outcome.stderr.contains("install.json") && outcome.stderr.contains("porthole-backup"),
                "{outcome:?}"
            );
        }
        assert_eq!(tree.list(), before, "{state}");
    }
}

fn what_is_no_configuration_is_refused_with_the_reason(node: &Node) {
    let path = "/etc/docker/daemon.json";
    for (text, words) in [
        ("{\n  \"a\": 1,\n}\n", "line 3 column 1"),
        ("{ // ours\n}", "line 1 column 3"),
        ("[]", "object"),
        ("{\"runtimes\": {}, \"runtimes\": {}}", "twice"),
        ("{\"default-runtime\": 3}", "default-runtime"),
        ("{\"runtimes\": {\"porthole\": {\"path\": \"/usr/bin/mine\"}}}", "another name"),
        (
            "{\"runtimes\": {\"x\": {\"path\": \"/usr/bin/gone\"}}, \"default-runtime\": \"x\"}",
            "/usr/bin/gone",
        ),
        (
            "{\"runtimes\": {\"x\": {\"path\": \"runc\", \"runtimeArgs\": [\"$(id)\"]}}, \"default-runtime\": \"x\"}",
            "script",
        ),
        ("{\"runtimes\": {\"a/b\": {\"path\": \"runc\"}}, \"default-runtime\": \"a/b\"}", "script"),
    ] {
        let tree = Tree::new(node);
        tree.write(path, text);
        let said = tree.refuses();
        assert!(said.contains(words), "{text}: {said}");
    }
    let tree = Tree::new(node);
    let file = tree.at(path);
    fs::write(&file, b"{\"a\": \"\xff\"}").unwrap();
    assert!(tree.refuses().contains("UTF-8"));
    File::create(&file).unwrap().set_len(1 << 30).unwrap();
    assert!(tree.refuses().contains("larger"));
    fs::remove_file(&file).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &file,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert!(tree.refuses().contains("no regular file"));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(tree.refuses().contains("daemon.json"));
    fs::remove_dir(&file).unwrap();
    symlink("daemon.json", &file).unwrap();
    assert!(tree.refuses().contains("daemon.json"));
}

fn options_that_the_file_would_contradict_are_refused(node: &Node) {
    for (path, text) in [
        (
            "/etc/default/docker",
            "# DOCKER_OPTS=\"--dns 8.8.8.8\"\nDOCKER_OPTS=\"--default-runtime=nvidia\"\n",
        ),
        (
            "/usr/lib/systemd/system/docker.service",
            "[Service]\nExecStart=/usr/bin/dockerd -H fd:// --default-runtime crun\n",
        ),
        (
            "/etc/systemd/system/docker.service.d/site.conf",
            "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd \\\n  --add-runtime=x=/usr/bin/x\n",
        ),
        (
            "/etc/systemd/system/docker.service.d/file.conf",
            "[Service]\nExecStart=/usr/bin/dockerd --config-file /srv/d.json\n",
        ),
    ] {
        let tree = Tree::new(node);
        tree.write(path, text);
        let said = tree.refuses();
        assert!(said.contains(path) && said.contains("help: "), "{path}: {said}");
    }
    let tree = Tree::new(node);
    tree.write("/etc/default/docker", "# DOCKER_OPTS=\"--default-runtime=nvidia\"\n");
    tree.install().expect_success();
}

fn a_shim_as_the_default_is_left_as_it_is(node: &Node) {
    for text in [
        "{\"default-runtime\": \"io.containerd.kata.v2\"}",
        "{\"runtimes\": {\"kata\": {\"runtimeType\": \"io.containerd.kata.v2\"}}, \"default-runtime\": \"kata\"}",
    ] {
        let tree = Tree::new(node);
        tree.write("/etc/docker/daemon.json", text);
        let said = tree.install();
        assert!(said.expect_success().contains("docker is left as it is"), "{said:?}");
        assert_eq!(tree.read("/etc/docker/daemon.json"), text);
        assert!(!tree.at("/etc/porthole/runtime").exists());
    }
}

fn a_tree_without_engines_is_an_error(node: &Node) {
    let tree = Tree::new(node);
    fs::remove_dir_all(tree.at("/etc/docker")).unwrap();
    let before = tree.list();
    let mut command = Command::new(tools::binary("porthole"));
    command.arg("install").arg("--root").arg(&tree.root);
    let outcome = tools::run(command);
    assert_eq!(outcome.status.code(), Some(1));
    assert!(outcome.stderr.contains("no container engine"), "{outcome:?}");
    assert_eq!(tree.list(), before);
}

fn of_many_at_once_each_is_whole_or_says_that_another_runs(node: &Node) {
    let tree = Tree::new(node);
    let before = tree.list();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..8).map(|_| scope.spawn(|| tree.install())).collect();
        running.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(outcomes.iter().any(|outcome| outcome.status.success()), "{outcomes:#?}");
    for outcome in outcomes.iter().filter(|outcome| !outcome.status.success()) {
        assert!(outcome.stderr.contains("another installation is running"), "{outcome:?}");
    }
    assert!(tree.install().expect_success().contains("nothing to change"));
    tree.uninstall().expect_success();
    assert_eq!(tree.list(), before);
}

/// The calls that change something in a run of a command, each as it is called and the how-manieth of its name it is.
fn changing_calls(tree: &Tree, command: &str) -> Vec<(String, usize)> {
    const CALLS: &str = "trace=rename,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,symlink,symlinkat,fchmod,fchown,fsync,fsetxattr,flock,write";
    let trace = "/mnt/install.strace";
    let porthole = tree.command(command, &[]);
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-o", trace, "-e", CALLS, "--"])
        .arg(porthole.get_program())
        .args(porthole.get_args());
    tools::run(strace).expect_success();
    let mut counts = BTreeMap::<String, usize>::new();
    let mut calls = Vec::new();
    for line in fs::read_to_string(trace).unwrap().lines() {
        let Some((name, _)) = line.split_once('(') else { continue };
        let name = name.rsplit(' ').next().unwrap().to_owned();
        let count = counts.entry(name.clone()).or_default();
        *count += 1;
        calls.push((name, *count));
    }
    calls
}

/// Runs a command, and kills it as it enters a call.
fn kill_at(tree: &Tree, command: &str, (name, nth): &(String, usize)) {
    let porthole = tree.command(command, &[]);
    let inject = format!("inject={name}:signal=KILL:when={nth}");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &inject, "--"]).arg(porthole.get_program());
    strace.args(porthole.get_args());
    let outcome = tools::run(strace);
    assert!(!outcome.status.success(), "not killed at {name} {nth}: {outcome:?}");
}

fn killed_anywhere_an_uninstall_gives_everything_back(node: &Node) {
    let tree = Tree::new(node);
    fs::remove_dir_all(tree.at("/opt")).unwrap();
    let before = tree.list();
    let installing = changing_calls(&tree, "install");
    let uninstalling = changing_calls(&tree, "uninstall");
    assert_eq!(tree.list(), before);
    assert!(installing.len() > 10 && uninstalling.len() > 5, "{installing:?} {uninstalling:?}");
    for call in &installing {
        kill_at(&tree, "install", call);
        tree.uninstall().expect_success();
        assert_eq!(tree.list(), before, "install killed at {call:?}");
    }
    for call in &uninstalling {
        tree.install().expect_success();
        kill_at(&tree, "uninstall", call);
        tree.uninstall().expect_success();
        assert_eq!(tree.list(), before, "uninstall killed at {call:?}");
    }
    for call in &installing {
        kill_at(&tree, "install", call);
        tree.install().expect_success();
        assert!(tree.install().expect_success().contains("nothing to change"), "install killed at {call:?}");
        tree.uninstall().expect_success();
        assert_eq!(tree.list(), before, "install killed at {call:?}, and run again");
    }
}

on_a_node!(requires(root):
    a_dry_run_says_what_would_be_done_and_does_nothing,
    a_second_install_changes_nothing_and_an_uninstall_gives_everything_back,
    a_file_that_was_not_there_goes_with_its_directories,
    mode_owner_attributes_and_links_stay,
    a_link_out_of_the_tree_leads_to_a_place_within_it,
    what_somebody_writes_meanwhile_stays,
    containers_made_with_it_keep_what_they_need,
    a_tree_that_cannot_be_written_is_left_alone,
    a_state_that_is_not_understood_is_not_touched,
    what_is_no_configuration_is_refused_with_the_reason,
    options_that_the_file_would_contradict_are_refused,
    a_shim_as_the_default_is_left_as_it_is,
    a_tree_without_engines_is_an_error,
    of_many_at_once_each_is_whole_or_says_that_another_runs,
);
mod killed {
    use super::*;
    on_a_node!(requires(root, strace): killed_anywhere_an_uninstall_gives_everything_back);
}
