//! What the system log is told.

use std::collections::BTreeMap;
use std::fs;

use porthole_tests::log::StandsStill;
use porthole_tests::{Node, on_a_node};

use crate::setting::{Running, as_ann, exec, output, policy, send, web_0};

/// A line as syslog(3) sends it, with structured data of RFC 5424, taken apart by its grammar; panics where it is none.
#[derive(Debug)]
struct Line {
    priority: u8,
    app: String,
    process: u32,
    data: BTreeMap<String, String>,
    text: String,
}

impl Line {
    #[track_caller]
    fn parse(line: &str) -> Self {
        assert!(!line.chars().any(char::is_control), "{line:?}");
        let rest = line.strip_prefix('<').unwrap_or_else(|| panic!("no PRI: {line}"));
        let (priority, rest) = rest.split_once('>').unwrap();
        assert!(priority == "0" || !priority.starts_with('0'));
        let (head, rest) = rest.split_once(": ").unwrap_or_else(|| panic!("no head: {line}"));
        let (app, process) = head.strip_suffix(']').and_then(|head| head.split_once('[')).unwrap();
        let rest = rest.strip_prefix('[').unwrap_or_else(|| panic!("no structured data: {line}"));
        let id_end = rest.find([' ', ']']).unwrap();
        assert_eq!(&rest[..id_end], "porthole@32473");
        let (data, text) = parameters(&rest[id_end..]);
        let text = text.strip_prefix(' ').unwrap_or_else(|| panic!("no message: {line}")).to_owned();
        Self {
            priority: priority.parse().unwrap(),
            app: app.to_owned(),
            process: process.parse().unwrap(),
            data,
            text,
        }
    }

    #[track_caller]
    fn get(&self, name: &str) -> &str {
        self.data.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }
}

/// ` NAME="VALUE"`, any number of them, and the `]`; then what is left.
fn parameters(mut rest: &str) -> (BTreeMap<String, String>, &str) {
    let mut data = BTreeMap::new();
    while let Some(parameter) = rest.strip_prefix(' ') {
        let (name, value) = parameter.split_once("=\"").unwrap();
        assert!(
            (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{name}"
        );
        let mut text = String::new();
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next().unwrap() {
                (at, '"') => break at,
                (_, '\\') => {
                    let (_, escaped) = chars.next().unwrap();
                    assert!("\\\"]".contains(escaped), "\\{escaped} in {value}");
                    text.push(escaped);
                }
                (_, ']') => panic!("a bare ] in {value}"),
                (_, c) => text.push(c),
            }
        };
        assert!(data.insert(name.to_owned(), text).is_none(), "{name} twice");
        rest = &value[end + 1..];
    }
    (data, rest.strip_prefix(']').unwrap_or_else(|| panic!("no end: {rest}")))
}

#[track_caller]
fn lines(node: &Node) -> Vec<Line> {
    node.log().iter().filter(|line| !line.contains("porthole-hook")).map(|line| Line::parse(line)).collect()
}

/// The two lines of one exec that was done.
#[track_caller]
fn pair(node: &Node) -> (Line, Line) {
    let mut lines = lines(node).into_iter();
    let (Some(start), Some(end), None) = (lines.next(), lines.next(), lines.next()) else {
        panic!("not two lines")
    };
    assert_eq!((start.get("event"), end.get("event")), ("exec", "end"));
    assert_eq!(start.get("exec"), end.get("exec"));
    (start, end)
}

fn start_and_end_are_logged_with_who_what_and_where(node: &Node) {
    let container = web_0(node);
    drop(node.log());
    policy(node, "[[rule]]\nusers = ['1234']\neffect = 'allow'\nreason = 'x'\n");
    let outcome = as_ann(&["web-0", "--", "sh", "-c", "exit 7"]);
    assert_eq!(outcome.status.code(), Some(7));
    let (start, end) = pair(node);
    assert_eq!((start.priority, end.priority, &start.app[..]), (85, 85, "porthole"), "authpriv.notice");
    assert_eq!(start.process, end.process);
    for (name, want) in [
        ("uid", "1234"),
        ("user", "ann"),
        ("sudo", "yes"),
        ("tty", "-"),
        ("target", "shop/web-0"),
        ("namespace", "shop"),
        ("pod", "web-0"),
        ("profile", "general"),
        ("capabilities", "CAP_NET_RAW"),
        ("run_as", "1234"),
        ("run_as_gid", "567"),
        ("command", "sh -c exit\\ 7"),
        ("policy", "rule 1"),
    ] {
        assert_eq!((start.get(name), end.get(name)), (want, want), "{name}");
    }
    assert_eq!(start.get("joined"), format!("net:{}", container.netns().ino));
    assert!(!start.get("id").is_empty());
    assert_eq!(end.get("status"), "7");
    assert!(end.get("milliseconds").parse::<u32>().unwrap() < 60_000);
    assert_eq!(start.text, "exec shop/web-0 by ann");
    exec(&["web-0", "--", "true"]).expect_success();
    let (root, _) = pair(node);
    assert_eq!((root.get("uid"), root.get("sudo"), root.get("run_as")), ("0", "no", "65534"));
    container.delete();
}

