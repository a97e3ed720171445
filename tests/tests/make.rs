//! The Makefile, with a toolchain that records its calls: everything is built once, for one target and by one user, on a
//! machine that has never built it.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use porthole_tests::tools::{Outcome, run};
use porthole_tests::{Node, on_a_node};
use rustix::mount::mount_bind;

const CHECKOUT: &str = "/mnt/checkout";
const LOG: &str = "/mnt/log";
const USER: u32 = 1234;

/// Writes one line for each call: user, home, target and arguments.
const CARGO: &str = r#"#!/bin/sh
echo "$(id -u) $HOME ${CARGO_BUILD_TARGET:-none} $*" >>/mnt/log
out=/mnt/checkout/target/$CARGO_BUILD_TARGET
program() { mkdir -p "$out/$1" && printf '#!/bin/sh\n' >"$out/$1/$2" && chmod 755 "$out/$1/$2"; }
case "$*" in
    metadata*) echo '{"target_directory":"/mnt/checkout/target","version":1}' ;;
    *"--profile hook"*) program hook porthole-hook && program hook porthole-runtime ;;
    *--release*) program release porthole ;;
    build*)
        program debug porthole && program debug porthole-test-guard
        echo 'exec "$@"' >>"$out/debug/porthole-test-guard"
        ;;
esac
"#;
const NEXTEST: &str = "#!/bin/sh\necho \"$(id -u) $HOME nextest $*\" >>/mnt/log\n";

const RUSTC: &str = r#"#!/bin/sh
case "$2" in
    target-libdir) echo "/mnt/toolchain/$4" ;;
    host-tuple) echo x86_64-unknown-linux-gnu ;;
esac
"#;
const RUSTUP: &str = "#!/bin/sh\n[ ! -e /mnt/offline ] && mkdir \"/mnt/toolchain/$3\"\n";

fn program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A toolchain without musl, and a checkout of what make reads.
fn machine(node: &Node, toolchain: &str) {
    let bin = Path::new(toolchain);
    for (name, text) in [("cargo", CARGO), ("cargo-nextest", NEXTEST), ("rustc", RUSTC), ("rustup", RUSTUP)] {
        program(&bin.join(name), text);
    }
    let toolchain = node.scratch().join("toolchain");
    fs::create_dir_all(toolchain.join("x86_64-unknown-linux-gnu")).unwrap();
    fs::set_permissions(&toolchain, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(LOG, "").unwrap();
    fs::set_permissions(LOG, fs::Permissions::from_mode(0o666)).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let files = ["Makefile", "tests/lab/install", "tests/lab/as-builder"];
    for name in files {
        let to = Path::new(CHECKOUT).join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(root.join(name), to).unwrap();
    }
    program(&Path::new(CHECKOUT).join("tests/fuzz/run"), "#!/bin/sh\n");
    for unit in ["service", "timer", "path"] {
        let to = Path::new(CHECKOUT).join(format!("config/systemd/porthole-reconcile.{unit}"));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, "").unwrap();
    }
}

/// A user with a home of its own, whose checkout it is.
fn user() {
    fs::write("/mnt/passwd", format!("root:x:0:0::/root:/bin/sh\nann:x:{USER}:{USER}::/mnt/ann:/bin/sh\n"))
        .unwrap();
    mount_bind("/mnt/passwd", "/etc/passwd").unwrap();
    let chown = Command::new("chown").args(["-R", &format!("{USER}:{USER}"), CHECKOUT, "/mnt/ann"]).status();
    assert!(chown.unwrap().success());
}

fn make(toolchain: &str, sudo: bool, args: &[&str]) -> Outcome {
    let mut command = Command::new("make");
    command.args(["-C", CHECKOUT]).args(args).stdin(Stdio::null());
    command
        .env_clear()
        .env("PATH", format!("{toolchain}:/usr/sbin:/usr/bin:/sbin:/bin"))
        .env("HOME", "/root");
    if sudo {
        let id = USER.to_string();
        command.env("SUDO_UID", &id).env("SUDO_GID", &id).env("SUDO_USER", "ann");
    }
    run(command)
}

/// Lines of the log with one of these words.
fn calls(words: &[&str]) -> Vec<String> {
    let log = fs::read_to_string(LOG).unwrap();
    let calls: Vec<_> =
        log.lines().filter(|line| words.iter().any(|word| line.contains(word))).map(str::to_owned).collect();
    assert!(!calls.is_empty(), "no call has one of {words:?}:\n{log}");
    calls
}

const BUILDS: [&str; 4] = [" build ", " rustc ", " clippy ", " list "];
const MUSL: &str = "x86_64-unknown-linux-musl";

