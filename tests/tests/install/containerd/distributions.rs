//! containerds of Kubernetes distributions, beside the node's own: each is found where it is, and reads the files that
//! install writes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use porthole_tests::engine::bundled::{K0S, K3S, called};
use porthole_tests::engine::{Containerd, PodOptions};
use porthole_tests::{Node, tools};

use super::{install, major, on_versions, pinned, refused, tree, unchanged, uninstall};

/// The verdicts of doctor on these checks, with each line.
fn doctor(checks: &[&str]) -> String {
    tools::porthole(&[&["doctor"], checks].concat()).stdout
}

/// k3s as it starts: its configuration is made anew, of its own part and of the operator's template.
fn k3s(version: &str) -> String {
    let dir = Path::new(K3S.config).parent().unwrap().display().to_string();
    let template = if major(version) < 2 { "config.toml.tmpl" } else { "config-v3.toml.tmpl" };
    fs::create_dir_all(&dir).unwrap();
    fs::write("/mnt/base.toml", K3S.text(major(version))).unwrap();
    format!(
        "if test -f {dir}/{template}\nthen sed -e '/template \"base\"/r /mnt/base.toml' -e '/template \"base\"/d' {dir}/{template} >{dir}/config.toml\n\
         else cat /mnt/base.toml >{dir}/config.toml\nfi"
    )
}

fn a_generated_configuration_is_left_alone_and_its_template_is_used(node: &Node, version: &str) {
    let containerd = K3S.start(node, version, &k3s(version));
    let before = tree();
    let generated = K3S.config();
    let template = Path::new(K3S.config).with_file_name("config-v3.toml.tmpl");
    let outcome = install(&["--config", K3S.config]);
    let said = outcome.expect_success();
    assert!(said.contains("k3s writes") && said.contains("restarted"), "{said}");
    assert_eq!(K3S.config(), generated, "the generated file is not touched");
    assert!(fs::read_to_string(&template).unwrap().ends_with("{{ template \"base\" . }}\n"));
    assert!(install(&[]).expect_success().contains("nothing to change"));
    let said = doctor(&["engine-hook"]);
    assert!(said.contains("warn  engine-hook") && said.contains("counts once"), "{said}");

    // k3s does this at its start.
    containerd.restart();
    let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
    pinned(node, &pod);
    let said = doctor(&["engine-hook", "engine-loaded"]);
    assert!(said.contains("ok    engine-hook") && said.contains("ok    engine-loaded"), "{said}");
    assert!(install(&[]).expect_success().contains("nothing to change"));
    containerd.remove_pod(&pod);
    tools::reconcile();
    uninstall(&[]).expect_success();
    assert!(!template.exists());
    containerd.restart();
    assert_eq!(K3S.config(), generated);
    unchanged(&before, "uninstall");
}

fn a_template_of_the_operators_keeps_every_byte(node: &Node, version: &str) {
    let template = Path::new(K3S.config).with_file_name("config-v3.toml.tmpl");
    let containerd = K3S.start(node, version, &k3s(version));
    let site = "{{ template \"base\" . }}\n\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.x]\n  runtime_type = 'io.containerd.runc.v2'\n";
    fs::write(&template, site).unwrap();
    containerd.restart();
    let before = tree();
    install(&["--config", K3S.config]).expect_success();
    assert!(fs::read_to_string(&template).unwrap().contains(site));
    containerd.restart();
    let said = doctor(&["engine-hook"]);
    assert!(said.contains("ok    engine-hook") && said.contains("runtime x"), "{said}");
    uninstall(&[]).expect_success();
    containerd.restart();
    unchanged(&before, "uninstall");
}

fn a_generated_configuration_with_nowhere_to_add_is_refused(node: &Node, version: &str) {
    let containerd = K3S.start(node, version, &k3s(version));
    let before = tree();
    refused(&install(&["--config", K3S.config]), &["k3s writes this file anew", "already"]);
    unchanged(&before, "a refusal");
    let said = doctor(&["engine-hook"]);
    assert!(said.contains("warn  engine-hook"), "{said}");
    drop(containerd);
}

