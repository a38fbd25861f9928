//! All workers: starts and ends the threads, places queues, publishes snapshots.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::attachment::Attachment;
use super::balance::{self, Move, Plan};
use super::idle::IdlePolicy;
use super::placement::{Pin, Placement, QueuePlacement, WorkerPlacement};
use super::run::{Command, Injection, Mailbox, Worker};
use super::stats::{QueueCounters, WorkerCounters, WorkerTotals};
use super::switchboard::Switchboard;
use crate::flow::{Field, Mask};
use crate::packet::{MAX_FRAME, MIN_FRAME};
use crate::pipeline::{FlowCache, LOCAL_NUMBER, NOWHERE, PacketOut, PortEntry, Snapshot, Upcall, Upcalls};
use crate::port::{PortId, QueueHost, RxQueue, TxQueues};
use crate::sys::event::EventFd;
use crate::sys::resume_latency::ResumeLatency;
use crate::sys::{affinity, clock};

/// How many workers, where, and what they do when idle.
#[derive(Clone, Debug)]
pub struct WorkersConfig {
    /// A worker for each of these CPUs, pinned to it.
    pub cpus: Vec<usize>,
    /// Flows that each worker's cache of each bridge remembers.
    pub cache_entries: usize,
    /// When they sleep.
    pub idle: IdlePolicy,
}

/// See the module.
pub struct Workers {
    cpus: Vec<usize>,
    cache_entries: AtomicUsize,
    board: Arc<Switchboard>,
    mailboxes: Vec<Arc<Mailbox>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Locked for as long as a queue is between two workers: a session that takes its queue back meanwhile waits, and then
    /// finds it with the new one. Workers never lock it.
    placement: Mutex<Placement>,
    /// How long the CPUs may take to resume, and what keeps it so.
    latencies: Mutex<(Option<u32>, Vec<ResumeLatency>)>,
    /// Each worker's counters when they were cleared.
    cleared: Mutex<Vec<WorkerTotals>>,
    /// On their way back from workers; a message of a new cache brings nothing.
    removed_caches: Mutex<Vec<Receiver<Option<Box<FlowCache>>>>>,
    /// By worker.
    upcalls: Vec<Arc<Upcalls>>,
    /// Where workers put packets that were sent.
    injected: (Sender<Box<Injection>>, Receiver<Box<Injection>>),
}

impl Workers {
    /// Starts a pinned thread for each CPU.
    ///
    /// # Errors
    /// A CPU that does not exist or is not allowed, and too many open files or threads.
    pub fn start(config: WorkersConfig) -> io::Result<Arc<Self>> {
        let (workers, ready) = Self::prepare(config.cpus.clone(), config.cache_entries)?;
        workers.set_idle(config.idle);
        for (worker, &cpu) in ready.into_iter().zip(&config.cpus) {
            let (started, outcome) = bounded(1);
            let body = move || {
                let pinned = affinity::pin_to_cpu(cpu);
                let go = pinned.is_ok();
                let _ = started.send(pinned);
                if go {
                    worker.run();
                }
            };
            let thread = std::thread::Builder::new().name(format!("worker-{cpu}")).spawn(body)?;
            workers.lock_threads().push(thread);
            let pinned = outcome.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended at once")));
            if let Err(error) = pinned {
                workers.stop();
                return Err(io::Error::new(error.kind(), format!("worker on CPU {cpu}: {error}")));
            }
        }
        Ok(workers)
    }

