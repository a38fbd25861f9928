//! The frames of one socket (its UMEM), and what is received in them.

use std::ptr;

use xsk_rs::Umem;
use xsk_rs::umem::frame::FrameDesc;

use super::socket::Desc;
use crate::mem::Span;

/// Bytes of a frame, one page: what every driver takes.
pub(super) const FRAME_SIZE: u32 = 4096;
/// Bytes of a frame that hold packet data; the kernel keeps 256 before them for the XDP program.
pub const FRAME_ROOM: usize = FRAME_SIZE as usize - 256;

/// The UMEM, kept mapped as long as one half or one socket lives.
#[derive(Debug)]
pub(super) struct Frames {
    start: *mut u8,
    len: usize,
    /// By frame: the only descriptors that the library's rings take.
    descs: Box<[FrameDesc]>,
    pub(super) umem: Umem,
}

// SAFETY: an address range; which half may touch which frame is the frames' ownership described in the module above.
unsafe impl Send for Frames {}
// SAFETY: as above; nothing is changed through a shared reference but frame contents.
unsafe impl Sync for Frames {}

impl Frames {
    pub(super) fn new(umem: Umem, descs: &mut [FrameDesc]) -> Self {
        let mut start = ptr::null_mut();
        for desc in descs.iter_mut() {
            let address = desc.addr();
            // SAFETY: the descriptor is of this UMEM and nobody else uses the frame yet.
            let mut data = unsafe { umem.data_mut(desc) };
            let room = data.cursor().buf_len();
            data.cursor().set_pos(room);
            // Spans are made from the address alone, so each frame's whole range is exposed once.
            let at = data.contents_mut().as_mut_ptr().expose_provenance() - address;
            data.cursor().set_pos(0);
            start = ptr::with_exposed_provenance_mut(at);
        }
        Self { start, len: descs.len() * FRAME_SIZE as usize, descs: (&*descs).into(), umem }
    }

    /// The frame that an address lies in.
    #[inline(always)]
    pub(super) fn desc(&self, address: u64) -> Option<FrameDesc> {
        self.descs.get(address as usize / FRAME_SIZE as usize).copied()
    }

    /// The bytes of a descriptor; empty when it does not lie in the UMEM.
    #[inline(always)]
    pub(super) fn span(&self, address: usize, len: usize) -> Span {
        if address > self.len || len > self.len - address {
            return Span::EMPTY;
        }
        // SAFETY: inside the UMEM (checked), which is mapped as long as the half that makes the span lives.
        unsafe { Span::new(self.start.wrapping_add(address), len as u32) }
    }
}

/// A received frame, in one or more pieces.
#[derive(Clone, Copy, Debug)]
pub struct RxFrame<'a> {
    pub(super) frames: &'a Frames,
    pub(super) descs: &'a [Desc],
}

impl RxFrame<'_> {
    /// The pieces in order. They are valid until [`XskRx::release`].
    #[inline(always)]
    pub fn pieces(&self) -> impl Iterator<Item = Span> + '_ {
        self.descs.iter().map(|desc| self.frames.span(desc.address as usize, desc.len as usize))
    }

    /// How many pieces.
    #[inline(always)]
    #[must_use]
    pub fn piece_count(&self) -> usize {
        self.descs.len()
    }
}
