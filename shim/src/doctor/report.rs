//! What `porthole doctor` prints: a line for each check, and how many ended how.

use super::check::{Check, Verdict, count};
use crate::output::{self, Format};
use crate::problem::Problem;
use serde::Serialize;

#[derive(Serialize)]
struct Document<'a> {
    checks: &'a [Check],
    summary: Summary,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Summary {
    ok: usize,
    warn: usize,
    fail: usize,
    skip: usize,
}

impl Summary {
    fn of(checks: &[Check]) -> Self {
        let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
        Self {
            ok: count(Verdict::Ok),
            warn: count(Verdict::Warn),
            fail: count(Verdict::Fail),
            skip: count(Verdict::Skip),
        }
    }
}

/// Prints the checks.
pub(super) fn print(checks: &[Check], format: Format) -> Result<(), Problem> {
    match format {
        Format::Json => output::print_json(&Document { checks, summary: Summary::of(checks) }),
        Format::Table | Format::Wide => output::print(&text(checks)),
    }
}

fn text(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Check { name, subject, verdict, evidence, remedy } in checks {
        text += &format!("{:<4}  {name:<width$}  {subject}: {evidence}\n", verdict.as_str());
        if let Some(remedy) = remedy {
            text += &format!("      {:width$}  -> {remedy}\n", "");
        }
    }
    let Summary { ok, warn, fail, skip } = Summary::of(checks);
    let skipped = if skip == 0 { String::new() } else { format!(", {skip} skipped") };
    text += &format!(
        "{}: {ok} ok, {}, {}{skipped}\n",
        count(checks.len(), "check"),
        count(warn, "warning"),
        count(fail, "failure")
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_a_line_and_its_remedy_the_next() {
        let checks = [
            Check::ok("hook-binary", "/h", "static"),
            Check::fail("pins", "web-0", "leaked", "run it"),
            Check::skip("lsm", "policy", "needs root"),
        ];
        assert_eq!(
            text(&checks),
            "ok    hook-binary  /h: static\n\
             fail  pins         web-0: leaked\n\
             \x20                  -> run it\n\
             skip  lsm          policy: needs root\n\
             3 checks: 1 ok, 0 warnings, 1 failure, 1 skipped\n"
        );
    }
}
