//! Workers in the words of control: where queues are wanted, when they are moved, what is told about it.
//!
//! Neighbours: `ringswitch_dataplane::worker` measures, plans and moves; `dataplane` owns this.

use std::collections::BTreeMap;

use ringswitch_dataplane::port::PortId;
use ringswitch_dataplane::sys::clock::coarse_ms;
use ringswitch_dataplane::worker::{
    AutoBalance, Idle, Move, Patience, Pin, Plan, QueuePlacement, QueueTotals, WorkerPlacement, WorkerTotals, Workers,
};
use tracing::{info, warn};

use super::options;
use crate::engine::Affinity;
use crate::model::Settings;
use crate::report::{Bucket, MoveReport, QueueReport, RebalanceReport, WorkerLoad, WorkerReport};

/// Queues that are moved at once without being asked to: more can follow in the next interval.
const AUTO_MOVES: usize = 8;

/// What decides about moves.
#[derive(Default)]
pub struct Balance {
    auto: Option<AutoBalance>,
    patience: Patience,
    /// Whether nobody may be placed beside a pinned queue, and where those are.
    pins: (bool, Vec<Pin>),
}

impl Balance {
    /// Takes the settings over, and moves queues to where they are wanted.
    pub fn place(
        &mut self,
        workers: &Workers,
        settings: &Settings,
        affinity: &[Affinity],
        name: impl Fn(PortId) -> String,
    ) {
        let config = options::workers(settings, workers.cpus());
        workers.set_idle(config.idle);
        workers.set_cache_entries(config.cache_entries);
        if let Err(error) = workers.set_resume_latency(options::resume_latency(settings)) {
            warn!("resume-latency-us has no effect: {error}");
        }
        self.auto = options::auto_balance(settings);
        let worker_on = |cpu| workers.cpus().iter().position(|&it| it == cpu);
        let pin = |it: &Affinity| Some(Pin { port: it.port, index: it.queue, worker: worker_on(it.cpu)? });
        let pins = (settings.flag("pmd-rxq-isolate").unwrap_or(true), affinity.iter().filter_map(pin).collect());
        if self.pins == pins {
            return;
        }
        self.pins = pins;
        let (isolates, pins) = &self.pins;
        if *isolates && (0..workers.count()).all(|worker| pins.iter().any(|pin| pin.worker == worker)) {
            warn!("every worker has a pinned queue: none is isolated, for somebody has to poll the others");
        }
        for it in workers.set_pins(pins, *isolates) {
            info!(port = %name(it.port), queue = it.index, from = it.from, to = it.to, "moved to where it is wanted");
        }
    }

    /// Measures, and moves queues when that is wanted and helps.
    pub fn tend(&mut self, workers: &Workers, name: impl Fn(PortId) -> String) {
        workers.sample();
        let Some(auto) = &self.auto else { return };
        let shared = workers.placement().into_iter().filter(|worker| !worker.isolated);
        let busiest = shared.map(|worker| worker.busy).fold(0.0, f64::max);
        if !self.patience.is_over(coarse_ms(), busiest, auto) {
            return;
        }
        let plan = workers.plan(AUTO_MOVES);
        let busiest = percent(busiest);
        match plan.idle {
            Some(why) => info!("a worker is busy for {busiest:.1} %, but nothing moves: {}", why_idle(why)),
            None if plan.improvement() < auto.improvement_threshold => {
                let (gain, least) = (plan.improvement(), auto.improvement_threshold);
                info!(
                    "a worker is busy for {busiest:.1} %, but moves would take {gain:.1} % of the variance, not {least} %"
                );
            }
            None => drop(carry_out(workers, &plan, name)),
        }
    }
}

/// Makes the moves; each is logged with what it does to both workers.
fn carry_out(workers: &Workers, plan: &Plan, name: impl Fn(PortId) -> String) -> Vec<Move> {
    let made = workers.make(&plan.moves);
    for it in &made {
        info!(port = %name(it.port), queue = it.index, from = it.from, to = it.to, "moved: {}", reason(it));
    }
    let (before, after) = plan.variances();
    info!(moves = made.len(), "rebalanced: variance {before:.1} -> {after:.1} ({:.1} % better)", plan.improvement());
    made
}

