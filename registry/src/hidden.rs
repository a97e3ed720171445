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

/// Permissions keep these from all but root and a few groups.
const FROM_ROOT: [&str; 20] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/security/opasswd",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/porthole/policy.toml",
    "/etc/ssh/ssh_host_rsa_key",
    "/etc/ssh/ssh_host_ecdsa_key",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/ssl/private",
    "/etc/pki/tls/private",
    "/etc/krb5.keytab",
    concat!("/root", "/.ssh"),
    concat!("/root", "/.kube"),
    concat!("/root", "/.docker"),
    concat!("/root", "/.aws"),
    concat!("/root", "/.gnupg"),
    "/var/lib/sss/secrets",
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

    /// The paths, as they are named: `as_root` for a command that permissions do not keep from much.
    pub fn paths(&self, as_root: bool) -> impl Iterator<Item = &Path> {
        let from_root = FROM_ROOT.iter().filter(move |_| as_root);
        let usual = ALWAYS.iter().chain(from_root).map(Path::new);
        let hidden = usual.filter(|path| !self.show.iter().any(|shown| path.starts_with(shown)));
        hidden.chain(self.hide.iter().map(PathBuf::as_path))
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

    fn has(hidden: &Hidden, as_root: bool, path: &str) -> bool {
        hidden.paths(as_root).any(|hidden| hidden == Path::new(path))
    }

    #[test]
    fn what_permissions_protect_is_hidden_from_root_alone() {
        let usual = Hidden::default();
        assert!(has(&usual, false, "/var/lib/kubelet") && has(&usual, true, "/var/lib/kubelet"));
        assert!(!has(&usual, false, "/etc/shadow") && has(&usual, true, "/etc/shadow"));
    }

    #[test]
    fn the_configuration_adds_and_takes_back() {
        let own = hidden("hide = ['/srv/secrets', '/var/lib/docker']\nshow = ['/var/lib']");
        assert!(has(&own, false, "/srv/secrets") && !has(&own, false, "/var/lib/kubelet"));
        assert!(has(&own, false, "/var/lib/docker"), "what is named to be hidden is");
        assert!(has(&own, false, "/etc/kubernetes"));
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
