//! A guest's memory table: guest-physical and front-end addresses to checked spans.
//!
//! Trust: the table comes from the front-end, addresses come from the guest; both are checked here and nowhere else.
//! Spec: vhost-user, "Memory region description" and "SET_MEM_TABLE".

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{Area, Mapping, Span};
use crate::sys::sigbus;

/// One region as a front-end announces it.
#[derive(Debug)]
pub struct RegionSpec {
    /// Guest-physical address of the first byte.
    pub guest_start: u64,
    /// The front-end's own address of the first byte (ring addresses are given in these).
    pub user_start: u64,
    /// Bytes.
    pub len: u64,
    /// Where the region starts in the file.
    pub file_offset: u64,
    /// The file.
    pub file: OwnedFd,
}

/// Regions of a guest's memory are pages at least; a table of tiny ones would only make every buffer cross many.
const SHORTEST: u64 = 4096;

/// A mapped region.
#[derive(Clone, Debug)]
pub struct Region {
    guest_start: u64,
    user_start: u64,
    len: u64,
    offset: usize,
    mapping: Arc<Mapping>,
}

/// Why a memory table was refused.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Start plus length does not fit in 64 bits, or the length is below a page.
    #[error("region at guest address {start:#x}: length {len:#x} is not possible")]
    Length {
        /// Guest-physical start.
        start: u64,
        /// Announced length.
        len: u64,
    },
    /// Two regions share guest addresses.
    #[error("region at guest address {start:#x} overlaps another")]
    Overlap {
        /// Guest-physical start of the second.
        start: u64,
    },
    /// The file could not be mapped.
    #[error("mapping the region at guest address {start:#x}")]
    Map {
        /// Guest-physical start.
        start: u64,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}

impl Region {
    /// Maps what the front-end announced.
    ///
    /// # Errors
    /// Impossible lengths, and files shorter than the region.
    pub fn map(spec: RegionSpec) -> Result<Self, MemoryError> {
        let RegionSpec { guest_start, user_start, len, file_offset, file } = spec;
        let end = file_offset.checked_add(len).filter(|_| {
            len >= SHORTEST && guest_start.checked_add(len).is_some() && user_start.checked_add(len).is_some()
        });
        let end = end.ok_or(MemoryError::Length { start: guest_start, len })?;
        let mapping = Mapping::of_file(File::from(file), end)
            .map_err(|source| MemoryError::Map { start: guest_start, source })?;
        Ok(Self { guest_start, user_start, len, offset: file_offset as usize, mapping: Arc::new(mapping) })
    }

    /// Memory of our own as a region whose guest and user addresses both start at `address` (the generator's guest).
    #[must_use]
    pub fn of_own(mapping: Arc<Mapping>, address: u64) -> Self {
        Self { guest_start: address, user_start: address, len: mapping.len() as u64, offset: 0, mapping }
    }

    /// Guest-physical start.
    #[must_use]
    pub fn guest_start(&self) -> u64 {
        self.guest_start
    }

    /// Front-end's start.
    #[must_use]
    pub fn user_start(&self) -> u64 {
        self.user_start
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of address space that it takes: its file is mapped from the beginning.
    #[must_use]
    pub fn mapped_len(&self) -> u64 {
        self.mapping.len() as u64
    }

    /// Never true: such a region is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn host(&self, offset: u64) -> *mut u8 {
        self.mapping.start().wrapping_add(self.offset + offset as usize)
    }
}

/// All regions of a guest, sorted. Immutable: a new table is a new object, the old one lives as long as a ring uses it.
#[derive(Debug, Default)]
pub struct GuestMemory {
    regions: Box<[Region]>,
}

impl GuestMemory {
    /// Sorts and checks the regions.
    ///
    /// # Errors
    /// When two overlap in guest addresses.
    pub fn new(mut regions: Vec<Region>) -> Result<Self, MemoryError> {
        regions.sort_by_key(|region| region.guest_start);
        for pair in regions.windows(2) {
            if pair[0].guest_start + pair[0].len > pair[1].guest_start {
                return Err(MemoryError::Overlap { start: pair[1].guest_start });
            }
        }
        Ok(Self { regions: regions.into() })
    }

