//! eventfd: how one thread wakes another, and how a guest's kick reaches us.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::bell;

/// An eventfd, ours or one that a front-end handed over (kick, call, error). No call here ever waits, whatever a peer
/// does with its own handle on it.
#[derive(Debug)]
pub struct EventFd {
    file: File,
    /// A peer has it too.
    is_shared: bool,
}

impl EventFd {
    /// A new counter at zero.
    ///
    /// # Errors
    /// What `eventfd(2)` says: usually too many open files.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked before it is owned.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just created and nobody else owns it.
        Ok(Self { file: unsafe { File::from_raw_fd(fd) }, is_shared: false })
    }

    /// Takes over a descriptor received from a peer.
    ///
    /// # Errors
    /// When it is not an eventfd (writing to a file of the peer's choice could block a worker for ever), or cannot be
    /// looked at.
    pub fn from_peer(fd: OwnedFd) -> io::Result<Self> {
        let kind = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        if kind.as_os_str() != "anon_inode:[eventfd]" {
            return Err(io::Error::other(format!("{} is not an eventfd", kind.display())));
        }
        // For a kernel without `bell`'s way; the peer can undo it.
        // SAFETY: fcntl on a descriptor we own, no pointers.
        unsafe {
            let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
            libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK);
        }
        Ok(Self { file: File::from(fd), is_shared: true })
    }

    /// Adds one: wakes whoever polls it. A full counter is as good as a wake, so errors are ignored.
    pub fn signal(&self) {
        if self.is_shared && bell::ring(self.file.as_raw_fd()).is_ok() {
            return;
        }
        let _ = (&self.file).write(&1u64.to_ne_bytes());
    }

    /// Takes all that was signalled; true when there was something.
    pub fn drain(&self) -> bool {
        let mut count = [0u64; 1];
        let piece = libc::iovec { iov_base: count.as_mut_ptr().cast(), iov_len: size_of_val(&count) };
        // SAFETY: one live piece of 8 bytes. The flag, unlike the file's own, is not the peer's to change.
        unsafe { libc::preadv2(self.file.as_raw_fd(), &raw const piece, 1, -1, libc::RWF_NOWAIT) > 0 }
    }

    /// A second handle on the same counter.
    ///
    /// # Errors
    /// What `dup(2)` says.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, is_shared: self.is_shared })
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn counter(flags: libc::c_int) -> OwnedFd {
        // SAFETY: no pointers; a valid descriptor is nobody else's.
        unsafe {
            let fd = libc::eventfd(0, flags);
            assert!(fd >= 0);
            OwnedFd::from_raw_fd(fd)
        }
    }

    #[test]
    fn what_is_signalled_is_drained_once() {
        for event in [EventFd::new().expect("eventfd"), EventFd::from_peer(counter(0)).expect("an eventfd")] {
            assert!(!event.drain());
            // More than the kernel keeps completions for.
            (0..1000).for_each(|_| event.signal());
            assert!(event.try_clone().expect("dup").drain());
            assert!(!event.drain());
        }
    }

    /// A peer keeps its handle: it decides whether the file blocks, and how full the counter is.
    #[test]
    fn a_peer_cannot_make_us_wait() {
        let theirs = File::from(counter(0));
        let ours = EventFd::from_peer(theirs.try_clone().expect("dup").into()).expect("an eventfd");
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::fcntl(theirs.as_raw_fd(), libc::F_SETFL, 0) }, 0);
        let (done, outcome) = crossbeam_channel::bounded(2);
        std::thread::spawn(move || {
            let _ = done.send(ours.drain());
            (&theirs).write_all(&(u64::MAX - 1).to_ne_bytes()).expect("room");
            ours.signal();
            ours.signal();
            let _ = done.send(ours.drain());
        });
        let next = || outcome.recv_timeout(Duration::from_secs(5)).expect("it waits for the peer");
        assert!(!next(), "nothing was signalled");
        assert!(next());
    }
}
