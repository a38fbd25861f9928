//! Every legal shape of buffer arrives whole, and goes back.

use super::*;
use crate::packet::{DropReason, MAX_FRAME, MIN_FRAME, SPLIT_HEAD};

const ALL: [u64; 8] = [
    VERSION_1,
    VERSION_1 | IN_ORDER,
    0,
    MRG | INDIRECT,
    VERSION_1 | PACKED,
    VERSION_1 | PACKED | IN_ORDER | INDIRECT,
    PACKED,
    MRG | PACKED | INDIRECT,
];

/// Memory for one burst's buffers, anywhere, across regions.
struct Places(u64);

impl Places {
    fn take(&mut self, len: u64, random: &mut Random) -> u64 {
        let at = self.0 + random.below(70);
        assert!(at + len <= BUFFERS + REGIONS * REGION);
        self.0 = at + len;
        at
    }
}

/// Cuts `total` bytes into pieces at random places, some of them empty.
fn cut(total: u64, count: u64, writable: bool, places: &mut Places, random: &mut Random) -> Vec<Piece> {
    let mut cuts: Vec<u64> = (1..count).map(|_| random.below(total + 1)).collect();
    cuts.extend([0, total]);
    cuts.sort_unstable();
    let lens = cuts.windows(2).map(|pair| pair[1] - pair[0]);
    lens.map(|len| Piece { address: places.take(len, random), len: len as u32, writable }).collect()
}

fn add(driver: &mut Driver, pieces: &[Piece], indirect: bool, places: &mut Places, random: &mut Random) -> Option<u16> {
    if !indirect || random.below(2) == 0 {
        return driver.add(pieces);
    }
    let table = places.take(16 * pieces.len() as u64, random);
    driver.add_indirect(&[], table, pieces)
}

fn random_len(random: &mut Random) -> usize {
    match random.below(8) {
        0 => random.below(40) as usize,
        1 => MAX_FRAME - 20 + random.below(40) as usize,
        2..=4 => 60 + random.below(20) as usize,
        _ => random.below(2500) as usize,
    }
}

fn pieces_of_frame(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => 1 + random.below(16),
        1 => 2,
        _ => 1,
    }
}

#[test]
fn random_frames_are_received_whole_and_in_order() {
    for features in ALL {
        let mut random = Random(features | 77);
        let mut guest = Guest::new(32, features);
        let header = guest.driver.setup(&guest.fault).features.header_len as u64;
        let mut ring = guest.rx();
        let mut batch = PacketBatch::new();
        for _ in 0..1500 {
            // Turns that the burst before has to sit out.
            (0..16).for_each(|_| assert_eq!(ring.rx_batch(&mut batch), 0));
            let mut places = Places(BUFFERS);
            let (mut want, mut ids, mut dropped) = (Vec::new(), Vec::new(), (0, 0));
            for _ in 0..1 + random.below(40) {
                let frame = frame_of(random_len(&mut random), random.next());
                let count = pieces_of_frame(&mut random);
                let pieces = cut(header + frame.len() as u64, count, false, &mut places, &mut random);
                let indirect = features & INDIRECT != 0;
                let Some(id) = add(&mut guest.driver, &pieces, indirect, &mut places, &mut random) else { break };
                let mut bytes = vec![0xee; header as usize];
                bytes.extend_from_slice(&frame);
                for piece in pieces {
                    let rest = bytes.split_off(piece.len as usize);
                    guest.driver.write(piece.address, &bytes);
                    bytes = rest;
                }
                ids.push(id);
                match frame.len() {
                    ..MIN_FRAME => dropped.0 += 1,
                    MIN_FRAME..=MAX_FRAME => want.push(frame),
                    _ => dropped.1 += 1,
                }
            }
            ring.rx_batch(&mut batch);
            assert_eq!(guest.fault.kind(), None);
            assert!(contents(&batch) == want, "features {features:#x}");
            assert_eq!((batch.tally.count(DropReason::Runt), batch.tally.count(DropReason::Giant)), dropped);
            ring.finish();
            batch.clear();
            let back: Vec<_> = guest.driver.collect().into_iter().map(|(id, _)| id).collect();
            assert_eq!(back, ids, "buffers go back in order");
        }
    }
}

