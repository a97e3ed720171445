//! The policy of the security module. Stand-ins show it to be active, and note what they are told: a machine that runs
//! tests has neither module, or its own policy to keep. What the real ones do is tested in virtual machines.

mod left_out;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use porthole_tests::engine::system;
use porthole_tests::tools::{Outcome, binary, run};
use porthole_tests::{Node, on_a_node};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

const CALLS: &str = "/mnt/calls";
const PROFILE: &str = "/etc/apparmor.d/porthole-debug";
const LIST: &str = "/sys/kernel/security/apparmor/profiles";
const MODULE: &str = "/usr/share/porthole/selinux/porthole.cil";
const CONTEXT: &str = "/sys/fs/selinux/context";
const LABEL: &str = "restorecon -RFi /usr/bin/porthole /usr/local/bin/porthole /usr/libexec/porthole \
    /usr/local/libexec/porthole /opt/porthole /etc/porthole /run/porthole";

/// A `/sys` of the test's own, in which a module is active, and stand-ins for its programs.
struct Active;

impl Active {
    fn new() -> Self {
        system::make_own();
        mount("tmpfs", "/sys", "tmpfs", MountFlags::empty(), c"mode=755").unwrap();
        for program in ["apparmor_parser", "semodule", "restorecon"] {
            for dir in ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"] {
                let _ = fs::remove_file(Path::new(dir).join(program));
            }
        }
        for path in [PROFILE, MODULE, CALLS, "/mnt/refused"] {
            let _ = fs::remove_file(path);
        }
        Self
    }

    fn apparmor() -> Self {
        let active = Self::new();
        write("/sys/module/apparmor/parameters/enabled", "Y\n");
        write(LIST, "");
        stand_in(
            "apparmor_parser",
            &format!(
                "test -f \"$2\" || exit 1\ncase $1 in -r) echo 'porthole-debug (enforce)' ;; -R) ;; esac >{LIST}"
            ),
        );
        active
    }

    fn selinux() -> Self {
        let active = Self::new();
        write("/sys/fs/selinux/enforce", "1");
        forget_domain();
        stand_in(
            "semodule",
            &format!(
                "rm -f {CONTEXT}\ncase $1 in -i) test -s \"$2\" && : >{CONTEXT} ;; \
                 -r) ln -s /proc/self/oom_score_adj {CONTEXT} ;; esac"
            ),
        );
        stand_in("restorecon", ":");
        active
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let _ = unmount("/sys", UnmountFlags::DETACH);
    }
}

/// A context that no policy knows is EINVAL; so is what this file is told.
fn forget_domain() {
    let _ = fs::remove_file(CONTEXT);
    symlink("/proc/self/oom_score_adj", CONTEXT).unwrap();
}

fn write(path: &str, text: &str) {
    fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Notes its arguments, and fails if told to by its name in a file.
fn stand_in(program: &str, script: &str) {
    let path = format!("/usr/sbin/{program}");
    let text = format!(
        "#!/bin/sh\necho \"{program} $*\" >>{CALLS}\nif grep -qx {program} /mnt/refused 2>/dev/null; then\n\
         echo first >&2\necho '{program}: syntax error in line 7' >&2\nexit 3\nfi\n{script}\n"
    );
    write(&path, &text);
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// What was called since the last look.
fn calls() -> Vec<String> {
    let text = fs::read_to_string(CALLS).unwrap_or_default();
    let _ = fs::remove_file(CALLS);
    text.lines().map(str::to_owned).collect()
}

fn porthole(args: &[&str]) -> Outcome {
    let mut command = Command::new(binary("porthole"));
    command.args(args).stdin(Stdio::null());
    run(command)
}

fn install() -> Outcome {
    porthole(&["install", "--engine", "podman=5.4"])
}

fn source(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name)).unwrap()
}

