//! Whose turn it is on a worker: deficit round robin over pools, in cycles of its CPU.
//!
//! Every pool stands at a virtual time, which advances by the cycles that its batches took divided by its weight. In a round
//! those are served that stand before the round's end; when each of them stands behind it or has less than a batch to bring,
//! the next round begins, with the pool that is least ahead of those who wait: no pass is wasted on waiting. A batch that
//! took longer than the round is paid back in the next ones. Who brings nothing gets nothing for later. Neighbours:
//! `worker::run`.

use super::pool::{DEFAULT_WEIGHT, POOLS, Pool, Virtual, virtual_time};

/// Cycles of a round for a pool of the default weight: a few small batches, so that a round's beginning is seldom, and a few
/// microseconds.
const ROUND: Virtual = virtual_time(1 << 14, DEFAULT_WEIGHT);
/// A single batch is charged no more cycles than this: the clock runs on while the host has taken the CPU away.
const CHARGE_MAX: u64 = 1 << 19;
/// Walks through the tables cost this many times their cycles: they take at most such a part of the time that others want,
/// because he who sends ever new flows makes the switch work in his place, where the others' traffic has been worked out.
const WALK_PRICE: u64 = 16;

/// See the module. One for each worker: its time is what is shared.
pub struct Turns {
    /// Where the round ends.
    end: Virtual,
    /// By pool.
    places: Box<[Place]>,
    /// Counts passes.
    pass: u64,
    /// The least of those who want more and stand behind the round's end.
    next: Option<Virtual>,
    /// Somebody who was served in this pass wants more and has his turn in the next one too.
    goes_on: bool,
}

#[derive(Clone, Copy, Default)]
struct Place {
    stand: Virtual,
    /// The last pass in which it had its turn: all of its queues have it then, or the first would leave nothing to the others.
    pass: u64,
}

impl Default for Turns {
    fn default() -> Self {
        Self { end: ROUND, places: vec![Place::default(); POOLS].into(), pass: 0, next: None, goes_on: false }
    }
}

impl Turns {
    /// A pass over all queues begins.
    #[inline(always)]
    pub fn begin_pass(&mut self) {
        self.pass += 1;
        self.goes_on = false;
    }

    /// True when the pool's queues are served in this pass.
    #[inline(always)]
    pub fn has_turn(&mut self, pool: &Pool) -> bool {
        let place = &mut self.places[pool.place()];
        if place.stand < self.end || place.pass == self.pass {
            place.pass = self.pass;
            return true;
        }
        let stand = place.stand;
        self.wait(stand);
        false
    }

    #[inline(always)]
    fn wait(&mut self, stand: Virtual) {
        self.next = Some(self.next.map_or(stand, |next| next.min(stand)));
    }

    /// A batch took so many cycles, `walk_cycles` of them for walks through the tables. `is_full`: there is probably more.
    #[inline(always)]
    pub fn charge(&mut self, pool: &Pool, cycles: u64, walk_cycles: u64, is_full: bool) {
        let cost = cycles.min(CHARGE_MAX) + walk_cycles.min(CHARGE_MAX) * (WALK_PRICE - 1);
        let Place { stand, .. } = &mut self.places[pool.place()];
        *stand = (*stand).max(self.end - ROUND) + pool.advance(cost);
        let stand = *stand;
        if is_full && stand < self.end {
            self.goes_on = true;
        } else if is_full {
            self.wait(stand);
        }
    }

    /// The pass is over. True when somebody waits for the next round, which begins.
    #[inline(always)]
    pub fn end_pass(&mut self) -> bool {
        if self.goes_on {
            return false;
        }
        let Some(next) = self.next.take() else { return false };
        self.end = self.end.max(next + ROUND);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PoolId, PoolSpec};
    use super::*;

    /// A pool with a queue of its own.
    struct Vm {
        pool: Pool,
        /// Cycles that a batch of its packets takes.
        cost: u64,
        /// Cycles between two batches that it has to send; none when it always has one.
        pause: Option<u64>,
        next: u64,
        walks: bool,
        got: u64,
    }

    fn vm(id: u16, weight: u32, cost: u64, pause: Option<u64>) -> Vm {
        let pool = Pool::new(PoolId(id), PoolSpec { weight, ..PoolSpec::default() });
        Vm { pool, cost, pause, next: 0, walks: false, got: 0 }
    }

