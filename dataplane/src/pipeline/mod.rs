//! The pipeline: parse, classify, act; functions over a batch, and the snapshot they read.
//!
//! ```text
//! rx -> batch -> parse (as deep as rules look) -> classify (port verdict | cache | table walk) -> act -> egress -> tx
//! ```
//!
//! Trust: heads are private copies, their bytes are hostile. Neighbours: `worker` calls [`Pipeline::process`] once per
//! batch; control builds the [`Snapshot`].

mod act;
mod cache;
mod classify;
mod egress;
mod fdb;
mod normal;
mod parse;
mod rewrite;
mod snapshot;
mod upcall;

pub use cache::{DEFAULT_ENTRIES, FlowCache, MAX_ENTRIES, Verdict};
pub use classify::Lookups;
pub use fdb::{Fdb, FdbEntry, FdbStats};
pub use snapshot::{BridgePorts, BridgeView, LOCAL_NUMBER, Native, PortEntry, Program, Snapshot, VlanMode, VlanSet};
pub use upcall::{Continuation, Learned, PacketIn, PacketOut, Upcall};

use act::Burst;
use classify::Classifier;
use egress::{Context, Egress};

use crate::packet::{BATCH, DropReason, Packet, PacketBatch};
use crate::sys::clock;

/// One worker's pipeline: its caches and its scratch space, nothing that outlives a batch but what was learned.
pub struct Pipeline {
    lane: usize,
    classifier: Classifier,
    egress: Egress,
    pairs: normal::Pairs,
}

impl Pipeline {
    /// For the worker that counts in lane `lane`.
    #[must_use]
    pub fn new(lane: usize) -> Self {
        Self { lane, classifier: Classifier::default(), egress: Egress::default(), pairs: [None; BATCH] }
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

    /// Processes the batch that came in at `ingress`: every packet is sent or counted as dropped when this returns.
    pub fn process(&mut self, batch: &mut PacketBatch, snapshot: &Snapshot, ingress: &PortEntry) {
        let counters = &ingress.counters[self.lane];
        let count = batch.len();
        let bytes: usize = batch.packets().iter().map(Packet::len).sum();
        counters.received(count as u64 + u64::from(batch.tally.total()), bytes as u64);
        if batch.tally.total() > 0 {
            counters.add_tally(&batch.tally);
        }
        self.classifier.lookups = Lookups::default();
        let Some(bridge) = snapshot.bridge(ingress.bridge) else {
            counters.dropped(DropReason::NoRule, count as u64);
            return;
        };
        let context = Context { snapshot, lane: self.lane, now_ms: clock::coarse_ms(), ingress: counters };
        let mut verdicts = [None; BATCH];
        self.classifier.classify(bridge, ingress, batch, &mut verdicts);
        let mut burst = Burst { context, bridge, ingress, batch, egress: &mut self.egress, pairs: &mut self.pairs };
        // Neighbours with the same verdict are one run: in the common case the whole batch is.
        let mut first = 0;
        for run in verdicts[..count].chunk_by(|one, next| one == next) {
            let ids = first..first + run.len();
            first = ids.end;
            decide(&mut burst, run[0], ids, bytes);
        }
        self.egress.flush(context, batch);
        self.egress.settle(counters, count);
    }
}

/// `verdict` is `None` when the port's budget of walks was spent; `all_bytes` are those of the whole batch.
fn decide(burst: &mut Burst, verdict: Option<Verdict>, ids: std::ops::Range<usize>, all_bytes: usize) {
    let rule = match verdict {
        Some(Verdict::Rule(id)) => burst.bridge.program.tables.table(0).and_then(|table| table.rule(id)),
        Some(Verdict::NoRule) | None => None,
    };
    if let Some(rule) = rule {
        let packets = burst.batch.packets();
        let bytes = match ids.len() == packets.len() {
            true => all_bytes,
            false => packets[ids.clone()].iter().map(Packet::len).sum(),
        };
        rule.stats[burst.context.lane].count(ids.len() as u64, bytes as u64, burst.context.now_ms);
        act::run(burst, &rule.flow.actions, ids);
        return;
    }
    let reason = if verdict.is_none() { DropReason::LookupBudget } else { DropReason::NoRule };
    ids.for_each(|id| burst.egress.note_drop(id, reason));
}
