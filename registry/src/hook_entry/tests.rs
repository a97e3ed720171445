//! The entry, in documents and under real shells.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::*;

fn hook(path: &str) -> HookPath {
    HookPath::parse(Path::new(path)).unwrap()
}

fn document(text: &str) -> Document {
    Document::parse(text.to_owned()).unwrap()
}

#[test]
fn only_a_path_that_needs_no_quotes_is_written_into_a_line() {
    for fine in ["/a", "/usr/libexec/porthole/porthole-hook", "/opt/a.b_c-d/0"] {
        assert_eq!(hook(fine).as_str(), fine);
    }
    for bad in [
        "", "/", "a", "./a", "/a/", "/a b", "/a;b", "/a$b", "/a'b", "/a\"b", "/a\nb", "/a\\b", "/ä", "/~",
        "/*",
    ] {
        assert!(HookPath::parse(Path::new(bad)).is_err(), "{bad}");
    }
}

#[test]
fn our_entries_are_known_in_every_form_they_ever_had() {
    for ours in [
        entry(&hook("/x/porthole-hook"), Stage::Poststop),
        json!({ "path": "/usr/libexec/porthole/porthole-hook", "args": ["porthole-hook", "createRuntime"] }),
        json!({ "path": "/old/porthole-hook" }),
        json!({ "path": "/bin/sh", "args": ["sh", "-c", "test ! -x /o/porthole-hook || exec /o/porthole-hook createRuntime"] }),
        json!({ "path": "/bin/bash", "args": ["bash", "-ec", "'/o/porthole-hook' prestart"] }),
        json!({ "path": "/bin/sh", "args": ["sh", "-c", "true;/o/porthole-hook prestart"] }),
    ] {
        assert!(is_ours(&ours), "{ours}");
    }
    for foreign in [
        json!({ "path": "/usr/bin/nvidia-ctk", "args": ["nvidia-ctk", "hook"] }),
        json!({ "path": "/bin/sh", "args": ["sh", "-c", "logger before porthole-hook; exec /site/hook"] }),
        json!({ "path": "/bin/sh", "args": ["sh", "-c", "test -x /o/porthole-hook || logger no porthole-hook"] }),
        json!({ "path": "/bin/logger", "args": ["logger", "porthole-hook"] }),
        json!({ "path": "/site/porthole-hook-extra" }),
        json!({ "path": 7, "args": "porthole-hook" }),
        json!(["porthole-hook"]),
        json!(null),
    ] {
        assert!(!is_ours(&foreign), "{foreign}");
    }
}

