//! All workers: starts and ends the threads, places queues, publishes snapshots.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::attachment::Attachment;
use super::idle::IdlePolicy;
use super::run::{Command, Injection, Mailbox, Worker};
use super::stats::{QueueCounters, WorkerCounters, WorkerTotals};
use super::switchboard::Switchboard;
use crate::flow::{Field, Mask};
use crate::packet::{MAX_FRAME, MIN_FRAME};
use crate::pipeline::{
    FlowCache, LOCAL_NUMBER, NOWHERE, PacketOut, PortEntry, PortFlags, Snapshot, Upcall, Upcalls, VlanMode,
};
use crate::port::{PortId, QueueHost, RxQueue, TxQueues};
use crate::sys::affinity;
use crate::sys::event::EventFd;

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

/// A receive queue and the worker that polls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePlacement {
    /// The worker's number.
    pub worker: usize,
    /// Whose queue.
    pub port: PortId,
    /// Which of the port's queues.
    pub index: u16,
    /// Packets received through it since it was attached.
    pub packets: u64,
    /// In so many batches.
    pub batches: u64,
    /// Cycles of the clock spent on them, from receiving to sending.
    pub cycles: u64,
}

struct Placed {
    worker: usize,
    counters: Arc<QueueCounters>,
}

/// See the module.
pub struct Workers {
    cpus: Vec<usize>,
    cache_entries: usize,
    board: Arc<Switchboard>,
    mailboxes: Vec<Arc<Mailbox>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    placement: Mutex<HashMap<(PortId, u16), Placed>>,
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
        for (worker, &cpu) in ready.into_iter().zip(&config.cpus) {
            let (started, outcome) = bounded(1);
            let body = move || {
                let pinned = affinity::pin_to_cpu(cpu);
                let go = pinned.is_ok();
                let _ = started.send(pinned);
                if go {
                    worker.run(config.idle);
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
                wake: EventFd::new()?,
                counters: WorkerCounters::default(),
            });
            ready.push(Worker::new(number, Arc::clone(&board), Arc::clone(&mailbox), inbox)?);
            mailboxes.push(mailbox);
        }
        let workers = Self {
            cpus,
            cache_entries,
            board,
            mailboxes,
            threads: Mutex::default(),
            placement: Mutex::default(),
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
        for mailbox in &self.mailboxes {
            let (reply, answer) = bounded(1);
            let cache = present.then(|| Box::new(FlowCache::new(self.cache_entries, &Mask::NONE)));
            mailbox.send(Command::SetCache(bridge, cache, reply));
            self.lock_removed().push(answer);
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
            let (tx, vlan, flags) = (Arc::new(TxQueues::new(1)), VlanMode::default(), PortFlags::default());
            let counters = Arc::clone(&counted.counters);
            Some(Arc::new(PortEntry {
                id: NOWHERE,
                number,
                bridge,
                tx,
                counters,
                vlan,
                limits: None,
                pool: Arc::default(),
                egress: None,
                flags,
            }))
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

    /// What each worker did so far.
    #[must_use]
    pub fn stats(&self) -> Vec<WorkerTotals> {
        self.mailboxes.iter().map(|mailbox| mailbox.counters.totals()).collect()
    }

    /// Who polls what, sorted by port and queue.
    #[must_use]
    pub fn queues(&self) -> Vec<QueuePlacement> {
        let placement = self.lock_placement();
        let mut queues: Vec<_> = placement
            .iter()
            .map(|(&(port, index), placed)| QueuePlacement {
                worker: placed.worker,
                port,
                index,
                packets: placed.counters.packets.read(),
                batches: placed.counters.batches.read(),
                cycles: placed.counters.cycles.read(),
            })
            .collect();
        queues.sort_by_key(|queue| (queue.port, queue.index));
        queues
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
    }

    fn lock_removed(&self) -> std::sync::MutexGuard<'_, Vec<Receiver<Option<Box<FlowCache>>>>> {
        self.removed_caches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_placement(&self) -> std::sync::MutexGuard<'_, HashMap<(PortId, u16), Placed>> {
        self.placement.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueHost for Workers {
    /// The worker with the fewest queues gets it.
    fn attach_rx(&self, port: PortId, index: u16, queue: Box<dyn RxQueue>) {
        let mut placement = self.lock_placement();
        let load = |worker: &usize| placement.values().filter(|placed| placed.worker == *worker).count();
        let Some(worker) = (0..self.mailboxes.len()).min_by_key(load) else { return };
        let counters = Arc::new(QueueCounters::default());
        placement.insert((port, index), Placed { worker, counters: Arc::clone(&counters) });
        self.mailboxes[worker].send(Command::Attach(Attachment::new(port, index, queue, counters)));
    }

    fn detach_rx(&self, port: PortId, index: u16) -> Option<Box<dyn RxQueue>> {
        let placed = self.lock_placement().remove(&(port, index))?;
        let (reply, answer) = bounded(1);
        self.mailboxes[placed.worker].send(Command::Detach(port, index, reply));
        answer.recv().ok().flatten()
    }
}
