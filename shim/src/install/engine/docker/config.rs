//! `daemon.json`: what it says of runtimes, and the edits. Text in, text out.

use crate::exit::Exit;
use crate::install::guard;
use crate::problem::Problem;
use porthole_registry::json_edit::{Document, Error};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// What our runtime is called there.
pub(crate) const NAME: &str = "porthole";
/// The default of a daemon that is told of none.
pub(crate) const STOCK: &str = "runc";
const RUNTIMES: &str = "runtimes";
const DEFAULT: &str = "default-runtime";

/// What was changed in `daemon.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigEdit {
    /// There was no such file.
    created: bool,
    /// There were runtimes already.
    had_runtimes: bool,
    /// The default runtime that was named.
    previous: Option<String>,
}

/// A runtime of the site's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Runtime {
    pub(crate) path: PathBuf,
    pub(super) args: Vec<String>,
    /// A containerd shim, instead of a program.
    pub(super) shim: Option<String>,
}

/// A parsed `daemon.json`, and where it is, for errors.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    document: Document,
    place: PathBuf,
}

impl Config {
    /// Takes the file's text; a file that is missing or empty says nothing, as to the daemon.
    pub(crate) fn parse(text: Option<&str>, place: &Path) -> Result<Self, Problem> {
        let text = match text {
            Some(text) if !text.trim_start_matches('\u{feff}').trim().is_empty() => text,
            _ => "{}\n",
        };
        let document = Document::parse(text.to_owned()).map_err(|e| bad(place, &e))?;
        Ok(Self { document, place: place.to_owned() })
    }

    /// Where it is.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// A setting. Null says nothing, as to the daemon.
    pub(super) fn value(&self, path: &[&str]) -> Result<Option<Value>, Problem> {
        let raw = self.document.get(path).map_err(|e| bad(&self.place, &e))?;
        let value = raw.map(serde_json::from_str::<Value>).transpose();
        Ok(value.map_err(|e| self.problem(&e.to_string()))?.filter(|value| !value.is_null()))
    }

    /// A setting that is a text; an empty one says nothing.
    pub(super) fn word(&self, key: &str) -> Result<Option<String>, Problem> {
        match self.value(&[key])? {
            None => Ok(None),
            Some(Value::String(word)) => Ok(Some(word).filter(|word| !word.is_empty())),
            Some(_) => Err(self.problem(&format!("{key} is no text"))),
        }
    }

    /// The default runtime that is named.
    pub(crate) fn default_runtime(&self) -> Result<Option<String>, Problem> {
        self.word(DEFAULT)
    }

    fn runtimes(&self) -> Result<Option<Map<String, Value>>, Problem> {
        match self.value(&[RUNTIMES])? {
            None => Ok(None),
            Some(Value::Object(runtimes)) => Ok(Some(runtimes)),
            Some(_) => Err(self.problem("runtimes is no object")),
        }
    }

    /// The names of all runtimes.
    pub(crate) fn names(&self) -> Result<Vec<String>, Problem> {
        Ok(self.runtimes()?.into_iter().flatten().map(|(name, _)| name).collect())
    }

