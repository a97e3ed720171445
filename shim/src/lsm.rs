//! The kernel's security modules: which of them is active, and whether it has porthole's policy.

use porthole_registry::bounded;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// The domain of a debug process.
const CONTEXT: &str = "system_u:system_r:porthole_debug_t:s0";
/// The profile of a debug process.
const PROFILE: &str = "porthole-debug";
/// Where AppArmor lists its profiles.
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";

/// What the lack of a policy means, wherever a module is active.
pub(crate) const WITHOUT: &str =
    "`porthole exec` ends with 125, but with --profile sysadmin (the caller's context) or -Z (the target's)";

pub(crate) fn is_selinux_active() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Whether the kernel has it, and it was not switched off at boot.
pub(crate) fn is_apparmor_active() -> bool {
    bounded::file("/sys/module/apparmor/parameters/enabled", bounded::FACTS)
        .is_ok_and(|text| text.first() == Some(&b'Y'))
}

/// Whether AppArmor's interface is there; who may not read it sees that too.
pub(crate) fn can_load_profiles() -> bool {
    Path::new(PROFILES).exists()
}

/// Whether AppArmor has porthole's profile. None where it cannot be asked.
pub(crate) fn knows_profile() -> Option<bool> {
    bounded::text(PROFILES, bounded::LISTS).ok().map(|text| has_profile(&text))
}

/// Whether SELinux has porthole's domain: selinuxfs answers what is written to `context`, and nothing is changed by it.
pub(crate) fn knows_context() -> Option<bool> {
    let mut file = OpenOptions::new().read(true).write(true).open("/sys/fs/selinux/context").ok()?;
    match file.write_all(format!("{CONTEXT}\0").as_bytes()) {
        Ok(()) => Some(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Some(false),
        Err(_) => None,
    }
}

/// `porthole-debug (enforce)`, a line each.
fn has_profile(profiles: &str) -> bool {
    profiles.lines().any(|line| line.split(" (").next() == Some(PROFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_known_by_its_whole_name() {
        assert!(has_profile("lsb_release (enforce)\nporthole-debug (enforce)\n"));
        assert!(!has_profile("porthole-debug-x (enforce)\n/usr/bin/porthole-debug (complain)\n"));
    }
}
