//! One worker: the queues it owns, one pass over them, and the loop around that.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::attachment::{Admission, Attachment};
use super::idle::Sleeper;
use super::roster::Roster;
use super::stats::WorkerCounters;
use super::switchboard::Switchboard;
use crate::packet::PacketBatch;
use crate::pipeline::{FlowCache, PacketOut, Pipeline, PortEntry, Snapshot, Upcalls};
use crate::port::PortId;
use crate::sched::Turns;
use crate::sys::clock;
use crate::sys::event::EventFd;

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
    /// Whose turn it is.
    turns: Turns,
    /// When the last pass ended, in cycles of the clock: reading it costs as much as a packet.
    now: u64,
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
            turns: Turns::default(),
            now: clock::cycles(),
            stopped: false,
        })
    }

    /// Where its upcalls can be taken.
    pub(super) fn upcalls(&self) -> Arc<Upcalls> {
        self.pipeline.upcalls()
    }

    /// One pass: takes the snapshot in force and the mail, then serves each queue once. Returns the packets received.
    /// Bounded, never blocks.
    #[inline(never)] // `benches/count` counts what happens inside.
    pub fn poll_once(&mut self) -> usize {
        self.take_snapshot();
        if self.mailbox.full.load(Ordering::Relaxed) {
            self.read_mail();
        }
        self.serve_all()
    }

    #[inline]
    fn take_snapshot(&mut self) {
        if self.snapshot.epoch != self.board.epoch() {
            self.snapshot = self.board.current();
            self.board.acknowledge(self.number, self.snapshot.epoch);
            // Rates may be other ones now: everybody asks again.
            self.queues.iter_mut().for_each(|queue| queue.waits_until = 0);
        }
    }

    /// A pass, or a second one when those had no turn in the first who had something.
    #[inline]
    fn serve_all(&mut self) -> usize {
        let (mut received, others_wait) = self.pass();
        if received == 0 && others_wait {
            (received, _) = self.pass();
        }
        self.account(received);
        received
    }

    /// Serves each queue whose pool has its turn. Returns the packets received, and true when others waited who have it now.
    #[inline]
    fn pass(&mut self) -> (usize, bool) {
        self.turns.begin_pass();
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
        (received, self.turns.end_pass())
    }

    /// Receives a batch from one queue, processes it and gives the descriptors back. `None` when the queue has no turn.
    #[inline]
    fn serve(&mut self, index: usize) -> Option<usize> {
        let attachment = &mut self.queues[index];
        // A queue may be attached before its port is published: it waits.
        let ingress = self.snapshot.port(attachment.port)?;
        if !self.turns.has_turn(&ingress.pool) {
            return None;
        }
        let admission = attachment.admission(ingress, &self.snapshot);
        match admission {
            Admission::Free => {}
            Admission::Packets(most) => self.batch.limit(most),
            Admission::Refused => return None,
        }
        let is_limited = admission != Admission::Free;
        let start = clock::cycles();
        self.batch.set_blind(self.pipeline.is_blind(&self.snapshot, ingress));
        let mut received = attachment.queue.rx_batch(&mut self.batch);
        let is_full = self.batch.room() == 0;
        if is_limited {
            received = attachment.admit(ingress, &self.snapshot, &mut self.batch);
        }
        if received == 0 && self.batch.tally.total() == 0 {
            attachment.counters.found_nothing();
            // A limit holds for one burst.
            self.batch.clear();
            return Some(0);
        }
        let bytes = self.pipeline.process(&mut self.batch, &self.snapshot, ingress);
        let counters = &self.mailbox.counters;
        let lookups = self.pipeline.lookups();
        counters.batches.add(1);
        counters.packets.add(received as u64);
        counters.port_hits.add(lookups.port_hits);
        counters.sorted_hits.add(lookups.sorted_hits);
        counters.shortlist_hits.add(lookups.shortlist_hits);
        counters.cache_hits.add(lookups.cache_hits);
        counters.walks.add(lookups.walks);
        counters.holds.add(u64::from(lookups.walks > 0));
        attachment.queue.finish();
        attachment.learn(self.pipeline.take_shared(received), bytes, received, is_limited);
        let cycles = clock::cycles().saturating_sub(start);
        attachment.counters.served(received, lookups, cycles);
        self.turns.charge(&ingress.pool, cycles, lookups.walk_cycles, is_full);
        let handled = received + self.batch.tally.total() as usize;
        self.batch.clear();
        Some(handled)
    }

    /// The time since the last pass was this one's.
    fn account(&mut self, received: usize) {
        let now = clock::cycles();
        let cycles = now.saturating_sub(std::mem::replace(&mut self.now, now));
        let counters = &self.mailbox.counters;
        counters.passes.add(1);
        if received > 0 {
            counters.busy_cycles.add(cycles);
            return;
        }
        counters.idle_cycles.add(cycles);
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
        if let Some(fd) = attachment.queue.event_fd()
            && let Err(error) = self.sleeper.watch(fd, attachment.port, attachment.index)
        {
            tracing::warn!(port = attachment.port.0, %error, "cannot sleep on this queue's descriptor");
        }
        self.queues.add(attachment);
    }

    /// What the queue has learned goes with it.
    fn detach(&mut self, port: PortId, index: u16) -> Option<Attachment> {
        let attachment = self.queues.remove(port, index)?;
        if let Some(fd) = attachment.queue.event_fd() {
            self.sleeper.forget(fd);
        }
        Some(attachment)
    }

    /// Polls until told to stop.
    pub(super) fn run(mut self) {
        self.now = clock::cycles();
        let mut last_work = self.now;
        while !self.stopped {
            if self.poll_once() > 0 {
                last_work = self.now;
            } else if self.now.saturating_sub(last_work) > self.mailbox.spin.load(Ordering::Relaxed) {
                self.sleep();
                last_work = self.now;
            } else {
                std::hint::spin_loop();
            }
        }
    }

    /// Asks every peer for notifications and sleeps until one comes, unless something came meanwhile. Between waking and
    /// serving who woke us stands no system call, and nothing is done for anybody else: what was signalled is taken back
    /// before the next sleep, and peers are asked to stop after the pass.
    fn sleep(&mut self) {
        // Before peers are asked: what they signal afterwards counts.
        self.sleeper.take_back();
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
            self.sleeper.sleep(most).for_each(|(port, index)| self.queues.expect(port, index));
        }
        // Before the look at the epoch: who sleeps counts as having left the old one (`Workers::is_in_effect`).
        self.mailbox.asleep.store(false, Ordering::SeqCst);
        // Time slept is nobody's.
        self.now = clock::cycles();
        if quiet {
            self.take_snapshot();
            self.serve_all();
        }
        // The one that refused was armed as well, as far as its peer knows.
        self.queues.iter_mut().take(armed + 1).for_each(|queue| queue.queue.disarm());
    }
}
