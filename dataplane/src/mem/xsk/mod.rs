//! AF_XDP on one queue of a netdev: the frames shared with the kernel (UMEM) and their rings, split into a receiving and
//! a transmitting half that may be used by different threads. Any number of sockets may receive: they share the frames and
//! the fill ring, which belong to the queue.
//!
//! Each half owns its frames for good: a receive frame is in the fill ring, with the kernel, in a socket's rx ring or held
//! by [`XskRx`]; a transmit frame is free, staged, in the tx ring, with the kernel or in the completion ring. Fill and
//! completion ring are as long as their half has frames, so there is room for every frame that is given back, sooner or later.
//!
//! Trust: the kernel keeps its contract (networking/af_xdp); frame contents are the wire's. Neighbours: `port::xdp` opens
//! sockets and wraps the halves in queues.

mod bind;
mod frames;
mod rx;
mod socket;
mod statistics;
mod tx;

pub use frames::{FRAME_ROOM, RxFrame};
pub use rx::XskRx;
pub use socket::{XskOpener, XskSocket};
pub use statistics::{XskCounters, XskStatistics};
pub use tx::XskTx;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use frames::{FRAME_SIZE, Frames};
use tx::Kicker;

/// Descriptors taken from a ring at once.
const FETCH: usize = 64;

/// What to bind, and how.
#[derive(Clone, Debug)]
pub struct XskConfig<'a> {
    /// The netdev's name.
    pub netdev: &'a str,
    /// Its number.
    pub ifindex: u32,
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

/// An open queue, in halves.
#[derive(Debug)]
pub struct Xsk {
    /// The receiving half.
    pub rx: XskRx,
    /// The transmitting half.
    pub tx: XskTx,
    /// How it was bound.
    pub way: XskWay,
    /// What opens further sockets for `rx`.
    pub opener: XskOpener,
}

impl Xsk {
    /// Allocates the frames, binds, and gives all receive frames to the kernel. Waits some seconds for a queue that is still
    /// busy.
    ///
    /// # Errors
    /// See [`XskError`].
    pub fn open(config: &XskConfig<'_>) -> Result<Self, XskError> {
        let frames = config.rx_frames + config.tx_frames;
        let memory = |source| XskError::Memory { frames, source };
        let (umem, mut descs) = bind::register(config).map_err(memory)?;
        let refused = |source| XskError::Bind { queue: config.queue, source };
        let ((tx, owner, rings), way) = bind::first(config, &umem).map_err(refused)?;
        let (fill, done) = rings.ok_or_else(|| refused(io::ErrorKind::AddrInUse.into()))?;
        if let Some(us) = config.busy_poll_us {
            bind::set_busy_poll(owner.fd().as_raw_fd(), us)?;
        }
        let in_one_call = bind::send_all_at_once(owner.fd().as_raw_fd(), config.tx_frames);
        let frames = Arc::new(Frames::new(umem, &mut descs));
        // SAFETY: the descriptor is open as long as `owner`.
        let fd = unsafe { BorrowedFd::borrow_raw(owner.fd().as_raw_fd()) };
        let opener = XskOpener {
            owner: fd.try_clone_to_owned().map_err(refused)?,
            frames: Arc::clone(&frames),
            ifindex: config.ifindex,
            queue: config.queue,
            busy_poll_us: config.busy_poll_us,
        };
        let anchor = opener.open(config.rx_frames)?;
        let kicker = Arc::new(Kicker::new(owner.fd().as_raw_fd(), in_one_call));
        let tx_descs = descs.split_off(config.rx_frames as usize);
        let busy_poll = config.busy_poll_us.is_some();
        let mut rx = XskRx::new((owner, fill), anchor, descs, busy_poll, Arc::clone(&kicker));
        rx.release();
        let tx = XskTx::new(tx, done, frames, tx_descs, kicker);
        Ok(Self { rx, tx, way, opener })
    }
}
