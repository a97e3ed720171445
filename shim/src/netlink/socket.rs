//! A synchronous rtnetlink socket: one request, then its answers until the kernel says that was all.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP,
    NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

use super::Error;

/// What the kernel's own documentation asks of a reader of dumps.
const BUFFER: usize = 32 * 1024;
/// A dump during which something changed is asked for again, this often.
const ATTEMPTS: usize = 3;
const HEADER: usize = 16;

/// A socket in the network namespace of the thread that made it.
pub struct RouteSocket {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl RouteSocket {
    /// In the calling thread's network namespace.
    pub fn open() -> Result<Self, Error> {
        Self::with_buffer(Vec::new())
    }

    /// Like [`RouteSocket::open`], with the buffer of a socket that is no longer needed.
    pub(super) fn with_buffer(mut buffer: Vec<u8>) -> Result<Self, Error> {
        buffer.clear();
        buffer.reserve(BUFFER);
        let socket = Socket::new(NETLINK_ROUTE).map_err(Error::Socket)?;
        Ok(Self { socket, sequence: 0, buffer })
    }

    /// Closes the socket and gives its buffer back.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Asks for a list: `each` gets the payload of every answer and adds to what was found, which is
    /// emptied when the list changed under the kernel's hands and is asked for again.
    pub(super) fn dump<T>(
        &mut self,
        what: &'static str,
        request: RouteNetlinkMessage,
        mut each: impl FnMut(&mut Vec<T>, &[u8]) -> Result<(), Error>,
    ) -> Result<Vec<T>, Error> {
        let mut bytes = encode(request, NLM_F_REQUEST | NLM_F_DUMP);
        let mut found = Vec::new();
        for attempt in 1..=ATTEMPTS {
            found.clear();
            self.send(what, &mut bytes)?;
            let interrupted = self.answers(what, |payload| each(&mut found, payload))?;
            if !interrupted || attempt == ATTEMPTS {
                break;
            }
        }
        Ok(found)
    }

    /// Asks for one thing, or for one change; `each` gets the payload of the answer, if there is one.
    pub(super) fn request(
        &mut self,
        what: &'static str,
        request: RouteNetlinkMessage,
        flags: u16,
        each: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut bytes = encode(request, NLM_F_REQUEST | NLM_F_ACK | flags);
        self.send(what, &mut bytes)?;
        self.answers(what, each).map(|_| ())
    }

    fn send(&mut self, what: &'static str, bytes: &mut [u8]) -> Result<(), Error> {
        self.sequence += 1;
        NetlinkBuffer::new(&mut *bytes).set_sequence_number(self.sequence);
        let sent = self.socket.send(bytes, 0).map_err(|source| Error::Talk { what, source })?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(Error::Talk { what, source: io::ErrorKind::WriteZero.into() })
        }
    }

    /// Reads until the acknowledgement, the end of the list or an error. True when the list changed meanwhile.
    fn answers(
        &mut self,
        what: &'static str,
        mut each: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let mut interrupted = false;
        loop {
            self.buffer.clear();
            let got = self
                .socket
                .recv(&mut self.buffer, libc::MSG_TRUNC)
                .map_err(|source| Error::Talk { what, source })?;
            if got != self.buffer.len() {
                return Err(Error::Malformed { what, detail: format!("{got} bytes in one message") });
            }
            let mut rest = self.buffer.as_slice();
            while rest.len() >= HEADER {
                let message = NetlinkBuffer::new_checked(rest)
                    .map_err(|e| Error::Malformed { what, detail: e.to_string() })?;
                if message.sequence_number() == self.sequence {
                    interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
                    match message.message_type() {
                        NLMSG_NOOP => {}
                        NLMSG_DONE | NLMSG_ERROR => {
                            return outcome(what, message.payload()).map(|()| interrupted);
                        }
                        _ => each(message.payload())?,
                    }
                }
                let length = usize::try_from(message.length()).unwrap_or(rest.len());
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// Acknowledgements, ends of lists and errors all begin with a negated errno.
fn outcome(what: &'static str, payload: &[u8]) -> Result<(), Error> {
    let code = payload.first_chunk::<4>().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    match code {
        0.. => Ok(()),
        _ => Err(Error::Refused { what, source: io::Error::from_raw_os_error(code.wrapping_neg()) }),
    }
}

fn encode(request: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_code_is_the_errno_of_the_refusal() {
        let error = outcome("ask", &(-libc::EPERM).to_ne_bytes()).unwrap_err();
        assert!(
            matches!(error, Error::Refused { ref source, .. } if source.raw_os_error() == Some(libc::EPERM))
        );
        assert!(error.remedy().is_some());
    }

    #[test]
    fn zero_and_nothing_are_an_acknowledgement() {
        assert!(outcome("ask", &0_i32.to_ne_bytes()).is_ok());
        assert!(outcome("ask", &[]).is_ok());
    }
}
