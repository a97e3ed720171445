//! A view that holds the host's tools and nothing else of the host: for a command that others see through, and for one
//! that is root, from which permissions keep nothing.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, readlinkat, statat};
use serde::Serialize;

use super::Tree;
use crate::exec::dns::{Overlay, Source};
use crate::exec::environment::Account;
use crate::exec::ids::{Ids, NOBODY};

/// Where distributions have programs, their libraries and what those read of their own. All of it is in packages.
pub(super) const PROGRAMS: [&str; 11] = [
    "/usr",
    "/usr/local",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/libexec",
    "/nix/store",
    "/gnu/store",
];

/// Files of `/etc` that programs need: the loader's cache, the links of `update-alternatives`, certificates of authorities,
/// tables that every package of a resolver or of a tool for networks has. Nothing that says anything about this host.
const SETTINGS: [&str; 27] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/ethertypes",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/iproute2",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/magic",
    "/etc/magic.mime",
    "/etc/mime.types",
    "/etc/networks",
    "/etc/os-release",
    "/etc/pki/ca-trust/extracted",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/rpc",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/terminfo",
];

/// Places below those in which administrators keep things that are not for everybody.
pub(crate) const PRIVATE: [&str; 4] =
    ["/usr/lib/credstore", "/usr/lib/credstore.encrypted", "/usr/local/etc", "/usr/src"];

/// A link of the host's that the view has too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Link {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its target, as it is written.
    pub(crate) to: PathBuf,
}

/// The kind of a file, the last link not followed.
pub(crate) enum Kind {
    Directory,
    File,
    Link(PathBuf),
}

/// The kind of a file of the host. Anything but directories, regular files and links is nothing.
pub(crate) fn kind_on_host(path: &Path) -> Option<Kind> {
    let stat = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Some(Kind::Directory),
        FileType::RegularFile => Some(Kind::File),
        FileType::Symlink => {
            let to = readlinkat(CWD, path, Vec::new()).ok()?.into_bytes();
            Some(Kind::Link(OsString::from_vec(to).into()))
        }
        _ => None,
    }
}

/// The trees and links of such a view, those of directories before what is in them. `more` are places that the
/// configuration shows; `is_mount_point` tells what a tree lacks because it is mounted on it.
pub(crate) fn select(
    more: &[PathBuf],
    kind: impl Fn(&Path) -> Option<Kind>,
    is_mount_point: impl Fn(&Path) -> bool,
) -> (Vec<Tree>, Vec<Link>) {
    let mut paths: Vec<&Path> = PROGRAMS.iter().chain(&SETTINGS).map(Path::new).collect();
    paths.extend(more.iter().map(PathBuf::as_path));
    paths.sort();
    paths.dedup();
    let (mut trees, mut links): (Vec<Tree>, Vec<Link>) = (Vec::new(), Vec::new());
    for path in paths {
        if links.iter().any(|link| path.starts_with(&link.path)) {
            continue;
        }
        let in_another = trees.iter().any(|tree| path.starts_with(&tree.path));
        match kind(path) {
            _ if in_another && !is_mount_point(path) => {}
            Some(kind @ (Kind::Directory | Kind::File)) => {
                trees.push(Tree { directory: matches!(kind, Kind::Directory), ..Tree::of(path) });
            }
            Some(Kind::Link(to)) if !in_another => links.push(Link { path: path.to_owned(), to }),
            Some(Kind::Link(_)) | None => {}
        }
    }
    (trees, links)
}

/// `/etc/passwd` and `/etc/group` with root, nobody and the command's user: the host's tell who has an account there.
pub(crate) fn accounts(ids: &Ids, account: &Account) -> Vec<Overlay> {
    let mut passwd = "root:x:0:0:root:/:/bin/sh\n".to_owned();
    let mut group = "root:x:0:\n".to_owned();
    let (uid, gid) = match *ids {
        Ids::Kept => (0, 0),
        Ids::Set { uid, gid, .. } => (uid, gid),
    };
    let name = account.user.to_string_lossy();
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if plain && ![0, NOBODY].contains(&uid) {
        passwd += &format!("{name}:x:{uid}:{gid}::/:/bin/sh\n");
    }
    passwd += &format!("nobody:x:{NOBODY}:{NOBODY}:nobody:/:/bin/sh\n");
    group += &format!("nogroup:x:{NOBODY}:\n");
    let made = |name: &str, text: String| Overlay {
        name: name.to_owned(),
        source: Source::Made,
        place: None,
        content: text.into_bytes(),
    };
    vec![made("passwd", passwd), made("group", group)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_selected_and_links_stay_links() {
        let kind = |path: &Path| match path.to_str()? {
            "/usr" | "/usr/local" | "/etc/ssl/certs" | "/opt/tools" => Some(Kind::Directory),
            "/etc/ld.so.cache" => Some(Kind::File),
            "/bin" => Some(Kind::Link("usr/bin".into())),
            "/etc/localtime" => Some(Kind::Link("/usr/share/zoneinfo/UTC".into())),
            _ => None,
        };
        let select = |mounted: bool| select(&["/opt/tools".into()], kind, |_| mounted);
        let (trees, links) = select(true);
        let paths = |trees: &[Tree]| trees.iter().map(|t| t.path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(paths(&trees), ["/etc/ld.so.cache", "/etc/ssl/certs", "/opt/tools", "/usr", "/usr/local"]);
        assert!(trees.iter().all(|tree| !tree.writable && !tree.devices));
        assert_eq!(
            links.iter().map(|l| l.path.to_str().unwrap()).collect::<Vec<_>>(),
            ["/bin", "/etc/localtime"]
        );
        let (trees, _) = select(false);
        assert!(!paths(&trees).contains(&"/usr/local".to_owned()), "it is in /usr");
    }

    #[test]
    fn the_accounts_are_those_of_the_command() {
        let text = |uid, user: &str| {
            let account = Account { home: "/home/ann".into(), user: user.into() };
            let ids = Ids::Set { uid, gid: 100, host: None };
            String::from_utf8(accounts(&ids, &account).remove(0).content).unwrap()
        };
        assert!(text(1000, "ann").contains("\nann:x:1000:100::/:/bin/sh\n"));
        assert_eq!(text(0, "root"), text(NOBODY, "nobody"));
        assert!(!text(1000, "a:b\nc").contains("a:b"));
    }
}
