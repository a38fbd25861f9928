//! The two directions of one queue of a netdev as queues of the switch. Receiving has a socket for everything (the anchor)
//! and one per pool; a batch holds frames of one socket.
//!
//! Trust: frame bytes are the wire's; lengths come from the kernel. Neighbours: `mem::xsk` owns frames and rings, `turns`
//! says which socket is next, `change` which frames must wait while the sorting changes, workers call these.

use std::any::Any;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};

use super::SortFilter;
use super::change::{Change, ChangeHere, Drain};
use super::turns::Turns;
use crate::mem::{RxFrame, Span, XskRx, XskSocket, XskTx};
use crate::packet::{
    DropReason, MAX_FRAME, MIN_FRAME, Packet, PacketBatch, SPLIT_HEAD, TAIL_PIECES, Tally, TxList, WHOLE_FRAME,
};
use crate::port::mtu::fits;
use crate::port::{RxQueue, TxQueue};

/// What belongs to a socket, beside its ring.
#[derive(Debug)]
pub(super) struct Lane {
    pub slot: u16,
    pub weight: u32,
    /// Frames received. Written by the worker that has the queue.
    pub frames: Arc<AtomicU64>,
}

/// Receives from one queue of a netdev.
pub(super) struct XdpRx {
    xsk: XskRx,
    /// By socket.
    lanes: Vec<Lane>,
    turns: Turns,
    /// Becomes readable when any of the sockets is: a set of them is a descriptor too.
    bell: Poll,
    /// Kept when it is over: freed by whoever brings the next.
    change: Option<ChangeHere>,
    is_changing: bool,
}

/// What a change looks at.
struct Sockets<'a>(&'a XskRx, &'a [Lane]);

impl Drain for Sockets<'_> {
    fn slots(&self) -> impl Iterator<Item = u16> {
        self.1.iter().map(|lane| lane.slot)
    }

    fn position(&self, index: usize) -> u32 {
        self.0.position(index)
    }

    fn has_passed(&self, index: usize, position: u32) -> bool {
        self.0.has_passed(index, position)
    }
}

impl XdpRx {
    /// With the anchor only.
    pub fn new(xsk: XskRx, anchor: Lane) -> io::Result<Self> {
        let mut turns = Turns::default();
        turns.add(anchor.weight);
        let new = Self { bell: Poll::new()?, xsk, lanes: vec![anchor], turns, change: None, is_changing: false };
        new.watch(&new.xsk.sockets()[0])?;
        Ok(new)
    }

