//! Commands as rules name them: a program, and what may follow it. No shell reads them.

use super::glob::Glob;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a program named without a directory has to be: places that only root writes to.
const STANDARD: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The program that is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// One of the host: its directory without links, its own name as it was given.
    OfHost(PathBuf),
    /// One of the target, by the word that was given: what that is, the target decides.
    OfTarget(String),
    /// There is none.
    Missing,
}

/// A program and what may follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    program: Glob,
    arguments: Arguments,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Arguments {
    /// Nothing is said of them.
    Any,
    /// Each is like its pattern; with `open`, more may follow.
    Like { each: Vec<Glob>, open: bool },
}

impl Command {
    /// From its text: words with blanks between them.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let program = words.next().ok_or("a command is empty")?;
        if text.contains(|c: char| c.is_control()) {
            return Err("a command has a control character in it".to_owned());
        }
        match program.strip_prefix('/') {
            Some(rest) if rest.split('/').any(|part| matches!(part, "" | "." | "..")) => {
                return Err(format!("{program:?} is no plain path: leave out `//`, `.` and `..`"));
            }
            Some(_) => {}
            None if program.contains('/') => {
                return Err(format!("{program:?} is relative: write the whole path, or the name alone"));
            }
            None if program == "*" => {
                return Err("\"*\" as a command: leave `commands` out for every command".to_owned());
            }
            None => {}
        }
        let mut each: Vec<_> = words.map(Glob::new).collect();
        let open = each.last().is_some_and(|last| last.as_str() == "*");
        let arguments = if each.is_empty() {
            Arguments::Any
        } else {
            if open {
                each.pop();
            }
            Arguments::Like { each, open }
        };
        Ok(Self { program: Glob::new(program), arguments })
    }

    pub(super) fn matches(
        &self,
        program: &Program,
        arguments: &[String],
        real: &dyn Fn(&Path) -> PathBuf,
    ) -> bool {
        self.arguments.match_all(arguments) && self.is_program(program, real)
    }

    fn is_program(&self, program: &Program, real: &dyn Fn(&Path) -> PathBuf) -> bool {
        let named = self.program.as_str().starts_with('/');
        match program {
            Program::Missing => false,
            Program::OfHost(path) => {
                let (Some(path), Some(dir), Some(name)) =
                    (path.to_str(), path.parent(), path.file_name().and_then(|name| name.to_str()))
                else {
                    return false;
                };
                if named {
                    self.program.matches_path(path) || self.without_links(real).matches_path(path)
                } else {
                    self.program.matches_path(name)
                        && STANDARD.iter().any(|standard| real(Path::new(standard)) == dir)
                }
            }
            Program::OfTarget(word) => {
                let plain = !word.split('/').skip(1).any(|part| matches!(part, "" | "." | ".."));
                plain && word.starts_with('/') == named && self.program.matches_path(word)
            }
        }
    }

    /// The same with the links of its directory resolved, as those of the program's are: `/bin/ip` is `/usr/bin/ip`
    /// where `/bin` is a link.
    fn without_links(&self, real: &dyn Fn(&Path) -> PathBuf) -> Glob {
        match self.program.as_str().rsplit_once('/') {
            Some((dir, name)) if !dir.is_empty() && !Glob::is_pattern(dir) => {
                real(Path::new(dir)).join(name).to_str().map_or_else(|| self.program.clone(), Glob::new)
            }
            _ => self.program.clone(),
        }
    }
}

impl Arguments {
    fn match_all(&self, given: &[String]) -> bool {
        match self {
            Self::Any => true,
            Self::Like { each, open } => {
                let enough = if *open { given.len() >= each.len() } else { given.len() == each.len() };
                enough && each.iter().zip(given).all(|(glob, word)| glob.matches(word))
            }
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.program.fmt(f)?;
        if let Arguments::Like { each, open } = &self.arguments {
            each.iter().try_for_each(|glob| write!(f, " {glob}"))?;
            if *open {
                f.write_str(" *")?;
            }
        }
        Ok(())
    }
}
