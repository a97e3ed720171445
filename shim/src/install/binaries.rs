//! Our programs: used where they are if that is where programs stay, else copied to such a place.
//!
//! What an engine calls has to be there after the next boot, for every user, and without a library that an upgrade of
//! the host takes away: so never below `/run` or `/tmp`, and static.

use super::Programs;
use super::edit::Edit;
use super::plan::{Owner, Plan, Rank};
use super::state::State;
use super::tree::{Content, Tree, failed};
use crate::exit::Exit;
use crate::problem::Problem;
use porthole_registry::bounded;
use rustix::fs::{StatVfsMountFlags, statvfs};
use std::path::{Component, Path, PathBuf};

/// Where copies go: the first of these that can be written and executed from. An image-based host has `/usr` read-only.
const PREFIXES: [&str; 2] = ["/usr", "/opt/porthole"];
/// Where a package manager may have put us.
const PACKAGED: [&str; 3] = ["/usr", "/usr/local", "/opt/porthole"];
/// What a boot empties.
const VOLATILE: [&str; 4] = ["/run", "/var/run", "/tmp", "/dev"];

/// Plans the copies, and tells where the programs will be.
pub(super) fn install(tree: &Tree, state: &State, plan: &mut Plan) -> Result<Programs, Problem> {
    let own = own()?;
    if tree.is_live() && is_packaged(&own) {
        for path in own.paths() {
            check_static(path, &read(path)?)?;
        }
        return Ok(own);
    }
    if let Some(packaged) = packaged_in(tree, state)? {
        return Ok(packaged);
    }
    let mut sources = Vec::new();
    for path in own.paths() {
        let bytes = read(path)?;
        check_static(path, &bytes)?;
        sources.push(bytes);
    }
    let there = destination(tree, state, &sources)?;
    for (path, bytes) in there.paths().into_iter().zip(sources) {
        let content = Content::program(bytes);
        let is_ours = state.entry(path).is_some();
        if !is_ours && tree.look(path)?.is_some_and(|known| !same_bytes(&known, &content)) {
            return Err(Problem::new(
                Exit::Failed,
                format!(
                    "{}: is there already, of another build, and not put there by `porthole install`",
                    path.display()
                ),
                format!(
                    "use that one, `{} install`, or remove it, by its package manager if it has one",
                    there.porthole.display()
                ),
            ));
        }
        plan.set(tree, path, Rank::Binary, Owner::Porthole, Some(content), Edit::Own)?;
    }
    Ok(there)
}

/// The programs that exist, but that no installation has put there.
pub(super) fn left(tree: &Tree, state: &State) -> Vec<PathBuf> {
    let prefixes = PACKAGED.map(|prefix| Programs::below(Path::new(prefix)));
    let paths = prefixes.iter().flat_map(|programs| programs.paths());
    paths.filter(|path| state.entry(path).is_none() && tree.is_executable(path)).map(Path::to_owned).collect()
}

impl Programs {
    /// Below a prefix, as `make install` puts them.
    fn below(prefix: &Path) -> Self {
        Self {
            porthole: prefix.join("bin/porthole"),
            hook: prefix.join("libexec/porthole/porthole-hook"),
            runtime: prefix.join("libexec/porthole/porthole-runtime"),
        }
    }

    fn paths(&self) -> [&Path; 3] {
        [&self.porthole, &self.hook, &self.runtime]
    }
}

/// This program and those that belong to it, where they are now: beside it, or as installed.
fn own() -> Result<Programs, Problem> {
    let porthole = std::env::current_exe()
        .map_err(|e| Problem::failed(format!("find the path of this program: {e}")))?;
    if !porthole.is_file() {
        return Err(Problem::new(
            Exit::Failed,
            format!("{}: this program was replaced or removed while it ran", porthole.display()),
            "run this again",
        ));
    }
    let beside = porthole.parent().unwrap_or(Path::new("/"));
    let find = |name: &str| {
        let tried = [beside.join(name), beside.join("../libexec/porthole").join(name)];
        tried.iter().find_map(|path| path.canonicalize().ok().filter(|path| path.is_file())).ok_or_else(
            || {
                Problem::new(
                    Exit::Failed,
                    format!("{name}: neither beside {} nor in ../libexec/porthole", porthole.display()),
                    "`make build` makes all programs; `make install` puts them where they belong",
                )
            },
        )
    };
    Ok(Programs { hook: find("porthole-hook")?, runtime: find("porthole-runtime")?, porthole })
}

/// Whether the programs are in a prefix that belongs to programs, laid out as packages are.
fn is_packaged(own: &Programs) -> bool {
    let Some(prefix) = own.porthole.parent().and_then(Path::parent) else { return false };
    let mut components = prefix.components().skip(1);
    let in_opt = components.next() == Some(Component::Normal("opt".as_ref())) && components.count() == 1;
    (in_opt || PACKAGED.iter().any(|known| prefix == Path::new(known)))
        && Programs::below(prefix).paths() == own.paths()
}

/// An image can have our package in it: then that is what its engines call.
fn packaged_in(tree: &Tree, state: &State) -> Result<Option<Programs>, Problem> {
    let all_there = |programs: &Programs| {
        programs.paths().iter().all(|path| state.entry(path).is_none() && tree.is_executable(path))
    };
    let known = PACKAGED.map(|prefix| Programs::below(Path::new(prefix)));
    let Some(found) = known.into_iter().find(|programs| !tree.is_live() && all_there(programs)) else {
        return Ok(None);
    };
    for path in found.paths() {
        if let Some(Content::File { bytes, .. }) = tree.read(path)? {
            check_static(path, &bytes)?;
        }
    }
    Ok(Some(found))
}

