//! A receive queue that a worker serves, and what its sender may send now: every rate and share that is kept by letting
//! frames wait in the sender's own ring. Neighbours: `run` serves it, `sched` knows the rates.

use std::sync::Arc;

use super::stats::QueueCounters;
use crate::packet::{BATCH, DropReason, PacketBatch};
use crate::pipeline::{PortEntry, Snapshot};
use crate::port::{PortId, RxQueue};
use crate::sched::{Egress, Habit, Limits, Pull, Shared};
use crate::sys::clock;

/// See the module.
pub(super) struct Attachment {
    pub(super) port: PortId,
    pub(super) index: u16,
    pub(super) queue: Box<dyn RxQueue>,
    pub(super) counters: Arc<QueueCounters>,
    /// Looks since it last had something; see `roster`.
    pub(super) empty_passes: u32,
    /// Cycles of the clock before which some rate allows nothing.
    pub(super) waits_until: u64,
    /// Where its bursts mostly go, when that is a port that others want too.
    habit: Habit,
    /// Bytes of its frames, on average over the last bursts; known while somebody limits it.
    mean_len: usize,
}

/// Whether a queue may be pulled from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Nobody limits it.
    Free,
    /// So many packets.
    Packets(usize),
    /// Not now.
    Refused,
}

impl Attachment {
    pub(super) fn new(port: PortId, index: u16, queue: Box<dyn RxQueue>, counters: Arc<QueueCounters>) -> Self {
        let habit = Habit::default();
        Self { port, index, queue, counters, empty_passes: 0, waits_until: 0, habit, mean_len: 0 }
    }

    /// What may be pulled now.
    #[inline(always)]
    pub(super) fn admission(&mut self, ingress: &PortEntry, snapshot: &Snapshot) -> Admission {
        if ingress.limits.is_none() && ingress.pool.limits().is_none() && self.habit.place().is_none() {
            // What it waited for may be gone: it is armed like any other again.
            self.waits_until = 0;
            return Admission::Free;
        }
        self.ask(ingress, snapshot)
    }

    fn ask(&mut self, ingress: &PortEntry, snapshot: &Snapshot) -> Admission {
        let now = clock::cycles();
        if self.waits_until > now {
            return Admission::Refused;
        }
        let own = limits(ingress).map(|limits| limits.pull(now, self.mean_len));
        // A share is asked for last: who does not get it counts as waiting.
        let own = own.fold(Pull::Packets(BATCH), least);
        let pull = match own {
            Pull::Packets(_) => self.ask_share(ingress, snapshot, now).map_or(own, |share| least(own, share)),
            refused => refused,
        };
        match pull {
            Pull::Packets(most) => Admission::Packets(most),
            Pull::NotBefore(time) => {
                self.waits_until = time;
                Admission::Refused
            }
            Pull::Later => Admission::Refused,
        }
    }

    /// The port to which its bursts mostly go, when others want it too.
    fn shared<'a>(&self, snapshot: &'a Snapshot) -> Option<(&'a PortEntry, &'a Egress, Shared)> {
        let place = self.habit.place()?;
        let port = snapshot.port(place.port)?;
        port.egress.as_deref().map(|egress| (&**port, egress, place))
    }

    /// What that port says.
    fn ask_share(&self, ingress: &PortEntry, snapshot: &Snapshot, now: u64) -> Option<Pull> {
        let (port, egress, place) = self.shared(snapshot)?;
        if self.empty_passes > 0 {
            return Some(egress.first_look());
        }
        if egress.is_short() {
            egress.saw_room(port.tx.room(), now);
        }
        Some(egress.ask(place.queue, &ingress.pool, self.mean_len, now))
    }

    /// Counts the batch against its rates, and tells the port that others share when there was less than it gave. Returns how
    /// many packets are left of the batch.
    pub(super) fn admit(&mut self, ingress: &PortEntry, snapshot: &Snapshot, batch: &mut PacketBatch) -> usize {
        if batch.room() > 0
            && let Some((_, egress, place)) = self.shared(snapshot)
        {
            egress.leave(place.queue, &ingress.pool);
        }
        if !batch.is_empty() {
            for limits in limits(ingress) {
                let too_many = limits.admit(clock::cycles(), batch);
                batch.drop_last(too_many, DropReason::Policed);
            }
        }
        batch.len()
    }

    /// Learns from a burst of `count` packets that came in here, most of which went to `shared`.
    #[inline(always)]
    pub(super) fn learn(&mut self, shared: Option<Shared>, bytes: usize, count: usize, is_limited: bool) {
        self.habit.note(shared);
        if is_limited || shared.is_some() {
            let mean = bytes / count.max(1);
            self.mean_len = if self.mean_len == 0 { mean } else { (self.mean_len * 7 + mean) / 8 };
        }
    }
}

/// The stricter of two answers.
fn least(one: Pull, other: Pull) -> Pull {
    match (one, other) {
        (Pull::Packets(one), Pull::Packets(other)) => Pull::Packets(one.min(other)),
        (Pull::NotBefore(one), Pull::NotBefore(other)) => Pull::NotBefore(one.max(other)),
        (Pull::Packets(_), refused) | (refused, _) => refused,
    }
}

/// The port's own, then the pool's.
fn limits(ingress: &PortEntry) -> impl Iterator<Item = &Limits> {
    ingress.limits.as_deref().into_iter().chain(ingress.pool.limits())
}
