//! From the first installation to the last trace: base-spec.

use std::fs;
use std::path::Path;
use std::process::Command;

use porthole_tests::engine::containerd::{self, CONFIG};
use porthole_tests::engine::{Containerd, Pod, PodOptions};
use porthole_tests::{Node, tools};
use serde_json::Value;

use super::{
    SPEC, bundle, config, install, major, on_old_and_new, on_versions, pinned, site_config, tree, unchanged,
    uninstall,
};

/// What a container was made from, without what is another in each.
fn made_from(pod: &Pod) -> Value {
    let mut config = bundle(&pod.containers[0].id);
    config.as_object_mut().unwrap().remove("hooks");
    let text = config.to_string();
    let words =
        [(&pod.containers[0].id, "ID"), (&pod.sandbox, "SANDBOX"), (&pod.name, "POD"), (&pod.uid, "UID")];
    let text = words.iter().fold(text, |text, (word, name)| text.replace(word.as_str(), name));
    let text = text.replace(&format!("/proc/{}/", pod.pid), "/proc/PID/");
    serde_json::from_str(&text).unwrap()
}

fn a_node_is_installed_upgraded_and_given_back(node: &Node, version: &str) {
    let containerd = Containerd::configured(node, version, Some(&site_config(major(version))));
    let plain = containerd.run_pod("shop", "plain", &PodOptions::default());
    let before = tree();
    let daemon = containerd.service.pid().unwrap();

    // A look changes nothing.
    let outcome = install(&["--dry-run"]);
    let diff = outcome.expect_success();
    for line in [
        "+++ b/etc/containerd/config.toml",
        "base_runtime_spec = \"/etc/porthole/containerd/base-spec.json\"",
    ] {
        assert!(diff.contains(line), "{line} is not in\n{diff}");
    }
    assert!(diff.contains("runtime kata is left as it is"), "{diff}");
    unchanged(&before, "--dry-run");

    // Installed, and what runs lives on.
    let outcome = install(&["--restart"]);
    assert!(
        outcome.expect_success().contains("containerd: reads the new configuration and answers"),
        "{outcome:?}"
    );
    let restarted = containerd.service.pid().unwrap();
    assert_ne!(restarted, daemon);
    containerd.wait_ready();
    let text = config();
    for line in site_config(major(version)).lines() {
        assert!(text.lines().any(|other| other == line), "{line:?} is gone from\n{text}");
    }
    let web = containerd.run_pod("shop", "web-0", &PodOptions { containers: 2, ..PodOptions::default() });
    pinned(node, &web);
    assert_eq!(made_from(&web), made_from(&plain), "nothing but hooks is another");
    assert_eq!(node.pin("plain"), None, "what ran before is not registered by hooks");
    assert!(!tools::reconcile().is_empty());
    pinned(node, &plain);

    // A second time there is nothing to do, restarted or not.
    let installed = tree();
    for args in [&["--restart"][..], &["--method", "base-spec"]] {
        let outcome = install(args);
        assert!(outcome.expect_success().contains("nothing to change"), "{outcome:?}");
    }
    unchanged(&installed, "a second installation");
    assert_eq!(containerd.service.pid(), Some(restarted));

    // Without the program pods start and stop as without porthole.
    fs::remove_file("/usr/libexec/porthole/porthole-hook").unwrap();
    let unhooked = containerd.run_pod("shop", "unhooked", &PodOptions::default());
    assert_eq!(node.pin("unhooked"), None);
    containerd.remove_pod(&unhooked);
    containerd.restart();
    pinned(node, &web);

    // Another build of the programs, under running pods.
    let build = Path::new("/mnt/build");
    fs::create_dir(build).unwrap();
    for name in ["porthole", "porthole-hook", "porthole-runtime"] {
        let mut bytes = fs::read(tools::binary(name)).unwrap();
        bytes.extend(b"newer");
        fs::write(build.join(name), bytes).unwrap();
        Command::new("chmod").arg("755").arg(build.join(name)).status().unwrap();
    }
    let mut command = Command::new(build.join("porthole"));
    command.args(["install", "--engine", "containerd", "--restart"]);
    tools::run(command).expect_success();
    assert!(fs::read("/usr/libexec/porthole/porthole-hook").unwrap().ends_with(b"newer"));
    pinned(node, &web);
    let late = containerd.run_pod("shop", "late", &PodOptions::default());
    pinned(node, &late);

    // Given back, under running pods.
    let outcome = uninstall(&["--restart"]);
    assert!(outcome.expect_success().contains("nothing of porthole's installation is left"), "{outcome:?}");
    unchanged(&before, "uninstall");
    containerd.wait_ready();
    assert!(bundle(&late.containers[0].id)["hooks"].is_object());
    for pod in [&plain, &web, &late] {
        containerd.remove_pod(pod);
    }
    let outcome = uninstall(&[]);
    assert!(outcome.expect_success().contains("nothing to change"), "{outcome:?}");
    tools::reconcile();
    assert_eq!((node.pins(), node.records()), (vec![], vec![]));
}

