//! What workers and ports are shared by: who is served when, and how much, seen through a whole worker.

mod common;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use common::{Feed, Fill, TestSwitch, udp};
use ringswitch_dataplane::packet::{BATCH, PacketBatch, TxList};
use ringswitch_dataplane::port::TxQueue;
use ringswitch_dataplane::sched::{Egress, EgressSpec, Pool, PoolId, PoolSpec, QueueSpec, Rate, Rates};
use ringswitch_dataplane::sys::clock;

/// Always has a batch, which takes so many cycles.
struct Costly {
    cost: u64,
    batches: Arc<AtomicU64>,
}

impl Fill for Costly {
    fn fill(&mut self, batch: &mut PacketBatch) -> usize {
        let end = clock::cycles() + self.cost;
        let frame = udp(1, 2, 10);
        while let Some(slot) = batch.next_slot() {
            slot.reset(frame.len()).copy_from_slice(&frame);
            batch.push();
        }
        while clock::cycles() < end {
            std::hint::spin_loop();
        }
        self.batches.fetch_add(1, Relaxed);
        batch.len()
    }
}

fn costly(switch: &TestSwitch, number: u32, cost: u64) -> Arc<AtomicU64> {
    let batches = Arc::<AtomicU64>::default();
    switch.attach(number, Box::new(Feed(Costly { cost, batches: Arc::clone(&batches) })));
    batches
}

fn weight(weight: u32) -> PoolSpec {
    PoolSpec { weight, ..PoolSpec::default() }
}

/// Polls until a number of cycles was spent on both, and returns which part of them the first one had.
fn part_of_first(switch: &mut TestSwitch, served: [(&AtomicU64, u64); 2]) -> f64 {
    let before = served.map(|(batches, _)| batches.load(Relaxed));
    let spent = |n: usize| (served[n].0.load(Relaxed) - before[n]) * served[n].1;
    while spent(0) + spent(1) < 200_000_000 {
        assert!(switch.poll_once() > 0, "no pass is wasted on waiting");
    }
    spent(0) as f64 / (spent(0) + spent(1)) as f64
}

#[test]
fn who_sends_cheap_packets_gets_its_cycles_beside_who_sends_expensive_ones() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows("actions=drop");
    let (cheap, expensive) = (costly(&switch, 1, 50_000), costly(&switch, 2, 800_000));
    // The host takes the CPU away now and then, and nobody knows from whom.
    let part = part_of_first(&mut switch, [(&cheap, 50_000), (&expensive, 800_000)]);
    assert!((0.3..0.75).contains(&part), "{part} of the cycles for cheap packets");
    switch.set_pool(1, weight(20));
    let part = part_of_first(&mut switch, [(&cheap, 50_000), (&expensive, 800_000)]);
    assert!((0.05..0.35).contains(&part), "{part} of the cycles with a fifth of the weight");
    switch.assert_accounted();
}

#[test]
fn two_queues_of_a_pool_share_what_one_would_have() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows("actions=drop");
    let (one, two, three) = (costly(&switch, 1, 100_000), costly(&switch, 2, 100_000), costly(&switch, 3, 100_000));
    let pool = std::cell::RefCell::new(None);
    switch.change(1, |entry| *pool.borrow_mut() = Some(Arc::clone(&entry.pool)));
    switch.change(2, |entry| entry.pool = pool.take().expect("a pool"));
    (0..3000).for_each(|_| assert!(switch.poll_once() > 0));
    let counts = [one, two, three].map(|batches| batches.load(Relaxed));
    let other = counts[2] as f64 / counts.iter().sum::<u64>() as f64;
    assert!((0.4..0.6).contains(&other), "{counts:?}");
    assert!(counts[0].abs_diff(counts[1]) * 20 < counts[0], "{counts:?}");
}

#[test]
fn a_stopped_receiver_costs_others_nothing() {
    let mut switch = TestSwitch::new(4);
    switch.set_flows("in_port=1,actions=output:3\nin_port=2,actions=output:4");
    switch.limit_tx(3, 0);
    for _ in 0..50 {
        switch.offer(1, vec![udp(1, 3, 10); BATCH]);
        switch.offer(2, vec![udp(2, 4, 10); BATCH]);
        switch.poll_once();
        switch.poll_once();
        assert_eq!(switch.received(4).len(), BATCH, "the fast pair is served in every pass");
    }
    assert_eq!(switch.drops(), [("tx_full", 50 * BATCH as u64)].into());
    // The same sender has others to talk to.
    switch.set_flows("in_port=1,actions=output:3,output:4");
    switch.send(1, vec![udp(1, 3, 10); 2 * BATCH]);
    assert_eq!(switch.received(4).len(), 2 * BATCH);
    switch.assert_accounted();
}

