//! Files of the host's `/etc` that are links to a place that a view does not have: systemd-resolved, resolvconf and
//! NetworkManager make `resolv.conf` one into `/run`. The view gets the content.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, open, openat2, readlinkat};
use rustix::io::Errno;

use super::super::impersonate::as_everybody;
use super::{Dns, FILES, NSSWITCH, Overlay, Source, read_public};

/// What else programs read of `/etc`, and what some systems make a link.
const OTHERS: [&str; 4] = [NSSWITCH, "localtime", "passwd", "group"];

/// A link of the host's.
struct Linked {
    /// Where it leads.
    place: PathBuf,
    /// What is there.
    content: io::Result<Vec<u8>>,
}

impl Dns {
    /// Adds the content of each file that is a link out of the view; files that are there already stay. `shown`: whether
    /// the view has a place of the host's.
    pub(crate) fn follow_links(&mut self, shown: impl Fn(&Path) -> bool) -> io::Result<()> {
        for name in FILES.into_iter().chain(OTHERS) {
            if self.has(name) {
                continue;
            }
            let Some(Linked { place, content }) = linked(name)? else { continue };
            if shown(&place) {
                continue;
            }
            self.notes.retain(|note| *note != stays(name));
            match content {
                Ok(content) => self.overlays.push(Overlay {
                    name: name.to_owned(),
                    source: Source::HostLink,
                    place: Some(place),
                    content,
                }),
                Err(error) => self.notes.push(format!("/etc/{name} of the host is left out: {error}")),
            }
        }
        Ok(())
    }
}

/// What a plan says of a file that is the host's.
pub(super) fn stays(name: &str) -> String {
    format!("/etc/{name} stays the host's: the target has none to show")
}

/// Looks with everybody's rights: whoever made the link does not read by it what is root's.
fn linked(name: &str) -> io::Result<Option<Linked>> {
    let link = Path::new("/etc").join(name);
    match readlinkat(CWD, &link, Vec::new()) {
        Ok(_) => {}
        Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let root = open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = as_everybody(|| {
        openat2(
            root.as_fd(),
            &link,
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    })?;
    Ok(Some(match found {
        Ok(file) => Linked {
            place: std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?,
            content: read_public(&file),
        },
        // It leads nowhere, which no view has.
        Err(error) => Linked { place: PathBuf::new(), content: Err(error.into()) },
    }))
}
