//! The command: looked for by execve itself, where it will run and as whom it will run.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::errno::Errno;
use rustix::fs::{Access, AtFlags, CWD};

use super::environment::Environment;
use super::error::{ExecError, Step};
use super::plan::Caller;
use crate::sys;

/// Everything execve needs, made before anything hostile is near.
#[derive(Debug)]
pub(crate) struct Command {
    name: String,
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Command {
    pub(crate) fn new(words: &[OsString], environment: &Environment) -> Result<Self, ExecError> {
        let Some(name) = words.first() else {
            return Err(Step::Request.refused("there is no command", "give one after --"));
        };
        let candidates = candidates(name, environment.path());
        let pair = |(name, value): (&OsStr, &OsStr)| pair(name, value);
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            candidates: candidates.into_iter().map(terminated).collect::<Result<_, _>>()?,
            arguments: words.iter().map(|w| terminated(w.as_bytes().to_vec())).collect::<Result<_, _>>()?,
            environment: environment.pairs().map(pair).map(terminated).collect::<Result<_, _>>()?,
        })
    }

    /// As the launcher was given it.
    pub(crate) fn from_words(
        candidates: &[OsString],
        arguments: &[OsString],
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ExecError> {
        let all = |words: &[OsString]| -> Result<Vec<_>, ExecError> {
            words.iter().map(|w| terminated(w.as_bytes().to_vec())).collect()
        };
        let pair = |(name, value): (OsString, OsString)| terminated(pair(&name, &value));
        Ok(Self {
            name: arguments.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            candidates: all(candidates)?,
            arguments: all(arguments)?,
            environment: environment.map(pair).collect::<Result<_, _>>()?,
        })
    }

    /// As it was given.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Files that it may be, in the order of trying.
    pub(crate) fn candidates(&self) -> &[CString] {
        &self.candidates
    }

    /// Its own name first.
    pub(crate) fn arguments(&self) -> &[CString] {
        &self.arguments
    }

    /// `NAME=VALUE`
    pub(crate) fn environment(&self) -> &[CString] {
        &self.environment
    }

    /// Has it be this file and no other, by the name that it was given.
    pub(crate) fn pin(&mut self, path: &Path) -> Result<(), ExecError> {
        self.candidates = vec![terminated(path.as_os_str().as_bytes().to_vec())?];
        Ok(())
    }

    /// Becomes the command, or says why not: as execvp does, the first that can be executed wins, and one that may not
    /// be executed is reported only if no other could.
    pub(crate) fn execute(&self) -> ExecError {
        // A signal that porthole ignores stays ignored beyond execve.
        for (signal, name) in [(libc::SIGPIPE, "SIGPIPE"), (libc::SIGXFSZ, "SIGXFSZ")] {
            if let Err(error) = sys::default_action(signal) {
                return Step::Fork.failed(name)(error);
            }
        }
        let mut denied = None;
        for path in &self.candidates {
            let Err(error) = nix::unistd::execve(path, &self.arguments, &self.environment);
            match error {
                Errno::ENOENT | Errno::ENOTDIR => {}
                // Root's PATH leads through directories that the user of the command may not look into.
                Errno::EACCES if faccess(path).is_ok() => denied = Some(error),
                Errno::EACCES if self.candidates.len() > 1 => {}
                Errno::ENOEXEC => return self.not_executable(self.execute_script(path)),
                other => return self.not_executable(other),
            }
        }
        match denied {
            Some(error) => self.not_executable(error),
            None => ExecError::NotFound { command: self.name.clone() },
        }
    }

    /// Whether there is a file that may be executed, as far as this process, before it becomes it, is asked.
    pub(crate) fn is_permitted(&self) -> bool {
        let may = |path: &CString| rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_ok();
        self.candidates.iter().any(may)
    }

    /// A text without `#!` is one for the shell.
    fn execute_script(&self, path: &CString) -> Errno {
        let mut arguments = vec![c"sh".to_owned(), path.clone()];
        arguments.extend(self.arguments.iter().skip(1).cloned());
        let Err(error) = nix::unistd::execve(c"/bin/sh", &arguments, &self.environment);
        if error == Errno::ENOENT { Errno::ENOEXEC } else { error }
    }

    fn not_executable(&self, error: Errno) -> ExecError {
        let source = io::Error::from_raw_os_error(error as i32);
        ExecError::NotExecutable { command: self.name.clone(), source }
    }
}

/// Whether it can be seen to be there, as the user this process now is.
fn faccess(path: &CString) -> rustix::io::Result<()> {
    rustix::fs::accessat(CWD, path, Access::EXISTS, AtFlags::EACCESS)
}

/// What to run when nothing is named, as nsenter does.
pub(crate) fn or_shell(words: &[OsString], caller: &Caller) -> Vec<OsString> {
    if words.is_empty() {
        vec![caller.variable("SHELL").filter(|s| !s.is_empty()).unwrap_or(OsStr::new("/bin/sh")).to_owned()]
    } else {
        words.to_vec()
    }
}

fn pair(name: &OsStr, value: &OsStr) -> Vec<u8> {
    [name.as_bytes(), b"=", value.as_bytes()].concat()
}

fn candidates(name: &OsStr, path: &OsStr) -> Vec<Vec<u8>> {
    let name = name.as_bytes();
    if name.contains(&b'/') {
        return vec![name.to_vec()];
    }
    // To a shell an empty part of PATH is the working directory, and a relative one is below it: the target's, or one
    // that others write to. Here both are nothing.
    path.as_bytes()
        .split(|&b| b == b':')
        .filter(|dir| dir.starts_with(b"/"))
        .map(|dir| [dir, b"/", name].concat())
        .collect()
}

fn terminated(bytes: Vec<u8>) -> Result<CString, ExecError> {
    CString::new(bytes).map_err(|error| {
        let shown = OsString::from_vec(error.into_vec());
        Step::Request.refused(
            format!("{} contains a NUL byte", shown.to_string_lossy().escape_debug()),
            "leave it out",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_along_path_and_a_path_is_taken_as_it_is() {
        let of = |name: &str, path: &str| candidates(name.as_ref(), path.as_ref());
        assert_eq!(of("ip", "/sbin:/bin"), [b"/sbin/ip".to_vec(), b"/bin/ip".to_vec()]);
        assert_eq!(of("./ip", "/sbin"), [b"./ip".to_vec()]);
        assert_eq!(of("ip", "::/bin:.:bin:./bin"), [b"/bin/ip".to_vec()]);
    }

    #[test]
    fn without_a_command_the_callers_shell_runs() {
        let caller =
            |shell: &str| Caller { variables: vec![("SHELL".into(), shell.into())], ..Caller::default() };
        assert_eq!(or_shell(&[], &caller("/bin/zsh")), ["/bin/zsh"]);
        assert_eq!(or_shell(&[], &caller("")), ["/bin/sh"]);
        assert_eq!(or_shell(&["id".into()], &caller("/bin/zsh")), ["id"]);
    }

    #[test]
    fn a_nul_byte_is_refused() {
        let report = Command::new(&["a\0b".into()], &Environment::default()).unwrap_err().report();
        assert_eq!((report.code.as_str(), report.status), ("usage", 125));
    }
}
