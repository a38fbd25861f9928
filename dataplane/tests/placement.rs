//! Queues that go from worker to worker while frames come through them: nothing is lost, doubled or overtaken, whoever
//! else wants the queue at the same moment.

mod common;

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use common::{Feed, Fill, udp};
use ringswitch_dataplane::flow::grammar;
use ringswitch_dataplane::packet::{PacketBatch, PortCounters, PortTotals, TxList};
use ringswitch_dataplane::pipeline::{BridgePorts, BridgeView, Fdb, PortEntry, Program, Snapshot, TableStats};
use ringswitch_dataplane::port::{PortId, QueueHost, TxQueue, TxQueues};
use ringswitch_dataplane::sys::affinity::allowed_cpus;
use ringswitch_dataplane::worker::{IdlePolicy, Move, Pin, QueuePlacement, Workers, WorkersConfig};

/// Where the number of a frame stands, behind Ethernet, IPv4 and UDP.
const NUMBER: std::ops::Range<usize> = 42..46;
/// The last byte of the sender's IPv4 address.
const SENDER: usize = 29;
const SENDERS: usize = 4;
const SINK: PortId = PortId(SENDERS as u16);

/// Sends numbered frames for as long as it may, a few or many in a burst.
struct Source {
    frame: Vec<u8>,
    sent: u32,
    going: Arc<AtomicBool>,
}

impl Fill for Source {
    fn fill(&mut self, batch: &mut PacketBatch) -> usize {
        if !self.going.load(Ordering::SeqCst) {
            return 0;
        }
        let burst = (self.sent as usize * 7 % 33).min(batch.room());
        for _ in 0..burst.max(1) {
            self.frame[NUMBER].copy_from_slice(&self.sent.to_be_bytes());
            batch.next_slot().expect("there is room").reset(self.frame.len()).copy_from_slice(&self.frame);
            batch.push();
            self.sent += 1;
        }
        burst.max(1)
    }
}

/// What arrived of each sender: the number that has to come next.
#[derive(Default)]
struct Arrived {
    next: [u32; SENDERS],
    frames: u64,
    /// A frame came after a later one: sender, later, found.
    overtaken: Option<(usize, u32, u32)>,
    /// The first frame that was not the next one: sender, expected, found.
    wrong: Option<(usize, u32, u32)>,
}

/// Takes everything.
struct Sink {
    arrived: Arc<Mutex<Arrived>>,
    /// How often it was locked to be sent through.
    turns: Arc<AtomicU64>,
}

impl TxQueue for Sink {
    fn tx_batch(&mut self, packets: &PacketBatch, list: &mut TxList) -> usize {
        let mut arrived = self.arrived.lock().expect("nobody panicked");
        let count = list.ids().len();
        let mut bytes = 0;
        for &id in list.ids() {
            let sent = packets.frame(usize::from(id));
            let mut frame = vec![0; sent.len()];
            sent.copy_to(&mut frame).expect("as long as the frame");
            let sender = usize::from(frame[SENDER]);
            let number = u32::from_be_bytes(frame[NUMBER].try_into().expect("four bytes"));
            if number != arrived.next[sender] {
                let expected = arrived.next[sender];
                arrived.wrong.get_or_insert((sender, expected, number));
            }
            if number < arrived.next[sender] {
                let later = arrived.next[sender];
                arrived.overtaken.get_or_insert((sender, later, number));
            }
            arrived.next[sender] = number + 1;
            arrived.frames += 1;
            bytes += sent.len();
        }
        list.take(count, bytes);
        count
    }

