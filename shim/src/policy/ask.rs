//! What is asked of the policy, and what the asker needs to be allowed by name.

use super::language::{Program, Query, User};
use super::{Need, Verdict, decide};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// One question.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) user: User,
    pub(crate) namespace: Option<String>,
    pub(crate) pod: Option<String>,
    pub(crate) profile: String,
    pub(crate) program: Program,
    pub(crate) arguments: Vec<String>,
    pub(crate) needs: BTreeSet<Need>,
}

impl Asked {
    /// The answer of the file at `path`.
    pub(crate) fn answer(&self, path: &Path) -> Verdict {
        let Self { user, namespace, pod, profile, program, arguments, needs } = self;
        let query = Query {
            user,
            namespace: namespace.as_deref(),
            pod: pod.as_deref(),
            profile,
            program,
            arguments,
            needs: needs.clone(),
        };
        decide(path, &query)
    }

    /// Who asks, as messages name them.
    pub(crate) fn who(&self) -> String {
        super::label(&self.user)
    }
}

/// The program of the host that a word means, along `path` as execve would look; its directory without links, so that
/// no link of the caller's stands for a place that a rule names. The last name stays: what it links to may be a program
/// that does other things by other names.
pub(crate) fn find_program(word: &OsStr, path: &OsStr, base: Option<&Path>) -> Program {
    let is_program = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let found = if word.as_bytes().contains(&b'/') {
        let word = Path::new(word);
        match base {
            _ if word.is_absolute() => Some(word.to_owned()),
            Some(base) => Some(base.join(word)),
            None => None,
        }
        .filter(is_program)
    } else {
        let dirs = path.as_bytes().split(|&b| b == b':').filter(|dir| dir.starts_with(b"/"));
        dirs.map(|dir| Path::new(OsStr::from_bytes(dir)).join(word)).find(is_program)
    };
    let real =
        found.and_then(|found| Some(std::fs::canonicalize(found.parent()?).ok()?.join(found.file_name()?)));
    real.map_or(Program::Missing, Program::OfHost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_of_directories_are_resolved_and_that_of_the_program_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().canonicalize().unwrap().join(name);
        std::fs::create_dir(at("bin")).unwrap();
        std::fs::write(at("bin/box"), "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(at("bin/box"), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(at("bin/text"), "").unwrap();
        symlink("box", at("bin/wget")).unwrap();
        symlink("bin", at("link")).unwrap();
        let find = |word: &str, path: &str| find_program(word.as_ref(), path.as_ref(), Some(&at("bin")));
        let link = at("link");
        let link = link.to_str().unwrap();
        let is = |name: &str| Program::OfHost(at(name));
        assert_eq!(find("wget", &format!("/nonexistent:{link}")), is("bin/wget"));
        assert_eq!(find(&format!("{link}/../bin/./box"), ""), is("bin/box"));
        assert_eq!(find("./wget", ""), is("bin/wget"));
        for (word, path) in
            [("text", link), ("box", "bin:."), ("box", ""), ("/", ""), ("..", link), ("/nope", "")]
        {
            assert_eq!(find(word, path), Program::Missing, "{word} {path}");
        }
    }
}
