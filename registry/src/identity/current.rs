//! The names that containers have now: Docker and podman rename containers that run.
//!
//! Only a name that an engine keeps in files of its own can change. A name in an annotation stays as it was at the start.

use std::collections::HashMap;
use std::path::PathBuf;

use super::{Clues, Engine, Files, Kind, docker, podman};
use crate::oci::{Root, Spec, State};
use crate::record::Record;

/// Looks names up. An index of podman's storage has the names of all its containers, and is read once.
pub struct CurrentNames<'a> {
    files: &'a dyn Files,
    stored: HashMap<PathBuf, HashMap<String, String>>,
}

impl<'a> CurrentNames<'a> {
    /// In these files.
    pub fn new(files: &'a dyn Files) -> Self {
        Self { files, stored: HashMap::new() }
    }

    /// The name that the engine gives the container now. None where it does not rename, or its files have no name.
    pub fn of(&mut self, record: &Record) -> Option<String> {
        if record.kind == Kind::Sandbox || !matches!(record.engine, Engine::Docker | Engine::Podman) {
            return None;
        }
        let path = |path: &std::path::Path| path.to_str().map(str::to_owned);
        let state = State { id: record.id.to_string(), bundle: path(&record.bundle)?, ..State::default() };
        let root = Root { path: record.rootfs.as_deref().and_then(path) };
        let spec = Spec { root, ..Spec::default() };
        let id = Some(record.id.clone());
        let clues = Clues { state: &state, spec: Some(&spec), files: self.files, id };
        match record.engine {
            // cri-dockerd packs the name of a pod's container into Docker's name, and never changes it.
            Engine::Docker => docker::identify(&clues)?.name,
            _ => {
                let storage = podman::storage_of(&clues)?;
                if !self.stored.contains_key(storage) {
                    self.stored.insert(storage.to_owned(), podman::names_in(storage, self.files));
                }
                self.stored.get(storage)?.get(record.id.as_str()).cloned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container_id::ContainerId;
    use std::cell::RefCell;
    use std::path::Path;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    struct Told<'a> {
        files: &'a [(&'a str, &'a str)],
        asked: RefCell<Vec<PathBuf>>,
    }

    impl Files for Told<'_> {
        fn read(&self, path: &Path, _: u64) -> Option<Vec<u8>> {
            self.asked.borrow_mut().push(path.to_owned());
            let (_, text) = self.files.iter().find(|(name, _)| Path::new(name) == path)?;
            Some(text.as_bytes().to_vec())
        }
    }

    fn record(engine: &str, bundle: &str, rootfs: &str) -> Record {
        let json = format!(
            r#"{{"schema":1,"id":"{ID}","bundle":"{bundle}","engine":"{engine}","kind":"container","pid":2,"pid_start":1,
            "boot_id":"b","created":"c","stage":"createRuntime","name":"old","namespaces":{{}},"rootfs":"{rootfs}"}}"#
        );
        Record::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn the_name_that_docker_has_in_its_file_is_the_current_one() {
        let file = format!("/srv/docker/containers/{ID}/config.v2.json");
        let told = Told { files: &[(&file, r#"{"Name":"/new","Config":{}}"#)], asked: RefCell::default() };
        let bundle = format!("/run/containerd/io.containerd.runtime.v2.task/moby/{ID}");
        let docker = record("docker", &bundle, "/srv/docker/overlay2/x/merged");
        assert_eq!(CurrentNames::new(&told).of(&docker).as_deref(), Some("new"));
        let elsewhere = record("docker", &bundle, "/mnt/x");
        assert_eq!(CurrentNames::new(&told).of(&elsewhere), None);
    }

    #[test]
    fn an_index_of_podman_is_read_once() {
        let storage = "/s/overlay-containers";
        let index = format!("{storage}/containers.json");
        let other = "f".repeat(64);
        let text = format!(
            r#"[{{"id":"{other}","names":["x"]}},{{"id":"{ID}","names":["new"],"metadata":"{{}}"}}]"#
        );
        let told = Told { files: &[(&index, &text)], asked: RefCell::default() };
        let mut podman = record("podman", &format!("{storage}/{ID}/userdata"), "/s/overlay/x/merged");
        let mut names = CurrentNames::new(&told);
        assert_eq!(names.of(&podman).as_deref(), Some("new"));
        podman.id = ContainerId::parse(&other).unwrap();
        podman.bundle = format!("{storage}/{other}/userdata").into();
        assert_eq!(names.of(&podman).as_deref(), Some("x"));
        assert_eq!(told.asked.borrow().len(), 2, "the index, and that of volatile containers");
    }

    #[test]
    fn engines_whose_names_do_not_change_are_not_asked() {
        let told = Told { files: &[], asked: RefCell::default() };
        for engine in ["containerd", "cri-o", "nerdctl", "unknown"] {
            assert_eq!(CurrentNames::new(&told).of(&record(engine, "/b", "/r")), None);
        }
        assert!(told.asked.borrow().is_empty());
    }
}
