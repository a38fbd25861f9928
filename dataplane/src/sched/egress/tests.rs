//! Workers, guests and a shared port, with a clock of nanoseconds that only moves when told to.

use std::collections::VecDeque;

use super::super::{PoolId, PoolSpec, Rates};
use super::*;

const SECOND: u64 = 1_000_000_000;
const MS: u64 = SECOND / 1000;
/// A VM and its ring.
struct Vm {
    pool: Pool,
    queue: u32,
    /// Lengths of its frames, in turn.
    lens: &'static [usize],
    /// Bytes per second that it has to send; always more than it can without.
    offered: Option<u64>,
    /// Its guest does nothing any more, not even look.
    dead: bool,
    waits_until: u64,
    found_something: bool,
    mean: usize,
    frames: usize,
    brought: u64,
    sent: u64,
}

fn vm(id: u16, spec: PoolSpec, lens: &'static [usize]) -> Vm {
    Vm {
        pool: Pool::with_clock(PoolId(id), spec, || SECOND),
        queue: 0,
        lens,
        offered: None,
        dead: false,
        waits_until: 0,
        found_something: false,
        mean: 64,
        frames: 0,
        brought: 0,
        sent: 0,
    }
}

fn weight(weight: u32) -> PoolSpec {
    PoolSpec { weight, ..PoolSpec::default() }
}

impl Vm {
    /// What a worker may pull: frames, and whether it asked.
    fn may_pull(&mut self, port: &Egress, now: u64) -> Option<(usize, bool)> {
        if self.dead || self.waits_until > now {
            return None;
        }
        let pull = match self.found_something {
            true => port.ask(self.queue, &self.pool, self.mean, now),
            false => port.first_look(),
        };
        match pull {
            Pull::Packets(most) => Some((most, self.found_something)),
            Pull::NotBefore(time) => {
                self.waits_until = time;
                None
            }
            Pull::Later => None,
        }
    }

    fn pull(&mut self, port: &Egress, may: (usize, bool), now: u64, start: u64) {
        let (most, asked) = may;
        let offered = self.offered.map(|rate| (u128::from(now - start) * u128::from(rate) / u128::from(SECOND)) as u64);
        let (mut packets, mut bytes) = (0, 0);
        while packets < most as u64 {
            let len = self.lens[self.frames % self.lens.len()] as u64;
            if offered.is_some_and(|offered| self.brought + len > offered) {
                break;
            }
            (packets, bytes) = (packets + 1, bytes + len);
            self.brought += len;
            self.frames += 1;
        }
        self.found_something = packets > 0;
        if asked && packets < most as u64 {
            port.leave(self.queue, &self.pool);
        }
        if let Some(mean) = bytes.checked_div(packets) {
            self.mean = (self.mean * 7 + mean as usize) / 8;
            self.sent += bytes;
            port.charge(self.queue, &self.pool, QueueTotals { packets, bytes }, now);
        }
    }
}

/// Passes of one worker, each so long, from one time to another.
fn run(port: &Egress, vms: &mut [Vm], from: u64, to: u64, pass: u64) {
    vms.iter_mut().for_each(|vm| (vm.sent, vm.brought) = (0, 0));
    for now in (from..to).step_by(pass as usize) {
        for vm in &mut *vms {
            if let Some(may) = vm.may_pull(port, now) {
                vm.pull(port, may, now, from);
            }
        }
    }
}

fn port(bits: u64, queues: Vec<QueueSpec>) -> Egress {
    let max_bytes = Some(Rates::shaped_bytes(bits / 8));
    Egress::with_clock(EgressSpec { max_bytes, queues }, SECOND)
}

fn assert_close(what: &str, got: u64, wanted: u64, percent: u64) {
    assert!(got.abs_diff(wanted) * 100 <= wanted * percent, "{what}: {got} is not within {percent} % of {wanted}");
}

/// Who gets which part of a rate: by weight, none more than it has to send.
fn fair(vms: &[Vm], rate: u64) -> Vec<u64> {
    let mut parts = vec![None; vms.len()];
    loop {
        let open: Vec<usize> = (0..vms.len()).filter(|&n| parts[n].is_none()).collect();
        let left = rate - parts.iter().flatten().sum::<u64>();
        let weights: u64 = open.iter().map(|&n| u64::from(vms[n].pool.spec().weight)).sum();
        let share = |n: usize| left * u64::from(vms[n].pool.spec().weight) / weights;
        let content = open.iter().copied().find(|&n| vms[n].offered.is_some_and(|offered| offered <= share(n)));
        match content {
            Some(n) => parts[n] = vms[n].offered,
            None => return (0..vms.len()).map(|n| parts[n].unwrap_or_else(|| share(n))).collect(),
        }
    }
}