/// A ring with room for so many frames, which are taken out by somebody else.
struct Ring {
    room: Arc<AtomicUsize>,
    /// More room after each look.
    grows: usize,
    /// Senders are to wait for it.
    is_nic: bool,
}

impl TxQueue for Ring {
    fn tx_batch(&mut self, packets: &PacketBatch, list: &mut TxList) -> usize {
        let count = list.len().min(self.room.load(Relaxed));
        for _ in 0..count {
            list.take(1, packets.frame(usize::from(list.ids()[0])).len());
        }
        self.room.store(self.room.load(Relaxed) - count + self.grows, Relaxed);
        count
    }

    fn flush(&mut self) {}

    fn room(&mut self) -> usize {
        if self.is_nic { self.room.load(Relaxed) } else { usize::MAX }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

#[test]
fn a_receiver_that_took_a_part_is_asked_once_more_when_the_others_have_theirs() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows("in_port=1,actions=output:2,output:3");
    switch.plug(2, Box::new(Ring { room: Arc::new(10.into()), grows: 10, is_nic: false }));
    switch.send(1, vec![udp(1, 2, 10); BATCH]);
    assert_eq!(switch.totals(2).tx_packets, 20, "twice as many as there is room for at a time");
    assert_eq!(switch.drops(), [("tx_full", BATCH as u64 - 20)].into());
    assert_eq!(switch.received(3).len(), BATCH);
    switch.assert_accounted();
}

fn share(switch: &mut TestSwitch, number: u32, spec: EgressSpec) -> Arc<Egress> {
    let egress = Arc::new(Egress::new(spec));
    switch.change(number, |entry| entry.egress = Some(Arc::clone(&egress)));
    egress
}

#[test]
fn senders_wait_for_a_nic_whose_ring_is_full_and_not_for_a_dead_one() {
    let mut switch = TestSwitch::new(4);
    switch.set_flows("in_port=1,actions=output:3\nin_port=2,actions=output:3\nin_port=4,actions=output:1");
    let room = Arc::new(AtomicUsize::new(1024));
    switch.plug(3, Box::new(Ring { room: Arc::clone(&room), grows: 0, is_nic: true }));
    share(&mut switch, 3, EgressSpec::default());
    switch.set_pool(1, weight(300));
    // More than the ring takes, in frames of which 48 make a round.
    (1..=2).for_each(|port| switch.offer(port, vec![udp(1, 3, 960); 4000]));
    while room.load(Relaxed) >= 256 {
        assert!(switch.poll_once() > 0, "the ring fills");
    }
    let before = [1, 2].map(|port| switch.totals(port).rx_packets);
    for _ in 0..1600 {
        // It sends one frame between two passes.
        room.fetch_add(1, Relaxed);
        switch.poll_once();
    }
    let sent = [0, 1].map(|n| switch.totals(n as u32 + 1).rx_packets - before[n]);
    assert_eq!(switch.drops(), [].into(), "what does not fit waits with its sender");
    assert!(sent[0] + sent[1] >= 1400, "{sent:?}: the line is never idle");
    assert!((sent[0] as f64 / sent[1] as f64 - 3.0).abs() < 0.6, "{sent:?}: by weight");
    // Others are not concerned; one that was quiet for so long is not looked at in each pass.
    switch.offer(4, vec![udp(4, 1, 10); BATCH]);
    (0..64).for_each(|_| _ = switch.poll_once());
    assert_eq!(switch.received(1).len(), BATCH);
    // Nothing is sent any more: at some time its senders go on, for they may have more to say to others.
    while switch.drops().is_empty() {
        switch.poll_once();
    }
    switch.assert_accounted();
}

#[test]
fn ports_share_a_rate_by_weight_and_nothing_is_lost() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows("in_port=1,actions=output:3\nin_port=2,actions=output:3");
    let rate = Rate { per_second: 50_000_000, burst: 3028 };
    share(&mut switch, 3, EgressSpec { max_bytes: Some(rate), queues: Vec::new() });
    switch.set_pool(2, weight(300));
    (1..=2).for_each(|port| switch.offer(port, vec![udp(1, 3, 960); 3000]));
    while switch.totals(3).tx_packets < 1600 {
        switch.poll_once();
        switch.received(3);
    }
    let sent = [1, 2].map(|port| switch.totals(port).rx_packets);
    assert!((sent[1] as f64 / sent[0] as f64 - 3.0).abs() < 0.6, "{sent:?}");
    assert_eq!(switch.drops(), [].into());
    switch.assert_accounted();
}