fn the_profile_is_loaded_once_and_unloaded_before_it_goes(_: &Node) {
    let _active = Active::apparmor();
    let before = system::changes();
    let shown = porthole(&["install", "--engine", "podman=5.4", "--dry-run"]);
    assert!(shown.expect_success().contains(&format!("+++ b{PROFILE}\n")), "{shown:?}");
    let line =
        format!("# would load AppArmor profile porthole-debug: /usr/sbin/apparmor_parser -r {PROFILE}\n");
    assert!(shown.stdout.contains(&line), "{shown:?}");
    assert!(calls().is_empty() && system::changes() == before, "a dry run does nothing");

    assert!(install().expect_success().contains("load    AppArmor profile porthole-debug\n"));
    assert_eq!(fs::read_to_string(PROFILE).unwrap(), source("apparmor/porthole-debug"));
    assert_eq!(calls(), [format!("apparmor_parser -r {PROFILE}")]);
    assert!(install().expect_success().contains("nothing to change"));
    assert!(calls().is_empty());

    // Taken from the kernel by somebody: doctor says so, and install is the remedy.
    fs::write(LIST, "").unwrap();
    let doctor = porthole(&["doctor", "lsm-policy"]);
    assert!(doctor.stdout.contains("warn") && doctor.stdout.contains("-> `porthole install`"), "{doctor:?}");
    install().expect_success();
    assert_eq!(calls(), [format!("apparmor_parser -r {PROFILE}")]);
    assert!(porthole(&["doctor", "lsm-policy"]).expect_success().contains("is loaded"));

    assert!(porthole(&["uninstall"]).expect_success().contains("unload  AppArmor profile porthole-debug\n"));
    // The stand-in fails where the file is gone already.
    assert_eq!(calls(), [format!("apparmor_parser -R {PROFILE}")]);
    assert!(system::changes() == before, "everything is as it was");
}

fn a_profile_that_does_not_load_fails_the_installation(_: &Node) {
    let _active = Active::apparmor();
    let before = system::changes();
    fs::write("/mnt/refused", "apparmor_parser\n").unwrap();
    let outcome = install();
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    for words in
        [PROFILE, "apparmor_parser: syntax error in line 7", "everything is as it was", "help: AppArmor"]
    {
        assert!(outcome.stderr.contains(words), "{words:?} is not in {outcome:?}");
    }
    assert!(!outcome.stderr.contains("first"), "{outcome:?}");
    assert!(system::changes() == before, "everything is as it was");
    assert_eq!(calls().len(), 1, "what was not loaded is not unloaded");
}

fn without_a_parser_the_rest_is_installed(_: &Node) {
    let _active = Active::apparmor();
    let before = system::changes();
    let parser = "/usr/sbin/apparmor_parser";
    fs::copy(parser, "/mnt/parser").unwrap();
    fs::remove_file(parser).unwrap();
    let said = install();
    assert!(
        said.expect_success().contains("there is no apparmor_parser; install the package apparmor"),
        "{said:?}"
    );
    assert!(Path::new(PROFILE).exists() && Path::new("/usr/share/containers").exists());
    fs::copy("/mnt/parser", parser).unwrap();
    fs::remove_file("/mnt/parser").unwrap();
    install().expect_success();
    assert_eq!(calls(), [format!("apparmor_parser -r {PROFILE}")]);
    fs::remove_file(parser).unwrap();
    let said = porthole(&["uninstall"]);
    assert!(said.expect_success().contains("stays loaded until the next boot"), "{said:?}");
    assert!(!Path::new(PROFILE).exists());
    assert!(before.contains_key(Path::new(parser)));
}

fn where_apparmor_takes_no_profiles_the_rest_is_installed(_: &Node) {
    let _active = Active::apparmor();
    let before = system::changes();
    fs::remove_file(LIST).unwrap();
    let said = install();
    assert!(said.expect_success().contains("mount securityfs"), "{said:?}");
    porthole(&["uninstall"]).expect_success();
    assert!(calls().is_empty());
    assert!(system::changes() == before, "everything is as it was");
}

fn a_profile_of_the_sites_own_stays_as_it_is(_: &Node) {
    let _active = Active::apparmor();
    write(PROFILE, "profile porthole-debug {}\n");
    let before = system::changes();
    let said = install();
    assert!(said.expect_success().contains("is there already, and stays as it is"), "{said:?}");
    assert_eq!(calls(), [format!("apparmor_parser -r {PROFILE}")], "it is needed, whoever wrote it");
    assert!(install().expect_success().contains("nothing to change"));
    porthole(&["uninstall"]).expect_success();
    assert!(calls().is_empty(), "and not ours to unload");
    assert!(system::changes() == before, "everything is as it was");
}

