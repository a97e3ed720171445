//! What a test needs of the machine. A missing need is a failure that says what to install; only a person can
//! waive it, by name, and a waived test is never silent.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::{engine, tools};

/// The variable in which a person lists waived needs, comma-separated.
pub const WAIVE: &str = "PORTHOLE_WAIVE";

/// True when all `needs` are met; false when one is missing and waived.
///
/// # Panics
/// When one is missing and not waived.
#[must_use]
pub fn all(needs: &[&str]) -> bool {
    needs.iter().all(|need| match probe(need) {
        Ok(()) => true,
        Err(why) => {
            let waived = env::var(WAIVE).unwrap_or_default();
            assert!(
                waived.split(',').any(|w| w.trim() == *need),
                "this test needs `{need}`: {why} (tests/lab/install installs everything; {WAIVE}={need} leaves \
                 these tests out)"
            );
            say_waived(need, &why);
            false
        }
    })
}

fn probe(need: &str) -> Result<(), String> {
    match need {
        "root" if rustix::process::geteuid().is_root() => Ok(()),
        "root" => Err("run it as root, for example by `sudo make test`".to_owned()),
        "ip" => program("ip", "iproute2"),
        "busybox" => program("busybox", "busybox-static"),
        "vm_6_1" => vm("6.1"),
        "vm_6_12" => vm("6.12"),
        "vm_7" => vm("7"),
        "containerd" | "podman" | "docker" => engine::probe(need),
        "nsenter" | "setpriv" | "unshare" => program(need, "util-linux"),
        "systemd" => program("systemd-analyze", "systemd"),
        "dig" => program("dig", "bind9-dnsutils"),
        "groff" => program("groff", "groff-base"),
        "nc" => program("nc", "netcat-openbsd"),
        "nft" => program("nft", "nftables"),
        "ping" => program("ping", "iputils-ping"),
        "ps" => program("ps", "procps"),
        "visudo" => program("visudo", "sudo"),
        tool => program(tool, tool),
    }
}

fn program(name: &str, package: &str) -> Result<(), String> {
    let dirs = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let found = dirs.iter().any(|dir| Path::new(dir).join(name).is_file());
    if found { Ok(()) } else { Err(format!("`{name}` is not installed: apt-get install {package}")) }
}

/// Where `tests/lab/install` puts what is not installed on the machine.
fn lab() -> PathBuf {
    env::var_os("PORTHOLE_LAB").map_or_else(|| PathBuf::from("/var/cache/porthole-lab"), PathBuf::from)
}

/// A virtual machine with a kernel of this version, or one that begins so.
fn vm(version: &str) -> Result<(), String> {
    for (name, package) in
        [("qemu-system-x86_64", "qemu-system-x86"), ("secilc", "secilc"), ("python3", "python3")]
    {
        program(name, package)?;
    }
    let kernels = lab().join("vm/kernels");
    let mut names = fs::read_dir(&kernels).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let wanted = format!("{version}.");
    let found = names.any(|name| name.to_str().is_some_and(|name| format!("{name}.").starts_with(&wanted)));
    if found { Ok(()) } else { Err(format!("no kernel {version} in {}", kernels.display())) }
}

/// Waivers go to a file that `make test` prints last, as runners hide the output of tests that pass.
fn say_waived(need: &str, why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("NOT RUN: {test}: waived `{need}`: {why}\n");
    eprint!("{line}");
    let file =
        fs::OpenOptions::new().create(true).append(true).open(tools::bin_dir().join("waived-tests.log"));
    if let Ok(mut file) = file {
        // Best effort: the line is on stderr already.
        drop(file.write_all(line.as_bytes()));
    }
}