#[test]
fn random_frames_are_sent_whole_into_buffers_of_any_shape() {
    for features in ALL {
        let mut random = Random(features | 99);
        let mut guest = Guest::new(64, features);
        let (header, mergeable) = {
            let features = guest.driver.setup(&guest.fault).features;
            (features.header_len, features.mergeable)
        };
        let mut ring = guest.tx();
        let mut posted: Vec<(u16, Vec<Piece>)> = Vec::new();
        let mut places = Places(BUFFERS);
        for _ in 0..1500 {
            if posted.is_empty() {
                places = Places(BUFFERS);
            }
            while places.0 < BUFFERS + 20 * REGION {
                let len = if mergeable { 12 + random.below(3000) } else { 12 + 20 + MAX_FRAME as u64 };
                let pieces = cut(len, pieces_of_frame(&mut random), true, &mut places, &mut random);
                let indirect = features & INDIRECT != 0;
                let Some(id) = add(&mut guest.driver, &pieces, indirect, &mut places, &mut random) else { break };
                posted.push((id, pieces));
            }
            let frames: Vec<_> = (0..1 + random.below(20))
                .map(|_| frame_of(random_len(&mut random).clamp(MIN_FRAME, MAX_FRAME), random.next()))
                .collect();
            let (list, sent) = transmit(&mut ring, &frames);
            assert_eq!(guest.fault.kind(), None);
            assert_eq!(list.len() + sent, frames.len(), "nothing is dropped");
            let mut back = guest.driver.collect().into_iter();
            for frame in &frames[..sent] {
                let mut bytes = Vec::new();
                let mut buffers = 0;
                while bytes.len() < header + frame.len() {
                    let (id, len) = back.next().expect("a used buffer");
                    let (posted_id, pieces) = posted.remove(0);
                    assert_eq!(id, posted_id);
                    let whole: Vec<u8> =
                        pieces.iter().flat_map(|p| guest.driver.read(p.address, p.len as usize)).collect();
                    bytes.extend_from_slice(&whole[..len as usize]);
                    buffers += 1;
                }
                assert!(bytes[header..] == frame[..], "features {features:#x}");
                let mut want = vec![0; 10];
                want.extend([buffers, 0]);
                assert_eq!(bytes[..header], want[..header]);
            }
            assert_eq!(back.next(), None);
        }
    }
}

#[test]
fn long_frames_keep_their_tail_in_the_senders_memory_until_it_is_copied_across() {
    for features in KINDS {
        let (mut sender, mut receiver) = (Guest::new(8, features), Guest::new(8, features));
        let (mut rx, mut tx) = (sender.rx(), receiver.tx());
        let frame = frame_of(1500, 5);
        sender.send(BUFFERS, &frame);
        receiver.driver.add(&[writable(BUFFERS, 2000)]).expect("room");
        let (mut batch, mut list) = (PacketBatch::new(), TxList::new());
        assert_eq!(rx.rx_batch(&mut batch), 1);
        assert_eq!(batch.packets()[0].head().len(), SPLIT_HEAD);
        assert_eq!(batch.packets()[0].tail().len(), 1);
        list.push(0);
        assert_eq!(tx.tx_batch(&batch, &mut list), 1);
        assert_eq!(receiver.driver.collect(), [], "not before the flush");
        tx.flush();
        rx.finish();
        assert_eq!(receiver.driver.collect()[0].1, 1512);
        assert!(receiver.driver.read(BUFFERS + 12, 1500) == frame);
    }
}

#[test]
fn frames_nobody_looks_at_cross_whatever_their_buffers_look_like() {
    let (page, frames) = (4096, [frame_of(1500, 1), frame_of(70, 2), frame_of(600, 3)]);
    for features in KINDS {
        // The second frame in one piece or in three: the others wait for it where they are, or are read because of it.
        for in_place in [true, false] {
            let (mut sender, mut receiver) = (Guest::new(8, features), Guest::new(8, features));
            let (mut rx, mut tx) = (sender.rx(), receiver.tx());
            sender.send(BUFFERS, &frames[0]);
            if in_place {
                sender.send(BUFFERS + page, &frames[1]);
            } else {
                sender.driver.write(BUFFERS + page, &frames[1][..30]);
                sender.driver.write(BUFFERS + 2 * page, &frames[1][30..]);
                let pieces = [readable(BUFFERS, 12), readable(BUFFERS + page, 30), readable(BUFFERS + 2 * page, 40)];
                sender.driver.add(&pieces).expect("room");
            }
            sender.send(BUFFERS + 3 * page, &frames[2]);
            let (mut batch, mut list) = (PacketBatch::new(), TxList::new());
            batch.set_blind(true);
            assert_eq!(rx.rx_batch(&mut batch), 3);
            assert_eq!((batch.frames().is_some(), batch.bytes()), (in_place, 2170));
            assert_eq!(contents(&batch), frames);
            // Not in order, and into a chain in the middle.
            let (order, first) = ([2, 0, 1], BUFFERS + 8 * page);
            order.iter().for_each(|&id| assert!(list.push(id)));
            receiver.driver.add(&[writable(first, 2000)]).expect("room");
            let chain = [writable(first + page, 12), writable(first + 2 * page, 200), writable(first + 3 * page, 1800)];
            receiver.driver.add(&chain).expect("room");
            receiver.driver.add(&[writable(first + 5 * page, 2000)]).expect("room");
            assert_eq!(tx.tx_batch(&batch, &mut list), 3);
            tx.flush();
            rx.finish();
            assert_eq!(sender.driver.collect().len(), 3);
            let lens: Vec<_> = receiver.driver.collect().into_iter().map(|(_, len)| len).collect();
            assert_eq!(lens, [612, 1512, 82]);
            assert!(receiver.driver.read(first + 12, 600) == frames[2]);
            assert!(receiver.driver.read(first + 2 * page, 200) == frames[0][..200]);
            assert!(receiver.driver.read(first + 3 * page, 1300) == frames[0][200..]);
            assert!(receiver.driver.read(first + 5 * page + 12, 70) == frames[1]);
        }
    }
}

