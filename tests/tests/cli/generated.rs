//! What is made from the command line's own description: completions, man pages, help.

use std::fs;
use std::process::{Command, Stdio};

use porthole_tests::{Node, need, on_a_node, tools};

use crate::setting::porthole;

const COMMANDS: [&str; 6] = ["list", "identify", "inspect", "exec", "reconcile", "demo"];

fn completions_parse(node: &Node) {
    for (shell, check) in [("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "-n"])] {
        let text = porthole(&["completions", shell]).expect_success().to_owned();
        for command in COMMANDS {
            assert!(text.contains(command), "{shell}: {command}");
        }
        assert!(text.contains("profile") && !text.contains("__man"), "{shell}");
        let installed = ["/bin", "/usr/bin"].iter().any(|dir| fs::exists(format!("{dir}/{shell}")).unwrap());
        if !installed {
            eprintln!("NOT PARSED: {shell} is not installed");
            continue;
        }
        let file = node.scratch().join(shell);
        fs::write(&file, text).unwrap();
        let mut parse = Command::new(check[0]);
        parse.arg(check[1]).arg(&file).stdin(Stdio::null());
        tools::run(parse).expect_success();
    }
}

fn man_pages_render_without_a_warning(node: &Node) {
    let directory = node.scratch().join("man");
    fs::create_dir(&directory).unwrap();
    porthole(&["__man", directory.to_str().unwrap()]).expect_success();
    for command in COMMANDS {
        let page = directory.join(format!("porthole-{command}.1"));
        let text = fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{command}");
    }
    let text = fs::read_to_string(directory.join("porthole.1")).unwrap();
    for word in ["125", "ambiguous", "127"] {
        assert!(text.contains(word), "exit statuses are in the manual: {word}");
    }
    if !need::all(&["groff"]) {
        return;
    }
    for page in fs::read_dir(&directory).unwrap().flatten() {
        let mut groff = Command::new("groff");
        groff.args(["-man", "-Tutf8", "-ww", "-z"]).arg(page.path()).stdin(Stdio::null());
        let outcome = tools::run(groff);
        outcome.expect_success();
        assert_eq!(outcome.stderr, "", "{}", page.path().display());
    }
}

on_a_node!(requires(root, ip): completions_parse, man_pages_render_without_a_warning);