    /// The workers without threads: whoever asks for them calls [`Worker::poll_once`]. For tests and benchmarks.
    ///
    /// # Errors
    /// Too many open files.
    pub fn prepare(cpus: Vec<usize>, cache_entries: usize) -> io::Result<(Arc<Self>, Vec<Worker>)> {
        let board = Arc::new(Switchboard::new(cpus.len()));
        let (mut mailboxes, mut ready): (Vec<_>, Vec<Worker>) = (Vec::new(), Vec::new());
        for number in 0..cpus.len() {
            let (commands, inbox) = unbounded();
            let mailbox = Arc::new(Mailbox {
                commands,
                full: false.into(),
                asleep: false.into(),
                spin: IdlePolicy::default().spin_cycles().into(),
                wake: EventFd::new()?,
                counters: WorkerCounters::default(),
            });
            ready.push(Worker::new(number, Arc::clone(&board), Arc::clone(&mailbox), inbox)?);
            mailboxes.push(mailbox);
        }
        let workers = Self {
            placement: Mutex::new(Placement::new(cpus.len())),
            cleared: Mutex::new(vec![WorkerTotals::default(); cpus.len()]),
            cpus,
            cache_entries: cache_entries.into(),
            board,
            mailboxes,
            threads: Mutex::default(),
            latencies: Mutex::default(),
            removed_caches: Mutex::default(),
            upcalls: ready.iter().map(Worker::upcalls).collect(),
            injected: unbounded(),
        };
        Ok((Arc::new(workers), ready))
    }

    /// How many there are: the number of lanes that counters need.
    #[must_use]
    pub fn count(&self) -> usize {
        self.cpus.len()
    }

    /// The CPUs, by worker number.
    #[must_use]
    pub fn cpus(&self) -> &[usize] {
        &self.cpus
    }

    /// Puts a snapshot up (its `epoch` is set here and returned) and wakes sleeping workers. New bridges get a cache in
    /// every worker first, removed ones lose it.
    pub fn publish(&self, snapshot: Snapshot) -> u64 {
        let old = self.board.current();
        let bridges = old.bridges.len().max(snapshot.bridges.len());
        let (before, after) = (|n| old.bridge(n).is_some(), |n| snapshot.bridge(n).is_some());
        for bridge in (0..bridges).filter(|&bridge| !before(bridge) && after(bridge)) {
            self.set_caches(bridge, true);
        }
        let removed: Vec<_> = (0..bridges).filter(|&bridge| before(bridge) && !after(bridge)).collect();
        drop(old);
        let epoch = self.board.publish(snapshot);
        self.mailboxes.iter().for_each(|mailbox| mailbox.wake_if_asleep());
        removed.into_iter().for_each(|bridge| self.set_caches(bridge, false));
        epoch
    }

    /// Caches are made and freed here, never by a worker: what a worker gives back waits until [`collect`](Self::collect).
    fn set_caches(&self, bridge: usize, present: bool) {
        let entries = self.cache_entries.load(Ordering::Relaxed);
        for mailbox in &self.mailboxes {
            let (reply, answer) = bounded(1);
            let cache = present.then(|| Box::new(FlowCache::new(entries, &Mask::NONE)));
            mailbox.send(Command::SetCache(bridge, cache, reply));
            self.lock_removed().push(answer);
        }
    }

