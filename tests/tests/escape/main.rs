//! Attempts to get out of `porthole exec`, from inside each profile. What comes of each is in `table`, and nowhere else.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

mod attempts;
mod columns;
mod host;
mod table;

use std::collections::BTreeMap;

use porthole_tests::{Bundle, Container, Node, Runtime, on_a_node, requires};

use attempts::ATTEMPTS;
use columns::{COLUMNS, Column, PODS};
use host::Host;
use table::Verdict;

/// What the prober says came of each attempt.
fn probe(host: &Host, column: &Column) -> BTreeMap<String, String> {
    let outcome = host.probe(column);
    let lines = outcome.expect_success().lines().filter_map(|line| line.split_once(' '));
    lines.map(|(name, answer)| (name.to_owned(), answer.to_owned())).collect()
}

fn every_attempt_from_every_profile_ends_as_the_table_says(node: &Node) {
    requires!(gcc, setpriv);
    let host = Host::new(node);
    // No column has it.
    host.attempt("abstract-socket").expect_success();
    let [web, boxed, hosted] =
        PODS.map(|name| Bundle::of_pod(node, "shop", name, "app", "/none").own_netns());
    let pods = [web, boxed.user_namespace(), hosted.host_network()];
    let pods = pods.map(|bundle| Container::run(Runtime::Runc, &bundle));
    let mut wrong = Vec::new();
    for (at, column) in COLUMNS.iter().enumerate() {
        let answers = probe(&host, column);
        for attempt in ATTEMPTS {
            let answer = answers.get(attempt.name).map_or("not tried", String::as_str);
            let expected = attempt.verdict(at);
            if !expected.is(answer) {
                wrong.push(format!(
                    "{} from {}: {answer}, expected {expected:?}",
                    attempt.name,
                    column.name()
                ));
            }
        }
        let tried = answers.keys().filter(|name| !ATTEMPTS.iter().any(|attempt| attempt.name == **name));
        wrong.extend(tried.map(|name| format!("{name} from {}: not in the table", column.name())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for pod in pods {
        pod.delete();
    }
}

#[test]
fn the_document_has_the_table() {
    let document = include_str!("../../../docs/security/escape-table.md");
    let table = table::rendered();
    assert!(document.contains(&table), "docs/security/escape-table.md does not have these lines:\n\n{table}");
}

#[test]
fn nothing_is_allowed_to_a_filtered_profile_without_a_word_why() {
    for attempt in ATTEMPTS {
        let filtered = COLUMNS.iter().enumerate().filter(|(_, column)| !column.unfiltered());
        let allowed = filtered.into_iter().any(|(at, _)| attempt.verdict(at) == Verdict::Allowed);
        assert_eq!(allowed, !attempt.why.is_empty(), "{}", attempt.name);
    }
}

on_a_node!(requires(root, ip, runc):
    every_attempt_from_every_profile_ends_as_the_table_says,
);
