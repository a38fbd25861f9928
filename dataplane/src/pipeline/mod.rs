//! The pipeline: parse, classify, act; functions over a batch, and the snapshot they read.
//!
//! ```text
//! rx -> batch -> sort -> parse (as deep as rules look) -> classify (port verdict | shortlist | cache | walk) -> act or run -> egress -> tx
//! ```
//! A rule of the first table whose actions are plain is run as it stands (`act`). Everything else OpenFlow knows is worked out
//! by a walk through the tables (`walk`), once for all packets with the same key, and kept as a list of steps (`path`, `run`).
//!
//! Trust: heads are private copies, their bytes are hostile. Neighbours: `worker` calls [`Pipeline::process`] once per
//! batch; control builds the [`Snapshot`].

mod act;
mod cache;
mod classify;
mod egress;
mod fdb;
mod live;
mod normal;
mod pairs;
mod parse;
mod path;
mod punt;
mod record;
mod rewrite;
mod run;
mod shortlist;
mod snapshot;
mod sort;
mod stats;
mod trace;
mod upcall;
mod walk;

pub use cache::{DEFAULT_ENTRIES, FlowCache, MAX_ENTRIES, Verdict};
pub use classify::Lookups;
pub use fdb::{Fdb, FdbEntry, FdbStats};
pub use parse::fields_of_frame;
pub use punt::Upcalls;
pub use shortlist::Shortlist;
pub use snapshot::{
    BridgePorts, BridgeView, LOCAL_NUMBER, NOWHERE, Native, PortEntry, PortFlags, Program, Snapshot, VlanMode, VlanSet,
};
pub use sort::{Openings, Refusal, SortEntry, SortState, SortTable, SortTotals, SortedPool, Target, Wanted};
pub use stats::{TableStats, TableTotals};
pub use trace::{Trace, TraceEvent, trace};
pub use upcall::{Continuation, Learned, PacketIn, PacketOut, Upcall};

use std::ops::Range;
use std::sync::Arc;

use act::{Burst, Slow};
use cache::Kind;
use classify::Classifier;
use egress::{Context, Egress};
use path::Paths;

use crate::packet::{BATCH, DropReason, PacketBatch};
use crate::sched::Shared;
use crate::sys::clock;

/// One worker's pipeline: its caches and its scratch space, nothing that outlives a batch but what was learned.
pub struct Pipeline {
    lane: usize,
    classifier: Classifier,
    egress: Egress,
    normal: normal::Room,
    slow: Slow,
}

impl Pipeline {
    /// For the worker that counts in lane `lane`.
    #[must_use]
    pub fn new(lane: usize) -> Self {
        let (classifier, egress, slow) = (Classifier::default(), Egress::default(), Slow::default());
        Self { lane, classifier, egress, normal: normal::Room::default(), slow }
    }

    /// Sets the cache of a bridge and returns the one it had.
    pub fn set_cache(&mut self, bridge: usize, cache: Option<Box<FlowCache>>) -> Option<Box<FlowCache>> {
        self.classifier.set_cache(bridge, cache)
    }

    /// How verdicts were found in the last batch.
    #[must_use]
    pub fn lookups(&self) -> Lookups {
        self.classifier.lookups
    }

    /// Where its upcalls can be taken.
    #[must_use]
    pub fn upcalls(&self) -> Arc<Upcalls> {
        Arc::clone(&self.slow.upcaller.queue)
    }

    /// True when nobody looks into frames that come in at `ingress`: all of them only go to other ports. Known from the second
    /// batch on.
    #[inline(always)]
    #[must_use]
    pub fn is_blind(&self, snapshot: &Snapshot, ingress: &PortEntry) -> bool {
        snapshot.bridge(ingress.bridge).is_some_and(|bridge| self.classifier.is_blind(bridge, ingress))
    }

