//! What Docker is configured to do: a runtime of ours in `daemon.json`, and which one is the default.

use super::{Form, Wiring};
use crate::engines::daemon::Daemon;
use crate::install::engine::Engine;
use crate::install::engine::docker::config::{Config, STOCK};
use crate::install::engine::docker::read;
use crate::install::guard;
use crate::install::tree::Tree;
use crate::problem::Problem;

pub(super) fn wiring(engine: &Engine, tree: &Tree) -> Result<Wiring, String> {
    let told = engine.daemon.as_ref().and_then(|daemon: &Daemon| daemon.option(&["--default-runtime"]));
    let wiring = read(engine, tree).and_then(|config| judge(&config, told));
    let mut wiring = wiring.map_err(|problem| problem.message)?;
    wiring.files.push(engine.config.clone());
    Ok(wiring)
}

/// The wiring of a configuration; `told` is the default runtime on the daemon's command line.
fn judge(config: &Config, told: Option<&str>) -> Result<Wiring, Problem> {
    let form = |name: &str| -> Result<Option<Form>, Problem> {
        let Some(path) = config.runtime(name)?.map(|runtime| runtime.path) else { return Ok(None) };
        if guard::is_guard(&path) {
            return Ok(Some(Form::Guard));
        }
        Ok(path.file_name().is_some_and(|name| name == "porthole-runtime").then_some(Form::Direct))
    };
    let default = config.default_runtime()?;
    let default = default.as_deref().or(told).unwrap_or(STOCK);
    let mut ours = Vec::new();
    for name in config.names()? {
        ours.extend(form(&name)?.map(|form| (name, form)));
    }
    let chosen = ours.iter().find(|(name, _)| *name == default).or_else(|| ours.first());
    let Some((name, form)) = chosen else { return Ok(Wiring::default()) };
    let gaps =
        if *name == default { Vec::new() } else { vec![format!("runtime {default}, the default one")] };
    Ok(Wiring { form: Some(*form), how: format!("runtime {name} of daemon.json"), gaps, ..Wiring::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn judged(text: &str, told: Option<&str>) -> Result<Wiring, Problem> {
        Config::parse(Some(text), Path::new("/etc/docker/daemon.json"))
            .and_then(|config| judge(&config, told))
    }

    const OURS: &str = r#"{"runtimes": {"porthole": {"path": "/etc/porthole/runtime/docker-runc"}}}"#;

    #[test]
    fn a_runtime_of_ours_counts_if_it_is_the_default() {
        let default = OURS.replacen('{', r#"{"default-runtime": "porthole", "#, 1);
        let wiring = judged(&default, None).unwrap();
        assert_eq!((wiring.form, wiring.gaps.len()), (Some(Form::Guard), 0));
        let wiring = judged(OURS, None).unwrap();
        assert_eq!(
            (wiring.form, wiring.gaps),
            (Some(Form::Guard), vec!["runtime runc, the default one".to_owned()])
        );
        assert!(judged(OURS, Some("porthole")).unwrap().gaps.is_empty(), "on the command line");
        let direct = r#"{"runtimes": {"p": {"path": "/x/porthole-runtime"}}, "default-runtime": "p"}"#;
        assert_eq!(judged(direct, None).unwrap().form, Some(Form::Direct));
        let other = r#"{"runtimes": {"nvidia": {"path": "/usr/bin/nvidia"}}}"#;
        assert_eq!(judged(other, None).unwrap().form, None);
        assert_eq!(judged("", None).unwrap().form, None);
    }

    #[test]
    fn a_file_is_read_as_install_and_docker_read_it() {
        for (text, form) in [
            (format!("\u{feff}{OURS}"), Some(Form::Guard)),
            ("\u{feff} \n".to_owned(), None),
            (OURS.replace("\"path\"", "\"Path\""), Some(Form::Guard)),
            (r#"{"runtimes": null, "default-runtime": ""}"#.to_owned(), None),
        ] {
            assert_eq!(judged(&text, None).unwrap().form, form, "{text}");
        }
        for broken in ["// a comment\n{}", "{,}", "[]", r#"{"runtimes": 3}"#] {
            assert!(judged(broken, None).is_err(), "{broken}");
        }
    }
}
