//! Files of every version, empty ones and none: containerd's presets stay, whichever table is new.

use std::fs;

use porthole_tests::engine::containerd::CONFIG;
use porthole_tests::engine::{Containerd, PodOptions};
use porthole_tests::{Node, tools};

use super::{
    SPEC, config, install, major, on_versions, pinned, refused, site_config, tree, unchanged, uninstall,
};

/// The configuration that containerd would read, without the keys of an installation and without the list of files.
fn read() -> String {
    let mut command = std::process::Command::new("/usr/bin/containerd");
    if fs::exists(CONFIG).unwrap() {
        command.args(["--config", CONFIG, "config", "dump"]);
    } else {
        command.args(["config", "default"]);
    }
    let outcome = tools::run(command);
    let of_ours = ["base_runtime_spec", "BinaryName", "imports"];
    // A missing option equals one with its zero value.
    let zeros = ["= \"\"", "= ''", "= 0", "= false", "= []"];
    let lines = outcome.expect_success().lines().map(str::trim);
    let lines = lines.filter(|line| {
        !line.is_empty()
            && !of_ours.iter().any(|key| line.starts_with(key))
            && !zeros.iter().any(|zero| line.ends_with(zero))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn what_containerd_presets_for_a_runtime_stays_when_its_table_is_new(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    containerd.service.call("stop");
    let registry = "version = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n";
    let debian = "version = 2\n\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    [plugins.\"io.containerd.grpc.v1.cri\".cni]\n\
                  \x20     bin_dir = \"/usr/lib/cni\"\n      conf_dir = \"/etc/cni/net.d\"\n  [plugins.\"io.containerd.internal.v1.opt\"]\n    path = \"/var/lib/containerd\"\n";
    let imports = "version = 2\nimports = [\"/etc/containerd/config.d/*.toml\"]\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n  runtime_type = \"io.containerd.runc.v2\"\n";
    for text in [
        Some(registry),
        Some(debian),
        Some(imports),
        Some(""),
        Some("# nothing yet\n"),
        Some("oom_score = -999\n"),
        None,
    ] {
        match text {
            Some(text) => fs::write(CONFIG, text).unwrap(),
            None => fs::remove_file(CONFIG).unwrap(),
        }
        fs::create_dir_all("/etc/containerd/config.d").unwrap();
        let mirrors = registry.replace(
            "registry]\n  config_path = \"/etc/containerd/certs.d\"",
            "registry.mirrors.\"r.test\"]\n  endpoint = [\"http://r.test\"]",
        );
        fs::write("/etc/containerd/config.d/registries.toml", mirrors).unwrap();
        let (before, said) = (tree(), read());
        // Two of them get the second method, which takes the first back.
        let methods =
            if text.is_some_and(|text| text.contains("certs.d")) || text == Some("") { 2 } else { 1 };
        for method in ["base-spec", "runtime"].into_iter().take(methods) {
            install(&["--method", method]).expect_success();
            let now = read();
            // A file that is new is read where presets were.
            assert!(
                text.is_none() || now == said,
                "{text:?} {method}:\n{said}\n---\n{now}\n---\n{}",
                config()
            );
            assert!(install(&[]).expect_success().contains("nothing to change"), "{text:?}");
        }
        uninstall(&[]).expect_success();
        unchanged(&before, &format!("{text:?}"));
    }
    fs::write(CONFIG, site_config(major(version))).unwrap();
    containerd.service.call("start");
    containerd.wait_ready();
}

/// As [`site_config`], in the form of version 1.
fn of_version_1() -> String {
    let text = site_config(1).replace("version = 2\n", "").replace("\"io.containerd.grpc.v1.cri\"", "cri");
    text.replace("[plugins.\"io.containerd.site.v1.site\"]", "[plugins.linux]")
        .replace("  key = 'of nobody else'", "  shim_debug = true")
}

fn a_configuration_of_version_1_is_edited_in_its_own_form(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    fs::write(CONFIG, of_version_1()).unwrap();
    containerd.restart();
    let before = tree();
    by_both_methods(node, &containerd, || {
        assert!(config().contains("[plugins.cri.containerd.runtimes.runc"), "{}", config());
    });
    unchanged(&before, "uninstall");
}

/// Installs by each method, and a pod is pinned; then uninstalls. `look` is called after each installation.
fn by_both_methods(node: &Node, containerd: &Containerd, look: impl Fn()) {
    for method in ["base-spec", "runtime"] {
        install(&["--method", method, "--restart"]).expect_success();
        containerd.wait_ready();
        look();
        let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
        pinned(node, &pod);
        containerd.remove_pod(&pod);
        tools::reconcile();
    }
    uninstall(&["--restart"]).expect_success();
    containerd.wait_ready();
}

fn a_configuration_that_2_does_not_read_is_refused_with_a_way_out_that_works(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    fs::write(CONFIG, of_version_1()).unwrap();
    let before = tree();
    let outcome = install(&[]);
    refused(&outcome, &["of version 1", "config migrate"]);
    unchanged(&before, "a refusal");
    // The remedy works.
    let mut migrate = std::process::Command::new("/usr/bin/containerd");
    migrate.args(["--config", CONFIG, "config", "migrate"]);
    let migrated = tools::run(migrate).expect_success().to_owned();
    fs::write(CONFIG, migrated).unwrap();
    install(&[]).expect_success();
    assert!(config().contains(SPEC), "{}", config());
    uninstall(&[]).expect_success();
    fs::write(CONFIG, site_config(2)).unwrap();
    drop(containerd);
}

fn a_runtime_of_type_runc_v1_is_hooked_as_its_successor(node: &Node, version: &str) {
    porthole_tests::engine::system::put(
        &porthole_tests::engine::Release::with("containerd", version).unwrap(),
        "/usr/bin/containerd-shim-runc-v1",
    );
    let text = site_config(1).replace("io.containerd.runc.v2", "io.containerd.runc.v1");
    let containerd = Containerd::configured(node, version, Some(&text));
    let before = tree();
    by_both_methods(node, &containerd, || ());
    unchanged(&before, "uninstall");
}

fn the_one_runtime_that_1_x_has_beside_the_others_is_hooked(node: &Node, version: &str) {
    let text = site_config(1).replace("default_runtime_name = \"runc\"", "")
        + "\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.default_runtime]\n  runtime_type = \"io.containerd.runc.v2\"\n";
    let containerd = Containerd::configured(node, version, Some(&text));
    let before = tree();
    install(&["--restart"]).expect_success();
    containerd.wait_ready();
    assert_eq!(config().matches(SPEC).count(), 2, "{}", config());
    let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
    pinned(node, &pod);
    containerd.remove_pod(&pod);
    tools::reconcile();
    uninstall(&["--restart"]).expect_success();
    unchanged(&before, "uninstall");
    containerd.wait_ready();
}

on_versions!(v1_6 "1.6", v1_7 "1.7", v2 "2": what_containerd_presets_for_a_runtime_stays_when_its_table_is_new);

mod old {
    use super::*;
    on_versions!(v1_6 "1.6", v1_7 "1.7":
        a_configuration_of_version_1_is_edited_in_its_own_form,
        a_runtime_of_type_runc_v1_is_hooked_as_its_successor
    );
}

mod oldest {
    use super::*;
    // With it, containerd 1.7 does not become ready on a node like this.
    on_versions!(v1_6 "1.6": the_one_runtime_that_1_x_has_beside_the_others_is_hooked);
}

mod new {
    use super::*;
    on_versions!(v2 "2": a_configuration_that_2_does_not_read_is_refused_with_a_way_out_that_works);
}