fn the_daemon_s_own_runtime_is_called_and_no_other(node: &Node, version: &str) {
    // The file is a site's: no program writes it anew.
    let head = K3S.head.lines().skip(1).collect::<Vec<_>>().join("\n") + "\n";
    let layout = porthole_tests::engine::bundled::Layout { head: Box::leak(head.into_boxed_str()), ..K3S };
    let containerd = layout.start(node, version, "");
    layout.put_host_runc();
    let pod = containerd.run_pod("shop", "before", &PodOptions::default());
    containerd.remove_pod(&pod);
    assert_eq!(called(), ["k3s"]);
    install(&["--config", K3S.config, "--method", "runtime"]).expect_success();
    containerd.restart();
    let pod = containerd.run_pod("shop", "after", &PodOptions::default());
    pinned(node, &pod);
    assert_eq!(called(), ["k3s"], "{}", fs::read_to_string("/etc/porthole/runtime/containerd-runc").unwrap());
    let said = doctor(&["engine-hook", "runtime-binary"]);
    assert!(!said.contains("fail  ") && !said.contains("warn  "), "{said}");
    containerd.remove_pod(&pod);
    tools::reconcile();
    uninstall(&[]).expect_success();
    containerd.restart();
    uninstall(&[]).expect_success();

    // One that does not run cannot say.
    containerd.stop();
    let engine = format!("containerd={}", if major(version) < 2 { "1.7" } else { "2.1" });
    let outcome =
        tools::porthole(&["install", "--engine", &engine, "--config", K3S.config, "--method", "runtime"]);
    assert!(outcome.expect_success().contains("its PATH is not known"), "{outcome:?}");
    uninstall(&[]).expect_success();
    containerd.service.call("start");
    containerd.wait_ready();
}

fn another_containerd_is_never_restarted_in_its_place(node: &Node, version: &str) {
    let system = Containerd::start(node, version);
    let bundled = K0S.start(node, version, "");
    let pids = (system.service.pid(), bundled.service.pid());
    let before = tree();
    let outcome = install(&["--config", K0S.config, "--restart"]);
    refused(
        &outcome,
        &["restart containerd (/etc/k0s/containerd.toml)", "systemd does not run", "everything is as it was"],
    );
    unchanged(&before, "a restart that is refused");
    assert_eq!((system.service.pid(), bundled.service.pid()), pids);

    // Without `--restart`, install names the process to restart.
    let outcome = install(&["--config", K0S.config]);
    let said = outcome.expect_success();
    assert!(said.contains(&format!("restart process {}", pids.1.unwrap())), "{said}");
    assert!(!said.contains("systemctl") && said.contains("no units are installed"), "{said}");
    uninstall(&[]).expect_success();

    // The one that can be restarted is restarted, and the other one is as it was.
    let outcome = install(&["--restart"]);
    refused(&outcome, &["restart containerd (/etc/k0s/containerd.toml)", "its files are as they were"]);
    assert!(outcome.stdout.contains("containerd: reads the new configuration and answers"), "{outcome:?}");
    assert!(!Path::new("/etc/k0s/containerd.d/99-porthole.toml").exists());
    assert_ne!(system.service.pid(), pids.0);
    assert_eq!(bundled.service.pid(), pids.1);
    system.wait_ready();
    let pod = system.run_pod("shop", "web-0", &PodOptions::default());
    pinned(node, &pod);
    system.remove_pod(&pod);
    tools::reconcile();
    uninstall(&["--restart"]).expect_success();
    unchanged(&before, "uninstall");
    system.wait_ready();
}

