//! Attempts to get out of `porthole exec`, from inside each profile. What comes of each is in `table`, and nowhere else.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

mod host;
mod table;

use std::collections::BTreeMap;
use std::fmt::Write;

use porthole_tests::{Bundle, Container, Node, Runtime, on_a_node, requires};

use host::Host;
use table::{ATTEMPTS, BOXED, COLUMNS, Column, HOSTED, Verdict, WEB};

/// What the prober says came of each attempt.
fn probe(host: &Host, column: &Column) -> BTreeMap<String, String> {
    let same = format!("SAME={}", host.process_of(column.user));
    let root = format!("ROOT={}", host.root());
    let mut words = vec!["-e", root.as_str(), "-e", same.as_str()];
    words.extend(column.options);
    // The container's own file system, or the host's.
    let program = if column.target == BOXED { "/bin/prober" } else { "./prober" };
    words.extend([column.target, "--", program]);
    let outcome = host.exec(&words);
    let lines = outcome.expect_success().lines().filter_map(|line| line.split_once(' '));
    lines.map(|(name, answer)| (name.to_owned(), answer.to_owned())).collect()
}

fn every_attempt_from_every_profile_ends_as_the_table_says(node: &Node) {
    requires!(gcc, setpriv);
    let host = Host::new(node);
    // No column has it.
    host.attempt("abstract-socket").expect_success();
    let pod = |name: &str| Bundle::of_pod(node, "shop", name, "app", "/none").own_netns();
    let pods = [pod(WEB), pod(BOXED).user_namespace(), pod(HOSTED).host_network()];
    let pods = pods.map(|bundle| Container::run(Runtime::Runc, &bundle));
    let found: Vec<_> = COLUMNS.iter().map(|column| probe(&host, column)).collect();
    let mut wrong = Vec::new();
    let mut table = String::new();
    for attempt in ATTEMPTS {
        write!(table, "\n{:22}", attempt.name).unwrap();
        for ((column, answers), expected) in COLUMNS.iter().zip(&found).zip(attempt.verdicts()) {
            let answer = answers.get(attempt.name).map_or("not tried", String::as_str);
            write!(table, " {answer:>12}").unwrap();
            if !expected.is(answer) {
                wrong.push(format!("{} from {}: {answer}, expected {expected:?}", attempt.name, column.name));
            }
        }
    }
    let tried: usize = found.iter().map(BTreeMap::len).sum();
    let heads: String = COLUMNS.iter().map(|column| format!(" {:>12.12}", column.name)).collect();
    assert!(wrong.is_empty(), "{}\n\n{:22}{heads}{table}\n", wrong.join("\n"), "");
    assert_eq!(
        tried,
        ATTEMPTS.len() * COLUMNS.len(),
        "the prober tries what the table has, and nothing else"
    );
    pods.into_iter().for_each(|pod| drop(pod.delete()));
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
        let filtered = COLUMNS.iter().zip(attempt.verdicts()).filter(|(column, _)| !column.unfiltered);
        let allowed = filtered.into_iter().any(|(_, verdict)| verdict == Verdict::Allowed);
        assert_eq!(allowed, !attempt.why.is_empty(), "{}", attempt.name);
    }
}

on_a_node!(requires(root, ip, runc):
    every_attempt_from_every_profile_ends_as_the_table_says,
);
