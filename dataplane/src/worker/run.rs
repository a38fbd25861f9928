//! One worker: the queues it owns, one pass over them, and the loop around that.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::idle::Sleeper;
use super::roster::Roster;
use super::stats::{QueueCounters, WorkerCounters};
use super::switchboard::Switchboard;
use crate::packet::{DropReason, Packet, PacketBatch};
use crate::pipeline::{FlowCache, PacketOut, Pipeline, PortEntry, Snapshot, Upcalls};
use crate::port::{PortId, RxQueue};
use crate::sched::{Limits, Pull};
use crate::sys::clock;
use crate::sys::event::EventFd;

/// Walks through the tables for one port take at most one part in so many of the time that others want: whoever sends ever
/// new flows waits, in his own ring, until the others had theirs. When nobody else wants the time, he waits for nobody.
const WALK_SHARE: u64 = 16;
/// A single batch is charged no more cycles than this: the clock runs on while the host has taken the CPU away.
const WALK_CHARGE_MAX: u64 = 1 << 19;

/// What control and ports ask of a worker; served between two passes.
pub(super) enum Command {
    /// Poll this queue from now on.
    Attach(Attachment),
    /// Give this queue back.
    Detach(PortId, u16, Sender<Option<Attachment>>),
    /// Use this cache for the bridge with this index; the old one goes back, to be freed elsewhere.
    SetCache(usize, Option<Box<FlowCache>>, Sender<Option<Box<FlowCache>>>),
    /// Send this packet of control's own; it goes back, to be freed elsewhere.
    Inject(Box<Injection>, Sender<Box<Injection>>),
    /// End the thread; the queues go back.
    Stop(Sender<VecDeque<Attachment>>),
}

/// A packet that control sends.
pub(super) struct Injection {
    /// Where rules believe that it came in, and where it is counted.
    pub(super) ingress: Arc<PortEntry>,
    pub(super) packet: PacketOut,
}

/// A receive queue and whose it is.
pub(super) struct Attachment {
    pub(super) port: PortId,
    pub(super) index: u16,
    pub(super) queue: Box<dyn RxQueue>,
    pub(super) counters: Arc<QueueCounters>,
    /// Looks since it last had something; see `roster`.
    pub(super) empty_passes: u32,
    /// When the worker has been busy for so many cycles in all, this queue is served again; see [`WALK_SHARE`]. While no
    /// worker has the queue: for how many more.
    pub(super) held_until: u64,
    /// Cycles of the clock before which its rate allows nothing.
    pub(super) waits_until: u64,
    /// Bytes of its frames, on average over the last bursts; known while it has a rate.
    pub(super) mean_len: usize,
}

/// What a worker shares with those who talk to it.
pub(super) struct Mailbox {
    pub(super) commands: Sender<Command>,
    /// Set with every command: an empty mailbox costs a worker one load per pass.
    pub(super) full: AtomicBool,
    /// The worker sleeps, or is about to.
    pub(super) asleep: AtomicBool,
    /// Cycles of finding nothing before it sleeps.
    pub(super) spin: AtomicU64,
    pub(super) wake: EventFd,
    pub(super) counters: WorkerCounters,
}

impl Mailbox {
    pub(super) fn send(&self, command: Command) {
        // A worker that has ended does not answer: those who wait see their reply channel closed.
        let _ = self.commands.send(command);
        self.full.store(true, Ordering::SeqCst);
        self.wake_if_asleep();
    }

    pub(super) fn wake_if_asleep(&self) {
        if self.asleep.load(Ordering::SeqCst) {
            self.wake.signal();
        }
    }
}

/// Limits the batch to what the port's rate allows now; false when that is nothing.
#[cold]
fn may_pull(limits: &Limits, queue: &mut Attachment, batch: &mut PacketBatch) -> bool {
    let now = clock::cycles();
    if queue.waits_until > now {
        return false;
    }
    match limits.pull(now, queue.mean_len) {
        Pull::Packets(count) => {
            batch.limit(count);
            true
        }
        Pull::NotBefore(time) => {
            queue.waits_until = time;
            false
        }
    }
}

/// Counts the batch against the port's rates; returns how many packets are left of it.
#[cold]
fn admit(limits: &Limits, queue: &mut Attachment, batch: &mut PacketBatch) -> usize {
    let bytes: usize = batch.packets().iter().map(Packet::len).sum();
    queue.mean_len = (queue.mean_len * 7 + bytes / batch.len().max(1)) / 8;
    let too_many = limits.admit(clock::cycles(), batch);
    batch.drop_last(too_many, DropReason::Policed);
    batch.len()
}

