//! Tap ports: a netdev whose other end is the switch. Type `tap` for emulated NICs and containers, and each bridge's local
//! port, through which the host's own stack takes part.
//!
//! One system call per frame is the nature of a tap; who wants speed uses vhost-user or AF_XDP. No virtio-net header:
//! the kernel hands over complete frames with checksums done.
//!
//! Trust: frames are the local stack's, every byte may be anything. Neighbours: `sys::tap` holds the descriptor.

use std::any::Any;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use super::mtu::fits;
use super::{PortContext, PortEvent, RxQueue, TxQueue};
use crate::packet::{DropReason, MAX_FRAME, MIN_FRAME, PacketBatch, TxList};
use crate::sys::netdev;
use crate::sys::tap::TapFile;

/// The largest MTU: every frame, tagged twice, stays below [`MAX_FRAME`], so that a cut one can be told.
pub const MAX_TAP_MTU: u32 = MAX_FRAME as u32 - 26;

/// What an operator may say about a tap port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapOptions {
    /// The netdev's name.
    pub netdev: String,
    /// Its MTU, 68 to [`MAX_TAP_MTU`].
    pub mtu: u32,
    /// Its address; the kernel makes one up if not said.
    pub mac: Option<[u8; 6]>,
    /// Keep the netdev when the port is closed.
    pub persist: bool,
}

impl TapOptions {
    /// An ordinary tap: MTU 1500, any address, gone when closed.
    #[must_use]
    pub fn new(netdev: impl Into<String>) -> Self {
        Self { netdev: netdev.into(), mtu: 1500, mac: None, persist: false }
    }
}

/// Why a tap port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// An MTU that no tap can have.
    #[error("mtu = {0}: expected 68 to {MAX_TAP_MTU}")]
    Mtu(u32),
    /// The netdev cannot be made or attached to.
    #[error("opening tap netdev {netdev}")]
    Open {
        /// Its name.
        netdev: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The netdev is there, but will not take a setting.
    #[error("setting the {what} of tap netdev {netdev}")]
    Set {
        /// Its name.
        netdev: String,
        /// What.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// An open tap port. Dropping it closes it.
pub struct TapPort {
    netdev: String,
    context: PortContext,
}

impl TapPort {
    /// Makes the netdev (or attaches to a persistent one), sets it up, and hands its queue to a worker.
    ///
    /// # Errors
    /// See [`TapError`].
    pub fn open(options: TapOptions, context: PortContext) -> Result<Self, TapError> {
        let TapOptions { netdev, mtu, mac, persist } = options;
        if !(68..=MAX_TAP_MTU).contains(&mtu) {
            return Err(TapError::Mtu(mtu));
        }
        let open = |source| TapError::Open { netdev: netdev.clone(), source };
        let set = |what| {
            let netdev = netdev.clone();
            move |source| TapError::Set { netdev, what, source }
        };
        let receiver = TapFile::open(&netdev, persist).map_err(open)?;
        let sender = receiver.try_clone().map_err(open)?;
        if let Some(mac) = mac {
            netdev::set_mac(&netdev, mac).map_err(set("address"))?;
        }
        netdev::set_mtu(&netdev, mtu).map_err(set("mtu"))?;
        netdev::set_up(&netdev, true).map_err(set("state"))?;
        context.host.attach_rx(context.id, 0, Box::new(TapRx(receiver)));
        let sender = TapTx { tap: sender, mtu: mtu as usize, whole: vec![0; MAX_FRAME].into() };
        context.tx.replace(0, Some(Box::new(sender)));
        context.events.send(context.id, PortEvent::Up(format!("tap {netdev}, mtu {mtu}")));
        Ok(Self { netdev, context })
    }

    /// The netdev's name.
    #[must_use]
    pub fn netdev(&self) -> &str {
        &self.netdev
    }

    /// Takes the queue back and closes the device; the netdev goes away unless it is persistent.
    pub fn close(self) {}
}

impl Drop for TapPort {
    fn drop(&mut self) {
        self.context.host.detach_rx(self.context.id, 0);
        self.context.tx.replace(0, None);
    }
}

/// What the host sent into the netdev.
struct TapRx(TapFile);

impl RxQueue for TapRx {
    fn rx_batch(&mut self, batch: &mut PacketBatch) -> usize {
        let before = batch.len();
        for _ in 0..batch.room() {
            let (packet, tally) = batch.slot_and_tally();
            // Nothing there, or the netdev is down: the same to us.
            let Ok(len) = self.0.read(packet.reset(MAX_FRAME)) else { break };
            if (MIN_FRAME..MAX_FRAME).contains(&len) {
                packet.reset(len);
                batch.push();
            } else {
                tally.drop(if len < MIN_FRAME { DropReason::Runt } else { DropReason::Giant });
            }
        }
        batch.len() - before
    }

    fn finish(&mut self) {}

    fn event_fd(&self) -> Option<RawFd> {
        Some(self.0.as_raw_fd())
    }

    fn arm(&mut self) -> bool {
        !self.0.is_readable()
    }

    fn disarm(&mut self) {}

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// What the host receives from the netdev.
struct TapTx {
    tap: TapFile,
    mtu: usize,
    /// A frame with a tail is put together here: a write needs bytes that nobody else can change.
    whole: Box<[u8]>,
}

impl TxQueue for TapTx {
    fn tx_batch(&mut self, packets: &PacketBatch, list: &mut TxList) -> usize {
        let mut sent = 0;
        while let Some(&id) = list.ids().first() {
            let packet = &packets.packets()[usize::from(id)];
            if !fits(packet, self.mtu) {
                list.take_dropped(DropReason::TxTooLarge);
                continue;
            }
            let frame = match packet.tail() {
                [] => packet.head(),
                _ => {
                    let len = packet.copy_to(&mut self.whole).unwrap_or(0);
                    &self.whole[..len]
                }
            };
            match self.tap.write(frame) {
                Ok(_) => {
                    list.take(1);
                    sent += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if matches!(error.raw_os_error(), Some(libc::EIO | libc::EBADFD)) => {
                    list.take_dropped(DropReason::TxDown);
                }
                Err(_) => list.take_dropped(DropReason::TxDevice),
            }
        }
        sent
    }

    fn flush(&mut self) {}

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
