//! Containers that are made through the wrapper.

use std::fs;
use std::os::unix::fs::MetadataExt;

use porthole_registry::hook_entry;
use porthole_registry::json_edit::Document;
use porthole_tests::pod::Netns;
use porthole_tests::{Node, Runtime, on_every_runtime, tools};
use serde_json::{Value, json};

use crate::installed::{Installed, text, web_0};

fn recorded_pinned_and_released(node: &Node, runtime: Runtime) {
    let porthole = Installed::new(node, runtime);
    let bundle = web_0(node);
    bundle.write();
    porthole.call(&["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]).expect_success();
    let pid = porthole.state(&bundle)["pid"].as_u64().unwrap();
    assert_eq!(node.pin("web-0"), Netns::of(u32::try_from(pid).unwrap()));
    assert_eq!(node.record(&bundle.id).unwrap()["pod"]["name"], "web-0");
    porthole.call(&["start", &bundle.id]).expect_success();
    porthole.delete(&bundle);
    assert!(node.pins().is_empty() && node.records().is_empty());
    node.expect_silence("a container made through the wrapper");
}

fn fields_and_numbers_survive_byte_for_byte(node: &Node, runtime: Runtime) {
    let porthole = Installed::new(node, runtime);
    let bundle = web_0(node);
    bundle.write();
    let odd = r#"{
  "org.example.future" : { "b":12345678901234567890, "a":[ 1.10,1E+2 ,-0.0,0.1e-7], "é\/\u00e9":null },
  "#;
    let before = format!("{odd}{}\n\n", text(&bundle).trim().strip_prefix('{').unwrap());
    fs::write(bundle.dir.join("config.json"), &before).unwrap();
    porthole.run(&bundle);
    let after = text(&bundle);
    let (head, tail) = before.rsplit_once('}').unwrap();
    assert!(after.starts_with(head.trim_end()), "{after}");
    assert!(after.ends_with(&format!("}}{tail}")), "{after}");
    let mut document = Document::parse(after).unwrap();
    assert_eq!(hook_entry::remove(&mut document), Ok(true));
    assert_eq!(document.as_str(), before);
    assert_eq!(node.records(), [bundle.id.as_str()]);
    porthole.delete(&bundle);
}

fn hooks_of_the_site_come_first(node: &Node, runtime: Runtime) {
    let porthole = Installed::new(node, runtime);
    let out = node.scratch().join("order");
    // The site's hook tells whether porthole has registered the container already.
    let script =
        format!("cat >/dev/null; ls /run/porthole/containers >{} 2>/dev/null; exit 0", out.display());
    let site = json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], "timeout": 7 });
    let bundle = web_0(node).with(|config| {
        config["hooks"] = json!({ "createRuntime": [site], "poststop": [], "startContainer": [] });
    });
    bundle.write();
    porthole.run(&bundle);
    assert_eq!(fs::read_to_string(&out).unwrap(), "", "it ran before porthole's");
    assert_eq!(node.records(), [bundle.id.as_str()]);
    let config: Value = serde_json::from_str(&text(&bundle)).unwrap();
    let hooks = config["hooks"]["createRuntime"].as_array().unwrap();
    assert_eq!((hooks.len(), &hooks[0]), (2, &site));
    assert!(hook_entry::is_ours(&hooks[1]));
    assert_eq!(config["hooks"]["startContainer"], json!([]));
    porthole.delete(&bundle);
    node.expect_silence("a container with hooks of its own");
}

fn hooks_under_a_key_in_other_letters_are_called_as_ours_are(node: &Node, runtime: Runtime) {
    // A runtime in Go reads `Hooks` as `hooks`, and takes the last of both. Others know one spelling.
    let porthole = Installed::new(node, runtime);
    for (key, stage) in [("Hooks", "createRuntime"), ("hooks", "CreateRuntime"), ("HOOKS", "createruntime")] {
        let out = node.scratch().join("site");
        let script = format!("cat >/dev/null; echo ran >{}", out.display());
        let site = json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] });
        let bundle = web_0(node).with(|config| config[key] = json!({ stage: [site] }));
        bundle.write();
        porthole.run(&bundle);
        assert_eq!(fs::read_to_string(&out).unwrap(), "ran\n", "{key}.{stage}");
        assert_eq!(node.records(), [bundle.id.as_str()], "{key}.{stage}");
        porthole.delete(&bundle);
        assert!(node.pins().is_empty() && node.records().is_empty(), "{key}.{stage}");
        fs::remove_file(out).unwrap();
    }
    node.expect_silence("hooks in other letters");
}