/// See the module. Needs no thread: tests call [`Worker::poll_once`] directly.
pub struct Worker {
    number: usize,
    queues: Roster,
    batch: PacketBatch,
    pipeline: Pipeline,
    snapshot: Arc<Snapshot>,
    board: Arc<Switchboard>,
    mailbox: Arc<Mailbox>,
    commands: Receiver<Command>,
    sleeper: Sleeper,
    /// Cycles of all passes that found packets; jumps ahead when a queue that is held back is let go early.
    busy: u64,
    /// A queue was held back in this pass.
    held: bool,
    stopped: bool,
}

impl Worker {
    pub(super) fn new(
        number: usize,
        board: Arc<Switchboard>,
        mailbox: Arc<Mailbox>,
        commands: Receiver<Command>,
    ) -> io::Result<Self> {
        Ok(Self {
            number,
            queues: Roster::default(),
            batch: PacketBatch::new(),
            pipeline: Pipeline::new(number),
            snapshot: board.current(),
            sleeper: Sleeper::new(&mailbox.wake)?,
            board,
            mailbox,
            commands,
            busy: 0,
            held: false,
            stopped: false,
        })
    }

    /// Where its upcalls can be taken.
    pub(super) fn upcalls(&self) -> Arc<Upcalls> {
        self.pipeline.upcalls()
    }

    /// One pass: takes the snapshot in force and the mail, then serves each queue once. Returns the packets received.
    /// Bounded, never blocks.
    pub fn poll_once(&mut self) -> usize {
        if self.snapshot.epoch != self.board.epoch() {
            self.snapshot = self.board.current();
            self.board.acknowledge(self.number, self.snapshot.epoch);
        }
        if self.mailbox.full.load(Ordering::Relaxed) {
            self.read_mail();
        }
        let start = clock::cycles();
        let mut received = self.pass();
        if received == 0 && std::mem::take(&mut self.held) {
            self.release();
            received = self.pass();
        }
        self.account(received, clock::cycles().saturating_sub(start));
        received
    }

    #[inline]
    fn pass(&mut self) -> usize {
        let mut received = 0;
        let mut place = 0;
        while place < self.queues.busy() {
            let found = self.serve(place);
            received += found.unwrap_or(0);
            let is_another = found.is_some_and(|count| self.queues.seen(place, count > 0));
            place += usize::from(!is_another);
        }
        for place in self.queues.quiet_turn() {
            if let Some(count @ 1..) = self.serve(place) {
                received += count;
                self.queues.seen(place, true);
            }
        }
        received
    }

    /// Receives a batch from one queue, processes it and gives the descriptors back. `None` when the queue has no turn.
    #[inline]
    fn serve(&mut self, index: usize) -> Option<usize> {
        let attachment = &mut self.queues[index];
        if attachment.held_until > self.busy {
            self.held = true;
            return None;
        }
        // A queue may be attached before its port is published: it waits.
        let ingress = self.snapshot.port(attachment.port)?;
        let limits = ingress.limits.as_deref();
        match limits {
            Some(limits) if !may_pull(limits, attachment, &mut self.batch) => return None,
            Some(_) => {}
            // The rate that it waited for may be gone: it is armed like any other again.
            None => attachment.waits_until = 0,
        }
        let start = clock::cycles();
        let mut received = attachment.queue.rx_batch(&mut self.batch);
        if let (Some(limits), 1..) = (limits, received) {
            received = admit(limits, attachment, &mut self.batch);
        }
        if received == 0 && self.batch.tally.total() == 0 {
            attachment.counters.found_nothing();
            // A limit holds for one burst.
            self.batch.clear();
            return Some(0);
        }
        self.pipeline.process(&mut self.batch, &self.snapshot, ingress);
        let counters = &self.mailbox.counters;
        let lookups = self.pipeline.lookups();
        counters.batches.add(1);
        counters.packets.add(received as u64);
        counters.port_hits.add(lookups.port_hits);
        counters.cache_hits.add(lookups.cache_hits);
        counters.walks.add(lookups.walks);
        attachment.queue.finish();
        attachment.counters.served(received, lookups, clock::cycles().saturating_sub(start));
        let handled = received + self.batch.tally.total() as usize;
        self.batch.clear();
        if lookups.walk_cycles > 0 {
            self.hold(index, lookups.walk_cycles);
        }
        Some(handled)
    }

    /// Holds back all queues of the port that caused walks, until others had their part.
    #[cold]
    fn hold(&mut self, index: usize, walk_cycles: u64) {
        self.mailbox.counters.holds.add(1);
        let port = self.queues[index].port;
        let until = self.busy + walk_cycles.min(WALK_CHARGE_MAX) * WALK_SHARE;
        for queue in self.queues.iter_mut().filter(|queue| queue.port == port) {
            queue.held_until = queue.held_until.max(until);
        }
    }

