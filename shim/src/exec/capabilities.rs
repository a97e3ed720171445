//! Built-in profiles, and the five capability sets: computed, applied in order, read back.

use porthole_registry::bounded;
use std::fmt;
use std::fs::File;
use std::str::FromStr;

use caps::{CapSet, Capability, CapsHashSet};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use serde::{Serialize, Serializer};

use super::error::{ExecError, Step};
use super::profiles::Profile;

/// A set of capabilities, by number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Capabilities(u64);

impl Capabilities {
    /// None at all.
    pub(crate) const NONE: Self = Self(0);
    /// Every capability there is a number for.
    pub(crate) const ALL: Self = Self(u64::MAX);

    /// A set of one.
    pub(crate) const fn of(capability: Capability) -> Self {
        Self(1 << capability as u8)
    }

    /// In either.
    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// In this one, not in the other.
    pub(crate) const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the other has none of these.
    pub(crate) const fn disjoint(self, other: Self) -> bool {
        self.0 & other.0 == 0
    }

    /// Whether it is empty.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is in it.
    pub(crate) const fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// What no permission of a file holds back.
    pub(crate) const PAST_PERMISSIONS: Self = Self::of(Capability::CAP_DAC_OVERRIDE)
        .union(Self::of(Capability::CAP_DAC_READ_SEARCH))
        .union(Self::of(Capability::CAP_CHOWN))
        .union(Self::of(Capability::CAP_FOWNER))
        .union(Self::of(Capability::CAP_SETUID))
        .union(Self::of(Capability::CAP_SETGID))
        .union(Self::of(Capability::CAP_SYS_ADMIN));

    /// What this process has in its permitted set, of those there is a name for.
    pub(crate) fn permitted() -> Result<Self, ExecError> {
        let held = caps::read(None, CapSet::Permitted).map_err(|e| failed(CapSet::Permitted, &e))?;
        Ok(held.into_iter().map(Self::of).fold(Self::NONE, Self::union))
    }

    fn to_set(self) -> CapsHashSet {
        caps::all().into_iter().filter(|&capability| self.contains(Self::of(capability))).collect()
    }

    fn names(self) -> Vec<String> {
        let mut known: Vec<_> = self.to_set().into_iter().collect();
        known.sort_by_key(Capability::index);
        known.iter().map(ToString::to_string).collect()
    }
}

impl FromStr for Capabilities {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let upper = name.to_ascii_uppercase();
        if upper == "ALL" {
            return Ok(Self::ALL);
        }
        let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        Capability::from_str(&full)
            .map(Self::of)
            .map_err(|_| format!("no such capability as {name}: capabilities(7) lists them"))
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names();
        if names.is_empty() { f.write_str("none") } else { f.write_str(&names.join(" ")) }
    }
}

impl Serialize for Capabilities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

/// A built-in profile: how much the command may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Base {
    /// No capability: curl, dig, nc
    Restricted,
    /// NET_RAW: ping, traceroute, tcpdump -p, reading with ip and ss
    #[default]
    General,
    /// NET_RAW and NET_ADMIN: ip, tc, iptables
    Netadmin,
    /// SYS_PTRACE and NET_RAW: strace, gdb, ss -p, with -p
    Trace,
    /// Everything the caller has, as root and on the host's file system, as with nsenter
    Sysadmin,
}

impl Base {
    /// All of them, by what they grant.
    pub(crate) const ALL: [Self; 5] =
        [Self::Restricted, Self::General, Self::Netadmin, Self::Trace, Self::Sysadmin];

    /// What it grants.
    pub(crate) const fn capabilities(self) -> Capabilities {
        let raw = Capabilities::of(Capability::CAP_NET_RAW);
        match self {
            Self::Restricted => Capabilities::NONE,
            Self::General => raw,
            Self::Netadmin => raw.union(Capabilities::of(Capability::CAP_NET_ADMIN)),
            Self::Trace => raw.union(Capabilities::of(Capability::CAP_SYS_PTRACE)),
            Self::Sysadmin => Capabilities::ALL,
        }
    }

    /// As on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Restricted => "restricted",
            Self::General => "general",
            Self::Netadmin => "netadmin",
            Self::Trace => "trace",
            Self::Sysadmin => "sysadmin",
        }
    }

    /// What it is for.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::Restricted => "curl, dig, nc",
            Self::General => "ping, traceroute, tcpdump, reading with ip and ss",
            Self::Netadmin => "ip, tc, iptables",
            Self::Trace => "strace, gdb, with -p",
            Self::Sysadmin => "as nsenter",
        }
    }

    /// By its name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|base| base.name() == name)
    }
}

