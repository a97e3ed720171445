//! Rules about source files.

use std::fs;

use crate::{Findings, files, root, texts};

/// Lines of a source file, its tests aside.
const LONGEST: usize = 400;

/// Calls of real runtimes as they were recorded: others' data, not ours.
const RECORDED: &str = "tests/fixtures/oci-state/";

/// The part of a source before its tests, where they are in the same file.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

/// A line without its comment. Good enough for sources that rustfmt wrote: a `//` in a string has no space before it.
fn code(line: &str) -> &str {
    let line = if line.trim_start().starts_with("//") { "" } else { line };
    line.split(" // ").next().unwrap_or(line)
}

#[test]
fn every_source_begins_with_what_it_is_for() {
    let mut findings = Findings::default();
    for (path, text) in texts(&["rs"]) {
        findings.unless(text.starts_with("//! "), path, "the first line is no `//!`");
    }
    findings.report();
}

#[test]
fn no_source_is_too_long_to_be_read_at_once() {
    let mut findings = Findings::default();
    for (path, text) in texts(&["rs"]) {
        let lines = without_tests(&text).lines().count();
        findings.unless(
            lines <= LONGEST,
            path,
            format_args!("{lines} lines without its tests, of {LONGEST} at most"),
        );
    }
    findings.report();
}

#[test]
fn unsafe_code_is_in_one_file_of_a_crate() {
    let mut findings = Findings::default();
    for (path, text) in texts(&["rs"]) {
        let is_sys = path.ends_with("/src/sys.rs");
        let lines: Vec<_> = text.lines().map(|line| code(line).trim()).collect();
        for (number, line) in lines.iter().enumerate() {
            let place = format!("{path}:{}", number + 1);
            let is_unsafe = ["{", "fn ", "impl", "extern", "("].iter().any(|what| {
                let at =
                    line.find(&["unsafe", what].concat()).or_else(|| line.find(&["unsafe ", what].concat()));
                at.is_some_and(|at| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"')
                })
            });
            findings.unless(is_sys || !is_unsafe, &place, "unsafe code belongs in the crate's sys.rs");
            if line.starts_with("#[") && line.contains("allow(unsafe_code") {
                let module = lines[number + 1..].iter().find(|line| !line.is_empty());
                let ok =
                    module.is_some_and(|line| line.trim_start_matches("pub(crate) ").starts_with("mod sys;"));
                findings.unless(ok, &place, "unsafe code is allowed to no other module than sys");
            }
        }
    }
    findings.report();
}

#[test]
fn a_file_has_one_commit_point_at_most_and_the_store_has_one() {
    let mark = ["// ", "COMMIT"].concat();
    let mut findings = Findings::default();
    let mut all = 0;
    for (path, text) in texts(&["rs"]) {
        let marks = text.lines().filter(|line| line.ends_with(&mark)).count();
        all += marks;
        findings.unless(
            marks <= 1,
            path,
            format_args!("{marks} commit points: what comes between two of them?"),
        );
    }
    findings.unless(all > 0, "registry", format_args!("no line is marked `{mark}`"));
    findings.report();
}

/// What reads to an end that is not a file's, and one that asks for the start of a program.
const STREAMS: [&str; 6] = [
    "hook/src/bin/porthole-hook/input.rs",
    "shim/src/demo/preflight.rs",
    "shim/src/demo/server.rs",
    "shim/src/exec/pinned.rs",
    "shim/src/exec/wait.rs",
    "shim/src/install/run.rs",
];

#[test]
fn files_are_read_by_the_one_reader_that_never_cuts() {
    let ways = ["fs::read(", "read_to_string(", "read_to_end(", "read_to_string)"];
    let mut findings = Findings::default();
    for (path, text) in texts(&["rs"]) {
        let is_ours = ["registry/src/", "hook/src/", "shim/src/"].iter().any(|part| path.starts_with(part));
        if !is_ours || path.ends_with("tests.rs") || STREAMS.iter().any(|stream| path == *stream) {
            continue;
        }
        for (number, line) in without_tests(&text).lines().map(code).enumerate() {
            let found = ways.iter().find(|way| line.contains(**way));
            findings.unless(
                found.is_none(),
                format_args!("{path}:{}", number + 1),
                "registry/src/bounded.rs reads files",
            );
        }
    }
    findings.report();
}

/// The door itself, the demo's own screen, a number on stdout, and the terminal of a command.
const PRINTERS: [&str; 3] = ["shim/src/output.rs", "shim/src/exec/apply.rs", "shim/src/exec/pty"];

#[test]
fn what_is_shown_goes_through_the_one_door_that_cleans_it() {
    let ways = ["println!", "print!(", "io::stdout()", "io::stderr()"];
    let mut findings = Findings::default();
    for (path, text) in texts(&["rs"]) {
        let is_ours = path.starts_with("shim/src/") && !path.starts_with("shim/src/demo/");
        if !is_ours || path.ends_with("tests.rs") || PRINTERS.iter().any(|door| path.starts_with(door)) {
            continue;
        }
        for (number, line) in without_tests(&text).lines().map(code).enumerate() {
            let is_asked = line.contains(".is_terminal()") || line.contains("stdio::");
            let found = ways.iter().any(|way| line.contains(way)) && !is_asked;
            findings.unless(!found, format_args!("{path}:{}", number + 1), "shim/src/output.rs prints");
        }
    }
    findings.report();
}

#[test]
fn nothing_is_left_to_be_done_later() {
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["todo", "!("], ["unimplemented", "!("]]
        .map(|m| m.concat());
    each_line(|line| marks.iter().find(|&mark| line.contains(mark)).map(|mark| format!("{mark} is left")));
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    // Root's home itself is the same everywhere; what is in it is not.
    let places = [["/wo", "rk"], ["/root", "/"], ["/opt/", "lab"]].map(|place| place.concat());
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-');
    let begins = |before: &str| !before.ends_with(|c: char| c.is_alphanumeric() || "_-.}>*)".contains(c));
    each_line(|line| {
        let is_there = |place: &&String| {
            let is_whole = |rest: &str| place.ends_with('/') || ends(rest);
            line.match_indices(place.as_str())
                .any(|(at, _)| begins(&line[..at]) && is_whole(&line[at + place.len()..]))
        };
        places.iter().find(is_there).map(|place| format!("{place} is a path of one machine"))
    });
}

/// Looks at every line of every text but the recorded ones.
#[track_caller]
fn each_line(finding: impl Fn(&str) -> Option<String>) {
    let mut findings = Findings::default();
    for path in files().into_iter().filter(|path| !path.starts_with(RECORDED)) {
        // What is no UTF-8 is no text.
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            if let Some(what) = finding(line) {
                findings.add(format_args!("{}:{}", path.display(), number + 1), what);
            }
        }
    }
    findings.report();
}
