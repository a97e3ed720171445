//! Writes the corpora that fuzzing starts from: `porthole-test-seeds FIXTURES CORPORA`. Not a program of the fuzz targets'
//! package: those are built with coverage, which only libFuzzer takes.

use std::error::Error;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// The separator of the parts of an input: no byte of UTF-8.
const SEPARATOR: u8 = 0xff;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let (Some(fixtures), Some(corpora)) = (args.next(), args.next()) else {
        return Err("usage: porthole-test-seeds FIXTURES CORPORA".into());
    };
    let corpora = Path::new(&corpora);
    let write = |target: &str, name: &str, content: &[u8]| {
        let corpus = corpora.join(target);
        fs::create_dir_all(&corpus)?;
        fs::write(corpus.join(name), content)
    };
    for engine in fs::read_dir(Path::new(&fixtures).join("oci-state"))? {
        let engine = engine?;
        for call in fs::read_dir(engine.path())? {
            let call = call?;
            let name = format!("{}-{}", engine.file_name().display(), call.file_name().display());
            let call: Value = serde_json::from_slice(&fs::read(call.path())?)?;
            let stdin = call["stdin"].as_str().unwrap_or_default().as_bytes();
            let config = call["config"].to_string().into_bytes();
            write("state", &name, stdin)?;
            write("spec", &name, &config)?;
            write("json_edit", &name, &config)?;
            let id = serde_json::from_slice::<Value>(stdin)?["id"].as_str().unwrap_or_default().to_owned();
            let separated = |parts: &[&[u8]]| parts.join(&[SEPARATOR][..]);
            write("identity", &name, &separated(&[stdin, &config, file_of(&id).as_bytes()]))?;
            write("naming", &name, &separated(&[b"{namespace}.{pod}-{id12}", id.as_bytes(), b"k8s_web_x"]))?;
        }
    }
    write("json_edit", "styles", STYLES.as_bytes())?;
    write("record", "full", RECORD.as_bytes())?;
    write("config", "full", CONFIG.as_bytes())?;
    write("runtime_state", "runc", RUNC.as_bytes())?;
    write("runtime_state", "crun", CRUN.as_bytes())?;
    write("policy", "full", POLICY.as_bytes())?;
    write("policy", "deny", b"[[rule]]\neffect = 'deny'\nnamespaces = ['-']\n")?;
    Ok(())
}

/// One file that is something to Docker and to podman.
fn file_of(id: &str) -> String {
    let docker = r#""Name":"/k8s_web_p1_default_uid_0","Config":{"Image":"i","Labels":{"io.kubernetes.sandbox.id":"x"}}"#;
    let podman = r#""names":["web"],"metadata":"{\"image-name\":\"i\"}","hostname":"p1""#;
    format!(r#"{{"id":"{id}",{podman},{docker},"linux":{{"namespaces":[{{"type":"uts"}}]}}}}"#)
}

const STYLES: &str = "{\r\n\t\"a\" : {\"b\":{ }, \"x\\u0061\": [ 1.10,\n{}] },\n\n \"hooks\":{\n},\"n\":null, \"poststop\":[ ]\n}";

const RECORD: &str = r#"{"schema":1,"id":"c1","bundle":"/run/b","engine":"containerd","kind":"sandbox","pid":4242,
"pid_start":123456,"boot_id":"b","created":"2026-01-01T00:00:00Z","stage":"createRuntime","name":"web","image":"i",
"pod":{"name":"web-0","namespace":"shop","uid":"u","sandbox_id":"s"},"namespaces":{"net":{"path":"/proc/4242/ns/net",
"dev":4,"ino":4026532201,"host":false}},"cgroup":"/c","rootfs":"/r","security":{"selinux":"a:b:c:s0","apparmor":"p",
"no_new_privileges":true,"uid":0,"gid":0,"capabilities":["CAP_CHOWN"],"seccomp":true,"userns_owner":[1,2]},
"pin":{"name":"web-0","path":"/run/netns/web-0"}}"#;

const RUNC: &str =
    r#"{"id":"c1","init_process_pid":4242,"init_process_start":77,"config":{"labels":["a=b","bundle=/b"]}}"#;

const CRUN: &str =
    r#"{"pid":4242,"process-start-time":77,"cgroup-path":"","scope":"","bundle":"\/b","owner":"root"}"#;

const CONFIG: &str = r#"run_dir = "/run/porthole"
netns_dir = "/run/netns"
deadline_ms = 1000
on_error = "ignore"
[pin]
name = "{namespace}.{pod}"
[engines]
containerd = ["/run/containerd"]
containers-storage = []
"#;

const POLICY: &str = r#"[[rule]]
effect = "allow"
users = ["ann", "1000", "*"]
groups = ["sre", "%27"]
namespaces = ["shop", "team-*", "-"]
pods = ["web-?"]
profiles = ["general", "sysadmin"]
commands = ["/usr/bin/ip addr *", "ip -br a*", "/usr/*/ping"]
allow = ["enter", "chroot", "host-mount", "cap-add", "root", "user", "env", "directory", "context", "host", "unbound"]
writable = ["/srv/dumps"]
reason = "reading"
"#;
