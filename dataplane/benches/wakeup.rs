//! What waking a thread on another CPU takes here, and nothing else: the floor of a switch that sleeps when nothing comes.
//!
//! One thread sleeps in epoll on an eventfd, as an idle worker does. The other one polls, as the benchmark's guests do, and signals
//! it now and then. A wake-up lasts from before the signal until the signalling thread sees what the woken one stored. A CPU
//! with nothing to do is halted: the time is then mostly that of the interrupt that ends it, and in a virtual machine that
//! of the hypervisor on both sides.
//!
//! `cargo bench -p ringswitch-dataplane --bench wakeup [-- --cpus WAKER,SLEEPER] [--seconds N] [--json]` prints microseconds.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use ringswitch_dataplane::sys::affinity::{allowed_cpus, pin_to_cpu};
use ringswitch_dataplane::sys::clock::{cycles, cycles_per_second};
use ringswitch_dataplane::sys::event::EventFd;

/// Between two wake-ups, as between two frames of the scenario `wakeup`.
const GAP: Duration = Duration::from_millis(200);

/// What the waker stores to end the other thread.
const END: u64 = u64::MAX;

/// Wakes it `count` times; cycles that each took, in order of length.
fn wake(count: usize, (waker, sleeper): (usize, usize)) -> Vec<u64> {
    let event = EventFd::new().expect("an eventfd");
    // Numbers of the last signal and of the last one that was heard.
    let (signalled, heard) = (AtomicU64::new(0), AtomicU64::new(0));
    let gap = GAP.as_millis() as u64 * cycles_per_second() / 1000;
    let mut took = std::thread::scope(|scope| {
        scope.spawn(|| {
            pin_to_cpu(sleeper).expect("the sleeper's CPU");
            let (mut poll, mut events) = (Poll::new().expect("epoll"), Events::with_capacity(1));
            let mut source = SourceFd(&event.as_raw_fd());
            poll.registry().register(&mut source, Token(0), Interest::READABLE).expect("an eventfd can be waited for");
            loop {
                // Edges, as a worker asks for: nothing is read, so no signal can be taken back by mistake.
                let _ = poll.poll(&mut events, None);
                match signalled.load(Ordering::Acquire) {
                    END => break,
                    number => heard.store(number, Ordering::Release),
                }
            }
        });
        let waking = scope.spawn(|| {
            pin_to_cpu(waker).expect("the waker's CPU");
            let took: Vec<u64> = (1..=count as u64)
                .map(|number| {
                    let begin = cycles();
                    while cycles() - begin < gap {
                        std::hint::spin_loop();
                    }
                    let start = cycles();
                    signalled.store(number, Ordering::Release);
                    event.signal();
                    while heard.load(Ordering::Acquire) != number {
                        std::hint::spin_loop();
                    }
                    cycles() - start
                })
                .collect();
            signalled.store(END, Ordering::Release);
            event.signal();
            took
        });
        waking.join().expect("the waker ends")
    });
    took.sort_unstable();
    took
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let given = |option: &str| words.iter().position(|word| word == option).and_then(|at| words.get(at + 1));
    let allowed = allowed_cpus();
    let cpus = match given("--cpus").and_then(|cpus| cpus.split_once(',')) {
        Some((waker, sleeper)) => (waker.parse().expect("a CPU"), sleeper.parse().expect("a CPU")),
        None => (allowed[0], *allowed.last().expect("one CPU")),
    };
    assert_ne!(cpus.0, cpus.1, "who is woken must not wait for who wakes it");
    let seconds: f64 = given("--seconds").map_or(4.5, |seconds| seconds.parse().expect("a number"));
    let took = wake((seconds / GAP.as_secs_f64()).max(1.0) as usize, cpus);
    let micros = |cycles: u64| cycles as f64 * 1e6 / cycles_per_second() as f64;
    let [min, p50, max] = [0, took.len() / 2, took.len() - 1].map(|place| micros(took[place]));
    if words.iter().any(|word| word == "--json") {
        println!("{{\"samples\": {}, \"min\": {min:.1}, \"p50\": {p50:.1}, \"max\": {max:.1}}}", took.len());
    } else {
        println!("{} wake-ups: {min:.1} us at least, {p50:.1} us median, {max:.1} us at most", took.len());
    }
}
