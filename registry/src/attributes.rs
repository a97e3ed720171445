//! Extended attributes of a file that another takes the place of: xattr(7).

use rustix::fd::AsFd;
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};
use rustix::io::{Errno, Result};

/// Those that vouch for the old content, which the new file has not, and the one that grants what a new file is to be
/// given by name.
const NEVER: [&[u8]; 3] = [b"security.ima", b"security.evm", b"security.capability"];
const LABEL: &[u8] = b"security.";

/// More than a label or a list of names takes.
const LONGEST: usize = 64 << 10;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attributes {
    /// The labels of security modules alone.
    Labels,
    /// Those of users and file systems too, as far as they can be set.
    All,
}

impl Attributes {
    /// Gives the new file those of the old one, but for what vouches for its content.
    ///
    /// # Errors
    /// Those of the calls. An attribute that is no label may be one that not even root may set.
    pub fn copy(self, old: impl AsFd, new: impl AsFd) -> Result<()> {
        let mut names = [0; 1024];
        let names = match flistxattr(&old, &mut names) {
            Ok(0) | Err(Errno::NOTSUP) => return Ok(()),
            Ok(length) => names[..length].to_vec(),
            Err(Errno::RANGE) => {
                let mut names = vec![0; LONGEST];
                let length = flistxattr(&old, &mut names)?;
                names.truncate(length);
                names
            }
            Err(errno) => return Err(errno),
        };
        for name in names.split(|byte| *byte == 0).filter(|name| self.has(name)) {
            let mut value = vec![0; LONGEST];
            let length = fgetxattr(&old, name, &mut value)?;
            match fsetxattr(&new, name, &value[..length], XattrFlags::empty()) {
                Err(Errno::PERM | Errno::NOTSUP) if !name.starts_with(LABEL) => {}
                set => set?,
            }
        }
        Ok(())
    }

    fn has(self, name: &[u8]) -> bool {
        !name.is_empty() && !NEVER.contains(&name) && (self == Self::All || name.starts_with(LABEL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vouches_for_the_old_content_is_never_copied() {
        for all in [Attributes::Labels, Attributes::All] {
            for name in ["security.ima", "security.evm", "security.capability", ""] {
                assert!(!all.has(name.as_bytes()), "{all:?}: {name}");
            }
            for name in ["security.selinux", "security.SMACK64", "security.imaginary"] {
                assert!(all.has(name.as_bytes()), "{all:?}: {name}");
            }
            for name in ["user.site", "trusted.overlay.origin", "system.posix_acl_access"] {
                assert_eq!(all.has(name.as_bytes()), all == Attributes::All, "{all:?}: {name}");
            }
        }
    }
}