    /// A runtime.
    pub(crate) fn runtime(&self, name: &str) -> Result<Option<Runtime>, Problem> {
        let Some(entry) = self.value(&[RUNTIMES, name])? else { return Ok(None) };
        let fail = || self.problem(&format!("{RUNTIMES}.{name} is no runtime that Docker would take"));
        let entry = entry.as_object().ok_or_else(fail)?;
        // Docker compares keys as Go does.
        let field = |key: &str| entry.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, v)| v);
        let text = |key: &str| match field(key) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(value) => value.as_str().map(str::to_owned).ok_or_else(fail),
        };
        let args = match field("runtimeArgs") {
            None | Some(Value::Null) => Vec::new(),
            Some(args) => {
                let args = args.as_array().ok_or_else(fail)?.iter();
                args.map(|arg| arg.as_str().map(str::to_owned).ok_or_else(fail)).collect::<Result<_, _>>()?
            }
        };
        let shim = Some(text("runtimeType")?).filter(|shim| !shim.is_empty());
        Ok(Some(Runtime { path: text("path")?.into(), args, shim }))
    }

    /// Our runtime's guard; an error where somebody else's runtime has the name.
    pub(super) fn guard(&self) -> Result<Option<PathBuf>, Problem> {
        match self.runtime(NAME)? {
            None => Ok(None),
            Some(Runtime { path, shim: None, .. }) if guard::is_guard(&path) => Ok(Some(path)),
            Some(_) => Err(Problem::new(
                Exit::Failed,
                format!(
                    "{}: has a runtime {NAME} that `porthole install` has not made",
                    self.place.display()
                ),
                "give it another name, then run this again",
            )),
        }
    }

    /// What is remembered of a file that is going to be changed.
    pub(super) fn edit(&self, exists: bool) -> Result<ConfigEdit, Problem> {
        Ok(ConfigEdit {
            created: !exists,
            had_runtimes: self.runtimes()?.is_some(),
            previous: self.default_runtime()?,
        })
    }

    /// Makes the guard a runtime, and the default one.
    pub(super) fn install(&mut self, guard: &Path) -> Result<(), Problem> {
        self.add_runtime(guard)?;
        self.set(&[DEFAULT], &json!(NAME))
    }

    /// Makes the guard a runtime.
    pub(super) fn add_runtime(&mut self, guard: &Path) -> Result<(), Problem> {
        self.set(&[RUNTIMES, NAME], &json!({ "path": guard }))
    }

    /// Says what a daemon would otherwise leave as it has it: read again, a file without a default runtime or without
    /// runtimes changes neither.
    pub(super) fn spell_out(&mut self) -> Result<(), Problem> {
        if self.default_runtime()?.is_none() {
            self.set(&[DEFAULT], &json!(STOCK))?;
        }
        if self.runtimes()?.is_none() {
            self.set(&[RUNTIMES], &json!({}))?;
        }
        Ok(())
    }

    fn set(&mut self, path: &[&str], value: &Value) -> Result<(), Problem> {
        self.document.set(path, value).map_err(|e| bad(&self.place, &e))
    }

    fn remove(&mut self, path: &[&str]) -> Result<(), Problem> {
        self.document.remove(path).map(drop).map_err(|e| bad(&self.place, &e))
    }

    /// The text.
    pub(super) fn into_text(self) -> String {
        self.document.into_string()
    }

    fn problem(&self, cause: &str) -> Problem {
        Problem::new(Exit::Failed, format!("{}: {cause}", self.place.display()), REPAIR)
    }
}

const REPAIR: &str =
    "repair it (`dockerd --validate --config-file FILE` tells whether Docker reads it), then run this again";

fn bad(place: &Path, error: &Error) -> Problem {
    Problem::new(Exit::Failed, format!("{}: {error}", place.display()), REPAIR)
}

/// For errors in a text whose place its caller knows.
fn anonymous(text: &str) -> Result<Config, Problem> {
    Config::parse(Some(text), Path::new("daemon.json"))
}

impl ConfigEdit {
    /// The configuration without what is ours; none where nothing would be left of a file that was not there before.
    pub(crate) fn undo(&self, text: &str) -> Result<Option<String>, Problem> {
        let mut config = anonymous(text)?;
        match (config.default_runtime()?.as_deref(), &self.previous) {
            (Some(NAME), Some(previous)) => config.set(&[DEFAULT], &json!(previous))?,
            // Named or not, it is the same; it may be what we have spelt out.
            (Some(NAME | STOCK), None) => config.remove(&[DEFAULT])?,
            _ => {}
        }
        if config.runtime(NAME)?.is_some_and(|runtime| guard::is_guard(&runtime.path)) {
            config.remove(&[RUNTIMES, NAME])?;
        }
        if !self.had_runtimes && config.runtimes()?.is_some_and(|runtimes| runtimes.is_empty()) {
            config.remove(&[RUNTIMES])?;
        }
        let nothing = self.created && config.value(&[])?.is_none_or(|all| all == json!({}));
        Ok((!nothing).then(|| config.into_text()))
    }

