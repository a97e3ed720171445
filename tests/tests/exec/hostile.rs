//! Targets that do what they can to whoever enters.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use porthole_tests::process::wait_until;
use porthole_tests::tools::{self, binary};
use porthole_tests::{Bundle, Container, Node, Runtime, on_a_node, requires};

use crate::setting::{bundle, command, exec, exec_in, own_etc, web_0, work};

/// What a command in the container's file system can be given to show that it ran.
const MARK: &str = "#!/bin/sh\necho ran\n";

fn program(at: &Path, text: &str) {
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(at, text).unwrap();
    fs::set_permissions(at, fs::Permissions::from_mode(0o755)).unwrap();
}

fn a_directory_etc_that_is_a_link_leads_to_no_file_of_the_host(node: &Node) {
    own_etc(node);
    let evil = node.scratch().join("evil");
    fs::create_dir_all(&evil).unwrap();
    fs::write(evil.join("resolv.conf"), "nameserver 203.0.113.66\n").unwrap();
    let host = fs::read_to_string("/etc/resolv.conf").unwrap();
    let container = web_0(node);
    let etc = node.rootfs().join("etc");
    fs::remove_dir_all(&etc).unwrap();
    for to in [
        "/mnt/evil",
        "../../../mnt/evil",
        "/proc/self/root/mnt/evil",
        "/proc/1/cwd/mnt/evil",
        "etc",
        "/dev/null",
    ] {
        symlink(to, &etc).unwrap();
        let outcome = exec(&["web-0", "--", "cat", "/etc/resolv.conf"]);
        assert_eq!(outcome.expect_success(), host, "{to}");
        fs::remove_file(&etc).unwrap();
    }
    fs::create_dir(&etc).unwrap();
    container.delete();
}

fn files_of_the_kernel_are_not_taken_for_resolver_files(node: &Node) {
    own_etc(node);
    let host = fs::read_to_string("/etc/hosts").unwrap();
    let container = web_0(node);
    for to in ["/proc/version", "/proc/kmsg", "/proc/self/environ"] {
        symlink(to, node.rootfs().join("etc/hosts")).unwrap();
        let outcome = exec(&["web-0", "--", "cat", "/etc/hosts"]);
        assert_eq!(outcome.expect_success(), host, "{to}");
        fs::remove_file(node.rootfs().join("etc/hosts")).unwrap();
    }
    container.delete();
}

fn a_command_behind_links_is_not_the_hosts(node: &Node) {
    let outside = node.scratch().join("outside/program");
    program(&outside, MARK);
    let bin = node.rootfs().join("bin");
    symlink("/mnt/outside/program", bin.join("absolute")).unwrap();
    symlink("../../../../../mnt/outside/program", bin.join("relative")).unwrap();
    let container = web_0(node);
    for options in [&["-m"][..], &["-a"], &["-r"], &["-r", "-m"]] {
        for name in ["/bin/absolute", "/bin/relative"] {
            let outcome = exec(&[options, &["web-0", "--", name]].concat());
            assert_eq!(outcome.status.code(), Some(127), "{options:?} {name}: {outcome:?}");
        }
    }
    container.delete();
}

fn programs_of_the_working_directory_are_not_found_by_name(node: &Node) {
    let here = work(node);
    for name in ["porthole-trap", "bin/porthole-trap"] {
        program(&here.join(name), MARK);
    }
    let container = web_0(node);
    for path in ["", ":", ".:bin:./bin", "/usr/bin::"] {
        let mut trap = command(&[], &["web-0", "--", "porthole-trap"], &here);
        trap.env("PATH", path);
        let outcome = tools::run(trap);
        assert_eq!(outcome.status.code(), Some(127), "{path:?}: {outcome:?}");
    }
    assert_eq!(exec_in(&here, &["web-0", "--", "./porthole-trap"]).expect_success(), "ran\n");
    container.delete();
}

fn a_working_directory_outside_the_root_is_refused(node: &Node) {
    let container = web_0(node);
    let outcome = exec(&["-m", "-w=/mnt", "web-0", "--", "/bin/ls", "../.."]);
    assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
    assert!(outcome.stderr.contains("is not below the command's root"), "{outcome:?}");
    assert_eq!(exec(&["-m", "-w", "web-0", "--", "/bin/true"]).status.code(), Some(0));
    assert_eq!(exec(&["-r", "-w", "web-0", "--", "/bin/true"]).status.code(), Some(0));
    container.delete();
    // Its own is one: a descriptor of its runtime's led there.
    let pod = Bundle::new(node).hooked(&[]);
    let container = Container::run(Runtime::Runc, &pod);
    let mut astray = Command::new("nsenter");
    let pid = container.pid().to_string();
    astray.args(["--target", &pid, "--mount", "--pid", "--net", "--wd=/mnt", "/bin/sleep", "1000"]);
    let mut outside = astray.spawn().unwrap();
    let of = format!("/proc/{}/task/{0}/children", outside.id());
    wait_until("a process that is astray", || {
        fs::read_to_string(&of).is_ok_and(|children| !children.is_empty())
    });
    let child = fs::read_to_string(&of).unwrap();
    let outcome = exec(&["-m", "-w", &format!("pid:{}", child.trim()), "--", "/bin/ls", "../.."]);
    assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
    assert!(outcome.stderr.contains("is not below the command's root"), "{outcome:?}");
    outside.kill().unwrap();
    outside.wait().unwrap();
    container.delete();
}

