//! The guest's memory as the front-end tells it: all at once, or region by region.
//!
//! Trust: every number and descriptor is the front-end's; `mem` checks them. A refused change leaves the table as it was.
//! Spec: vhost-user, SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::VhostError;
use super::message::Request;
use crate::mem::{GuestMemory, Region, RegionSpec};

/// As many as the kernel's vhost has: memory hotplug in QEMU asks for no more.
pub(super) const MAX_SLOTS: usize = 509;
/// Bytes of address space that the files behind one table may take, each from its beginning: more than any machine has,
/// and so little of the process' 128 TiB that others have room.
const MOST_BYTES: u64 = 16 << 40;
/// Bytes of a region's description.
const REGION: usize = 32;

#[derive(Debug, Default)]
pub(super) struct MemoryTable {
    regions: Vec<Region>,
    pub memory: Arc<GuestMemory>,
}

impl MemoryTable {
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// SET_MEM_TABLE: count, padding, the regions; a descriptor for each.
    pub fn replace(&mut self, mut request: Request) -> Result<(), VhostError> {
        let name = "SET_MEM_TABLE";
        let len = request.payload.len();
        if len < 8 || len != 8 + request.word(0) as usize * REGION {
            return Err(VhostError::Payload { request: name, len });
        }
        let fds = std::mem::take(&mut request.fds);
        if fds.len() != request.word(0) as usize {
            return Err(VhostError::Descriptors { request: name, count: fds.len() });
        }
        let mut room = MOST_BYTES;
        let places = (8..).step_by(REGION);
        let regions = fds.into_iter().zip(places).map(|(file, at)| map(name, &request, at, file, &mut room));
        let regions = regions.collect::<Result<_, _>>()?;
        self.adopt(name, regions)
    }

    /// ADD_MEM_REG: padding, the region; its descriptor.
    pub fn add(&mut self, mut request: Request) -> Result<(), VhostError> {
        let name = "ADD_MEM_REG";
        check_single(name, &request)?;
        let count = request.fds.len();
        let (1, Some(file)) = (count, request.fds.pop()) else {
            return Err(VhostError::Descriptors { request: name, count });
        };
        if self.regions.len() == MAX_SLOTS {
            return Err(VhostError::Value { request: name, what: "region number", value: MAX_SLOTS as u64 + 1 });
        }
        let taken = self.regions.iter().map(Region::mapped_len).sum();
        let region = map(name, &request, 8, file, &mut MOST_BYTES.saturating_sub(taken))?;
        let mut regions = self.regions.clone();
        regions.push(region);
        self.adopt(name, regions)
    }

    /// REM_MEM_REG: padding, the region, known by its addresses and its length. A descriptor may come with it, for
    /// nothing.
    pub fn remove(&mut self, request: &Request) -> Result<(), VhostError> {
        let name = "REM_MEM_REG";
        check_single(name, request)?;
        let [guest_start, len, user_start] = [8, 16, 24].map(|at| request.long(at));
        let is_it = |region: &Region| {
            (region.guest_start(), region.user_start(), region.len()) == (guest_start, user_start, len)
        };
        let Some(index) = self.regions.iter().position(is_it) else {
            return Err(VhostError::Value { request: name, what: "guest address", value: guest_start });
        };
        let mut regions = self.regions.clone();
        regions.remove(index);
        self.adopt(name, regions)
    }

    fn adopt(&mut self, request: &'static str, regions: Vec<Region>) -> Result<(), VhostError> {
        let memory = GuestMemory::new(regions.clone()).map_err(|source| VhostError::Memory { request, source })?;
        self.regions = regions;
        self.memory = Arc::new(memory);
        Ok(())
    }
}

fn check_single(request: &'static str, message: &Request) -> Result<(), VhostError> {
    match message.payload.len() {
        len if len == 8 + REGION => Ok(()),
        len => Err(VhostError::Payload { request, len }),
    }
}

/// Maps the region described at byte `at`: guest address, length, front-end address, offset in the file. It takes from
/// `room`.
fn map(name: &'static str, request: &Request, at: usize, file: OwnedFd, room: &mut u64) -> Result<Region, VhostError> {
    let [guest_start, len, user_start, file_offset] = [at, at + 8, at + 16, at + 24].map(|at| request.long(at));
    let end = file_offset.saturating_add(len);
    *room = room.checked_sub(end).ok_or(VhostError::Value { request: name, what: "region size", value: end })?;
    Region::map(RegionSpec { guest_start, user_start, len, file_offset, file })
        .map_err(|source| VhostError::Memory { request: name, source })
}
