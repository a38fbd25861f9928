//! One AF_XDP socket: the frames it shares with the kernel (UMEM) and its four rings, split into a receiving and a
//! transmitting half that may be used by different threads.
//!
//! Each half owns its frames for good: a receive frame is in the fill ring, with the kernel, in the rx ring or held here;
//! a transmit frame is free, staged, in the tx ring, with the kernel or in the completion ring. The rings are as long as
//! their half has frames, so giving a frame back cannot fail.
//!
//! Trust: the kernel keeps its contract (networking/af_xdp); frame contents are the wire's. Neighbours: `port::xdp` opens
//! sockets and wraps the halves in queues.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{CompQueue, FillQueue, RxQueue, Socket, TxQueue, Umem};

use super::Span;
use crate::sys::netdev::set_option;

/// Bytes of a frame, one page: what every driver takes.
const FRAME_SIZE: u32 = 4096;
/// Bytes of a frame that hold packet data; the kernel keeps 256 before them for the XDP program.
pub const FRAME_ROOM: usize = FRAME_SIZE as usize - 256;
/// Descriptors taken from the rx ring at once.
const FETCH: usize = 64;
/// The bit that says that the frame goes on in the next descriptor.
const XDP_PKT_CONTD: u32 = 1;
/// In copy mode the kernel sends about 32 descriptors per call: enough calls for a batch of jumbo frames.
const KICKS: usize = 8;
/// A queue whose last owner has just died stays bound for some 20 ms.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);

// Not in the libc crate.
const SO_BUSY_POLL: libc::c_int = 46;
const SO_PREFER_BUSY_POLL: libc::c_int = 69;
const SO_BUSY_POLL_BUDGET: libc::c_int = 70;
/// Packets per busy-poll call: the kernel's own NAPI weight.
const BUSY_POLL_BUDGET: libc::c_int = 64;

/// What to bind, and how.
#[derive(Clone, Debug)]
pub struct XskConfig<'a> {
    /// The netdev's name.
    pub netdev: &'a str,
    /// Its queue.
    pub queue: u32,
    /// Receive frames; a power of two.
    pub rx_frames: u32,
    /// Transmit frames; a power of two.
    pub tx_frames: u32,
    /// Ways to bind, best first: the first that the driver supports is taken.
    pub ways: &'a [XskWay],
    /// Microseconds that a receive call may drive the NIC instead of its interrupt.
    pub busy_poll_us: Option<u32>,
}

