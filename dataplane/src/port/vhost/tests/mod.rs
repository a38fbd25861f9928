//! The rings against the plain driver of `driver`.

mod hostile;
mod notify;
mod shapes;
mod work;

use std::sync::Arc;

use super::driver::{Driver, Piece, ring_bytes};
use super::*;
use crate::mem::{GuestMemory, Mapping, Region};
use crate::packet::{PacketBatch, TxList};
use crate::port::{RxQueue, TxQueue};

const PACKED: u64 = 1 << 34;
const MRG: u64 = 1 << 15;
const INDIRECT: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;
const IN_ORDER: u64 = 1 << 35;
const VERSION_1: u64 = 1 << 32;
/// Both kinds with the features of ordinary guests.
const KINDS: [u64; 2] = [VERSION_1 | INDIRECT, VERSION_1 | INDIRECT | PACKED];

/// Where buffers may lie: from here on a region boundary every 64 KiB, with nothing contiguous in this process.
const BUFFERS: u64 = 0x100_0000;
const REGION: u64 = 0x1_0000;
const REGIONS: u64 = 32;

/// A guest with one ring.
struct Guest {
    driver: Driver,
    fault: Arc<RingFault>,
    /// What all mappings are, to truncate them.
    mappings: Vec<Arc<Mapping>>,
}

impl Guest {
    fn new(size: u16, features: u64) -> Self {
        let mut regions = vec![(0x10_0000, ring_bytes(size) as u64)];
        regions.extend((0..REGIONS).rev().map(|index| (BUFFERS + index * REGION, REGION)));
        let mappings: Vec<_> =
            regions.iter().map(|&(_, len)| Arc::new(Mapping::memfd(c"guest", len).expect("memfd"))).collect();
        let table = regions.iter().zip(&mappings).map(|(&(start, _), map)| Region::of_own(Arc::clone(map), start));
        let memory = Arc::new(GuestMemory::new(table.collect()).expect("no overlap"));
        let driver = Driver::new(&memory, 0x10_0000, size, RingFeatures::from_virtio(features));
        Self { driver, fault: Arc::new(RingFault::new().expect("eventfd")), mappings }
    }

    fn rx(&self) -> RxRing {
        open_rx(self.driver.setup(&self.fault)).expect("a good ring")
    }

    fn tx(&self) -> TxRing {
        open_tx(self.driver.setup(&self.fault)).expect("a good ring")
    }

    /// Adds a one-piece buffer at `address` that holds header and frame.
    fn send(&mut self, address: u64, frame: &[u8]) -> u16 {
        self.driver.write(address, &[0xee; 12]);
        self.driver.write(address + 12, frame);
        self.driver.add(&[readable(address, 12 + frame.len() as u32)]).expect("room")
    }
}

fn readable(address: u64, len: u32) -> Piece {
    Piece { address, len, writable: false }
}

fn writable(address: u64, len: u32) -> Piece {
    Piece { address, len, writable: true }
}

fn frame_of(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed | 1);
    (0..len).map(|_| random.next() as u8).collect()
}

/// All frames of one burst.
fn receive(ring: &mut RxRing) -> Vec<Vec<u8>> {
    let mut batch = PacketBatch::new();
    ring.rx_batch(&mut batch);
    let frames = contents(&batch);
    ring.finish();
    frames
}

fn contents(batch: &PacketBatch) -> Vec<Vec<u8>> {
    let whole = |id| {
        let frame = batch.frame(id);
        let mut bytes = vec![0; frame.len()];
        frame.copy_to(&mut bytes).expect("room");
        bytes
    };
    (0..batch.len()).map(whole).collect()
}

/// Sends frames as one batch; what stayed in the list, and what was sent.
fn transmit(ring: &mut TxRing, frames: &[Vec<u8>]) -> (TxList, usize) {
    let (mut batch, mut list) = (PacketBatch::new(), TxList::new());
    for (id, frame) in frames.iter().enumerate() {
        batch.next_slot().expect("room").reset(frame.len()).copy_from_slice(frame);
        batch.push();
        list.push(id);
    }
    let sent = ring.tx_batch(&batch, &mut list);
    ring.flush();
    (list, sent)
}

/// xorshift64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }
}
