//! The wrapper's own options, which come before those of the runtime.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How it is called.
pub(crate) const USAGE: &str = "porthole-runtime [--real PATH] [--hook PATH] [--] ARGUMENTS-OF-THE-RUNTIME…";

/// What the wrapper is called for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Invocation<'a> {
    /// To become a runtime.
    Run(Run<'a>),
    /// A person asks which version this is.
    Version,
}

/// What is to become of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run<'a> {
    /// The real runtime, where one is named.
    pub(crate) real: Option<&'a OsStr>,
    /// The hook, where one is named.
    pub(crate) hook: Option<&'a Path>,
    /// Which argument is the runtime's first.
    pub(crate) first: usize,
}

impl<'a> Invocation<'a> {
    /// Reads the options up to `--`, or to the first word that is none of them: that is the runtime's.
    pub(crate) fn parse(args: &'a [OsString]) -> Result<Self, String> {
        let mut run = Run { real: None, hook: None, first: 1 };
        if args.len() == 2 && args[1] == "--version" {
            return Ok(Self::Version);
        }
        while let Some(arg) = args.get(run.first) {
            if arg == "--" {
                run.first += 1;
                break;
            }
            let Some((name, value)) = option(arg) else { break };
            run.first += 1;
            let value = match value {
                Some(value) => value,
                None => {
                    run.first += 1;
                    args.get(run.first - 1).ok_or_else(|| format!("--{name} needs a path"))?
                }
            };
            match name {
                "real" => run.real = Some(value),
                _ => run.hook = Some(Path::new(value)),
            }
        }
        if args.len() < 2 {
            return Err("called without arguments".to_owned());
        }
        Ok(Self::Run(run))
    }
}

/// One of our options, and its value where that is in the same word.
fn option(arg: &OsStr) -> Option<(&'static str, Option<&OsStr>)> {
    let word = arg.as_bytes().strip_prefix(b"--")?;
    ["real", "hook"].into_iter().find_map(|name| match word.strip_prefix(name.as_bytes())? {
        [] => Some((name, None)),
        [b'=', value @ ..] => Some((name, Some(OsStr::from_bytes(value)))),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(args: &[&str]) -> Vec<OsString> {
        std::iter::once("porthole-runtime").chain(args.iter().copied()).map(Into::into).collect()
    }

    #[track_caller]
    fn run(args: &[&str], real: Option<&str>, hook: Option<&str>, rest: &[&str]) {
        let words = words(args);
        let Ok(Invocation::Run(run)) = Invocation::parse(&words) else { panic!("{args:?}") };
        assert_eq!((run.real, run.hook), (real.map(OsStr::new), hook.map(Path::new)), "{args:?}");
        assert_eq!(&words[run.first..], rest, "{args:?}");
    }

    #[test]
    fn the_runtimes_arguments_begin_where_ours_end() {
        run(&["--real", "/r", "--hook", "/h", "--", "create", "c"], Some("/r"), Some("/h"), &["create", "c"]);
        run(&["--hook=/h", "--real=/r", "--", "--real", "x"], Some("/r"), Some("/h"), &["--real", "x"]);
        run(&["--real", "/r", "--", "--", "x"], Some("/r"), None, &["--", "x"]);
        run(&["--real", "--", "--", "x"], Some("--"), None, &["x"]);
        run(&["--real", "/r", "--"], Some("/r"), None, &[]);
        run(&["--real", "/r", "--version"], Some("/r"), None, &["--version"]);
        run(&["--", "--version"], None, None, &["--version"]);
        run(&["--root", "/x", "--real", "/r"], None, None, &["--root", "/x", "--real", "/r"]);
        run(&["create", "--bundle", "/b", "c"], None, None, &["create", "--bundle", "/b", "c"]);
        run(&["--really"], None, None, &["--really"]);
    }

    #[test]
    fn what_cannot_be_a_call_is_refused() {
        assert_eq!(Invocation::parse(&words(&["--version"])), Ok(Invocation::Version));
        for args in [&[][..], &["--real"], &["--real", "/r", "--hook"]] {
            assert!(Invocation::parse(&words(args)).is_err(), "{args:?}");
        }
    }
}
