//! A guest that breaks the rules faults its ring: no panic, no stall, and what came before it stays valid.

use super::*;
use crate::packet::DropReason;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT_FLAG: u16 = 4;
/// Packed: available on the first lap.
const AVAIL: u16 = 1 << 7;

/// Runs `attack` on a ring that has just received one good frame in the same burst, and says which fault was raised.
fn received_after(features: u64, attack: impl FnOnce(&mut Guest)) -> RingFaultKind {
    let mut guest = Guest::new(8, features);
    let mut ring = guest.rx();
    let good = frame_of(100, 3);
    let id = guest.send(BUFFERS, &good);
    attack(&mut guest);
    let mut batch = PacketBatch::new();
    assert_eq!(ring.rx_batch(&mut batch), 1, "the good frame before it");
    assert!(contents(&batch) == [good]);
    assert_eq!(batch.tally.count(DropReason::RxMalformed), 1);
    ring.finish();
    assert_eq!(guest.driver.collect(), [(id, 0)], "only the good frame goes back");
    batch.clear();
    assert_eq!(ring.rx_batch(&mut batch), 0);
    assert_eq!(batch.tally.total(), 0, "a broken ring is silent");
    guest.fault.take().expect("a fault")
}

fn split(attack: impl FnOnce(&mut Guest)) -> RingFaultKind {
    received_after(KINDS[0], attack)
}

fn packed(attack: impl FnOnce(&mut Guest)) -> RingFaultKind {
    received_after(KINDS[1], attack)
}

#[test]
fn chains_that_loop() {
    let kind = split(|guest| {
        guest.driver.set_desc(3, BUFFERS, 10, 4, NEXT);
        guest.driver.set_desc(4, BUFFERS, 10, 3, NEXT);
        guest.driver.push_avail(3);
    });
    assert_eq!(kind, RingFaultKind::DescriptorLoop);
    let kind = packed(|guest| (1..8).for_each(|i| guest.driver.set_desc(i, BUFFERS, 10, 1, NEXT | AVAIL)));
    assert_eq!(kind, RingFaultKind::DescriptorLoop);
}

#[test]
fn indices_outside_the_table() {
    assert_eq!(split(|guest| guest.driver.push_avail(8)), RingFaultKind::DescriptorIndex);
    assert_eq!(split(|guest| guest.driver.push_avail(u16::MAX)), RingFaultKind::DescriptorIndex);
    let kind = split(|guest| {
        guest.driver.set_desc(3, BUFFERS, 10, 8, NEXT);
        guest.driver.push_avail(3);
    });
    assert_eq!(kind, RingFaultKind::DescriptorIndex);
    assert_eq!(packed(|guest| guest.driver.set_desc(1, BUFFERS, 100, 8, AVAIL)), RingFaultKind::BufferId);
}

#[test]
fn addresses_outside_memory() {
    let end = BUFFERS + REGIONS * REGION;
    for (address, len) in [(0, 100), (end, 100), (end - 99, 100), (u64::MAX, 100), (u64::MAX - 50, 100), (0, u32::MAX)]
    {
        let kind = split(|guest| {
            guest.driver.add(&[readable(address, len)]);
        });
        assert_eq!(kind, RingFaultKind::OutsideMemory, "{address:#x}");
        let kind = packed(|guest| {
            guest.driver.add(&[readable(address, len)]);
        });
        assert_eq!(kind, RingFaultKind::OutsideMemory, "{address:#x}");
        for features in KINDS {
            let kind = received_after(features, |guest| {
                guest.driver.add_indirect(&[], BUFFERS + 500, &[readable(address, len)]);
            });
            assert_eq!(kind, RingFaultKind::OutsideMemory, "{address:#x}");
        }
    }
    let kind = split(|guest| {
        guest.driver.set_desc(3, 0x10, 32, 0, INDIRECT_FLAG);
        guest.driver.push_avail(3);
    });
    assert_eq!(kind, RingFaultKind::OutsideMemory);
    let kind = packed(|guest| guest.driver.set_desc(1, 0x10, 32, 0, INDIRECT_FLAG | AVAIL));
    assert_eq!(kind, RingFaultKind::OutsideMemory);
}

