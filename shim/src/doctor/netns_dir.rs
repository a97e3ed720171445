//! The directory of the pins: its mount, and the mount namespace it is seen from.

use super::check::{Check, Finding, count};
use super::{NEEDS_ROOT, Setting, Subject};
use crate::mounts::{self, Mount};
use porthole_registry::NetnsDir;
use porthole_registry::host::Host;
use porthole_registry::namespace::{NamespaceId, NamespaceKind};
use rustix::fs::CWD;
use std::collections::HashSet;
use std::path::Path;

pub(super) const SUBJECT: Subject =
    Subject { checks: &["netns-directory", "mount-count", "mount-namespace"], look };

/// systemd has a unit for each mount, and takes seconds for all of them from some thousands on.
const MANY: usize = 5000;

fn look(setting: &Setting) -> Vec<Check> {
    let path = &setting.config.netns_dir;
    let subject = path.display().to_string();
    let mut checks = Vec::new();
    match (NetnsDir::open(path), mounts::read()) {
        (Err(error), _) => {
            checks.push(Check::fail(
                "netns-directory",
                subject,
                error.to_string(),
                error.remedy().unwrap_or_default(),
            ));
        }
        (Ok(_), Err(error)) => {
            checks.push(Check::skip("netns-directory", subject, format!("/proc/self/mountinfo: {error}")));
        }
        (Ok(None), Ok(_)) => {
            checks.push(Check::ok("netns-directory", subject, "not there yet: the first pin makes it"));
        }
        (Ok(Some(_)), Ok(mounts)) => {
            // As mountinfo writes it: /var/run/netns is /run/netns.
            let path = path.canonicalize().unwrap_or_else(|_| path.clone());
            checks.push(propagation(&path, &mounts));
            checks.push(number(&path, &mounts));
        }
    }
    checks.push(namespace(setting.is_root));
    checks
}

/// The mounts below the directory, each place once: a shared mount is listed by each of its peers.
fn below(path: &Path, mounts: &[Mount]) -> usize {
    let points =
        mounts.iter().map(|mount| &mount.point).filter(|point| point.starts_with(path) && *point != path);
    points.collect::<HashSet<_>>().len()
}

fn propagation(path: &Path, mounts: &[Mount]) -> Check {
    let name = "netns-directory";
    let subject = path.display().to_string();
    let pins = count(below(path, mounts), "pin");
    let unseen =
        "pins made in the mount namespace of a runtime are not seen in the host's, nor the other way";
    let share = format!("`mount --make-shared {subject}`, then `porthole reconcile`");
    match mounts::of(mounts, path) {
        Some((mount, true)) if mount.is_shared => Check::ok(name, subject, format!("a shared mount, {pins}")),
        Some((_, true)) => Check::fail(name, &subject, format!("a private mount: {unseen}"), share),
        _ if below(path, mounts) == 0 => Check::ok(name, subject, "no mount yet: the first pin makes it one"),
        Some((mount, false)) if mount.is_shared => {
            Check::ok(name, subject, format!("on a shared mount, {}, {pins}", mount.point.display()))
        }
        _ => {
            let remedy = format!(
                "`mount --bind {subject} {subject} && mount --make-shared {subject}`, then `porthole reconcile`"
            );
            Check::warn(
                name,
                &subject,
                format!("no mount of its own, and what it is on is private: {unseen}"),
                remedy,
            )
        }
    }
}

fn number(path: &Path, mounts: &[Mount]) -> Check {
    let all = below(path, mounts);
    let mut findings = Vec::new();
    if all > MANY {
        findings.push(Finding::warn(
            format!("{}: systemd slows down, each is a unit to it", count(all, "mount")),
            "see whether so many pods are there: `porthole reconcile` removes pins that nothing holds, `ip netns` lists those of others",
        ));
    }
    Check::of("mount-count", path.display().to_string(), count(all, "mount"), findings)
}

fn namespace(is_root: bool) -> Check {
    let (name, subject) = ("mount-namespace", "this process");
    let own = NamespaceId::at(CWD, "/proc/self/ns/mnt");
    match Host::open() {
        Ok(host) if host.is_pid_1() => {
            let same = host.namespace(NamespaceKind::Mnt) == own.ok();
            judge_namespace(same)
        }
        Ok(_) if !is_root => Check::skip(name, subject, NEEDS_ROOT),
        Ok(_) => Check::skip(
            name,
            subject,
            "/proc/1/ns may not be looked at: one's own namespaces count as the host's",
        ),
        Err(errno) => Check::fail(name, subject, format!("/proc: {errno}"), "mount a proc at /proc"),
    }
}

fn judge_namespace(is_the_hosts: bool) -> Check {
    let (name, subject) = ("mount-namespace", "this process");
    if is_the_hosts {
        return Check::ok(name, subject, "in the host's mount namespace, that of pid 1");
    }
    Check::warn(
        name,
        subject,
        "in another mount namespace than pid 1: what is said here of mounts and files is true of this one",
        "run it on the host: `nsenter -t 1 -m porthole doctor`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    fn mount(point: &str, is_shared: bool) -> Mount {
        Mount { point: point.into(), is_shared, kind: "nsfs".into() }
    }

    fn verdict(mounts: &[Mount]) -> Verdict {
        propagation(Path::new("/run/netns"), mounts).verdict
    }

    #[test]
    fn the_directory_has_to_be_on_a_shared_mount_once_there_are_pins() {
        let (root, run) = (mount("/", false), mount("/run", true));
        let own = |shared| mount("/run/netns", shared);
        let pin = mount("/run/netns/web-0", true);
        assert_eq!(verdict(&[root.clone(), run.clone(), own(true), pin.clone()]), Verdict::Ok);
        assert_eq!(verdict(&[root.clone(), run.clone(), own(false), pin.clone()]), Verdict::Fail);
        assert_eq!(verdict(&[root.clone(), run.clone(), own(false)]), Verdict::Fail);
        assert_eq!(verdict(std::slice::from_ref(&root)), Verdict::Ok);
        assert_eq!(verdict(&[root.clone(), run, pin.clone()]), Verdict::Ok);
        assert_eq!(verdict(&[root, pin]), Verdict::Warn);
    }

    #[test]
    fn the_newest_mount_of_the_directory_counts() {
        let twice = [mount("/run/netns", true), mount("/run/netns", false)];
        assert_eq!(verdict(&twice), Verdict::Fail);
    }

    #[test]
    fn thousands_of_mounts_are_a_warning_and_copies_are_not_counted() {
        let many = |count| (0..count).map(|n| mount(&format!("/run/netns/{n}"), true)).collect::<Vec<_>>();
        let path = Path::new("/run/netns");
        assert_eq!(number(path, &many(MANY)).verdict, Verdict::Ok);
        assert_eq!(number(path, &many(MANY + 1)).verdict, Verdict::Warn);
        assert_eq!(number(path, &[many(MANY), many(MANY)].concat()).verdict, Verdict::Ok);
    }

    #[test]
    fn another_mount_namespace_than_the_hosts_is_a_warning() {
        assert_eq!(judge_namespace(true).verdict, Verdict::Ok);
        assert_eq!(judge_namespace(false).verdict, Verdict::Warn);
    }
}
