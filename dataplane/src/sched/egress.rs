//! How the senders to one port share it: port, then queue, then pool.
//!
//! A sender asks before it is pulled from, and what it really sent is charged afterwards: more than it was given is a debt, which
//! comes first from its next share. It may have what the rates of port and queue have left; first comes who got less than it was
//! promised, then the higher class, then the one that is behind by weight (`waiting`). Who sends through two queues of a port
//! is two senders. Neighbours: control makes it from the port's QoS; workers ask before they pull from a ring whose frames go
//! there; `pipeline::egress` charges.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counts::{Count, QueueCounts};
use super::pool::{DEFAULT_WEIGHT, Pool, promise, virtual_time};
use super::room::Room;
use super::waiting::{PROMISED, Waiting};
use super::{Bucket, Pull, Rate};
use crate::packet::{BATCH, MAX_FRAME};
use crate::sys::clock;

/// Who was refused and does not ask again for so long is not waited for: its guest stopped, or its worker has something else to
/// do. More than a pass of a busy worker and than the millisecond to which the alarm of a sleeping one is rounded; little
/// beside the ten milliseconds that the bursts of rates make up for.
const PATIENCE_US: u64 = 2000;
/// Who gets whole batches again is still waited for until its refusal is so old: a few passes. Whoever is refused every other
/// time wants more than it gets; whoever is not any more is as fast as its worker and its guest are.
const RECENT_US: u64 = 100;
/// A ring of which nothing was sent for so long is dead: what goes there is dropped again, so that its senders can go on with
/// what they have for others.
const DEAD_AFTER_US: u64 = 10_000;
/// A round of a pool of the default weight lasts so long at the port's rate, within limits: two usual frames, a batch of them.
const ROUNDS_PER_SECOND: u64 = 20_000;
const ROUND_BYTES: (u64, u64) = (3028, 32 * 1536);

/// Packets that are pulled without asking from a ring in which there was nothing at the last look: so that only those ask who
/// have something, and nobody waits for the others.
const FIRST_LOOK: usize = 4;

/// One of a port's QoS queues (OpenFlow's `set_queue`, Open vSwitch's table Queue).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueSpec {
    /// OpenFlow's number of the queue. Packets that name none, or one that is not there, are in 0.
    pub id: u32,
    /// Bytes per second that it gets before others.
    pub min_bytes: Option<u64>,
    /// Most that it gets.
    pub max_bytes: Option<Rate>,
    /// Strict class, 0 to 7, higher first.
    pub priority: u8,
}

/// A port's QoS, as an operator asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressSpec {
    /// Most that all together send through the port; none when only its own speed limits it.
    pub max_bytes: Option<Rate>,
    /// Its queues, by number.
    pub queues: Vec<QueueSpec>,
}

/// What went through a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueTotals {
    /// Packets sent.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A shared port. Workers of all its senders use it at once.
#[derive(Debug)]
pub struct Egress {
    spec: EgressSpec,
    rate: Option<Bucket>,
    /// It has a rate, or one of its queues.
    is_limited: bool,
    /// In the order of the specification; one for those without another is always there.
    queues: Box<[Queue]>,
    /// Where queue 0 is.
    default: usize,
    room: Room,
    patience: u64,
    recent: u64,
    /// Somebody waits, or may have waited a moment ago.
    contended: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug)]
struct Queue {
    spec: QueueSpec,
    rate: Option<Bucket>,
    promise: Option<Bucket>,
    count: Arc<Count>,
}

impl Queue {
    fn new(spec: QueueSpec, second: u64) -> Self {
        let rate = spec.max_bytes.map(|rate| Bucket::new(rate.per_second, rate.burst, second));
        let promise = spec.min_bytes.map(|bytes| promise(bytes, second));
        Self { spec, rate, promise, count: Arc::new(Count::new()) }
    }

    /// Of what this pool sends here, beyond what was promised.
    fn class(&self, pool: &Pool) -> u8 {
        self.spec.priority.min(7) * 8 + pool.spec().priority.min(7)
    }
}