#[test]
fn the_ports_of_a_pool_have_its_rate_together() {
    let mut switch = TestSwitch::new(3);
    switch.set_flows("actions=output:3");
    let few = Rate { per_second: 1, burst: 40 };
    let spec = PoolSpec { max: Rates { shape_packets: Some(few), ..Rates::default() }, ..PoolSpec::default() };
    let pool = Arc::new(Pool::new(PoolId(0), spec));
    (1..=2).for_each(|port| switch.change(port, |entry| entry.pool = Arc::clone(&pool)));
    (1..=2).for_each(|port| switch.offer(port, vec![udp(1, 3, 10); 100]));
    (0..20).for_each(|_| _ = switch.poll_once());
    let received = [1, 2].map(|port| switch.totals(port).rx_packets);
    assert_eq!((received[0], received[1]), (32, 8), "a batch, and what was left of the burst");
    // Without a rate they go on at once.
    (1..=2).for_each(|port| switch.set_pool(port, PoolSpec::default()));
    switch.send(3, []);
    assert_eq!(switch.received(3).len(), 200);
    assert_eq!(switch.drops(), [].into());
    switch.assert_accounted();
}

#[test]
fn packets_leave_through_the_queue_that_rules_name() {
    let mut switch = TestSwitch::new(3);
    let queue = |id| QueueSpec { id, ..QueueSpec::default() };
    let egress = share(&mut switch, 3, EgressSpec { max_bytes: None, queues: vec![queue(0), queue(1), queue(2)] });
    let counts = || [0, 1, 2].map(|queue| egress.totals(queue).packets);
    let mut sum = [0; 3];
    for (actions, added) in [
        ("output:3", [5, 0, 0]),
        ("set_queue:1,output:3", [0, 5, 0]),
        ("set_queue:1,pop_queue,output:3", [5, 0, 0]),
        ("output:3,set_queue:2,output:3,output:3", [5, 0, 10]),
        ("set_queue:77,output:3", [5, 0, 0]),
        ("enqueue:3:2,output:3", [5, 0, 5]),
        ("set_queue:1,enqueue:3:2,output:3", [0, 5, 5]),
        ("clone(set_queue:2,mod_vlan_vid:3,output:3),output:3", [5, 0, 5]),
        ("set_queue:1,resubmit(,1),output:3", [0, 0, 10]),
        ("write_actions(output:3,set_queue:1)", [0, 5, 0]),
    ] {
        switch.set_flows(&format!("actions={actions}\ntable=1,actions=output:3,set_queue:2,output:3"));
        let wanted = match actions.contains("resubmit") {
            true => [0, 5, 10],
            false => added,
        };
        switch.send(1, vec![udp(1, 3, 10); 5]);
        sum = [0, 1, 2].map(|n| sum[n] + wanted[n]);
        assert_eq!(counts(), sum, "{actions}");
    }
    switch.received(3);
    // Half of a batch here, half of it there: order is kept in each.
    switch.set_flows("priority=9,udp,nw_src=10.0.0.1,actions=set_queue:1,output:3\npriority=1,actions=output:3");
    switch.send(1, (0..20).map(|n| udp(n % 2, 3, 10 + usize::from(n))));
    let lens: Vec<_> = switch.received(3).iter().map(|frame| frame.len() - 52).collect();
    for parity in 0..2 {
        let flow = lens.iter().copied().filter(|len| len % 2 == parity);
        assert_eq!(flow.collect::<Vec<_>>(), (parity..20).step_by(2).collect::<Vec<_>>());
    }
    assert_eq!(counts(), [sum[0] + 10, sum[1] + 10, sum[2]]);
    switch.assert_accounted();
}