    /// The configuration with our runtime, but without it being the default. It has to be named: see [`Config::spell_out`].
    pub(crate) fn without_default(&self, text: &str) -> Result<String, Problem> {
        let mut config = anonymous(text)?;
        if config.default_runtime()?.as_deref() == Some(NAME) {
            config.set(&[DEFAULT], &json!(self.previous.as_deref().unwrap_or(STOCK)))?;
        }
        Ok(config.into_text())
    }

    /// The same, where the default runtime before ours is known otherwise.
    pub(super) fn behind(self, previous: Option<&str>) -> Self {
        Self { previous: previous.map(str::to_owned), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: &str = "/etc/porthole/runtime/docker-runc";

    fn config(text: &str) -> Config {
        anonymous(text).unwrap()
    }

    fn installed(text: &str) -> (String, ConfigEdit) {
        let mut config = config(text);
        let edit = config.edit(true).unwrap();
        config.install(Path::new(GUARD)).unwrap();
        (config.into_text(), edit)
    }

    #[test]
    fn what_the_site_has_written_stays_as_it_is_written() {
        let site = "{\n    \"log-driver\": \"json-file\",\n    \"runtimes\": {\n        \"nvidia\": {\n            \"args\": [],\n            \"path\": \"nvidia-container-runtime\"\n        }\n    },\n    \"max-concurrent-downloads\": 1e1,\n    \"default-runtime\": \"nvidia\"\n}\n";
        let (text, edit) = installed(site);
        assert!(
            text.contains("\"max-concurrent-downloads\": 1e1,\n    \"default-runtime\": \"porthole\"\n}\n")
        );
        let nvidia = "\"nvidia\": {\n            \"args\": [],\n            \"path\": \"nvidia-container-runtime\"\n        }";
        assert!(text.contains(nvidia), "{text}");
        assert_eq!(config(&text).guard().unwrap(), Some(GUARD.into()));
        assert_eq!(edit.undo(&text).unwrap().as_deref(), Some(site));
    }

    #[test]
    fn every_shape_comes_back_once_others_have_written_too() {
        for site in [
            "{}",
            "{}\n",
            "{\"a\":1}",
            "{ \"default-runtime\" : \"runc\" }",
            "{\"runtimes\":{}}",
            "{\n\t\"runtimes\": {\"crun\": {\"path\": \"/usr/bin/crun\"}},\n\t\"default-runtime\": \"crun\"\n}\n",
            "\u{feff}{\"a\": {\"b\": [1, 2]}}\r\n",
        ] {
            let (text, edit) = installed(site);
            assert_eq!(config(&text).default_runtime().unwrap().as_deref(), Some("porthole"), "{text}");
            assert_eq!(edit.undo(&text).unwrap().as_deref(), Some(site), "{text}");
            let mut edited = config(&text);
            edited.set(&["debug"], &json!(true)).unwrap();
            let back = edit.undo(&edited.into_text()).unwrap().unwrap();
            let back: Value = serde_json::from_str(back.trim_start_matches('\u{feff}')).unwrap();
            let mut wanted: Value = serde_json::from_str(site.trim_start_matches('\u{feff}')).unwrap();
            wanted["debug"] = json!(true);
            assert_eq!(back, wanted);
        }
    }

    #[test]
    fn a_file_that_was_not_there_goes_unless_somebody_has_written_into_it() {
        let mut new = Config::parse(None, Path::new("d")).unwrap();
        let edit = new.edit(false).unwrap();
        new.install(Path::new(GUARD)).unwrap();
        let text = new.into_text();
        assert_eq!(edit.undo(&text).unwrap(), None);
        let edited = text.replacen('{', "{\"debug\": true,", 1);
        let left = edit.undo(&edited).unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&left).unwrap(), json!({ "debug": true }));
    }

