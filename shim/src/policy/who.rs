//! Who asks: the user behind sudo, or the caller, with the groups that the host's files give them.

use super::language::User;
use porthole_registry::bounded;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

/// An id as sudo writes it. The largest number is none to the kernel: there it means that an id stays what it is.
fn id(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&id| is_number && id != u32::MAX)
}

/// Who started this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Invoker {
    /// The real uid, or that behind sudo.
    pub(crate) uid: u32,
    /// The gid that goes with it.
    pub(crate) gid: u32,
    /// As sudo names them; the files are not read for it.
    pub(crate) name: Option<String>,
    /// Whether sudo says so.
    pub(crate) behind_sudo: bool,
}

impl Invoker {
    /// From this process. What sudo says is believed only where nobody but root could have said it. This is the only
    /// place where it is read.
    pub(crate) fn read(variables: &[(OsString, OsString)]) -> Result<Self, String> {
        let uid = rustix::process::getuid().as_raw();
        let gid = rustix::process::getgid().as_raw();
        Self::of(uid, gid, |name| {
            variables.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_os_str())
        })
    }

    fn of<'a>(uid: u32, gid: u32, variable: impl Fn(&str) -> Option<&'a OsStr>) -> Result<Self, String> {
        let own = Self { uid, gid, name: None, behind_sudo: false };
        if uid != 0 {
            return Ok(own);
        }
        let number = |name: &str| match variable(name) {
            None => Ok(None),
            Some(text) => match text.to_str().and_then(id) {
                Some(id) => Ok(Some(id)),
                None => Err(format!("{name} is {text:?}, which is no id")),
            },
        };
        match (number("SUDO_UID")?, number("SUDO_GID")?) {
            (None, None) | (Some(0), _) => Ok(Self { name: Some("root".to_owned()), ..own }),
            (Some(uid), Some(gid)) => Ok(Self {
                uid,
                gid,
                name: variable("SUDO_USER").and_then(OsStr::to_str).map(str::to_owned),
                behind_sudo: true,
            }),
            _ => Err("of SUDO_UID and SUDO_GID one is set, and sudo sets both".to_owned()),
        }
    }

    /// Root, and nobody behind it.
    pub(crate) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// With everything that the host's files and the kernel know.
    pub(crate) fn user(&self, accounts: &Accounts) -> User {
        let mut gids: BTreeSet<u32> = [self.gid].into();
        if !self.behind_sudo {
            let own = rustix::process::getgroups().unwrap_or_default();
            gids.extend(own.into_iter().map(rustix::process::Gid::as_raw));
        }
        accounts.user(self.uid, self.name.as_deref(), gids)
    }
}