    fn account(&mut self, received: usize, cycles: u64) {
        let counters = &self.mailbox.counters;
        counters.passes.add(1);
        if received > 0 {
            counters.busy_cycles.add(cycles);
            self.busy += cycles;
            return;
        }
        counters.idle_cycles.add(cycles);
    }

    /// Nobody else has anything: the queue that would be served first is served now.
    #[cold]
    fn release(&mut self) {
        let waiting = self.queues.iter().map(|queue| queue.held_until).filter(|&until| until > self.busy);
        self.busy = waiting.min().unwrap_or(self.busy);
    }

    #[cold]
    fn read_mail(&mut self) {
        self.mailbox.full.store(false, Ordering::SeqCst);
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Attach(attachment) => self.attach(attachment),
                Command::Detach(port, index, reply) => {
                    let _ = reply.send(self.detach(port, index));
                }
                Command::SetCache(bridge, cache, reply) => {
                    let _ = reply.send(self.pipeline.set_cache(bridge, cache));
                }
                Command::Inject(injection, reply) => {
                    self.inject(&injection);
                    let _ = reply.send(injection);
                }
                Command::Stop(reply) => {
                    self.stopped = true;
                    let _ = reply.send(self.queues.take_all());
                }
            }
        }
    }

    /// A batch of its own, between two passes.
    fn inject(&mut self, injection: &Injection) {
        let Injection { ingress, packet } = injection;
        let Some(slot) = self.batch.next_slot() else { return };
        slot.reset(packet.frame.len()).copy_from_slice(&packet.frame);
        self.batch.push();
        self.pipeline.inject(&mut self.batch, &self.snapshot, ingress, packet);
        self.batch.clear();
    }

    fn attach(&mut self, mut attachment: Attachment) {
        attachment.queue.disarm();
        attachment.held_until += self.busy;
        if let Some(fd) = attachment.queue.event_fd()
            && let Err(error) = self.sleeper.watch(fd)
        {
            tracing::warn!(port = attachment.port.0, %error, "cannot sleep on this queue's descriptor");
        }
        self.queues.add(attachment);
    }

    /// What the queue has learned goes with it; how long it is held back, in time of this worker, as what is left.
    fn detach(&mut self, port: PortId, index: u16) -> Option<Attachment> {
        let mut attachment = self.queues.remove(port, index)?;
        if let Some(fd) = attachment.queue.event_fd() {
            self.sleeper.forget(fd);
        }
        attachment.held_until = attachment.held_until.saturating_sub(self.busy);
        Some(attachment)
    }

    /// Polls until told to stop.
    pub(super) fn run(mut self) {
        let mut last_work = clock::cycles();
        while !self.stopped {
            if self.poll_once() > 0 {
                last_work = clock::cycles();
            } else if clock::cycles().saturating_sub(last_work) > self.mailbox.spin.load(Ordering::Relaxed) {
                self.sleep();
                last_work = clock::cycles();
            } else {
                std::hint::spin_loop();
            }
        }
    }

    /// Asks every peer for notifications and sleeps until one comes, unless something came meanwhile.
    fn sleep(&mut self) {
        self.mailbox.asleep.store(true, Ordering::SeqCst);
        // Whoever publishes or writes stores first and looks at `asleep` afterwards; the looks below come after this
        // store, whatever their own order: one of the two sees the other.
        fence(Ordering::SeqCst);
        // A queue that waits for its rate has something, and is looked at when its time comes.
        let now = clock::cycles();
        let arm = |queue: &mut Attachment| queue.waits_until > now || queue.queue.arm();
        let armed = self.queues.iter_mut().map(arm).take_while(|&armed| armed).count();
        let next = self.queues.iter().map(|queue| queue.waits_until).filter(|&time| time > now).min();
        let most = next.map_or(Duration::MAX, |time| clock::duration(time - now));
        let quiet = armed == self.queues.len()
            && !self.mailbox.full.load(Ordering::SeqCst)
            && self.board.epoch() == self.snapshot.epoch;
        if quiet {
            self.mailbox.counters.sleeps.add(1);
            self.sleeper.sleep(most);
        }
        self.mailbox.asleep.store(false, Ordering::SeqCst);
        self.mailbox.wake.drain();
        // The one that refused was armed as well, as far as its peer knows.
        self.queues.iter_mut().take(armed + 1).for_each(|queue| queue.queue.disarm());
    }
}
