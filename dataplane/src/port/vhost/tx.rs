//! Sending to a guest's receive ring: packets to buffers.
//!
//! Trust: sizes and shapes of the buffers are the guest's. Neighbours: `split` and `packed` find the buffers.

use super::engine::{Engine, Walk};
use super::scatter::{Body, Scatter, write_simple};
use super::{RingError, RingFaultKind, RingSetup};
use crate::mem::Span;
use crate::packet::{BATCH, DropReason, Frame, PacketBatch, TxList};

/// Steps (see [`Walk`]) of one batch after which no other frame is begun outside the fast path; those that are left are
/// dropped as if the ring were full. An ordinary batch of 32 frames, each in 16 descriptors, fits.
const WALK_BUDGET: u32 = 1024;

pub(super) struct Tx<E> {
    engine: E,
    header_len: usize,
    mergeable: bool,
    broken: bool,
    /// The burst's simple buffers, between finding and filling them.
    spans: [Span; BATCH],
    setup: RingSetup,
}

/// What became of one packet.
enum Sent {
    Yes,
    /// No buffer is left.
    Full,
    /// The next buffer is too short for it.
    TooLarge,
}

impl<E: Engine> Tx<E> {
    pub fn open(setup: RingSetup) -> Result<Self, RingError> {
        // Every used entry is written: lengths differ, so one cannot stand for several.
        let mut engine = E::open(&setup, false)?;
        // Buffers are looked for whenever there is something to send.
        engine.want_kicks(false);
        let (header_len, mergeable) = (setup.features.header_len, setup.features.mergeable);
        Ok(Self { engine, header_len, mergeable, broken: false, spans: [Span::EMPTY; BATCH], setup })
    }

    pub fn close(mut self) -> RingSetup {
        self.flush();
        RingSetup { base: self.engine.base(), ..self.setup }
    }

    #[inline]
    pub fn tx_batch(&mut self, batch: &PacketBatch, list: &mut TxList) -> usize {
        if self.broken {
            return 0;
        }
        let mut sent = 0;
        if let Err(kind) = self.send(batch, list, &mut sent) {
            self.fail(kind);
        }
        sent
    }

    #[inline(always)]
    fn send(&mut self, batch: &PacketBatch, list: &mut TxList, sent: &mut usize) -> Result<(), RingFaultKind> {
        if self.engine.memory().is_lost() {
            return Err(RingFaultKind::MemoryLost);
        }
        let mut walked = 0;
        while !list.is_empty() {
            let (count, bytes) = match batch.frames() {
                Some(frames) => self.send_listed(frames, list)?,
                None => self.send_listed(batch.packets(), list)?,
            };
            list.take(count, bytes);
            *sent += count;
            let Some(&id) = list.ids().first() else { break };
            if walked > WALK_BUDGET {
                break;
            }
            let mut walk = Walk::new();
            let frame = batch.frame(usize::from(id));
            let outcome = self.send_any(frame, &mut walk)?;
            walked += walk.done();
            match outcome {
                Sent::Yes => {
                    list.take(1, frame.len());
                    *sent += 1;
                }
                Sent::Full => break,
                Sent::TooLarge => list.take_dropped(DropReason::TxTooLarge),
            }
        }
        Ok(())
    }

    /// Sends what the list names as long as each fits in the single descriptor of the next buffer; returns how many,
    /// and their bytes.
    #[inline(always)]
    fn send_listed(&mut self, bodies: &[impl Body], list: &TxList) -> Result<(usize, usize), RingFaultKind> {
        match list.run() {
            Some(run) => self.send_simple(bodies[run].iter()),
            None => self.send_simple(list.ids().iter().map(|&id| &bodies[usize::from(id)])),
        }
    }

    #[inline(always)]
    fn send_simple<'p, B: Body + 'p>(
        &mut self,
        bodies: impl ExactSizeIterator<Item = &'p B> + Clone,
    ) -> Result<(usize, usize), RingFaultKind> {
        let header_len = self.header_len;
        let (mut bytes, mut next) = (0, bodies.clone());
        let count = self.engine.claim::<true>(&mut self.spans[..bodies.len()], |_, span| {
            span.prefetch_write_at(header_len);
            // Where the header lies in a line of its own, it is only read, see `write_simple`.
            span.prefetch_at(0);
            let len = next.next()?.len();
            let needed = header_len + len;
            span.prefetch_write_at(needed - 1);
            (needed <= span.len()).then(|| {
                bytes += len;
                (span, needed as u32)
            })
        })?;
        write_simple(&self.spans[..count], header_len, bodies);
        Ok((count, bytes))
    }

    /// Sends one frame into buffers of any shape.
    fn send_any(&mut self, frame: Frame, walk: &mut Walk) -> Result<Sent, RingFaultKind> {
        let mark = self.engine.mark();
        let mut scatter = Scatter::new(frame, self.header_len);
        let mut buffers = 0;
        let outcome = loop {
            let before = scatter.written();
            match self.engine.chain::<true>(walk, &mut |piece| scatter.piece(piece)) {
                Ok(Some(chain)) => self.engine.complete(chain, (scatter.written() - before) as u32),
                Ok(None) => break Ok(Sent::Full),
                Err(kind) => break Err(kind),
            }
            buffers += 1;
            if scatter.is_done() {
                scatter.set_buffers(buffers);
                return Ok(Sent::Yes);
            }
            if !self.mergeable {
                break Ok(Sent::TooLarge);
            }
        };
        self.engine.rewind(mark);
        outcome
    }

    #[cold]
    fn fail(&mut self, kind: RingFaultKind) {
        self.broken = true;
        // Memory that went away reads as zeros, which look like other faults: name the cause.
        let lost = self.engine.memory().is_lost();
        self.setup.fault.raise(if lost { RingFaultKind::MemoryLost } else { kind });
    }

    #[inline]
    pub fn flush(&mut self) {
        if self.engine.publish()
            && let Some(call) = &self.setup.call
        {
            call.signal();
        }
    }
}
