//! `--no-policy`: an installation on a node whose own policy does not take porthole's.

use std::fs;
use std::path::Path;

use porthole_tests::engine::system;
use porthole_tests::tools::Outcome;
use porthole_tests::{Node, on_a_node};

use super::{Active, LIST, PROFILE, calls, install, porthole};

fn install_without() -> Outcome {
    porthole(&["install", "--engine", "podman=5.4", "--no-policy"])
}

fn without_a_policy_the_rest_is_installed_and_both_install_and_doctor_say_what_that_costs(_: &Node) {
    let _active = Active::apparmor();
    let before = system::changes();
    fs::write("/mnt/refused", "apparmor_parser\n").unwrap();
    assert!(install().stderr.contains("--no-policy installs without one"));
    calls();
    let said = install_without();
    let words =
        "AppArmor profile porthole-debug is left out: --no-policy; without it `porthole exec` ends with 125";
    assert!(said.expect_success().contains(words), "{said:?}");
    assert!(!Path::new(PROFILE).exists() && Path::new("/usr/share/containers/oci/hooks.d").exists());
    let doctor = porthole(&["doctor", "lsm-policy"]);
    for words in ["warn", "as `porthole install --no-policy` has left it", "--profile sysadmin"] {
        assert!(doctor.expect_success().contains(words), "{words:?} is not in {doctor:?}");
    }
    assert!(install_without().expect_success().contains("nothing to change"));
    porthole(&["uninstall"]).expect_success();
    assert!(calls().is_empty(), "nothing was loaded, and nothing is unloaded");
    assert!(system::changes() == before, "everything is as it was");
}

fn a_policy_that_was_left_out_is_loaded_by_the_next_installation_that_wants_it(_: &Node) {
    for active in [Active::apparmor, Active::selinux] {
        let _active = active();
        let before = system::changes();
        install_without().expect_success();
        assert!(calls().is_empty(), "and no file is labelled");
        assert!(porthole(&["doctor", "lsm-policy"]).expect_success().contains("--no-policy"));
        assert!(install().expect_success().contains("load "));
        assert!(!calls().is_empty());
        // The other way round, what is loaded stays, and goes with the rest.
        let said = install_without();
        assert!(said.expect_success().contains("is in the kernel already, and stays as it is"), "{said:?}");
        assert!(porthole(&["doctor", "lsm-policy"]).expect_success().contains("is loaded"));
        assert!(calls().is_empty());
        assert!(porthole(&["uninstall"]).expect_success().contains("unload "));
        calls();
        assert!(system::changes() == before, "everything is as it was");
    }
}

fn what_was_left_out_is_remembered_where_there_is_nothing_else_to_do(_: &Node) {
    let _active = Active::apparmor();
    let before = system::changes();
    install().expect_success();
    fs::write(LIST, "").unwrap();
    assert!(install_without().expect_success().contains("nothing to change"));
    assert!(porthole(&["doctor", "lsm-policy"]).expect_success().contains("--no-policy"));
    // It says so until it is installed with its policy again.
    install().expect_success();
    fs::write(LIST, "").unwrap();
    assert!(!porthole(&["doctor", "lsm-policy"]).expect_success().contains("has left it"));
    porthole(&["uninstall"]).expect_success();
    calls();
    assert!(system::changes() == before, "everything is as it was");
}

on_a_node!(requires(root):
    without_a_policy_the_rest_is_installed_and_both_install_and_doctor_say_what_that_costs,
    a_policy_that_was_left_out_is_loaded_by_the_next_installation_that_wants_it,
    what_was_left_out_is_remembered_where_there_is_nothing_else_to_do,
);