/// Bytes that a bucket has; as many as you like without one.
fn left(bucket: Option<&Bucket>, now: u64) -> u64 {
    bucket.map_or(u64::MAX, |bucket| u64::try_from(bucket.level(now)).unwrap_or(0))
}

/// What a promise still holds, and nothing where nothing was promised.
fn held(promise: Option<&Bucket>, now: u64) -> u64 {
    promise.map_or(0, |promise| left(Some(promise), now))
}

/// Takes of these bytes what was promised, and returns how many that are: all of a frame that is begun, which the next ones pay.
fn draw(promise: Option<&Bucket>, bytes: u64, now: u64) -> u64 {
    let drawn = match held(promise, now) {
        0 => 0,
        held => bytes.min(held + MAX_FRAME as u64),
    };
    promise.into_iter().for_each(|promise| promise.take(drawn, now));
    drawn
}

impl Egress {
    /// Nobody waits yet.
    #[must_use]
    pub fn new(spec: EgressSpec) -> Self {
        Self::with_clock(spec, clock::cycles_per_second())
    }

    pub(super) fn with_clock(spec: EgressSpec, second: u64) -> Self {
        let default = spec.queues.iter().position(|queue| queue.id == 0);
        let implied = default.is_none().then(QueueSpec::default);
        let queues: Box<[Queue]> =
            spec.queues.iter().copied().chain(implied).map(|queue| Queue::new(queue, second)).collect();
        let (least, most) = ROUND_BYTES;
        let round = spec.max_bytes.map_or(most, |rate| (rate.per_second / ROUNDS_PER_SECOND).clamp(least, most));
        let is_limited = spec.max_bytes.is_some() || spec.queues.iter().any(|queue| queue.max_bytes.is_some());
        Self {
            is_limited,
            rate: spec.max_bytes.map(|rate| Bucket::new(rate.per_second, rate.burst, second)),
            default: default.unwrap_or(queues.len() - 1),
            room: Room::new(second / 1_000_000 * DEAD_AFTER_US),
            patience: second / 1_000_000 * PATIENCE_US,
            recent: second / 1_000_000 * RECENT_US,
            contended: AtomicBool::new(false),
            waiting: Mutex::new(Waiting::new(queues.len(), virtual_time(round, DEFAULT_WEIGHT))),
            queues,
            spec,
        }
    }

    /// Nobody waits yet; queues that the port had before, by number, count on.
    #[must_use]
    pub fn after(spec: EgressSpec, before: &Self) -> Self {
        let mut egress = Self::new(spec);
        for queue in &mut egress.queues {
            if let Some(old) = before.queues.iter().find(|old| old.spec.id == queue.spec.id) {
                queue.count = Arc::clone(&old.count);
            }
        }
        egress
    }

    /// What every queue counted.
    #[must_use]
    pub fn counts(&self) -> Vec<QueueCounts> {
        self.queues.iter().map(|queue| queue.count.read(queue.spec.id)).collect()
    }

    /// Counts what the port did not take.
    #[cold]
    pub fn missed(&self, queue: u32, packets: u64) {
        self.queues[self.place_of(queue)].count.missed(packets);
    }

    /// What was asked for.
    #[must_use]
    pub fn spec(&self) -> &EgressSpec {
        &self.spec
    }

    /// What went through the queue with this number, since it was made; not counted where no queues were asked for.
    #[must_use]
    pub fn totals(&self, queue: u32) -> QueueTotals {
        let QueueCounts { packets, bytes, .. } = self.queues[self.place_of(queue)].count.read(queue);
        QueueTotals { packets, bytes }
    }

    /// True when queue numbers make a difference.
    #[inline(always)]
    #[must_use]
    pub fn has_queues(&self) -> bool {
        self.queues.len() > 1
    }

    fn place_of(&self, queue: u32) -> usize {
        let named = || self.queues.iter().position(|known| known.spec.id == queue);
        Some(self.default).filter(|_| queue == 0).or_else(named).unwrap_or(self.default)
    }

    /// Nobody has to wait, and nothing has to be remembered.
    #[inline(always)]
    fn is_calm(&self) -> bool {
        !self.is_limited && !self.contended.load(Relaxed) && !self.room.is_short()
    }