/// Evens out the load, or only tells how.
pub fn rebalance(workers: &Workers, dry_run: bool, name: impl Fn(PortId) -> String) -> RebalanceReport {
    let plan = workers.plan(usize::MAX);
    let moves = if dry_run || plan.moves.is_empty() { plan.moves.clone() } else { carry_out(workers, &plan, &name) };
    let load = |worker: usize| WorkerLoad {
        worker,
        cpu: workers.cpus()[worker],
        isolated: !plan.open[worker],
        load: percent(plan.before[worker]),
        predicted_load: percent(plan.after[worker]),
    };
    let told = |it: &Move| MoveReport {
        port: name(it.port),
        queue: it.index,
        usage: percent(it.load),
        from: it.from,
        to: it.to,
        reason: reason(it),
    };
    let (variance, predicted_variance) = plan.variances();
    RebalanceReport {
        dry_run,
        workers: (0..workers.count()).map(load).collect(),
        moves: moves.iter().map(told).collect(),
        variance,
        predicted_variance,
        improvement: plan.improvement(),
        reason: plan.idle.map(|why| why_idle(why).to_owned()),
    }
}

fn reason(it: &Move) -> String {
    let (from, to) = it.loads;
    let (load, from_load, to_load) = (percent(it.load), percent(from), percent(to));
    let back = if from < to { ", in exchange" } else { "" };
    format!("it takes {load:.1} %; worker {} carries {from_load:.1} %, worker {} {to_load:.1} %{back}", it.from, it.to)
}

fn why_idle(why: Idle) -> &'static str {
    match why {
        Idle::OneWorker => "fewer than two workers share queues; the others are isolated, or there is only one",
        Idle::NoLoad => "no queue had any load to speak of in the last seconds",
        Idle::AllPinned => "every queue with load is pinned by pmd-rxq-affinity",
        Idle::Even => "no move would make the load more even",
    }
}

fn percent(share: f64) -> f64 {
    share * 100.0
}

/// Every worker and its queues.
pub fn report(workers: &Workers, name: impl Fn(PortId) -> String) -> Vec<WorkerReport> {
    let queues = workers.queues();
    let each = workers.stats().into_iter().zip(workers.placement()).enumerate();
    let report = |(number, (stats, placed)): (usize, (WorkerTotals, WorkerPlacement))| {
        let cpu = workers.cpus()[number];
        let mine = queues.iter().filter(|queue| queue.worker == number);
        WorkerReport {
            cpu,
            isolated: placed.isolated,
            load: percent(placed.busy),
            passes: stats.passes,
            batches: stats.batches,
            packets: stats.packets,
            busy_cycles: stats.busy_cycles,
            idle_cycles: stats.idle_cycles,
            sleeps: stats.sleeps,
            port_hits: stats.port_hits,
            sorted_hits: stats.sorted_hits,
            shortlist_hits: stats.shortlist_hits,
            cache_hits: stats.cache_hits,
            walks: stats.walks,
            holds: stats.holds,
            moved_in: stats.moved_in,
            moved_out: stats.moved_out,
            queues: mine.map(|queue| queue_report(queue, cpu, name(queue.port))).collect(),
        }
    };
    each.map(report).collect()
}

fn queue_report(queue: &QueuePlacement, cpu: usize, port: String) -> QueueReport {
    let totals = &queue.totals;
    let size = |(kind, &count): (usize, &u64)| {
        let (from, to) = QueueTotals::sizes_of(kind);
        Bucket { from, to: Some(to), count }
    };
    let cycles = |(kind, &count): (usize, &u64)| {
        let (from, to) = QueueTotals::cycles_of(kind);
        Bucket { from, to, count }
    };
    QueueReport {
        worker: queue.worker,
        cpu,
        port,
        queue: queue.index,
        pinned: queue.pinned,
        usage: percent(queue.load),
        packets: totals.packets,
        batches: totals.batches,
        cycles: totals.cycles,
        port_hits: totals.port_hits,
        sorted_hits: totals.sorted_hits,
        shortlist_hits: totals.shortlist_hits,
        cache_hits: totals.cache_hits,
        walks: totals.walks,
        moves: queue.moves,
        batch_sizes: totals.sizes.iter().enumerate().map(size).collect(),
        batch_cycles: totals.batch_cycles.iter().enumerate().map(cycles).collect(),
    }
}

/// What a port is called.
pub fn names(ports: &BTreeMap<PortId, super::Opened>) -> impl Fn(PortId) -> String + Copy {
    |id| ports.get(&id).map_or_else(String::new, |port| port.name.to_string())
}
