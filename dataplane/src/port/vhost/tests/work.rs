//! What a guest can make its switch do in one burst is bounded: others wait meanwhile.

use super::super::engine::{Engine, Walk};
use super::super::split::Split;
use super::*;

const LARGEST: u16 = 32768;

/// A frame in more pieces than any driver makes faults the ring instead of being walked to its end.
#[test]
fn chains_as_long_as_the_largest_ring_are_not_walked() {
    for features in KINDS {
        let long = vec![readable(BUFFERS, 1); usize::from(LARGEST) - 1];
        let mut guest = Guest::new(LARGEST, features);
        let mut ring = guest.rx();
        guest.driver.add(&long).expect("room");
        assert!(receive(&mut ring).is_empty());
        assert_eq!(guest.fault.take(), Some(RingFaultKind::TooManyPieces), "{features:#x}");

        let mut guest = Guest::new(LARGEST, features);
        let mut ring = guest.rx();
        guest.driver.add_indirect(&[], BUFFERS, &vec![readable(BUFFERS, 0); usize::from(LARGEST)]).expect("room");
        assert!(receive(&mut ring).is_empty());
        assert_eq!(guest.fault.take(), Some(RingFaultKind::TooManyPieces), "{features:#x}");

        let mut guest = Guest::new(LARGEST, features);
        let mut ring = guest.tx();
        guest.driver.add(&vec![writable(BUFFERS, 0); usize::from(LARGEST) - 1]).expect("room");
        assert_eq!(transmit(&mut ring, &[frame_of(60, 1)]).1, 0);
        assert_eq!(guest.fault.take(), Some(RingFaultKind::TooManyPieces), "{features:#x}");
    }
}

/// Mergeable: a frame is spread over buffers, but not over a ring full of nothing.
#[test]
fn a_ring_of_empty_buffers_is_not_searched_for_every_frame() {
    for features in KINDS {
        let mut guest = Guest::new(LARGEST, features | MRG);
        let mut ring = guest.tx();
        while guest.driver.add(&[writable(BUFFERS, 0)]).is_some() {}
        assert_eq!(transmit(&mut ring, &[frame_of(60, 1)]).1, 0);
        assert_eq!(guest.fault.take(), Some(RingFaultKind::TooManyPieces), "{features:#x}");
    }
}

/// Not mergeable: each frame is tried on the same useless buffer, but not all 32 of a batch when that is much work.
#[test]
fn a_long_buffer_that_is_too_short_is_not_walked_for_a_whole_batch() {
    for features in KINDS {
        let mut guest = Guest::new(1024, features);
        let mut ring = guest.tx();
        guest.driver.add(&vec![writable(BUFFERS, 0); 1000]).expect("room");
        let (list, sent) = transmit(&mut ring, &vec![frame_of(60, 1); 32]);
        assert_eq!((sent, list.tally.total()), (0, 2));
        assert_eq!(guest.fault.kind(), None);
    }
}

/// Who makes much work for few frames waits for others, and gets all of them through in the end.
#[test]
fn long_chains_are_paid_for_with_turns() {
    for features in KINDS {
        let mut guest = Guest::new(1024, features);
        let mut ring = guest.rx();
        guest.driver.write(BUFFERS, &[7; 200]);
        let pieces = |count: u32| vec![readable(BUFFERS, 76 / count); count as usize];
        (0..32).for_each(|_| assert!(guest.driver.add(&pieces(2)).is_some()));
        assert_eq!((receive(&mut ring).len(), receive(&mut ring).len()), (32, 0));
        (0..32).for_each(|_| assert!(guest.driver.add(&pieces(1)).is_some()));
        assert_eq!(receive(&mut ring).len(), 32, "ordinary frames have to wait for nothing");
        guest.driver.collect();

        let table = BUFFERS + REGION;
        (0..8).for_each(|_| assert!(guest.driver.add_indirect(&[], table, &vec![readable(BUFFERS, 1); 500]).is_some()));
        let turns: Vec<_> = std::iter::repeat_with(|| receive(&mut ring).len()).take(100).collect();
        assert_eq!(turns.iter().sum::<usize>(), 8, "{turns:?}");
        let busy = turns.iter().filter(|&&frames| frames > 0).count();
        let last = turns.iter().rposition(|&frames| frames > 0).expect("frames came");
        assert!(last > 7 * (busy - 1), "{busy} turns of {last}: {turns:?}");
    }
}

/// The guest makes buffers available as fast as they are taken: after a ring full of them there are none until some are
/// given back.
#[test]
fn buffers_made_available_while_others_are_taken() {
    let mut guest = Guest::new(8, KINDS[0] | MRG);
    let mut ring = Split::open(&guest.driver.setup(&guest.fault), false).expect("a good ring");
    guest.driver.set_desc(0, BUFFERS, 0, 0, 2);
    let mut taken = 0;
    for _ in 0..100 {
        guest.driver.push_avail(0);
        if let Some(chain) = ring.chain::<true>(&mut Walk::new(), &mut |_| ()).expect("a good chain") {
            ring.complete(chain, 0);
            taken += 1;
        }
    }
    assert_eq!(taken, 8);
}
