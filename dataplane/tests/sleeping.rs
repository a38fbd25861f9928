//! A worker that sleeps, and what it does when it is woken: first of all it serves.

mod common;

use std::any::Any;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::udp;
use ringswitch_dataplane::packet::{PacketBatch, PortCounters};
use ringswitch_dataplane::pipeline::{PortEntry, Snapshot};
use ringswitch_dataplane::port::{PortId, QueueHost, RxQueue, TxQueues};
use ringswitch_dataplane::sys::affinity::allowed_cpus;
use ringswitch_dataplane::sys::event::EventFd;
use ringswitch_dataplane::worker::{IdlePolicy, Workers, WorkersConfig};

const PORTS: u16 = 8;

/// What the test and the queues of one worker see.
#[derive(Default)]
struct Shared {
    /// Ports that hold a frame.
    waiting: Mutex<Vec<u16>>,
    /// Queues were armed, and none disarmed since.
    armed: AtomicBool,
    /// For each frame that was taken: whether they still were.
    taken: Mutex<Vec<bool>>,
}

/// A port that signals.
struct Bell {
    port: u16,
    event: EventFd,
    shared: Arc<Shared>,
}

impl RxQueue for Bell {
    fn rx_batch(&mut self, batch: &mut PacketBatch) -> usize {
        let mut waiting = self.shared.waiting.lock().expect("nobody panicked");
        let Some(place) = waiting.iter().position(|&port| port == self.port) else { return 0 };
        waiting.swap_remove(place);
        let frame = udp(1, 2, 10);
        batch.next_slot().expect("there is room").reset(frame.len()).copy_from_slice(&frame);
        batch.push();
        let armed = self.shared.armed.load(Ordering::SeqCst);
        self.shared.taken.lock().expect("nobody panicked").push(armed);
        1
    }

    fn finish(&mut self) {}

    fn event_fd(&self) -> Option<RawFd> {
        Some(self.event.as_raw_fd())
    }

    fn arm(&mut self) -> bool {
        self.shared.armed.store(true, Ordering::SeqCst);
        self.shared.waiting.lock().expect("nobody panicked").is_empty()
    }

    fn disarm(&mut self) {
        self.shared.armed.store(false, Ordering::SeqCst);
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Waits until it holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn a_woken_worker_serves_before_it_asks_anybody_to_stop_notifying() {
    let cpus = vec![*allowed_cpus().last().expect("a CPU")];
    let idle = IdlePolicy { spin: Some(Duration::from_micros(1)) };
    let workers = Workers::start(WorkersConfig { cpus, cache_entries: 1024, idle }).expect("a worker");
    let entry = |id: u16| {
        let (tx, counters) = (Arc::new(TxQueues::new(1)), Arc::new([PortCounters::default()]));
        Some(Arc::new(PortEntry::new(PortId(id), u32::from(id) + 1, 0, tx, counters)))
    };
    workers.publish(Snapshot { ports: (0..PORTS).map(entry).collect(), bridges: Vec::new(), ..Snapshot::default() });
    let shared = Arc::new(Shared::default());
    let bells: Vec<EventFd> = (0..PORTS).map(|_| EventFd::new().expect("an eventfd")).collect();
    for (port, bell) in (0..PORTS).zip(&bells) {
        let bell = Bell { port, event: bell.try_clone().expect("a second handle"), shared: Arc::clone(&shared) };
        workers.attach_rx(PortId(port), 0, Box::new(bell));
    }
    for round in 0..40 {
        let port = round * 5 % PORTS;
        until("it sleeps", || shared.armed.load(Ordering::SeqCst));
        // Armed is not yet asleep, and a look around may be due at just this time: then it takes the frame without the signal.
        thread::sleep(Duration::from_millis(2));
        shared.waiting.lock().expect("nobody panicked").push(port);
        bells[usize::from(port)].signal();
        let taken = || shared.taken.lock().expect("nobody panicked").len();
        until("a signal was missed", || taken() > usize::from(round));
    }
    let taken = shared.taken.lock().expect("nobody panicked").clone();
    let first = taken.iter().filter(|&&armed| armed).count();
    assert!(first > taken.len() / 2, "only {first} of {} frames were taken first of all", taken.len());
    workers.stop();
}
