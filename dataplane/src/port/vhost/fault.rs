//! How a ring tells its session that the guest broke the rules.
//!
//! Neighbours: rings raise, the session thread sleeps on the descriptor and takes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::sys::event::EventFd;

macro_rules! fault_kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What the guest did.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum RingFaultKind { $($(#[$doc])* $name,)* }

        impl RingFaultKind {
            const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What operators read in the log.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

fault_kinds! {
    /// The available index is further ahead than the ring is long.
    IndexJumped = "available index jumped by more than the ring holds",
    /// A head or `next` field names no descriptor.
    DescriptorIndex = "descriptor index outside the table",
    /// More descriptors than the ring (or the indirect table) has.
    DescriptorLoop = "descriptor chain loops or is longer than the ring",
    /// A buffer lies (partly) outside the guest's memory.
    OutsideMemory = "buffer outside the guest's memory",
    /// Device-writable in the transmit ring, or device-readable in the receive ring.
    WrongDirection = "descriptor with the wrong direction",
    /// An indirect table without the feature, inside another, or with a `next` descriptor behind it.
    UnexpectedIndirect = "indirect descriptor where none may be",
    /// An indirect table whose length is 0, not a multiple of a descriptor, or longer than the ring.
    IndirectLength = "indirect table of an impossible length",
    /// Packed ring: a buffer id that is not below the ring size.
    BufferId = "buffer id outside the ring",
    /// A buffer, or all buffers of one frame, in more pieces than any driver makes.
    TooManyPieces = "frame in more than 1024 pieces",
    /// A file behind the memory table was truncated.
    MemoryLost = "guest memory was truncated while mapped",
}

impl std::fmt::Display for RingFaultKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

/// The first fault of a port's rings. One is shared by all rings of a session.
#[derive(Debug)]
pub struct RingFault {
    /// 0: none; else the kind's number plus one.
    code: AtomicU8,
    wake: EventFd,
}

impl RingFault {
    /// No fault yet.
    ///
    /// # Errors
    /// What `eventfd(2)` says.
    pub fn new() -> io::Result<Self> {
        Ok(Self { code: AtomicU8::new(0), wake: EventFd::new()? })
    }

    /// What happened first, if anything did.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> Option<RingFaultKind> {
        decode(self.code.load(Ordering::Acquire))
    }

    /// Takes the fault, so that the next one is noticed; makes the descriptor unreadable.
    pub fn take(&self) -> Option<RingFaultKind> {
        self.wake.drain();
        decode(self.code.swap(0, Ordering::AcqRel))
    }

    /// Notes a fault (unless there is one already) and wakes the session. A ring does this at most once in its life.
    #[cold]
    pub(super) fn raise(&self, kind: RingFaultKind) {
        let _ = self.code.compare_exchange(0, kind as u8 + 1, Ordering::AcqRel, Ordering::Relaxed);
        self.wake.signal();
    }
}

fn decode(code: u8) -> Option<RingFaultKind> {
    RingFaultKind::ALL.get(usize::from(code).checked_sub(1)?).copied()
}

/// Readable while a fault is waiting to be taken.
impl AsFd for RingFault {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl AsRawFd for RingFault {
    fn as_raw_fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fault_is_kept_until_taken() {
        let fault = RingFault::new().expect("eventfd");
        assert_eq!(fault.take(), None);
        fault.raise(RingFaultKind::DescriptorLoop);
        fault.raise(RingFaultKind::MemoryLost);
        assert_eq!(fault.kind(), Some(RingFaultKind::DescriptorLoop));
        assert_eq!(fault.take(), Some(RingFaultKind::DescriptorLoop));
        assert_eq!(fault.kind(), None);
        fault.raise(RingFaultKind::MemoryLost);
        assert_eq!(fault.take(), Some(RingFaultKind::MemoryLost));
    }
}