/// In the container: looks at every process that is not its own, and notes what it can read of it.
const WATCHER: &str = r#"
while :; do
  for p in /proc/[0-9]*; do
    case $p in /proc/1|/proc/$$) continue;; esac
    comm=; read -r comm < $p/comm || continue
    case $comm in porthole*) echo $comm >> /out/seen;; *) continue;; esac
    for what in environ maps auxv mem; do
      (exec 3< $p/$what && read -r x <&3) && echo $what >> /out/found
    done
    for what in exe cwd root fd/0 fd/3 fd/4 ns/net; do
      [ -e $p/$what ] && echo $what >> /out/found
    done
  done
done 2>/dev/null
"#;

fn nothing_of_porthole_can_be_read_by_what_it_enters(node: &Node) {
    let out = work(node);
    let hostile = bundle(node).with_output(&out).args(&["/bin/sh", "-c", WATCHER]);
    let container = Container::run(Runtime::Runc, &hostile);
    wait_until("porthole to be seen inside", || {
        for uid in ["0", "65534"] {
            exec(&["-a", "--uid", uid, "--gid", uid, "web-0", "--", "/bin/true"]).expect_success();
        }
        fs::read_to_string(out.join("seen")).is_ok_and(|seen| seen.lines().count() > 20)
    });
    let found = fs::read_to_string(out.join("found")).unwrap_or_default();
    assert_eq!(found, "", "of a process that is still porthole");
    container.delete();
}

fn nothing_is_opened_inside_before_the_command(node: &Node) {
    requires!(strace);
    let root = node.rootfs();
    // What a C library would look at.
    for name in
        ["ld.so.preload", "ld.so.cache", "nsswitch.conf", "passwd", "group", "locale.alias", "localtime"]
    {
        fs::write(root.join("etc").join(name), "trap\n").unwrap();
    }
    let container = web_0(node);
    for options in [&["-m"][..], &["-a"], &["-r"]] {
        let trace = "/mnt/strace.out";
        let under = ["strace", "-f", "-qq", "-o", trace, "-e", "trace=%file,%network,setns,chroot"];
        let mut run = command(
            &under,
            &[options, &["-e", "LANG=de_DE.UTF-8", "web-0", "--", "/bin/true"]].concat(),
            Path::new("/"),
        );
        run.env("LD_PRELOAD", "").env("LC_ALL", "de_DE.UTF-8");
        tools::run(run).expect_success();
        let text = fs::read_to_string(trace).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let entered = lines.iter().rposition(|line| {
            line.contains(" chroot(\".\"") || (line.contains(" setns(") && line.contains("CLONE_NEWNS"))
        });
        let entered = entered.unwrap_or_else(|| panic!("{options:?}: {text}"));
        let child = lines[entered].split(' ').next().unwrap();
        let inside = lines[entered + 1..].iter().filter(|line| line.starts_with(child));
        let before = inside.take_while(|line| !line.contains(" execve("));
        // It goes to a directory, asks where that is, and looks at what it has open already. A call that was cut in
        // two by another process' is there from its beginning.
        let harmless = [" chdir(", " getcwd(", ", \"\", ", " resumed>"];
        let opened: Vec<_> = before.filter(|line| !harmless.iter().any(|call| line.contains(call))).collect();
        assert!(opened.is_empty(), "{options:?}: {opened:#?}");
        assert!(lines[entered..].iter().any(|line| line.contains(" execve(\"/bin/true\"")), "{text}");
    }
    container.delete();
}

fn no_descriptor_gets_into_the_targets_file_system(node: &Node) {
    let container = web_0(node);
    let open = ["bash", "-c", "exec 3</etc/passwd 7</ 200>/mnt/log; exec \"$@\"", "bash"];
    for options in [&["-a"][..], &["-m"], &["-r"], &["-a", "-F"]] {
        let list = [options, &["web-0", "--", "/bin/sh", "-c", "echo /proc/self/fd/*"]].concat();
        let listed = tools::run(command(&open, &list, Path::new("/")));
        // Without -p, /proc of the container does not have the command.
        if options == ["-a"] {
            let fds = listed.expect_success().trim();
            let numbers: Vec<_> = fds.split(' ').filter_map(|fd| fd.rsplit('/').next()).collect();
            assert!(numbers.len() <= 4 && numbers.starts_with(&["0", "1", "2"]), "{options:?}: {fds}");
        }
        let climb = "for fd in 3 4 5 6 7 8 9 200; do (echo x <&$fd) 2>/dev/null && echo open $fd; done; true";
        let climb = [options, &["web-0", "--", "/bin/sh", "-c", climb]].concat();
        let outcome = tools::run(command(&open, &climb, Path::new("/")));
        assert_eq!(outcome.expect_success(), "", "{options:?}");
    }
    container.delete();
}

fn an_interpreter_that_is_the_process_itself_is_a_copy_that_cannot_be_written(node: &Node) {
    let bin = node.rootfs().join("bin");
    program(&bin.join("script"), "#!/proc/self/exe\n");
    let container = web_0(node);
    let porthole = node.scratch().join("porthole");
    fs::copy(binary("porthole"), &porthole).unwrap();
    let mut run = Command::new(&porthole);
    run.args(["exec", "-a", "web-0", "--", "/bin/script"]);
    let outcome = tools::run(run);
    assert!(!outcome.status.success(), "{outcome:?}");
    assert!(fs::read(&porthole).unwrap() == fs::read(binary("porthole")).unwrap());
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    a_directory_etc_that_is_a_link_leads_to_no_file_of_the_host,
    files_of_the_kernel_are_not_taken_for_resolver_files,
    a_command_behind_links_is_not_the_hosts,
    programs_of_the_working_directory_are_not_found_by_name,
    a_working_directory_outside_the_root_is_refused,
    nothing_of_porthole_can_be_read_by_what_it_enters,
    nothing_is_opened_inside_before_the_command,
    no_descriptor_gets_into_the_targets_file_system,
    an_interpreter_that_is_the_process_itself_is_a_copy_that_cannot_be_written,
);
