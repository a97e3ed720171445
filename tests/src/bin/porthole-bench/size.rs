//! How large the hook is: its file, its memory, the crates in it.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use porthole_tests::Node;

use crate::pods::Pods;
use crate::programs::Programs;
use crate::report::Report;

const BYTES: u64 = 1_500_000;
const PEAK_KIB: u64 = 4_096;
const CRATES: usize = 25;
/// `PT_INTERP` of elf(5).
const INTERPRETER: u32 = 3;

/// Measures it.
pub fn measure(programs: &Programs, node: &Node, report: &mut Report) {
    let bytes = fs::read(&programs.hook).expect("read the hook");
    let size = u64::try_from(bytes.len()).expect("a size");
    let is_static = !program_headers(&bytes).contains(&INTERPRETER);
    let pods = Pods::start(programs, node, 0, 1);
    let pod = pods.first();
    let peak_of = |stage: &str| pod.peak(programs, stage);
    let (create, start, stop) = (peak_of("createRuntime"), peak_of("poststart"), peak_of("poststop"));
    let peak = create.max(start).max(stop);
    let verdict = |held: bool| if held { "held" } else { "**missed**" }.to_owned();
    let mut facts = vec![
        [
            "size of the hook".into(),
            format!("{:.2} MB", size as f64 / 1e6),
            "≤ 1.5 MB".into(),
            verdict(size <= BYTES),
        ],
        [
            "statically linked (no `PT_INTERP`)".into(),
            if is_static { "yes" } else { "no" }.into(),
            "yes".into(),
            verdict(is_static),
        ],
        [
            "peak memory (`ru_maxrss`): createRuntime, poststart, poststop".into(),
            format!("{:.1}, {:.1}, {:.1} MB", mb(create), mb(start), mb(stop)),
            "≤ 4 MB".into(),
            verdict(peak <= PEAK_KIB),
        ],
    ];
    if let Some(count) = crates() {
        let row = ["crates linked, procedural macros aside".into(), count.to_string(), format!("≤ {CRATES}")];
        let [what, found, limit] = row;
        facts.push([what, found, limit, verdict(count <= CRATES)]);
    }
    report.facts("Size of the hook", "As it is installed.", &facts);
}

fn mb(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// The types of the program headers of a 64-bit ELF file: elf(5).
fn program_headers(elf: &[u8]) -> Vec<u32> {
    let number = |at: usize, size: usize| {
        let bytes = elf.get(at..at + size).unwrap_or_default();
        bytes.iter().rev().fold(0_usize, |number, byte| (number << 8) | usize::from(*byte))
    };
    let (table, entry, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).filter_map(|i| u32::try_from(number(table + i * entry, 4)).ok()).collect()
}

/// As cargo resolves them; unknown where there is no cargo.
fn crates() -> Option<usize> {
    let mut cargo = Command::new("cargo");
    cargo.args(["tree", "--locked", "--offline", "--package", "porthole-hook", "--prefix", "none"]);
    let output = cargo
        .args(["--edges", "normal,no-proc-macro"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    let names: BTreeSet<_> = text.lines().filter_map(|line| line.split(" (").next()).collect();
    // The hook itself is no dependency.
    Some(names.iter().filter(|name| !name.is_empty()).count() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_headers_are_read_and_rubbish_has_none() {
        let own = fs::read("/proc/self/exe").unwrap();
        // PT_LOAD: every program has one.
        assert!(program_headers(&own).contains(&1));
        assert!(program_headers(b"\x7fELF").is_empty());
    }
}
