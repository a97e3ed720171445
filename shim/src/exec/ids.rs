//! Who the command runs as.

use porthole_registry::bounded;
use std::fmt;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Gid, Uid, getgid, getgroups, getuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde::Serialize;

use super::TargetProcess;
use super::args::Request;
use super::capabilities::Base;
use super::error::{ExecError, Step};
use super::plan::Caller;

/// The id of nobody, on every distribution.
pub(crate) const NOBODY: u32 = 65534;

/// Ids of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "ids")]
pub(crate) enum Ids {
    /// Those of the caller, groups and all.
    Kept,
    /// These, without supplementary groups.
    Set {
        /// As the command sees it.
        uid: u32,
        /// As the command sees it.
        gid: u32,
        /// Both as the host sees them, when the target's user namespace is joined.
        #[serde(skip_serializing_if = "Option::is_none")]
        host: Option<(u32, u32)>,
    },
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept => f.write_str("the caller's, with its groups"),
            Self::Set { uid, gid, host } => {
                write!(f, "uid {uid}, gid {gid}, no supplementary groups")?;
                host.map_or(Ok(()), |(uid, gid)| write!(f, " (uid {uid}, gid {gid} on the host)"))
            }
        }
    }
}

impl Ids {
    /// From the options, and who asks. `joined` are the maps of the target's user namespace, if that is joined.
    pub(crate) fn resolve(
        request: &Request,
        caller: &Caller,
        joined: Option<&(IdMap, IdMap)>,
    ) -> Result<Self, ExecError> {
        if request.preserve_credentials {
            return Ok(Self::Kept);
        }
        if let Some((uids, gids)) = joined {
            let (uid, gid) = (request.uid.unwrap_or(0), request.gid.unwrap_or(0));
            let unmapped = |what: &str, id: u32, option: &str| {
                Step::Ids.refused(
                    format!("{what} {id} does not exist in the target's user namespace"),
                    format!("name one that its map holds, with {option}"),
                )
            };
            let host_uid = uids.outside(uid).ok_or_else(|| unmapped("uid", uid, "-S"))?;
            let host_gid = gids.outside(gid).ok_or_else(|| unmapped("gid", gid, "-G"))?;
            return Ok(Self::Set { uid, gid, host: Some((host_uid, host_gid)) });
        }
        let behind_sudo = Some(&caller.invoker).filter(|invoker| invoker.behind_sudo);
        let root = request.profile.base == Base::Sysadmin;
        let uid = request.uid.or(root.then_some(0)).or(behind_sudo.map(|user| user.uid)).unwrap_or(NOBODY);
        let gid = request.gid.or((uid == 0).then_some(0)).or(behind_sudo.map(|user| user.gid));
        let gid = gid.unwrap_or(NOBODY);
        Ok(Self::Set { uid, gid, host: None })
    }

    /// The uid, when it is set.
    pub(crate) fn uid(&self) -> Option<u32> {
        match self {
            Self::Kept => None,
            Self::Set { uid, .. } => Some(*uid),
        }
    }

    /// uid and gid, as the host numbers them.
    pub(crate) fn numbers(&self, kept: u32) -> (u32, u32) {
        match *self {
            Self::Kept => (kept, rustix::process::getegid().as_raw()),
            Self::Set { uid, gid, host } => host.unwrap_or((uid, gid)),
        }
    }

    /// Whether what is root's, or its group's, may be theirs.
    pub(crate) fn as_root(&self) -> bool {
        match self {
            Self::Kept => true,
            Self::Set { uid, gid, host } => {
                let (uid, gid) = host.unwrap_or((*uid, *gid));
                uid == 0 || gid == 0
            }
        }
    }

    /// Drops the supplementary groups: before a user namespace is joined that may not allow it any more.
    pub(crate) fn drop_groups(&self) -> Result<(), ExecError> {
        if matches!(self, Self::Set { .. }) {
            set_thread_groups(&[]).map_err(Step::Ids.failed("supplementary groups"))?;
        }
        Ok(())
    }

    /// Becomes them, and reads them back.
    pub(crate) fn apply(&self) -> Result<(), ExecError> {
        let Self::Set { uid, gid, .. } = *self else { return Ok(()) };
        let (to_uid, to_gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        set_thread_res_gid(to_gid, to_gid, to_gid).map_err(Step::Ids.failed(format!("gid {gid}")))?;
        set_thread_res_uid(to_uid, to_uid, to_uid).map_err(Step::Ids.failed(format!("uid {uid}")))?;
        let groups = getgroups().map_err(Step::Ids.failed("supplementary groups"))?;
        if getuid() != to_uid || getgid() != to_gid || !groups.is_empty() {
            return Err(Step::Ids.refused("they do not read back as set", "nothing was run"));
        }
        Ok(())
    }
}

/// `uid_map` or `gid_map` of a user namespace, as the caller's namespace sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct IdMap(Vec<(u32, u32, u32)>);

impl IdMap {
    /// From the text of the file; lines that are none are left out.
    pub(crate) fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut numbers = line.split_ascii_whitespace().map(|n| n.parse::<u32>().ok());
            Some((numbers.next()??, numbers.next()??, numbers.next()??))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// What the id inside is outside.
    pub(crate) fn outside(&self, inside: u32) -> Option<u32> {
        self.0.iter().find_map(|&(first, outside, count)| {
            let offset = inside.checked_sub(first).filter(|&offset| offset < count)?;
            outside.checked_add(offset)
        })
    }

