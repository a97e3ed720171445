//! Where the change is written: in the file, in one that it imports, beside it; and what containerd makes of it.

use std::fs;
use std::path::Path;

use porthole_tests::engine::containerd::CONFIG;
use porthole_tests::engine::{Containerd, PodOptions};
use porthole_tests::{Node, tools};

use super::{
    SPEC, config, install, major, on_old_and_new, on_versions, pinned, site_config, tree, unchanged,
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
    uninstall(&[]).expect_success();
    unchanged(&before, "uninstall");
    tools::reconcile();
}

fn a_drop_in_has_a_name_behind_those_that_would_take_it_back(node: &Node, version: &str) {
    let imports = "imports = [\"/etc/containerd/conf.d/*.toml\"]\n";
    let text = format!("{imports}{}", site_config(major(version)));
    let containerd = Containerd::configured(node, version, Some(&text));
    containerd.stop();
    fs::create_dir("/etc/containerd/conf.d").unwrap();
    let runtime = "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes";
    let clear = format!(
        "{runtime}.runc]\nbase_runtime_spec = ''\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\nBinaryName = ''\n"
    );
    let gpu = format!("{runtime}.gpu]\nruntime_type = 'io.containerd.runc.v2'\nbase_runtime_spec = ''\n");
    for (site, ours) in [
        ("gpu.toml", "zz-porthole.toml"),
        ("99-site.toml", "zz-porthole.toml"),
        ("10-site.toml", "99-porthole.toml"),
        ("zzz.toml", "zzz~porthole.toml"),
    ] {
        let site = Path::new("/etc/containerd/conf.d").join(site);
        let ours = Path::new("/etc/containerd/conf.d").join(ours);
        fs::write(&site, if site.ends_with("gpu.toml") { &gpu } else { &clear }).unwrap();
        let before = tree();
        for method in ["base-spec", "runtime"] {
            let outcome = install(&["--method", method]);
            outcome.expect_success();
            assert!(ours.exists(), "{outcome:?}");
            assert!(install(&[]).expect_success().contains("nothing to change"));
        }
        uninstall(&[]).expect_success();
        unchanged(&before, "uninstall");
        fs::remove_file(site).unwrap();
    }
    // A file that is imported by its name, and read last, gets the keys.
    let site = "/etc/containerd/last.toml";
    fs::write(
        CONFIG,
        text.replace(
            imports,
            "imports = [\"/etc/containerd/conf.d/*.toml\", \"/etc/containerd/last.toml\"]\n",
        ),
    )
    .unwrap();
    fs::write(site, &clear).unwrap();
    containerd.service.call("start");
    containerd.wait_ready();
    let before = tree();
    install(&["--restart"]).expect_success();
    assert!(fs::read_to_string(site).unwrap().contains(SPEC));
    containerd.wait_ready();
    let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
    pinned(node, &pod);
    containerd.remove_pod(&pod);
    uninstall(&["--restart"]).expect_success();
    unchanged(&before, "uninstall");
    containerd.wait_ready();
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
    on_versions!(v2 "2": a_directory_of_drop_ins_is_used_where_they_add_to_each_other, a_drop_in_has_a_name_behind_those_that_would_take_it_back);
}

mod imports {
    use super::*;
    on_versions!(v1_7 "1.7": the_file_that_has_the_last_word_is_edited_where_imports_replace, a_disabled_cri_is_left_alone);
}
