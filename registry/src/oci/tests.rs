//! The documents as runtimes write them, and as they should not.

use super::*;

fn state(json: &str) -> State {
    State::parse(json.as_bytes()).unwrap()
}

#[test]
fn a_state_with_nothing_but_an_id_is_enough() {
    let read = state(r#"{"id":"c1"}"#);
    assert_eq!(read, State { id: "c1".to_owned(), ..State::default() });
}

#[test]
fn a_pid_that_names_no_process_is_no_pid() {
    for pid in ["0", "-1", "null", "\"12\"", "1.5", "99999999999", "18446744073709551615", "[]", "{}", "true"]
    {
        assert_eq!(state(&format!(r#"{{"id":"c1","pid":{pid}}}"#)).pid, None, "{pid}");
    }
    assert_eq!(state(r#"{"id":"c1","pid":4242}"#).pid, Some(4242));
}

#[test]
fn a_field_of_the_wrong_type_does_not_spoil_the_others() {
    let read = state(
        r#"{"bundle":["x"],"annotations":[1,{"a":2}],"status":{"s":1},"pid":7,"id":"c1","new":{"x":[]}}"#,
    );
    assert_eq!(read, State { id: "c1".to_owned(), pid: Some(7), ..State::default() });
    let spec =
        br#"{"hostname":1,"process":"x","mounts":{},"linux":{"namespaces":[1,{"type":"network","path":7},
        {"type":"mount"},{"path":"x"}],"uidMappings":null,"cgroupsPath":"/a"},"root":{"path":"/r"}}"#;
    let spec = Spec::parse(spec).unwrap();
    assert_eq!(spec.root.path.as_deref(), Some("/r"));
    assert_eq!(spec.linux.cgroups_path.as_deref(), Some("/a"));
    assert_eq!(spec.linux.namespaces.len(), 2);
    assert_eq!(spec.namespace("network").unwrap().path, None);
}

#[test]
fn only_annotations_that_tell_who_it_is_are_kept() {
    let read = state(
        r#"{"id":"c1","annotations":{"password":"s3cret","io.kubernetes.cri.sandbox-name":"web","nerdctl/name":"n",
            "io.kubernetes.pod.uid":7,"io.kubernetes.pod.name":null,"io.kubernetes.cri.sandbox-namespace-x":"y"}}"#,
    );
    let kept: Vec<_> = read.annotations.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(kept, [("io.kubernetes.cri.sandbox-name", "web"), ("nerdctl/name", "n")]);
    assert!(state(r#"{"id":"c1","annotations":null}"#).annotations.is_empty());
}

#[test]
fn environment_and_command_line_are_not_kept() {
    let spec = br#"{"process":{"env":["TOKEN=s3cret"],"args":["--password=s3cret"],"user":{"uid":1000,"gid":100},
        "noNewPrivileges":true,"selinuxLabel":"a:b:c:s0","apparmorProfile":"cri",
        "capabilities":{"bounding":["CAP_NET_RAW","CAP_CHOWN"],"effective":["CAP_CHOWN"]}},
        "linux":{"seccomp":{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["x"]}]},
        "uidMappings":[{"containerID":0,"hostID":100000,"size":65536}]},
        "mounts":[{"destination":"/secret","source":"/s3cret"},{"destination":"/etc/hosts","source":"/p/hosts"}]}"#;
    let spec = Spec::parse(spec).unwrap();
    assert!(!format!("{spec:?}").contains("s3cret"));
    assert_eq!((spec.process.user.uid, spec.process.user.gid), (Some(1000), Some(100)));
    assert!(spec.process.no_new_privileges && spec.linux.seccomp.0);
    assert_eq!(spec.process.capabilities.bounding, ["CAP_NET_RAW", "CAP_CHOWN"]);
    assert_eq!(spec.linux.uid_mappings[0].host_id, Some(100_000));
    assert_eq!(spec.mounts.len(), 1);
}

#[test]
fn an_error_names_the_document_and_the_place_and_repeats_nothing_of_it() {
    for (json, want) in [
        ("", "OCI state is empty"),
        (" \n", "OCI state is empty"),
        ("{\"id\":\n\"c1\"", "OCI state ends too early, at line 2 column 4"),
        ("{\"id\" 1}", "OCI state is no JSON: expected `:` at line 1 column 7"),
        ("\"evil\\u001b[2J\"", "OCI state is no JSON object, or has a key twice, at line 1 column 15"),
        ("[\"c1\"]", "OCI state is no JSON object, or has a key twice, at line 1 column 0"),
        ("{}", "OCI state names no container: its `id` is missing, empty or no string"),
        ("{\"id\":{}}", "OCI state names no container: its `id` is missing, empty or no string"),
        ("{\"id\":\"c\"}x", "OCI state is no JSON: trailing characters at line 1 column 11"),
    ] {
        let error = State::parse(json.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), want, "{json}");
        assert!(!error.remedy().is_empty());
    }
}

#[test]
fn deep_nesting_overflows_no_stack() {
    let deep = format!("{{\"id\":\"c1\",\"x\":{}1{}}}", "[".repeat(200_000), "]".repeat(200_000));
    // Refusing it is as good as reading over it; crashing is not.
    if let Ok(read) = State::parse(deep.as_bytes()) {
        assert_eq!(read.id, "c1");
    }
    let kept = format!("{{\"id\":{}1{}}}", "[".repeat(200_000), "]".repeat(200_000));
    assert!(State::parse(kept.as_bytes()).is_err());
}
