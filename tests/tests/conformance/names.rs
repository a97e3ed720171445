//! Names of pins: collisions, and names that were meant to do harm.

use std::fs;

use porthole_tests::bundle::containerd_annotations;
use porthole_tests::{Bundle, Container, Node, Runtime, on_every_runtime, tools};

fn pod(node: &Node, namespace: &str, name: &str) -> Bundle {
    Bundle::new(node).annotations(&containerd_annotations(namespace, name, "app"))
}

fn same_pod_name_in_two_kubernetes_namespaces(node: &Node, runtime: Runtime) {
    let shop = Container::run(runtime, &pod(node, "shop", "web-0"));
    let blog = Container::run(runtime, &pod(node, "blog", "web-0"));
    assert_eq!(node.pin("web-0"), Some(shop.netns()), "first come, first served");
    assert_eq!(node.pin("web-0.blog"), Some(blog.netns()));
    shop.delete();
    assert_eq!(node.pins(), ["web-0.blog"], "a pin keeps its name");
    blog.delete();
    node.expect_silence("a collision");
}

fn third_pod_of_a_name_is_named_by_its_id_too(node: &Node, runtime: Runtime) {
    let first = Container::run(runtime, &pod(node, "shop", "web-0"));
    let second = Container::run(runtime, &pod(node, "shop", "web-0"));
    let third = Container::run(runtime, &pod(node, "shop", "web-0"));
    assert_eq!(node.pin("web-0"), Some(first.netns()));
    assert_eq!(node.pin("web-0.shop"), Some(second.netns()));
    assert_eq!(node.pin(&format!("web-0.shop.{}", &third.id()[..12])), Some(third.netns()));
    for container in [first, second, third] {
        container.delete();
    }
    node.expect_silence("two collisions");
}

fn without_annotations_the_id_is_the_name(node: &Node, runtime: Runtime) {
    let container = Container::run(runtime, &Bundle::new(node));
    assert_eq!(node.pin(&container.id()[..12]), Some(container.netns()));
    container.delete();
}

fn template_of_the_configuration_names_the_pin(node: &Node, runtime: Runtime) {
    let file = node.scratch().join("config.toml");
    fs::write(&file, "[pin]\nname = \"{namespace}.{pod}\"\n").unwrap();
    let container = Container::run(runtime, &pod(node, "shop", "web-0").hook_config(&file));
    assert_eq!(node.pins(), ["shop.web-0"]);
    container.delete();
    node.expect_silence("a template");
}

fn no_container_takes_the_name_that_a_pod_was_given_by_an_earlier_template(node: &Node, runtime: Runtime) {
    let file = node.scratch().join("config.toml");
    fs::write(&file, "[pin]\nname = \"{namespace}.{pod}\"\n").unwrap();
    let web = Container::run(runtime, &pod(node, "shop", "web-0").hook_config(&file));
    let name = serde_json::Map::from_iter([("nerdctl/name".to_owned(), "shop.web-0".into())]);
    let other = Container::run(runtime, &Bundle::new(node).annotations(&name));
    assert_eq!(node.pin("shop.web-0"), Some(web.netns()));
    assert_eq!(node.pin(&format!("shop.web-0.{}", &other.id()[..12])), Some(other.netns()));
    web.delete();
    other.delete();
    node.expect_silence("a template that has changed");
}

/// The container runs, and its pin has a harmless name, in the pin directory and nowhere else.
fn harmless(node: &Node, runtime: Runtime, name: &str) {
    let outside =
        || ["/run/passwd", "/passwd", "/etc/netns", "/run/pwned", "/pwned"].map(|p| fs::metadata(p).is_ok());
    let before = outside();
    let container = Container::run(runtime, &pod(node, name, name));
    let pins = node.pins();
    assert_eq!(pins.len(), 1, "{name:?}: {pins:?}");
    let pin = &pins[0];
    assert!(pin.len() <= 255 && !pin.starts_with(['-', '.']), "{name:?} became {pin:?}");
    assert!(pin.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)), "{name:?} became {pin:?}");
    assert_eq!(node.pin(pin), Some(container.netns()), "{name:?}");
    assert_eq!(node.record(container.id()).expect("recorded")["pin"]["name"], pin.as_str());
    assert!(
        tools::ip(&["netns", "list"]).expect_success().starts_with(pin.as_str()),
        "iproute2 takes it for a name"
    );
    assert_eq!(outside(), before, "{name:?} wrote elsewhere");
    container.delete();
    assert_eq!(node.pins(), Vec::<String>::new(), "{name:?}");
    node.expect_silence(name);
}

fn name_that_climbs_out_of_the_directory(node: &Node, runtime: Runtime) {
    for name in ["../pwned", "../../etc/passwd", "/pwned", "a/../../pwned", "..", ".", "./.", "..-x"] {
        harmless(node, runtime, name);
    }
}

fn name_with_newlines_and_controls(node: &Node, runtime: Runtime) {
    for name in ["web\n<0>forged: line", "\n", "a\r\nb", "\u{1b}[2J", "tab\there", "\u{7f}"] {
        harmless(node, runtime, name);
    }
}

fn name_with_a_nul(node: &Node, runtime: Runtime) {
    for name in ["web\0-0", "\0", "web-0\0/../../pwned"] {
        harmless(node, runtime, name);
    }
}

fn name_of_300_bytes(node: &Node, runtime: Runtime) {
    let long = "n".repeat(300);
    harmless(node, runtime, &long);
    // Two that differ only where they are cut are not one.
    let first = Container::run(runtime, &pod(node, "shop", &format!("{long}a")));
    let second = Container::run(runtime, &pod(node, "shop", &format!("{long}b")));
    let pins = node.pins();
    assert_eq!(pins.len(), 2, "{pins:?}");
    assert!(pins.iter().all(|pin| pin.len() <= 255));
    first.delete();
    second.delete();
}

fn name_in_other_scripts(node: &Node, runtime: Runtime) {
    for name in ["wéb-0", "ポッド", "\u{202e}0-bew", "web\u{200b}0", "🦀"] {
        harmless(node, runtime, name);
    }
}

fn name_that_is_an_option(node: &Node, runtime: Runtime) {
    for name in ["-rf", "--help", "-", "-all"] {
        harmless(node, runtime, name);
    }
}

fn name_that_is_empty(node: &Node, runtime: Runtime) {
    harmless(node, runtime, "");
}

fn name_with_quotes_and_shell(node: &Node, runtime: Runtime) {
    for name in ["$(touch /pwned)", "`touch /pwned`", "a b", "\"'\\", "*", "web;reboot", "{pod}", "%s%n"] {
        harmless(node, runtime, name);
    }
}

on_every_runtime!(
    same_pod_name_in_two_kubernetes_namespaces,
    third_pod_of_a_name_is_named_by_its_id_too,
    without_annotations_the_id_is_the_name,
    template_of_the_configuration_names_the_pin,
    no_container_takes_the_name_that_a_pod_was_given_by_an_earlier_template,
    name_that_climbs_out_of_the_directory,
    name_with_newlines_and_controls,
    name_with_a_nul,
    name_of_300_bytes,
    name_in_other_scripts,
    name_that_is_an_option,
    name_that_is_empty,
    name_with_quotes_and_shell,
);
