//! The few variables a command gets.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::ids::{Ids, NOBODY};
use super::plan::Caller;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Directories of programs that only root writes to.
pub(crate) fn usual_path() -> impl Iterator<Item = &'static Path> {
    DEFAULT_PATH.split(':').map(Path::new)
}

/// One variable of `-e`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    name: String,
    value: Option<String>,
}

impl Variable {
    /// Which.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Takes its value off this process's command line, where everybody who sees the process reads it.
    pub(crate) fn conceal(&self) {
        if let Some(value) = self.value.as_ref().filter(|value| !value.is_empty()) {
            // The name too tells it from a word that ends alike.
            let pair = format!("{}={value}", self.name);
            crate::sys::conceal_argument(pair.as_bytes());
        }
    }
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() {
            return Err("a variable needs a name: NAME=VALUE, or NAME for the caller's value".to_owned());
        }
        Ok(Self { name: name.to_owned(), value })
    }
}

/// All variables of the command, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// Of the caller's variables, those that are harmless and needed; then the account's; then what `-e` adds.
    pub(crate) fn resolve(caller: &Caller, account: &Account, target: &str, added: &[Variable]) -> Self {
        let passes = |name: &OsStr| {
            let name = name.as_bytes();
            name == b"TERM" || name == b"LANG" || name == b"PATH" || name.starts_with(b"LC_")
        };
        let mut all: BTreeMap<_, _> =
            caller.variables.iter().filter(|(name, _)| passes(name)).cloned().collect();
        all.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
        all.insert("HOME".into(), account.home.clone());
        all.insert("USER".into(), account.user.clone());
        all.insert("PORTHOLE_TARGET".into(), target.into());
        for Variable { name, value } in added {
            let value =
                value.clone().map(OsString::from).or_else(|| caller.variable(name).map(OsStr::to_owned));
            if let Some(value) = value {
                all.insert(name.into(), value);
            }
        }
        Self(all)
    }

    /// `PATH`, which it always has.
    pub(crate) fn path(&self) -> &OsStr {
        self.0.get(OsStr::new("PATH")).map_or(OsStr::new(DEFAULT_PATH), |path| path)
    }

    /// As execve takes them.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: values may be secrets.
        let names: Vec<_> = self.0.keys().map(|name| name.to_string_lossy()).collect();
        f.write_str(&names.join(" "))
    }
}

impl Serialize for Environment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.keys().map(|name| name.to_string_lossy()))
    }
}

/// Home and name of whom the command runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) home: OsString,
    pub(crate) user: OsString,
}

impl Account {
    /// Without asking libc, which would load what the name service switch names. `passwd` reads the host's file, and
    /// only for an ordinary user's id.
    pub(crate) fn resolve(
        ids: &Ids,
        caller: &Caller,
        inside: bool,
        passwd: impl FnOnce() -> Option<String>,
    ) -> Self {
        let is = |home: &str, user: &str| Self { home: home.into(), user: user.into() };
        let same = ids.uid().is_none_or(|uid| uid == caller.uid && !inside);
        match ids.uid() {
            _ if same => Self {
                home: caller.variable("HOME").unwrap_or(OsStr::new("/")).to_owned(),
                user: caller.variable("USER").unwrap_or(OsStr::new("root")).to_owned(),
            },
            Some(0) => is("/root", "root"),
            Some(NOBODY) | None => is("/", "nobody"),
            Some(uid) if inside => is("/", &uid.to_string()),
            Some(uid) => {
                passwd().and_then(|text| account_in(&text, uid)).unwrap_or_else(|| is("/", &uid.to_string()))
            }
        }
    }
}

fn account_in(passwd: &str, uid: u32) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let user = fields.next()?;
        let found = fields.nth(1)?.parse::<u32>().ok()? == uid;
        let home = fields.nth(2)?;
        found.then(|| Account { home: home.into(), user: user.into() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        let variables = [
            ("TERM", "xterm"),
            ("LC_ALL", "C"),
            ("LANG", "C"),
            ("SECRET", "s3"),
            ("LD_PRELOAD", "/x.so"),
            ("HOME", "/root"),
            ("LCX", "no"),
            ("KUBECONFIG", "/k"),
        ];
        Caller {
            variables: variables.iter().map(|(n, v)| (n.into(), v.into())).collect(),
            ..Caller::default()
        }
    }

    fn account() -> Account {
        Account { home: "/".into(), user: "nobody".into() }
    }

    fn resolve(added: &[&str]) -> Vec<String> {
        let added: Vec<Variable> = added.iter().map(|a| a.parse().unwrap()).collect();
        let environment = Environment::resolve(&caller(), &account(), "web-0", &added);
        environment.pairs().map(|(n, v)| format!("{}={}", n.display(), v.display())).collect()
    }

    #[test]
    fn only_harmless_variables_pass() {
        assert_eq!(
            resolve(&[]),
            [
                "HOME=/",
                "LANG=C",
                "LC_ALL=C",
                &format!("PATH={DEFAULT_PATH}"),
                "PORTHOLE_TARGET=web-0",
                "TERM=xterm",
                "USER=nobody"
            ]
        );
    }

    #[test]
    fn variables_are_added_by_value_and_by_name() {
        let environment = resolve(&["A=1", "KUBECONFIG", "ABSENT", "E=", "HOME=/srv"]);
        assert!(environment.contains(&"A=1".to_owned()));
        assert!(environment.contains(&"KUBECONFIG=/k".to_owned()));
        assert!(environment.contains(&"E=".to_owned()));
        assert!(environment.contains(&"HOME=/srv".to_owned()));
        assert!(!environment.iter().any(|v| v.starts_with("ABSENT")));
        assert!("=x".parse::<Variable>().is_err());
    }

    #[test]
    fn values_are_not_shown() {
        let environment =
            Environment::resolve(&caller(), &account(), "web-0", &["PASSWORD=hunter2".parse().unwrap()]);
        assert!(environment.to_string().contains("PASSWORD"));
        assert!(!environment.to_string().contains("hunter2"));
        assert!(!serde_json::to_string(&environment).unwrap().contains("hunter2"));
    }

    #[test]
    fn the_account_is_found_without_libc() {
        let passwd = || {
            Some("root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann,,,:/home/ann:/bin/bash\nbad\n".into())
        };
        let set = |uid| Ids::Set { uid, gid: uid, host: None };
        let of = |uid, inside| Account::resolve(&set(uid), &caller(), inside, passwd);
        assert_eq!(of(1000, false), Account { home: "/home/ann".into(), user: "ann".into() });
        assert_eq!(of(1001, false), Account { home: "/".into(), user: "1001".into() });
        assert_eq!(of(1000, true), Account { home: "/".into(), user: "1000".into() });
        assert_eq!(of(NOBODY, false), account());
        assert_eq!(of(0, false).home, "/root");
    }
}
