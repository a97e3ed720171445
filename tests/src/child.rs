//! The state of a process, as the kernel tells it to somebody outside.

use std::fs;
use std::process::{Command, Stdio};

use crate::pod::Netns;
use crate::process::wait_until;
use crate::tools::binary;

/// What a command of `porthole exec` is to have, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Inheritable, permitted, effective, bounding and ambient set.
    pub capabilities: [u64; 5],
    /// prctl(2), PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: bool,
    /// 0: not filtered, 2: by a filter.
    pub seccomp: u32,
    /// Real, effective, saved and file system uid, as the host numbers them.
    pub uids: [u32; 4],
    /// The same of the gid.
    pub gids: [u32; 4],
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Its network namespace.
    pub netns: Option<Netns>,
    /// Whether it is in a cgroup that porthole has made.
    pub own_cgroup: bool,
    /// Options of the mount at `/`.
    pub root: Vec<String>,
    /// Open descriptors.
    pub descriptors: Vec<u32>,
    /// Names of its variables.
    pub variables: Vec<String>,
    /// See proc(5).
    pub oom_score_adj: i32,
}

impl Child {
    /// Of a command that sleeps in `target`, by the default profile.
    #[must_use]
    pub fn in_target(target: &str) -> Self {
        let mut exec = Command::new(binary("porthole"));
        exec.args(["exec", target, "--", "sleep", "1000"]);
        let mut porthole = exec.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("start porthole");
        let children = format!("/proc/{0}/task/{0}/children", porthole.id());
        let sleeper = || fs::read_to_string(&children).ok()?.split_whitespace().next()?.parse::<u32>().ok();
        wait_until("the command to sleep", || {
            let at = sleeper().and_then(|pid| fs::read_to_string(format!("/proc/{pid}/wchan")).ok());
            at.is_some_and(|at| at.contains("nanosleep"))
        });
        let child = Self::of(sleeper().expect("it sleeps"));
        porthole.kill().expect("end porthole");
        porthole.wait().expect("wait for porthole");
        child
    }

    /// Whether it is what the default profile promises to root, in this network namespace.
    ///
    /// # Panics
    /// With what is otherwise.
    #[track_caller]
    pub fn expect_general(&self, netns: Netns) {
        let raw = 1 << 13;
        assert_eq!((self.capabilities, self.no_new_privs, self.seccomp), ([raw; 5], true, 2), "{self:?}");
        assert_eq!((self.uids, self.gids), ([65534; 4], [65534; 4]), "{self:?}");
        assert!(self.groups.is_empty() && self.own_cgroup && self.descriptors == [0, 1, 2], "{self:?}");
        assert_eq!(self.netns, Some(netns));
    }

    /// Of a process that lives.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let read = |file: &str| {
            fs::read_to_string(format!("/proc/{pid}/{file}"))
                .unwrap_or_else(|e| panic!("{file} of {pid}: {e}"))
        };
        let status = read("status");
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
        };
        let numbers = |name: &str| -> Vec<u32> {
            field(name).split_whitespace().map(|number| number.parse().expect("a number")).collect()
        };
        let four = |name: &str| numbers(name).try_into().expect("four ids");
        let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
        let mountinfo = read("mountinfo");
        // The last one at a place covers those before it.
        let root = mountinfo.lines().rfind(|line| line.split(' ').nth(4) == Some("/")).unwrap_or_default();
        let options = root.split(' ').nth(5).unwrap_or_default();
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("list descriptors").flatten();
        let mut descriptors: Vec<u32> =
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        descriptors.sort_unstable();
        let environ = read("environ");
        let names = environ.split('\0').filter_map(|pair| pair.split_once('='));
        let mut variables: Vec<_> = names.map(|(name, _)| name.to_owned()).collect();
        variables.sort();
        Self {
            capabilities: sets.map(|set| u64::from_str_radix(&field(set), 16).expect("a set")),
            no_new_privs: field("NoNewPrivs") == "1",
            seccomp: field("Seccomp").parse().expect("a number"),
            uids: four("Uid"),
            gids: four("Gid"),
            groups: numbers("Groups"),
            netns: Netns::of(pid),
            own_cgroup: read("cgroup").contains(":/porthole/"),
            root: options.split(',').map(str::to_owned).collect(),
            descriptors,
            variables,
            oom_score_adj: read("oom_score_adj").trim().parse().expect("a number"),
        }
    }
}