/// Jain's index of what each got beside its fair part.
fn jain(vms: &[Vm], fair: &[u64]) -> f64 {
    let parts = vms.iter().zip(fair).map(|(vm, &fair)| vm.sent as f64 / fair as f64);
    let (sum, squares) = parts.fold((0.0, 0.0), |(sum, squares), part| (sum + part, squares + part * part));
    sum * sum / (vms.len() as f64 * squares)
}

const SIZES: [&[usize]; 8] = [&[64], &[1514], &[9000], &[64, 1514], &[300], &[9000, 64, 64], &[128, 512], &[1000]];

/// Sends what was saved up for a tenth of a second, then looks at a whole one.
fn assert_fair(port: &Egress, vms: &mut [Vm], rate: u64, pass: u64, seconds: u64) {
    run(port, vms, SECOND, SECOND + SECOND / 10, pass);
    run(port, vms, SECOND + SECOND / 10, (1 + seconds) * SECOND + SECOND / 10, pass);
    let fair = fair(vms, rate * seconds);
    for (n, vm) in vms.iter().enumerate() {
        assert_close(&format!("pool {n}"), vm.sent, fair[n], 1);
    }
    let index = jain(vms, &fair);
    assert!(index >= 0.999, "{index}");
}

#[test]
fn eight_pools_share_by_weight_whatever_their_frames_are() {
    for bits in [100_000_000, 1_000_000_000, 10_000_000_000] {
        for pass in [5_000, 20_000] {
            let weights = [100, 100, 100, 100, 50, 200, 300, 25];
            let mut vms: Vec<_> = (0..8).map(|n| vm(n, weight(weights[n as usize]), SIZES[n as usize])).collect();
            if bits / 8 / SECOND * pass >= 20_000 {
                // A worker that slow cannot send as much in small frames.
                vms.iter_mut().for_each(|vm| vm.lens = &[9000, 1514, 9000]);
            }
            assert_fair(&port(bits, Vec::new()), &mut vms, bits / 8, pass, 1);
        }
    }
}

#[test]
fn what_some_do_not_want_the_others_share() {
    let bits = 1_000_000_000;
    let mut vms: Vec<_> = (0..8).map(|n| vm(n, weight(100), SIZES[n as usize])).collect();
    for (n, megabytes) in [(0, 1), (1, 5), (2, 12), (3, 15)] {
        vms[n].offered = Some(megabytes * 1_000_000);
    }
    assert_fair(&port(bits, Vec::new()), &mut vms, bits / 8, 4_000, 1);
}

#[test]
fn sixty_four_pools_share_as_well() {
    let bits = 1_000_000_000;
    let mut vms: Vec<_> =
        (0..64).map(|n| vm(n, weight(100 * (u32::from(n) % 4 + 1)), SIZES[usize::from(n) % 8])).collect();
    assert_fair(&port(bits, Vec::new()), &mut vms, bits / 8, 50_000, 4);
}

#[test]
fn workers_that_ask_at_the_same_time_share_too() {
    let (bits, pass) = (1_000_000_000, 5_000);
    let port = port(bits, Vec::new());
    let mut vms: Vec<_> = (0..6).map(|n| vm(n, weight(100), SIZES[n as usize])).collect();
    for now in (SECOND..2 * SECOND).step_by(pass as usize) {
        // Three workers: all of them ask before any of them sends.
        for turn in 0..2 {
            let mut asked = [None; 6];
            let of = |worker: usize| worker * 2 + (turn + now as usize / pass as usize) % 2;
            (0..3).for_each(|worker| asked[of(worker)] = vms[of(worker)].may_pull(&port, now));
            for (vm, may) in vms.iter_mut().zip(asked) {
                may.into_iter().for_each(|may| vm.pull(&port, may, now, SECOND));
            }
        }
    }
    let fair = fair(&vms, bits / 8);
    assert!(jain(&vms, &fair) >= 0.999, "{:?}", vms.iter().map(|vm| vm.sent).collect::<Vec<_>>());
    // And the bucket that was full at the beginning.
    assert_close("all", vms.iter().map(|vm| vm.sent).sum(), bits / 8 / 100 * 101, 1);
}

#[test]
fn the_port_sends_what_it_may_to_a_percent() {
    for bits in [1_000_000, 100_000_000, 1_000_000_000] {
        for lens in [&[64][..], &[1514], &[9000], &[9000, 64, 64, 300]] {
            let mut vms = [vm(0, weight(100), lens), vm(1, weight(700), lens)];
            let port = port(bits, Vec::new());
            let (pass, seconds) = if bits < 10_000_000 { (100_000, 20) } else { (8_000, 1) };
            run(&port, &mut vms, SECOND, 2 * SECOND, pass);
            run(&port, &mut vms, 2 * SECOND, (2 + seconds) * SECOND, pass);
            let sent = vms.iter().map(|vm| vm.sent).sum();
            assert_close(&format!("{bits} {lens:?}"), sent, bits / 8 * seconds, 1);
        }
    }
}

