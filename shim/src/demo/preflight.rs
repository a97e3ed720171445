//! What the demo needs, checked before anything is made.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability};

use super::{Error, rootfs};

const NEEDED: [Capability; 6] = [
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_MKNOD,
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
];

/// Root with the capabilities that making containers takes.
pub(super) fn privileges() -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Privileges {
            missing: "needs root: it makes namespaces, mounts and interfaces".to_owned(),
        });
    }
    let held = caps::read(None, CapSet::Effective).unwrap_or_default();
    let missing: Vec<_> = NEEDED.iter().filter(|cap| !held.contains(cap)).map(ToString::to_string).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::Privileges { missing: format!("root lacks {} here", missing.join(", ")) })
    }
}

/// The real hook, as installed or as built.
pub(super) fn hook(named: Option<&Path>) -> Result<PathBuf, Error> {
    let tried: Vec<PathBuf> = match named {
        Some(path) => vec![path.to_owned()],
        None => {
            let program = program()?;
            let beside = program.parent().unwrap_or(Path::new("/"));
            vec![beside.join("porthole-hook"), beside.join("../libexec/porthole/porthole-hook")]
        }
    };
    // Absolute, because hooks run in a directory of the runtime's choice.
    match tried.iter().find_map(|path| path.canonicalize().ok().filter(|p| p.is_file())) {
        Some(hook) => Ok(hook),
        None => Err(Error::NoHook { tried }),
    }
}

/// This very program, which the containers run too.
pub(super) fn program() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(Error::process("find the path of this program"))
}

/// A static program that everyone may execute, and cgroups.
pub(super) fn machine() -> Result<(), Error> {
    let program = program()?;
    let read = || {
        let mut file = File::open(&program)?;
        let mut start = Vec::new();
        file.by_ref().take(64 * 1024).read_to_end(&mut start)?;
        Ok((file.metadata()?.permissions().mode(), start))
    };
    let (mode, start) = read().map_err(Error::file("read", &program))?;
    if mode & 0o005 != 0o005 {
        return Err(Error::Unfit { program, reason: "others than its owner may not execute it" });
    }
    if rootfs::needs_an_interpreter(&start) {
        return Err(Error::Unfit { program, reason: "it is dynamically linked" });
    }
    if super::leftovers::cgroup_mounts().is_empty() { Err(Error::NoCgroups) } else { Ok(()) }
}
