//! What Docker is configured to do: a runtime of ours in `daemon.json`, and which one is the default.

use super::{Form, Wiring};
use crate::install::engine::Engine;
use crate::install::guard;
use crate::install::tree::Tree;
use serde_json::Value;
use std::path::Path;

pub(super) fn wiring(engine: &Engine, tree: &Tree) -> Result<Wiring, String> {
    let text = tree.text(&engine.config).map_err(|problem| problem.message)?;
    let config = match text {
        None => Value::Null,
        Some(text) if text.trim().is_empty() => Value::Null,
        Some(text) => serde_json::from_str(&text).map_err(|e| format!("{}: {e}", engine.config.display()))?,
    };
    let mut wiring = read(&config);
    wiring.files.push(engine.config.clone());
    Ok(wiring)
}

fn read(config: &Value) -> Wiring {
    let form = |runtime: &Value| {
        let path = Path::new(runtime["path"].as_str()?);
        if guard::is_guard(path) {
            return Some(Form::Guard);
        }
        path.file_name().is_some_and(|name| name == "porthole-runtime").then_some(Form::Direct)
    };
    let default = config["default-runtime"].as_str().unwrap_or("runc");
    let all = config["runtimes"].as_object().into_iter().flatten();
    let ours: Vec<_> = all.filter_map(|(name, runtime)| Some((name.as_str(), form(runtime)?))).collect();
    let chosen = ours.iter().find(|(name, _)| *name == default).or_else(|| ours.first());
    let Some((name, form)) = chosen else { return Wiring::default() };
    let gaps =
        if *name == default { Vec::new() } else { vec![format!("runtime {default}, the default one")] };
    Wiring { form: Some(*form), how: format!("runtime {name} of daemon.json"), gaps, ..Wiring::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_runtime_of_ours_counts_if_it_is_the_default() {
        let guard = "/etc/porthole/runtime/docker-runc";
        let config = json!({"runtimes": {"porthole": {"path": guard}}, "default-runtime": "porthole"});
        let wiring = read(&config);
        assert_eq!((wiring.form, wiring.gaps.len()), (Some(Form::Guard), 0));
        let wiring = read(&json!({"runtimes": {"porthole": {"path": guard}}}));
        assert_eq!(
            (wiring.form, wiring.gaps),
            (Some(Form::Guard), vec!["runtime runc, the default one".to_owned()])
        );
        let direct = json!({"runtimes": {"p": {"path": "/x/porthole-runtime"}}, "default-runtime": "p"});
        assert_eq!(read(&direct).form, Some(Form::Direct));
        assert_eq!(read(&json!({"runtimes": {"nvidia": {"path": "/usr/bin/nvidia"}}})).form, None);
        assert_eq!(read(&Value::Null).form, None);
    }
}
