//! The sandbox of a pod of which no container runs: its engine, its id, and where its files are.
//!
//! It is a link in the index, `ENGINE/ID/PATH/OF/BUNDLE`, which older versions pass over. It is no record, since a record
//! describes a process.

use std::path::{Component, Path, PathBuf};

use crate::container_id::ContainerId;
use crate::identity::{Engine, Identity, Kind};
use crate::lenient::Lenient;
use crate::record::Record;

/// The engine, id and bundle of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The engine that made it.
    pub engine: Engine,
    /// Its id, as the engine shows it.
    pub id: ContainerId,
    /// Its bundle; none where that cannot be told.
    pub bundle: Option<PathBuf>,
}

impl Sandbox {
    /// That of a pod without a process.
    pub fn new(identity: &Identity, id: &ContainerId, bundle: &Path) -> Self {
        Self { engine: identity.engine, id: id.clone(), bundle: plain(bundle) }
    }

    /// That of a container's pod. Engines keep the bundles of both beside each other, under their ids.
    pub fn of(record: &Record) -> Option<Self> {
        let id = ContainerId::parse(record.pod.as_ref()?.sandbox_id.as_deref()?).ok()?;
        let own = Component::Normal(record.id.as_str().as_ref());
        let bundle = if record.kind == Kind::Sandbox {
            plain(&record.bundle)
        } else if record.bundle.components().any(|part| part == own) {
            let part = |part| if part == own { Component::Normal(id.as_str().as_ref()) } else { part };
            plain(&record.bundle.components().map(part).collect::<PathBuf>())
        } else {
            None
        };
        Some(Self { engine: record.engine, id, bundle })
    }

    /// Whether its engine has stopped it, by its files: CRI-O marks a sandbox that is stopped. Whether its network is there
    /// is another question.
    pub fn is_stopped(&self) -> bool {
        self.bundle.as_ref().is_some_and(|bundle| bundle.join("stopped").exists())
    }

    pub(crate) fn to_link(&self) -> PathBuf {
        let bundle = self.bundle.as_deref().unwrap_or(Path::new(""));
        PathBuf::from(format!("{}/{}{}", self.engine, self.id, bundle.display()))
    }

    pub(crate) fn from_link(link: &Path) -> Option<Self> {
        let mut parts = link.to_str()?.splitn(3, '/');
        let (engine, id, bundle) = (parts.next()?, parts.next()?, parts.next());
        Some(Self {
            engine: Engine::from_text(engine),
            id: ContainerId::parse(id).ok()?,
            bundle: bundle.and_then(|rest| plain(Path::new(&format!("/{rest}")))),
        })
    }
}

/// A path without `..` that is short enough for a link.
fn plain(path: &Path) -> Option<PathBuf> {
    let down = |part| matches!(part, Component::RootDir | Component::Normal(_));
    let fits = path.to_str().is_some_and(|text| text.len() < 3500);
    (path.is_absolute() && fits && path.components().all(down)).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bundle: &str) -> Record {
        let json = format!(
            r#"{{"schema":1,"id":"c1","bundle":"{bundle}","engine":"cri-o","kind":"container","pid":2,"pid_start":1,
            "boot_id":"b","created":"c","stage":"createRuntime","namespaces":{{}},
            "pod":{{"name":"web-0","sandbox_id":"s1"}}}}"#
        );
        Record::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn the_sandboxes_bundle_is_beside_its_containers() {
        let of = |bundle| Sandbox::of(&record(bundle)).unwrap().bundle;
        assert_eq!(of("/s/overlay-containers/c1/userdata"), Some("/s/overlay-containers/s1/userdata".into()));
        assert_eq!(of("/run/t/k8s.io/c1"), Some("/run/t/k8s.io/s1".into()));
        assert_eq!(of("/srv/nginx"), None);
        assert_eq!(of("/s/../c1"), None);
    }

    #[test]
    fn a_link_is_read_as_it_was_written_and_anything_else_is_none() {
        for bundle in ["/s/overlay-containers/c1/userdata", "/srv/nginx"] {
            let sandbox = Sandbox::of(&record(bundle)).unwrap();
            assert_eq!(Sandbox::from_link(&sandbox.to_link()), Some(sandbox));
        }
        for link in ["", "cri-o", "cri-o/", "cri-o/../x"] {
            assert_eq!(Sandbox::from_link(Path::new(link)), None, "{link}");
        }
        assert_eq!(Sandbox::from_link(Path::new("cri-o/s1/../x")).unwrap().bundle, None);
        assert_eq!(Sandbox::from_link(Path::new("from-the-future/s1")).unwrap().engine, Engine::Unknown);
    }
}
