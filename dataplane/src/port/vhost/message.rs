//! Messages as they come from the socket: framing, descriptors, replies.
//!
//! Trust: every byte is the front-end's, and it may stop in the middle of a message. Reading never waits, so the session
//! thread always hears its other callers; a message that does not become complete ends the connection.
//! Spec: vhost-user, "Message Specification". Neighbours: `session` reads, `requests` decodes and answers.
//!
//! Request codes and feature bits are those of the `vhost` crate. Its request server is not used: it spins when a read
//! times out inside a header, takes payload for a header after too many descriptors, and refuses a SET_VRING_ENABLE
//! that comes before SET_FEATURES, as QEMU sends it.

use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::VhostError;
use crate::sys::socket::recv_with_fds;

/// request, flags, size: three native-endian words.
const HEADER: usize = 12;
/// Longest payload: room for 127 memory regions; every other message is far shorter.
const MAX_PAYLOAD: usize = 4096;
/// Most descriptors of a message: one for each region that fits. A message in many small parts could bring some with
/// each, until the process has none left for other ports.
const MOST_FDS: usize = 127;
/// A message is sent in one piece by every front-end; one that takes longer than this is not going to end.
const PATIENCE: Duration = Duration::from_secs(2);

const VERSION_MASK: u32 = 0x3;
const VERSION: u32 = 0x1;
const REPLY: u32 = 0x4;
const NEED_REPLY: u32 = 0x8;

/// One complete request.
#[derive(Debug)]
pub(super) struct Request {
    pub code: u32,
    pub needs_reply: bool,
    pub payload: Vec<u8>,
    pub fds: Vec<OwnedFd>,
}

impl Request {
    /// The 32-bit word at byte `offset`, whose presence the caller has checked.
    pub fn word(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.payload[offset..offset + 4].try_into().expect("four bytes"))
    }

    /// The 64-bit word at byte `offset`, whose presence the caller has checked.
    pub fn long(&self, offset: usize) -> u64 {
        u64::from_ne_bytes(self.payload[offset..offset + 8].try_into().expect("eight bytes"))
    }
}

/// Collects one message after the other.
#[derive(Debug, Default)]
pub(super) struct Reader {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
    since: Option<Instant>,
}

impl Reader {
    /// Takes what the socket has; `None` when that is not a whole message yet.
    pub fn read(&mut self, stream: &UnixStream) -> Result<Option<Request>, VhostError> {
        loop {
            let wanted = self.wanted()?;
            let have = self.bytes.len();
            if have == wanted {
                return Ok(Some(self.finish()));
            }
            self.bytes.resize(wanted, 0);
            let result = recv_with_fds(stream, &mut self.bytes[have..], &mut self.fds);
            self.bytes.truncate(have + *result.as_ref().unwrap_or(&0));
            match result {
                Ok(0) => return Err(VhostError::Disconnected),
                Ok(_) => {
                    if self.fds.len() > MOST_FDS {
                        return Err(VhostError::Descriptors { request: "a message", count: self.fds.len() });
                    }
                    self.since.get_or_insert_with(Instant::now);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.still_patient().map(|()| None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(VhostError::Disconnected),
                Err(error) => return Err(VhostError::Connection(error)),
            }
        }
    }

    /// How long the rest of a message may still take; `None` between messages.
    pub fn patience(&self) -> Option<Duration> {
        self.since.map(|since| PATIENCE.saturating_sub(since.elapsed()))
    }

    fn still_patient(&self) -> Result<(), VhostError> {
        match self.patience() {
            Some(Duration::ZERO) => Err(VhostError::Incomplete(PATIENCE.as_secs())),
            _ => Ok(()),
        }
    }

    /// Bytes of the message, as far as is known. Never more than one message, since descriptors belong to theirs.
    fn wanted(&self) -> Result<usize, VhostError> {
        if self.bytes.len() < HEADER {
            return Ok(HEADER);
        }
        let [_, flags, size] = self.header();
        if flags & VERSION_MASK != VERSION || flags & REPLY != 0 {
            return Err(VhostError::Version(flags));
        }
        if size as usize > MAX_PAYLOAD {
            return Err(VhostError::TooLong(size));
        }
        Ok(HEADER + size as usize)
    }

    fn header(&self) -> [u32; 3] {
        let word = |at: usize| u32::from_ne_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"));
        [word(0), word(4), word(8)]
    }

    fn finish(&mut self) -> Request {
        let [code, flags, _] = self.header();
        let payload = self.bytes.split_off(HEADER);
        self.bytes.clear();
        self.since = None;
        Request { code, needs_reply: flags & NEED_REPLY != 0, payload, fds: std::mem::take(&mut self.fds) }
    }
}

/// Answers `code` with `payload`. A front-end that lets its socket buffer fill up is not waited for.
pub(super) fn reply(mut stream: &UnixStream, code: u32, payload: &[u8]) -> Result<(), VhostError> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    for word in [code, VERSION | REPLY, payload.len() as u32] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes.extend_from_slice(payload);
    match stream.write(&bytes) {
        Ok(count) if count == bytes.len() => Ok(()),
        Ok(_) => Err(VhostError::NotReading),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(VhostError::NotReading),
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
            Err(VhostError::Disconnected)
        }
        Err(error) => Err(VhostError::Connection(error)),
    }
}