/// `/etc/passwd` and `/etc/group`, as text: the name service switch would load what it names, and ask over the network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    /// The host's; a file that cannot be read knows nobody.
    pub(crate) fn read() -> Self {
        let read = |path: &str| {
            bounded::file(path, bounded::LISTS)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .unwrap_or_default()
        };
        Self { passwd: read("/etc/passwd"), group: read("/etc/group") }
    }

    /// The user with this uid. Of several names the one that was given; a name that no file has is believed.
    fn user(&self, uid: u32, given: Option<&str>, mut gids: BTreeSet<u32>) -> User {
        let entries: Vec<_> = self.entries().filter(|entry| entry.uid == uid).collect();
        let entry = entries.iter().find(|entry| Some(entry.name) == given).or(entries.first());
        let name = entry.map(|entry| entry.name).or(given).map(str::to_owned);
        gids.extend(entry.map(|entry| entry.gid));
        let mut groups = BTreeSet::new();
        for (group, gid, members) in self.groups() {
            if gids.contains(&gid) || members.split(',').any(|member| name.as_deref() == Some(member)) {
                gids.insert(gid);
                groups.insert(group.to_owned());
            }
        }
        User { uid, name, gids, groups }
    }

    /// The user that a person names, by name or number.
    pub(crate) fn named(&self, text: &str) -> Option<User> {
        match text.parse() {
            Ok(uid) => Some(self.user(uid, None, BTreeSet::new())),
            Err(_) => {
                let entry = self.entries().find(|entry| entry.name == text)?;
                Some(self.user(entry.uid, Some(entry.name), BTreeSet::new()))
            }
        }
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let uid = fields.nth(1)?.parse().ok()?;
            Some(Entry { name, uid, gid: fields.next()?.parse().ok()? })
        })
    }

    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            Some((name, fields.nth(1)?.parse().ok()?, fields.next().unwrap_or_default()))
        })
    }
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoker(uid: u32, variables: &[(&str, &'static str)]) -> Result<Invoker, String> {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| OsStr::new(*v));
        Invoker::of(uid, 77, find)
    }

    const SUDO: &[(&str, &str)] = &[("SUDO_UID", "1000"), ("SUDO_GID", "100"), ("SUDO_USER", "ann")];

    #[test]
    fn sudo_is_believed_by_root_alone() {
        let ann = Invoker { uid: 1000, gid: 100, name: Some("ann".into()), behind_sudo: true };
        assert_eq!(invoker(0, SUDO), Ok(ann));
        assert_eq!(invoker(1001, SUDO), Ok(Invoker { uid: 1001, gid: 77, name: None, behind_sudo: false }));
        assert!(invoker(0, &[]).unwrap().is_root());
        assert!(invoker(0, &[("SUDO_UID", "0"), ("SUDO_GID", "0")]).unwrap().is_root());
    }

    #[test]
    fn what_sudo_cannot_have_said_is_nobody_and_not_root() {
        for text in ["", "-1", "ann", "0x0", "4294967295", "4294967296", " 0", "+0", "+1000", "1000 "] {
            assert!(invoker(0, &[("SUDO_UID", text)]).is_err(), "{text:?}");
        }
        assert!(invoker(0, &[("SUDO_UID", "1000"), ("SUDO_GID", "x")]).is_err());
        assert!(invoker(0, &[("SUDO_UID", "1000"), ("SUDO_GID", "4294967295")]).is_err());
        assert!(invoker(0, &[("SUDO_GID", "100")]).is_err());
        assert!(invoker(0, &[("SUDO_UID", "1000")]).is_err());
    }

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0::/root:/bin/sh\nann:x:1000:100::/:\nanna:x:1000:100::/:\nbad\n:x:5:5\n"
                .into(),
            group: "root:x:0:\nusers:x:100:\nsre:x:27:bob,ann\nops:x:28:annabel\nbad\n".into(),
        }
    }

    #[test]
    fn groups_are_those_of_both_files_and_of_sudo() {
        let user = accounts().user(1000, Some("ann"), [42].into());
        assert_eq!(user.name.as_deref(), Some("ann"));
        assert_eq!(user.groups, BTreeSet::from(["sre".to_owned(), "users".to_owned()]));
        assert_eq!(user.gids, BTreeSet::from([27, 42, 100]));
        assert_eq!(accounts().user(1000, Some("anna"), BTreeSet::new()).name.as_deref(), Some("anna"));
        let other = accounts().user(1000, Some("root"), BTreeSet::new());
        assert_eq!(other.name.as_deref(), Some("ann"), "a name of somebody else's is not taken");
        let from_afar = accounts().user(5000, Some("eve"), BTreeSet::new());
        assert_eq!((from_afar.name.as_deref(), from_afar.groups.len()), (Some("eve"), 0));
    }

    #[test]
    fn a_person_names_a_user_by_name_or_number() {
        assert_eq!(accounts().named("ann").unwrap().uid, 1000);
        assert_eq!(accounts().named("1000").unwrap().name.as_deref(), Some("ann"));
        assert_eq!(accounts().named("nobody-here"), None);
    }
}
