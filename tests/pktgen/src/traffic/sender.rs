//! Sends through one queue. Where nothing changes from round to round, frames are written once and only their
//! descriptors are touched afterwards; unless the sender is to touch its frames, as a guest does.

use std::sync::Arc;

use ringswitch_dataplane::sys::clock;

use crate::frame::{Body, Frames, HEAD, HEADERS, Stamp, TAG, VLAN, fill_pattern, word_sum};
use crate::guest::GuestError;
use crate::queue::Tx;

/// What is sent.
#[derive(Clone, Debug)]
pub enum Content {
    /// Frames made by the generator.
    Made {
        /// Addresses and fields.
        frames: Frames,
        /// Flows through this queue: `first`, `first + step`, ... below `end`.
        first: u32,
        /// See `first`.
        step: u32,
        /// See `first`.
        end: u32,
        /// Frame lengths in turn, without VLAN tag.
        sizes: Arc<[u32]>,
        /// Each frame has its own sequence number.
        sequence: bool,
        /// Each frame says when it was sent.
        stamp: bool,
    },
    /// Frames from a file, over and over.
    Replay(Arc<[Vec<u8>]>),
}

/// One queue's sender.
#[derive(Debug)]
pub struct Sender {
    content: Content,
    /// By buffer.
    bodies: Vec<Body>,
    /// Frames in the buffers stay as they are.
    is_static: bool,
    /// By buffer, what is written each time when frames are to be touched; otherwise nothing.
    whole: Vec<Vec<u8>>,
    touches: bool,
    /// The next flow (or frame of the file).
    next: u32,
    /// By flow of this queue.
    sequences: Vec<u64>,
}

impl Sender {
    /// For this content; [`prepare`](Self::prepare) comes before sending.
    #[must_use]
    pub fn new(content: Content, touches: bool) -> Self {
        let (next, flows) = match &content {
            Content::Made { first, step, end, .. } => (*first, end.saturating_sub(*first).div_ceil(*step)),
            Content::Replay(_) => (0, 0),
        };
        let sequences = vec![0; flows as usize];
        Self { content, bodies: Vec::new(), is_static: false, whole: Vec::new(), touches, next, sequences }
    }

    /// Writes every buffer of the queue. Needed before the first frame and whenever the queue is a new one.
    pub fn prepare(&mut self, tx: &Tx) {
        let (area, buffers) = (tx.area(), tx.frames());
        self.bodies.clear();
        self.whole.clear();
        for id in 0..buffers.count {
            let (frame, body) = self.initial(id);
            area.write_bytes(buffers.offset(id), &frame);
            self.bodies.push(body);
            if self.touches {
                self.whole.push(frame);
            }
        }
        self.is_static = match &self.content {
            Content::Made { sequence, stamp, .. } => {
                !sequence && !stamp && self.sequences.len() <= usize::from(buffers.count)
            }
            Content::Replay(frames) => frames.len() <= usize::from(buffers.count),
        };
    }

    fn initial(&self, id: u16) -> (Vec<u8>, Body) {
        match &self.content {
            Content::Replay(frames) => {
                let frame = frames[usize::from(id) % frames.len()].clone();
                let len = frame.len() as u32;
                (frame, Body { seed: 0, len, sum: 0 })
            }
            Content::Made { frames, first, step, sizes, .. } => {
                let flow = first + step * (u32::from(id) % self.sequences.len().max(1) as u32);
                let len = sizes[usize::from(id) % sizes.len()] + frames.vlan_len() as u32;
                let frame = frames.build(len, id, Stamp { flow, ..Stamp::default() });
                let mut payload = vec![0; len as usize - HEADERS - TAG - frames.vlan_len()];
                fill_pattern(id, &mut payload);
                (frame, Body { seed: id, len, sum: word_sum(&payload) })
            }
        }
    }

    /// Sends up to `count` frames; with `whole`, all or none. Returns frames and bytes.
    ///
    /// # Errors
    /// The queue is broken or gone.
    #[inline]
    pub fn send(&mut self, tx: &mut Tx, count: usize, whole: bool) -> Result<(u64, u64), GuestError> {
        let mut bytes = 0;
        let sent = if self.is_static {
            let (bodies, touch) = (&self.bodies[..], touch(&self.whole, tx));
            tx.send(count, whole, |id| {
                let len = bodies[usize::from(id)].len;
                touch(id);
                bytes += u64::from(len);
                len
            })?
        } else {
            self.send_changing(tx, count, whole, &mut bytes)?
        };
        Ok((sent as u64, bytes))
    }

    fn send_changing(&mut self, tx: &mut Tx, count: usize, whole: bool, bytes: &mut u64) -> Result<usize, GuestError> {
        let (area, buffers) = (tx.area().clone(), tx.frames());
        let next = &mut self.next;
        match &self.content {
            Content::Replay(frames) => tx.send(count, whole, |id| {
                let frame = &frames[*next as usize % frames.len()];
                *next = (*next + 1) % frames.len() as u32;
                area.write_bytes(buffers.offset(id), frame);
                *bytes += frame.len() as u64;
                frame.len() as u32
            }),
            Content::Made { frames, first, step, end, stamp, .. } => {
                let time = if *stamp { clock::cycles() } else { 0 };
                let tagged = frames.vlan.is_some();
                let (bodies, sequences) = (&self.bodies[..], &mut self.sequences[..]);
                let touch = touch(&self.whole, tx);
                tx.send(count, whole, |id| {
                    touch(id);
                    let body = bodies[usize::from(id)];
                    let sequence = &mut sequences[((*next - first) / step) as usize];
                    let head = frames.head(body, Stamp { flow: *next, sequence: *sequence, time });
                    *sequence += 1;
                    *next += step;
                    if *next >= *end {
                        *next = *first;
                    }
                    // Constant lengths, so that each is a few wide stores.
                    if tagged {
                        area.write_bytes(buffers.offset(id), &head);
                    } else {
                        area.write_bytes(buffers.offset(id), &head[..HEAD - VLAN]);
                    }
                    *bytes += u64::from(body.len);
                    body.len
                })
            }
        }
    }

    /// Source addresses under which its station is to be known, when it makes its frames itself.
    pub fn frames(&self) -> Option<&Frames> {
        match &self.content {
            Content::Made { frames, .. } => Some(frames),
            Content::Replay(_) => None,
        }
    }
}

/// What writes a buffer's whole frame, if there are `frames` for that.
#[inline(always)]
fn touch<'f>(frames: &'f [Vec<u8>], tx: &Tx) -> impl Fn(u16) + use<'f> {
    let (area, buffers) = (tx.area().clone(), tx.frames());
    move |id| {
        if let Some(frame) = frames.get(usize::from(id)) {
            area.write_bytes(buffers.offset(id), frame);
        }
    }
}