#[test]
fn keys_in_other_letters_are_the_ones_that_go_reads() {
    let ours = hook("/x/porthole-hook");
    for (spec, site) in [
        (r#"{"Hooks":{"createRuntime":[{"path":"/site"}]}}"#, "createRuntime"),
        (r#"{"hooks":{"createruntime":[{"path":"/site"}],"x":[]}}"#, "createRuntime"),
        (r#"{"HOOKS":{"PostStop":[{"path":"/site"}],"CREATERUNTIME":null}}"#, "poststop"),
        ("{\"hook\u{17f}\":{\"po\u{17f}tstop\":[{\"path\":\"/site\"}]}}", "poststop"),
        (r#"{"\u0048ooks":{"poststop":[{"path":"/site"}]}}"#, "poststop"),
    ] {
        let mut document = document(spec);
        assert_eq!(add(&mut document, &ours), Ok(true), "{spec}");
        let added: Value = serde_json::from_str(document.as_str()).unwrap();
        assert_eq!(added.as_object().unwrap().len(), 1, "{spec}: {added}");
        assert_eq!(added["hooks"][site][0]["path"], "/site", "{spec}: {added}");
        for stage in STAGES {
            let hooks = added["hooks"][stage.as_str()].as_array().unwrap();
            assert_eq!(hooks.last(), Some(&entry(&ours, stage)), "{spec}: {added}");
        }
        assert_eq!(add(&mut document, &ours), Ok(false), "{spec}: the second time");
    }
    for spec in [
        r#"{"hooks":{},"Hooks":{}}"#,
        r#"{"Hooks":null,"HOOKS":{}}"#,
        r#"{"hooks":{"poststop":[],"postStop":[]}}"#,
    ] {
        let mut document = document(spec);
        assert!(add(&mut document, &ours).unwrap_err().to_string().contains("twice"), "{spec}");
        assert_eq!(document.as_str(), spec);
    }
}

const SPECS: [&str; 6] = [
    r#"{"ociVersion":"1.0.2","process":{"cwd":"/"}}"#,
    "{\n\t\"ociVersion\": \"1.0.2\",\n\t\"hooks\": {\n\t\t\"prestart\": [\n\t\t\t{\n\t\t\t\t\"path\": \"/site\"\n\t\t\t}\n\t\t]\n\t}\n}\n",
    r#"{"hooks":{"createRuntime":[{"path":"/site","timeout":1e1}],"poststop":[{"path":"/a"},{"path":"/b"}]}}"#,
    r#"{"hooks":{}, "x": 1}"#,
    "{}\n",
    r#"{"hooks":{"createContainer":[{"path":"/c"}]}}"#,
];

#[test]
fn hooks_of_the_site_come_first_and_are_all_that_is_left() {
    let ours = hook("/x/porthole-hook");
    for spec in SPECS {
        let mut document = document(spec);
        assert_eq!(add(&mut document, &ours), Ok(true));
        let added: Value = serde_json::from_str(document.as_str()).unwrap();
        for stage in STAGES {
            let hooks = added["hooks"][stage.as_str()].as_array().unwrap();
            assert_eq!(hooks.last(), Some(&entry(&ours, stage)));
            assert_eq!(hooks.iter().filter(|hook| is_ours(hook)).count(), 1);
        }
        let once = document.as_str().to_owned();
        assert_eq!(add(&mut document, &ours), Ok(false), "the second time");
        assert_eq!(document.as_str(), once);
        assert_eq!(remove(&mut document), Ok(true));
        // `{}` that was there before us goes along: it says nothing.
        if spec != SPECS[3] {
            assert_eq!(document.as_str(), spec);
        }
        assert_eq!(remove(&mut document), Ok(false));
    }
}

#[test]
fn an_entry_of_an_older_form_or_path_is_replaced() {
    let spec = r#"{"hooks":{"prestart":[{"path":"/old/porthole-hook"}],"createRuntime":[{"path":"/a"},
        {"path":"/old/porthole-hook","args":["porthole-hook","createRuntime"]},{"path":"/b"}]}}"#;
    let mut document = document(spec);
    assert_eq!(add(&mut document, &hook("/new/porthole-hook")), Ok(true));
    let hooks: Value = serde_json::from_str(document.get(&["hooks"]).unwrap().unwrap()).unwrap();
    let entries = hooks["createRuntime"].as_array().unwrap();
    let want =
        [json!({ "path": "/a" }), json!({ "path": "/b" }), entry(&hook("/new/porthole-hook"), STAGES[0])];
    assert_eq!(entries, &want);
    assert!(hooks.get("prestart").is_none());
    let again = document.as_str().to_owned();
    add(&mut document, &hook("/newer/porthole-hook")).unwrap();
    assert_eq!(document.as_str(), again.replace("/new/", "/newer/"));
}

#[test]
fn hooks_that_are_null_count_as_none() {
    for spec in [r#"{"hooks":null}"#, r#"{"hooks":{"createRuntime":null,"poststart":[],"poststop":null}}"#] {
        let mut document = document(spec);
        assert_eq!(add(&mut document, &hook("/x/porthole-hook")), Ok(true));
        let hooks: Value = serde_json::from_str(document.get(&["hooks"]).unwrap().unwrap()).unwrap();
        assert_eq!(hooks["poststop"], json!([entry(&hook("/x/porthole-hook"), Stage::Poststop)]));
    }
}

#[test]
fn hooks_of_another_type_are_left_alone() {
    for spec in [r#"{"hooks":[]}"#, r#"{"hooks":{"poststart":{}}}"#, r#"{"hooks":"x"}"#] {
        assert!(add(&mut document(spec), &hook("/x/porthole-hook")).is_err(), "{spec}");
    }
}

#[test]
fn the_files_for_a_directory_of_hooks_have_the_form_of_every_entry() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/hooks.d");
    for stage in STAGES {
        let name = format!("porthole-{}.json", stage.as_str().to_lowercase());
        let file: Value = serde_json::from_slice(&fs::read(dir.join(name)).unwrap()).unwrap();
        assert_eq!(file, hooks_d(&hook("/usr/libexec/porthole/porthole-hook"), stage));
        assert!(is_ours(&file["hook"]));
    }
    assert_eq!(fs::read_dir(dir).unwrap().count(), STAGES.len());
}

