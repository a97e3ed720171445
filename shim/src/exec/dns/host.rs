//! Files of the host's `/etc` that are links to a place that a view does not have: systemd-resolved, resolvconf and
//! NetworkManager make `resolv.conf` one into `/run`. The view gets the content.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, open, openat2, readlinkat};
use rustix::io::Errno;

use super::super::impersonate::as_everybody;
use super::{Dns, FILES, NSSWITCH, Overlay, Source, read_public};

/// Other files of `/etc` that programs read, and that some systems make a link.
const OTHERS: [&str; 4] = [NSSWITCH, "localtime", "passwd", "group"];

/// A link in the host's `/etc`.
struct Linked {
    /// Its target.
    place: PathBuf,
    /// The content of its target.
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

/// The line of a plan about a file of the host's.
pub(super) fn stays(name: &str) -> String {
    format!("/etc/{name} stays the host's: the target has none to show")
}

/// Reads with everybody's rights, so that a link of a user's shows no file of root's.
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
        // It leads nowhere on the host either.
        Err(error) => Linked { place: PathBuf::new(), content: Err(error.into()) },
    }))
}
