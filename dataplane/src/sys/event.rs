//! eventfd: how one thread wakes another, and how a guest's kick reaches us.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A non-blocking eventfd, ours or one that a front-end handed over (kick, call, error).
#[derive(Debug)]
pub struct EventFd(File);

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
        Ok(Self(unsafe { File::from_raw_fd(fd) }))
    }

    /// Takes over a descriptor received from a peer and makes it non-blocking, so that a full counter cannot block us.
    ///
    /// # Errors
    /// When it is not an eventfd (writing to a file of the peer's choice could block a worker for ever), and what
    /// `fcntl(2)` says.
    pub fn from_peer(fd: OwnedFd) -> io::Result<Self> {
        let kind = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        if kind.as_os_str() != "anon_inode:[eventfd]" {
            return Err(io::Error::other(format!("{} is not an eventfd", kind.display())));
        }
        // SAFETY: fcntl on a descriptor we own, no pointers.
        let done = unsafe {
            let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
            flags >= 0 && libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) >= 0
        };
        if done { Ok(Self(File::from(fd))) } else { Err(io::Error::last_os_error()) }
    }

    /// Adds one: wakes whoever polls it. A full counter is as good as a wake, so errors are ignored.
    pub fn signal(&self) {
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    /// Takes all that was signalled; true when there was something.
    pub fn drain(&self) -> bool {
        let mut count = [0; 8];
        (&self.0).read(&mut count).is_ok()
    }

    /// A second handle on the same counter.
    ///
    /// # Errors
    /// What `dup(2)` says.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
