//! The two directions of one AF_XDP socket as queues of the switch.
//!
//! Trust: frame bytes are the wire's; lengths come from the kernel. Neighbours: `mem::xsk` owns frames and rings, workers
//! call these.

use std::any::Any;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::mem::{RxFrame, Span, XskRx, XskTx};
use crate::packet::{
    DropReason, MAX_FRAME, MIN_FRAME, Packet, PacketBatch, SPLIT_HEAD, TAIL_PIECES, Tally, TxList, WHOLE_FRAME,
};
use crate::port::mtu::fits;
use crate::port::{RxQueue, TxQueue};

/// Receives from one queue of a netdev.
pub(super) struct XdpRx(pub XskRx);

impl RxQueue for XdpRx {
    fn rx_batch(&mut self, batch: &mut PacketBatch) -> usize {
        let before = batch.len();
        // A frame that is dropped is a frame too: what floods us with runts must not keep us here.
        for _ in 0..batch.room() {
            let Some(frame) = self.0.next_frame() else {
                if batch.len() == before {
                    self.0.nudge();
                }
                break;
            };
            let (free, tally) = batch.slot_and_tally();
            if receive(&frame, free, tally) {
                batch.push();
            }
        }
        batch.len() - before
    }

    fn finish(&mut self) {
        self.0.release();
    }

    fn event_fd(&self) -> Option<RawFd> {
        Some(self.0.as_raw_fd())
    }

    fn arm(&mut self) -> bool {
        self.0.nudge();
        self.0.is_idle()
    }

    fn disarm(&mut self) {}

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Copies a frame into `packet`: whole when it is short or in too many pieces, otherwise its head. False when it has to
/// be dropped.
#[inline(always)]
fn receive(frame: &RxFrame<'_>, packet: &mut Packet, tally: &mut Tally) -> bool {
    let len: usize = frame.pieces().map(|piece| piece.len()).sum();
    if len < MIN_FRAME {
        tally.drop(DropReason::Runt);
        return false;
    }
    if len > MAX_FRAME {
        tally.drop(DropReason::Giant);
        return false;
    }
    let first = frame.pieces().next().unwrap_or(Span::EMPTY);
    if len <= WHOLE_FRAME || frame.piece_count() > TAIL_PIECES || first.len() < SPLIT_HEAD {
        let mut room = packet.reset(len);
        for piece in frame.pieces() {
            let count = piece.read(room);
            room = &mut room[count..];
        }
        return true;
    }
    first.read(packet.reset(SPLIT_HEAD));
    let mut is_whole = packet.push_tail(first.slice(SPLIT_HEAD, usize::MAX));
    for piece in frame.pieces().skip(1) {
        is_whole &= packet.push_tail(piece);
    }
    debug_assert!(is_whole, "length and count were checked");
    is_whole
}

/// Sends through one queue of a netdev.
pub(super) struct XdpTx {
    pub xsk: XskTx,
    /// The netdev's MTU, kept up to date by the port's watcher.
    pub mtu: Arc<AtomicU32>,
}

impl TxQueue for XdpTx {
    fn tx_batch(&mut self, packets: &PacketBatch, list: &mut TxList) -> usize {
        let mtu = self.mtu.load(Ordering::Relaxed) as usize;
        let mut sent = 0;
        while let Some(&id) = list.ids().first() {
            let packet = &packets.packets()[usize::from(id)];
            if !fits(packet, mtu) {
                list.take_dropped(DropReason::TxTooLarge);
                continue;
            }
            if !self.xsk.stage(packet.len(), packet.head(), packet.tail()) {
                break;
            }
            list.take(1, packet.len());
            sent += 1;
        }
        sent
    }

    fn flush(&mut self) {
        self.xsk.flush();
    }

    fn room(&mut self) -> usize {
        self.xsk.room()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
