//! Where rings and buffers lie in the guest's memory.

use std::io;
use std::sync::Arc;

use ringswitch_dataplane::mem::{Area, GuestMemory, Mapping, Region};

use super::{GuestConfig, MEMORY_BASE};
use crate::ring::{Buffers, Packed, Place, Ring, Shape, Split};

const LINE: usize = 64;
const PAGE: usize = 4096;

/// Hands out offsets.
struct Allocator(usize);

impl Allocator {
    fn take(&mut self, len: usize, align: usize) -> usize {
        let at = self.0.next_multiple_of(align);
        self.0 = at + len;
        at
    }
}

/// An odd number of cache lines, so that equal parts of all buffers do not fall into the same few sets of the caches.
fn stride(len: u32) -> usize {
    let lines = (len as usize).div_ceil(LINE);
    (lines | 1) * LINE
}

fn place(config: &GuestConfig, space: &mut Allocator) -> Place {
    let size = usize::from(config.size);
    let desc = space.take(16 * size, PAGE);
    // Flags and index end a cache line, so that the entries behind them start one.
    let driver = space.take(LINE + 2 * size + 2, LINE) + LINE - 4;
    let device = space.take(LINE + 8 * size + 2, LINE) + LINE - 4;
    Place { desc, driver, device, size: config.size, in_order: config.in_order, event_idx: config.event_idx }
}

/// All rings, receive before transmit in each pair, without the memory: offsets only.
fn plan(config: &GuestConfig) -> (Vec<(Place, usize, usize, usize)>, usize) {
    let mut space = Allocator(PAGE);
    let mut rings = Vec::new();
    for index in 0..2 * config.queues {
        let place = place(config, &mut space);
        let tables = space.take(32 * usize::from(config.size), LINE);
        let room = if index % 2 == 0 { config.rx_buf } else { config.max_frame };
        let stride = stride(config.header_len() + room);
        let start = space.take(stride * usize::from(config.size), PAGE);
        rings.push((place, tables, start, stride));
    }
    (rings, space.0.next_multiple_of(PAGE))
}

/// Fresh memory, large enough.
pub fn memory(config: &GuestConfig) -> io::Result<Mapping> {
    Mapping::memfd(c"rspktgen", plan(config).1 as u64)
}

/// The rings in it, receive before transmit in each pair; all receive buffers are offered.
pub fn rings(config: &GuestConfig, memory: &Arc<Mapping>) -> Vec<Ring> {
    let area = whole(memory);
    let (plan, _) = plan(config);
    let rings = plan.into_iter().enumerate().map(|(index, (place, tables, start, stride))| {
        let receives = index % 2 == 0;
        let buffers = Buffers {
            area: area.clone(),
            base: MEMORY_BASE,
            start,
            stride,
            tables,
            header: config.header_len(),
            room: if receives { config.rx_buf } else { config.max_frame },
            writable: receives,
            shape: if receives { Shape::Single } else { config.shape },
        };
        let room = buffers.room;
        let mut ring = match config.packed {
            true => Ring::Packed(Packed::new(place, buffers)),
            false => Ring::Split(Split::new(place, buffers)),
        };
        if receives {
            ring.offer(usize::MAX, |_| room);
        }
        ring
    });
    rings.collect()
}

/// A whole mapping of our own as one area.
pub fn whole(memory: &Arc<Mapping>) -> Area {
    let table = GuestMemory::new(vec![Region::of_own(Arc::clone(memory), MEMORY_BASE)]);
    let area = table.ok().and_then(|table| table.area(MEMORY_BASE, memory.len(), PAGE));
    area.expect("one region cannot overlap, and a mapping starts at a page")
}
