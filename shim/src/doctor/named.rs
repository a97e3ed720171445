//! Where the configuration of this node names what is porthole's: the hook, the wrapper, the files below `/etc/porthole`.

use super::engines::{containerd, hooks_d};
use crate::install::engine::EngineName;
use crate::install::guard;
use crate::install::state::State;
use crate::install::tree::Tree;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Programs that engines call, by their names.
const PROGRAMS: [&str; 2] = ["porthole-hook", "porthole-runtime"];
/// What is ours alone.
const OWN: &str = "/etc/porthole";
/// Files that need not exist.
const OPTIONAL: [&str; 2] = ["/etc/porthole/config.toml", "/etc/porthole/policy.toml"];
/// Where the service manager's units are that an administrator or `porthole install` puts there.
const UNITS: &str = "/etc/systemd/system";

/// A file that names a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    pub(super) file: PathBuf,
    pub(super) path: PathBuf,
}

/// Everything that is named, and how many files were read.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) references: BTreeSet<Reference>,
    pub(super) files: usize,
}

/// Reads everything that engines read, and what that leads to.
pub(super) fn find(tree: &Tree, state: &State) -> Named {
    let mut files: BTreeSet<PathBuf> = state.files.iter().map(|entry| entry.path.clone()).collect();
    files.extend(hooks_d::files(tree));
    files.extend(containerd::files(tree, state));
    files.extend([EngineName::Docker, EngineName::CriO].map(|name| name.default_config().into()));
    for directory in ["/etc/crio/crio.conf.d", OWN, guard::DIRECTORY] {
        files.extend(below(tree, directory, ""));
    }
    files.extend(below(tree, UNITS, "porthole-"));
    let mut named = Named::default();
    for file in files {
        let Ok(Some(text)) = tree.text(&file) else { continue };
        named.files += 1;
        let paths = paths(&text).into_iter().filter(|path| *path != file);
        named.references.extend(paths.map(|path| Reference { file: file.clone(), path }));
        if file.starts_with(guard::DIRECTORY)
            && let Some(real) = guard::real(&text)
        {
            named.references.insert(Reference { file, path: real });
        }
    }
    named
}

impl Named {
    /// The paths of a program of ours.
    pub(super) fn program(&self, name: &str) -> BTreeSet<PathBuf> {
        let paths = self.references.iter().map(|reference| &reference.path);
        paths.filter(|path| path.file_name().is_some_and(|file| file == name)).cloned().collect()
    }
}

fn below(tree: &Tree, directory: &str, prefix: &str) -> Vec<PathBuf> {
    let names = tree.names(Path::new(directory)).into_iter().filter(|name| name.starts_with(prefix));
    names.map(|name| Path::new(directory).join(name)).collect()
}

/// The paths in a text that are ours. A comment names nothing.
fn paths(text: &str) -> BTreeSet<PathBuf> {
    // JSON may write a slash with a backslash before it.
    let text = text.replace("\\/", "/");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with(['#', ';']));
    let words =
        lines.flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || "/._-".contains(c))));
    words
        .filter(|word| word.starts_with('/'))
        .map(Path::new)
        .filter(|path| is_ours(path))
        .map(Path::to_owned)
        .collect()
}

fn is_ours(path: &Path) -> bool {
    let is_program = match name(path) {
        // Directories are called so as well.
        "porthole" => path.parent().is_some_and(|dir| ["bin", "sbin"].contains(&name(dir))),
        name => PROGRAMS.contains(&name),
    };
    let is_file = path.starts_with(OWN) && path != Path::new(OWN) && path != Path::new(guard::DIRECTORY);
    (is_program || is_file) && !OPTIONAL.iter().any(|optional| path == Path::new(optional))
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// What is wrong with a path that is named.
pub(super) fn wrong(tree: &Tree, path: &Path) -> Option<&'static str> {
    let is_there = tree.locate(path).is_ok_and(|place| super::files::exists(&place));
    let is_program = !path.starts_with(OWN) || path.starts_with(guard::DIRECTORY);
    if !is_there {
        Some("is not there")
    } else if is_program && !tree.is_executable(path) && !tree.is_dir(path) {
        Some("is not executable")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        paths(text).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn our_programs_and_files_are_found_in_json_toml_and_scripts() {
        let json = r#"{"args":["sh","-c","test -x \/opt\/p\/porthole-hook && exec /opt/p/porthole-hook poststop; x"]}"#;
        assert_eq!(found(json), ["/opt/p/porthole-hook"]);
        assert_eq!(
            found("base_runtime_spec = '/etc/porthole/containerd/runc.json' # porthole"),
            ["/etc/porthole/containerd/runc.json"]
        );
        assert_eq!(
            found(
                "test -x /l/porthole-runtime && exec /l/porthole-runtime --real /usr/bin/runc --hook /l/porthole-hook"
            ),
            ["/l/porthole-hook", "/l/porthole-runtime"]
        );
    }

    #[test]
    fn comments_others_programs_and_optional_files_are_left_out() {
        assert_eq!(found("# /usr/libexec/porthole/porthole-hook\n"), Vec::<String>::new());
        assert_eq!(found("path = \"/usr/bin/nvidia-container-runtime\""), Vec::<String>::new());
        assert_eq!(found("/etc/porthole/config.toml /etc/porthole"), Vec::<String>::new());
        assert_eq!(found("/x/porthole-hook.json /x/portholes"), Vec::<String>::new());
        assert_eq!(
            found("ReadWritePaths=/run/porthole\nExecStart=/usr/bin/porthole reconcile"),
            ["/usr/bin/porthole"]
        );
    }
}
