//! What workers did, who polls what and what moves, as text; and the same again and again.
//!
//! Trust: counters are the daemon's; a queue that comes, goes or starts anew between two looks is shown as it is. Neighbours:
//! `main` and `print` call it, `top` has the loop.

use std::fmt::Write;
use std::path::Path;

use ringswitch_control::report::{Bucket, QueueReport, RebalanceReport, WorkerReport};
use ringswitch_control::rpc::{Call, Client, ClientError};
use serde_json::json;

use super::top::{Looks, progress, read};

/// Shows what workers do between two looks.
///
/// # Errors
/// What the daemon refuses, and when it goes away.
pub fn run(socket: &Path, looks: &Looks) -> Result<(), ClientError> {
    let mut client = Client::connect(socket)?;
    let look = || read::<Vec<WorkerReport>>(client.call(&Call::WorkerStats {})?);
    looks.run(look, |before, now, _, turn| {
        let done: Vec<_> = now.iter().zip(before).map(|(now, before)| now.since(before)).collect();
        if looks.json { format!("{}\n", json!(done)) } else { progress(turn, looks.count) + &stats(&done) }
    })
}

/// In the manner of `ovs-appctl dpif-netdev/pmd-stats-show` and `pmd-perf-show`.
pub fn stats(workers: &[WorkerReport]) -> String {
    workers.iter().enumerate().map(|(number, worker)| worker_stats(number, worker)).collect()
}

