//! What porthole needs of the kernel, each asked by a harmless call: a version number tells nothing of what a distribution
//! has put into its kernel, or a sandbox taken away.

use super::check::Check;
use super::{Setting, Subject, files};
use crate::mounts::{self, Mount};
use crate::sys;
use porthole_registry::bounded;
use porthole_registry::namespace::NamespaceKind;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

pub(super) const SUBJECT: Subject = Subject {
    checks: &["kernel-namespaces", "kernel-calls", "kernel-seccomp", "kernel-exec", "cgroups", "run-tmpfs"],
    look,
};

/// Actions of a seccomp filter that confinement uses.
const ACTIONS: [&str; 3] = ["errno", "kill_process", "allow"];

/// A system call, for what it is needed, and whether anything works without it.
struct Call {
    name: &'static str,
    purpose: &'static str,
    is_vital: bool,
    probe: fn() -> io::Result<()>,
}

const CALLS: [Call; 5] = [
    Call {
        name: "pidfd_open",
        purpose: "holding on to a process: the hook needs it",
        is_vital: true,
        probe: pidfd,
    },
    Call { name: "openat2", purpose: "paths inside a container", is_vital: true, probe: resolve },
    Call { name: "open_tree", purpose: "the view of exec", is_vital: false, probe: tree },
    Call { name: "move_mount", purpose: "the view of exec", is_vital: false, probe: mount },
    Call { name: "mount_setattr", purpose: "the read-only view of exec", is_vital: false, probe: attributes },
];

fn look(_setting: &Setting) -> Vec<Check> {
    let has = |kind: &NamespaceKind| Path::new("/proc/self/ns").join(kind.proc_name()).exists();
    let missing: Vec<_> = NamespaceKind::ALL.into_iter().filter(|kind| !has(kind)).collect();
    let mut checks = vec![namespaces(&missing)];
    let answers: Vec<_> = CALLS.iter().map(|call| (call, (call.probe)())).collect();
    checks.push(calls(&answers));
    checks.push(seccomp(
        bounded::text("/proc/sys/kernel/seccomp/actions_avail", bounded::FACTS).ok().as_deref(),
    ));
    let limit = bounded::text("/proc/sys/user/max_user_namespaces", bounded::FACTS).ok();
    let has_children = Path::new("/proc/thread-self/children").exists();
    checks.push(exec(limit.as_deref(), has_children, sys::landlock_version()));
    checks.push(mounts::read().map_or_else(
        |error| Check::skip("cgroups", "/proc/self/mountinfo", error.to_string()),
        |mounts| cgroups(&mounts),
    ));
    checks.push(run(files::is_in_memory(Path::new("/run"))));
    checks
}

fn namespaces(missing: &[NamespaceKind]) -> Check {
    let (name, subject) = ("kernel-namespaces", "/proc/self/ns");
    if missing.is_empty() {
        return Check::ok(name, subject, "all kinds: net mnt pid ipc uts user cgroup time");
    }
    let kinds: Vec<_> = missing.iter().map(ToString::to_string).collect();
    let evidence = format!("the kernel has no namespaces of kind {}", kinds.join(", "));
    let vital = [NamespaceKind::Net, NamespaceKind::Mnt, NamespaceKind::Pid];
    if missing.iter().any(|kind| vital.contains(kind)) {
        Check::fail(name, subject, evidence, "use a kernel that is built with them")
    } else {
        Check::warn(name, subject, evidence, "containers share these with the host; a newer kernel has them")
    }
}

fn calls(answers: &[(&Call, io::Result<()>)]) -> Check {
    let (name, subject) = ("kernel-calls", "system calls");
    // Anything but these two is an answer of the call itself.
    let is_missing = |error: &io::Error| error.raw_os_error() == Some(Errno::NOSYS.raw_os_error());
    let missing = answers.iter().filter(|(_, answer)| answer.as_ref().is_err_and(is_missing));
    let missing: Vec<_> = missing.map(|(call, _)| *call).collect();
    if missing.is_empty() {
        let names: Vec<_> = answers.iter().map(|(call, _)| call.name).collect();
        return Check::ok(name, subject, format!("{} are there", names.join(", ")));
    }
    let told: Vec<_> = missing.iter().map(|call| format!("no {} ({})", call.name, call.purpose)).collect();
    let remedy = "use Linux 5.12 or later; in a sandbox, let its filter know these calls";
    if missing.iter().any(|call| call.is_vital) {
        Check::fail(name, subject, told.join(", "), remedy)
    } else {
        Check::warn(name, subject, told.join(", "), remedy)
    }
}

fn pidfd() -> io::Result<()> {
    Ok(pidfd_open(getpid(), PidfdFlags::empty()).map(drop)?)
}

fn resolve() -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(openat2(CWD, "/", flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).map(drop)?)
}

/// Without OPEN_TREE_CLONE it is an open.
fn tree() -> io::Result<()> {
    Ok(open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLOEXEC).map(drop)?)
}

/// Of nothing to nowhere: an empty path is no path.
fn mount() -> io::Result<()> {
    Ok(move_mount(CWD, "", CWD, "", MoveMountFlags::empty())?)
}

/// No attribute at all: the kernel looks at the arguments and returns.
fn attributes() -> io::Result<()> {
    sys::mount_setattr(CWD.as_fd(), sys::MountAttributes::default())
}