/// Runs the entry's line under a shell, with more on its stdin than a pipe holds.
fn run(shell: &[&str], path: &Path) -> (Output, std::io::Result<()>) {
    let entry = entry(&HookPath::parse(path).unwrap(), Stage::CreateRuntime);
    let args: Vec<_> =
        entry["args"].as_array().unwrap()[1..].iter().map(|arg| arg.as_str().unwrap()).collect();
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(args).env_clear().current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // No newline at the end, a backslash and a NUL: all of it has to be read.
    let state = [&b"{\\\n\0"[..], &vec![b'x'; 100 << 10], &b"\n  y\\"[..]].concat();
    let written = stdin.write_all(&state);
    drop(stdin);
    (child.wait_with_output().unwrap(), written)
}

#[test]
fn a_hook_that_is_not_there_ends_well_with_its_state_read() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let no_program = dir.join("no-program");
    fs::write(&no_program, "#!/bin/sh\nexit 7\n").unwrap();
    fs::set_permissions(&no_program, fs::Permissions::from_mode(0o644)).unwrap();
    let program = dir.join("program");
    let out = dir.join("out");
    // cksum stands for a hook that reads all; its result says that nothing is missing.
    fs::write(&program, format!("#!/bin/sh\n/usr/bin/cksum > {}\necho $0 $1\nexit 7\n", out.display()))
        .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let shells: [&[&str]; 4] =
        [&["/bin/sh"], &["/bin/dash"], &["/bin/bash", "--posix"], &["/bin/busybox", "sh"]];
    for shell in shells.into_iter().filter(|shell| Path::new(shell[0]).exists()) {
        for missing in [&dir.join("missing"), &no_program, &PathBuf::from("/proc/self/mem")] {
            let (output, written) = run(shell, missing);
            assert!(written.is_ok(), "{shell:?}: {written:?}");
            assert!(output.status.success(), "{shell:?} {missing:?}: {output:?}");
            assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{shell:?}: {output:?}");
        }
        let (output, written) = run(shell, &program);
        assert!(written.is_ok());
        assert_eq!(output.status.code(), Some(7), "{shell:?}: {output:?}");
        let words = format!("{} createRuntime\n", program.display());
        assert_eq!(String::from_utf8_lossy(&output.stdout), words);
        let sum = fs::read_to_string(&out).unwrap();
        let length = 4 + (100 << 10) + 5;
        assert_eq!(sum.trim().rsplit(' ').next(), Some(length.to_string().as_str()), "{sum}");
    }
}

#[test]
fn an_entry_that_looks_first_is_told_from_one_that_somebody_has_written() {
    let hook = HookPath::parse(Path::new("/usr/libexec/porthole/porthole-hook")).unwrap();
    assert!(is_guarded(&entry(&hook, Stage::Poststop)));
    let of = |line: &str| json!({ "path": "/bin/sh", "args": ["sh", "-c", line] });
    assert!(is_ours(&of("exec /usr/libexec/porthole/porthole-hook poststop")));
    assert!(!is_guarded(&of("exec /usr/libexec/porthole/porthole-hook poststop")));
    assert!(!is_guarded(&of("test -x /bin/true && exec /usr/libexec/porthole/porthole-hook poststop")));
    assert!(!is_guarded(&json!({ "path": "/usr/libexec/porthole/porthole-hook", "args": [] })));
}
