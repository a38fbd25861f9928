//! Which moves of queues would even out the load of the workers, and when it is time to look. Pure.
//!
//! Loads are shares of a CPU, 1.0 for all of it. A plan improves step by step, the best step first: a queue goes to
//! another worker, or two change places, until no step helps any more. So a limited number of moves gets the most out of
//! them, and a placement that is good is left alone. Neighbours: `placement` measures the loads, `host` makes the moves.

use crate::port::PortId;

/// A queue that takes less than this is not worth moving, and neither are two that differ by less.
const LEAST_LOAD: f64 = 0.005;
/// What two workers differ by has to be so much more than what is moved between them: loads change by more from second to
/// second, and two workers that only swap their parts are no better off.
const LEAST_REST: f64 = 0.02;
/// The busiest worker has to be over the threshold for so long: a burst is no reason to move anything.
const PATIENCE_MS: u64 = 10_000;

/// A queue, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueueLoad {
    /// Whose queue.
    pub port: PortId,
    /// Which of the port's queues.
    pub index: u16,
    /// The worker that polls it.
    pub worker: usize,
    /// Share of a CPU.
    pub load: f64,
    /// False when the operator said where it is polled.
    pub movable: bool,
}

/// A queue that goes to another worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Move {
    /// Whose queue.
    pub port: PortId,
    /// Which of the port's queues.
    pub index: u16,
    /// What it costs.
    pub load: f64,
    /// From this worker,
    pub from: usize,
    /// to this one.
    pub to: usize,
    /// What the two carry before the step that this move is a part of.
    pub loads: (f64, f64),
}

/// Moves, and what comes of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub moves: Vec<Move>,
    /// Each worker's load now.
    pub before: Vec<f64>,
    /// Each worker's load when the moves are made, as far as the past tells.
    pub after: Vec<f64>,
    /// The workers that queues may be moved between.
    pub open: Vec<bool>,
    /// Why there are no moves, when there are none.
    pub idle: Option<Idle>,
}

/// Why nothing is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// There are not two workers that share queues.
    OneWorker,
    /// No queue costs anything.
    NoLoad,
    /// All queues that cost something are where the operator wants them.
    AllPinned,
    /// No move helps.
    Even,
}

impl Plan {
    /// How unequal the workers are, in squared percent of a CPU, before and after.
    #[must_use]
    pub fn variances(&self) -> (f64, f64) {
        (self.variance(&self.before), self.variance(&self.after))
    }

    /// How much of the variance goes, in percent.
    #[must_use]
    pub fn improvement(&self) -> f64 {
        match self.variances() {
            (before, _) if before <= 0.0 => 0.0,
            (before, after) => 100.0 * (before - after) / before,
        }
    }

    fn variance(&self, loads: &[f64]) -> f64 {
        let loads: Vec<f64> = loads.iter().zip(&self.open).filter(|(_, open)| **open).map(|(load, _)| *load).collect();
        let count = loads.len().max(1) as f64;
        let mean = loads.iter().sum::<f64>() / count;
        loads.iter().map(|load| (100.0 * (load - mean)).powi(2)).sum::<f64>() / count
    }
}

/// A step: this queue goes to that worker, and maybe another one comes back.
#[derive(Clone, Copy)]
struct Step {
    queue: usize,
    to: usize,
    back: Option<usize>,
    gain: f64,
}

/// What to move between the workers that are `open`, at most so many queues.
#[must_use]
pub fn plan(queues: &[QueueLoad], open: &[bool], most: usize) -> Plan {
    let mut queues = queues.to_vec();
    let mut loads = vec![0.0; open.len()];
    queues.iter().for_each(|queue| loads[queue.worker] += queue.load);
    let mut plan = Plan { before: loads.clone(), open: open.to_vec(), ..Plan::default() };
    while plan.moves.len() < most {
        let Some(step) = best_step(&queues, &loads, open, most - plan.moves.len()) else { break };
        let from = queues[step.queue].worker;
        let carried = loads.clone();
        let moved = [Some((step.queue, step.to)), step.back.map(|back| (back, from))];
        for (queue, to) in moved.into_iter().flatten() {
            let QueueLoad { port, index, worker, load, .. } = queues[queue];
            plan.moves.push(Move { port, index, load, from: worker, to, loads: (carried[worker], carried[to]) });
            loads[worker] -= load;
            loads[to] += load;
            queues[queue].worker = to;
        }
    }
    plan.idle = plan.moves.is_empty().then(|| why_idle(&queues, open));
    plan.after = loads;
    plan
}

