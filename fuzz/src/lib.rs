//! Random input for whatever reads what others wrote, without a special toolchain: see README.md.
//!
//! A target is a function that makes one case out of a [`Random`] and panics when the switch did something wrong. Nothing
//! else is random in most targets, so a seed brings its case back.

#![forbid(unsafe_code)]

pub mod frame;
pub mod guest;
pub mod openflow;
pub mod random;
pub mod reference;
pub mod switch;
pub mod text;
pub mod wire;
pub mod words;

pub use random::Random;

use std::time::{Duration, Instant};

/// How long a target runs unless `FUZZ_SECONDS` says otherwise.
const SECONDS: u64 = 2;

/// Runs cases until the time is up; with `FUZZ_SEED` that one only.
///
/// # Panics
/// When a case does, after its seed was printed.
pub fn run(target: &str, case: impl Fn(&mut Random)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let one = |seed: u64| {
        let _seed = Seed { target, seed };
        if std::env::var_os("FUZZ_TRACE").is_some() {
            eprintln!("{target} {seed}");
        }
        case(&mut Random::new(seed));
    };
    if let Some(seed) = number("FUZZ_SEED") {
        return one(seed);
    }
    let (start, seconds) = (Instant::now(), number("FUZZ_SECONDS"));
    // The short run of every test is the same each time; a long one goes where none was before.
    let clock = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs() << 32);
    let first = if seconds.is_some() { clock } else { 0 };
    let time = Duration::from_secs(seconds.unwrap_or(SECONDS));
    let count = (first..).take_while(|_| start.elapsed() < time).map(one).count();
    eprintln!("{target}: {count} cases in {:.1} s", start.elapsed().as_secs_f32());
}

/// Says how to repeat the case that is running when it panics.
struct Seed<'a> {
    target: &'a str,
    seed: u64,
}

impl Drop for Seed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again: FUZZ_SEED={} cargo test -p ringswitch-fuzz --test {}", self.seed, self.target);
        }
    }
}