fn on_request_a_line_is_one_of_rfc_5424(node: &Node) {
    let container = web_0(node);
    drop(node.log());
    let config = node.scratch().join("config.toml");
    fs::write(&config, "[audit]\nformat = 'rfc5424'\n").unwrap();
    exec(&["--config", config.to_str().unwrap(), "web-0", "--", "true"]).expect_success();
    let said = node.log();
    assert_eq!(said.len(), 2, "{said:?}");
    for (line, message) in said.iter().zip(["1", "3"]) {
        let [priority, time, _host, app, process, number, data] = line.splitn(7, ' ').collect::<Vec<_>>()[..]
        else {
            panic!("{line}")
        };
        assert_eq!((priority, app, number), ("<85>1", "porthole", message), "{line}");
        // What is after it has the same grammar in both forms.
        let same = Line::parse(&format!("<85>{app}[{process}]: {data}"));
        assert_eq!(same.get("target"), "shop/web-0");
        let seconds = time.split_once('.').unwrap().0;
        assert!(seconds.len() == 19 && seconds.as_bytes()[10] == b'T' && time.ends_with('Z'), "{time}");
    }
    container.delete();
}

fn a_refusal_is_logged_and_nothing_else(node: &Node) {
    let container = web_0(node);
    drop(node.log());
    policy(node, "");
    assert_eq!(as_ann(&["--profile", "sysadmin", "web-0", "--", "id"]).status.code(), Some(125));
    let lines = lines(node);
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((line.priority, line.get("event")), (84, "refused"));
    assert_eq!((line.get("profile"), line.get("command")), ("sysadmin", "id"));
    assert_eq!(line.get("policy"), "no rule of /etc/porthole/policy.toml allows it");
    container.delete();
}

fn every_end_is_logged_as_it_was(node: &Node) {
    let container = web_0(node);
    drop(node.log());
    for (words, status) in [
        (&["web-0", "--", "true"][..], 0),
        (&["web-0", "--", "sh", "-c", "kill -KILL $$"], 137),
        (&["web-0", "--", "sh", "-c", "kill -TERM $$"], 143),
        (&["web-0", "--", "no-such-command"], 127),
        (&["web-0", "--", "/etc/passwd"], 126),
        (&["-p", "-m", "web-0", "--", "/bin/busybox", "false"], 1),
        (&["-e", "PATH=/nonexistent", "web-0", "--", "id"], 127),
    ] {
        assert_eq!(exec(words).status.code(), Some(status), "{words:?}");
        assert_eq!(pair(node).1.get("status"), status.to_string(), "{words:?}");
    }
    let mut running = Running::start(&["web-0", "--", "sleep", "1000"], "sleep");
    send(running.porthole(), "TERM");
    running.wait();
    assert_eq!(pair(node).1.get("status"), "143");
    assert_eq!(exec(&["-F", "web-0", "--", "true"]).status.code(), Some(0));
    let lines = lines(node);
    assert!(
        matches!(&lines[..], [line] if line.get("event") == "exec"),
        "nobody waits for its end: {lines:?}"
    );
    output(&["--explain", "web-0", "--", "true"]);
    assert!(node.log().is_empty(), "nothing is done");
    container.delete();
}

fn the_log_has_no_secret_and_no_forged_line(node: &Node) {
    let container = web_0(node);
    drop(node.log());
    let long = "x".repeat(5000);
    exec(&[
        "-e",
        "TOKEN=hunter2",
        "-e",
        "PASSWORD=hunter2]\"",
        "web-0",
        "--",
        "true",
        "a\n<0>1 forged",
        "\x1b[2J",
        "q\"]\\",
        "é\u{202e}",
        &long,
    ])
    .expect_success();
    let raw = node.log();
    assert!(
        raw.len() == 2 && raw.iter().all(|line| !line.contains("hunter2") && line.len() <= 2048),
        "{raw:?}"
    );
    let line = Line::parse(&raw[0]);
    assert_eq!(line.get("env"), "TOKEN PASSWORD");
    let command = line.get("command");
    let want = "true a\\n<0>1\\ forged \\u{1b}[2J q\"]\\\\ é\\u{202e} xxx";
    assert!(command.starts_with(want) && command.ends_with("xx..."), "{command}");
    container.delete();
}

