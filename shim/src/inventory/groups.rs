//! From records to pods: which containers share a network namespace, and what that is called.

use super::{Pod, Present};
use porthole_registry::container_id::ContainerId;
use porthole_registry::identity::Kind;
use porthole_registry::namespace::NamespaceId;
use porthole_registry::naming::{self, Template};
use porthole_registry::record::Record;
use std::collections::BTreeMap;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Netns(NamespaceId),
    Sandbox(String),
    Container(ContainerId),
}

/// Sorts records into pods.
pub(super) fn pods(records: Vec<Record>, present: &Present, template: &Template) -> Vec<Pod> {
    let mut groups: BTreeMap<Key, Vec<Record>> = BTreeMap::new();
    for record in records {
        groups.entry(key(&record)).or_default().push(record);
    }
    let mut pods = Vec::with_capacity(groups.len());
    for (key, records) in groups {
        // Those that say the same are one pod, whichever of them has ended. Others share the namespace, or had one of
        // the same number once.
        if matches!(key, Key::Netns(_)) && !agree(&records) {
            let (now, then): (Vec<_>, Vec<_>) =
                records.into_iter().partition(|record| present.holds_netns(record));
            pods.extend((!now.is_empty()).then(|| pod(now, present, template)));
            pods.extend(ended(then));
        } else {
            pods.push(pod(records, present, template));
        }
    }
    pods
}

fn key(record: &Record) -> Key {
    match record.netns().filter(|netns| !netns.host) {
        Some(netns) => Key::Netns(netns.id),
        None => key_without_netns(record),
    }
}

fn key_without_netns(record: &Record) -> Key {
    let sandbox = record.pod.as_ref().and_then(|pod| pod.sandbox_id.clone().or_else(|| pod.uid.clone()));
    sandbox.map_or_else(|| Key::Container(record.id.clone()), Key::Sandbox)
}

/// Namespace and name of the pod, or the name of a container that is of none.
pub(super) fn called(record: &Record) -> (Option<&str>, &str) {
    match &record.pod {
        Some(pod) => (pod.namespace.as_deref(), &pod.name),
        None => (None, record.name.as_deref().unwrap_or_else(|| record.id.short())),
    }
}

fn agree(records: &[Record]) -> bool {
    let mut names = records.iter().map(called);
    names.next().is_none_or(|first| names.all(|name| name == first))
}

/// Pods of which nothing is left but records.
fn ended(records: Vec<Record>) -> Vec<Pod> {
    let mut groups: BTreeMap<Key, Vec<Record>> = BTreeMap::new();
    for record in records {
        groups.entry(key_without_netns(&record)).or_default().push(record);
    }
    let of_group = |mut containers: Vec<Record>| {
        sort(&mut containers);
        let (namespace, name) = containers.first().map(called).unwrap_or_default();
        Pod {
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
            netns: None,
            on_host_network: false,
            pin: None,
            ended: true,
            sandbox: None,
            containers,
        }
    };
    groups.into_values().map(of_group).collect()
}

fn sort(containers: &mut [Record]) {
    containers.sort_by(|a, b| {
        (a.kind == Kind::Sandbox, &a.name, &a.id).cmp(&(b.kind == Kind::Sandbox, &b.name, &b.id))
    });
}

fn pod(mut containers: Vec<Record>, present: &Present, template: &Template) -> Pod {
    sort(&mut containers);
    let (namespace, name) = if agree(&containers) {
        containers.first().map(called)
    } else {
        containers.iter().min_by_key(|record| rank(record, present, template)).map(called)
    }
    .unwrap_or_default();
    let (namespace, name) = (namespace.map(str::to_owned), name.to_owned());
    let first = containers.first();
    Pod {
        netns: first.and_then(|record| record.netns()).map(|netns| netns.id),
        on_host_network: first.is_some_and(Record::on_host_network),
        pin: containers.iter().find_map(|record| record.pin.as_ref()).map(|pin| pin.name.clone()),
        namespace,
        name,
        ended: false,
        sandbox: None,
        containers,
    }
}

/// How near a container is to being the one whose network namespace this is; the least is. A live sandbox holds it for
/// the others; else the pin is named after who it was made for; who joined started later.
fn rank<'a>(record: &'a Record, present: &Present, template: &Template) -> impl Ord + use<'a> {
    let is_sandbox = record.kind == Kind::Sandbox && present.is_live(record);
    let names_the_pin = record
        .pin
        .as_ref()
        .is_some_and(|pin| naming::candidates(template, &record.identity(), &record.id).contains(&pin.name));
    (!is_sandbox, !names_the_pin, record.pid_start, &record.id)
}