fn why_idle(queues: &[QueueLoad], open: &[bool]) -> Idle {
    let mut costly = queues.iter().filter(|queue| queue.load >= LEAST_LOAD).peekable();
    if open.iter().filter(|&&open| open).count() < 2 {
        Idle::OneWorker
    } else if costly.peek().is_none() {
        Idle::NoLoad
    } else if costly.all(|queue| !queue.movable) {
        Idle::AllPinned
    } else {
        Idle::Even
    }
}

/// The step that takes the most off the sum of the squared loads. Single moves first: an exchange costs two.
fn best_step(queues: &[QueueLoad], loads: &[f64], open: &[bool], most: usize) -> Option<Step> {
    let movable = || queues.iter().enumerate().filter(|(_, queue)| queue.movable && open[queue.worker]);
    let workers = || (0..open.len()).filter(|&worker| open[worker]);
    let single = movable().flat_map(|(queue, it)| {
        let others = workers().filter(move |&to| to != it.worker);
        others.filter_map(move |to| {
            let gain = gain(loads[it.worker], loads[to], it.load)?;
            Some(Step { queue, to, back: None, gain })
        })
    });
    if let Some(best) = best(single) {
        return Some(best);
    }
    if most < 2 {
        return None;
    }
    let busiest = workers().max_by(|&a, &b| loads[a].total_cmp(&loads[b]))?;
    let exchanges = movable().filter(|(_, queue)| queue.worker == busiest).flat_map(|(queue, it)| {
        let others = movable().filter(move |(_, other)| other.worker != busiest);
        others.filter_map(move |(back, other)| {
            let gain = gain(loads[busiest], loads[other.worker], it.load - other.load)?;
            Some(Step { queue, to: other.worker, back: Some(back), gain })
        })
    });
    best(exchanges)
}

/// Of equal ones the first.
fn best(steps: impl Iterator<Item = Step>) -> Option<Step> {
    steps.reduce(|best, step| if step.gain > best.gain { step } else { best })
}

/// What the sum of the squared loads loses when `moved` goes from one worker to another; `None` when that is not enough.
fn gain(from: f64, to: f64, moved: f64) -> Option<f64> {
    let rest = from - to - moved;
    (moved >= LEAST_LOAD && rest >= LEAST_REST).then_some(2.0 * moved * rest)
}

/// When queues are moved without being told to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AutoBalance {
    /// Share of its CPU that the busiest worker has to be busy for.
    pub load_threshold: f64,
    /// Percent of the variance that a plan has to take away.
    pub improvement_threshold: f64,
    /// Milliseconds between two looks for a plan.
    pub interval_ms: u64,
}

/// Tells when it is time for [`AutoBalance`] to look for a plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    over_since: Option<u64>,
    looked: Option<u64>,
}