fn each_of_several_containerds_is_installed_for_and_given_back_alone(node: &Node, version: &str) {
    let system = Containerd::start(node, version);
    let bundled = K0S.start(node, version, "");
    let before = tree();
    let outcome = install(&["--dry-run"]);
    let said = outcome.expect_success();
    assert!(
        said.contains("configured by /etc/containerd/config.toml")
            && said.contains("configured by /etc/k0s/containerd.toml"),
        "{said}"
    );
    install(&[]).expect_success();
    assert!(Path::new("/etc/k0s/containerd.d/99-porthole.toml").exists());
    assert!(install(&[]).expect_success().contains("nothing to change"));
    system.restart();
    bundled.restart();
    for (containerd, name) in [(&system, "of-system"), (&bundled, "of-k0s")] {
        let pod = containerd.run_pod("shop", name, &PodOptions::default());
        pinned(node, &pod);
        containerd.remove_pod(&pod);
        tools::reconcile();
    }
    let said = doctor(&["engine-hook", "engine-loaded"]);
    assert_eq!(said.matches("ok    engine-hook").count(), 2, "{said}");
    assert_eq!(said.matches("ok    engine-loaded").count(), 2, "{said}");
    assert!(said.contains("(/etc/k0s/containerd.toml)"), "{said}");
    uninstall(&["--engine", "containerd", "--config", K0S.config]).expect_success();
    assert!(!Path::new("/etc/k0s/containerd.d/99-porthole.toml").exists());
    bundled.restart();
    let pod = system.run_pod("shop", "still", &PodOptions::default());
    pinned(node, &pod);
    system.remove_pod(&pod);
    uninstall(&[]).expect_success();
    unchanged(&before, "uninstall");
    tools::reconcile();
}

fn what_runs_is_installed_for_and_not_a_file_that_nobody_reads(node: &Node, version: &str) {
    let bundled = K0S.start(node, version, "");
    let before = tree();
    install(&[]).expect_success();
    assert!(!Path::new("/etc/containerd").exists());
    bundled.restart();
    let pod = bundled.run_pod("shop", "web-0", &PodOptions::default());
    pinned(node, &pod);
    let said = doctor(&["engine-hook", "engine-loaded"]);
    assert!(said.contains("ok    engine-hook") && said.contains("ok    engine-loaded"), "{said}");
    bundled.remove_pod(&pod);
    tools::reconcile();
    uninstall(&[]).expect_success();
    unchanged(&before, "uninstall");
}

fn a_process_of_the_name_that_is_none_is_said_to_be_none(_: &Node) {
    porthole_tests::engine::system::make_own();
    for name in ["porthole", "porthole-hook", "porthole-runtime"] {
        let dir = if name == "porthole" { "/usr/bin" } else { "/usr/libexec/porthole" };
        fs::create_dir_all(dir).unwrap();
        fs::copy(tools::binary(name), Path::new(dir).join(name)).unwrap();
    }
    fs::create_dir_all("/opt/bundle/bin").unwrap();
    let program = "/opt/bundle/bin/containerd";
    for script in ["#!/bin/sh\nsleep 60\n", "#!/bin/sh\ncase $2 in config) echo no; exit 0; esac\nsleep 60\n"]
    {
        fs::write(program, script).unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(program);
        command.args([
            "--config=/etc/k0s/containerd.toml",
            "--state=/run/k0s/containerd",
            "--address=/run/k0s/containerd.sock",
        ]);
        command.env("PATH", "/opt/bundle/bin:/usr/bin:/bin").stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        let outcome = tools::porthole(&["doctor", "engine-hook", "engine-loaded"]);
        let said = &outcome.stdout;
        assert!(said.contains("cannot be asked") && said.contains("/etc/k0s/containerd.toml"), "{outcome:?}");
        assert!(
            !said.contains("no answer within 25 s") && said.contains(&format!("process {}", child.id())),
            "{said}"
        );
        // With its children.
        let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
        rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).unwrap();
        child.wait().unwrap();
    }
}

mod templates {
    use super::*;
    on_versions!(v2 "2": a_generated_configuration_is_left_alone_and_its_template_is_used, a_template_of_the_operators_keeps_every_byte);
}

mod no_templates {
    use super::*;
    on_versions!(v1_7 "1.7": a_generated_configuration_with_nowhere_to_add_is_refused);
}

mod several {
    use super::*;
    on_versions!(v2 "2":
        another_containerd_is_never_restarted_in_its_place,
        each_of_several_containerds_is_installed_for_and_given_back_alone,
        what_runs_is_installed_for_and_not_a_file_that_nobody_reads
    );
}

mod programs {
    use super::*;
    on_versions!(v1_7 "1.7", v2 "2": the_daemon_s_own_runtime_is_called_and_no_other);
}

porthole_tests::on_a_node!(requires (root): a_process_of_the_name_that_is_none_is_said_to_be_none);
