//! Traffic between stations: who sends what to whom, how fast, and what came of it.
//!
//! A *station* is a guest or a netdev. A *trial* is: send for a time or a number of frames, wait until nothing arrives
//! any more, count. Everything else (warm-up, the search for the highest rate without loss) is trials.

mod pace;
mod sender;
mod station;
mod trial;
mod window;

pub use sender::{Content, Sender};
pub use station::{Counters, Listening, Station};
pub use trial::{Load, Outcome, Progress, run};
