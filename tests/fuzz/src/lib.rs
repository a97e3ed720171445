//! What must hold whatever is read; each function panics where it does not.

mod policy;

pub use policy::policy;

use std::path::Path;

use porthole_registry::config::Config;
use porthole_registry::container_id::ContainerId;
use porthole_registry::identity::{Files, Identity, NoFiles, identify};
use porthole_registry::naming::{PinName, Template, candidates, sanitize};
use porthole_registry::oci::{Spec, State};
use porthole_registry::record::Record;
use porthole_registry::text::clean;

/// What separates the parts of an input that has several: no byte of UTF-8.
pub const SEPARATOR: u8 = 0xff;

/// Reads `data` as the state on stdin.
pub fn state(data: &[u8]) {
    match State::parse(data) {
        Ok(state) => {
            assert!(!state.id.is_empty());
            assert!(state.pid.is_none_or(|pid| pid > 0));
            identity_of(&state, None, &NoFiles);
        }
        Err(e) => is_printable(&e.to_string()),
    }
}

/// Reads `data` as a `config.json`.
pub fn spec(data: &[u8]) {
    match Spec::parse(data) {
        Ok(spec) => {
            let state =
                State { id: "0123456789abcdef".to_owned(), bundle: "/b".to_owned(), ..State::default() };
            identity_of(&state, Some(&spec), &NoFiles);
        }
        Err(e) => is_printable(&e.to_string()),
    }
}

/// Reads `data` as a record.
pub fn record(data: &[u8]) {
    if let Ok(record) = Record::parse(data) {
        let again = Record::parse(&record.to_json()).expect("a record that was read can be read again");
        assert_eq!(record, again);
    }
}

/// Reads `data` as `config.toml`.
pub fn config(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        let (config, problems) = Config::parse(text);
        assert!(config.run_dir.is_absolute() && config.netns_dir.is_absolute());
        problems.iter().for_each(|problem| is_printable(problem));
    }
}

/// Identifies the container of a state, a `config.json` and the content of every file that is asked for.
pub fn identity(data: &[u8]) {
    let mut parts = data.splitn(3, |&b| b == SEPARATOR);
    let mut part = || parts.next().unwrap_or_default();
    let (state, spec, file) = (State::parse(part()), Spec::parse(part()), Same(part()));
    if let Ok(state) = state {
        identity_of(&state, spec.as_ref().ok(), &file);
    }
}

/// Makes names of a template and of any text.
pub fn naming(data: &[u8]) {
    let mut parts = data.split(|&b| b == SEPARATOR).map(String::from_utf8_lossy);
    let mut part = || parts.next().unwrap_or_default();
    let (template, id, text) = (part(), part(), part());
    let name = sanitize(&text);
    is_valid(&name);
    assert_eq!(sanitize(&text), name);
    if let Ok(same) = PinName::parse(&text) {
        assert_eq!(same, name);
    }
    if let Some(cleaned) = clean(&text) {
        is_printable(&cleaned);
        assert_eq!(clean(&cleaned), Some(cleaned));
    }
    match Template::parse(&template) {
        Ok(parsed) => {
            assert_eq!(parsed.to_string(), template);
            if let Ok(id) = ContainerId::parse(&id) {
                names_of(&parsed, &Identity { name: Some(text.into_owned()), ..Identity::default() }, &id);
            }
        }
        Err(e) => is_printable(&e.to_string()),
    }
}

/// A file system in which every file is the same.
struct Same<'a>(&'a [u8]);

impl Files for Same<'_> {
    fn read(&self, path: &Path, limit: u64) -> Option<Vec<u8>> {
        assert!(path.is_absolute());
        assert!(!path.components().any(|c| c == std::path::Component::ParentDir), "{}", path.display());
        (u64::try_from(self.0.len()).ok()? <= limit).then(|| self.0.to_vec())
    }
}

fn identity_of(state: &State, spec: Option<&Spec>, files: &dyn Files) {
    let identity = identify(state, spec, files);
    let pod = identity.pod.iter();
    let of_pod =
        pod.flat_map(|p| [Some(&p.name), p.namespace.as_ref(), p.uid.as_ref(), p.sandbox_id.as_ref()]);
    for text in of_pod.chain([identity.name.as_ref(), identity.image.as_ref()]).flatten() {
        assert_eq!(clean(text).as_ref(), Some(text), "not clean");
    }
    if let Ok(id) = ContainerId::parse(&state.id) {
        for template in ["{pod}", "{namespace}.{pod}", "{container}-{id}_{id12}.{namespace}"] {
            names_of(&Template::parse(template).expect("a template"), &identity, &id);
        }
    }
}

fn names_of(template: &Template, identity: &Identity, id: &ContainerId) {
    let names = candidates(template, identity, id);
    assert!(!names.is_empty());
    names.iter().for_each(is_valid);
}

fn is_valid(name: &PinName) {
    assert_eq!(PinName::parse(name.as_str()).as_ref(), Ok(name));
    assert_eq!(&sanitize(name.as_str()), name);
}

fn is_printable(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
}
