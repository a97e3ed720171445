//! Rules about documents: where prose and code could drift apart, they are compared.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use porthole_registry::config::Config;
use toml::Table;

use crate::{Findings, root, texts};

/// The keys of `config.toml`: an example that has one of them is an example of that file.
const KEYS: [&str; 8] =
    ["run_dir", "netns_dir", "deadline_ms", "on_error", "pin", "engines", "audit", "exec"];

/// Where the command line is described.
const REFERENCE: &str = "docs/reference/cli.md";

/// Texts below a directory.
fn below(directory: &str) -> Vec<(String, String)> {
    texts(&["md"]).into_iter().filter(|(path, _)| path.starts_with(directory)).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The text of each heading, without the marks around it.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().replace('`', ""))
}

/// A program that was built along with this test.
fn program(name: &str) -> PathBuf {
    let tests = env::current_exe().unwrap();
    let path = tests.ancestors().nth(2).unwrap().join(name);
    assert!(path.is_file(), "{} is not built: cargo build --workspace", path.display());
    path
}

#[test]
fn every_subcommand_is_described_and_none_that_is_not_there() {
    let mut findings = Findings::default();
    let help = Command::new(program("porthole")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // An indented line deeper than that is the rest of a description.
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let commands: BTreeSet<_> = names.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() > 1, "`porthole --help` lists no commands:\n{help}");
    let text = read(REFERENCE);
    let described: BTreeSet<_> = headings(&text)
        .filter_map(|heading| Some(heading.strip_prefix("porthole ")?.split_whitespace().next()?.to_owned()))
        .collect();
    for command in commands.iter().filter(|command| **command != "help" && !described.contains(**command)) {
        findings.add(REFERENCE, format_args!("no heading `porthole {command}`"));
    }
    for command in described.iter().filter(|command| !commands.contains(command.as_str())) {
        findings.add(REFERENCE, format_args!("there is no command `porthole {command}`"));
    }
    findings.report();
}

#[test]
fn every_exit_status_is_described_and_none_that_is_not_there() {
    let mut findings = Findings::default();
    let source = read("shim/src/exit.rs");
    let body = source.split_once("enum Exit {").unwrap().1.split_once('}').unwrap().0;
    let codes = body.lines().filter_map(|line| line.trim().split_once(" = ")?.1.strip_suffix(','));
    // Those of env(1), which commands that run another program follow.
    let codes: BTreeSet<String> = codes.chain(["125", "126", "127"]).map(str::to_owned).collect();
    let text = read(REFERENCE);
    let rows = text.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
    let cells = rows.map(|cell| cell.trim().trim_matches('`').to_owned());
    let described: BTreeSet<_> = cells.filter(|cell| cell.parse::<u8>().is_ok()).collect();
    for code in codes.difference(&described) {
        findings.add(REFERENCE, format_args!("no row for exit status {code}"));
    }
    for code in described.difference(&codes) {
        findings.add(REFERENCE, format_args!("there is no exit status {code}"));
    }
    findings.report();
}

#[test]
fn every_toml_example_is_toml_and_every_key_of_ours_exists() {
    let mut findings = Findings::default();
    for (path, text) in texts(&["md"]) {
        let mut lines = text.lines().enumerate();
        while let Some((number, fence)) = lines.next() {
            if fence.trim() != "```toml" {
                continue;
            }
            let example: Vec<_> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```").collect();
            check_toml(&mut findings, &format!("{path}:{}", number + 1), &example.join("\n"));
        }
    }
    for (path, text) in texts(&["toml"]) {
        check_toml(&mut findings, &path, &text);
    }
    findings.report();
}

fn check_toml(findings: &mut Findings, place: &str, text: &str) {
    match text.parse::<Table>() {
        Ok(table) if KEYS.iter().any(|key| table.contains_key(*key)) => {
            Config::parse(text).1.iter().for_each(|problem| findings.add(place, problem));
        }
        Ok(_) => {}
        Err(e) => findings.add(place, e.to_string().replace('\n', " ")),
    }
}

#[test]
fn every_decision_tells_its_context_the_choice_and_the_consequence() {
    let mut findings = Findings::default();
    let decisions = below("docs/decisions/");
    findings.unless(!decisions.is_empty(), "docs/decisions", "there is none");
    for (path, text) in decisions.iter().filter(|(path, _)| !path.ends_with("README.md")) {
        for part in ["Context", "Choice", "Consequence"] {
            // As a heading or as the first word of a paragraph, in one number or the other.
            let begins = |line: &str| line.trim_start_matches(['#', '*', '-', ' ']).starts_with(part);
            findings.unless(text.lines().any(begins), path, format_args!("no {part}"));
        }
    }
    findings.report();
}

#[test]
fn the_changelog_lists_kinds_of_changes_by_release_newest_first() {
    let mut findings = Findings::default();
    let path = if root().join("CHANGELOG.md").is_file() { "CHANGELOG.md" } else { "docs/CHANGELOG.md" };
    let text = read(path);
    findings.unless(text.starts_with("# Changelog\n"), path, "the first line is not `# Changelog`");
    let kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
    let mut newest_first = Vec::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("### ") {
            findings.unless(kinds.contains(&kind), path, format_args!("{kind} is none of {kinds:?}"));
        } else if let Some(release) = line.strip_prefix("## ") {
            let release = release.replace(['[', ']'], "");
            match release.split_once(" - ") {
                Some((version, date)) => {
                    let numbers: Option<Vec<u32>> =
                        version.split('.').map(|part| part.parse().ok()).collect();
                    let is_date = date.len() == 10 && date.split('-').all(|part| part.parse::<u16>().is_ok());
                    let ok = is_date && numbers.as_ref().is_some_and(|numbers| numbers.len() == 3);
                    findings.unless(ok, path, format_args!("`{line}` is not `## X.Y.Z - YYYY-MM-DD`"));
                    newest_first.extend(numbers);
                }
                None => {
                    let ok = release == "Unreleased" && newest_first.is_empty();
                    findings.unless(
                        ok,
                        path,
                        format_args!("`{line}` is neither dated nor the first one, Unreleased"),
                    );
                }
            }
        }
    }
    findings.unless(text.contains("\n## "), path, "no release, not even `## Unreleased`");
    findings.unless(newest_first.is_sorted_by(|a, b| a > b), path, "releases are not in order, newest first");
    findings.report();
}

#[test]
fn every_test_that_a_document_of_security_names_exists() {
    let mut findings = Findings::default();
    let sources = texts(&["rs"]);
    let defined: BTreeSet<_> = sources
        .iter()
        .flat_map(|(_, text)| text.split("fn ").skip(1))
        .filter_map(|rest| rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next())
        .collect();
    let mut named = 0;
    for (path, text) in below("docs/security/") {
        let quoted = text
            .lines()
            .filter(|line| line.starts_with('|'))
            .flat_map(|line| line.split('`').skip(1).step_by(2));
        let is_sentence = |word: &&str| {
            word.matches('_').count() > 2
                && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        for name in quoted.filter(is_sentence) {
            named += 1;
            findings.unless(defined.contains(name), &path, format_args!("there is no test `{name}`"));
        }
    }
    findings.unless(named > 50, "docs/security", format_args!("only {named} tests are named"));
    findings.report();
}
