//! A container whose root has no capability, against commands of other users that it sees.

use porthole_tests::{Node, on_a_node};

use crate::finished::{COMMAND, Running};
use crate::prey::{PROFILES, Prey, SHELL};

/// The owner of a user namespace has every right in it, and a user namespace of porthole's maps every id of the host.
fn a_root_without_capabilities_gets_no_right_over_a_command(node: &Node) {
    let prey = Prey::bare(node, &SHELL);
    let words = COMMAND.join("*");
    // What it may read of a process it may also trace, and whose user namespace it can open it may enter.
    let script = format!(
        "for p in /proc/[0-9]*; do case \"$(cat $p/cmdline)\" in *{words}*) \
         echo seen $(readlink $p/ns/user) $(cat $p/environ) $(ls $p/root/);; esac; done 2> /dev/null"
    );
    let mut wrong = Vec::new();
    for profile in PROFILES {
        for options in [&["-p"][..], &["-p", "-n"], &["-p", "-m"], &["-a"]] {
            // A command that is root, and no more, is the container's own.
            let ids = ["--uid", "1234", "--gid", "1234"];
            let all = [&["--profile", profile][..], options, &ids].concat();
            let _running = Running::start(&prey, &all);
            let found = prey.inside(&script);
            if found.trim() != "seen" {
                wrong.push(format!("{profile} {options:?}: {found}"));
            }
        }
    }
    prey.delete();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

on_a_node!(requires(root, ip, runc): a_root_without_capabilities_gets_no_right_over_a_command);