#[test]
fn a_buffer_too_short_for_one_frame_serves_the_next() {
    for features in KINDS {
        let mut guest = Guest::new(8, features);
        let mut ring = guest.tx();
        let id = guest.driver.add(&[writable(BUFFERS, 40), writable(BUFFERS + 40, 60)]).expect("room");
        let (list, sent) = transmit(&mut ring, &[frame_of(200, 1), frame_of(88, 2), frame_of(60, 3)]);
        assert_eq!((sent, list.len()), (1, 1));
        assert_eq!(list.tally.count(DropReason::TxTooLarge), 1);
        assert_eq!(guest.driver.collect(), [(id, 100)]);
        assert!(guest.driver.read(BUFFERS + 12, 88) == frame_of(88, 2));
    }
}

#[test]
fn a_full_ring_leaves_the_rest_to_the_caller() {
    for features in KINDS.map(|kind| kind | MRG) {
        let mut guest = Guest::new(8, features);
        let mut ring = guest.tx();
        (0..5).for_each(|i| assert!(guest.driver.add(&[writable(BUFFERS + i * 100, 100)]).is_some()));
        // Two buffers each, so the third finds only one.
        let frames = [frame_of(150, 1), frame_of(150, 2), frame_of(150, 3), frame_of(60, 4)];
        let (list, sent) = transmit(&mut ring, &frames);
        assert_eq!((sent, list.ids()), (2, &[2u8, 3][..]));
        assert_eq!(guest.driver.collect().len(), 4);
    }
}

#[test]
fn a_ring_closed_and_opened_again_goes_on_where_it_stood() {
    for features in KINDS {
        let mut guest = Guest::new(8, features);
        let mut ring = guest.rx();
        for round in 0..50u64 {
            let frames: Vec<_> = (0..1 + round % 7).map(|i| frame_of(60, round * 10 + i)).collect();
            let ids: Vec<_> =
                frames.iter().enumerate().map(|(i, frame)| guest.send(BUFFERS + 200 * i as u64, frame)).collect();
            // Some before, some after.
            let mut batch = PacketBatch::new();
            (0..29).for_each(|_| batch.push());
            ring.rx_batch(&mut batch);
            let mut got = contents(&batch).split_off(29);
            ring = open_rx(ring.close()).expect("the same ring");
            got.extend(receive(&mut ring));
            assert!(got == frames);
            assert_eq!(guest.driver.collect().into_iter().map(|(id, _)| id).collect::<Vec<_>>(), ids);
        }
    }
}

#[test]
fn the_position_of_a_packed_ring_is_told_with_its_wrap_counters() {
    let mut guest = Guest::new(5, KINDS[1]);
    let mut ring = guest.rx();
    for base in [0x8003_8003u32, 0x0001_0001, 0x0004_0004, 0x8002_8002] {
        (0..3).for_each(|i| {
            guest.send(BUFFERS + 100 * i, &[1; 60]);
        });
        assert_eq!(receive(&mut ring).len(), 3);
        assert_eq!(guest.driver.collect().len(), 3);
        let setup = ring.close();
        assert_eq!(setup.base, base);
        // A front-end may leave the upper half out.
        ring = open_rx(RingSetup { base: base & 0xffff, ..setup }).expect("the same ring");
    }
}
