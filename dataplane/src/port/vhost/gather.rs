//! One frame out of a guest's buffer of any shape.
//!
//! Trust: number and lengths of the pieces are the guest's; memory used here is bounded whatever they are.

use crate::mem::Span;
use crate::packet::{DropReason, MAX_FRAME, MIN_FRAME, Packet, SPLIT_HEAD, TAIL_PIECES, WHOLE_FRAME};

/// Pieces remembered before the frame is copied as it comes.
const PIECES: usize = 2 * TAIL_PIECES;

pub(super) struct Gather<'p> {
    packet: &'p mut Packet,
    /// Bytes of the virtio-net header still to be skipped.
    header: usize,
    /// Bytes of frame seen; may exceed any limit.
    len: u64,
    pieces: [Span; PIECES],
    count: usize,
    /// Bytes that were copied already because there were too many pieces to remember; `None`: none yet.
    copied: Option<usize>,
}

impl<'p> Gather<'p> {
    pub fn new(packet: &'p mut Packet, header_len: usize) -> Self {
        Self { packet, header: header_len, len: 0, pieces: [Span::EMPTY; PIECES], count: 0, copied: None }
    }

    /// The next piece of the buffer.
    pub fn piece(&mut self, piece: Span) {
        let skipped = self.header.min(piece.len());
        self.header -= skipped;
        let piece = piece.slice(skipped, piece.len());
        if piece.is_empty() {
            return;
        }
        self.len += piece.len() as u64;
        if self.copied.is_none() && self.count == PIECES {
            // How long it will be is not known yet.
            self.copied = Some(self.copy_pieces(MAX_FRAME));
        }
        match &mut self.copied {
            // What exceeds the limit is only counted.
            Some(at) => *at += piece.read(&mut self.packet.head_mut()[*at..]),
            None => {
                self.pieces[self.count] = piece;
                self.count += 1;
            }
        }
    }

    /// Copies the remembered pieces to the front of a head of `len` bytes, as far as it goes; returns how many.
    fn copy_pieces(&mut self, len: usize) -> usize {
        let head = self.packet.reset(len);
        let mut at = 0;
        for piece in &self.pieces[..self.count] {
            at += piece.read(&mut head[at..]);
        }
        at
    }

    /// The buffer is complete: forms the packet, or says why it is none.
    pub fn finish(mut self) -> Result<(), DropReason> {
        if self.len < MIN_FRAME as u64 {
            return Err(DropReason::Runt);
        }
        if self.len > MAX_FRAME as u64 {
            return Err(DropReason::Giant);
        }
        let len = self.len as usize;
        if self.copied.is_some() {
            self.packet.truncate(len);
        } else if len <= WHOLE_FRAME || !self.split() {
            self.copy_pieces(len);
        }
        Ok(())
    }

    /// Head apart and tail in place; false when the tail has too many pieces.
    fn split(&mut self) -> bool {
        let head = self.packet.reset(SPLIT_HEAD);
        let mut at = 0;
        let mut rest = self.pieces.iter();
        while let Some(piece) = rest.next() {
            let taken = piece.read(&mut head[at..]);
            at += taken;
            if at == SPLIT_HEAD {
                let cut = piece.slice(taken, piece.len());
                let mut tail = std::iter::once(&cut).chain(rest).filter(|piece| !piece.is_empty());
                return tail.all(|piece| self.packet.push_tail(*piece));
            }
        }
        false
    }
}
