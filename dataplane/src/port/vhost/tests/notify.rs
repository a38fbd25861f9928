//! Who is woken when: calls to the guest, kicks from it.

use super::*;
use crate::port::vhost::driver::Wish;
use crate::sys::event::EventFd;

const EITHER: [u64; 4] = [VERSION_1, VERSION_1 | EVENT_IDX, VERSION_1 | PACKED, VERSION_1 | PACKED | EVENT_IDX];

/// A guest with a receiving ring, its kick and its call.
fn with_events(features: u64) -> (Guest, RxRing, EventFd, EventFd) {
    let guest = Guest::new(8, features);
    let (kick, call) = (EventFd::new().expect("eventfd"), EventFd::new().expect("eventfd"));
    let dup = |fd: &EventFd| Some(fd.try_clone().expect("dup"));
    let setup = RingSetup { kick: dup(&kick), call: dup(&call), ..guest.driver.setup(&guest.fault) };
    let ring = open_rx(setup).expect("a good ring");
    (guest, ring, kick, call)
}

/// Sends `count` frames through; true when the guest was called.
fn pass(guest: &mut Guest, ring: &mut RxRing, call: &EventFd, count: u64) -> bool {
    (0..count).for_each(|i| {
        guest.send(BUFFERS + 100 * i, &[1; 60]);
    });
    assert_eq!(receive(ring).len() as u64, count);
    guest.driver.collect();
    call.drain()
}

#[test]
fn the_guest_is_called_as_it_asks() {
    for features in EITHER {
        let (mut guest, mut ring, _kick, call) = with_events(features);
        guest.driver.wish(Wish::Always);
        assert!(pass(&mut guest, &mut ring, &call, 1), "{features:#x}");
        for round in 0..20 {
            guest.driver.wish(Wish::Never);
            assert!(!pass(&mut guest, &mut ring, &call, 3), "{features:#x} round {round}");
            guest.driver.wish(Wish::Always);
            assert!(pass(&mut guest, &mut ring, &call, 2), "{features:#x} round {round}");
        }
    }
}

#[test]
fn the_guest_is_called_once_when_its_index_is_passed() {
    for features in [VERSION_1 | EVENT_IDX, VERSION_1 | PACKED | EVENT_IDX] {
        let (mut guest, mut ring, _kick, call) = with_events(features);
        pass(&mut guest, &mut ring, &call, 1);
        for round in 0..20 {
            guest.driver.wish(Wish::After(5));
            let calls: Vec<_> = [2, 3, 1, 1].map(|count| pass(&mut guest, &mut ring, &call, count)).into();
            assert_eq!(calls, [false, false, true, false], "{features:#x} round {round}");
            guest.driver.wish(Wish::After(2));
            assert!(pass(&mut guest, &mut ring, &call, 8), "a burst of the whole ring, {features:#x} round {round}");
        }
    }
}

#[test]
fn the_first_burst_after_opening_calls_unless_the_guest_has_no_call() {
    for features in EITHER {
        let (mut guest, mut ring, _kick, call) = with_events(features);
        guest.driver.wish(Wish::Never);
        assert!(pass(&mut guest, &mut ring, &call, 1));
        assert!(!pass(&mut guest, &mut ring, &call, 1));
        ring = open_rx(RingSetup { call: None, ..ring.close() }).expect("the same ring");
        guest.driver.wish(Wish::Always);
        assert!(!pass(&mut guest, &mut ring, &call, 1));
    }
}

#[test]
fn kicks_are_wanted_only_while_armed_and_nothing_is_missed() {
    for features in EITHER {
        let (mut guest, mut ring, kick, _call) = with_events(features);
        for round in 0..30 {
            guest.send(BUFFERS, &[1; 60]);
            assert!(!guest.driver.must_kick(), "polling: {features:#x} round {round}");
            assert!(!ring.arm(), "a frame came before");
            ring.disarm();
            assert_eq!(receive(&mut ring).len(), 1);
            guest.driver.collect();
            assert!(ring.arm());
            guest.send(BUFFERS, &[1; 60]);
            assert!(guest.driver.must_kick(), "sleeping: {features:#x} round {round}");
            kick.signal();
            assert_eq!(receive(&mut ring).len(), 1, "before the guest is asked to stop");
            ring.disarm();
            guest.driver.collect();
        }
    }
}

#[test]
fn a_ring_without_kick_can_only_be_polled() {
    let guest = Guest::new(8, VERSION_1);
    let mut ring = guest.rx();
    assert_eq!(ring.event_fd(), None);
    assert!(!ring.arm());
}
