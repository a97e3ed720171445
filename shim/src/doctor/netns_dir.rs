//! The directory of the pins: its mount, and the mount namespace it is seen from.

use super::check::{Check, Finding, count, few};
use super::{NEEDS_ROOT, Setting, Subject};
use crate::mounts::{self, Mount};
use porthole_registry::NetnsDir;
use porthole_registry::host::Host;
use porthole_registry::namespace::{NamespaceId, NamespaceKind};
use rustix::fs::CWD;
use std::collections::{BTreeSet, HashSet};
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
    let subject = path.display().to_string();
    let pins = count(below(path, mounts), "pin");
    let unseen =
        "pins made in the mount namespace of a runtime are not seen in the host's, nor the other way";
    let mut findings = Vec::new();
    let seen = match mounts::at(mounts, path) {
        Some((mount, true)) => {
            let on = mounts.iter().find(|under| under.id == mount.parent && under.id != mount.id);
            let on = on.map(|on| format!(", on {}, which is {}", on.point.display(), on.propagation()));
            let seen = format!("a {} mount{}", mount.propagation(), on.unwrap_or_default());
            if !mount.is_shared() {
                let share = format!("`mount --make-shared {subject}`, then `porthole reconcile`");
                findings.push(Finding::fail(format!("{seen}: {unseen}"), share));
            }
            seen
        }
        _ if below(path, mounts) == 0 => {
            "no mount yet: the first pin makes it one, if it is empty".to_owned()
        }
        Some((mount, false)) => {
            let on = mount.point.display();
            let seen = format!("no mount of its own, on {on}, which is {}", mount.propagation());
            if !mount.is_shared() {
                findings.push(Finding::warn(
                    format!("{seen}: other mount namespaces do not see pins that are made after they are"),
                    format!("`mount --make-shared {on}`: mount namespaces made from then on see later pins"),
                ));
            }
            seen
        }
        None => "on no mount that can be seen".to_owned(),
    };
    findings.extend(covered(path, mounts, &seen));
    Check::of("netns-directory", subject, format!("{seen}; {pins}"), findings)
}

/// Names that the directory's own mount covers: iproute2 or an earlier version has made it.
fn covered(path: &Path, mounts: &[Mount], seen: &str) -> Option<Finding> {
    let covered = mounts::covered(mounts, path);
    let names: BTreeSet<_> = covered.iter().filter_map(|mount| mount.point.file_name()?.to_str()).collect();
    let names: Vec<_> = names.into_iter().map(str::to_owned).collect();
    let on = mounts.iter().find(|on| Some(on.id) == covered.first().map(|mount| mount.parent))?;
    let remedy = if on.is_shared() {
        let path = path.display();
        format!(
            "as each ends: `unshare -m sh -c 'umount -l {path}; umount {path}/NAME; rm {path}/NAME'`; the directory was made private"
        )
    } else {
        "`porthole reconcile` lets go of them".to_owned()
    };
    let seen = format!(
        "{seen}, covers another mount of {}, so that their owners cannot remove them (EBUSY): {}",
        count(names.len(), "name"),
        few(&names)
    );
    Some(Finding::warn(seen, remedy))
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
        let group = is_shared.then_some(1);
        Mount { point: point.into(), group, kind: "nsfs".into(), ..Mount::default() }
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
    fn the_propagation_of_the_directory_and_of_what_it_is_on_is_told() {
        let said = |mounts: &[Mount]| propagation(Path::new("/run/netns"), mounts).evidence;
        let run = |group, master| Mount { id: 30, parent: 1, group, master, ..mount("/run", false) };
        let own = Mount { id: 31, parent: 30, ..mount("/run/netns", true) };
        let pin = |id, parent| Mount { id, parent, ..mount("/run/netns/web-0", false) };
        assert_eq!(
            said(&[run(None, None), own.clone(), pin(32, 31)]),
            "a shared mount, on /run, which is private; 1 pin"
        );
        assert!(
            said(&[run(None, Some(7)), pin(32, 30)]).contains("no mount of its own, on /run, which is slave")
        );
        assert_eq!(
            said(&[run(Some(7), None), pin(32, 30)]),
            "no mount of its own, on /run, which is shared; 1 pin"
        );
        let held =
            propagation(Path::new("/run/netns"), &[run(None, None), own.clone(), pin(32, 31), pin(33, 30)]);
        assert_eq!((held.verdict, held.remedy.unwrap().contains("reconcile")), (Verdict::Warn, true));
        assert!(held.evidence.contains("1 name") && held.evidence.contains("web-0"), "{}", held.evidence);
        assert!(held.evidence.contains("a shared mount, on /run, which is private"), "{}", held.evidence);
        let parted = said(&[run(Some(7), None), Mount { group: None, ..own }, pin(32, 31), pin(33, 30)]);
        assert!(parted.contains("a private mount") && parted.contains("EBUSY"), "{parted}");
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