/// The five sets the command starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Sets {
    /// What it can ever have.
    pub(crate) bounding: Capabilities,
    /// What passes to programs that ask for it.
    pub(crate) inheritable: Capabilities,
    /// What it has.
    pub(crate) permitted: Capabilities,
    /// What is in force.
    pub(crate) effective: Capabilities,
    /// What passes to every program: lets a command that is not root keep them.
    pub(crate) ambient: Capabilities,
}

impl Sets {
    /// The same in all five.
    pub(crate) const fn exactly(capabilities: Capabilities) -> Self {
        Self {
            bounding: capabilities,
            inheritable: capabilities,
            permitted: capabilities,
            effective: capabilities,
            ambient: capabilities,
        }
    }

    /// From a profile and its changes. `available` is what there is to give: "all" means all of that, and anything
    /// named beyond it is refused.
    pub(crate) fn resolve(
        profile: &Profile,
        add: Capabilities,
        drop: Capabilities,
        available: Capabilities,
    ) -> Result<Self, ExecError> {
        let named = |set: Capabilities| if set == Capabilities::ALL { available } else { set };
        let of_profile = named(profile.base.capabilities()).union(named(profile.add)).minus(profile.drop);
        let granted = of_profile.union(named(add)).minus(drop);
        let lacking = granted.minus(available);
        if !lacking.is_empty() {
            return Err(Step::Capabilities.refused(
                format!("profile {} needs what the caller does not have: {lacking}", profile.name),
                "run it as root with all capabilities, or choose --profile restricted",
            ));
        }
        Ok(Self::exactly(granted))
    }

    /// First part, while the process still has the rights to: nothing beyond `bounding` from now on, and a change of
    /// uid shall not take the permitted set away.
    pub(crate) fn bound(&self) -> Result<(), ExecError> {
        caps::securebits::set_keepcaps(true).map_err(|e| failed(CapSet::Permitted, &e))?;
        // Those it never had, and those of a newer kernel that have no name here, go with the others.
        for number in (0..u64::BITS).filter(|&number| !self.bounding.contains(Capabilities(1 << number))) {
            match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
                Ok(()) => {}
                // The kernel knows no such number, nor any above. What counts is what reads back.
                Err(Errno::INVAL) => break,
                Err(error) => {
                    return Err(Step::Capabilities.failed(format!("number {number}: bounding set"))(error));
                }
            }
        }
        Ok(())
    }

    /// Second part, after the change of uid: the other four, then all five read back.
    pub(crate) fn apply(&self, status: Status) -> Result<(), ExecError> {
        let set = |which: CapSet, to: Capabilities| {
            caps::set(None, which, &to.to_set()).map_err(|e| failed(which, &e))
        };
        // The effective set may not exceed the permitted one, nor ambient the permitted and the inheritable.
        set(CapSet::Inheritable, self.inheritable)?;
        set(CapSet::Effective, self.effective)?;
        set(CapSet::Permitted, self.permitted)?;
        caps::clear(None, CapSet::Ambient).map_err(|e| failed(CapSet::Ambient, &e))?;
        for capability in self.ambient.to_set() {
            caps::raise(None, CapSet::Ambient, capability).map_err(|e| failed(CapSet::Ambient, &e))?;
        }
        self.read_back(&status.read()?)
    }

    /// From the kernel's own list, which also has the numbers that there is no name for here. What it does not list is
    /// unknown, not empty.
    fn read_back(&self, status: &str) -> Result<(), ExecError> {
        let wanted = [
            ("CapBnd", self.bounding),
            ("CapInh", self.inheritable),
            ("CapPrm", self.permitted),
            ("CapEff", self.effective),
            ("CapAmb", self.ambient),
        ];
        for (field, wanted) in wanted {
            let is = field_of(status, field);
            if is != Some(wanted) {
                let is = is.map_or_else(|| "nothing".to_owned(), |is| format!("{is} ({:#x})", is.0));
                return Err(Step::Capabilities.refused(
                    format!("{field} reads back as {is}, not as {wanted}"),
                    "the kernel or a security module changed it: nothing was run",
                ));
            }
        }
        Ok(())
    }
}

/// `/proc/self/status` of the process that becomes the command, opened while `/proc` is the host's.
#[derive(Debug)]
pub(crate) struct Status(File);

impl Status {
    pub(crate) fn open() -> Result<Self, ExecError> {
        File::open("/proc/self/status").map(Self).map_err(Step::Capabilities.failed("/proc/self/status"))
    }

    fn read(self) -> Result<String, ExecError> {
        let text = bounded::read(&self.0, bounded::FACTS).and_then(bounded::utf8);
        text.map_err(Step::Capabilities.failed("/proc/self/status"))
    }
}

