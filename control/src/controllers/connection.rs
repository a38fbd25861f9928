//! One peer: its stream, what waits in both directions, and how far it got.
//!
//! Trust: the peer. What it does wrong ends this connection and nothing else. Neighbours: the server (`mod`) gives it
//! turns.

use std::io;
use std::time::Instant;

use super::buffers::Buffers;
use super::session::Session;
use super::stream::Stream;
use crate::openflow::Version;

/// What a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A controller that we connect to.
    Primary,
    /// Somebody who came to us.
    Service,
    /// Somebody who came to listen to what controllers say.
    Snoop,
}

/// How far it got.
pub(super) enum State {
    /// We wait for the other side to accept.
    Connecting,
    /// We said hello and wait for theirs.
    Hello,
    /// A version is agreed on.
    Open(Box<Session>),
}

/// A barrier that is not answered yet.
#[derive(Clone, Copy)]
pub(super) struct Barrier {
    /// What every worker has to use first.
    pub epoch: u64,
    pub xid: u32,
    /// When it was asked for.
    pub since: Instant,
}

/// See the file's head.
pub(super) struct Connection {
    pub stream: Stream,
    /// For the log.
    pub name: String,
    /// The bridge's name.
    pub bridge: String,
    pub kind: Kind,
    pub state: State,
    pub buffers: Buffers,
    /// There may be something to read.
    pub readable: bool,
    /// Nothing behind it is looked at before it is answered.
    pub barrier: Option<Barrier>,
    /// When it began.
    pub since_ms: u64,
    /// When it was last heard of.
    pub heard_ms: u64,
    /// It was asked whether it is still there.
    pub probed: bool,
}

impl Connection {
    pub fn new(stream: Stream, name: String, bridge: String, kind: Kind, now_ms: u64) -> Self {
        Self {
            stream,
            name,
            bridge,
            kind,
            state: State::Connecting,
            buffers: Buffers::default(),
            readable: true,
            barrier: None,
            since_ms: now_ms,
            heard_ms: now_ms,
            probed: false,
        }
    }

    /// What is agreed on, once it is.
    pub fn session(&mut self) -> Option<(&mut Session, &mut Buffers)> {
        match &mut self.state {
            State::Open(session) => Some((session, &mut self.buffers)),
            _ => None,
        }
    }

    /// The session of a peer that asks and is told things.
    pub fn talking(&self) -> Option<&Session> {
        match &self.state {
            State::Open(session) if self.kind != Kind::Snoop => Some(session),
            _ => None,
        }
    }

    /// Sends what waits, as far as the peer takes it.
    pub fn drain(&mut self) -> io::Result<()> {
        self.buffers.drain(&mut self.stream)?;
        if self.buffers.is_overfull() {
            return Err(io::Error::other("it does not read what it is sent"));
        }
        Ok(())
    }

    /// True when it has something to do without waiting for its peer.
    pub fn is_busy(&self) -> bool {
        let may_read = self.readable || self.buffers.has_message();
        self.barrier.is_none() && !self.buffers.is_full() && may_read && !matches!(self.state, State::Connecting)
    }
}

/// Our hello: the highest version, and all of them as a bitmap.
pub(super) fn hello(versions: u32) -> Vec<u8> {
    let highest = (31 - versions.leading_zeros().min(31)) as u8;
    let mut hello = vec![highest, 0, 0, 16, 0, 0, 0, 1, 0, 1, 0, 8];
    hello.extend(versions.to_be_bytes());
    hello
}

/// The version that both speak, from their hello; none when there is none or it is no hello.
pub(super) fn agree(ours: u32, hello: &[u8]) -> Option<Version> {
    let [version, 0, _, _, _, _, _, _, elements @ ..] = hello else { return None };
    let up_to = |version: u8| if version >= 31 { u32::MAX } else { (1 << (version + 1)) - 1 };
    Version::agreed(ours, bitmap(elements).unwrap_or_else(|| up_to(*version)))
}

fn bitmap(mut elements: &[u8]) -> Option<u32> {
    while let [kind_high, kind, len_high, len, rest @ ..] = elements {
        let len = usize::from(u16::from_be_bytes([*len_high, *len]));
        if (*kind_high, *kind) == (0, 1) {
            return rest.first_chunk().map(|bitmap| u32::from_be_bytes(*bitmap));
        }
        elements = elements.get(len.max(4).next_multiple_of(8)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_agreed_on() {
        let plain = |version| agree(Version::BITMAP, &[version, 0, 0, 8, 0, 0, 0, 1]);
        assert_eq!([1, 2, 3, 4, 5, 6, 9].map(plain), {
            use Version::*;
            [V10, V10, V10, V13, V14, V15, V15].map(Some)
        });
        assert_eq!(agree(Version::BITMAP, &hello(1 << 1 | 1 << 4)), Some(Version::V13));
        assert_eq!(agree(1 << 1, &hello(1 << 4)), None);
        assert_eq!(agree(Version::BITMAP, &[4, 10, 0, 8, 0, 0, 0, 1]), None, "not a hello");
        // An unknown element in front of the bitmap.
        let mut strange = hello(1 << 5);
        strange.splice(8..8, [0, 9, 0, 5, 1, 0, 0, 0]);
        assert_eq!(agree(Version::BITMAP, &strange), Some(Version::V14));
    }
}