fn a_second_pass_changes_nothing(node: &Node, runtime: Runtime) {
    let porthole = Installed::new(node, runtime);
    let bundle = web_0(node);
    bundle.write();
    porthole.run(&bundle);
    let file = bundle.dir.join("config.json");
    let (inode, first) = (fs::metadata(&file).unwrap().ino(), text(&bundle));
    porthole.delete(&bundle);
    porthole.run(&bundle);
    assert_eq!((fs::metadata(&file).unwrap().ino(), text(&bundle)), (inode, first));
    assert_eq!(node.pins(), ["web-0"]);
    porthole.delete(&bundle);
    node.expect_silence("the second container of a bundle");
}

fn an_older_installation_in_the_bundle_is_replaced(node: &Node, runtime: Runtime) {
    let porthole = Installed::new(node, runtime);
    let old = |stage: &str| json!([{ "path": "/opt/old/porthole-hook", "args": ["porthole-hook", stage] }]);
    let bundle = web_0(node).with(|config| {
        config["hooks"] = json!({
            "prestart": old("prestart"), "createRuntime": old("createRuntime"), "poststop": old("poststop"),
        });
    });
    bundle.write();
    // With a path that is not there, no runtime would make it.
    porthole.run(&bundle);
    let after = text(&bundle);
    assert!(!after.contains("/opt/old"), "{after}");
    assert_eq!(after.matches("exec /mnt/libexec/porthole-hook ").count(), 2, "{after}");
    porthole.delete(&bundle);
    assert!(node.pins().is_empty());
    node.expect_silence("a bundle of an older installation");
}

fn programs_that_are_gone_hold_up_no_container(node: &Node, runtime: Runtime) {
    let porthole = Installed::new(node, runtime);
    for gone in [&["porthole-hook"][..], &["porthole-runtime"], &["porthole-hook", "porthole-runtime"]] {
        // From the start.
        gone.iter().for_each(|name| porthole.remove(name));
        let bundle = web_0(node);
        bundle.write();
        porthole.run(&bundle);
        assert_eq!(porthole.state(&bundle)["status"], "running", "{gone:?}");
        assert!(node.records().is_empty(), "{gone:?}");
        porthole.delete(&bundle);
        porthole.put_binaries();
        // Between create and start, and between start and delete.
        for early in [true, false] {
            let bundle = web_0(node);
            bundle.write();
            porthole
                .call(&["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])
                .expect_success();
            assert_eq!(node.records(), [bundle.id.as_str()]);
            if early {
                gone.iter().for_each(|name| porthole.remove(name));
            }
            porthole.call(&["start", &bundle.id]).expect_success();
            if !early {
                gone.iter().for_each(|name| porthole.remove(name));
            }
            porthole.delete(&bundle);
            porthole.put_binaries();
            tools::reconcile();
            assert!(node.pins().is_empty() && node.records().is_empty(), "{gone:?}");
        }
        node.expect_silence("programs that are gone");
    }
}

fn a_state_longer_than_a_pipe_kills_no_runtime_without_the_hook(node: &Node, runtime: Runtime) {
    let porthole = Installed::new(node, runtime);
    let bundle = web_0(node).with(|config| {
        for n in 0..100 {
            config["annotations"][format!("example.org/{n}")] = json!("x".repeat(2000));
        }
    });
    bundle.write();
    porthole.remove("porthole-hook");
    porthole.run(&bundle);
    porthole.delete(&bundle);
    porthole.put_binaries();
    node.expect_silence("200 KiB of annotations");
}

on_every_runtime!(
    recorded_pinned_and_released,
    fields_and_numbers_survive_byte_for_byte,
    hooks_of_the_site_come_first,
    hooks_under_a_key_in_other_letters_are_called_as_ours_are,
    a_second_pass_changes_nothing,
    an_older_installation_in_the_bundle_is_replaced,
    programs_that_are_gone_hold_up_no_container,
    a_state_longer_than_a_pipe_kills_no_runtime_without_the_hook,
);