    /// Serves as a worker does for so many cycles; returns those in which nothing was done.
    fn serve(turns: &mut Turns, vms: &mut [Vm], from: u64, cycles: u64) -> u64 {
        let (mut now, mut idle) = (from, 0);
        while now < from + cycles {
            let mut served = 0;
            turns.begin_pass();
            for vm in &mut *vms {
                if !turns.has_turn(&vm.pool) || vm.pause.is_some() && vm.next > now {
                    continue;
                }
                vm.next = now + vm.pause.unwrap_or(0);
                turns.charge(&vm.pool, vm.cost, if vm.walks { vm.cost } else { 0 }, vm.pause.is_none());
                now += vm.cost;
                vm.got += vm.cost;
                served += 1;
            }
            if turns.end_pass() || served > 0 {
                continue;
            }
            now += 50;
            idle += 50;
        }
        idle
    }

    fn shares(vms: &[Vm]) -> Vec<f64> {
        let all: u64 = vms.iter().map(|vm| vm.got).sum();
        vms.iter().map(|vm| vm.got as f64 / all as f64).collect()
    }

    fn assert_shares(vms: &[Vm], wanted: &[f64]) {
        for (got, wanted) in shares(vms).iter().zip(wanted) {
            assert!((got - wanted).abs() < 0.01, "{got} is not {wanted}: {:?}", shares(vms));
        }
    }

    #[test]
    fn cycles_are_shared_by_weight_whatever_a_batch_costs() {
        let mut vms = [vm(0, 100, 2000, None), vm(1, 100, 64_000, None), vm(2, 200, 700, None), vm(3, 1, 9000, None)];
        let idle = serve(&mut Turns::default(), &mut vms, 0, 200_000_000);
        assert_shares(&vms, &[100.0 / 401.0, 100.0 / 401.0, 200.0 / 401.0, 1.0 / 401.0]);
        assert_eq!(idle, 0);
    }

    #[test]
    fn what_one_does_not_want_the_others_have_and_nobody_waits_for_nobody() {
        // A tenth of the time is what the first one wants, and it is served as soon as it wants something.
        let mut vms = [vm(0, 1, 2000, Some(20_000)), vm(1, 10, 2000, None), vm(2, 30, 5000, None)];
        let idle = serve(&mut Turns::default(), &mut vms, 0, 400_000_000);
        assert_eq!(idle, 0);
        assert_shares(&vms[1..], &[0.25, 0.75]);
        // Its weight alone gives it a part of 41.
        assert!(shares(&vms)[0] > 1.0 / 42.0, "{:?}", shares(&vms));
        let mut alone = [vm(5, 1, 100_000, None)];
        assert_eq!(serve(&mut Turns::default(), &mut alone, 0, 10_000_000), 0);
    }

    #[test]
    fn who_was_away_is_owed_nothing_and_owes_nothing() {
        let mut turns = Turns::default();
        let mut vms = [vm(0, 100, 2000, None), vm(1, 100, 2000, None)];
        serve(&mut turns, &mut vms[..1], 0, 100_000_000);
        vms.iter_mut().for_each(|vm| vm.got = 0);
        serve(&mut turns, &mut vms, 100_000_000, 1_000_000);
        assert_shares(&vms, &[0.5, 0.5]);
        serve(&mut turns, &mut vms[1..], 0, 100_000_000);
        vms.iter_mut().for_each(|vm| vm.got = 0);
        serve(&mut turns, &mut vms, 0, 1_000_000);
        assert_shares(&vms, &[0.5, 0.5]);
    }

    #[test]
    fn a_weight_holds_from_the_next_batch_on() {
        let mut turns = Turns::default();
        let mut vms = [vm(0, 100, 2000, None), vm(1, 100, 3000, None)];
        serve(&mut turns, &mut vms, 0, 10_000_000);
        vms[0].pool = vm(0, 300, 0, None).pool;
        vms.iter_mut().for_each(|vm| vm.got = 0);
        serve(&mut turns, &mut vms, 0, 10_000_000);
        assert_shares(&vms, &[0.75, 0.25]);
    }

    #[test]
    fn who_sends_ever_new_flows_pays_more_for_them_while_others_want_the_time() {
        let mut vms = [vm(0, 100, 100_000, None), vm(1, 100, 2000, None)];
        vms[0].walks = true;
        serve(&mut Turns::default(), &mut vms, 0, 200_000_000);
        assert_shares(&vms, &[1.0 / 17.0, 16.0 / 17.0]);
        let mut turns = Turns::default();
        assert_eq!(serve(&mut turns, &mut vms[..1], 0, 100_000_000), 0, "alone, it waits for nobody");
    }

    #[test]
    fn a_batch_during_which_the_host_took_the_cpu_away_costs_a_bounded_time() {
        let mut turns = Turns::default();
        let mut vms = [vm(0, 100, 2000, None), vm(1, 100, 2000, None)];
        turns.charge(&vms[0].pool, 100_000_000, 0, true);
        serve(&mut turns, &mut vms, 0, 2 * CHARGE_MAX);
        assert!(vms[0].got > CHARGE_MAX / 3, "{} cycles after a debt of {CHARGE_MAX}", vms[0].got);
    }
}