    #[test]
    fn an_empty_file_is_a_file() {
        for empty in ["", " \n", "\u{feff}"] {
            let (text, _) = installed(empty);
            assert_eq!(config(&text).guard().unwrap(), Some(GUARD.into()));
        }
    }

    #[test]
    fn a_default_that_somebody_has_chosen_since_is_theirs() {
        let (text, edit) = installed("{\"default-runtime\": \"crun\"}");
        let text = text.replace("\"porthole\"}", "\"kata\"}").replace(": \"porthole\"", ": \"kata\"");
        assert_eq!(edit.undo(&text).unwrap().as_deref(), Some("{\"default-runtime\": \"kata\"}"));
    }

    #[test]
    fn parked_our_runtime_stays_and_is_not_the_default() {
        for (site, default) in [("{}", "runc"), ("{\"default-runtime\": \"crun\"}", "crun")] {
            let (text, edit) = installed(site);
            let parked = edit.without_default(&text).unwrap();
            assert_eq!(config(&parked).default_runtime().unwrap().as_deref(), Some(default));
            assert_eq!(config(&parked).guard().unwrap(), Some(GUARD.into()));
            assert_eq!(edit.undo(&parked).unwrap().as_deref(), Some(site));
        }
    }

    #[test]
    fn what_a_daemon_would_not_forget_is_spelt_out() {
        for (site, told) in [
            ("{}", json!({"default-runtime": "runc", "runtimes": {}})),
            (
                "{\"runtimes\": null, \"default-runtime\": \"\"}",
                json!({"default-runtime": "runc", "runtimes": {}}),
            ),
            (
                "{\"default-runtime\": \"x\", \"runtimes\": {\"x\": {\"path\": \"/x\"}}}",
                json!({"default-runtime": "x", "runtimes": {"x": {"path": "/x"}}}),
            ),
        ] {
            let mut config = config(site);
            let edit = config.edit(true).unwrap();
            config.spell_out().unwrap();
            let text = config.into_text();
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), told);
            if !site.contains("null") {
                assert_eq!(edit.undo(&text).unwrap().as_deref(), Some(site), "a run may be killed meanwhile");
            }
        }
    }

    #[test]
    fn a_runtime_of_our_name_that_is_not_ours_is_refused() {
        for entry in
            ["{\"path\": \"/usr/bin/x\"}", "{\"runtimeType\": \"io.containerd.x.v1\"}", "3", "{\"path\": 3}"]
        {
            assert!(
                config(&format!("{{\"runtimes\": {{\"porthole\": {entry}}}}}")).guard().is_err(),
                "{entry}"
            );
        }
    }

    #[test]
    fn an_error_says_where() {
        let error =
            Config::parse(Some("{\n  \"a\": 1,\n}\n"), Path::new("/etc/docker/daemon.json")).unwrap_err();
        assert!(error.message.starts_with("/etc/docker/daemon.json: "), "{}", error.message);
        assert!(error.message.contains("line 3 column 1"), "{}", error.message);
        for text in
            ["[]", "{\"runtimes\": 3}", "{\"default-runtime\": []}", "{\"runtimes\": {}, \"runtimes\": {}}"]
        {
            let failed = Config::parse(Some(text), Path::new("d"))
                .and_then(|config| config.edit(true).map(drop).and_then(|()| config.guard().map(drop)));
            assert!(failed.is_err(), "{text}");
        }
    }

    #[test]
    fn keys_of_a_runtime_are_compared_as_docker_compares_them() {
        let runtime =
            config("{\"runtimes\": {\"x\": {\"Path\": \"/x\", \"RuntimeArgs\": [\"--a\"]}}}").runtime("x");
        let wanted = Runtime { path: "/x".into(), args: vec!["--a".to_owned()], shim: None };
        assert_eq!(runtime.unwrap(), Some(wanted));
    }
}
