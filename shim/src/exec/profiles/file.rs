//! Profiles of the site: `/etc/porthole/profiles.d/NAME.toml`. They grant privileges, so nobody but root may write them,
//! and one that is not understood as a whole is an error.

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;
use serde::Deserialize;
use toml::{Spanned, Value};

use super::super::bounds::Limits;
use super::super::capabilities::{Base, Capabilities};
use super::super::error::{ExecError, Step};
use super::{Profile, unknown};
use porthole_registry::{bounded, bounds};

const PLACE: &str = "/etc/porthole/profiles.d";
const REMEDY: &str = "docs: reference/profiles.md lists every key";
/// More than this is no profile.
const MAX_BYTES: u64 = 1 << 16;

/// Where the profiles of the site are.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    extends: Spanned<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    cap_add: Vec<Spanned<String>>,
    #[serde(default)]
    cap_drop: Vec<Spanned<String>>,
    pids: Option<Spanned<Value>>,
    memory: Option<Spanned<Value>>,
    cpu_weight: Option<Spanned<Value>>,
    timeout: Option<Spanned<String>>,
    #[serde(default)]
    hide: Vec<Spanned<PathBuf>>,
}

/// What is wrong, and where.
type Wrong = (Option<Range<usize>>, String);

impl Directory {
    /// Where porthole looks for them.
    pub(crate) fn standard() -> Self {
        Self(PLACE.into())
    }

    /// The profile in `NAME.toml`.
    pub(crate) fn profile(&self, name: &str) -> Result<Profile, ExecError> {
        let path = self.0.join(format!("{name}.toml"));
        let refused =
            |what: String, remedy: &str| Step::Request.refused(format!("{}: {what}", path.display()), remedy);
        if !is_name(name) {
            return Err(unknown(name, &self.known()));
        }
        if Base::named(name).is_some() {
            return Err(refused("the name is that of a built-in profile".to_owned(), "rename the file"));
        }
        let text = match self.read(name) {
            Ok(text) => text,
            Err(Unread::Missing) => return Err(unknown(name, &self.known())),
            Err(Unread::Unsafe(what)) => {
                return Err(refused(what, "chown root, chmod go-w: a profile grants privileges"));
            }
            Err(Unread::Failed(error)) => return Err(refused(error.to_string(), REMEDY)),
        };
        let mut profile = parse(name, &text).map_err(|(place, what)| match place {
            Some(place) => {
                let line = text.get(..place.start).unwrap_or_default().matches('\n').count() + 1;
                refused(format!("line {line}: {what}"), REMEDY)
            }
            None => refused(what, REMEDY),
        })?;
        profile.file = Some(path);
        Ok(profile)
    }

    /// Names of those that there are files for, sorted. Whether they are right is not looked at.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> =
            names.filter_map(|name| name.strip_suffix(".toml").map(str::to_owned)).collect();
        names.sort();
        names
    }

    fn known(&self) -> Vec<String> {
        let built_in = Base::ALL.iter().map(|base| base.name().to_owned());
        built_in.chain(self.names().into_iter().filter(|name| Base::named(name).is_none())).collect()
    }

    fn read(&self, name: &str) -> Result<String, Unread> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let directory = openat(CWD, &self.0, flags | OFlags::DIRECTORY, Mode::empty())?;
        owned(&directory, &self.0)?;
        // Whoever may write there can put another directory in its place.
        if let Some(parent) = self.0.parent() {
            let above = openat(CWD, parent, flags | OFlags::DIRECTORY, Mode::empty())?;
            owned(&above, parent)?;
        }
        let file = openat(&directory, format!("{name}.toml"), flags | OFlags::NONBLOCK, Mode::empty())?;
        let stat = owned(&file, Path::new("it"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Unread::Unsafe("it is no regular file".to_owned()));
        }
        bounded::read(&file, MAX_BYTES).and_then(bounded::utf8).map_err(Unread::Failed)
    }
}

enum Unread {
    Missing,
    Unsafe(String),
    Failed(io::Error),
}

impl From<Errno> for Unread {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT => Self::Missing,
            Errno::LOOP => Self::Unsafe("it is a symbolic link".to_owned()),
            _ => Self::Failed(error.into()),
        }
    }
}

fn owned(file: &OwnedFd, path: &Path) -> Result<Stat, Unread> {
    let stat = fstat(file)?;
    match stat {
        _ if stat.st_uid != 0 => {
            Err(Unread::Unsafe(format!("{} belongs to uid {}", path.display(), stat.st_uid)))
        }
        _ if stat.st_mode & 0o022 != 0 => {
            Err(Unread::Unsafe(format!("{} can be written to by others than root", path.display())))
        }
        _ => Ok(stat),
    }
}