    /// How much may be pulled without asking from a ring that was empty when it was looked at last.
    #[must_use]
    pub fn first_look(&self) -> Pull {
        Pull::Packets(if self.is_calm() { BATCH } else { FIRST_LOOK })
    }

    /// How much of a ring of this pool, whose frames are `frame` bytes long on average and mostly go to this queue, may be
    /// pulled at `now`. The last packet may exceed what is there.
    #[must_use]
    pub fn ask(&self, queue: u32, pool: &Pool, frame: usize, now: u64) -> Pull {
        if self.is_calm() {
            return Pull::Packets(BATCH);
        }
        let (place, frame) = (self.place_of(queue), frame.max(1) as u64);
        let (queue, want) = (&self.queues[place], frame * BATCH as u64);
        let mut waiting = self.lock();
        waiting.forget(now);
        let own = left(queue.rate.as_ref(), now);
        if let (Some(rate), 0) = (&queue.rate, own) {
            waiting.leave(place, pool);
            self.note(&waiting);
            return Pull::NotBefore(rate.ready_at());
        }
        let class = queue.class(pool);
        let promised = match held(queue.promise.as_ref(), now) {
            0 => 0,
            held => held.min(waiting.promised_share(place, pool)),
        };
        let promised = promised.saturating_add(held(pool.promise(), now)).min(want);
        let share = promised.saturating_add(waiting.share(place, pool, class)).min(left(self.rate.as_ref(), now));
        let must_wait = self.room.must_wait(now);
        let mut since = now;
        let pull = match &self.rate {
            Some(rate) if rate.level(now) <= 0 => {
                since = since.max(rate.ready_at());
                Pull::NotBefore(since)
            }
            _ if share == 0 || must_wait => Pull::Later,
            _ => Pull::Packets((share.min(own) / frame + 1).min(BATCH as u64) as usize),
        };
        if must_wait || share < want {
            let is_promised = promised > 0 && (must_wait || share < promised);
            waiting.stay(place, pool, if is_promised { PROMISED } else { class }, since, self.patience);
        } else {
            waiting.go(place, pool, self.recent);
        }
        self.note(&waiting);
        pull
    }

    /// The ring of which it was asked has nothing more to send.
    pub fn leave(&self, queue: u32, pool: &Pool) {
        if self.contended.load(Relaxed) {
            let mut waiting = self.lock();
            waiting.leave(self.place_of(queue), pool);
            self.note(&waiting);
        }
    }

    /// Counts what was sent.
    pub fn charge(&self, queue: u32, pool: &Pool, sent: QueueTotals, now: u64) {
        let QueueTotals { packets, bytes } = sent;
        let place = self.place_of(queue);
        let queue = &self.queues[place];
        if !self.spec.queues.is_empty() {
            queue.count.sent(packets, bytes);
        }
        if self.is_calm() {
            return;
        }
        self.rate.iter().chain(&queue.rate).for_each(|bucket| bucket.take(bytes, now));
        let mut rest = bytes - draw(pool.promise(), bytes, now);
        let mut waiting = self.lock();
        if queue.promise.is_some() {
            let part = rest.min(waiting.promised_share(place, pool));
            let drawn = draw(queue.promise.as_ref(), part, now);
            waiting.charge_promise(place, pool, drawn);
            rest -= drawn;
        }
        waiting.charge(place, pool, queue.class(pool), rest);
    }

    /// True when somebody should look how many frames the port takes, and tell it ([`saw_room`](Self::saw_room)).
    #[inline(always)]
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.room.is_short()
    }

    /// The port takes so many frames now.
    pub fn saw_room(&self, frames: usize, now: u64) {
        self.room.saw(frames, now);
    }

    /// One of the port's queues takes so many frames, after some were sent through it.
    #[inline]
    pub fn saw_rest(&self, frames: usize, now: u64) {
        self.room.saw_rest(frames, now);
    }

    fn note(&self, waiting: &Waiting) {
        self.contended.store(!waiting.is_empty(), Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
