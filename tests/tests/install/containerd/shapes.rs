//! Where the change is written: in the file, in one that it imports, beside it; and what containerd makes of it.

use std::fs;
use std::path::Path;

use porthole_tests::engine::containerd::CONFIG;
use porthole_tests::engine::{Containerd, PodOptions};
use porthole_tests::{Node, tools};

use super::{
    SPEC, config, install, major, on_old_and_new, on_versions, pinned, refused, site_config, tree, unchanged,
    uninstall,
};

fn without_a_file_there_is_one_with_only_ours(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    fs::remove_file(CONFIG).unwrap();
    containerd.restart();
    let before = tree();
    install(&["--restart"]).expect_success();
    let version = if major(version) < 2 { 2 } else { 3 };
    let text = config();
    assert!(text.contains(&format!("version = {version}\n")) && text.contains(SPEC), "{text}");
    assert!(install(&[]).expect_success().contains("nothing to change"));
    uninstall(&["--restart"]).expect_success();
    unchanged(&before, "uninstall");
}

fn every_way_to_write_a_runtime_is_read_as_it_was_meant(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    // What it would read is asked of its program, whether or not it runs.
    containerd.service.call("stop");
    let (number, plugin) = if major(version) < 2 {
        (2, "\"io.containerd.grpc.v1.cri\"")
    } else {
        (3, "'io.containerd.cri.v1.runtime'")
    };
    for text in [
        "version = V\n[plugins.P.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n[plugins.P.containerd.runtimes.runc.options]\nSystemdCgroup = true\nBinaryName = '/usr/sbin/runc'\n",
        "version = V\r\n[plugins.P]\r\n  containerd.runtimes.runc.runtime_type = 'io.containerd.runc.v2'\r\n  containerd.runtimes.runc.options.SystemdCgroup = true\r\n",
        "version = V\n[plugins.P.containerd.runtimes]\nrunc = { runtime_type = 'io.containerd.runc.v2', options = { SystemdCgroup = true } }\nnvidia = { runtime_type = 'io.containerd.runc.v2', options = { BinaryName = '/usr/sbin/runc' } }\n",
        "version = V\n[plugins.P]\n  max_container_log_line_size = 4242\n",
    ] {
        let text = text
            .replace("version = V", &format!("version = {number}"))
            .replace("plugins.P", &format!("plugins.{plugin}"));
        fs::write(CONFIG, &text).unwrap();
        let before = tree();
        for method in ["base-spec", "runtime"] {
            // It refuses what containerd would read otherwise.
            install(&["--method", method]).expect_success();
            let installed = config();
            assert_ne!(installed, text);
            assert_eq!(
                installed.matches("SystemdCgroup = true").count(),
                text.matches("SystemdCgroup = true").count()
            );
        }
        let outcome = install(&[]);
        assert!(outcome.expect_success().contains("nothing to change"), "{outcome:?}\n{}", config());
        uninstall(&[]).expect_success();
        unchanged(&before, &text);
    }
    fs::write(CONFIG, site_config(major(version))).unwrap();
    containerd.restart();
}

fn a_directory_of_drop_ins_is_used_where_they_add_to_each_other(node: &Node, version: &str) {
    let imports = "imports = [\"/etc/containerd/conf.d/*.toml\"]\n";
    let text = format!("{imports}{}", site_config(major(version)));
    let containerd = Containerd::configured(node, version, Some(&text));
    let before = tree();
    install(&["--restart"]).expect_success();
    containerd.wait_ready();
    assert_eq!(config(), text, "the main file is not touched");
    assert!(fs::read_to_string("/etc/containerd/conf.d/99-porthole.toml").unwrap().contains(SPEC));
    let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
    pinned(node, &pod);
    containerd.remove_pod(&pod);
    // A later file of the site's takes it away: that is noticed before containerd is restarted.
    uninstall(&[]).expect_success();
    unchanged(&before, "uninstall");
    fs::create_dir("/etc/containerd/conf.d").unwrap();
    fs::write(
        "/etc/containerd/conf.d/99-site.toml",
        "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\nbase_runtime_spec = ''\ncni_max_conf_num = 2\n",
    )
    .unwrap();
    fs::write(
        "/etc/containerd/conf.d/99-z.toml",
        "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\nBinaryName = '/usr/sbin/runc'\n",
    )
    .unwrap();
    let before = tree();
    refused(
        &install(&["--method", "runtime"]),
        &["would not read", "config dump", "everything is as it was"],
    );
    unchanged(&before, "a later drop-in");
    tools::reconcile();
}

fn the_file_that_has_the_last_word_is_edited_where_imports_replace(node: &Node, version: &str) {
    let text = format!("imports = [\"/etc/containerd/site.d/*.toml\"]\n{}", site_config(major(version)));
    let containerd = Containerd::configured(node, version, Some(&text));
    fs::create_dir_all("/etc/containerd/site.d").unwrap();
    let site = Path::new("/etc/containerd/site.d/10-cri.toml");
    fs::write(site, site_config(major(version))).unwrap();
    containerd.restart();
    let before = tree();
    install(&["--restart"]).expect_success();
    containerd.wait_ready();
    assert_eq!(config(), text, "the main file is not touched");
    assert!(fs::read_to_string(site).unwrap().contains(SPEC));
    let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
    pinned(node, &pod);
    containerd.remove_pod(&pod);
    uninstall(&["--restart"]).expect_success();
    unchanged(&before, "uninstall");
    tools::reconcile();
}

fn a_disabled_cri_is_left_alone(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    // As Docker's packages have it.
    fs::write(CONFIG, "disabled_plugins = [\"cri\"]\n").unwrap();
    let before = tree();
    let outcome = install(&["--dry-run"]);
    assert!(outcome.expect_success().contains("CRI plugin is disabled"), "{outcome:?}");
    unchanged(&before, "--dry-run");
    fs::write(CONFIG, site_config(major(version))).unwrap();
    drop(containerd);
}

on_old_and_new!(
    without_a_file_there_is_one_with_only_ours,
    every_way_to_write_a_runtime_is_read_as_it_was_meant
);

mod drop_ins {
    use super::*;
    on_versions!(v2 "2": a_directory_of_drop_ins_is_used_where_they_add_to_each_other);
}

mod imports {
    use super::*;
    on_versions!(v1_7 "1.7": the_file_that_has_the_last_word_is_edited_where_imports_replace, a_disabled_cri_is_left_alone);
}
