//! Receiving from a guest's transmit ring: buffers to packets.
//!
//! Trust: sizes and shapes are the guest's; frames are bounded here. The header's contents are ignored: no offload that
//! it could ask for is negotiated. Neighbours: `split` and `packed` find the buffers.

use super::engine::{Engine, Walk};
use super::gather::Gather;
use super::{RingError, RingFaultKind, RingSetup};
use crate::mem::Span;
use crate::packet::{BATCH, DropReason, MAX_FRAME, MIN_FRAME, PacketBatch};
use crate::sys::event::EventFd;

/// Steps (see [`Walk`]) of one burst after which no other frame is begun, so that a guest that makes long chains of
/// nothing slows down its own ring and no other: an ordinary burst of 32 frames in 16 pieces fits.
const WALK_BUDGET: u32 = 1024;
/// Steps per pass that a ring may do on average: what exceeds them is paid for by sitting out later passes, while other
/// rings have their turns. 32 frames in two pieces each fit; a step costs 50 to 400 cycles, a plain frame 30.
const STEPS_PER_PASS: u32 = 128;

pub(super) struct Rx<E> {
    engine: E,
    header_len: usize,
    /// Buffers taken since the last publish.
    taken: usize,
    broken: bool,
    /// Steps still to be sat out.
    debt: u32,
    /// The frames of the burst's simple buffers, between finding and copying them.
    spans: [Span; BATCH],
    setup: RingSetup,
}

impl<E: Engine> Rx<E> {
    pub fn open(setup: RingSetup) -> Result<Self, RingError> {
        let mut engine = E::open(&setup, setup.features.in_order)?;
        engine.want_kicks(false);
        let header_len = setup.features.header_len;
        Ok(Self { engine, header_len, taken: 0, broken: false, debt: 0, spans: [Span::EMPTY; BATCH], setup })
    }

    pub fn close(mut self) -> RingSetup {
        self.finish();
        RingSetup { base: self.engine.base(), ..self.setup }
    }

    #[inline]
    pub fn rx_batch(&mut self, batch: &mut PacketBatch) -> usize {
        if self.broken {
            return 0;
        }
        if self.debt > STEPS_PER_PASS {
            self.debt -= STEPS_PER_PASS;
            return 0;
        }
        let before = batch.len();
        if let Err(kind) = self.receive(batch) {
            self.fail(kind, batch);
        }
        batch.len() - before
    }

    #[inline(always)]
    fn receive(&mut self, batch: &mut PacketBatch) -> Result<(), RingFaultKind> {
        if self.engine.memory().is_lost() {
            return Err(RingFaultKind::MemoryLost);
        }
        let mut walked = 0;
        loop {
            let room = batch.room().min(BATCH - self.taken);
            self.debt = walked;
            let count = self.take_simple(room, batch)?;
            self.taken += count;
            if count == room || walked > WALK_BUDGET || !self.engine.is_ready() {
                return Ok(());
            }
            match self.receive_chain(batch)? {
                Some(work) => walked += work,
                None => return Ok(()),
            }
        }
    }

    /// Takes in frames of ordinary length in one piece, at most `room`; returns how many.
    #[inline(always)]
    fn take_simple(&mut self, room: usize, batch: &mut PacketBatch) -> Result<usize, RingFaultKind> {
        let (header_len, mut bytes) = (self.header_len, 0);
        let mut ordinary = |span: Span| {
            // The frame itself: drivers often keep the header in another line, which is never touched.
            span.prefetch_at(header_len);
            // A short frame lies in two lines as often as in one.
            span.prefetch_at(span.len().wrapping_sub(1));
            // One comparison: what is too short becomes very long.
            (span.len().wrapping_sub(header_len + MIN_FRAME) <= MAX_FRAME - MIN_FRAME).then(|| {
                let frame = span.behind(header_len);
                bytes += frame.len();
                (frame, 0)
            })
        };
        if batch.is_blind() {
            let count = self.engine.claim::<false>(&mut batch.free_frames()[..room], |_, span| ordinary(span))?;
            batch.push_frames(count, bytes);
            return Ok(count);
        }
        let frames = &mut self.spans[..room];
        let count = self.engine.claim::<false>(frames, |_, span| ordinary(span))?;
        let packets = batch.free_slots().iter_mut();
        frames[..count].iter().zip(packets).for_each(|(&frame, packet)| packet.reset_from(frame));
        batch.push_many(count, bytes);
        Ok(count)
    }

    /// Receives one buffer of any shape; returns the work that it caused, `None` when there is no buffer.
    #[inline(never)]
    fn receive_chain(&mut self, batch: &mut PacketBatch) -> Result<Option<u32>, RingFaultKind> {
        // Pieces are put together in a packet.
        batch.see();
        let Some(packet) = batch.next_slot() else { return Ok(None) };
        let mut gather = Gather::new(packet, self.header_len);
        let mut walk = Walk::new();
        let Some(chain) = self.engine.chain::<false>(&mut walk, &mut |piece| gather.piece(piece))? else {
            return Ok(None);
        };
        let frame = gather.finish();
        self.engine.complete(chain, 0);
        self.taken += 1;
        match frame {
            Ok(()) => batch.push(),
            Err(reason) => batch.tally.drop(reason),
        }
        Ok(Some(walk.done()))
    }

    #[cold]
    fn fail(&mut self, kind: RingFaultKind, batch: &mut PacketBatch) {
        self.broken = true;
        // Memory that went away reads as zeros, which look like other faults: name the cause.
        let lost = self.engine.memory().is_lost();
        let kind = if lost { RingFaultKind::MemoryLost } else { kind };
        if !matches!(kind, RingFaultKind::MemoryLost | RingFaultKind::IndexJumped) {
            batch.tally.drop(DropReason::RxMalformed);
        }
        self.setup.fault.raise(kind);
    }

    #[inline]
    pub fn finish(&mut self) {
        self.taken = 0;
        if self.engine.publish()
            && let Some(call) = &self.setup.call
        {
            call.signal();
        }
    }

    pub fn kick(&self) -> Option<&EventFd> {
        self.setup.kick.as_ref()
    }

    pub fn arm(&mut self) -> bool {
        if self.broken {
            return true;
        }
        if self.setup.kick.is_none() {
            return false;
        }
        self.engine.want_kicks(true);
        // The wish must be visible before the ring is looked at for the last time: a driver makes a buffer available
        // first and reads the wish afterwards, so one of the two sees the other (2.7.10, 2.8.10). Only a full fence
        // orders a store before a load.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        !self.engine.is_ready()
    }

    pub fn disarm(&mut self) {
        self.engine.want_kicks(false);
    }
}