fn field_of(status: &str, name: &str) -> Option<Capabilities> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    u64::from_str_radix(value.trim(), 16).ok().map(Capabilities)
}

fn failed(set: CapSet, error: &caps::errors::CapsError) -> ExecError {
    Step::Capabilities.refused(format!("{set:?} set: {error}"), "run it as root with all capabilities")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> Capabilities {
        names.iter().map(|n| n.parse().unwrap()).fold(Capabilities::NONE, Capabilities::union)
    }

    #[test]
    fn names_are_accepted_with_and_without_their_prefix_in_any_case() {
        assert_eq!(set(&["NET_RAW"]), Capabilities::of(Capability::CAP_NET_RAW));
        assert_eq!(set(&["cap_net_raw"]), set(&["NET_RAW"]));
        assert!("NET_ROW".parse::<Capabilities>().is_err());
        assert!("".parse::<Capabilities>().is_err());
    }

    #[test]
    fn each_profile_grants_what_the_manual_says() {
        assert_eq!(Base::Restricted.capabilities(), Capabilities::NONE);
        assert_eq!(Base::General.capabilities(), set(&["NET_RAW"]));
        assert_eq!(Base::Netadmin.capabilities(), set(&["NET_RAW", "NET_ADMIN"]));
        assert_eq!(Base::Trace.capabilities(), set(&["NET_RAW", "SYS_PTRACE"]));
        assert_eq!(Base::Sysadmin.capabilities(), Capabilities::ALL);
        assert_eq!(Base::default(), Base::General);
    }

    #[test]
    fn all_means_all_that_the_caller_has() {
        let available = set(&["NET_RAW", "CHOWN"]);
        let sets =
            Sets::resolve(&Base::Sysadmin.into(), Capabilities::NONE, Capabilities::NONE, available).unwrap();
        assert_eq!(sets, Sets::exactly(available));
    }

    #[test]
    fn a_capability_the_caller_lacks_is_refused_and_named() {
        let refusal =
            Sets::resolve(&Base::General.into(), set(&["SYS_TIME"]), Capabilities::NONE, set(&["NET_RAW"]));
        let report = refusal.unwrap_err().report();
        assert_eq!((report.status, report.code.as_str()), (125, "capabilities"));
        assert!(report.message.contains("CAP_SYS_TIME"), "{}", report.message);
    }

    #[test]
    fn dropping_wins_over_adding() {
        let sets = Sets::resolve(
            &Base::Netadmin.into(),
            set(&["CHOWN"]),
            set(&["CHOWN", "NET_ADMIN"]),
            Capabilities::ALL,
        )
        .unwrap();
        assert_eq!(sets.permitted, set(&["NET_RAW"]));
        let none =
            Sets::resolve(&Base::General.into(), Capabilities::NONE, Capabilities::ALL, Capabilities::ALL)
                .unwrap();
        assert!(none.bounding.is_empty());
    }

    #[test]
    fn all_five_sets_are_the_same() {
        let sets = Sets::exactly(set(&["NET_RAW"]));
        for one in [sets.bounding, sets.inheritable, sets.permitted, sets.effective, sets.ambient] {
            assert_eq!(one, set(&["NET_RAW"]));
        }
    }

    #[test]
    fn a_set_is_shown_by_names_in_the_kernels_order() {
        assert_eq!(set(&["NET_RAW", "CHOWN"]).to_string(), "CAP_CHOWN CAP_NET_RAW");
        assert_eq!(Capabilities::NONE.to_string(), "none");
        assert_eq!(serde_json::to_string(&set(&["NET_RAW"])).unwrap(), r#"["CAP_NET_RAW"]"#);
    }

    #[test]
    fn what_reads_back_is_compared_bit_by_bit() {
        let status = |bounding: &str| {
            format!(
                "Name:\tx\nCapInh:\t0000000000002000\nCapPrm:\t0000000000002000\nCapEff:\t0000000000002000\nCapBnd:\t{bounding}\nCapAmb:\t0000000000002000\n"
            )
        };
        let sets = Sets::exactly(set(&["NET_RAW"]));
        assert!(sets.read_back(&status("0000000000002000")).is_ok());
        let refusal = sets.read_back(&status("0000020000002000")).unwrap_err().to_string();
        assert!(refusal.contains("CapBnd reads back as CAP_NET_RAW (0x20000002000)"), "{refusal}");
        assert!(sets.read_back(&status("what?")).is_err());
        assert!(Sets::exactly(Capabilities::NONE).read_back("").is_err(), "not listed is not empty");
    }
}
