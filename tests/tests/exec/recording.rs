//! `--record`: what the terminal showed, to be shown again.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use porthole_tests::process::wait_until;
use porthole_tests::{Node, on_a_node};
use rustix::termios::tcsetwinsize;
use serde_json::Value;

use crate::setting::{SUDO, exec, policy, web_0, work};
use crate::terminal::{Terminal, size};

/// Header and events of a recording, as a player reads them.
fn read(path: &Path) -> (Value, Vec<(f64, String, String)>) {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let header = lines.next().unwrap();
    let events = lines.map(|event| {
        let event = event.as_array().unwrap();
        assert_eq!(event.len(), 3);
        let text = |at: usize| event[at].as_str().unwrap().to_owned();
        (event[0].as_f64().unwrap(), text(1), text(2))
    });
    (header, events.collect())
}

fn replayed(events: &[(f64, String, String)]) -> String {
    events.iter().filter(|(_, code, _)| code == "o").map(|(_, _, data)| data.as_str()).collect()
}

fn a_session_can_be_replayed(node: &Node) {
    let container = web_0(node);
    let file = work(node).join("session.cast");
    let script = "printf 'gr\\303'; sleep 0.3; printf '\\274n \\360\\237'; sleep 0.3; printf '\\246\\200 \\377\\033[1mbold\\n'; read x; stty size; read -r y; echo typed $y";
    let path = file.to_str().unwrap();
    let mut terminal =
        Terminal::start(&["--record", path, "-e", "TOKEN=hunter2", "web-0", "--", "sh", "-c", script]);
    terminal.expect("bold");
    wait_until("raw mode", || terminal.is_raw());
    tcsetwinsize(&terminal.slave, size(50, 132)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    terminal.types("\r");
    terminal.expect("50 132");
    terminal.types("word\r");
    assert_eq!(terminal.end(), Some(0));
    let (header, events) = read(&file);
    assert_eq!(
        (&header["version"], &header["width"], &header["height"]),
        (&2.into(), &80.into(), &24.into())
    );
    assert!(header["timestamp"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!((&header["env"]["TERM"], &header["title"]), (&"dumb".into(), &"shop/web-0".into()));
    assert!(header["command"].as_str().unwrap().starts_with("sh -c printf"));
    assert!(
        events.is_sorted_by(|a, b| a.0 <= b.0) && events.iter().all(|event| event.0 >= 0.0),
        "{events:?}"
    );
    assert!(events.last().unwrap().0 > 0.5, "{events:?}");
    let shown = replayed(&events);
    assert_eq!(shown, "grün 🦀 \u{fffd}\u{1b}[1mbold\r\n\r\n50 132\r\nword\r\ntyped word\r\n");
    assert!(events.iter().any(|(_, code, data)| code == "r" && data == "132x50"), "{events:?}");
    assert!(
        events.iter().all(|(_, code, _)| code == "o" || code == "r"),
        "what is typed is not kept: {events:?}"
    );
    assert!(!fs::read_to_string(&file).unwrap().contains("hunter2"));
    let meta = fs::metadata(&file).unwrap();
    assert_eq!((meta.uid(), meta.permissions().mode() & 0o777), (0, 0o600));
    container.delete();
}

fn behind_sudo_the_file_is_the_users_where_they_may_write(node: &Node) {
    let container = web_0(node);
    policy(node, "[[rule]]\nusers = ['1234']\neffect = 'allow'\n");
    let work = work(node);
    let record = |path: &Path| {
        let words = ["--record", path.to_str().unwrap(), "web-0", "--", "echo", "ran"];
        let mut terminal = Terminal::start_as(&SUDO, &words);
        let status = terminal.end();
        (status, terminal)
    };
    let own = work.join("own.cast");
    assert_eq!(record(&own).0, Some(0));
    let meta = fs::metadata(&own).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.permissions().mode() & 0o777), (1234, 567, 0o600));
    let roots = node.scratch().join("roots");
    fs::create_dir(&roots).unwrap();
    fs::set_permissions(&roots, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(work.join("victim"), "as it was").unwrap();
    symlink(work.join("victim"), work.join("link.cast")).unwrap();
    symlink(roots.join("new"), work.join("dangling.cast")).unwrap();
    for path in [roots.join("x.cast"), own.clone(), work.join("link.cast"), work.join("dangling.cast")] {
        let before = fs::read(&path).ok();
        let (status, terminal) = record(&path);
        assert_eq!(status, Some(125), "{}", path.display());
        terminal.expect("record the session");
        assert_eq!(fs::read(&path).ok(), before, "{}", path.display());
    }
    assert!(fs::read_dir(&roots).unwrap().next().is_none());
    assert_eq!(fs::read_to_string(work.join("victim")).unwrap(), "as it was");
    container.delete();
}

fn what_is_recorded_needs_a_terminal_and_a_permission(node: &Node) {
    let container = web_0(node);
    let file = work(node).join("none.cast");
    let outcome = exec(&["--record", file.to_str().unwrap(), "web-0", "--", "true"]);
    assert_eq!(outcome.status.code(), Some(125));
    assert!(outcome.stderr.contains("there is no terminal to record"), "{outcome:?}");
    policy(node, "");
    let mut terminal =
        Terminal::start_as(&SUDO, &["--record", file.to_str().unwrap(), "web-0", "--", "true"]);
    assert_eq!(terminal.end(), Some(125));
    assert!(!file.exists());
    container.delete();
}

fn a_recording_that_fails_does_not_end_the_session(node: &Node) {
    let container = web_0(node);
    let small = node.scratch().join("small");
    fs::create_dir(&small).unwrap();
    porthole_tests::node::tmpfs(small.to_str().unwrap(), "size=4k,mode=777");
    let file = small.join("x.cast");
    let words =
        ["--record", file.to_str().unwrap(), "web-0", "--", "sh", "-c", "seq 1 3000; echo end; exit 3"];
    let mut terminal = Terminal::start(&words);
    assert_eq!(terminal.end(), Some(3));
    terminal.expect("end\r\n");
    terminal.expect("the recording is not complete");
    container.delete();
}

on_a_node!(requires(root, ip, runc, setsid):
    a_session_can_be_replayed,
    behind_sudo_the_file_is_the_users_where_they_may_write,
    what_is_recorded_needs_a_terminal_and_a_permission,
    a_recording_that_fails_does_not_end_the_session,
);
