//! Rules about what is linked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;
use toml::Table;

use crate::{Findings, root};

/// How many crates a package links, proc macros aside, and which it never does.
const BUDGETS: [(&str, usize, &[&str]); 2] = [
    ("porthole-hook", 25, &["clap", "clap_builder", "tokio", "libcontainer"]),
    ("porthole-registry", 20, &["clap", "clap_builder", "tokio", "libcontainer"]),
];

/// What cargo prints; it looks nothing up in the network.
pub(crate) fn cargo(args: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let out =
        Command::new(cargo).args(args).args(["--locked", "--offline"]).current_dir(root()).output().unwrap();
    assert!(out.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// The platform whose dependencies are looked at, whatever the tests run on.
pub(crate) const PLATFORM: &str = "x86_64-unknown-linux-musl";

pub(crate) fn metadata() -> Value {
    let json = cargo(&["metadata", "--format-version", "1", "--filter-platform", PLATFORM]);
    serde_json::from_str(&json).unwrap()
}

pub(crate) fn table(path: &str) -> Table {
    fs::read_to_string(root().join(path)).unwrap().parse().unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn the_hook_and_the_registry_keep_to_their_budget_of_crates() {
    let mut findings = Findings::default();
    for (package, most, never) in BUDGETS {
        let tree = cargo(&[
            "tree",
            "-p",
            package,
            "-e",
            "normal,no-proc-macro",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--target",
            PLATFORM,
        ]);
        let crates: BTreeSet<_> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let linked = crates.len() - 1;
        findings.unless(
            linked <= most,
            package,
            format_args!("links {linked} crates, of {most} at most: {crates:?}"),
        );
        for name in never {
            findings.unless(!crates.contains(name), package, format_args!("links {name}"));
        }
    }
    findings.report();
}

#[test]
fn versions_are_written_down_in_one_place_and_all_are_used() {
    let mut findings = Findings::default();
    let workspace = table("Cargo.toml");
    let mut unused: BTreeSet<_> = workspace["workspace"]["dependencies"].as_table().unwrap().keys().collect();
    for member in workspace["workspace"]["members"].as_array().unwrap() {
        let path = format!("{}/Cargo.toml", member.as_str().unwrap());
        let package = table(&path);
        let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
        for (name, dependency) in
            sections.iter().filter_map(|section| package.get(*section)?.as_table()).flatten()
        {
            unused.remove(name);
            let inherits = dependency.get("workspace").and_then(toml::Value::as_bool) == Some(true);
            findings.unless(
                inherits,
                &path,
                format_args!("{name} does not have its version from the workspace"),
            );
        }
    }
    for name in unused {
        findings.add("Cargo.toml", format_args!("no package uses {name}"));
    }
    findings.report();
}

#[test]
fn a_second_version_of_a_crate_has_a_reason() {
    let mut findings = Findings::default();
    let metadata = metadata();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let version = package["version"].as_str().unwrap();
        versions.entry(package["name"].as_str().unwrap()).or_default().push(version);
    }
    let deny = table("deny.toml");
    let mut reasons = BTreeSet::new();
    for skip in deny["bans"]["skip"].as_array().unwrap() {
        let name = skip["crate"].as_str().unwrap();
        let has_reason =
            skip.get("reason").and_then(|reason| reason.as_str()).is_some_and(|reason| !reason.is_empty());
        findings.unless(has_reason, "deny.toml", format_args!("{name} is let pass without a reason"));
        reasons.insert(name);
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        let with_reason = |version: &&&str| {
            let of = reasons.iter().find(|skip| {
                skip.strip_prefix(name)
                    .and_then(|skip| skip.strip_prefix('@'))
                    .is_some_and(|skip| format!("{version}.").starts_with(&format!("{skip}.")))
            });
            of.copied()
        };
        let used: Vec<_> = versions.iter().filter_map(|version| with_reason(&version)).collect();
        reasons.retain(|skip| !used.contains(skip));
        findings.unless(
            versions.len() - used.len() <= 1,
            "Cargo.lock",
            format_args!("{name} is there in versions {versions:?}: deny.toml has no reason for it"),
        );
    }
    for skip in reasons {
        findings.add("deny.toml", format_args!("{skip} is let pass but not there any more"));
    }
    findings.report();
}
