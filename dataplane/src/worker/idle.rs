//! What a worker does when there is nothing to do: spin for a while, then ask every peer for notifications and sleep.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

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

/// The descriptors that end a sleep.
pub(super) struct Sleeper {
    poll: Poll,
    events: Events,
}

impl Sleeper {
    pub(super) fn new(wake: &EventFd) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&wake.as_raw_fd()), Token(0), Interest::READABLE)?;
        Ok(Self { poll, events: Events::with_capacity(64) })
    }

    /// Makes `fd` end a sleep.
    pub(super) fn watch(&self, fd: RawFd) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), Token(1), Interest::READABLE)
    }

    pub(super) fn forget(&self, fd: RawFd) {
        // A device that vanished took its descriptor out by itself.
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
    }

    /// Sleeps until a descriptor says something or `most` is over.
    pub(super) fn sleep(&mut self, most: Duration) {
        // Interrupted by a signal: the worker looks around and sleeps again.
        let _ = self.poll.poll(&mut self.events, Some(most.min(LONGEST_SLEEP)));
    }
}
