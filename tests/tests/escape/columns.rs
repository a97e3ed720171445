//! Where the attempts are made from: each profile, in each mode.

/// Profiles, the one without a filter last.
pub const PROFILES: [&str; 5] = ["restricted", "general", "netadmin", "trace", "sysadmin"];

const NOBODY: u32 = 65534;
/// Host id of a container's root that has a user namespace.
const BOXED_ROOT: u32 = 100_000;

/// A way in, with any profile.
#[derive(Clone, Copy)]
pub struct Mode {
    /// As in the document.
    pub name: &'static str,
    /// Of `porthole exec`.
    options: &'static [&'static str],
    /// Of which pod.
    target: &'static str,
    /// As whom where the profile does not say otherwise, in the host's numbers.
    user: u32,
    files: Files,
}

/// What a command sees of files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Files {
    /// The host's, with the working directory.
    Host,
    /// The host's for users and without a filter; else nothing of it but tools.
    HostForUsers,
    /// The host's tools and nothing else.
    Tools,
    /// The container's own.
    Target,
}

const fn mode(
    name: &'static str,
    options: &'static [&'static str],
    target: &'static str,
    files: Files,
) -> Mode {
    Mode { name, options, target, user: NOBODY, files }
}

/// Pods: one with a network of its own, one that has a user namespace too, and one in the host's network.
pub const PODS: [&str; 3] = ["web-0", "boxed", "hosted"];

/// The ways in.
pub const MODES: [Mode; 8] = [
    mode("network only", &[], PODS[0], Files::Host),
    Mode { user: 0, ..mode("`--uid 0`", &["--uid", "0"], PODS[0], Files::HostForUsers) },
    mode("host network", &[], PODS[2], Files::Host),
    mode("`-p`", &["-p"], PODS[0], Files::Tools),
    mode("`-m`", &["-m"], PODS[0], Files::Target),
    mode("`-a`", &["-a"], PODS[0], Files::Target),
    mode("`-a`, host network", &["-a"], PODS[2], Files::Target),
    Mode { user: BOXED_ROOT, ..mode("`-a`, user namespace", &["-a"], PODS[1], Files::Target) },
];

/// One profile in one mode.
#[derive(Clone, Copy)]
pub struct Column {
    /// As porthole knows it.
    pub profile: &'static str,
    /// The way in.
    pub mode: Mode,
}

/// All of them, mode by mode.
pub const COLUMNS: [Column; PROFILES.len() * MODES.len()] = {
    let mut columns = [Column { profile: PROFILES[0], mode: MODES[0] }; PROFILES.len() * MODES.len()];
    let mut at = 0;
    while at < columns.len() {
        columns[at] = Column { profile: PROFILES[at % PROFILES.len()], mode: MODES[at / PROFILES.len()] };
        at += 1;
    }
    columns
};

impl Column {
    /// As in messages.
    pub fn name(&self) -> String {
        format!("{}, {}", self.profile, self.mode.name)
    }

    /// Without a filter, with all capabilities that are to be had.
    pub fn unfiltered(&self) -> bool {
        self.profile == PROFILES[PROFILES.len() - 1]
    }

    /// Of `porthole exec`.
    pub fn options(&self) -> Vec<&'static str> {
        [&["--profile", self.profile], self.mode.options].concat()
    }

    /// Of which pod.
    pub fn target(&self) -> &'static str {
        self.mode.target
    }

    /// As whom, in the host's numbers.
    pub fn user(&self) -> u32 {
        if self.unfiltered() && self.mode.user == NOBODY { 0 } else { self.mode.user }
    }

    /// Whether its files are the container's.
    pub fn has_the_targets_files(&self) -> bool {
        self.mode.files == Files::Target
    }

    /// Whether it has the caller's working directory.
    pub fn has_the_working_directory(&self) -> bool {
        self.mode.files == Files::Host || self.mode.files == Files::HostForUsers && self.unfiltered()
    }
}

/// A set of columns.
#[derive(Clone, Copy)]
pub struct Set(u64);

impl Set {
    /// No column.
    pub const NONE: Self = Self(0);

    const fn of_profile(profile: usize) -> Self {
        let (mut set, mut at) = (0, profile);
        while at < COLUMNS.len() {
            set |= 1 << at;
            at += PROFILES.len();
        }
        Self(set)
    }

    const fn of_mode(mode: usize) -> Self {
        Self(((1 << PROFILES.len()) - 1) << (mode * PROFILES.len()))
    }

    /// What is in either.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is not in the other.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the column of this number is in it.
    pub const fn has(self, column: usize) -> bool {
        self.0 >> column & 1 == 1
    }
}

pub const RESTRICTED: Set = Set::of_profile(0);
pub const GENERAL: Set = Set::of_profile(1);
pub const NETADMIN: Set = Set::of_profile(2);
pub const TRACE: Set = Set::of_profile(3);
pub const SYSADMIN: Set = Set::of_profile(4);
pub const ALL: Set = RESTRICTED.or(GENERAL).or(NETADMIN).or(TRACE).or(SYSADMIN);

pub const NET: Set = Set::of_mode(0);
pub const ROOT: Set = Set::of_mode(1);
pub const HOSTED: Set = Set::of_mode(2);
pub const PID: Set = Set::of_mode(3);
pub const MOUNT: Set = Set::of_mode(4);
pub const ALL_OF_HOSTED: Set = Set::of_mode(6);
pub const BOXED: Set = Set::of_mode(7);
