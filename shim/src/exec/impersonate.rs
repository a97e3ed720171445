//! Looking at files with the rights of another user: the kernel refuses what root's rights permit and theirs do not.

use std::io;

use nix::unistd::{setfsgid, setfsuid};
use rustix::process::{Gid, getgroups};
use rustix::thread::set_thread_groups;

use crate::policy::{Accounts, Invoker};

/// Below the one that is none to the kernel: no account has it, and no file.
const NOBODYS: u32 = u32::MAX - 1;

/// Runs `act` with what everybody may do, and nothing that an owner or a group may.
pub(super) fn as_everybody<T>(act: impl FnOnce() -> T) -> io::Result<T> {
    with_ids(NOBODYS, NOBODYS, &[], act)
}

/// Runs `act` with the file system's ids and the groups of the user.
pub(super) fn as_user<T>(invoker: &Invoker, act: impl FnOnce() -> T) -> io::Result<T> {
    let user = invoker.user(&Accounts::read());
    let groups: Vec<_> =
        user.gids.iter().copied().filter(|&gid| gid != u32::MAX).map(Gid::from_raw).collect();
    with_ids(invoker.uid, invoker.gid, &groups, act)
}

/// The capabilities that pass over permissions go with the uid, and come back with it.
fn with_ids<T>(uid: u32, gid: u32, groups: &[Gid], act: impl FnOnce() -> T) -> io::Result<T> {
    let before = getgroups()?;
    set_thread_groups(groups)?;
    let old_gid = setfsgid(gid.into());
    let old_uid = setfsuid(uid.into());
    // They tell the value before, and nothing of success: a second call does.
    let became = setfsgid(gid.into()).as_raw() == gid && setfsuid(uid.into()).as_raw() == uid;
    let done = became.then(act);
    setfsuid(old_uid);
    setfsgid(old_gid);
    set_thread_groups(&before)?;
    done.ok_or_else(|| io::Error::other("the file system's ids could not be changed"))
}
