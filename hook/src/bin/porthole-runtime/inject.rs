//! Adding the hook to a bundle's configuration: read, add, write beside it, rename.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use porthole_hook::bundle;
use porthole_registry::attributes::Attributes;
use porthole_registry::bounded::Regular;
use porthole_registry::hook_entry::{self, HookPath};
use porthole_registry::json_edit::Document;
use rustix::fd::OwnedFd;
use rustix::fs::{
    Access, AtFlags, CWD, Gid, Mode, OFlags, Uid, access, fchmod, fchown, openat, renameat, unlinkat,
};
use rustix::io::{Errno, Result};

use crate::command::Create;

/// The hook where it is not named and not beside the wrapper.
const HOOK: &str = "/usr/libexec/porthole/porthole-hook";

/// Adds the hook to the configuration of what is about to be made.
///
/// # Errors
/// Says why not; the configuration is as it was.
pub(crate) fn into(create: &Create, hook: Option<&Path>) -> std::result::Result<(), String> {
    let hook = HookPath::parse(&hook.map_or_else(default_hook, Path::to_owned)).map_err(|e| e.to_string())?;
    let (dir, name) = match (create.config.parent(), create.config.file_name()) {
        (Some(dir), Some(name)) if dir.as_os_str().is_empty() => (Path::new("."), name),
        (Some(dir), Some(name)) => (dir, name),
        _ => return Err("names no file".to_owned()),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, dir, flags, Mode::empty()).map_err(|e| e.to_string())?;
    let file = bundle::open(&dir, Path::new(name), OFlags::NOFOLLOW).map_err(|e| e.to_string())?;
    let text = String::from_utf8(bundle::read(&file).map_err(|e| e.to_string())?);
    let text = text.map_err(|_| "is not UTF-8")?;
    let mut document = Document::parse(text).map_err(|e| e.to_string())?;
    if hook_entry::add(&mut document, &hook).map_err(|e| e.to_string())? {
        let told = |(step, errno)| format!("{step} beside it: {errno}");
        replace(&dir, name, &file, document.as_str()).map_err(told)?;
    }
    Ok(())
}

/// The hook beside the wrapper, else where it is installed.
fn default_hook() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|wrapper| wrapper.with_file_name(hook_entry::PROGRAM));
    beside.filter(|hook| access(hook, Access::EXEC_OK).is_ok()).unwrap_or_else(|| HOOK.into())
}

/// Puts `text` in the place of the file `name`, with everything but the content as the old one has it.
fn replace(
    dir: &OwnedFd,
    name: &OsStr,
    old: &Regular,
    text: &str,
) -> std::result::Result<(), (&'static str, Errno)> {
    let temporary = format!(".{}.porthole-{}", name.display(), std::process::id());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = || openat(dir, &temporary, flags, Mode::RUSR | Mode::WUSR);
    let new = match create() {
        // A wrapper that had this number was killed, and left it.
        Err(Errno::EXIST) => unlinkat(dir, &temporary, AtFlags::empty()).and_then(|()| create()),
        created => created,
    };
    let new = new.map_err(|e| ("create a file", e))?;
    let done = fill(new, old, text).map_err(|e| ("write a file", e)).and_then(|()| {
        renameat(dir, &temporary, dir, name).map_err(|e| ("rename a file", e)) // COMMIT
    });
    if done.is_err() {
        // If that fails too, it goes with the bundle.
        let _ = unlinkat(dir, &temporary, AtFlags::empty());
    }
    done
}

fn fill(new: OwnedFd, old: &Regular, text: &str) -> Result<()> {
    let stat = old.stat();
    fchown(&new, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(&new, Mode::from_raw_mode(stat.st_mode))?;
    Attributes::Labels.copy(old, &new)?;
    let mut new = File::from(new);
    // No fsync: a bundle that a crash of the machine leaves is made anew.
    new.write_all(text.as_bytes()).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
}