    /// When workers sleep from now on.
    pub fn set_idle(&self, idle: IdlePolicy) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.spin.store(idle.spin_cycles(), Ordering::Relaxed));
    }

    /// How many microseconds the workers' CPUs may take to resume from idle; `None` leaves that to the system. With 0 they are
    /// never halted, though their time counts as idle.
    ///
    /// # Errors
    /// Some CPU cannot be told; none is then, and the same is not tried again.
    pub fn set_resume_latency(&self, us: Option<u32>) -> io::Result<()> {
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        if latencies.0 == us {
            return Ok(());
        }
        // What was asked for before goes first: each remembers what it found.
        *latencies = (us, Vec::new());
        let limit = |us| self.cpus.iter().map(|&cpu| ResumeLatency::limit(cpu, us)).collect::<io::Result<_>>();
        latencies.1 = us.map_or(Ok(Vec::new()), limit)?;
        Ok(())
    }

    /// How many flows each worker's cache of each bridge remembers from now on. What it remembered is forgotten when that is
    /// another number than before.
    pub fn set_cache_entries(&self, entries: usize) {
        if self.cache_entries.swap(entries, Ordering::Relaxed) != entries {
            let bridges = self.current().bridges.len();
            let exists = |&bridge: &usize| self.current().bridge(bridge).is_some();
            (0..bridges).filter(exists).for_each(|bridge| self.set_caches(bridge, true));
        }
    }

    /// The epoch that every worker has reached.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.board.acknowledged()
    }

    /// True when no worker will touch another packet with a snapshot older than this epoch: it uses that one, or it sleeps, and
    /// looks before anything else when it wakes.
    #[must_use]
    pub fn is_in_effect(&self, epoch: u64) -> bool {
        let workers = self.mailboxes.iter().enumerate();
        workers.into_iter().all(|(worker, mailbox)| {
            // Whoever published stored the epoch before; a worker clears `asleep` before it looks at the epoch.
            self.board.has_acknowledged(worker, epoch) || mailbox.asleep.load(Ordering::SeqCst)
        })
    }

    /// Frees snapshots and caches that no worker uses any more.
    pub fn collect(&self) {
        self.board.collect();
        self.lock_removed().retain(|answer| answer.try_recv().is_err_and(|error| error.is_empty()));
        self.injected.1.try_iter().for_each(drop);
    }

    /// Who is signalled when there are upcalls to take.
    pub fn wake_through(&self, waker: &Arc<EventFd>) {
        self.upcalls.iter().for_each(|upcalls| upcalls.wake_through(Arc::clone(waker)));
    }

    /// What packets asked control for since the last call.
    #[must_use]
    pub fn take_upcalls(&self) -> Vec<Upcall> {
        let mut taken = Vec::new();
        self.upcalls.iter().for_each(|upcalls| upcalls.take(&mut taken));
        taken
    }

    /// Sends a packet through a bridge, after whatever was published and injected before. Where its `in_port` is no port of
    /// the bridge, it is counted at the bridge's own port. A frame that is too short or too long is not sent.
    pub fn inject(&self, bridge: usize, packet: PacketOut) {
        let snapshot = self.current();
        let key = packet.resume.as_ref().map_or(&packet.key, |resume| &resume.key);
        let number = key.field(Field::IN_PORT) as u32;
        let Some(view) = snapshot.bridge(bridge) else { return };
        let entry = |number| view.ports.by_number(number).and_then(|id| snapshot.port(id)).map(Arc::clone);
        let nowhere = || {
            let any = || view.ports.all().find_map(|id| snapshot.port(id)).map(Arc::clone);
            let counted = entry(LOCAL_NUMBER).or_else(any)?;
            let (tx, counters) = (Arc::new(TxQueues::new(1)), Arc::clone(&counted.counters));
            Some(Arc::new(PortEntry::new(NOWHERE, number, bridge, tx, counters)))
        };
        let Some(ingress) = entry(number).or_else(nowhere) else { return };
        if (MIN_FRAME..=MAX_FRAME).contains(&packet.frame.len()) {
            // One worker for each bridge: packets keep their order.
            let mailbox = &self.mailboxes[bridge % self.mailboxes.len()];
            mailbox.send(Command::Inject(Box::new(Injection { ingress, packet }), self.injected.0.clone()));
        }
    }

    /// The snapshot in force.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.board.current()
    }

    /// What each worker did since the start, or since counters were cleared.
    #[must_use]
    pub fn stats(&self) -> Vec<WorkerTotals> {
        let cleared = self.lock_cleared();
        let workers = self.mailboxes.iter().zip(&*cleared);
        workers.map(|(mailbox, cleared)| mailbox.counters.totals().since(*cleared)).collect()
    }

    /// The counters of workers and queues start at zero.
    pub fn clear_stats(&self) {
        *self.lock_cleared() = self.mailboxes.iter().map(|mailbox| mailbox.counters.totals()).collect();
        self.lock_placement().clear();
    }

    /// Who polls what, sorted by port and queue.
    #[must_use]
    pub fn queues(&self) -> Vec<QueuePlacement> {
        self.lock_placement().queues()
    }

    /// Each worker, as queues are placed on it.
    #[must_use]
    pub fn placement(&self) -> Vec<WorkerPlacement> {
        self.lock_placement().workers()
    }

    /// Measures the loads since the last call; to be called every second or more often.
    pub fn sample(&self) {
        let busy = self.mailboxes.iter().map(|mailbox| mailbox.counters.totals().busy_cycles);
        self.lock_placement().sample(clock::cycles(), busy);
    }

    /// Says which queues belong to which worker, and whether such a worker is isolated. Queues that are in the wrong place then
    /// are moved; these are returned.
    pub fn set_pins(&self, pins: &[Pin], isolates: bool) -> Vec<Move> {
        let mut placement = self.lock_placement();
        let strays = if placement.set_pins(pins, isolates) { placement.strays() } else { Vec::new() };
        drop(placement);
        self.make(&strays)
    }

    /// At most so many moves that would even out the load.
    #[must_use]
    pub fn plan(&self, most: usize) -> Plan {
        let placement = self.lock_placement();
        balance::plan(&placement.loads(), &placement.open(), most)
    }

    /// Moves queues, one after the other, each between two bursts: nothing is lost, and frames keep their order. Returns the
    /// moves that were made; a queue that is not where it was planned from any more stays where it is.
    pub fn make(&self, moves: &[Move]) -> Vec<Move> {
        moves.iter().filter(|it| self.make_one(it)).copied().collect()
    }

    fn make_one(&self, it: &Move) -> bool {
        let key = (it.port, it.index);
        let mut placement = self.lock_placement();
        if it.from == it.to || placement.worker_of(key) != Some(it.from) {
            return false;
        }
        let (old, new) = (&self.mailboxes[it.from], &self.mailboxes[it.to]);
        let (reply, answer) = bounded(1);
        old.send(Command::Detach(it.port, it.index, reply));
        // None when the worker has ended, and the queue with it.
        let Some(attachment) = answer.recv().ok().flatten() else { return false };
        new.send(Command::Attach(attachment));
        placement.moved(key, it.to);
        old.counters.moved_out.add(1);
        new.counters.moved_in.add(1);
        true
    }

    /// Ends the threads. Queues still attached are dropped.
    pub fn stop(&self) {
        for mailbox in &self.mailboxes {
            let (reply, answer) = bounded(1);
            mailbox.send(Command::Stop(reply));
            drop(answer);
        }
        for thread in self.lock_threads().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
        let _ = self.set_resume_latency(None);
    }

    fn lock_removed(&self) -> std::sync::MutexGuard<'_, Vec<Receiver<Option<Box<FlowCache>>>>> {
        self.removed_caches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_cleared(&self) -> std::sync::MutexGuard<'_, Vec<WorkerTotals>> {
        self.cleared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_placement(&self) -> std::sync::MutexGuard<'_, Placement> {
        self.placement.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueHost for Workers {
    /// The worker that it is pinned to gets it, or the least loaded one.
    fn attach_rx(&self, port: PortId, index: u16, queue: Box<dyn RxQueue>) {
        let counters = Arc::new(QueueCounters::default());
        let mut placement = self.lock_placement();
        let Some(worker) = placement.place((port, index), Arc::clone(&counters)) else { return };
        self.mailboxes[worker].send(Command::Attach(Attachment::new(port, index, queue, counters)));
    }

    /// Out of the table first: from then on nobody moves the queue, and the lock need not be held until it comes.
    fn detach_rx(&self, port: PortId, index: u16) -> Option<Box<dyn RxQueue>> {
        let worker = self.lock_placement().remove((port, index))?;
        let (reply, answer) = bounded(1);
        self.mailboxes[worker].send(Command::Detach(port, index, reply));
        answer.recv().ok().flatten().map(|attachment| attachment.queue)
    }
}
