//! What the demo shows: a sentence, a command, and the command's own output.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Error, Places, preflight};

/// The reader's screen.
pub(super) struct Screen {
    program: PathBuf,
    config: Option<PathBuf>,
    colour: bool,
    failed: usize,
}

impl Screen {
    pub(super) fn new(places: &Places) -> Result<Self, Error> {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Ok(Self { program: preflight::program()?, config: places.config.clone(), colour, failed: 0 })
    }

    /// A sentence about what comes.
    pub(super) fn say(&self, sentence: &str) -> Result<(), Error> {
        let (on, off) = if self.colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        writeln!(io::stdout(), "\n{on}# {sentence}{off}").map_err(Error::Output)
    }

    /// A plain line.
    pub(super) fn line(&self, text: &str) -> Result<(), Error> {
        writeln!(io::stdout(), "{text}").map_err(Error::Output)
    }

    /// Shows and runs a program of the host.
    pub(super) fn host(&mut self, program: &Path, args: &[&str]) -> Result<(), Error> {
        let name = program.file_name().unwrap_or(program.as_os_str());
        self.run(name, args, Command::new(program).args(args))
    }

    /// Shows and runs this program, as the reader would.
    pub(super) fn porthole(&mut self, args: &[&str]) -> Result<(), Error> {
        let mut command = Command::new(&self.program);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        // Its pod is root's own, whatever the site's policy says of the user behind sudo.
        for name in ["SUDO_UID", "SUDO_GID", "SUDO_USER"] {
            command.env_remove(name);
        }
        self.run(OsStr::new("porthole"), args, command.args(args))
    }

    /// How many of the commands failed.
    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    fn run(&mut self, name: &OsStr, args: &[&str], command: &mut Command) -> Result<(), Error> {
        let (on, off) = if self.colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        let line = command_line(&name.to_string_lossy(), args);
        writeln!(io::stdout(), "{on}$ {line}{off}").map_err(Error::Output)?;
        let status = command.stdin(Stdio::null()).status().map_err(Error::process("run a command"))?;
        if !status.success() {
            self.failed += 1;
            self.line(&format!("({status})"))?;
        }
        Ok(())
    }
}

/// A program of the host, by the search path or where such programs are.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual =
        ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .chain(usual)
        .map(|dir| dir.join(name))
        .find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file())
}

/// As one would type it.
pub(super) fn command_line(name: &str, args: &[&str]) -> String {
    let plain = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&b))
    };
    let quote = |word: &str| match plain(word) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    std::iter::once(name).chain(args.iter().copied()).map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_copied_into_a_shell() {
        assert_eq!(command_line("ip", &["netns", "list"]), "ip netns list");
        assert_eq!(command_line("bash", &["-c", "cat <&3; echo 'x'"]), r"bash -c 'cat <&3; echo '\''x'\'''");
        assert_eq!(command_line("x", &[""]), "x ''");
    }
}
