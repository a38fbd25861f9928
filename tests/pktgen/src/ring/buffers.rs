//! The buffers of one ring: where each lies, and what its descriptors look like.

use ringswitch_dataplane::mem::Area;

use super::flag;

/// How the descriptors of one buffer are laid out. All are legal; a switch has to take each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// One descriptor for header and frame.
    #[default]
    Single,
    /// Two chained descriptors: header, frame.
    Chain,
    /// One descriptor that refers to a table of two: header, frame.
    Indirect,
}

/// One descriptor as both ring kinds see it.
pub(crate) struct Piece {
    pub address: u64,
    pub len: u32,
    pub flags: u16,
}

/// Equal buffers, each a virtio-net header followed by room for a frame (or a piece of one).
#[derive(Debug)]
pub struct Buffers {
    /// The guest's whole memory.
    pub area: Area,
    /// Guest address of the area's first byte.
    pub base: u64,
    /// Offset of the first buffer.
    pub start: usize,
    /// From one buffer to the next.
    pub stride: usize,
    /// Offset of the first indirect table (32 bytes each).
    pub tables: usize,
    /// Bytes of virtio-net header.
    pub header: u32,
    /// Bytes behind the header.
    pub room: u32,
    /// The device writes them.
    pub writable: bool,
    /// What their descriptors look like.
    pub shape: Shape,
}

impl Buffers {
    /// Ring entries per buffer.
    #[inline(always)]
    #[must_use]
    pub fn entries(&self) -> u16 {
        if self.shape == Shape::Chain { 2 } else { 1 }
    }

    /// Offset of buffer `id`'s header.
    #[inline(always)]
    #[must_use]
    pub fn header_offset(&self, id: u16) -> usize {
        self.start + usize::from(id) * self.stride
    }

    /// Offset of buffer `id`'s frame.
    #[inline(always)]
    #[must_use]
    pub fn frame_offset(&self, id: u16) -> usize {
        self.header_offset(id) + self.header as usize
    }

    /// Offset of buffer `id`'s indirect table.
    #[inline(always)]
    #[must_use]
    pub fn table_offset(&self, id: u16) -> usize {
        self.tables + usize::from(id) * 32
    }

    /// Header and frame of buffer `id` as descriptors, with a frame of `len` bytes; the second is `None` for a single one.
    pub(crate) fn pieces(&self, id: u16, len: u32) -> (Piece, Option<Piece>) {
        let write = if self.writable { flag::WRITE } else { 0 };
        let address = self.base + self.header_offset(id) as u64;
        if self.shape == Shape::Single {
            return (Piece { address, len: self.header + len, flags: write }, None);
        }
        let second = Piece { address: address + u64::from(self.header), len, flags: write };
        (Piece { address, len: self.header, flags: write | flag::NEXT }, Some(second))
    }
}
