//! `docs/benchmarks.md`: what was compared, the ratios, the limits, and whether they held.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use crate::measure::{Effort, Ratio, Series};

/// A table under way.
#[derive(Debug)]
pub struct Report {
    text: String,
}

/// A table of ratios.
#[derive(Debug)]
pub struct Table {
    rows: Vec<String>,
    missed: Vec<&'static str>,
}

impl Report {
    /// With how it is measured.
    pub fn new(effort: Effort) -> Self {
        let mut report = Self { text: METHOD.to_owned() };
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let versions = [("runc", "--version"), ("crun", "--version"), ("ip", "-V"), ("nsenter", "-V")];
        let versions: Vec<_> = versions.iter().map(|(program, option)| version(program, option)).collect();
        let release = kernel.split('-').next().unwrap_or_default().trim();
        report.paragraph(&format!(
            "This run: {} rounds, {cpus} CPUs, Linux {release}, {}.{}",
            effort.rounds(),
            versions.join(", "),
            if effort.is_quick() { " **A smoke run: its numbers mean nothing.**" } else { "" }
        ));
        report
    }

    /// Text.
    pub fn paragraph(&mut self, text: &str) {
        self.text.push('\n');
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// A heading, what is compared below it, the table, and for each limit that was missed where the time goes.
    pub fn section(&mut self, title: &str, text: &str, table: &Table) {
        let _ = write!(self.text, "\n## {title}\n");
        self.paragraph(text);
        self.text.push('\n');
        self.text.push_str(HEADER);
        for row in &table.rows {
            self.text.push_str(row);
        }
        let mut said: Vec<&str> = Vec::new();
        for why in &table.missed {
            if !said.contains(why) {
                self.paragraph(why);
                said.push(why);
            }
        }
    }

    /// A heading and a table of its own kind.
    pub fn facts(&mut self, title: &str, text: &str, facts: &[[String; 4]]) {
        let _ = write!(self.text, "\n## {title}\n");
        self.paragraph(text);
        self.text.push_str("\n| what | found | limit | |\n|---|---|---|---|\n");
        for [what, found, limit, verdict] in facts {
            let _ = writeln!(self.text, "| {what} | {found} | {limit} | {verdict} |");
        }
    }

    /// All of it.
    pub fn finish(self) -> String {
        self.text
    }
}

/// A row of facts: how much more of something there is after than before, which is to be nothing.
pub fn fact(what: &str, before: usize, after: usize) -> [String; 4] {
    let verdict = if before == after { "held" } else { "**missed**" };
    let change = i64::try_from(after).unwrap_or(0) - i64::try_from(before).unwrap_or(0);
    [what.to_owned(), change.to_string(), "0".to_owned(), verdict.to_owned()]
}

const METHOD: &str = "\
# Benchmarks

Written by `make bench`; not to be edited.

## Method

Ratios only: how long something takes in milliseconds says more about the machine than about the program. The two columns
of medians are there to see what a ratio is made of.

- What is compared runs in turn, A B C A B C …, in one run, so that whatever else the machine does meets all of them alike.
- A sample is the wall time of a process: from before `posix_spawn` to after `wait`, with standard input opened before and
  output going to `/dev/null`.
- All of that is repeated in rounds. A ratio is that of the medians of all samples; *of the rounds* are the least and the
  greatest ratio of the medians of one round.
- Everything happens on a node of its own: new pid, mount and network namespaces, a tmpfs at `/run`, shared propagation as
  under systemd. The run fails if anything is left on it at the end: a mount, a file, a process, a cgroup.
- The hook is the one that is installed (`--profile hook`), so is `porthole` (`--release`). Small programs in C are compiled
  with `gcc -O2 -static`. Every pod has a network namespace of its own, and, where the hook alone is
  measured, a configuration of 8 KiB.
";

const HEADER: &str = "\
| what | compared with | medians, ms | ratio | of the rounds | limit | |
|---|---|---|---|---|---|---|
";

impl Table {
    /// Without rows.
    pub const fn new() -> Self {
        Self { rows: Vec::new(), missed: Vec::new() }
    }

    /// A row without a limit.
    pub fn row(&mut self, what: &str, with: &str, series: &Series, other: &Series) {
        self.rows.push(line(what, with, series, other, None));
    }

    /// A row with a limit, and where the time goes for when it is missed.
    pub fn limited(
        &mut self,
        (what, with): (&str, &str),
        series: &Series,
        other: &Series,
        limit: f64,
        why: &'static str,
    ) {
        self.rows.push(line(what, with, series, other, Some(limit)));
        if !holds(series.against(other), limit) {
            self.missed.push(why);
        }
    }
}

fn line(what: &str, with: &str, series: &Series, other: &Series, limit: Option<f64>) -> String {
    let ratio = series.against(other);
    let verdict = match limit {
        Some(limit) if holds(ratio, limit) => "held",
        Some(_) => "**missed**",
        None => "",
    };
    let limit = limit.map_or_else(|| "–".to_owned(), |limit| format!("≤ {limit}"));
    let medians = format!("{} / {}", milliseconds(series), milliseconds(other));
    let Ratio { value, low, high } = ratio;
    format!("| {what} | {with} | {medians} | {value:.2} | {low:.2}–{high:.2} | {limit} | {verdict} |\n")
}

/// As it is printed: a ratio that reads as the limit is no more than the limit.
fn holds(ratio: Ratio, limit: f64) -> bool {
    (ratio.value * 100.0).round() <= (limit * 100.0).round()
}

fn milliseconds(series: &Series) -> String {
    let ms = series.median() * 1e3;
    if ms < 10.0 { format!("{ms:.2}") } else { format!("{ms:.0}") }
}

/// What a program says of itself, up to its version.
fn version(program: &str, option: &str) -> String {
    let output = Command::new(program).arg(option).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    // iproute2's own is behind a comma, and a library's behind another.
    line.trim_start_matches("ip utility, ").split(',').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_if_what_is_printed_is_no_more() {
        let ratio = |value| Ratio { value, low: value, high: value };
        assert!(holds(ratio(1.804), 1.8));
        assert!(!holds(ratio(1.806), 1.8));
    }

    #[test]
    fn where_the_time_goes_is_said_once_and_only_where_a_limit_is_missed() {
        let [slow, fast] = crate::measure::in_turn(Effort::asked_for(), 1, || {
            [std::time::Duration::from_millis(3), std::time::Duration::from_millis(1)]
        });
        let mut table = Table::new();
        table.limited(("a", "b"), &slow, &fast, 2.0, "It is the floor.");
        table.limited(("c", "d"), &slow, &fast, 2.0, "It is the floor.");
        table.limited(("e", "f"), &fast, &slow, 2.0, "Not to be said.");
        let mut report = Report { text: String::new() };
        report.section("Title", "Text.", &table);
        let text = report.finish();
        assert_eq!(text.matches("It is the floor.").count(), 1);
        assert!(!text.contains("Not to be said."));
        assert!(text.contains("| a | b | 3.00 / 1.00 | 3.00 | 3.00–3.00 | ≤ 2 | **missed** |\n"));
        assert!(text.contains("| e | f | 1.00 / 3.00 | 0.33 | 0.33–0.33 | ≤ 2 | held |\n"));
    }
}
