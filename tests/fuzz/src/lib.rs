//! What must hold whatever is read; each function panics where it does not.

mod policy;

pub use policy::policy;

use std::path::Path;

use porthole_registry::adopt::{parse_crun_status, parse_runc_state};
use porthole_registry::config::Config;
use porthole_registry::container_id::ContainerId;
use porthole_registry::hook_entry::{self, HookPath};
use porthole_registry::identity::{Files, Identity, NoFiles, identify};
use porthole_registry::json_edit::Document;
use porthole_registry::naming::{PinName, Template, candidates, sanitize};
use porthole_registry::oci::{Spec, State};
use porthole_registry::record::Record;
use porthole_registry::text::clean;
use serde_json::json;

/// The separator of the parts of an input: no byte of UTF-8.
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
        let written = record.to_json().expect("text has no path that is no UTF-8");
        let again = Record::parse(&written).expect("a record that was read can be read again");
        assert_eq!(again.to_json().expect("the same"), written);
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

/// Reads `data` as what runc and crun write of a container.
pub fn runtime_state(data: &[u8]) {
    let id = ContainerId::parse("c1").expect("an id");
    for read in [parse_runc_state(id.clone(), data), parse_crun_status(id.clone(), data)] {
        match read {
            Ok(candidate) => {
                assert_eq!(candidate.id, id);
                assert!(candidate.process.is_some_and(|claim| claim.pid > 1));
                assert!(candidate.bundle.is_absolute());
                assert!(!candidate.bundle.components().any(|c| c == std::path::Component::ParentDir));
            }
            Err(cause) => is_printable(&cause),
        }
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

/// Changes a document of somebody else, and takes the change back.
pub fn json_edit(data: &[u8]) {
    let Some(before) = str::from_utf8(data).ok().and_then(|text| Document::parse(text.to_owned()).ok())
    else {
        return;
    };
    let is_sound = |document: &Document| {
        assert_eq!(Document::parse(document.as_str().to_owned()).as_ref(), Ok(document))
    };
    for path in [&["a"][..], &["hooks", "poststop"], &["a", "b", "c"]] {
        let made = (1..=path.len()).find(|depth| before.get(&path[..*depth]) == Ok(None));
        let mut document = before.clone();
        match document.set(path, &json!({ "x": [1, {}], "y": null })) {
            Err(_) => assert_eq!(document, before),
            Ok(()) => {
                is_sound(&document);
                assert_eq!(document.remove(path), Ok(true));
                is_sound(&document);
                // Where null was, an object is now; else what was made goes with the first of its keys.
                if let Some(depth) = made.filter(|depth| !is_null(&before, &path[..depth - 1])) {
                    document.remove(&path[..depth]).expect("what is there can be removed");
                    is_sound(&document);
                    assert_same(document.as_str(), before.as_str());
                }
            }
        }
        let mut document = before.clone();
        match document.push(path, &json!({ "ours": 1e3 })) {
            Err(_) => assert_eq!(document, before),
            Ok(()) => {
                is_sound(&document);
                document.retain(path, |element| element.get("ours").is_none()).expect("an array is there");
                is_sound(&document);
            }
        }
    }
    let hook = HookPath::parse(Path::new("/x/porthole-hook")).expect("a path");
    let mut document = before.clone();
    if hook_entry::add(&mut document, &hook).is_ok() {
        is_sound(&document);
        assert_eq!(hook_entry::add(&mut document, &hook), Ok(false));
        assert_eq!(hook_entry::remove(&mut document), Ok(true));
        is_sound(&document);
        assert_eq!(hook_entry::remove(&mut document), Ok(false));
    }
}

fn is_null(document: &Document, path: &[&str]) -> bool {
    document.get(path) == Ok(Some("null"))
}

/// The same text; an object that was empty over several lines may have lost them.
fn assert_same(found: &str, before: &str) {
    if found != before {
        let packed = |text: &str| text.split_ascii_whitespace().collect::<String>();
        assert_eq!(packed(found), packed(before));
        assert!(before.split('{').any(|part| part.trim_start().starts_with('}')), "{found:?} {before:?}");
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
