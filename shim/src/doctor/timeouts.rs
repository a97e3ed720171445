//! The time that runtimes give the hook: longer than its own deadline, or they fail the container first.

use super::check::{Check, Finding, count};
use super::engines::{containerd, hooks_d};
use super::{Setting, Subject};
use porthole_registry::hook_entry::{TIMEOUT, is_ours};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

pub(super) const SUBJECT: Subject = Subject { checks: &["hook-timeout"], look };

fn look(setting: &Setting) -> Vec<Check> {
    let mut files = hooks_d::files(&setting.tree);
    files.extend(containerd::files(&setting.tree, &setting.state()));
    let read = |path: PathBuf| {
        let text = setting.tree.text(&path).ok().flatten()?;
        Some((path, serde_json::from_str::<Value>(&text).ok()?))
    };
    let entries: Vec<_> = files
        .into_iter()
        .filter_map(read)
        .flat_map(|(path, file)| timeouts(&file).into_iter().map(move |timeout| (path.clone(), timeout)))
        .collect();
    vec![judge(&entries, setting.config.deadline)]
}

/// The timeouts of the hook's entries in a file for a directory of hooks, or in an OCI configuration. None is no limit.
fn timeouts(file: &Value) -> Vec<Option<f64>> {
    let stages = file["hooks"].as_object().into_iter().flat_map(|hooks| hooks.values());
    let entries = stages.filter_map(Value::as_array).flatten().chain([&file["hook"]]);
    entries.filter(|entry| is_ours(entry)).map(|entry| entry["timeout"].as_f64()).collect()
}

fn judge(entries: &[(PathBuf, Option<f64>)], deadline: Duration) -> Check {
    let (name, subject) = ("hook-timeout", "hooks of engines");
    if entries.is_empty() {
        return Check::skip(name, subject, "no configuration has an entry of the hook");
    }
    let ms = deadline.as_millis();
    let mut findings: Vec<_> = entries
        .iter()
        .filter_map(|(path, timeout)| Some((path, timeout.filter(|timeout| *timeout <= deadline.as_secs_f64())?)))
        .map(|(path, timeout)| {
            Finding::fail(
                format!(
                    "{}: `timeout` is {timeout} s, not more than deadline_ms ({ms}): a hook that has to wait is killed, and the \
                     container fails",
                    path.display()
                ),
                format!(
                    "set `timeout` to {} there, or a shorter deadline_ms in the configuration of porthole",
                    TIMEOUT.as_secs()
                ),
            )
        })
        .collect();
    findings.dedup_by(|a, b| a.seen == b.seen);
    let good = format!(
        "{} of the hook; none is killed before its deadline of {ms} ms",
        count(entries.len(), "call")
    );
    Check::of(name, subject, good, findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;
    use porthole_registry::hook_entry::{HookPath, entry, hooks_d};
    use porthole_registry::stage::Stage;
    use serde_json::json;
    use std::path::Path;

    #[test]
    fn an_entry_that_kills_the_hook_before_its_deadline_is_a_failure() {
        let verdict = |timeout, ms| judge(&[("/f".into(), timeout)], Duration::from_millis(ms)).verdict;
        assert_eq!(verdict(Some(10.0), 8000), Verdict::Ok);
        assert_eq!(verdict(Some(2.0), 1000), Verdict::Ok);
        assert_eq!(verdict(None, 8000), Verdict::Ok);
        assert_eq!(verdict(Some(1.0), 1000), Verdict::Fail);
        assert_eq!(verdict(Some(0.0), 10), Verdict::Fail);
        assert_eq!(judge(&[], Duration::from_secs(1)).verdict, Verdict::Skip);
    }

    #[test]
    fn entries_of_the_hook_are_found_in_either_form_and_those_of_others_are_not() {
        let hook = HookPath::parse(Path::new("/usr/libexec/porthole/porthole-hook")).unwrap();
        assert_eq!(timeouts(&hooks_d(&hook, Stage::Poststop)), [Some(10.0)]);
        let direct = json!({ "path": hook.as_str(), "args": ["porthole-hook", "createRuntime"] });
        let other = json!({ "path": "/bin/true", "timeout": 1 });
        let spec = json!({ "hooks": {
            "createRuntime": [other, entry(&hook, Stage::CreateRuntime), direct], "prestart": null,
        } });
        assert_eq!(timeouts(&spec), [Some(10.0), None]);
        assert_eq!(timeouts(&json!({ "hooks": [] })), []);
    }
}
