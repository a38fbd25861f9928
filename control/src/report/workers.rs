//! What is told about workers and the queues that they poll.

use serde::{Deserialize, Serialize};

/// A worker, for `worker-stats`. Counts since the start, or since they were cleared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// The CPU it runs on.
    pub cpu: usize,
    /// Only queues that the operator put there are placed on it.
    pub isolated: bool,
    /// Percent of its CPU's time that it was busy in the last seconds.
    pub load: f64,
    /// Passes over its queues.
    pub passes: u64,
    /// Batches that held packets.
    pub batches: u64,
    /// Packets received.
    pub packets: u64,
    /// Cycles of passes that found something.
    pub busy_cycles: u64,
    /// Cycles of passes that found nothing.
    pub idle_cycles: u64,
    /// Times it went to sleep.
    pub sleeps: u64,
    /// Packets whose verdict was known for all traffic of their port.
    pub port_hits: u64,
    /// Packets whose verdict was known for all with their destination (see pools).
    pub sorted_hits: u64,
    /// Packets whose rule was found by comparing with a few.
    pub shortlist_hits: u64,
    /// Packets whose verdict was in the cache.
    pub cache_hits: u64,
    /// Packets that needed a walk through the table.
    pub walks: u64,
    /// Batches with walks, which cost their pool sixteen times their cycles.
    pub holds: u64,
    /// Queues that came from other workers.
    pub moved_in: u64,
    /// Queues that went to other workers.
    pub moved_out: u64,
    /// The queues that it polls.
    pub queues: Vec<QueueReport>,
}

/// A receive queue and who polls it, for `queue-show` and `worker-stats`. Its counts go with it from worker to worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueReport {
    /// The worker, from 0.
    pub worker: usize,
    /// Its CPU.
    pub cpu: usize,
    /// The port's name.
    pub port: String,
    /// The queue, from 0.
    pub queue: u16,
    /// The operator wants it there.
    pub pinned: bool,
    /// Percent of a CPU that it took in the last seconds.
    pub usage: f64,
    /// Packets received from it.
    pub packets: u64,
    /// In so many batches.
    pub batches: u64,
    /// Cycles spent on them, from receiving to sending.
    pub cycles: u64,
    /// Packets whose verdict was known for all traffic of their port.
    pub port_hits: u64,
    /// Packets whose verdict was known for all with their destination (see pools).
    pub sorted_hits: u64,
    /// Packets whose rule was found by comparing with a few.
    pub shortlist_hits: u64,
    /// Packets whose verdict was in the cache.
    pub cache_hits: u64,
    /// Packets that needed a walk through the tables.
    pub walks: u64,
    /// How often it went from one worker to another since it was attached.
    pub moves: u64,
    /// How many packets were found when the worker looked.
    pub batch_sizes: Vec<Bucket>,
    /// How many cycles a batch took.
    pub batch_cycles: Vec<Bucket>,
}

/// A part of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// From this value
    pub from: u64,
    /// to this one; none for no end.
    pub to: Option<u64>,
    /// were so many.
    pub count: u64,
}

impl WorkerReport {
    /// What was counted between two reports; the load is that of this one.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let queue = |queue: &QueueReport| {
            let earlier = |it: &&QueueReport| it.port == queue.port && it.queue == queue.queue;
            before.queues.iter().find(earlier).map_or_else(|| queue.clone(), |before| queue.since(before))
        };
        let less = u64::saturating_sub;
        Self {
            cpu: self.cpu,
            isolated: self.isolated,
            load: self.load,
            passes: less(self.passes, before.passes),
            batches: less(self.batches, before.batches),
            packets: less(self.packets, before.packets),
            busy_cycles: less(self.busy_cycles, before.busy_cycles),
            idle_cycles: less(self.idle_cycles, before.idle_cycles),
            sleeps: less(self.sleeps, before.sleeps),
            port_hits: less(self.port_hits, before.port_hits),
            sorted_hits: less(self.sorted_hits, before.sorted_hits),
            shortlist_hits: less(self.shortlist_hits, before.shortlist_hits),
            cache_hits: less(self.cache_hits, before.cache_hits),
            walks: less(self.walks, before.walks),
            holds: less(self.holds, before.holds),
            moved_in: less(self.moved_in, before.moved_in),
            moved_out: less(self.moved_out, before.moved_out),
            queues: self.queues.iter().map(queue).collect(),
        }
    }
}

impl QueueReport {
    /// The same for a queue.
    fn since(&self, before: &Self) -> Self {
        let less = u64::saturating_sub;
        let buckets = |now: &[Bucket], before: &[Bucket]| -> Vec<Bucket> {
            now.iter().zip(before).map(|(now, old)| Bucket { count: less(now.count, old.count), ..*now }).collect()
        };
        Self {
            packets: less(self.packets, before.packets),
            batches: less(self.batches, before.batches),
            cycles: less(self.cycles, before.cycles),
            port_hits: less(self.port_hits, before.port_hits),
            sorted_hits: less(self.sorted_hits, before.sorted_hits),
            shortlist_hits: less(self.shortlist_hits, before.shortlist_hits),
            cache_hits: less(self.cache_hits, before.cache_hits),
            walks: less(self.walks, before.walks),
            moves: less(self.moves, before.moves),
            batch_sizes: buckets(&self.batch_sizes, &before.batch_sizes),
            batch_cycles: buckets(&self.batch_cycles, &before.batch_cycles),
            ..self.clone()
        }
    }
}

/// How the load of the workers was evened out, or would be, for `rebalance`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RebalanceReport {
    /// Nothing was moved, it was only looked at.
    pub dry_run: bool,
    /// Every worker, in order.
    pub workers: Vec<WorkerLoad>,
    /// Queues that move, in order.
    pub moves: Vec<MoveReport>,
    /// Variance of the loads of the workers that share queues, in squared percent.
    pub variance: f64,
    /// The same when the moves are made.
    pub predicted_variance: f64,
    /// Percent of the variance that goes.
    pub improvement: f64,
    /// Why nothing moves, when nothing does.
    pub reason: Option<String>,
}

/// A worker of a [`RebalanceReport`]. Loads are the sums of its queues', in percent of a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerLoad {
    /// The worker, from 0.
    pub worker: usize,
    /// Its CPU.
    pub cpu: usize,
    /// Only queues that the operator put there are placed on it.
    pub isolated: bool,
    /// In the last seconds.
    pub load: f64,
    /// When the moves are made.
    pub predicted_load: f64,
}

/// A move of a [`RebalanceReport`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MoveReport {
    /// The port's name.
    pub port: String,
    /// The queue, from 0.
    pub queue: u16,
    /// Percent of a CPU that it took in the last seconds.
    pub usage: f64,
    /// From this worker
    pub from: usize,
    /// to this one.
    pub to: usize,
    /// In words.
    pub reason: String,
}