impl Patience {
    /// True when the busiest worker was over the threshold for long enough, and the last look is long enough ago. Times are
    /// milliseconds of any clock.
    pub fn is_over(&mut self, now_ms: u64, busiest: f64, limits: &AutoBalance) -> bool {
        if busiest < limits.load_threshold {
            self.over_since = None;
            return false;
        }
        let over_since = *self.over_since.get_or_insert(now_ms);
        let rested = self.looked.is_none_or(|looked| now_ms.saturating_sub(looked) >= limits.interval_ms);
        if now_ms.saturating_sub(over_since) < PATIENCE_MS || !rested {
            return false;
        }
        self.looked = Some(now_ms);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `60 50 | 30 | !20`: three workers with queues of these loads in percent; the queue with `!` is pinned.
    fn queues(text: &str) -> (Vec<QueueLoad>, usize) {
        let workers: Vec<&str> = text.split('|').collect();
        let mut queues = Vec::new();
        for (worker, loads) in workers.iter().enumerate() {
            for word in loads.split_whitespace() {
                let (movable, load) = (!word.starts_with('!'), word.trim_start_matches('!').parse::<f64>().unwrap());
                let port = PortId(queues.len() as u16);
                queues.push(QueueLoad { port, index: 0, worker, load: load / 100.0, movable });
            }
        }
        (queues, workers.len())
    }

    /// `50>1 20>0`: the loads that move, and where to; or why none does.
    fn moves(text: &str, closed: &[usize], most: usize) -> String {
        let (queues, workers) = queues(text);
        let open: Vec<bool> = (0..workers).map(|worker| !closed.contains(&worker)).collect();
        let plan = plan(&queues, &open, most);
        let (before, after) = plan.variances();
        assert!(after < before || plan.moves.is_empty(), "{text}: {plan:?}");
        let total = |loads: &[f64]| loads.iter().sum::<f64>();
        assert!((total(&plan.before) - total(&plan.after)).abs() < 1e-9, "{text}: {plan:?}");
        match plan.idle {
            Some(why) => format!("{why:?}"),
            None => {
                let word = |it: &Move| format!("{:.0}>{}", it.load * 100.0, it.to);
                plan.moves.iter().map(word).collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn moves_even_out_what_workers_carry() {
        let cases = [
            ("60 50 | 30", "50>1"),
            ("50 50 |", "50>1"),
            ("30 30 30 30 | |", "30>1 30>2"),
            ("90 5 | 10", "5>1"),
            ("40 30 20 10 |", "40>1 10>1"),
            // Only an exchange helps.
            ("50 40 | 35 10 10", "50>1 35>0"),
            // The best that can be had, or near enough.
            ("100 |", "Even"),
            ("50 | 50", "Even"),
            ("50.2 | 50", "Even"),
            ("50 0.3 | 50", "Even"),
            // They would only swap parts.
            ("34 | 33 2", "Even"),
            // Pinned queues stay; what is beside them moves.
            ("!60 30 | 10", "30>1"),
            ("!60 !30 | 10", "Even"),
            ("!90 | !10", "AllPinned"),
            ("0 0 | 0", "NoLoad"),
            ("0.2 | 0.1", "NoLoad"),
            ("80 70", "OneWorker"),
        ];
        for (text, expected) in cases {
            assert_eq!(moves(text, &[], usize::MAX), expected, "{text}");
        }
    }

    #[test]
    fn isolated_workers_neither_give_nor_take() {
        assert_eq!(moves("50 50 | !1 |", &[1], usize::MAX), "50>2");
        assert_eq!(moves("50 50 | !1", &[1], usize::MAX), "OneWorker");
        assert_eq!(moves("!90 | 20 20 |", &[0], usize::MAX), "20>2");
    }

    #[test]
    fn a_limited_number_of_moves_is_spent_on_the_best_ones() {
        let crowd = "40 30 5 5 5 5 |";
        assert_eq!(moves(crowd, &[], 1), "40>1");
        // An exchange is two moves.
        assert_eq!(moves("50 40 | 35 10 10", &[], 1), "Even");
    }

    #[test]
    fn thousands_of_queues_end_up_even() {
        let many: String = (0..1000).map(|number| format!("{} ", number % 7)).collect::<String>() + "| | |";
        let (queues, workers) = queues(&many);
        let plan = plan(&queues, &vec![true; workers], usize::MAX);
        let (most, least) =
            plan.after.iter().fold((0.0_f64, f64::MAX), |(most, least), &load| (most.max(load), least.min(load)));
        assert!(most - least < 0.03, "{:?}", plan.after);
        assert!(plan.improvement() > 99.9);
    }

    #[test]
    fn improvement_is_the_part_of_the_variance_that_goes() {
        let (queues, _) = queues("50 50 |");
        let plan = plan(&queues, &[true, true], usize::MAX);
        assert_eq!(plan.variances(), (2500.0, 0.0));
        assert_eq!(plan.improvement(), 100.0);
        assert_eq!(plan.moves[0].loads, (1.0, 0.0));
    }

    #[test]
    fn it_waits_out_bursts_and_the_interval() {
        let limits = AutoBalance { load_threshold: 0.95, improvement_threshold: 25.0, interval_ms: 60_000 };
        let mut patience = Patience::default();
        let mut look = |second: u64, busiest: f64| patience.is_over(second * 1000, busiest, &limits);
        assert!(!look(0, 0.99));
        assert!(!look(9, 0.99), "not long enough");
        assert!(!look(10, 0.90), "a burst that is over");
        assert!(!look(11, 0.99) && !look(20, 0.99));
        assert!(look(21, 0.99));
        assert!(!look(22, 0.99) && !look(80, 0.99), "not twice in a minute");
        assert!(look(81, 0.99));
    }
}