    /// The regions, by guest address.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The bytes at guest-physical `address`, at most `len` and only as far as its region goes: a buffer that crosses
    /// regions takes several calls. `None` when the address is in no region. `last` is the caller's memory of which
    /// region was hit last: buffers of one ring mostly share one.
    #[inline(always)]
    #[must_use]
    pub fn span(&self, address: u64, len: u32, last: &mut usize) -> Option<Span> {
        let region = match self.regions.get(*last) {
            Some(region) if address.wrapping_sub(region.guest_start) < region.len => region,
            _ => self.find(address, last)?,
        };
        let offset = address - region.guest_start;
        let len = u64::from(len).min(region.len - offset) as u32;
        // SAFETY: offset + len is inside the region, the region inside its mapping (checked when it was mapped), and
        // the mapping lives as long as this table, which the ring that uses the span holds.
        Some(unsafe { Span::new(region.host(offset), len) })
    }

    #[cold]
    fn find(&self, address: u64, last: &mut usize) -> Option<&Region> {
        let after = self.regions.partition_point(|region| region.guest_start <= address);
        let index = after.checked_sub(1)?;
        let region = &self.regions[index];
        (address - region.guest_start < region.len).then(|| {
            *last = index;
            region
        })
    }

    /// Guest-physical start, length and address here of the region that `address` is in; all of it lies inside a mapping
    /// that this table keeps.
    pub(in crate::mem) fn window(&self, address: u64) -> Option<(u64, u64, *mut u8)> {
        let region = self.find(address, &mut 0)?;
        Some((region.guest_start, region.len, region.host(0)))
    }

    /// `len` bytes of ring at the front-end's `address`, aligned to `align`; `None` when they are not inside one region.
    #[must_use]
    pub fn area(&self, address: u64, len: usize, align: usize) -> Option<Area> {
        let region = self.regions.iter().find(|region| address.wrapping_sub(region.user_start) < region.len)?;
        let offset = address - region.user_start;
        let inside = len as u64 <= region.len - offset && (region.host(offset) as usize).is_multiple_of(align);
        // SAFETY: the bytes are inside the region's mapping, which the area holds.
        inside.then(|| unsafe { Area::new(region.host(offset), len, Arc::clone(&region.mapping)) })
    }

    /// True once a file behind one of the regions was truncated. `seen` is the caller's memory of [`sigbus::losses`], so
    /// that the answer costs one load as long as nothing happened anywhere.
    #[inline(always)]
    pub fn is_lost(&self, seen: &mut u32) -> bool {
        let losses = sigbus::losses();
        if losses == *seen {
            return false;
        }
        *seen = losses;
        self.regions.iter().any(|region| region.mapping.is_lost())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(starts: &[u64]) -> Result<GuestMemory, MemoryError> {
        let region = |&start: &u64| Region::of_own(Arc::new(Mapping::memfd(c"test", 8192).expect("memfd")), start);
        GuestMemory::new(starts.iter().map(region).collect())
    }

    #[test]
    fn spans_stop_at_the_end_of_their_region() {
        let memory = memory(&[0x10_0000, 0x4000, 0x2000]).expect("regions touch but do not overlap");
        let mut last = 0;
        assert_eq!(memory.span(0x3ff0, 64, &mut last).expect("inside").len(), 16);
        assert_eq!(memory.span(0x4000, 64, &mut last).expect("the next region").len(), 64);
        assert_eq!(last, 1);
        for outside in [0, 0x1fff, 0x6000, 0x10_2000, u64::MAX] {
            assert!(memory.span(outside, 1, &mut last).is_none(), "{outside:#x}");
        }
        assert!(memory.area(0x2000, 8193, 1).is_none());
        assert!(memory.area(0x2001, 16, 2).is_none(), "not aligned");
        assert!(memory.area(0x2000, 8192, 4096).is_some());
    }

    #[test]
    fn overlapping_regions_are_refused() {
        assert!(matches!(memory(&[0x1000, 0x2000]), Err(MemoryError::Overlap { start: 0x2000 })));
    }

    #[test]
    fn memory_truncated_while_mapped_reads_as_zero_and_is_noticed() {
        let mapping = Arc::new(Mapping::memfd(c"test", 8192).expect("memfd"));
        let memory = GuestMemory::new(vec![Region::of_own(Arc::clone(&mapping), 0)]).expect("one region");
        let (mut last, mut seen) = (0, sigbus::losses());
        let span = memory.span(4096, 4, &mut last).expect("inside");
        span.write(b"abcd");
        assert!(!memory.is_lost(&mut seen));
        use std::os::fd::AsFd;
        File::from(mapping.as_fd().try_clone_to_owned().expect("dup")).set_len(0).expect("truncate");
        let mut bytes = [0xff; 4];
        span.read(&mut bytes);
        assert_eq!(bytes, [0; 4]);
        assert!(memory.is_lost(&mut seen));
    }
}