/// A way to bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XskWay {
    /// The NIC writes into our frames; otherwise the kernel copies.
    pub zero_copy: bool,
    /// Frames longer than [`FRAME_ROOM`], in several descriptors.
    pub jumbo: bool,
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum XskError {
    /// The frames could not be allocated or registered.
    #[error("registering {frames} frames of {FRAME_SIZE} bytes")]
    Memory {
        /// How many.
        frames: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// No way to bind was taken.
    #[error("binding to queue {queue}")]
    Bind {
        /// Which queue.
        queue: u32,
        /// What the kernel said to the last way.
        #[source]
        source: io::Error,
    },
    /// A socket option was refused.
    #[error("setting {option}")]
    Option {
        /// Which.
        option: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// An open socket, in halves.
#[derive(Debug)]
pub struct Xsk {
    /// The receiving half.
    pub rx: XskRx,
    /// The transmitting half.
    pub tx: XskTx,
    /// How it was bound.
    pub way: XskWay,
}

impl Xsk {
    /// Allocates the frames, binds, and gives all receive frames to the kernel. Waits up to a second for a queue that is
    /// still busy.
    ///
    /// # Errors
    /// See [`XskError`].
    pub fn open(config: &XskConfig<'_>) -> Result<Self, XskError> {
        let frames = config.rx_frames + config.tx_frames;
        let memory = |source| XskError::Memory { frames, source };
        let (umem, mut descs) = register(config).map_err(memory)?;
        let bind = |source| XskError::Bind { queue: config.queue, source };
        let ((tx, rx, rings), way) = bind_first(config, &umem).map_err(bind)?;
        let (fill, done) = rings.ok_or_else(|| bind(io::ErrorKind::AddrInUse.into()))?;
        if let Some(us) = config.busy_poll_us {
            set_busy_poll(rx.fd().as_raw_fd(), us)?;
        }
        let frames = Arc::new(Frames::new(umem, &mut descs));
        let tx_is_behind = Arc::new(AtomicBool::new(false));
        let tx_descs = descs.split_off(config.rx_frames as usize);
        let mut rx = XskRx {
            rx,
            fill,
            frames: Arc::clone(&frames),
            taken: descs.len(),
            len: descs.len(),
            held: descs.into(),
            busy_poll: config.busy_poll_us.is_some(),
            tx_is_behind: Arc::clone(&tx_is_behind),
        };
        rx.release();
        let tx = XskTx { tx, done, frames, staged: Vec::with_capacity(tx_descs.len()), free: tx_descs, tx_is_behind };
        Ok(Self { rx, tx, way })
    }
}

fn register(config: &XskConfig<'_>) -> io::Result<(Umem, Vec<FrameDesc>)> {
    let ring = |size: u32| QueueSize::new(size).map_err(io::Error::other);
    let umem_config = UmemConfig::builder()
        .frame_size(FrameSize::new(FRAME_SIZE).map_err(io::Error::other)?)
        .fill_queue_size(ring(config.rx_frames)?)
        .comp_queue_size(ring(config.tx_frames)?)
        .build()
        .map_err(io::Error::other)?;
    let count = NonZeroU32::new(config.rx_frames + config.tx_frames).ok_or(io::ErrorKind::InvalidInput)?;
    Umem::new(umem_config, count, false).map_err(|error| errno_of(&error))
}

type Rings = (TxQueue, RxQueue, Option<(FillQueue, CompQueue)>);

fn bind_first(config: &XskConfig<'_>, umem: &Umem) -> io::Result<(Rings, XskWay)> {
    let start = Instant::now();
    let mut refused = io::Error::from(io::ErrorKind::Unsupported);
    for &way in config.ways {
        loop {
            match bind(config, umem, way) {
                Ok(rings) => return Ok((rings, way)),
                Err(error) => refused = error,
            }
            if refused.raw_os_error() != Some(libc::EBUSY) || start.elapsed() > BUSY_PATIENCE {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Err(refused)
}

fn bind(config: &XskConfig<'_>, umem: &Umem, way: XskWay) -> io::Result<Rings> {
    let ring = |size: u32| QueueSize::new(size).map_err(io::Error::other);
    let copy = if way.zero_copy { BindFlags::XDP_ZEROCOPY } else { BindFlags::XDP_COPY };
    let jumbo = if way.jumbo { BindFlags::XDP_USE_SG } else { BindFlags::empty() };
    let socket_config = SocketConfig::builder()
        .rx_queue_size(ring(config.rx_frames)?)
        .tx_queue_size(ring(config.tx_frames)?)
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(BindFlags::XDP_USE_NEED_WAKEUP | copy | jumbo)
        .build();
    let netdev: Interface = config.netdev.parse().map_err(io::Error::other)?;
    // SAFETY: the flag that `Socket::new` demands is set; the UMEM is not shared with another socket.
    unsafe { Socket::new(socket_config, umem, &netdev, config.queue) }.map_err(|error| errno_of(&error))
}

/// The kernel's answer inside an error of the library, whose own text says nothing more.
fn errno_of(error: &(dyn std::error::Error + 'static)) -> io::Error {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match source.and_then(io::Error::raw_os_error) {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::other(error.to_string()),
    }
}

fn set_busy_poll(fd: RawFd, us: u32) -> Result<(), XskError> {
    let us = libc::c_int::try_from(us).unwrap_or(libc::c_int::MAX);
    for (option, name, value) in [
        (SO_PREFER_BUSY_POLL, "SO_PREFER_BUSY_POLL", 1),
        (SO_BUSY_POLL, "SO_BUSY_POLL", us),
        (SO_BUSY_POLL_BUDGET, "SO_BUSY_POLL_BUDGET", BUSY_POLL_BUDGET),
    ] {
        set_option(fd, libc::SOL_SOCKET, option, &value).map_err(|source| XskError::Option { option: name, source })?;
    }
    Ok(())
}

/// The UMEM, kept mapped as long as one half lives.
#[derive(Debug)]
struct Frames {
    start: *mut u8,
    len: usize,
    umem: Umem,
}

// SAFETY: an address range; which half may touch which frame is the frames' ownership described at the top.
unsafe impl Send for Frames {}
// SAFETY: as above; nothing is changed through a shared reference but frame contents.
unsafe impl Sync for Frames {}

impl Frames {
    fn new(umem: Umem, descs: &mut [FrameDesc]) -> Self {
        let mut start = ptr::null_mut();
        for desc in descs.iter_mut() {
            let address = desc.addr();
            // SAFETY: the descriptor is of this UMEM and nobody else uses the frame yet.
            let mut data = unsafe { umem.data_mut(desc) };
            let room = data.cursor().buf_len();
            data.cursor().set_pos(room);
            // Spans are made from the address alone, so each frame's whole range is exposed once.
            let at = data.contents_mut().as_mut_ptr().expose_provenance() - address;
            data.cursor().set_pos(0);
            start = ptr::with_exposed_provenance_mut(at);
        }
        Self { start, len: descs.len() * FRAME_SIZE as usize, umem }
    }

    /// The bytes of a descriptor; empty when it does not lie in the UMEM.
    #[inline(always)]
    fn span(&self, address: usize, len: usize) -> Span {
        if address > self.len || len > self.len - address {
            return Span::EMPTY;
        }
        // SAFETY: inside the UMEM (checked), which is mapped as long as the half that makes the span lives.
        unsafe { Span::new(self.start.wrapping_add(address), len as u32) }
    }
}

/// A received frame, in one or more pieces.
#[derive(Clone, Copy, Debug)]
pub struct RxFrame<'a> {
    frames: &'a Frames,
    descs: &'a [FrameDesc],
}

impl RxFrame<'_> {
    /// The pieces in order. They are valid until [`XskRx::release`].
    #[inline(always)]
    pub fn pieces(&self) -> impl Iterator<Item = Span> + '_ {
        self.descs.iter().map(|desc| self.frames.span(desc.addr(), desc.lengths().data()))
    }

    /// How many pieces.
    #[inline(always)]
    #[must_use]
    pub fn piece_count(&self) -> usize {
        self.descs.len()
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct XskRx {
    rx: RxQueue,
    fill: FillQueue,
    frames: Arc<Frames>,
    /// `..taken` were handed out and wait for release, `taken..len` are next. As long as there are frames.
    held: Box<[FrameDesc]>,
    taken: usize,
    len: usize,
    busy_poll: bool,
    tx_is_behind: Arc<AtomicBool>,
}

impl XskRx {
    /// The next whole frame, if one is there.
    #[inline]
    pub fn next_frame(&mut self) -> Option<RxFrame<'_>> {
        let mut end = self.taken;
        loop {
            if end == self.len && !self.fetch() {
                return None;
            }
            end += 1;
            if !self.held[end - 1].has_more_frames() {
                break;
            }
        }
        let first = std::mem::replace(&mut self.taken, end);
        Some(RxFrame { frames: &self.frames, descs: &self.held[first..end] })
    }

    #[inline]
    fn fetch(&mut self) -> bool {
        let room = FETCH.min(self.held.len() - self.len);
        // SAFETY: the frames that come out belong to this UMEM and to us until they are released.
        let count = unsafe { self.rx.consume(&mut self.held[self.len..self.len + room]) };
        self.len += count;
        count > 0
    }

    /// Gives all frames handed out back to the kernel; their spans are dead from now on.
    #[inline]
    pub fn release(&mut self) {
        if self.taken == 0 {
            return;
        }
        // SAFETY: these frames are of this UMEM, are ours, and are forgotten below.
        let count = unsafe { self.fill.produce(&self.held[..self.taken]) };
        debug_assert_eq!(count, self.taken, "the fill ring has room for every frame");
        if count == self.taken {
            self.held.copy_within(self.taken..self.len, 0);
            self.len -= self.taken;
            self.taken = 0;
        }
        if self.fill.needs_wakeup() {
            self.drive();
        }
    }

    /// Wakes the kernel's half where it asked for that: a driver that ran out of frames, a NIC that is driven by
    /// busy-polling, a transmission that the kernel had to put off. One system call at most for each, usually none.
    #[inline]
    pub fn nudge(&mut self) {
        if self.busy_poll || self.fill.needs_wakeup() {
            self.drive();
        }
        if self.tx_is_behind.load(Ordering::Relaxed) {
            kick(self.as_raw_fd(), &self.tx_is_behind);
        }
    }

    #[cold]
    fn drive(&self) {
        // SAFETY: no buffer; the call only drives the queue.
        unsafe { libc::recv(self.as_raw_fd(), ptr::null_mut(), 0, libc::MSG_DONTWAIT) };
    }

    /// True when nothing waits here, in the rx ring or in a transmission that was put off.
    pub fn is_idle(&mut self) -> bool {
        self.taken == self.len && self.rx.nb_avail_exact() == 0 && !self.tx_is_behind.load(Ordering::Relaxed)
    }

    /// A handle to read the kernel's counters. It keeps the socket open.
    ///
    /// # Errors
    /// What `dup(2)` says.
    pub fn statistics(&self) -> io::Result<XskStatistics> {
        // SAFETY: the descriptor is open as long as `self.rx`.
        let fd = unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) };
        fd.try_clone_to_owned().map(XskStatistics)
    }
}

impl AsRawFd for XskRx {
    fn as_raw_fd(&self) -> RawFd {
        self.rx.fd().as_raw_fd()
    }
}

/// The transmitting half.
#[derive(Debug)]
pub struct XskTx {
    tx: TxQueue,
    done: CompQueue,
    frames: Arc<Frames>,
    free: Vec<FrameDesc>,
    staged: Vec<FrameDesc>,
    tx_is_behind: Arc<AtomicBool>,
}

impl XskTx {
    /// Copies a packet of `len` bytes (head and tail together) into free frames and stages it; false, and nothing done,
    /// when there are not enough.
    #[inline]
    pub fn stage(&mut self, len: usize, head: &[u8], tail: &[Span]) -> bool {
        let count = len.div_ceil(FRAME_ROOM);
        if self.free.len() < count {
            self.reap();
            if self.free.len() < count {
                return false;
            }
        }
        let mut room = self.next_room(len.min(FRAME_ROOM));
        let mut left = len - room.len();
        let mut head = head;
        while !head.is_empty() {
            if room.is_empty() {
                room = self.go_on(&mut left);
            }
            let count = room.write(head);
            head = &head[count..];
            room = room.slice(count, usize::MAX);
        }
        for &piece in tail {
            let mut piece = piece;
            while !piece.is_empty() {
                if room.is_empty() {
                    room = self.go_on(&mut left);
                }
                let count = room.copy_from(&piece);
                piece = piece.slice(count, usize::MAX);
                room = room.slice(count, usize::MAX);
            }
        }
        true
    }

    /// Marks the last staged frame as continued, and stages the next for what is left.
    #[cold]
    fn go_on(&mut self, left: &mut usize) -> Span {
        if let Some(last) = self.staged.last_mut() {
            last.set_options(XDP_PKT_CONTD);
        }
        let room = self.next_room((*left).min(FRAME_ROOM));
        *left -= room.len();
        room
    }

    /// Moves a free frame to the staged ones, with this length.
    #[inline(always)]
    fn next_room(&mut self, len: usize) -> Span {
        let Some(mut desc) = self.free.pop() else { return Span::EMPTY };
        desc.set_options(0);
        // SAFETY: a free frame is of this UMEM and only ours.
        unsafe { self.frames.umem.data_mut(&mut desc) }.cursor().set_pos(len);
        self.staged.push(desc);
        self.frames.span(desc.addr(), len)
    }

    /// Takes back the frames that were sent.
    #[inline]
    pub fn reap(&mut self) {
        let mut done = [FrameDesc::default(); FETCH];
        loop {
            // SAFETY: completed frames are of this UMEM and ours again; each goes to the free ones once.
            let count = unsafe { self.done.consume(&mut done) };
            self.free.extend_from_slice(&done[..count]);
            if count < FETCH {
                return;
            }
        }
    }

    /// Publishes what is staged and has the kernel send it.
    #[inline]
    pub fn flush(&mut self) {
        if !self.staged.is_empty() {
            // SAFETY: staged frames are of this UMEM, ours, filled, and forgotten when the ring took them.
            let count = unsafe { self.tx.produce(&self.staged) };
            // All or nothing. The ring has an entry for every frame; should the kernel be late to publish that it took
            // some, the next flush brings them.
            if count == self.staged.len() {
                self.staged.clear();
            }
        }
        if self.tx.needs_wakeup() {
            kick(self.tx.fd().as_raw_fd(), &self.tx_is_behind);
        }
        self.reap();
    }
}

/// Has the kernel send what is in the tx ring. It sends only so much per call (`EAGAIN`); what it cannot send now (the
/// device is busy, memory is short) is left in the ring, and `is_behind` tells the receiving half, which is polled all the
/// time, to call again.
fn kick(fd: RawFd, is_behind: &AtomicBool) {
    let mut errno = 0;
    for _ in 0..KICKS {
        // SAFETY: no buffer; it only drives the queue.
        if unsafe { libc::send(fd, ptr::null(), 0, libc::MSG_DONTWAIT) } >= 0 {
            errno = 0;
            break;
        }
        errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        if errno != libc::EAGAIN {
            break;
        }
    }
    is_behind.store(matches!(errno, libc::EAGAIN | libc::EBUSY | libc::ENOBUFS), Ordering::Relaxed);
}

/// Reads the kernel's counters of one socket; keeps the socket open.
#[derive(Debug)]
pub struct XskStatistics(OwnedFd);

/// What the kernel counts per socket (`XDP_STATISTICS`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XskCounters {
    /// Received frames dropped: too long for a frame without jumbo, or no memory.
    pub rx_dropped: u64,
    /// Received frames dropped because the rx ring was full.
    pub rx_ring_full: u64,
    /// Times the kernel found no frame in the fill ring.
    pub fill_ring_empty: u64,
    /// Descriptors of ours that the kernel refused; never, unless we have a bug.
    pub invalid_descs: u64,
}

impl XskStatistics {
    /// The counters now; zero when the kernel does not tell.
    #[must_use]
    pub fn read(&self) -> XskCounters {
        // SAFETY: all-zero is valid for plain counters; the kernel writes at most `len` bytes.
        let counters = unsafe {
            let mut counters: libc::xdp_statistics = std::mem::zeroed();
            let mut len = size_of::<libc::xdp_statistics>() as libc::socklen_t;
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_XDP,
                libc::XDP_STATISTICS,
                ptr::from_mut(&mut counters).cast(),
                &mut len,
            );
            counters
        };
        XskCounters {
            rx_dropped: counters.rx_dropped,
            rx_ring_full: counters.rx_ring_full,
            fill_ring_empty: counters.rx_fill_ring_empty_descs,
            invalid_descs: counters.rx_invalid_descs + counters.tx_invalid_descs,
        }
    }
}

impl std::ops::AddAssign for XskCounters {
    fn add_assign(&mut self, other: Self) {
        self.rx_dropped += other.rx_dropped;
        self.rx_ring_full += other.rx_ring_full;
        self.fill_ring_empty += other.fill_ring_empty;
        self.invalid_descs += other.invalid_descs;
    }
}