fn per(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn worker_stats(number: usize, stats: &WorkerReport) -> String {
    let share = |part| 100.0 * per(part, stats.packets);
    let cycles = stats.busy_cycles + stats.idle_cycles;
    let mut text = format!(
        "worker {number} on CPU {}:\n  load: {:.1} %\n  packets received: {}\n  packets per batch: {:.2}\n  port verdict hits: {} ({:.1}%)\n  \
         sorted hits: {} ({:.1}%)\n  shortlist hits: {} ({:.1}%)\n  flow cache hits: {} ({:.1}%)\n  table walks: {} ({:.1}%)\n  batches with walks: {}\n  passes: {}\n  sleeps: {}\n  \
         queues moved here: {}, away: {}\n  idle cycles: {} ({:.2}%)\n  busy cycles: {} ({:.2}%)\n  \
         busy cycles per packet: {:.2}\n",
        stats.cpu,
        stats.load,
        stats.packets,
        per(stats.packets, stats.batches),
        stats.port_hits,
        share(stats.port_hits),
        stats.sorted_hits,
        share(stats.sorted_hits),
        stats.shortlist_hits,
        share(stats.shortlist_hits),
        stats.cache_hits,
        share(stats.cache_hits),
        stats.walks,
        share(stats.walks),
        stats.holds,
        stats.passes,
        stats.sleeps,
        stats.moved_in,
        stats.moved_out,
        stats.idle_cycles,
        100.0 * per(stats.idle_cycles, cycles),
        stats.busy_cycles,
        100.0 * per(stats.busy_cycles, cycles),
        per(stats.busy_cycles, stats.packets),
    );
    stats.queues.iter().for_each(|queue| queue_stats(&mut text, queue));
    text
}

fn queue_stats(text: &mut String, queue: &QueueReport) {
    let share = |part| 100.0 * per(part, queue.packets);
    let _ = writeln!(text, "  port: {}  queue-id: {}  usage: {:.1} %", queue.port, queue.queue, queue.usage);
    let _ = writeln!(
        text,
        "    packets: {}, per batch: {:.2}, cycles per packet: {:.2}, moves: {}",
        queue.packets,
        per(queue.packets, queue.batches),
        per(queue.cycles, queue.packets),
        queue.moves
    );
    let _ = writeln!(
        text,
        "    port verdict: {:.1}%, sorted: {:.1}%, shortlist: {:.1}%, flow cache: {:.1}%, table walks: {:.1}%",
        share(queue.port_hits),
        share(queue.sorted_hits),
        share(queue.shortlist_hits),
        share(queue.cache_hits),
        share(queue.walks)
    );
    histogram(text, "packets found in a look", &queue.batch_sizes);
    histogram(text, "cycles of a batch", &queue.batch_cycles);
}

/// `what: 1: 12 (3.0%), 2-3: 9 (2.0%)`; a line only when there was something.
fn histogram(text: &mut String, what: &str, buckets: &[Bucket]) {
    let all: u64 = buckets.iter().map(|bucket| bucket.count).sum();
    let filled = buckets.iter().filter(|bucket| bucket.count > 0).map(|bucket| {
        let range = match bucket.to {
            Some(to) if to == bucket.from => to.to_string(),
            Some(to) => format!("{}-{to}", bucket.from),
            None => format!("{}-", bucket.from),
        };
        format!("{range}: {} ({:.1}%)", bucket.count, 100.0 * per(bucket.count, all))
    });
    let filled: Vec<_> = filled.collect();
    if !filled.is_empty() {
        let _ = writeln!(text, "    {what}: {}", filled.join(", "));
    }
}

/// In the manner of `ovs-appctl dpif-netdev/pmd-rxq-show`.
pub fn queues(workers: &[WorkerReport]) -> String {
    let mut text = String::new();
    for (number, worker) in workers.iter().enumerate() {
        let _ = writeln!(text, "worker {number} on CPU {}:\n  isolated : {}", worker.cpu, worker.isolated);
        for queue in &worker.queues {
            let pinned = if queue.pinned { "  pinned" } else { "" };
            let _ = writeln!(
                text,
                "  port: {:<15}  queue-id: {:>3}  usage: {:>5.1} %  packets: {}{pinned}",
                queue.port, queue.queue, queue.usage, queue.packets
            );
        }
        let queues: f64 = worker.queues.iter().map(|queue| queue.usage).sum();
        let _ = writeln!(text, "  overhead: {:>5.1} %", (worker.load - queues).max(0.0));
    }
    text
}

/// What `rebalance` did, or would do.
pub fn rebalance(report: &RebalanceReport) -> String {
    let mut text = String::new();
    let moves = !report.moves.is_empty();
    for worker in &report.workers {
        let isolated = if worker.isolated { ", isolated" } else { "" };
        let _ = write!(text, "worker {} on CPU {}{isolated}: load {:.1} %", worker.worker, worker.cpu, worker.load);
        let _ = if moves { writeln!(text, " -> {:.1} %", worker.predicted_load) } else { writeln!(text) };
    }
    let verb = if report.dry_run { "would move" } else { "moved" };
    for it in &report.moves {
        let _ = writeln!(
            text,
            "{verb} {} queue {} from worker {} to worker {}: {}",
            it.port, it.queue, it.from, it.to, it.reason
        );
    }
    let _ = match &report.reason {
        Some(why) => writeln!(text, "nothing to move: {why}"),
        None => writeln!(
            text,
            "variance {:.1} -> {:.1}, {:.1} % better",
            report.variance, report.predicted_variance, report.improvement
        ),
    };
    text
}

#[cfg(test)]
mod tests {
    use ringswitch_control::report::{MoveReport, WorkerLoad};

    use super::*;

    fn queue(port: &str, packets: u64) -> QueueReport {
        let sizes = [(0, Some(0), 5), (1, Some(1), 0), (2, Some(3), packets / 2), (32, Some(32), 1)];
        QueueReport {
            port: port.into(),
            usage: 12.5,
            packets,
            batches: packets / 2,
            cycles: packets * 100,
            cache_hits: packets,
            batch_sizes: sizes.map(|(from, to, count)| Bucket { from, to, count }).to_vec(),
            batch_cycles: vec![Bucket { from: 1 << 21, to: None, count: packets }],
            ..QueueReport::default()
        }
    }

    fn worker(packets: u64) -> WorkerReport {
        let queues = vec![queue("vm1", packets)];
        WorkerReport { cpu: 3, load: 20.0, packets, batches: packets / 2, queues, ..WorkerReport::default() }
    }

    #[test]
    fn what_was_done_between_two_looks_is_shown() {
        let mut now = worker(300);
        now.queues.push(queue("new", 7));
        let done = now.since(&worker(100));
        assert_eq!((done.packets, done.queues[0].packets, done.queues[0].cycles), (200, 200, 20_000));
        assert_eq!((done.load, done.queues[0].usage), (20.0, 12.5), "these are of the last seconds");
        assert_eq!(done.queues[1].packets, 7, "it came since");
        let shown = stats(&[done]);
        for line in [
            "worker 0 on CPU 3:",
            "  port: vm1  queue-id: 0  usage: 12.5 %",
            "    packets: 200, per batch: 2.00, cycles per packet: 100.00, moves: 0",
            "    port verdict: 0.0%, sorted: 0.0%, shortlist: 0.0%, flow cache: 100.0%, table walks: 0.0%",
            "    packets found in a look: 2-3: 100 (100.0%)",
            "    cycles of a batch: 2097152-: 200 (100.0%)",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
        }
    }

    #[test]
    fn queues_are_shown_as_open_vswitch_does() {
        let mut pinned = worker(2);
        (pinned.isolated, pinned.queues[0].pinned) = (true, true);
        let shown = queues(&[pinned, WorkerReport::default()]);
        let expected = "worker 0 on CPU 3:\n  isolated : true\n  port: vm1              queue-id:   0  usage:  12.5 %  packets: 2  \
                        pinned\n  overhead:   7.5 %\nworker 1 on CPU 0:\n  isolated : false\n  overhead:   0.0 %\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn rebalancing_tells_before_and_after_and_why() {
        let load = |worker, load, predicted_load| WorkerLoad {
            worker,
            cpu: worker + 2,
            isolated: false,
            load,
            predicted_load,
        };
        let it = MoveReport { port: "vm1".into(), queue: 1, usage: 40.0, from: 0, to: 1, reason: "it is heavy".into() };
        let mut report = RebalanceReport {
            dry_run: true,
            workers: vec![load(0, 90.0, 50.0), load(1, 10.0, 50.0)],
            moves: vec![it],
            variance: 1600.0,
            predicted_variance: 0.0,
            improvement: 100.0,
            reason: None,
        };
        let expected = "worker 0 on CPU 2: load 90.0 % -> 50.0 %\nworker 1 on CPU 3: load 10.0 % -> 50.0 %\n\
                        would move vm1 queue 1 from worker 0 to worker 1: it is heavy\nvariance 1600.0 -> 0.0, 100.0 % better\n";
        assert_eq!(rebalance(&report), expected);
        report.moves.clear();
        report.reason = Some("all is even".into());
        let expected = "worker 0 on CPU 2: load 90.0 %\nworker 1 on CPU 3: load 10.0 %\nnothing to move: all is even\n";
        assert_eq!(rebalance(&report), expected);
    }
}
