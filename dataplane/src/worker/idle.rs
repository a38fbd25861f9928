//! What a worker does when there is nothing to do: spin for a while, then ask every peer for notifications and sleep.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::port::PortId;
use crate::sys::clock;
use crate::sys::event::EventFd;

/// Longest sleep: a safety net for a peer that forgets to notify, far below what would show as load.
const LONGEST_SLEEP: Duration = Duration::from_millis(250);

/// When a worker sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdlePolicy {
    /// How long to poll without finding anything before sleeping; `None` polls forever.
    pub spin: Option<Duration>,
}

impl Default for IdlePolicy {
    /// 200 microseconds: longer than the gaps of a loaded link, and about what falling asleep and waking costs a few
    /// times over.
    fn default() -> Self {
        Self { spin: Some(Duration::from_micros(200)) }
    }
}

impl IdlePolicy {
    /// The same in cycles of the clock.
    pub(super) fn spin_cycles(self) -> u64 {
        self.spin.map_or(u64::MAX, |spin| spin.as_nanos() as u64 * (clock::cycles_per_second() / 1000) / 1_000_000)
    }
}

/// The token of the worker's own descriptor; those of queues are greater.
const MAIL: Token = Token(0);

/// The descriptors that end a sleep. The kernel tells each signal once, so nobody reads them: an eventfd counts on, and each
/// addition is told anew. One look takes back what all of them said while nobody slept.
pub(super) struct Sleeper {
    poll: Poll,
    events: Events,
}

impl Sleeper {
    pub(super) fn new(wake: &EventFd) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&wake.as_raw_fd()), MAIL, Interest::READABLE)?;
        Ok(Self { poll, events: Events::with_capacity(64) })
    }

    /// Makes `fd` end a sleep, for this queue.
    pub(super) fn watch(&self, fd: RawFd, port: PortId, index: u16) -> io::Result<()> {
        let token = Token(1 + (usize::from(port.0) << 16 | usize::from(index)));
        self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)
    }

    pub(super) fn forget(&self, fd: RawFd) {
        // A device that vanished took its descriptor out by itself.
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
    }

    /// What was signalled until now ends no sleep.
    pub(super) fn take_back(&mut self) {
        let _ = self.poll.poll(&mut self.events, Some(Duration::ZERO));
    }

    /// Sleeps until a descriptor says something or `most` is over; the queues that woke us, or some of very many.
    pub(super) fn sleep(&mut self, most: Duration) -> impl Iterator<Item = (PortId, u16)> {
        // Interrupted by a signal: the worker looks around and sleeps again.
        let _ = self.poll.poll(&mut self.events, Some(most.min(LONGEST_SLEEP)));
        let queues = self.events.iter().filter(|event| event.token() != MAIL);
        queues.map(|event| event.token().0 - 1).map(|queue| (PortId((queue >> 16) as u16), queue as u16))
    }
}