fn the_module_is_loaded_files_are_labelled_and_both_are_taken_back(_: &Node) {
    let _active = Active::selinux();
    let before = system::changes();
    let said = install();
    assert!(
        said.expect_success().contains("load    SELinux module porthole\nlabel   files of porthole's"),
        "{said:?}"
    );
    assert_eq!(fs::read_to_string(MODULE).unwrap(), source("selinux/porthole.cil"));
    assert_eq!(calls(), [format!("semodule -i {MODULE}"), LABEL.to_owned()]);
    assert!(install().expect_success().contains("nothing to change"));
    assert!(calls().is_empty());
    // A file that comes back has the label of its directory.
    fs::remove_file("/usr/libexec/porthole/porthole-hook").unwrap();
    install().expect_success();
    assert_eq!(calls(), [LABEL]);
    forget_domain();
    install().expect_success();
    assert_eq!(calls(), [format!("semodule -i {MODULE}"), LABEL.to_owned()], "somebody has removed it");
    assert!(porthole(&["uninstall"]).expect_success().contains("unload  SELinux module porthole\n"));
    assert_eq!(calls(), ["semodule -r porthole", LABEL]);
    assert!(system::changes() == before, "everything is as it was");
}

fn a_module_that_is_followed_by_a_failure_is_taken_back(_: &Node) {
    let _active = Active::selinux();
    let before = system::changes();
    fs::write("/mnt/refused", "restorecon\n").unwrap();
    let outcome = install();
    assert!(outcome.stderr.contains("restorecon: syntax error in line 7"), "{outcome:?}");
    assert_eq!(
        calls(),
        [format!("semodule -i {MODULE}"), LABEL.to_owned(), "semodule -r porthole".to_owned()]
    );
    assert!(system::changes() == before, "everything is as it was");
    // One that was there before, of another version, is loaded again.
    fs::remove_file("/mnt/refused").unwrap();
    install().expect_success();
    let state = "/var/lib/porthole/install.json";
    let older = fs::read_to_string(state).unwrap().replace("\"digest\": \"", "\"digest\": \"0");
    fs::write(state, &older).unwrap();
    fs::write("/mnt/refused", "restorecon\n").unwrap();
    calls();
    assert_eq!(install().status.code(), Some(1));
    let load = format!("semodule -i {MODULE}");
    assert_eq!(calls(), [load.clone(), LABEL.to_owned(), load.clone()]);
    assert_eq!(fs::read_to_string(state).unwrap(), older);
    fs::remove_file("/mnt/refused").unwrap();
    install().expect_success();
    assert_eq!(calls(), [load, LABEL.to_owned()]);
    // One that cannot be unloaded leaves the rest for the next time.
    fs::write("/mnt/refused", "semodule\n").unwrap();
    assert_eq!(porthole(&["uninstall"]).status.code(), Some(1));
    assert!(Path::new("/usr/libexec/porthole/porthole-hook").exists() && Path::new(state).exists());
    fs::remove_file("/mnt/refused").unwrap();
    calls();
    porthole(&["uninstall"]).expect_success();
    assert_eq!(calls(), ["semodule -r porthole", LABEL]);
    assert!(system::changes() == before, "everything is as it was");
}

fn a_packages_module_is_loaded_and_its_file_stays(_: &Node) {
    let _active = Active::selinux();
    write(MODULE, &source("selinux/porthole.cil"));
    let before = system::changes();
    install().expect_success();
    assert_eq!(calls(), [format!("semodule -i {MODULE}"), LABEL.to_owned()]);
    assert!(install().expect_success().contains("nothing to change"));
    porthole(&["uninstall"]).expect_success();
    assert_eq!(calls(), ["semodule -r porthole", LABEL]);
    assert!(system::changes() == before, "everything is as it was");
}

