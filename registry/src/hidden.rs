//! What of the host a confined command does not see: engines' state, tokens, keys.

use std::path::{Path, PathBuf};

use toml::Value;

/// Whoever reads these, or connects to what is in them, has the node, its containers or its cluster.
const ALWAYS: [&str; 15] = [
    "/var/run",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/crio",
    "/var/lib/kubelet",
    "/var/lib/rancher",
    "/var/lib/k0s",
    "/var/lib/etcd",
    "/var/lib/cni",
    "/var/snap",
    "/etc/kubernetes",
    "/etc/rancher",
    "/etc/cni/net.d",
    "/var/lib/porthole",
];

/// What the configuration changes about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    hide: Vec<PathBuf>,
    show: Vec<PathBuf>,
}

impl Hidden {
    /// Sets a key of `[exec]`: `hide` or `show`. `None`: it is neither.
    pub(crate) fn set(&mut self, key: &str, value: &Value) -> Option<Result<(), String>> {
        let list = match key {
            "hide" => &mut self.hide,
            "show" => &mut self.show,
            _ => return None,
        };
        let path = |value: &Value| value.as_str().map(PathBuf::from).filter(|path| path.is_absolute());
        let paths: Option<Vec<_>> =
            value.as_array().and_then(|values| values.iter().map(path).collect::<Option<Vec<_>>>());
        Some(paths.map(|paths| *list = paths).ok_or_else(|| "expected a list of absolute paths".to_owned()))
    }

    /// The paths, as they are named.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let usual = ALWAYS.iter().map(Path::new).filter(|path| !self.shows(path));
        usual.chain(self.hide.iter().map(PathBuf::as_path))
    }

    /// Whether the configuration shows what is hidden otherwise.
    pub fn shows(&self, path: &Path) -> bool {
        self.show.iter().any(|shown| path.starts_with(shown))
    }

    /// The paths that it shows.
    pub fn shown(&self) -> &[PathBuf] {
        &self.show
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(text: &str) -> Hidden {
        let mut hidden = Hidden::default();
        for (key, value) in &text.parse::<toml::Table>().unwrap() {
            hidden.set(key, value).unwrap().unwrap();
        }
        hidden
    }

    fn has(hidden: &Hidden, path: &str) -> bool {
        hidden.paths().any(|hidden| hidden == Path::new(path))
    }

    #[test]
    fn the_configuration_adds_and_takes_back() {
        let own = hidden("hide = ['/srv/secrets', '/var/lib/docker']\nshow = ['/var/lib']");
        assert!(has(&own, "/srv/secrets") && !has(&own, "/var/lib/kubelet"));
        assert!(has(&own, "/var/lib/docker"), "what is named to be hidden is");
        assert!(has(&own, "/etc/kubernetes"));
    }

    #[test]
    fn what_is_no_list_of_absolute_paths_is_refused() {
        for wrong in ["hide = '/a'", "hide = ['a']", "show = [1]"] {
            let table: toml::Table = wrong.parse().unwrap();
            let (key, value) = table.iter().next().unwrap();
            assert!(Hidden::default().set(key, value).unwrap().is_err(), "{wrong}");
        }
        assert!(Hidden::default().set("pids", &Value::Integer(1)).is_none());
    }
}
