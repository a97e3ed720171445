//! `policy.toml`. The program's own source, since a program has no library to link.

#[allow(dead_code, unused_imports, missing_docs, reason = "the program uses more of it")]
#[path = "../../../shim/src/policy/language/mod.rs"]
mod language;

use language::{Effect, Need, PodName, Policy, Program, Query, User, parse};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Reads `data` as `policy.toml`, and asks it.
pub fn policy(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match parse(text) {
        Ok(policy) => {
            assert_eq!(policy.show().len(), policy.rules.len());
            let allowed = ask(&policy);
            // A refusal in front refuses whatever comes after it.
            if let Ok(denied) = parse(&format!("[[rule]]\neffect = 'deny'\n{text}")) {
                assert_eq!(ask(&denied), 0);
            }
            // What comes last takes nothing away from what was allowed before.
            if let Ok(more) = parse(&format!("{text}\n[[rule]]\neffect = 'deny'\n")) {
                assert_eq!(ask(&more), allowed);
            }
        }
        Err(mistake) => {
            assert!(mistake.column >= 1 && (1..=text.matches('\n').count() + 1).contains(&mistake.line));
            super::is_printable(&mistake.to_string());
        }
    }
}

/// How many of some requests are allowed.
fn ask(policy: &Policy) -> usize {
    let ann = User {
        uid: 1000,
        name: Some("ann".into()),
        gids: [1000, 27].into(),
        groups: ["sre".to_owned()].into(),
    };
    let somebody = User { uid: 4_000_000_000, ..User::default() };
    let arguments = ["addr".to_owned(), "a b".to_owned()];
    let programs = [
        Program::OfHost("/usr/bin/ip".into()),
        Program::OfHost("/tmp/ip".into()),
        Program::OfTarget("ip".into()),
        Program::OfTarget("/bin/../ip".into()),
        Program::Missing,
    ];
    let named = |namespace: Option<&str>, pod: Option<&str>| PodName {
        namespace: namespace.map(str::to_owned),
        pod: pod.map(str::to_owned),
    };
    let targets = [named(Some("shop"), Some("web-0")), named(None, Some("web-0")), named(None, None)];
    let writable = ["/srv/dumps".into()];
    let mut allowed = 0;
    for user in [&ann, &somebody] {
        for profile in ["general", "netadmin", "sysadmin"] {
            for needs in [BTreeSet::new(), BTreeSet::from(Need::ALL)] {
                let writable: &[PathBuf] = if needs.is_empty() { &[] } else { &writable };
                let beforehand =
                    Query { user, target: None, profile, command: None, needs: &needs, writable };
                let mut of_these = 0;
                for target in &targets {
                    for program in &programs {
                        let command = Some((program, &arguments[..]));
                        let query = Query { target: Some(target), command, ..beforehand.clone() };
                        of_these += usize::from(answer(policy, &query));
                    }
                }
                // No target makes allowed what is refused before the target is known.
                assert!(answer(policy, &beforehand) || of_these == 0);
                allowed += of_these;
            }
        }
    }
    allowed
}

fn answer(policy: &Policy, query: &Query<'_>) -> bool {
    let decision = policy.decide(query, &|directory: &Path| directory.to_owned());
    let effect = decision.rule.map(|rule| policy.rules[rule].effect);
    assert_eq!(decision.allowed, effect == Some(Effect::Allow));
    assert_eq!(decision.missed.len(), decision.rule.unwrap_or(policy.rules.len()));
    let program = query.command.map(|(program, _)| program);
    match (&decision.program, program) {
        (Some(pinned), Some(Program::OfHost(path))) => assert_eq!(pinned, path),
        (pinned, _) => assert!(pinned.is_none()),
    }
    decision.allowed
}
