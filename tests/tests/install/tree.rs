//! Installing into trees: what is changed, what never is, and that all of it comes back.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::thread;

use porthole_tests::tools::{self};
use porthole_tests::{Node, on_a_node};
use rustix::fs::{XattrFlags, lsetxattr};
use serde_json::{Value, json};

mod killed;
mod refusals;
mod setting;

use setting::*;

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

fn what_vouches_for_the_old_content_does_not_go_with_the_new(node: &Node) {
    let tree = Tree::new(node);
    let file = tree.at("/etc/docker/daemon.json");
    for name in ["security.ima", "security.evm", "security.porthole"] {
        lsetxattr(&file, name, b"old", XattrFlags::empty()).unwrap();
    }
    let names = || tree.list()[&file].4.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(), ["security.evm", "security.ima", "security.porthole"]);
    tree.install().expect_success();
    assert_eq!(tree.json("/etc/docker/daemon.json")["default-runtime"], "porthole");
    assert_eq!(names(), ["security.porthole"]);
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

on_a_node!(requires(root):
    a_dry_run_says_what_would_be_done_and_does_nothing,
    a_second_install_changes_nothing_and_an_uninstall_gives_everything_back,
    a_file_that_was_not_there_goes_with_its_directories,
    what_vouches_for_the_old_content_does_not_go_with_the_new,
    mode_owner_attributes_and_links_stay,
    a_link_out_of_the_tree_leads_to_a_place_within_it,
    what_somebody_writes_meanwhile_stays,
    containers_made_with_it_keep_what_they_need,
    of_many_at_once_each_is_whole_or_says_that_another_runs,
);