    fn watch(&self, socket: &XskSocket) -> io::Result<()> {
        self.bell.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(0), Interest::READABLE)
    }

    /// Serves a pool's socket too.
    pub fn add(&mut self, socket: XskSocket, lane: Lane) -> io::Result<()> {
        self.watch(&socket)?;
        self.turns.add(lane.weight);
        self.lanes.push(lane);
        self.xsk.add(socket);
        Ok(())
    }

    /// Takes the socket of a slot out, which has been drained; to be closed elsewhere, which takes its time.
    pub fn remove(&mut self, slot: u16) -> Option<XskSocket> {
        let index = self.lanes.iter().position(|lane| lane.slot == slot)?;
        self.lanes.remove(index);
        self.turns.remove(index);
        let socket = self.xsk.remove(index);
        let _ = self.bell.registry().deregister(&mut SourceFd(&socket.as_raw_fd()));
        Some(socket)
    }

    /// Another weight for the socket of a slot.
    pub fn set_weight(&mut self, slot: u16, weight: u32) {
        if let Some(index) = self.lanes.iter().position(|lane| lane.slot == slot) {
            self.lanes[index].weight = weight;
            self.turns.set_weight(index, weight);
        }
    }

    /// A change begins; the last one is over.
    pub fn begin(&mut self, change: &Arc<Change>, queue: u16) {
        debug_assert!(!self.is_changing, "one change at a time");
        self.change = Some(ChangeHere::new(Arc::clone(change), queue, self.lanes.len()));
        self.is_changing = true;
    }

    /// All sockets but the first, to be closed before the queue.
    pub fn remove_pools(&mut self) -> Vec<XskSocket> {
        let slots: Vec<_> = self.lanes.iter().map(|lane| lane.slot).filter(|&slot| slot > 0).collect();
        slots.into_iter().filter_map(|slot| self.remove(slot)).collect()
    }

    /// Takes a batch from one socket.
    #[inline(always)]
    fn take(&mut self, index: usize, batch: &mut PacketBatch) -> usize {
        let (before, mut taken) = (batch.len(), 0);
        // A frame that is dropped is a frame too: what floods us with runts must not keep us here.
        for _ in 0..batch.room() {
            let Some(frame) = self.xsk.next_frame(index) else { break };
            taken += 1;
            let (free, tally) = batch.slot_and_tally();
            if receive(&frame, free, tally) {
                batch.push();
            }
        }
        self.turns.served(index, taken);
        self.lanes[index].count(taken);
        batch.len() - before
    }

    /// The same while the sorting changes.
    #[cold]
    fn take_in_change(&mut self, batch: &mut PacketBatch) -> usize {
        let Some(change) = &mut self.change else { return 0 };
        if change.is_drained(&Sockets(&self.xsk, &self.lanes)) {
            let count = self.take_parked(batch);
            if self.xsk.parked().is_none() {
                self.is_changing = false;
                self.change.iter().for_each(ChangeHere::leave);
            }
            return count;
        }
        let xsk = &mut self.xsk;
        let Some(index) = self.turns.next(|index| xsk.has_frames(index)) else {
            xsk.nudge();
            return 0;
        };
        let (before, mut taken) = (batch.len(), 0);
        let lane = &self.lanes[index];
        for _ in 0..batch.room() {
            let Some(frame) = xsk.next_frame(index) else { break };
            taken += 1;
            let is_early = SortFilter::of(&frame).is_some_and(|destination| change.is_early(destination, lane.slot));
            let (free, tally) = batch.slot_and_tally();
            if is_early {
                if !xsk.park(lane.slot) {
                    tally.drop(DropReason::RxHeldBack);
                }
            } else if receive(&frame, free, tally) {
                batch.push();
            }
        }
        lane.count(taken);
        self.turns.served(index, taken);
        batch.len() - before
    }

    /// Takes a batch of what was parked: frames of one socket, and before anything that came after them.
    #[cold]
    fn take_parked(&mut self, batch: &mut PacketBatch) -> usize {
        let (before, slot) = (batch.len(), self.xsk.parked());
        for _ in 0..batch.room() {
            if self.xsk.parked().is_none() || self.xsk.parked() != slot {
                break;
            }
            let Some(frame) = self.xsk.next_parked() else { break };
            let (free, tally) = batch.slot_and_tally();
            if receive(&frame, free, tally) {
                batch.push();
            }
        }
        batch.len() - before
    }
}

impl Lane {
    #[inline(always)]
    fn count(&self, frames: usize) {
        self.frames.store(self.frames.load(Ordering::Relaxed) + frames as u64, Ordering::Relaxed);
    }
}

impl RxQueue for XdpRx {
    fn rx_batch(&mut self, batch: &mut PacketBatch) -> usize {
        if self.is_changing {
            return self.take_in_change(batch);
        }
        match self.turns.next(|index| self.xsk.has_frames(index)) {
            Some(index) => self.take(index, batch),
            None => {
                self.xsk.nudge();
                0
            }
        }
    }

    fn finish(&mut self) {
        self.xsk.release();
    }

    fn event_fd(&self) -> Option<RawFd> {
        Some(self.bell.as_raw_fd())
    }

    /// Not while the sorting changes: that goes on with the next look at the queue and rings no bell.
    fn arm(&mut self) -> bool {
        self.xsk.nudge();
        !self.is_changing && self.xsk.is_idle()
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
            let frame = packets.frame(usize::from(id));
            if !fits(frame, mtu) {
                list.take_dropped(DropReason::TxTooLarge);
                continue;
            }
            if !self.xsk.stage(frame.len(), frame.head(), frame.tail()) {
                break;
            }
            list.take(1, frame.len());
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
