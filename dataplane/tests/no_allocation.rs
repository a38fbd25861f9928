//! A burst through two guests' rings allocates nothing, whatever its shape.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use ringswitch_dataplane::mem::{GuestMemory, Mapping, Region};
use ringswitch_dataplane::packet::{PacketBatch, TxList};
use ringswitch_dataplane::port::vhost::driver::{Driver, Piece};
use ringswitch_dataplane::port::vhost::{RingFault, RingFeatures, open_rx, open_tx};
use ringswitch_dataplane::port::{RxQueue, TxQueue};

/// Counts what this thread allocates.
struct Counting;

thread_local!(static ALLOCATIONS: Cell<u64> = const { Cell::new(0) });

// SAFETY: all work is the system allocator's; counting touches a thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's layout, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: allocated above with this layout.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const VERSION_1_MRG: u64 = 1 << 32 | 1 << 15;
const PACKED: u64 = 1 << 34;

fn driver(features: u64) -> Driver {
    let mapping = Arc::new(Mapping::memfd(c"guest", 1 << 20).expect("memory"));
    let memory = Arc::new(GuestMemory::new(vec![Region::of_own(mapping, 0)]).expect("one region"));
    Driver::new(&memory, 0, 64, RingFeatures::from_virtio(features))
}

#[test]
fn a_burst_allocates_nothing() {
    for features in [VERSION_1_MRG, VERSION_1_MRG | PACKED] {
        let (mut sender, mut receiver) = (driver(features), driver(features));
        let fault = Arc::new(RingFault::new().expect("eventfd"));
        let mut rx = open_rx(sender.setup(&fault)).expect("a good ring");
        let mut tx = open_tx(receiver.setup(&fault)).expect("a good ring");
        let (mut batch, mut list) = (PacketBatch::new(), TxList::new());
        for round in 0..100u32 {
            // Small, long and jumbo frames, in one, two or ten pieces.
            for (len, pieces) in [(72, 1), (1512, 1), (9012, 1), (72, 2), (1512, 2), (3000, 10)] {
                let piece = Piece { address: 0x2_0000, len: len / pieces, writable: false };
                sender.add(&vec![piece; pieces as usize]).expect("room");
            }
            while receiver.add(&[Piece { address: 0x8_0000, len: 1000 + round, writable: true }]).is_some() {}
            let before = ALLOCATIONS.get();
            let count = rx.rx_batch(&mut batch);
            (0..count).for_each(|id| assert!(list.push(id)));
            assert_eq!(tx.tx_batch(&batch, &mut list), 6);
            tx.flush();
            rx.finish();
            batch.clear();
            list.clear();
            assert_eq!(ALLOCATIONS.get() - before, 0);
            assert_eq!(sender.collect().len(), 6);
            receiver.collect();
        }
        assert_eq!(fault.kind(), None);
    }
}
