//! The two directions of a tap as queues of the switch: a system call per frame.

use std::any::Any;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::packet::{DropReason, MAX_FRAME, MIN_FRAME, PacketBatch, TxList};
use crate::port::mtu::fits;
use crate::port::{RxQueue, TxQueue};
use crate::sys::clock;
use crate::sys::tap::TapFile;

/// So often per second a tap that was found empty is looked at: each look is a system call, for which whoever has packets
/// would pay in each pass.
const LOOKS: u64 = 50_000;

/// What the host sent into the netdev.
pub(super) struct TapRx {
    tap: TapFile,
    /// There was nothing, and there is no look before this time.
    next_look: u64,
    /// Cycles between two looks that find nothing.
    gap: u64,
}

impl TapRx {
    pub fn new(tap: TapFile) -> Self {
        Self { tap, next_look: 0, gap: clock::cycles_per_second() / LOOKS }
    }
}

impl RxQueue for TapRx {
    fn rx_batch(&mut self, batch: &mut PacketBatch) -> usize {
        if clock::cycles() < self.next_look {
            return 0;
        }
        let before = batch.len();
        for _ in 0..batch.room() {
            let (packet, tally) = batch.slot_and_tally();
            // Nothing there, or the netdev is down: the same to us.
            let Ok(len) = self.tap.read(packet.reset(MAX_FRAME)) else {
                self.next_look = clock::cycles() + self.gap;
                break;
            };
            if (MIN_FRAME..MAX_FRAME).contains(&len) {
                packet.truncate(len);
                batch.push();
            } else {
                tally.drop(if len < MIN_FRAME { DropReason::Runt } else { DropReason::Giant });
            }
        }
        batch.len() - before
    }

    fn finish(&mut self) {}

    fn event_fd(&self) -> Option<RawFd> {
        Some(self.tap.as_raw_fd())
    }

    fn arm(&mut self) -> bool {
        !self.tap.is_readable()
    }

    fn disarm(&mut self) {}

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// What the host receives from the netdev.
pub(super) struct TapTx {
    tap: TapFile,
    /// The netdev's MTU, kept up to date by the port's follower.
    mtu: Arc<AtomicU32>,
    /// A frame with a tail is put together here: a write needs bytes that nobody else can change.
    whole: Box<[u8]>,
}

impl TapTx {
    pub fn new(tap: TapFile, mtu: Arc<AtomicU32>) -> Self {
        Self { tap, mtu, whole: vec![0; MAX_FRAME].into() }
    }
}

impl TxQueue for TapTx {
    fn tx_batch(&mut self, packets: &PacketBatch, list: &mut TxList) -> usize {
        let mtu = self.mtu.load(Ordering::Relaxed) as usize;
        let mut sent = 0;
        while let Some(&id) = list.ids().first() {
            let frame = packets.frame(usize::from(id));
            if !fits(frame, mtu) {
                list.take_dropped(DropReason::TxTooLarge);
                continue;
            }
            let bytes = match frame.tail() {
                [] => frame.head(),
                _ => {
                    let len = frame.copy_to(&mut self.whole).unwrap_or(0);
                    &self.whole[..len]
                }
            };
            match self.tap.write(bytes) {
                Ok(_) => {
                    list.take(1, frame.len());
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