#[test]
fn wrong_directions() {
    for features in KINDS {
        let kind = received_after(features, |guest| {
            guest.driver.add(&[writable(BUFFERS, 100)]);
        });
        assert_eq!(kind, RingFaultKind::WrongDirection);
        let mixed = [readable(BUFFERS, 100), writable(BUFFERS, 100)];
        let kind = received_after(features, |guest| {
            guest.driver.add(&mixed);
        });
        assert_eq!(kind, RingFaultKind::WrongDirection);
        let kind = received_after(features, |guest| {
            guest.driver.add_indirect(&[], BUFFERS + 0x1000, &mixed);
        });
        assert_eq!(kind, RingFaultKind::WrongDirection);
        let mut guest = Guest::new(8, features);
        let mut ring = guest.tx();
        guest.driver.add(&[writable(BUFFERS, 100)]).expect("room");
        guest.driver.add(&[readable(BUFFERS, 100)]).expect("room");
        let (list, sent) = transmit(&mut ring, &[frame_of(60, 1), frame_of(60, 2), frame_of(60, 3)]);
        assert_eq!((sent, list.ids()), (1, &[1u8, 2][..]), "what was not sent is still the caller's");
        assert_eq!(guest.fault.take(), Some(RingFaultKind::WrongDirection));
        assert_eq!(guest.driver.collect().len(), 1);
        assert_eq!(transmit(&mut ring, &[frame_of(60, 1)]).1, 0);
    }
}

#[test]
fn indirect_tables_that_may_not_be() {
    for len in [0, 15, 17, 16 * 9, u32::MAX] {
        let kind = split(|guest| {
            guest.driver.set_desc(3, BUFFERS, len, 0, INDIRECT_FLAG);
            guest.driver.push_avail(3);
        });
        assert_eq!(kind, RingFaultKind::IndirectLength, "{len}");
        let kind = packed(|guest| guest.driver.set_desc(1, BUFFERS, len, 0, INDIRECT_FLAG | AVAIL));
        assert_eq!(kind, RingFaultKind::IndirectLength, "{len}");
    }
    // A table inside a table; a descriptor behind a table; the feature was not negotiated.
    let kind = split(|guest| {
        write_entry(guest, (INDIRECT_FLAG as u64) << 32);
        guest.driver.set_desc(3, BUFFERS + 0x1000, 16, 0, INDIRECT_FLAG);
        guest.driver.push_avail(3);
    });
    assert_eq!(kind, RingFaultKind::UnexpectedIndirect);
    let kind = packed(|guest| {
        write_entry(guest, (INDIRECT_FLAG as u64) << 48);
        guest.driver.set_desc(1, BUFFERS + 0x1000, 16, 0, INDIRECT_FLAG | AVAIL);
    });
    assert_eq!(kind, RingFaultKind::UnexpectedIndirect);
    let kind = split(|guest| {
        guest.driver.set_desc(3, BUFFERS, 16, 4, INDIRECT_FLAG | NEXT);
        guest.driver.push_avail(3);
    });
    assert_eq!(kind, RingFaultKind::UnexpectedIndirect);
    for features in [VERSION_1, VERSION_1 | PACKED] {
        let table = |guest: &mut Guest| {
            guest.driver.add_indirect(&[], BUFFERS + 0x1000, &[readable(BUFFERS, 100)]);
        };
        assert_eq!(received_after(features, table), RingFaultKind::UnexpectedIndirect);
    }
}

/// Writes a one-entry table away from the good frame.
fn write_entry(guest: &Guest, high: u64) {
    guest.driver.write(BUFFERS + 0x1000, &BUFFERS.to_le_bytes());
    guest.driver.write(BUFFERS + 0x1008, &(high | 100).to_le_bytes());
}

#[test]
fn links_inside_a_table() {
    for (next, kind) in [(0, RingFaultKind::DescriptorLoop), (1, RingFaultKind::DescriptorIndex)] {
        let raised = split(|guest| {
            write_entry(guest, u64::from(NEXT) << 32 | next << 48);
            guest.driver.set_desc(3, BUFFERS + 0x1000, 16, 0, INDIRECT_FLAG);
            guest.driver.push_avail(3);
        });
        assert_eq!(raised, kind);
    }
}

#[test]
fn an_available_index_that_jumps() {
    for jump in [9, 0x7fff, 0xffff] {
        let guest = Guest::new(8, KINDS[0]);
        let (mut rx, mut tx) = (guest.rx(), guest.tx());
        guest.driver.set_avail_index(jump);
        assert!(receive(&mut rx).is_empty());
        assert_eq!(guest.fault.take(), Some(RingFaultKind::IndexJumped));
        assert_eq!(transmit(&mut tx, &[frame_of(60, 1)]).1, 0);
        assert_eq!(guest.fault.take(), Some(RingFaultKind::IndexJumped));
    }
}