fn a_base_spec_of_the_site_is_kept_with_our_hooks_in_it(node: &Node, version: &str) {
    const SITE: &str = "/etc/containerd/site-spec.json";
    let containerd = Containerd::start(node, version);
    let spec = containerd::ctr(&["oci", "spec"]).expect_success().to_owned();
    let mut site: Value = serde_json::from_str(&spec).unwrap();
    site["process"]["rlimits"] = serde_json::json!([{ "type": "RLIMIT_NOFILE", "hard": 4242, "soft": 4242 }]);
    site["hooks"] = serde_json::json!({ "prestart": [{ "path": "/bin/true" }] });
    let text = format!("{site:#}\n\n");
    fs::write(SITE, &text).unwrap();
    // Whatever a file system keeps with a file goes with it.
    rustix::fs::setxattr(SITE, c"user.site", b"label", rustix::fs::XattrFlags::empty()).unwrap();
    rustix::fs::chown(SITE, None, Some(rustix::fs::Gid::from_raw(7))).unwrap();
    let line = "        runtime_type = ";
    let with = config().replacen(line, &format!("        base_runtime_spec = \"{SITE}\"\n{line}"), 1);
    fs::write(CONFIG, with).unwrap();
    containerd.restart();
    let before = tree();

    install(&["--restart"]).expect_success();
    containerd.wait_ready();
    assert!(!Path::new(SPEC).exists());
    let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
    pinned(node, &pod);
    let made = bundle(&pod.containers[0].id);
    assert_eq!(made["process"]["rlimits"][0]["hard"], 4242);
    assert_eq!(made["hooks"]["prestart"][0]["path"], "/bin/true");
    assert!(install(&[]).expect_success().contains("nothing to change"));
    let mut value = [0; 16];
    assert_eq!(rustix::fs::getxattr(SITE, c"user.site", &mut value).unwrap(), 5);
    containerd.remove_pod(&pod);
    tools::reconcile();

    // The site has edited it since.
    let edited = fs::read_to_string(SITE).unwrap().replace("4242", "5151");
    fs::write(SITE, edited).unwrap();
    uninstall(&["--restart"]).expect_success();
    containerd.wait_ready();
    assert_eq!(fs::read_to_string(SITE).unwrap(), text.replace("4242", "5151"));
    assert_eq!(rustix::fs::getxattr(SITE, c"user.site", &mut value).unwrap(), 5);
    // The backup is the way back to what it was, and nothing else is left.
    let backup = format!("{SITE}.porthole-backup");
    assert_eq!(fs::read_to_string(&backup).unwrap(), text);
    fs::remove_file(backup).unwrap();
    fs::write(SITE, &text).unwrap();
    unchanged(&before, "uninstall");
}

fn what_somebody_else_has_written_since_stays(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    let plain = config();
    install(&["--restart"]).expect_success();
    let theirs = config()
        .replace("# containerd of this node", "# containerd of this node, and what it is for")
        + "\n[plugins.\"io.containerd.site.v1.site\"]\n  later = true\n";
    fs::write(CONFIG, &theirs).unwrap();
    // Their edit is no reason to write anything.
    let outcome = install(&[]);
    assert!(outcome.expect_success().contains("nothing to change"), "{outcome:?}");
    uninstall(&["--restart"]).expect_success();
    containerd.wait_ready();
    let expected = plain
        .replace("# containerd of this node", "# containerd of this node, and what it is for")
        + "\n[plugins.\"io.containerd.site.v1.site\"]\n  later = true\n";
    assert_eq!(config(), expected);
    assert!(!Path::new("/var/lib/porthole").exists() && !Path::new("/etc/porthole").exists());
}

on_versions!(v1_6 "1.6", v1_7 "1.7", v2 "2": a_node_is_installed_upgraded_and_given_back);

mod others {
    use super::*;
    on_old_and_new!(
        a_base_spec_of_the_site_is_kept_with_our_hooks_in_it,
        what_somebody_else_has_written_since_stays
    );
}