fn the_first_make_builds_for_the_target_that_it_adds(node: &Node) {
    for target in ["install", "demo"] {
        machine(node, "/mnt/bin");
        let outcome = make("/mnt/bin", false, &[target, "DESTDIR=/mnt/dest"]);
        outcome.expect_success();
        for call in calls(&BUILDS) {
            assert!(call.starts_with(&format!("0 /root {MUSL} ")), "{call}\n{outcome:?}");
        }
        fs::remove_dir_all("/mnt/toolchain").unwrap();
        fs::remove_dir_all(CHECKOUT).unwrap();
    }
    assert!(Path::new("/mnt/dest/usr/bin/porthole").is_file());
    assert!(Path::new("/mnt/dest/usr/libexec/porthole/porthole-hook").is_file());
}

fn where_musl_cannot_be_had_everything_is_built_for_the_toolchains_own_target(node: &Node) {
    machine(node, "/mnt/bin");
    fs::write("/mnt/offline", "").unwrap();
    let outcome = make("/mnt/bin", false, &["install", "DESTDIR=/mnt/dest"]);
    outcome.expect_success();
    assert!(outcome.stderr.contains("going on with glibc"), "{outcome:?}");
    for call in calls(&BUILDS) {
        assert!(call.starts_with("0 /root x86_64-unknown-linux-gnu "), "{call}");
    }
    assert!(Path::new("/mnt/dest/usr/bin/porthole").is_file());
}

fn below_sudo_the_callers_cargo_builds_and_leaves_no_file_of_roots(node: &Node) {
    machine(node, "/mnt/ann/.cargo/bin");
    user();
    // The last caller is root itself, in the user's checkout. `make test` is left out: it needs many packages.
    let all: [(bool, &[&str]); 4] = [
        (true, &["demo"]),
        (true, &["install", "DESTDIR=/mnt/dest"]),
        (true, &["NEEDS_ARE_MET=yes", "test"]),
        (false, &["demo"]),
    ];
    for (sudo, args) in all {
        fs::write(LOG, "").unwrap();
        let outcome = make("/nowhere", sudo, args);
        assert_eq!(
            args.contains(&"demo"),
            outcome.expect_success().contains("\nbuilding porthole"),
            "{outcome:?}"
        );
        for call in calls(&BUILDS) {
            assert!(call.starts_with(&format!("{USER} /mnt/ann {MUSL} ")), "make {args:?}: {call}");
            assert!(!call.contains("--quiet"), "{call}");
        }
        if !args.contains(&"test") {
            continue;
        }
        for call in calls(&[" nextest run "]) {
            assert!(call.starts_with("0 /root nextest ") && call.contains("--binaries-metadata"), "{call}");
            assert!(call.contains("--status-level pass"), "there is no terminal here: {call}");
        }
    }
    let mut found = vec![Path::new(CHECKOUT).to_owned()];
    while let Some(path) = found.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        assert_eq!(meta.uid(), USER, "{}", path.display());
        if meta.is_dir() {
            found.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

fn in_a_checkout_that_the_caller_cannot_write_to_root_builds_with_the_callers_toolchain(node: &Node) {
    machine(node, "/mnt/ann/.cargo/bin");
    user();
    chown(CHECKOUT, Some(0), Some(0)).unwrap();
    make("/nowhere", true, &["demo"]).expect_success();
    for call in calls(&BUILDS) {
        assert!(call.starts_with(&format!("0 /root {MUSL} ")), "{call}");
    }
}

fn a_crate_that_two_runs_of_cargo_compile_for_one_profile_is_counted(_: &Node) {
    let unit = |out: &str, feature: &str| {
        format!(
            "     Running `rustc --crate-name x --edition=2021 /s/x/src/lib.rs --emit=dep-info,link --cfg {feature} --out-dir {out}/deps`\n"
        )
    };
    let count = |runs: &[&[String]]| {
        let log: String = runs.iter().map(|run| run.concat() + "    Finished `dev` profile\n").collect();
        fs::write("/mnt/cargo.log", log).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/compiled-twice");
        let mut command = Command::new(script);
        command.arg("/mnt/cargo.log").stdin(Stdio::null());
        let outcome = run(command);
        (outcome.status.code().unwrap(), outcome.stdout)
    };
    let (debug, again) = (unit("/t/debug", "a"), unit("/t/debug", "b"));
    let once = (0, "2 compiled, 0 more than once\n".to_owned());
    assert_eq!(count(&[&[unit("/t/debug", "a"), again.clone()]]), once, "for two purposes of one run");
    assert_eq!(count(&[&[unit("/t/debug", "a")], &[unit("/t/release", "a")]]), once);
    let twice = "2 times: x /s/x/src/lib.rs, build in /t/debug\n2 compiled, 1 more than once\n".to_owned();
    assert_eq!(count(&[&[debug], &[again]]), (1, twice));
}

on_a_node!(
    requires(root, ip, make, gcc):
    the_first_make_builds_for_the_target_that_it_adds,
    where_musl_cannot_be_had_everything_is_built_for_the_toolchains_own_target,
    below_sudo_the_callers_cargo_builds_and_leaves_no_file_of_roots,
    in_a_checkout_that_the_caller_cannot_write_to_root_builds_with_the_callers_toolchain,
    a_crate_that_two_runs_of_cargo_compile_for_one_profile_is_counted,
);