fn seccomp(actions: Option<&str>) -> Check {
    let (name, subject) = ("kernel-seccomp", "seccomp filters");
    let remedy = "use a kernel with CONFIG_SECCOMP_FILTER";
    let Some(actions) = actions else {
        return Check::warn(name, subject, "/proc/sys/kernel/seccomp is not there: no filters", remedy);
    };
    let known: Vec<_> = actions.split_whitespace().collect();
    let missing: Vec<_> = ACTIONS.into_iter().filter(|action| !known.contains(action)).collect();
    if missing.is_empty() {
        Check::ok(name, subject, format!("actions {}", known.join(" ")))
    } else {
        Check::warn(name, subject, format!("no action {}", missing.join(", ")), remedy)
    }
}

/// `user_namespaces` is the limit of them, if the kernel has them; `landlock` the version of its interface.
fn exec(user_namespaces: Option<&str>, has_children: bool, landlock: u32) -> Check {
    let (name, subject) = ("kernel-exec", "confinement of exec");
    let mut missing = Vec::new();
    if user_namespaces.is_none_or(|limit| limit.trim() == "0") {
        missing.push("no user namespaces, so profile restricted ends with 125");
    }
    if !has_children {
        missing.push("no list of a process's children in /proc, so -p ends with 125");
    }
    if missing.is_empty() {
        let landlock = match landlock {
            0 => "no Landlock".to_owned(),
            version => format!("Landlock {version}"),
        };
        return Check::ok(name, subject, format!("user namespaces, children of processes, {landlock}"));
    }
    let remedy = "sysctl user.max_user_namespaces; a kernel with CONFIG_USER_NS and CONFIG_PROC_CHILDREN";
    Check::warn(name, subject, missing.join("; "), remedy)
}

fn cgroups(mounts: &[Mount]) -> Check {
    let (name, subject) = ("cgroups", "/sys/fs/cgroup");
    let of_kind = |kind: &str| mounts.iter().filter(|mount| mount.kind == kind).count();
    match (of_kind("cgroup2"), of_kind("cgroup")) {
        (0, 0) => Check::warn(
            name,
            subject,
            "no cgroup hierarchy is mounted: limits and use of containers are not shown",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        ),
        (_, 0) => Check::ok(name, subject, "version 2"),
        (0, _) => Check::ok(name, subject, "version 1"),
        _ => Check::ok(name, subject, "versions 1 and 2: hybrid"),
    }
}

fn run(is_in_memory: bool) -> Check {
    let (name, subject) = ("run-tmpfs", "/run");
    if is_in_memory {
        return Check::ok(name, subject, "a tmpfs: a boot empties it");
    }
    Check::warn(
        name,
        subject,
        "no tmpfs: what is below it outlives a boot, and the containers it tells of do not",
        "mount a tmpfs at /run, as every distribution does; until then run `porthole reconcile` at boot",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    #[test]
    fn kinds_of_namespaces_that_pods_are_made_of_have_to_be_there() {
        assert_eq!(namespaces(&[]).verdict, Verdict::Ok);
        assert_eq!(namespaces(&[NamespaceKind::Time]).verdict, Verdict::Warn);
        assert_eq!(namespaces(&[NamespaceKind::Time, NamespaceKind::Net]).verdict, Verdict::Fail);
    }

    #[test]
    fn a_call_that_the_kernel_does_not_know_is_told_and_one_that_it_refuses_is_known() {
        let answers = |errno: Errno| CALLS.iter().map(|call| (call, Err(errno.into()))).collect::<Vec<_>>();
        assert_eq!(calls(&answers(Errno::PERM)).verdict, Verdict::Ok);
        assert_eq!(calls(&answers(Errno::NOSYS)).verdict, Verdict::Fail);
        assert_eq!(calls(&answers(Errno::NOSYS)[2..]).verdict, Verdict::Warn);
    }

    #[test]
    fn the_probes_change_no_mount() {
        let before = mounts::read().unwrap();
        for call in CALLS {
            let answer = (call.probe)();
            assert_ne!(answer.map_err(|e| e.raw_os_error()), Err(Some(libc::EFAULT)), "{}", call.name);
        }
        assert_eq!(mounts::read().unwrap(), before);
    }

    #[test]
    fn filters_cgroups_and_run_are_judged() {
        assert_eq!(seccomp(Some("kill_process trap errno allow")).verdict, Verdict::Ok);
        assert_eq!(seccomp(Some("allow")).verdict, Verdict::Warn);
        assert_eq!(seccomp(None).verdict, Verdict::Warn);
        assert_eq!(
            exec(Some("15000\n"), true, 7).evidence,
            "user namespaces, children of processes, Landlock 7"
        );
        assert!(exec(Some("0\n"), true, 7).evidence.contains("restricted"));
        assert_eq!(
            (exec(None, true, 0).verdict, exec(Some("1"), false, 0).verdict),
            (Verdict::Warn, Verdict::Warn)
        );
        let mount = |kind: &str| Mount { point: "/c".into(), kind: kind.into(), ..Mount::default() };
        assert_eq!(cgroups(&[mount("cgroup2")]).evidence, "version 2");
        assert_eq!(cgroups(&[mount("cgroup")]).evidence, "version 1");
        assert_eq!(cgroups(&[mount("cgroup"), mount("cgroup2")]).evidence, "versions 1 and 2: hybrid");
        assert_eq!(cgroups(&[]).verdict, Verdict::Warn);
        assert_eq!((run(true).verdict, run(false).verdict), (Verdict::Ok, Verdict::Warn));
    }
}