/// The prefix for copies: where they are already, else the first that will do.
fn destination(tree: &Tree, state: &State, sources: &[Vec<u8>]) -> Result<Programs, Problem> {
    let mut candidates = PREFIXES.map(|prefix| Programs::below(Path::new(prefix)));
    candidates.sort_by_key(|programs| state.entry(&programs.hook).is_none());
    let mut reasons = Vec::new();
    for programs in candidates {
        let mut reason = None;
        for (path, bytes) in programs.paths().into_iter().zip(sources) {
            let there =
                matches!(tree.look(path)?, Some(Content::File { bytes: known, .. }) if known == *bytes);
            if reason.is_none() && !there {
                reason = unusable(tree, path);
            }
        }
        match reason {
            None => return Ok(programs),
            Some(reason) => reasons.push(reason),
        }
    }
    Err(Problem::new(
        Exit::Failed,
        format!("no place for porthole's programs: {}", reasons.join("; ")),
        "as root, make /opt writable (and not mounted noexec); or put the programs into the host's image, below /usr: \
         `make install`, or `porthole install --root`",
    ))
}

/// Why a program cannot be put at a path, if it cannot.
fn unusable(tree: &Tree, path: &Path) -> Option<String> {
    let dir = path.parent()?;
    let reason = |why: &str| Some(format!("{} {why}", dir.display()));
    let Some(above) = dir.ancestors().find(|dir| tree.is_dir(dir)) else { return reason("is not there") };
    let Ok(place) = tree.locate(above) else { return reason("cannot be found") };
    let inside: PathBuf = Path::new("/").join(place.strip_prefix(tree.root()).unwrap_or(&place));
    if is_volatile(&inside) {
        return reason("does not outlive a boot");
    }
    if !tree.can_write(dir) {
        return reason("cannot be written");
    }
    // How an image is mounted while it is built says nothing about how it will be.
    let flags = statvfs(&place).map(|stat| stat.f_flag);
    if tree.is_live() && flags.is_ok_and(|flags| flags.contains(StatVfsMountFlags::NOEXEC)) {
        return reason("is mounted noexec");
    }
    None
}

/// Whether a boot empties the place.
pub(crate) fn is_volatile(path: &Path) -> bool {
    VOLATILE.iter().any(|volatile| path.starts_with(volatile))
}

fn same_bytes(a: &Content, b: &Content) -> bool {
    matches!((a, b), (Content::File { bytes: a, .. }, Content::File { bytes: b, .. }) if a == b)
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    bounded::file(path, super::tree::LARGEST).map_err(|e| failed("read", path, e))
}

/// Refuses a program that needs a dynamic loader: the runtime's mount namespace, or the host after an upgrade, may not
/// have what it wants.
fn check_static(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    let refuse = |what: &str| {
        Err(Problem::new(
            Exit::Failed,
            format!("{}: {what}", path.display()),
            "build it as .cargo/config.toml says, static: `make build`",
        ))
    };
    match wants_interpreter(bytes) {
        Some(false) => Ok(()),
        Some(true) => refuse("is dynamically linked; what engines call has to be static"),
        None => refuse("is no ELF program"),
    }
}

/// Whether an ELF program names an interpreter. None where it is no such program.
pub(crate) fn wants_interpreter(bytes: &[u8]) -> Option<bool> {
    /// Asks for an interpreter.
    const PT_INTERP: u64 = 3;
    let (wide, big) = match bytes.get(..6)? {
        [0x7f, b'E', b'L', b'F', class @ 1..=2, order @ 1..=2] => (*class == 2, *order == 2),
        _ => return None,
    };
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(length)?)?;
        let add = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        Some(if big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    };
    // e_phoff, e_phentsize and e_phnum of the file header.
    let (table, each, count) = if wide { (number(32, 8)?, 54, 56) } else { (number(28, 4)?, 42, 44) };
    let (table, each, count) = (usize::try_from(table).ok()?, number(each, 2)?, number(count, 2)?);
    for index in 0..count {
        let at = table.checked_add(usize::try_from(index.checked_mul(each)?).ok()?)?;
        if number(at, 4)? == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(types: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = u8::try_from(types.len()).unwrap();
        for kind in types {
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 52]);
        }
        bytes
    }

    #[test]
    fn a_program_with_an_interpreter_is_told_from_a_static_one() {
        assert_eq!(wants_interpreter(&elf(&[6, 3, 1])), Some(true));
        // PT_DYNAMIC alone is what a static program at any address has.
        assert_eq!(wants_interpreter(&elf(&[1, 2])), Some(false));
        assert_eq!(wants_interpreter(&elf(&[])), Some(false));
        assert_eq!(wants_interpreter(b"#!/bin/sh\n"), None);
        assert_eq!(wants_interpreter(b""), None);
        let cut = elf(&[1, 1]);
        assert_eq!(wants_interpreter(&cut[..100]), None);
    }

    #[test]
    fn a_program_of_this_workspace_is_static() {
        let own = read(&std::env::current_exe().unwrap()).unwrap();
        assert_eq!(wants_interpreter(&own), Some(false));
    }

    #[test]
    fn programs_are_used_in_place_only_in_a_prefix_of_programs() {
        for (prefix, expected) in [
            ("/usr", true),
            ("/usr/local", true),
            ("/opt/porthole", true),
            ("/opt/site-tools", true),
            ("/opt", false),
            ("/opt/a/b", false),
            ("/run/porthole", false),
            ("/tmp/build", false),
            ("/home/user/.local", false),
            ("/", false),
        ] {
            assert_eq!(is_packaged(&Programs::below(Path::new(prefix))), expected, "{prefix}");
        }
        let mut beside = Programs::below(Path::new("/usr"));
        beside.hook = "/usr/bin/porthole-hook".into();
        assert!(!is_packaged(&beside));
    }
}
