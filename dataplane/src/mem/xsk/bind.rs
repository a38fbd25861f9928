//! Registers frames with the kernel and binds the socket that owns them, and sends, to a queue, in the best way that the
//! driver knows.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{CompQueue, FillQueue, RxQueue, Socket, TxQueue, Umem};

use super::{FRAME_SIZE, XskConfig, XskError, XskWay};
use crate::sys::netdev::set_option;

/// A queue whose last owner has just died stays bound until the kernel has closed each of its sockets, 10 to 20 ms apart.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);
/// Entries of a ring that stays empty: the least there can be.
const UNUSED_RING: u32 = 1;

// Not in the libc crate.
const SO_BUSY_POLL: libc::c_int = 46;
const SO_PREFER_BUSY_POLL: libc::c_int = 69;
const SO_BUSY_POLL_BUDGET: libc::c_int = 70;
/// Packets per busy-poll call: the kernel's own NAPI weight.
const BUSY_POLL_BUDGET: libc::c_int = 64;
/// Since Linux 6.17.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// The frames, registered, and their descriptors.
pub(super) fn register(config: &XskConfig<'_>) -> io::Result<(Umem, Vec<FrameDesc>)> {
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

/// A bound socket; the last two are missing when another socket of this UMEM has them.
pub(super) type Rings = (TxQueue, RxQueue, Option<(FillQueue, CompQueue)>);

/// Binds in the first way that is taken; waits a while for a queue that is still busy.
pub(super) fn first(config: &XskConfig<'_>, umem: &Umem) -> io::Result<(Rings, XskWay)> {
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
        .rx_queue_size(ring(UNUSED_RING)?)
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

/// Lets one call send a ring of so many frames where the driver cannot take them as they are; by default it sends 32. False on a
/// kernel that does not know how.
///
/// The socket's send buffer stays as it is: what it allows to be on the way (some 90 frames of 1500 bytes) is less than what the
/// next device may queue, so a receiver that is slow loses nothing.
pub(super) fn send_all_at_once(fd: RawFd, frames: u32) -> bool {
    set_option(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &frames).is_ok()
}

pub(super) fn set_busy_poll(fd: RawFd, us: u32) -> Result<(), XskError> {
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