    /// Of the user namespace of a process.
    pub(crate) fn of(process: &TargetProcess, file: &str) -> Result<Self, ExecError> {
        let subject = || format!("{file} of process {}", process.pid);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let map = rustix::fs::openat(&process.proc_dir, file, flags, Mode::empty())
            .map_err(Step::Inspect.failed(subject()))?;
        bounded::read(&map, bounded::FACTS)
            .and_then(bounded::utf8)
            .map(|text| Self::parse(&text))
            .map_err(Step::Inspect.failed(subject()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::args::ExecArgs;
    use crate::policy::Invoker;

    fn caller(invoker: Option<(u32, u32)>) -> Caller {
        let invoker = invoker.map(|(uid, gid)| Invoker { uid, gid, name: None, behind_sudo: true });
        Caller { invoker: invoker.unwrap_or_default(), ..Caller::default() }
    }

    fn request(args: &ExecArgs) -> Request {
        Request::try_from(args).unwrap()
    }

    fn ids(args: &ExecArgs, invoker: Option<(u32, u32)>) -> (u32, u32) {
        match Ids::resolve(&request(args), &caller(invoker), None).unwrap() {
            Ids::Set { uid, gid, .. } => (uid, gid),
            Ids::Kept => panic!("kept"),
        }
    }

    const SUDO: Option<(u32, u32)> = Some((1000, 100));

    #[test]
    fn root_becomes_nobody() {
        assert_eq!(ids(&ExecArgs::default(), None), (NOBODY, NOBODY));
    }

    #[test]
    fn behind_sudo_the_invoking_user_runs_the_command() {
        assert_eq!(ids(&ExecArgs::default(), SUDO), (1000, 100));
    }

    #[test]
    fn root_behind_sudo_is_not_an_invoking_user() {
        let variables = [("SUDO_UID", "0"), ("SUDO_GID", "0")].map(|(n, v)| (n.into(), v.into()));
        let invoker = Invoker::read(&variables).unwrap();
        let caller = Caller { invoker, ..Caller::default() };
        let ids = Ids::resolve(&request(&ExecArgs::default()), &caller, None).unwrap();
        assert_eq!(ids, Ids::Set { uid: NOBODY, gid: NOBODY, host: None });
    }

    #[test]
    fn sysadmin_stays_root_unless_told_otherwise() {
        let sysadmin = ExecArgs { profile: Some("sysadmin".into()), ..ExecArgs::default() };
        assert_eq!(ids(&sysadmin.clone(), SUDO), (0, 0));
        assert_eq!(ids(&ExecArgs { uid: Some(7), ..sysadmin }, SUDO), (7, 100));
    }

    #[test]
    fn an_explicit_root_brings_its_group() {
        assert_eq!(ids(&ExecArgs { uid: Some(0), ..ExecArgs::default() }, SUDO), (0, 0));
        assert_eq!(ids(&ExecArgs { uid: Some(0), gid: Some(5), ..ExecArgs::default() }, SUDO), (0, 5));
    }

    #[test]
    fn in_a_user_namespace_ids_are_those_of_its_map() {
        let map = IdMap::parse("         0     100000      65536\n");
        let joined = (map.clone(), map);
        let of = |uid| {
            Ids::resolve(&request(&ExecArgs { uid, ..ExecArgs::default() }), &caller(SUDO), Some(&joined))
        };
        assert_eq!(of(None).unwrap(), Ids::Set { uid: 0, gid: 0, host: Some((100_000, 100_000)) });
        assert_eq!(of(Some(33)).unwrap(), Ids::Set { uid: 33, gid: 0, host: Some((100_033, 100_000)) });
        assert_eq!(of(Some(70_000)).unwrap_err().report().code, "ids");
    }

    #[test]
    fn a_map_of_several_ranges_is_translated_range_by_range() {
        let map = IdMap::parse("0 1000 1\n1 100000 65536\n4294967295 5 1\nnonsense\n");
        assert_eq!(map.outside(0), Some(1000));
        assert_eq!(map.outside(1), Some(100_000));
        assert_eq!(map.outside(65_536), Some(165_535));
        assert_eq!(map.outside(65_537), None);
        assert_eq!(IdMap::parse("").outside(0), None);
        assert_eq!(IdMap::parse("0 4294967290 100").outside(50), None);
    }
}