fn without_a_system_log_exec_goes_on_unless_it_is_required(node: &Node) {
    let container = web_0(node);
    fs::rename("/dev/log", "/dev/log.away").unwrap();
    let config = node.scratch().join("config.toml");
    let words = |required: &str| {
        fs::write(&config, format!("[audit]\nrequired = {required}\n")).unwrap();
        exec(&["--config", config.to_str().unwrap(), "web-0", "--", "echo", "ran"])
    };
    let outcome = words("false");
    assert_eq!((outcome.expect_success(), &outcome.stderr[..]), ("ran\n", ""));
    let outcome = words("true");
    assert_eq!((outcome.status.code(), &outcome.stdout[..]), (Some(125), ""));
    assert!(outcome.stderr.contains("write to the system log: /dev/log"), "{outcome:?}");
    fs::rename("/dev/log.away", "/dev/log").unwrap();
    words("true").expect_success();
    pair(node);
    container.delete();
}

fn a_log_daemon_that_stands_still_is_not_waited_for(node: &Node) {
    let container = web_0(node);
    fs::rename("/dev/log", "/dev/log.away").unwrap();
    let still = StandsStill::at("/dev/log");
    let outcome = exec(&["web-0", "--", "echo", "ran"]);
    assert_eq!(outcome.expect_success(), "ran\n");
    // For a second, once.
    assert!((1000..1900).contains(&outcome.took.as_millis()), "it was full: {:?}", outcome.took);
    let config = node.scratch().join("config.toml");
    fs::write(&config, "[audit]\nrequired = true\n").unwrap();
    let outcome = exec(&["--config", config.to_str().unwrap(), "web-0", "--", "echo", "ran"]);
    assert_eq!((outcome.status.code(), &outcome.stdout[..]), (Some(125), ""), "{outcome:?}");
    assert!((1000..1900).contains(&outcome.took.as_millis()), "it was full: {:?}", outcome.took);
    policy(node, "");
    let outcome = as_ann(&["web-0", "--", "true"]);
    assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
    assert!((1000..1900).contains(&outcome.took.as_millis()), "it was full: {:?}", outcome.took);
    drop(still);
    fs::remove_file("/dev/log").unwrap();
    fs::rename("/dev/log.away", "/dev/log").unwrap();
    container.delete();
}

fn however_long_a_command_is_its_line_tells_who_did_what_and_where(node: &Node) {
    let container = web_0(node);
    drop(node.log());
    policy(node, "[[rule]]\nusers = ['1234']\neffect = 'allow'\nallow = ['env']\n");
    let names: Vec<String> = (0..300).map(|number| format!("-e=VARIABLE_{number}=x")).collect();
    for long in ["x", "\"", "\\", "]", "\u{1b}", "é"] {
        let long = long.repeat((64 << 10) / long.len());
        for format in ["syslog", "rfc5424"] {
            fs::write("/etc/porthole/config.toml", format!("[audit]\nformat = '{format}'\n")).unwrap();
            let mut words: Vec<&str> = names.iter().map(String::as_str).collect();
            words.extend(["web-0", "--", "sh", "-c", "exit 7", &long, &long]);
            assert_eq!(as_ann(&words).status.code(), Some(7));
            let raw = node.log();
            assert_eq!(raw.len(), 2, "{raw:?}");
            for (line, event) in raw.iter().zip(["exec", "end"]) {
                assert!(line.len() <= 2048 && line.len() > 1900, "{} bytes: {line}", line.len());
                let data = line.find("[porthole@").unwrap();
                let line = Line::parse(&format!("<85>porthole[1]: {}", &line[data..]));
                for (name, want) in [
                    ("event", event),
                    ("uid", "1234"),
                    ("user", "ann"),
                    ("sudo", "yes"),
                    ("target", "shop/web-0"),
                    ("profile", "general"),
                    ("run_as", "1234"),
                    ("policy", "rule 1"),
                    ("pod", "web-0"),
                ] {
                    assert_eq!(line.get(name), want, "{name}");
                }
                assert!(
                    line.get("command").starts_with("sh -c exit\\ 7 ")
                        && line.get("command").ends_with("...")
                );
                assert_eq!(line.data.get("status").map(String::as_str), (event == "end").then_some("7"));
                assert_eq!(line.text, format!("{event} shop/web-0 by ann"));
            }
        }
    }
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    start_and_end_are_logged_with_who_what_and_where,
    on_request_a_line_is_one_of_rfc_5424,
    a_refusal_is_logged_and_nothing_else,
    every_end_is_logged_as_it_was,
    the_log_has_no_secret_and_no_forged_line,
    without_a_system_log_exec_goes_on_unless_it_is_required,
    however_long_a_command_is_its_line_tells_who_did_what_and_where,
    a_log_daemon_that_stands_still_is_not_waited_for,
);