/// A name stands in a path, in messages and in policies.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 64 && name.starts_with(plain) && name.chars().all(|c| plain(c) || c == '-' || c == '_')
}

fn parse(name: &str, text: &str) -> Result<Profile, Wrong> {
    let keys: Keys = toml::from_str(text).map_err(|error| (error.span(), error.message().to_owned()))?;
    let base = Base::named(keys.extends.get_ref()).ok_or_else(|| {
        let known: Vec<_> = Base::ALL.iter().map(|base| base.name()).collect();
        (Some(keys.extends.span()), format!("extends: expected one of {}", known.join(", ")))
    })?;
    let limit = |key: &str, value: Option<&Spanned<Value>>, read: fn(&Value) -> Result<u64, String>| {
        let read = |value: &Spanned<Value>| {
            read(value.get_ref()).map_err(|what| (Some(value.span()), format!("{key}: {what}")))
        };
        value.map(read).transpose()
    };
    let timeout = keys.timeout.as_ref().map(|text| {
        let duration = humantime::parse_duration(text.get_ref()).map_err(|error| error.to_string());
        duration
            .and_then(|d| if d.is_zero() { Err("no time at all".to_owned()) } else { Ok(d) })
            .map_err(|what| (Some(text.span()), format!("timeout: {what}")))
    });
    if let Some(path) = keys.hide.iter().find(|path| !path.get_ref().is_absolute()) {
        return Err((Some(path.span()), "hide: expected absolute paths".to_owned()));
    }
    Ok(Profile {
        name: name.to_owned(),
        description: keys.description,
        base,
        add: capabilities("cap_add", &keys.cap_add)?,
        drop: capabilities("cap_drop", &keys.cap_drop)?,
        bounds: Limits {
            cgroup: None,
            pids: limit("pids", keys.pids.as_ref(), bounds::pids)?,
            memory: limit("memory", keys.memory.as_ref(), bounds::memory)?,
            cpu_weight: limit("cpu_weight", keys.cpu_weight.as_ref(), bounds::cpu_weight)?,
        },
        timeout: timeout.transpose()?,
        hide: keys.hide.into_iter().map(Spanned::into_inner).collect(),
        file: None,
    })
}

fn capabilities(key: &str, names: &[Spanned<String>]) -> Result<Capabilities, Wrong> {
    let one = |name: &Spanned<String>| {
        name.get_ref().parse().map_err(|what| (Some(name.span()), format!("{key}: {what}")))
    };
    names.iter().map(one).try_fold(Capabilities::NONE, |all, one| one.map(|one| all.union(one)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_key_is_read() {
        let text = "extends = 'general'\ndescription = 'D'\ncap_add = ['NET_ADMIN']\ncap_drop = ['cap_net_raw']\n\
                    pids = 64\nmemory = '128MiB'\ncpu_weight = 10\ntimeout = '10m'\nhide = ['/srv/secret']\n";
        let profile = parse("site", text).unwrap();
        assert_eq!((profile.name.as_str(), profile.base), ("site", Base::General));
        assert_eq!(profile.capabilities(), "NET_ADMIN".parse().unwrap());
        assert_eq!((profile.bounds.pids, profile.bounds.memory), (Some(64), Some(128 << 20)));
        assert_eq!((profile.bounds.cpu_weight, profile.timeout), (Some(10), Some(Duration::from_mins(10))));
        assert_eq!(profile.hide, [Path::new("/srv/secret")]);
    }

    #[test]
    fn what_is_wrong_is_an_error_at_its_place() {
        for (text, wrong) in [
            ("extends = 'general'\nspeed = 9\n", "speed"),
            ("extends = 'general'\npids = 0\n", "pids: expected"),
            ("extends = 'general'\ncap_add = ['FLY']\n", "cap_add: no such capability"),
            ("extends = 'general'\ntimeout = 'soon'\n", "timeout: "),
            ("extends = 'general'\nhide = ['relative']\n", "hide: "),
            ("# first\nextends = 'site'\n", "extends: expected one of restricted"),
            ("# first\nextends = = 2\n", ""),
        ] {
            let (place, what) = parse("x", text).unwrap_err();
            assert!(what.contains(wrong), "{text:?}: {what}");
            let start = place.unwrap().start;
            assert_eq!(text[..start].matches('\n').count(), 1, "{text:?} at {start}");
        }
        assert!(parse("x", "").is_err(), "a profile extends one");
    }

    #[test]
    fn a_name_never_leads_out_of_the_directory() {
        for name in ["", ".", "..", "../x", "a/b", "-x", "A", "x.toml", "x\n"] {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(is_name("db-team_2"));
    }
}
