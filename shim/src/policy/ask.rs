//! What is asked of the policy, and what the asker needs to be allowed by name.

use super::language::{PodName, Policy, Program, Query, User};
use super::{Need, Verdict, by_rules, decide};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// One question.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) user: User,
    /// `None` before the target is looked at.
    pub(crate) target: Option<Names>,
    pub(crate) profile: String,
    /// The program and its arguments; `None` before they are looked for.
    pub(crate) command: Option<(Program, Vec<String>)>,
    pub(crate) needs: BTreeSet<Need>,
    /// Directories of the host that root's ids may write to, without links.
    pub(crate) writable: Vec<PathBuf>,
}

/// Every name of a target. Each of them has to be allowed.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// What the user called it.
    pub(crate) called: PodName,
    /// Each pod that it is of.
    pub(crate) all: Vec<PodName>,
}

impl Asked {
    /// The answer of the file at `path`.
    pub(crate) fn answer(&self, path: &Path) -> Verdict {
        decide(path, &self.user, |policy| self.answer_of(path, policy))
    }

    fn answer_of(&self, path: &Path, policy: &Policy) -> Verdict {
        let Some(Names { called, all }) = &self.target else { return self.of_name(path, policy, None) };
        let mut allowed: Option<Verdict> = None;
        for name in if all.is_empty() { std::slice::from_ref(called) } else { all } {
            let verdict = self.of_name(path, policy, Some(name));
            if !verdict.allowed {
                let identity = (all.len() > 1 || name != called).then(|| name.to_string());
                return Verdict { identity, ..verdict };
            }
            // One that names commands binds, whichever else allows any.
            allowed = Some(match allowed {
                Some(first) => Verdict { program: first.program.clone().or(verdict.program), ..first },
                None => verdict,
            });
        }
        allowed.unwrap_or_else(|| self.of_name(path, policy, None))
    }

    fn of_name(&self, path: &Path, policy: &Policy, target: Option<&PodName>) -> Verdict {
        let Self { user, profile, needs, writable, .. } = self;
        let command = self.command.as_ref().map(|(program, arguments)| (program, arguments.as_slice()));
        by_rules(path, policy, &Query { user, target, profile, command, needs, writable })
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
