//! A socket that only receives: its rx ring over the frames of the queue that it is bound to.
//!
//! A queue has one for everything (the anchor) and one per pool; the XDP program picks. They have no tx ring on purpose: a
//! kernel that finds several senders on a queue gives up sending in bulk.
//!
//! The frames belong to the queue: what comes out of any ring here goes back through the one fill ring that [`XskRx`] holds,
//! and [`XskRx::add`] takes only sockets of its own queue.
//!
//! [`XskRx`]: super::XskRx
//! [`XskRx::add`]: super::XskRx::add

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::frames::Frames;
use super::statistics::XskStatistics;
use super::{XskError, bind};
use crate::sys::netdev::{checked, set_option};

/// A descriptor as the kernel lays it out (`struct xdp_desc`).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Desc {
    pub address: u64,
    pub len: u32,
    pub options: u32,
}

impl Desc {
    /// The frame goes on in the next descriptor.
    #[inline(always)]
    pub fn is_continued(self) -> bool {
        self.options & libc::XDP_PKT_CONTD != 0
    }
}

/// Opens further sockets on a queue. Keeps the queue bound as long as it lives.
#[derive(Debug)]
pub struct XskOpener {
    pub(super) owner: OwnedFd,
    pub(super) frames: Arc<Frames>,
    pub(super) ifindex: u32,
    pub(super) queue: u32,
    pub(super) busy_poll_us: Option<u32>,
}

impl XskOpener {
    /// A socket with a ring of so many entries, a power of two.
    ///
    /// # Errors
    /// Usually too many open files.
    pub fn open(&self, entries: u32) -> Result<XskSocket, XskError> {
        let refused = |source| XskError::Bind { queue: self.queue, source };
        let socket = self.bind(entries).map_err(refused)?;
        if let Some(us) = self.busy_poll_us {
            bind::set_busy_poll(socket.as_raw_fd(), us)?;
        }
        Ok(socket)
    }

    fn bind(&self, entries: u32) -> io::Result<XskSocket> {
        // SAFETY: no pointers; the result is checked before it is owned.
        let fd = checked(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
        // SAFETY: just created, nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        set_option(fd.as_raw_fd(), libc::SOL_XDP, libc::XDP_RX_RING, &entries)?;
        let socket = XskSocket::map(fd, entries, Arc::clone(&self.frames))?;
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: libc::XDP_SHARED_UMEM,
            sxdp_ifindex: self.ifindex,
            sxdp_queue_id: self.queue,
            sxdp_shared_umem_fd: self.owner.as_raw_fd() as u32,
        };
        let len = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the kernel reads a live sockaddr_xdp of the given size.
        checked(unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(&address).cast(), len) })?;
        Ok(socket)
    }

    /// The counters of the socket that sends and owns the fill ring.
    ///
    /// # Errors
    /// What `dup(2)` says.
    pub fn statistics(&self) -> io::Result<XskStatistics> {
        self.owner.try_clone().map(XskStatistics::of_owner)
    }
}

/// See the module.
#[derive(Debug)]
pub struct XskSocket {
    fd: OwnedFd,
    pub(super) frames: Arc<Frames>,
    start: *mut u8,
    len: usize,
    producer: *const AtomicU32,
    consumer: *const AtomicU32,
    descs: *const Desc,
    mask: u32,
    /// Descriptors taken so far, and how many had come when we last looked; both wrap.
    taken: u32,
    seen: u32,
}

// SAFETY: the pointers are into the socket's own mapping, which moves with it.
unsafe impl Send for XskSocket {}

impl XskSocket {
    fn map(fd: OwnedFd, entries: u32, frames: Arc<Frames>) -> io::Result<Self> {
        let mut offsets =
            libc::xdp_mmap_offsets { rx: no_offsets(), tx: no_offsets(), fr: no_offsets(), cr: no_offsets() };
        let mut size = size_of_val(&offsets) as libc::socklen_t;
        let to = ptr::from_mut(&mut offsets).cast();
        // SAFETY: the kernel writes at most `size` bytes of a live struct of plain integers.
        let asked =
            unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, to, &raw mut size) };
        checked(asked)?;
        if (size as usize) < size_of_val(&offsets) {
            return Err(io::Error::other("the kernel is too old: it has no ring flags"));
        }
        let rx = offsets.rx;
        let len = rx.desc as usize + entries as usize * size_of::<Desc>();
        // SAFETY: a new mapping at an address of the kernel's choice, of the descriptor we own.
        let start = unsafe {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
            libc::mmap(ptr::null_mut(), len, access, kind, fd.as_raw_fd(), libc::XDP_PGOFF_RX_RING as libc::off_t)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = start.cast::<u8>();
        let at = |offset: u64| start.wrapping_add(offset as usize);
        Ok(Self {
            producer: at(rx.producer).cast(),
            consumer: at(rx.consumer).cast(),
            descs: at(rx.desc).cast(),
            fd,
            frames,
            start,
            len,
            mask: entries - 1,
            taken: 0,
            seen: 0,
        })
    }

    /// Frames wait. One load.
    #[inline(always)]
    pub(super) fn has_frames(&self) -> bool {
        self.taken != self.seen || self.position() != self.taken
    }

    /// Descriptors that the kernel has put into the ring so far; wraps.
    #[inline(always)]
    pub(super) fn position(&self) -> u32 {
        // SAFETY: the kernel's word in the ring, mapped as long as `self`. Acquire: the descriptors before it are there.
        unsafe { &*self.producer }.load(Ordering::Acquire)
    }

    /// Descriptors taken so far; wraps.
    #[inline(always)]
    pub(super) fn taken(&self) -> u32 {
        self.taken
    }

    /// The descriptor so many places behind the next one, if it is there.
    #[inline(always)]
    pub(super) fn peek(&mut self, ahead: u32) -> Option<Desc> {
        let place = self.taken.wrapping_add(ahead);
        if place == self.seen {
            self.seen = self.position();
            if place == self.seen {
                return None;
            }
        }
        // SAFETY: inside the ring by the mask, written before the position that was read, and ours until `advance`.
        Some(unsafe { *self.descs.wrapping_add((place & self.mask) as usize) })
    }

    /// Gives the places of so many descriptors back to the kernel; the frames they name are ours now.
    #[inline(always)]
    pub(super) fn advance(&mut self, count: u32) {
        self.taken = self.taken.wrapping_add(count);
        // SAFETY: our word in the ring. Release: the descriptors are read before the kernel sees their places free.
        unsafe { &*self.consumer }.store(self.taken, Ordering::Release);
    }

    /// A handle to read the kernel's counters. It keeps the socket open.
    ///
    /// # Errors
    /// What `dup(2)` says.
    pub fn statistics(&self) -> io::Result<XskStatistics> {
        self.fd.try_clone().map(XskStatistics::of_receiver)
    }
}

fn no_offsets() -> libc::xdp_ring_offset {
    libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 }
}

impl AsFd for XskSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for XskSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Drop for XskSocket {
    fn drop(&mut self) {
        // SAFETY: our own whole mapping; nothing points into it but `self`.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}
