//! The command line of the runtime: whether it makes a container, and of which configuration.
//!
//! runc and what is written in Go take `-name` for `--name`; crun takes `-bDIR`, and names that are cut. Both stop at
//! the first word that is no option. Which options there are differs by version, so an unknown one is taken for one
//! without a value, unless what follows cannot be otherwise.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use porthole_registry::text::clean;

/// Options before the command whose value can be the next word.
const GLOBAL: [&str; 8] =
    ["root", "log", "log-format", "log-level", "rootless", "criu", "cgroup-manager", "systemd-log"];

/// Options of `create` and `run` whose value can be the next word.
const OF_CREATE: [&str; 4] = ["console-socket", "pid-file", "pidfd-socket", "preserve-fds"];

/// Commands, to tell one from the value of an option that is not known.
const COMMANDS: [&str; 20] = [
    "checkpoint",
    "create",
    "delete",
    "events",
    "exec",
    "features",
    "help",
    "kill",
    "list",
    "mounts",
    "pause",
    "ps",
    "restore",
    "resume",
    "run",
    "spec",
    "start",
    "state",
    "update",
    "version",
];

/// A container that is about to be made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Create {
    /// Its configuration.
    pub(crate) config: PathBuf,
    /// Its id, as far as it can be told.
    id: Option<String>,
}

impl Create {
    /// What the runtime will make; nothing where it is called for something else.
    pub(crate) fn of(args: &[OsString]) -> Option<Self> {
        let mut words = Words { args, at: 0 };
        let mut unsure = false;
        let command = loop {
            let word = words.next()?;
            let Some(option) = Flag::of(word) else {
                if !unsure || COMMANDS.iter().any(|command| word == *command) {
                    break word;
                }
                unsure = false;
                continue;
            };
            unsure = option.value.is_none() && !GLOBAL.contains(&option.name);
            if !unsure && option.value.is_none() {
                words.next();
            }
        };
        if command != "create" && command != "run" {
            return None;
        }
        let (mut bundle, mut config, mut id) = (None, None, None);
        let mut unsure = false;
        while let Some(word) = words.next() {
            if word == "--" {
                id = words.next();
                break;
            }
            let Some(option) = Flag::of(word) else {
                id = Some(word);
                if unsure {
                    unsure = false;
                    continue;
                }
                break;
            };
            unsure = false;
            if option.is_bundle() {
                bundle = option.value.or_else(|| words.next());
            } else if option.is_config() {
                config = option.value.or_else(|| words.next());
            } else if OF_CREATE.contains(&option.name) {
                option.value.or_else(|| words.next());
            } else {
                unsure = option.value.is_none();
            }
        }
        let bundle = Path::new(bundle.unwrap_or_else(|| OsStr::new(".")));
        // crun takes the name of another file as seen from where it is called, not from the bundle.
        let config = match config.filter(|config| *config != "config.json") {
            Some(config) => config.into(),
            None => bundle.join("config.json"),
        };
        Some(Self { config, id: id.and_then(|id| clean(&id.to_string_lossy())) })
    }
}

impl fmt::Display for Create {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "container {id}: {}", self.config.display()),
            None => write!(f, "{}", self.config.display()),
        }
    }
}

/// The words that are still to be read.
struct Words<'a> {
    args: &'a [OsString],
    at: usize,
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a OsStr;

    fn next(&mut self) -> Option<&'a OsStr> {
        self.at += 1;
        self.args.get(self.at - 1).map(OsString::as_os_str)
    }
}

/// An option, and its value where that is in the same word.
struct Flag<'a> {
    name: &'a str,
    value: Option<&'a OsStr>,
}

impl<'a> Flag<'a> {
    fn of(word: &'a OsStr) -> Option<Self> {
        let bytes = word.as_bytes().strip_prefix(b"-").filter(|rest| !rest.is_empty())?;
        let (long, is_long) = bytes.strip_prefix(b"-").map_or((bytes, false), |long| (long, true));
        let (name, value) = match long.iter().position(|byte| *byte == b'=') {
            Some(at) => (&long[..at], Some(OsStr::from_bytes(&long[at + 1..]))),
            None => (long, None),
        };
        let is_known = |name: &str| name == "bundle" || GLOBAL.contains(&name) || OF_CREATE.contains(&name);
        let name = str::from_utf8(name).unwrap_or_default();
        // One letter with its value behind it, as crun takes it.
        let letter = match bytes {
            [b'b', _, ..] => Some("b"),
            [b'f', _, ..] => Some("f"),
            _ => None,
        };
        match letter.filter(|_| !is_long && !is_known(name) && bytes[1] != b'=') {
            Some(letter) => Some(Self { name: letter, value: Some(OsStr::from_bytes(&bytes[1..])) }),
            None => Some(Self { name, value }),
        }
    }