    fn flush(&mut self) {
        self.turns.fetch_add(1, Ordering::SeqCst);
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Workers never sleep here, and there are few CPUs: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Two workers; senders on ports 1 to 4 whose frames all go to port 5.
struct Bench {
    workers: Arc<Workers>,
    going: Arc<AtomicBool>,
    /// One for each transmit queue of port 5.
    arrived: Vec<Arc<Mutex<Arrived>>>,
    turns: Arc<AtomicU64>,
    tx: Arc<TxQueues>,
    /// Port 5's, a lane for each worker.
    sent: Arc<[PortCounters]>,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    fn new(queues: usize) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let cpus = allowed_cpus();
        let cpus = vec![cpus[0], *cpus.last().expect("a CPU")];
        let idle = IdlePolicy { spin: None };
        let workers = Workers::start(WorkersConfig { cpus, cache_entries: 1024, idle }).expect("workers");
        let tx = Arc::new(TxQueues::new(8));
        let (arrived, turns): (Vec<_>, _) = ((0..queues).map(|_| Arc::default()).collect(), Arc::default());
        for (index, arrived) in arrived.iter().enumerate() {
            let sink = Sink { arrived: Arc::clone(arrived), turns: Arc::clone(&turns) };
            tx.replace(index, Some(Box::new(sink)));
        }
        let sent = (0..2).map(|_| PortCounters::default()).collect();
        let bench = Self { workers, going: Arc::new(true.into()), arrived, turns, tx, sent, _turn: turn };
        bench.publish();
        for port in 0..SENDERS {
            let source = Source { frame: udp(port as u8, 9, 10), sent: 0, going: Arc::clone(&bench.going) };
            bench.workers.attach_rx(PortId(port as u16), 0, Box::new(Feed(source)));
        }
        bench
    }

    fn publish(&self) {
        let mut program = Program::default();
        let flow = format!("actions=output:{}", SENDERS + 1);
        program.tables.insert(grammar::parse_flow(&flow, &()).expect("a flow"), 0, 2);
        let entry = |id: u16| {
            let (tx, counters) = match PortId(id) {
                SINK => (Arc::clone(&self.tx), Arc::clone(&self.sent)),
                _ => (Arc::new(TxQueues::new(1)), (0..2).map(|_| PortCounters::default()).collect()),
            };
            Arc::new(PortEntry::new(PortId(id), u32::from(id) + 1, 0, tx, counters))
        };
        let entries: Vec<_> = (0..=SENDERS as u16).map(entry).collect();
        let ports = Arc::new(BridgePorts::new(entries.iter().map(|entry| &**entry)));
        let view = BridgeView::new(1, program, Arc::new(Fdb::new(64)), ports, Arc::new(TableStats::new(2)));
        let ports = entries.into_iter().map(Some).collect();
        self.workers.publish(Snapshot { ports, bridges: vec![Some(Arc::new(view))], ..Snapshot::default() });
    }

    fn queue(&self, port: u16) -> Option<QueuePlacement> {
        self.workers.queues().into_iter().find(|queue| queue.port == PortId(port))
    }

    /// To the other worker, from wherever it is; false when it is nowhere or went away.
    fn move_over(&self, port: u16) -> bool {
        let Some(QueuePlacement { worker, port, index, .. }) = self.queue(port) else { return false };
        !self
            .workers
            .make(&[Move { port, index, load: 0.0, from: worker, to: 1 - worker, loads: (0.0, 0.0) }])
            .is_empty()
    }

    /// Waits until this many more frames of the sender arrived.
    fn flows(&self, port: usize, more: u32) {
        let arrived = || self.arrived.iter().map(|sink| sink.lock().expect("nobody panicked").next[port]).max();
        let until = arrived().map_or(more, |now| now + more);
        while arrived() < Some(until) {
            thread::sleep(Duration::from_micros(50));
        }
    }

    /// Ends the traffic; every frame that was sent has to have arrived, in order.
    fn assert_all_arrived(self) {
        self.going.store(false, Ordering::SeqCst);
        for port in 0..SENDERS {
            let counted = self.queue(port as u16).expect("it is polled").totals.packets;
            let queue = self.workers.detach_rx(PortId(port as u16), 0).expect("a worker has it");
            let Feed(source) = *queue.into_any().downcast::<Feed<Source>>().expect("what was attached");
            let mut arrived = 0;
            for sink in &self.arrived {
                let sink = sink.lock().expect("nobody panicked");
                assert_eq!(sink.wrong, None, "sender, expected, found");
                arrived = arrived.max(sink.next[port]);
            }
            assert_eq!(arrived, source.sent, "port {port}");
            assert!(counted <= u64::from(source.sent), "port {port} counts {counted} of {}", source.sent);
        }
        self.workers.stop();
    }
}

#[test]
fn queues_move_thousands_of_times_under_traffic() {
    let bench = Bench::new(1);
    for turn in 0..1200 {
        assert!(bench.move_over(turn % SENDERS as u16), "turn {turn}");
    }
    (0..SENDERS).for_each(|port| bench.flows(port, 100));
    let queues = bench.workers.queues();
    assert!(queues.iter().all(|queue| queue.moves == 300), "{queues:?}");
    let workers = bench.workers.stats();
    assert_eq!(workers.iter().map(|worker| worker.moved_in).sum::<u64>(), 1200);
    assert_eq!(workers.iter().map(|worker| worker.moved_out).sum::<u64>(), 1200);
    bench.assert_all_arrived();
}

#[test]
fn what_a_queue_counted_goes_with_it() {
    let bench = Bench::new(1);
    bench.flows(0, 1000);
    let before = bench.queue(0).expect("it is polled").totals;
    assert!(bench.move_over(0));
    let after = bench.queue(0).expect("it is polled").totals;
    assert!(before.packets >= 900 && after.packets >= before.packets, "{before:?} {after:?}");
    assert_eq!(after.sizes.iter().skip(1).sum::<u64>(), after.batch_cycles.iter().sum::<u64>());
    bench.workers.clear_stats();
    let cleared = bench.queue(0).expect("it is polled").totals;
    assert!(cleared.cycles < after.cycles, "{cleared:?}");
    bench.assert_all_arrived();
}

/// A session takes its queue back, and gives it again, whenever the guest changes anything.
#[test]
fn sessions_take_queues_back_while_they_are_moved() {
    let bench = Bench::new(1);
    let done = AtomicBool::new(false);
    let moved = thread::scope(|scope| {
        let sessions: Vec<_> = [0, 1]
            .map(|port| {
                let bench = &bench;
                scope.spawn(move || {
                    for turn in 0..1000 {
                        // So that it is there to be moved when it is taken back.
                        thread::sleep(Duration::from_micros(turn % 8 * 20));
                        let queue = bench.workers.detach_rx(PortId(port), 0);
                        let queue = queue.unwrap_or_else(|| panic!("port {port}, turn {turn}: nobody has the queue"));
                        bench.workers.attach_rx(PortId(port), 0, queue);
                    }
                })
            })
            .into();
        let mover = scope.spawn(|| {
            let mut moved = 0;
            while !done.load(Ordering::SeqCst) {
                moved += [0, 1].into_iter().filter(|&port| bench.move_over(port)).count();
            }
            moved
        });
        let ended: Vec<_> = sessions.into_iter().map(|session| session.join()).collect();
        done.store(true, Ordering::SeqCst);
        let moved = mover.join().expect("the mover");
        ended.into_iter().for_each(|session| session.expect("a session"));
        moved
    });
    assert!(moved > 100, "{moved}");
    (0..SENDERS).for_each(|port| bench.flows(port, 100));
    bench.assert_all_arrived();
}

#[test]
fn pins_take_effect_under_traffic_and_isolate() {
    let bench = Bench::new(1);
    let pin = |port: u16, worker| Pin { port: PortId(port), index: 0, worker };
    let on = || bench.workers.queues().iter().map(|queue| queue.worker).collect::<Vec<_>>();
    for worker in [0, 1].repeat(30) {
        bench.workers.set_pins(&[pin(2, worker), pin(9, worker)], true);
        assert_eq!(on(), [1 - worker, 1 - worker, worker, 1 - worker]);
        assert!(bench.workers.set_pins(&[pin(2, worker), pin(9, worker)], true).is_empty(), "nothing changed");
        bench.flows(2, 10);
    }
    let isolated: Vec<bool> = bench.workers.placement().iter().map(|worker| worker.isolated).collect();
    assert_eq!(isolated, [false, true]);
    bench.workers.set_pins(&[], true);
    assert_eq!(on(), [0, 0, 1, 0], "without a reason nothing moves");
    bench.assert_all_arrived();
}

#[test]
fn a_plan_is_made_from_what_was_measured() {
    let bench = Bench::new(1);
    bench
        .workers
        .set_pins(&(0..4).map(|port| Pin { port: PortId(port), index: 0, worker: 1 }).collect::<Vec<_>>(), false);
    bench.workers.set_pins(&[], true);
    bench.workers.sample();
    (0..SENDERS).for_each(|port| bench.flows(port, 1000));
    bench.workers.sample();
    let plan = bench.workers.plan(usize::MAX);
    assert!(plan.before[1] > 0.0 && plan.before[0] == 0.0, "{plan:?}");
    assert!(!plan.moves.is_empty() && plan.improvement() > 25.0, "{plan:?}");
    assert_eq!(bench.workers.make(&plan.moves), plan.moves);
    assert!(bench.workers.make(&plan.moves).is_empty(), "they are made");
    let again = bench.workers.plan(usize::MAX);
    assert!(again.before.iter().zip(&plan.after).all(|(is, was)| (is - was).abs() < 1e-9), "{again:?} {plan:?}");
    (0..SENDERS).for_each(|port| bench.flows(port, 100));
    bench.assert_all_arrived();
}

#[test]
fn a_flow_keeps_its_transmit_queue_and_a_shared_one_is_locked_once_per_batch() {
    let shared = Bench::new(1);
    (0..SENDERS).for_each(|port| shared.flows(port, 1000));
    shared.going.store(false, Ordering::SeqCst);
    let ends = |port| shared.workers.detach_rx(PortId(port), 0).expect("a worker has it");
    let queues: Vec<_> = (0..SENDERS as u16).map(ends).collect();
    let batches: u64 = shared.workers.stats().iter().map(|worker| worker.batches).sum();
    assert_eq!(shared.turns.load(Ordering::SeqCst), batches);
    drop(queues);
    shared.workers.stop();
    drop(shared);

    let spread = Bench::new(3);
    for turn in 0..200 {
        assert!(spread.move_over(turn % SENDERS as u16));
    }
    (0..SENDERS).for_each(|port| spread.flows(port, 100));
    for port in 0..SENDERS {
        let used = spread.arrived.iter().filter(|sink| sink.lock().expect("nobody panicked").next[port] > 0);
        assert_eq!(used.count(), 1, "the flow of sender {port} uses one queue, whichever worker has it");
    }
    spread.assert_all_arrived();
}

/// A guest that enables and disables its queues: only what is on its way at that moment is lost, and that is counted.
#[test]
fn only_enabled_transmit_queues_are_used_while_they_change_under_traffic() {
    let bench = Bench::new(3);
    let frames = |queue: usize| bench.arrived[queue].lock().expect("nobody panicked").frames;
    for turn in 0..150 {
        // The middle one; every third time all but the first.
        let off = if turn % 3 == 0 { 1..3 } else { 1..2 };
        let taken: Vec<_> = off.map(|index| (index, bench.tx.replace(index, None).expect("it was there"))).collect();
        let before: Vec<_> = taken.iter().map(|(index, _)| frames(*index)).collect();
        bench.flows(turn % SENDERS, 40);
        let after: Vec<_> = taken.iter().map(|(index, _)| frames(*index)).collect();
        assert_eq!(before, after, "frames went to a queue that is disabled");
        for (index, queue) in taken {
            assert!(bench.tx.replace(index, Some(queue)).is_none());
        }
        bench.move_over((turn % SENDERS) as u16);
    }
    bench.going.store(false, Ordering::SeqCst);
    let end = |port: usize| {
        let queue = bench.workers.detach_rx(PortId(port as u16), 0).expect("a worker has it");
        u64::from(queue.into_any().downcast::<Feed<Source>>().expect("what was attached").0.sent)
    };
    let sent: u64 = (0..SENDERS).map(end).sum();
    bench.workers.stop();
    let mut totals = PortTotals::default();
    bench.sent.iter().for_each(|lane| lane.add_to(&mut totals));
    let arrived: u64 = (0..3).map(frames).sum();
    assert_eq!((arrived, arrived + totals.dropped()), (totals.tx_packets, sent));
    for sink in &bench.arrived {
        assert_eq!(sink.lock().expect("nobody panicked").overtaken, None, "sender, later, found");
    }
}
