//! Pins that have a pod's or container's plain name, and units and files of the node that use such a name.
//!
//! `ip netns add amphora` fails while a pin has that name, and `ip netns exec amphora`, a unit's `NetworkNamespacePath=` and
//! `/etc/netns/amphora` mean that pod. That is a fault only where an operator means another namespace by the name.

use super::check::{Check, Finding, count, few};
use super::{NEEDS_ROOT, Setting, Subject};
use crate::install::tree::Tree;
use porthole_registry::Error;
use porthole_registry::naming::sanitize;
use porthole_registry::store::Store;
use std::collections::BTreeMap;
use std::path::Path;

pub(super) const SUBJECT: Subject = Subject { checks: &["pin-names"], look };

/// The directories of units, operators' and packages'.
const UNITS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];
const NETNS: [&str; 2] = ["/run/netns/", "/var/run/netns/"];

/// The names on the node.
#[derive(Debug, Default)]
struct Facts {
    pins: usize,
    /// Plain names of pins, without a namespace and an id, each with its pod.
    plain: BTreeMap<String, String>,
    /// Names that units use, each with one of these units.
    units: BTreeMap<String, String>,
    /// Names that `/etc/netns` has a directory for.
    directories: Vec<String>,
}

fn look(setting: &Setting) -> Vec<Check> {
    match gather(setting) {
        Ok(facts) => vec![judge(&facts)],
        Err(_) if !setting.is_root => vec![Check::skip("pin-names", "registry", NEEDS_ROOT)],
        Err(error) => {
            let remedy = error.remedy().unwrap_or("see why it cannot be read");
            vec![Check::fail("pin-names", "registry", error.to_string(), remedy)]
        }
    }
}

fn gather(setting: &Setting) -> Result<Facts, Error> {
    let mut facts = Facts { units: units(&setting.tree), ..Facts::default() };
    if let Ok(entries) = std::fs::read_dir("/etc/netns") {
        facts.directories =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        facts.directories.sort();
    }
    let Some(store) = Store::open(&setting.config.run_dir)? else { return Ok(facts) };
    for ino in store.pinned()? {
        // Another check reports an entry that cannot be read.
        let Ok(Some(pin)) = store.pin_name(ino) else { continue };
        facts.pins += 1;
        let pod = store.pod(ino).ok().flatten();
        let Some(label) = pod.or_else(|| container(&store, ino)) else { continue };
        let name = label.rsplit('/').next().unwrap_or_default();
        if sanitize(name) == pin {
            facts.plain.insert(pin.to_string(), label.trim_start_matches('/').to_owned());
        }
    }
    Ok(facts)
}

/// The name of the container that has no pod.
fn container(store: &Store, ino: u64) -> Option<String> {
    let mut records = store.members(ino).ok()?.into_iter().filter_map(|id| store.record(&id).ok()?);
    records.find_map(|record| record.name)
}

/// The network namespaces that units name, each with one of these units.
fn units(tree: &Tree) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for directory in UNITS.map(Path::new) {
        for name in tree.names(directory) {
            let path = directory.join(&name);
            // Drop-ins are in a directory `UNIT.d`.
            let inner = if name.ends_with(".d") { tree.names(&path) } else { Vec::new() };
            for file in
                inner.iter().map(|file| path.join(file)).chain([path.clone()]).filter(|file| is_unit(file))
            {
                let Ok(Some(text)) = tree.text(&file) else { continue };
                for netns in named_in(&text) {
                    found.entry(netns).or_insert_with(|| file.display().to_string());
                }
            }
        }
    }
    found
}

fn is_unit(file: &Path) -> bool {
    let ends = file.extension().and_then(|end| end.to_str());
    ends.is_some_and(|end| ["service", "socket", "conf"].contains(&end))
}

/// The names in `NetworkNamespacePath=/run/netns/NAME` and in `ip netns add NAME`, or `exec`. A name that a template fills
/// in is not known.
fn named_in(unit: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in unit.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(path) = line.strip_prefix("NetworkNamespacePath=") {
            names.extend(NETNS.iter().find_map(|directory| path.trim().strip_prefix(directory)));
        } else if line.starts_with("Exec") {
            let words: Vec<_> = line.split_whitespace().collect();
            let of_ip =
                words.windows(3).filter(|words| words[0] == "netns" && ["add", "exec"].contains(&words[1]));
            names.extend(of_ip.map(|words| words[2]));
        }
    }
    names.into_iter().filter(|name| !name.contains('%')).map(str::to_owned).collect()
}

fn judge(facts: &Facts) -> Check {
    let Facts { pins, plain, units, directories } = facts;
    let findings = plain.iter().filter_map(|(pin, pod)| {
        let unit = units.get(pin)?;
        Some(Finding::warn(
            format!("the pin {pin} is the network of {pod}, and {unit} uses that name"),
            "a unit or `ip netns exec` with that name enters the pod: rename the unit's network namespace, or set \
             `[pin] name = \"{namespace}.{pod}\"` in /etc/porthole/config.toml for pods to come",
        ))
    });
    let meant: Vec<_> = directories.iter().filter(|name| plain.contains_key(*name)).cloned().collect();
    let meant = if meant.is_empty() {
        String::new()
    } else {
        format!("; /etc/netns has resolver files for {}", few(&meant))
    };
    let good = format!(
        "{} of {} with a pod's or container's plain name, none of which a unit uses{meant}",
        plain.len(),
        count(*pins, "pin")
    );
    Check::of("pin-names", "registry", good, findings.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    #[test]
    fn the_names_in_a_unit_are_those_that_it_enters() {
        let unit = "# NetworkNamespacePath=/run/netns/comment\n[Service]\nNetworkNamespacePath=/run/netns/amphora\n\
            ExecStartPre=-/sbin/ip netns add vpn\nExecStart=/bin/ip netns exec vpn /usr/sbin/openvpn\n\
            ExecStop=/sbin/ip netns exec %i true\nNetworkNamespacePath=/srv/x\nDescription=ip netns add words\n";
        assert_eq!(named_in(unit), ["amphora", "vpn", "vpn"]);
    }

    #[test]
    fn a_plain_name_that_a_unit_goes_by_is_a_warning_and_one_in_etc_netns_is_told() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        let mut facts = Facts {
            pins: 3,
            plain: map(&[("amphora", "shop/amphora"), ("web-0", "shop/web-0")]),
            units: map(&[("vpn", "/etc/systemd/system/vpn.service")]),
            directories: vec!["web-0".into(), "vpn".into()],
        };
        let check = judge(&facts);
        assert_eq!(check.verdict, Verdict::Ok);
        assert!(
            check.evidence.starts_with("2 of 3 pins") && check.evidence.ends_with("files for web-0"),
            "{check:?}"
        );
        facts.units = map(&[("amphora", "/etc/systemd/system/lb.service")]);
        let check = judge(&facts);
        assert_eq!(check.verdict, Verdict::Warn);
        assert!(check.evidence.contains("amphora is the network of shop/amphora, and /etc/"), "{check:?}");
    }
}