    fn is_bundle(&self) -> bool {
        !self.name.is_empty() && "bundle".starts_with(self.name)
    }

    fn is_config(&self) -> bool {
        ["config", "f"].contains(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Create> {
        let words: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
        Create::of(&words)
    }

    #[track_caller]
    fn makes(line: &str, config: &str, id: &str) {
        let want = Create { config: config.into(), id: (!id.is_empty()).then(|| id.to_owned()) };
        assert_eq!(parse(line).as_ref(), Some(&want), "{line}");
    }

    #[test]
    fn what_engines_call_is_understood() {
        makes(
            "--root /run/containerd/runc/k8s.io --log /b/log.json --log-format json --systemd-cgroup create --bundle /b \
             --pid-file /b/init.pid --console-socket /tmp/s c1",
            "/b/config.json",
            "c1",
        );
        makes(
            "--log-level=debug --debug --root=/r run -d --bundle=/b --pid-file=/p c1",
            "/b/config.json",
            "c1",
        );
        makes(
            "--cgroup-manager systemd create --bundle /b --no-pivot --preserve-fds 3 c1",
            "/b/config.json",
            "c1",
        );
        makes(
            "--systemd-cgroup --rootless false run --no-new-keyring --keep -b /b -- c1",
            "/b/config.json",
            "c1",
        );
    }

    #[test]
    fn a_bundle_is_named_in_every_way_that_a_runtime_takes() {
        for option in
            ["--bundle b", "--bundle=b", "-bundle b", "-bundle=b", "-b b", "-b=b", "-bb", "--b b", "--bun b"]
        {
            makes(&format!("create {option} c1"), "b/config.json", "c1");
            makes(&format!("--debug create --bundle /other {option} --no-pivot c1"), "b/config.json", "c1");
        }
        makes("create c1", "./config.json", "c1");
        makes("run", "./config.json", "");
        makes("-- create -- c1", "./config.json", "c1");
        makes("create c1 --bundle /not-an-option", "./config.json", "c1");
    }

    #[test]
    fn another_file_is_seen_from_where_the_runtime_is_called() {
        for option in ["--config other.json", "--config=other.json", "-f other.json", "-fother.json"] {
            makes(&format!("run --bundle /b {option} c1"), "other.json", "c1");
        }
        makes("run -b /b -f /c/x.json c1", "/c/x.json", "c1");
        makes("run -b /b -f config.json c1", "/b/config.json", "c1");
    }

    #[test]
    fn options_of_a_later_version_do_not_hide_the_command() {
        makes("--new value --newer=x --newest create --bundle /b c1", "/b/config.json", "c1");
        makes("create --new value --bundle /b c1", "/b/config.json", "c1");
        makes("create --bundle /b --new value c1", "/b/config.json", "c1");
        makes("create --new --bundle /b c1", "/b/config.json", "c1");
    }

    #[test]
    fn every_other_command_is_none_of_our_business() {
        for line in [
            "",
            "--version",
            "-v",
            "--root /r --help",
            "state create",
            "--root create state c1",
            "--log run --debug delete --force c1",
            "exec --bundle /b c1 create",
            "kill c1 KILL",
            "spec --bundle /b",
            "features",
            "restore --bundle /b c1",
            "--root",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn words_that_are_no_text_pass() {
        let words = [
            OsStr::from_bytes(b"--\xff=1"),
            OsStr::new("create"),
            OsStr::from_bytes(b"-b\xfe"),
            OsStr::new("c"),
        ];
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        let config = Path::new(OsStr::from_bytes(b"\xfe")).join("config.json");
        assert_eq!(Create::of(&words), Some(Create { config, id: Some("c".to_owned()) }));
    }
}