#[test]
fn a_share_that_is_not_used_is_the_others_at_once_and_comes_back_at_once() {
    let (bits, pass) = (1_000_000_000, 2_000);
    let port = port(bits, Vec::new());
    let mut vms: Vec<_> = (0..4).map(|n| vm(n, weight(100), &[1514])).collect();
    run(&port, &mut vms, SECOND, 2 * SECOND, pass);
    let in_ten_ms = bits / 8 / 100;
    for round in 0..20 {
        let now = 2 * SECOND + round * 40 * MS;
        vms[0].offered = Some(0);
        run(&port, &mut vms, now, now + 10 * MS, pass);
        run(&port, &mut vms, now + 10 * MS, now + 20 * MS, pass);
        (1..4).for_each(|n| assert_close("one of three", vms[n].sent, in_ten_ms / 3, 3));
        vms[0].offered = None;
        run(&port, &mut vms, now + 20 * MS, now + 30 * MS, pass);
        vms.iter().for_each(|vm| assert_close("one of four, right away", vm.sent, in_ten_ms / 4, 6));
        run(&port, &mut vms, now + 30 * MS, now + 40 * MS, pass);
        vms.iter().for_each(|vm| assert_close("one of four", vm.sent, in_ten_ms / 4, 3));
    }
}

#[test]
fn who_waits_and_never_asks_again_holds_nobody_up_for_long() {
    let (bits, pass) = (1_000_000_000, 2_000);
    let spec = PoolSpec { priority: 7, ..weight(1000) };
    let port = port(bits, Vec::new());
    let mut vms = [vm(0, spec, &[1514]), vm(1, weight(1), &[1514])];
    run(&port, &mut vms, SECOND, SECOND + 20 * MS, pass);
    while let Some(may) = vms[0].may_pull(&port, SECOND + 20 * MS) {
        vms[0].pull(&port, may, SECOND + 20 * MS, SECOND);
    }
    vms[0].dead = true;
    run(&port, &mut vms, SECOND + 20 * MS, SECOND + 30 * MS, pass);
    assert_close("what was saved up meanwhile is sent", vms[1].sent, bits / 8 / 100, 3);
}

#[test]
fn what_was_promised_comes_first() {
    let bits = 1_000_000_000;
    let min_bytes = Some(30_000_000);
    let mut vms = vec![vm(0, PoolSpec { min_bytes, ..weight(1) }, &[1514])];
    vms.extend((1..8).map(|n| vm(n, PoolSpec { priority: 3, ..weight(1000) }, SIZES[usize::from(n)])));
    let port = port(bits, Vec::new());
    run(&port, &mut vms, SECOND, 2 * SECOND, 4_000);
    run(&port, &mut vms, 2 * SECOND, 3 * SECOND, 4_000);
    assert_close("the promised rate", vms[0].sent, 30_000_000, 1);
    let rest: u64 = vms[1..].iter().map(|vm| vm.sent).sum();
    assert_close("the others have the rest", rest, bits / 8 - 30_000_000, 1);
    // Beyond what was promised the weights count.
    vms[0] = vm(0, PoolSpec { min_bytes, priority: 3, ..weight(1000) }, &[1514]);
    run(&port, &mut vms, 3 * SECOND, 4 * SECOND, 4_000);
    assert_close("and its share of the rest", vms[0].sent, 30_000_000 + (bits / 8 - 30_000_000) / 8, 2);
}

fn queue(id: u32, priority: u8, min: Option<u64>, max: Option<u64>) -> QueueSpec {
    QueueSpec { id, min_bytes: min, max_bytes: max.map(Rates::shaped_bytes), priority }
}

