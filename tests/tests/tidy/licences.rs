//! Rules about licences: the terms under which each linked crate comes, against those that `deny.toml` allows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use toml::Table;

use crate::Findings;
use crate::dependencies::{metadata, table};

#[test]
fn every_linked_crate_comes_under_terms_that_are_allowed() {
    let mut findings = Findings::default();
    let (metadata, deny) = (metadata(), table("deny.toml"));
    let (general, exceptions, clarified) = terms(&deny);
    let linked = linked(&metadata);
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        if !linked.contains(package["id"].as_str().unwrap()) {
            continue;
        }
        let Some(licence) = package["license"].as_str().or(clarified.get(name).copied()) else {
            findings.add(name, "names no licence, and deny.toml does not clarify it");
            continue;
        };
        let allowed =
            |term: &str| general.contains(term) || exceptions.get(name).is_some_and(|e| e.contains(&term));
        findings.unless(
            is_allowed(licence, &allowed),
            name,
            format_args!("{licence} is not allowed by deny.toml"),
        );
    }
    findings.report();
}

#[test]
fn licence_expressions_are_read_as_spdx_defines_them() {
    let allowed = |term: &str| matches!(term, "A" | "B" | "C WITH x");
    for (licence, want) in [
        ("A", true),
        ("Z", false),
        ("Z OR A", true),
        ("Z/A", true),
        ("A AND Z", false),
        ("A AND B", true),
        ("(Z OR A) AND B", true),
        ("(Z OR A) AND Y", false),
        ("Z OR A AND B", true),
        ("A AND Z OR Y", false),
        ("C WITH x", true),
        ("C", false),
    ] {
        assert_eq!(is_allowed(licence, &allowed), want, "{licence}");
    }
}

type Terms<'a> = (BTreeSet<&'a str>, BTreeMap<&'a str, Vec<&'a str>>, BTreeMap<&'a str, &'a str>);

/// What `deny.toml` allows to all, allows to one crate, and says of a crate that says nothing itself.
fn terms(deny: &Table) -> Terms<'_> {
    let licences = &deny["licenses"];
    let words = |value| toml::Value::as_array(value).unwrap().iter().map(|term| term.as_str().unwrap());
    let entries = |key| licences.get(key).and_then(toml::Value::as_array).into_iter().flatten();
    let general = words(&licences["allow"]).collect();
    let exceptions =
        entries("exceptions").map(|e| (e["crate"].as_str().unwrap(), words(&e["allow"]).collect()));
    let clarified =
        entries("clarify").map(|e| (e["crate"].as_str().unwrap(), e["expression"].as_str().unwrap()));
    (general, exceptions.collect(), clarified.collect())
}

/// The packages that end up in a binary: not those that only help to build it.
fn linked(metadata: &Value) -> BTreeSet<&str> {
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let by_id: BTreeMap<_, _> = nodes.iter().map(|node| (node["id"].as_str().unwrap(), node)).collect();
    let members = metadata["workspace_members"].as_array().unwrap().iter().map(|id| id.as_str().unwrap());
    let (mut linked, mut next): (BTreeSet<_>, Vec<_>) = (BTreeSet::new(), members.collect());
    while let Some(id) = next.pop() {
        if linked.insert(id) {
            let dependencies = by_id[id]["deps"].as_array().unwrap();
            let is_normal =
                |d: &&Value| d["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null());
            next.extend(dependencies.iter().filter(is_normal).map(|d| d["pkg"].as_str().unwrap()));
        }
    }
    linked
}

/// Whether an SPDX expression can be met with the terms that are allowed. `OR` binds weaker than `AND`; an old-style
/// `/` is an `OR`.
fn is_allowed(licence: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = licence.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut words = words.as_slice();
    let met = any(&mut words, allowed);
    met && words.is_empty()
}

fn any(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut met = all(words, allowed);
    while let Some(rest) = words.strip_prefix(&["OR"]) {
        *words = rest;
        met |= all(words, allowed);
    }
    met
}

fn all(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut met = one(words, allowed);
    while let Some(rest) = words.strip_prefix(&["AND"]) {
        *words = rest;
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let met = any(words, allowed);
            let [")", rest @ ..] = *words else { return false };
            *words = rest;
            met
        }
        [term, "WITH", exception, rest @ ..] => {
            *words = rest;
            allowed(&format!("{term} WITH {exception}"))
        }
        [term, rest @ ..] => {
            *words = rest;
            allowed(term)
        }
        [] => false,
    }
}
