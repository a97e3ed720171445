//! The part of a record that this version does not know: kept when the record is written again.
//!
//! Three texts tell it apart: the one that was read, what this version makes of it, and what it makes of the record now. A
//! value that is the same in the last two stays as it is in the first.

use super::Record;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

type Fields<T> = BTreeMap<String, T>;

/// The record's fields, if the text that it was read from has more than this version knows.
pub(super) fn from(record: &Record) -> Option<Fields<Box<RawValue>>> {
    let original = record.original.as_deref()?;
    let known = Record::parse_alone(original).ok()?.to_json_alone().ok()?;
    if known == original.as_bytes() {
        return None;
    }
    let now = record.to_json_alone().ok()?;
    let fields = |json| serde_json::from_slice::<Fields<&RawValue>>(json).ok();
    Some(merge(&fields(original.as_bytes())?, &fields(&known)?, &fields(&now)?))
}

fn merge(
    original: &Fields<&RawValue>,
    known: &Fields<&RawValue>,
    now: &Fields<&RawValue>,
) -> Fields<Box<RawValue>> {
    let unknown = original.iter().filter(|(key, _)| !known.contains_key(*key));
    let unknown = unknown.map(|(key, value)| (key.clone(), (*value).to_owned()));
    let ours = now.iter().map(|(key, now)| {
        let value = match (original.get(key), known.get(key)) {
            (Some(original), Some(known)) => carry(original, known, now),
            _ => (*now).to_owned(),
        };
        (key.clone(), value)
    });
    unknown.chain(ours).collect()
}

fn carry(original: &RawValue, known: &RawValue, now: &RawValue) -> Box<RawValue> {
    if known.get() == now.get() {
        return original.to_owned();
    }
    let fields = |value| Fields::<&RawValue>::deserialize(value).ok();
    let merged = fields(original).zip(fields(known).zip(fields(now))).and_then(|(original, (known, now))| {
        serde_json::value::to_raw_value(&merge(&original, &known, &now)).ok()
    });
    merged.unwrap_or_else(|| now.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#"{"schema":1,"id":"c1","bundle":"/b","engine":"containerd","kind":"container","pid":7,"pid_start":9,"boot_id":"b","created":"2026-01-01T00:00:00Z","stage":"createRuntime","namespaces":{"net":{"path":"/proc/7/ns/net","dev":4,"ino":42,"host":false}},"security":{"no_new_privileges":true,"uid":0,"gid":0,"capabilities":["CAP_KILL"],"seccomp":false},"pin":{"name":"web-0","path":"/run/netns/web-0"}}"#;

    /// A record as a version to come may write it: more of everything.
    fn future() -> serde_json::Value {
        let mut value: serde_json::Value = serde_json::from_str(PLAIN).unwrap();
        value["schema"] = 7.into();
        value["engine"] = "quark".into();
        value["kind"] = "vm".into();
        value["stage"] = "nri".into();
        value["exact"] = serde_json::json!({ "n": [1.5, null, u64::MAX] });
        value["namespaces"]["net"]["cookie"] = 99.into();
        value["namespaces"]["syslog"] = serde_json::json!({ "path": "/x", "ino": "new" });
        value["security"]["landlock"] = true.into();
        value["security"]["uid"] = serde_json::json!({ "inside": 0 });
        value["pin"]["handle"] = "abc".into();
        value
    }

    fn read(value: &serde_json::Value) -> Record {
        Record::parse(value.to_string().as_bytes()).unwrap()
    }

    fn written(record: &Record) -> serde_json::Value {
        serde_json::from_slice(&record.to_json().unwrap()).unwrap()
    }

    #[test]
    fn a_record_of_this_version_is_written_byte_for_byte() {
        let record = Record::parse(PLAIN.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(record.to_json().unwrap()).unwrap(), PLAIN);
    }

    #[test]
    fn a_record_from_the_future_is_read_by_what_is_known_of_it() {
        let record = read(&future());
        assert_eq!((record.id.as_str(), record.pid, record.netns().unwrap().id.ino), ("c1", 7, 42));
        assert_eq!(record.pin.as_ref().unwrap().name.as_str(), "web-0");
        assert_eq!((record.engine.as_str(), record.stage.as_str()), ("unknown", "unknown"));
        assert_eq!((record.namespaces.len(), record.security.uid), (1, 0));
        assert!(record.security.no_new_privileges);
    }

    #[test]
    fn written_again_it_has_lost_nothing_and_has_what_was_changed() {
        let mut expected = future();
        let mut record = read(&expected);
        assert_eq!(written(&record), expected);
        record.cgroup = Some("/c1".into());
        record.stage = crate::stage::Stage::Poststart;
        record.security.gid = 5;
        record.namespaces.values_mut().for_each(|ns| ns.id.ino = 43);
        expected["cgroup"] = "/c1".into();
        expected["stage"] = "poststart".into();
        expected["security"]["gid"] = 5.into();
        expected["namespaces"]["net"]["ino"] = 43.into();
        assert_eq!(written(&record), expected);
        record.pin = None;
        expected.as_object_mut().unwrap().remove("pin");
        assert_eq!(written(&record), expected);
        // Once more, by the next program that reads it.
        assert_eq!(written(&read(&written(&record))), expected);
    }

    #[test]
    fn a_number_that_no_machine_word_holds_stays_as_it_is() {
        let text = PLAIN.replacen('{', r#"{"big":123456789012345678901234567890.10,"#, 1);
        let mut record = Record::parse(text.as_bytes()).unwrap();
        record.pid_start = 10;
        let json = String::from_utf8(record.to_json().unwrap()).unwrap();
        assert!(
            json.contains("123456789012345678901234567890.10") && json.contains(r#""pid_start":10"#),
            "{json}"
        );
    }

    #[test]
    fn what_is_written_can_be_read_again_and_what_is_unknown_gives_way_first() {
        let most = usize::try_from(crate::record::MAX_BYTES).unwrap();
        let with = |bytes: usize| {
            let mut value = future();
            value["long"] = "x".repeat(bytes).into();
            read(&value)
        };
        assert!(written(&with(200 << 10))["long"].is_string());
        let file = with(most).to_file().unwrap();
        assert!(file.len() < 1000 && Record::parse(&file).is_ok(), "{} bytes", file.len());
        let mut record = read(&future());
        record.bundle = "x".repeat(most).into();
        assert!(record.to_file().unwrap_err().contains("262144"));
    }

    #[test]
    fn a_record_that_names_no_container_or_no_process_is_none() {
        for field in ["id", "pid", "pid_start", "boot_id"] {
            let mut value = future();
            value[field] = serde_json::json!({ "new": 1 });
            assert!(Record::parse(value.to_string().as_bytes()).is_err(), "{field}");
            value.as_object_mut().unwrap().remove(field);
            assert!(Record::parse(value.to_string().as_bytes()).is_err(), "{field}");
        }
        let least = r#"{"id":"c1","pid":7,"pid_start":9,"boot_id":"b"}"#;
        assert_eq!(Record::parse(least.as_bytes()).unwrap().pid, 7);
        for rubbish in ["", "{", "[]", "null", "\"x\"", "{\"id\":\"c1\"}", "[\"c1\",7]"] {
            assert!(Record::parse(rubbish.as_bytes()).is_err(), "{rubbish}");
        }
    }
}