    /// Processes the batch that came in at `ingress`: every packet is sent or counted as dropped when this returns. Returns how
    /// many bytes came in.
    pub fn process(&mut self, batch: &mut PacketBatch, snapshot: &Snapshot, ingress: &PortEntry) -> usize {
        let counters = &ingress.counters[self.lane];
        let count = batch.len();
        let bytes = batch.bytes();
        counters.received(count as u64 + u64::from(batch.tally.total()), bytes as u64);
        if batch.tally.total() > 0 {
            counters.add_tally(&batch.tally);
        }
        self.classifier.lookups = Lookups::default();
        if count == 0 {
            // All that came in was dropped: no rule has seen a packet.
            return bytes;
        }
        let Some(bridge) = snapshot.bridge(ingress.bridge) else {
            counters.dropped(DropReason::NoRule, count as u64);
            return bytes;
        };
        if ingress.flags.no_recv {
            counters.dropped(DropReason::PortConfig, count as u64);
            return bytes;
        }
        if batch.is_blind() && !self.classifier.is_blind(bridge, ingress) {
            batch.see();
        }
        let context = self.context(snapshot, ingress);
        let mut verdicts = [Verdict::UNKNOWN; BATCH];
        let verdict = self.classifier.classify(bridge, ingress, batch, self.lane, &mut verdicts);
        // In the common case the whole batch is decided at once, which a comparison without a branch per packet finds out.
        let verdict = verdict.or_else(|| Verdict::of_all(&verdicts[..count]));
        let (paths, keys, budget) = self.classifier.found(ingress.bridge);
        let (egress, normal, slow, origin) = (&mut self.egress, &mut self.normal, &mut self.slow, Some(ingress.id));
        let mut burst = Burst { context, bridge, ingress, batch, egress, normal, origin, keys, budget, slow };
        if let Some(verdict) = verdict {
            decide(&mut burst, paths, verdict, 0..count, bytes);
        } else {
            // Neighbours with the same verdict are one run.
            let mut first = 0;
            for run in verdicts[..count].chunk_by(|one, next| one == next) {
                let ids = first..first + run.len();
                first = ids.end;
                decide(&mut burst, paths, run[0], ids, bytes);
            }
        }
        self.egress.flush(context, batch);
        self.egress.settle(counters, count);
        bytes
    }

    fn context<'a>(&self, snapshot: &'a Snapshot, ingress: &'a PortEntry) -> Context<'a> {
        Context { snapshot, lane: self.lane, now_ms: clock::coarse_ms(), ingress }
    }

    /// The shared port to which most packets of the last batch went, if there is one; asked once.
    #[inline(always)]
    pub fn take_shared(&mut self, count: usize) -> Option<Shared> {
        self.egress.take_shared(count)
    }

    /// Sends a packet of control's own, the only one of `batch`, as if it had come in at `ingress`. It counts as one more copy
    /// of something that came in there.
    pub fn inject(&mut self, batch: &mut PacketBatch, snapshot: &Snapshot, ingress: &PortEntry, packet: &PacketOut) {
        let counters = &ingress.counters[self.lane];
        let Some(bridge) = snapshot.bridge(ingress.bridge) else { return };
        let context = self.context(snapshot, ingress);
        let (_, keys, _) = self.classifier.found(ingress.bridge);
        let (egress, normal, slow) = (&mut self.egress, &mut self.normal, &mut self.slow);
        let (origin, budget) = (Some(ingress.id).filter(|&id| id != NOWHERE), classify::WALK_BUDGET);
        let mut burst = Burst { context, bridge, ingress, batch, egress, normal, origin, keys, budget, slow };
        live::inject(&mut burst, packet);
        self.egress.flush(context, batch);
        self.egress.take_shared(1);
        counters.copied(1);
        self.egress.settle(counters, 1);
    }
}

/// `verdict` is not known when the port's budget of walks was spent; `all_bytes` are those of the whole batch.
fn decide(burst: &mut Burst, paths: Option<&Paths>, verdict: Verdict, ids: Range<usize>, all_bytes: usize) {
    let lane = burst.context.lane;
    match verdict.kind() {
        Kind::Rule(id) => {
            let Some(rule) = burst.bridge.program.tables.table(0).and_then(|table| table.rule(id)) else { return };
            let bytes = match ids.len() == burst.batch.len() {
                true => all_bytes,
                false => burst.batch.lens().skip(ids.start).take(ids.len()).sum(),
            };
            rule.stats[lane].count(ids.len() as u64, bytes as u64, burst.context.now_ms);
            burst.bridge.stats.count(lane, 0, ids.len() as u64, true);
            act::run(burst, &rule.flow.actions, ids);
        }
        Kind::Path(path) => {
            if let Some(paths) = paths {
                run::run(burst, paths.path(path), ids);
            }
        }
        Kind::Live => {
            for id in ids {
                let key = burst.key(id);
                live::walk(burst, id, key, |walk| walk.start());
            }
        }
        Kind::NoRule => {
            burst.bridge.stats.count(lane, 0, ids.len() as u64, false);
            ids.for_each(|id| burst.egress.note_drop(id, DropReason::NoRule));
        }
        Kind::Unknown => ids.for_each(|id| burst.egress.note_drop(id, DropReason::LookupBudget)),
    }
}
