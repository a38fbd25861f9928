//! Packets as they were before something changed them, to go on with that afterwards: clones and groups change copies.
//!
//! A stack in memory that is there from the beginning: nothing is allocated. Trust: what a sender does to a tail meanwhile
//! changes nothing that was judged. Neighbours: the pipeline's paths save and restore.

use super::Packet;

/// Bytes there is room for: the heads of a few nested clones.
const ROOM: usize = 64 * 1024;
/// Most packets that are saved at a time.
const DEPTH: usize = 64;

/// See the file's head.
pub struct Backup {
    bytes: Vec<u8>,
    saved: Vec<Saved>,
}

/// Where a frame lay in its packet, and where its head's bytes are kept.
struct Saved {
    shape: Shape,
    from: usize,
}

/// Where the head lies and how long it is, how long the tail is and in how many pieces.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub start: u16,
    pub head_len: u16,
    pub tail_len: u16,
    pub tail_count: u8,
    pub is_large: bool,
}

impl Default for Backup {
    fn default() -> Self {
        Self { bytes: Vec::with_capacity(ROOM), saved: Vec::with_capacity(DEPTH) }
    }
}

impl Backup {
    /// Keeps the packet as it is now; false when there is no room.
    #[must_use]
    pub fn save(&mut self, packet: &Packet) -> bool {
        let head = packet.head();
        if self.saved.len() == DEPTH || self.bytes.len() + head.len() > ROOM {
            return false;
        }
        self.saved.push(Saved { shape: packet.shape(), from: self.bytes.len() });
        self.bytes.extend_from_slice(head);
        true
    }

    /// Makes the packet what it was when it was saved last.
    pub fn restore(&mut self, packet: &mut Packet) {
        if let Some(Saved { shape, from }) = self.saved.pop() {
            packet.set_shape(shape);
            packet.head_mut().copy_from_slice(&self.bytes[from..]);
            self.bytes.truncate(from);
        }
    }

    /// Forgets what was saved.
    pub fn clear(&mut self) {
        self.saved.clear();
        self.bytes.clear();
    }
}