fn a_domain_of_the_sites_own_stays_as_it_is(_: &Node) {
    let _active = Active::selinux();
    fs::remove_file(CONTEXT).unwrap();
    write(CONTEXT, "");
    let before = system::changes();
    let said = install();
    assert!(said.expect_success().contains("has porthole_debug_t already, and stays as it is"), "{said:?}");
    assert!(!Path::new(MODULE).exists());
    assert_eq!(calls(), [LABEL]);
    porthole(&["uninstall"]).expect_success();
    assert!(calls().is_empty());
    assert!(system::changes() == before, "everything is as it was");
}

fn where_usr_is_read_only_the_module_is_below_opt(_: &Node) {
    let _active = Active::selinux();
    let before = system::changes();
    mount_remount("/usr", MountFlags::BIND | MountFlags::RDONLY, c"").unwrap();
    let outcome = install();
    let module = "/opt/porthole/share/porthole/selinux/porthole.cil";
    outcome.expect_success();
    let label = "restorecon -RFi /opt/porthole /etc/porthole /run/porthole";
    assert_eq!(calls(), [format!("semodule -i {module}"), label.to_owned()]);
    porthole(&["uninstall"]).expect_success();
    mount_remount("/usr", MountFlags::BIND, c"").unwrap();
    assert_eq!(calls(), ["semodule -r porthole", label]);
    assert!(system::changes() == before, "everything is as it was");
}

/// Every path in a tree.
fn paths(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(paths(&entry.path()));
        }
    }
    found.sort();
    found
}

fn an_image_gets_the_files_and_nothing_is_loaded(node: &Node) {
    // The machine's modules are none of the image's business.
    let _active = Active::selinux();
    let root = node.scratch().join("image");
    for dir in [
        "etc/apparmor.d",
        "etc/selinux",
        "usr/bin",
        "usr/share",
        "usr/libexec/porthole",
        "usr/sbin",
        "var/lib",
    ] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for program in ["bin/porthole", "libexec/porthole/porthole-hook", "libexec/porthole/porthole-runtime"] {
        fs::copy("/bin/busybox", root.join("usr").join(program)).unwrap();
    }
    fs::write(root.join("etc/selinux/config"), "SELINUX=enforcing\n").unwrap();
    fs::copy("/usr/sbin/semodule", root.join("usr/sbin/semodule")).unwrap();
    let before = paths(&root);
    let call = |command: &str, more: &[&str]| {
        porthole(&[&[command, "--root", root.to_str().unwrap()], more].concat())
    };
    let said = call("install", &["--engine", "podman=5.4"]);
    assert!(
        said.expect_success().contains("SELinux module porthole: `porthole install` at the first boot"),
        "{said:?}"
    );
    for (path, config) in [(PROFILE, "apparmor/porthole-debug"), (MODULE, "selinux/porthole.cil")] {
        assert_eq!(fs::read_to_string(root.join(&path[1..])).unwrap(), source(config));
    }
    call("uninstall", &[]).expect_success();
    assert_eq!(paths(&root), before);
    let said = call("install", &["--engine", "podman=5.4", "--no-policy"]);
    assert_eq!(said.expect_success().matches("is left out: --no-policy").count(), 2, "{said:?}");
    assert!(!root.join(&PROFILE[1..]).exists() && !root.join(&MODULE[1..]).exists());
    call("uninstall", &[]).expect_success();
    assert_eq!(paths(&root), before);
    assert!(calls().is_empty());
}

on_a_node!(requires(root):
    the_profile_is_loaded_once_and_unloaded_before_it_goes,
    a_profile_that_does_not_load_fails_the_installation,
    without_a_parser_the_rest_is_installed,
    where_apparmor_takes_no_profiles_the_rest_is_installed,
    a_profile_of_the_sites_own_stays_as_it_is,
    the_module_is_loaded_files_are_labelled_and_both_are_taken_back,
    a_module_that_is_followed_by_a_failure_is_taken_back,
    a_packages_module_is_loaded_and_its_file_stays,
    a_domain_of_the_sites_own_stays_as_it_is,
    where_usr_is_read_only_the_module_is_below_opt,
    an_image_gets_the_files_and_nothing_is_loaded,
);