#[test]
fn empty_and_huge_buffers_are_counted_and_go_back() {
    for features in KINDS {
        let mut guest = Guest::new(32, features);
        let mut ring = guest.rx();
        let ids = [
            guest.driver.add(&[readable(BUFFERS, 0)]),
            guest.driver.add(&[readable(BUFFERS, 12)]),
            guest.driver.add(&[readable(BUFFERS, 25)]),
            guest.driver.add(&[readable(BUFFERS, 12), readable(BUFFERS, 0x20_0000)]),
            guest.driver.add(&[readable(BUFFERS, 12 + 9217)]),
        ];
        let mut batch = PacketBatch::new();
        assert_eq!(ring.rx_batch(&mut batch), 0);
        ring.finish();
        assert_eq!(batch.tally.count(DropReason::Runt), 3);
        assert_eq!(batch.tally.count(DropReason::Giant), 2);
        assert_eq!(guest.driver.collect().len(), ids.len());
        assert_eq!(guest.fault.kind(), None);
    }
}

#[test]
fn memory_truncated_while_mapped() {
    use std::os::fd::AsFd;
    for features in KINDS {
        for victim in 0..2 {
            let mut guest = Guest::new(8, features);
            let mut ring = guest.rx();
            // The ring itself, or the first buffers.
            let mapping = if victim == 0 { &guest.mappings[0] } else { guest.mappings.last().expect("regions") };
            let file = std::fs::File::from(mapping.as_fd().try_clone_to_owned().expect("dup"));
            guest.send(BUFFERS, &frame_of(60, 1));
            file.set_len(0).expect("truncate");
            receive(&mut ring);
            // At once, or when the next burst begins.
            receive(&mut ring);
            assert_eq!(guest.fault.take(), Some(RingFaultKind::MemoryLost));
        }
    }
}

#[test]
fn rings_that_cannot_be_opened() {
    let guest = Guest::new(8, KINDS[0]);
    let setup = || guest.driver.setup(&guest.fault);
    let error = |setup| open_rx(setup).err().expect("refused").to_string();
    assert_eq!(error(RingSetup { size: 0, ..setup() }), "ring size 0 is not possible for a split ring");
    assert_eq!(error(RingSetup { size: 24, ..setup() }), "ring size 24 is not possible for a split ring");
    assert_eq!(
        error(RingSetup { desc: 0x10_0008, ..setup() }),
        "descriptor table at 0x100008 is not aligned to 16 bytes"
    );
    let outside = "used ring at 0x20, 70 bytes, is not inside one memory region";
    assert_eq!(error(RingSetup { device: 0x20, ..setup() }), outside);
    let guest = Guest::new(8, KINDS[1]);
    let setup = RingSetup { base: 0x8008, ..guest.driver.setup(&guest.fault) };
    assert_eq!(open_tx(setup).err(), Some(RingError::Base { base: 0x8008, size: 8 }));
}

#[test]
fn random_garbage_never_panics() {
    let mut random = Random(0xdead);
    for round in 0..3000u64 {
        let features = KINDS[round as usize % 2] | [0, MRG, IN_ORDER][round as usize % 3];
        let mut guest = Guest::new(8, features);
        let (mut rx, mut tx) = (guest.rx(), guest.tx());
        for _ in 0..10 {
            for _ in 0..8 {
                let address =
                    if random.below(4) == 0 { random.next() } else { BUFFERS + random.below(REGIONS * REGION) };
                let len = if random.below(8) == 0 { random.next() as u32 } else { random.below(2000) as u32 };
                let flags = [0, 0, NEXT, WRITE, INDIRECT_FLAG, NEXT | WRITE][random.below(6) as usize];
                let state = [AVAIL, 1 << 15, 0][random.below(3) as usize];
                let state = if features & PACKED != 0 { state } else { 0 };
                guest.driver.set_desc(random.below(8) as u16, address, len, random.below(9) as u16, flags | state);
            }
            if features & PACKED == 0 {
                (0..random.below(3)).for_each(|_| guest.driver.push_avail(random.below(9) as u16));
            }
            receive(&mut rx);
            transmit(&mut tx, &[frame_of(60, 1), frame_of(1500, 2)]);
        }
    }
}