#[test]
fn a_lower_class_gets_what_a_higher_one_leaves() {
    let bits = 1_000_000_000;
    let port = port(bits, vec![queue(7, 5, None, None), queue(3, 0, None, None)]);
    let mut vms: Vec<_> = (0..6).map(|n| vm(n, weight(100), &[1514])).collect();
    // Queue 7 above the implied queue 0 and queue 3; in queue 0 a pool above the other.
    (vms[0].queue, vms[0].offered) = (7, Some(50_000_000));
    (vms[1].queue, vms[1].offered) = (7, Some(20_000_000));
    vms[2].pool = vm(2, PoolSpec { priority: 1, ..weight(1) }, &[]).pool;
    vms[2].offered = Some(30_000_000);
    vms[4].queue = 3;
    vms[5].queue = 77;
    run(&port, &mut vms, SECOND, 2 * SECOND, 4_000);
    run(&port, &mut vms, 2 * SECOND, 3 * SECOND, 4_000);
    let wanted = [50_000_000, 20_000_000, 30_000_000];
    for (n, wanted) in wanted.into_iter().chain([25_000_000 / 3; 3]).enumerate() {
        assert_close(&format!("sender {n}"), vms[n].sent, wanted, 2);
    }
    vms[0].offered = None;
    run(&port, &mut vms, 4 * SECOND, 5 * SECOND, 4_000);
    assert_close("all that the second one of the class leaves", vms[0].sent, bits / 8 - 20_000_000, 1);
    let lower: u64 = vms[2..].iter().map(|vm| vm.sent).sum();
    assert!(lower < bits / 8 / 100, "{lower} in lower classes");
    assert_eq!((port.totals(3).bytes > 0, port.totals(9)), (true, port.totals(0)), "number 9 is not there");
}

#[test]
fn queues_have_a_least_and_a_most() {
    let bits = 1_000_000_000;
    let queues = vec![queue(1, 0, Some(40_000_000), None), queue(2, 0, None, Some(10_000_000))];
    let port = port(bits, queues);
    let mut vms: Vec<_> = (0..6).map(|n| vm(n, weight(100), SIZES[usize::from(n)])).collect();
    (vms[0].queue, vms[1].queue, vms[2].queue) = (1, 1, 2);
    vms[0].pool = vm(0, weight(300), &[]).pool;
    run(&port, &mut vms, SECOND, 2 * SECOND, 4_000);
    run(&port, &mut vms, 2 * SECOND, 3 * SECOND, 4_000);
    let rest = bits / 8 - 40_000_000 - 10_000_000;
    let share = rest / (300 + 100 + 300);
    let wanted =
        [30_000_000 + share * 300, 10_000_000 + share * 100, 10_000_000, share * 100, share * 100, share * 100];
    for (n, wanted) in wanted.into_iter().enumerate() {
        assert_close(&format!("sender {n}"), vms[n].sent, wanted, 2);
    }
}

#[test]
fn a_full_ring_is_shared_by_those_who_wait_for_it_until_it_is_dead() {
    let port = Egress::with_clock(EgressSpec::default(), SECOND);
    let mut vms = [vm(0, weight(300), &[64]), vm(1, weight(100), &[1514]), vm(2, weight(100), &[9000])];
    // Lengths of what waits to be sent, at a gigabit per second; the line takes bytes, the ring holds frames.
    let (mut ring, mut line, mut dropped) = (VecDeque::new(), 0, 0);
    for now in (SECOND..SECOND + 300 * MS).step_by(2_000) {
        if now == SECOND + 100 * MS {
            // Who was first when the ring was empty does not matter any more.
            vms.iter_mut().for_each(|vm| vm.sent = 0);
        }
        for vm in &mut vms {
            let free = 2048 - ring.len();
            if port.is_short() {
                port.saw_room(free, now);
            }
            let Some(may) = vm.may_pull(&port, now) else { continue };
            let before = vm.frames;
            vm.pull(&port, may, now, SECOND);
            let frames = vm.frames - before;
            dropped += frames.saturating_sub(free);
            ring.extend(std::iter::repeat_n(vm.lens[0], frames.min(free)));
            port.saw_rest(2048 - ring.len(), now);
        }
        line += 250;
        while let Some(len) = ring.pop_front_if(|len| *len <= line) {
            line -= len;
        }
    }
    assert_eq!(dropped, 0);
    let fair = fair(&vms, vms.iter().map(|vm| vm.sent).sum());
    (0..3).for_each(|n| assert_close(&format!("sender {n}"), vms[n].sent, fair[n], 2));
    let later = SECOND + 300 * MS;
    port.saw_room(3, later);
    port.saw_room(3, later + 9 * MS);
    assert_eq!(port.ask(0, &vms[0].pool, 64, later + 9 * MS), Pull::Later);
    assert_eq!(port.ask(0, &vms[0].pool, 64, later + 11 * MS), Pull::Packets(BATCH));
}

#[test]
fn a_worker_that_is_kept_from_its_cpu_serves_the_higher_class_first_all_the_same() {
    let port = port(20_000_000, vec![queue(1, 0, None, None), queue(2, 1, None, None)]);
    let mut vms = [vm(0, weight(100), &[1514]), vm(1, weight(100), &[1514])];
    (vms[0].queue, vms[1].queue) = (1, 2);
    run(&port, &mut vms, SECOND, 2 * SECOND, 20 * MS);
    run(&port, &mut vms, 2 * SECOND, 12 * SECOND, 20 * MS);
    assert!(vms[1].sent > vms[0].sent * 10, "{} and {} bytes", vms[1].sent, vms[0].sent);
}
