//! What ends the command with porthole where its death signal does not: a change of security context clears that, for
//! SELinux and for AppArmor alike, whatever the policy allows. A second process of porthole's then holds the command by
//! a pidfd, and ends it when porthole has gone without having seen its end.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, setsid};

use super::error::{ExecError, Step};
use super::lsm::Context;
use crate::sys::{self, Fork};

/// porthole's end. The command's has gone with its execve, so that only porthole's own end closes it.
#[derive(Debug)]
pub(crate) struct Lifeline(Option<Watched>);

#[derive(Debug)]
struct Watched {
    socket: OwnedFd,
    watcher: Pid,
}

impl Lifeline {
    /// Starts the other process, where one is needed.
    pub(crate) fn start(context: &Context, fork: bool) -> Result<Self, ExecError> {
        if !fork || !context.changes() {
            return Ok(Self(None));
        }
        let failed = Step::DeathSignal.failed("a pair of sockets");
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(failed)?;
        match sys::fork().map_err(Step::DeathSignal.failed("a process that watches"))? {
            Fork::Parent(watcher) => Ok(Self(Some(Watched { socket: ours, watcher }))),
            Fork::Child => {
                drop(ours);
                // Nobody is there to be told of an error; the command is not started when its pidfd is not taken.
                let done = watch(&theirs);
                sys::exit_now(u8::from(done.is_err()))
            }
        }
    }

    /// The other process, if there is one.
    pub(crate) fn watcher(&self) -> Option<Pid> {
        self.0.as_ref().map(|watched| watched.watcher)
    }

    /// Gives it the command: this process, before it becomes it, or a child that already is.
    pub(crate) fn hand_over(&self, command: Pid) -> Result<(), ExecError> {
        let Some(Watched { socket, .. }) = &self.0 else { return Ok(()) };
        let hand = || -> Result<(), Errno> {
            let own = pidfd_open(command, PidfdFlags::empty())?;
            let fds = [own.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
            sendmsg(socket, &[IoSlice::new(b"c")], &mut ancillary, SendFlags::NOSIGNAL)?;
            Ok(())
        };
        hand().map_err(Step::DeathSignal.failed("the process that watches"))
    }
}

/// The other process: until the command has ended, or porthole has.
fn watch(socket: &OwnedFd) -> Result<(), Errno> {
    // What a terminal or an administrator sends to porthole's group is for porthole alone.
    SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(|_| Errno::INVAL)?;
    setsid()?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut [0])], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let command = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    // It ended before it was to become anything.
    let Some(command) = command else { return Ok(()) };
    loop {
        let mut fds = [PollFd::new(&command, PollFlags::IN), PollFd::new(socket, PollFlags::empty())];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let [ended, alone] = fds.each_ref().map(|fd| !fd.revents().is_empty());
        if ended {
            return Ok(());
        }
        if alone {
            return pidfd_send_signal(&command, Signal::KILL);
        }
    }
}
