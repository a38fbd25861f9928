//! A daemon of its own for each test, asked through rsctl; guests ([`guests`]) and hosts ([`hosts`]) to talk through it.
//!
//! As root the daemon gets a network namespace, which ends with it: its bridges' netdevs meet nobody. A test that runs in a
//! namespace of its own ([`hosts::inside`]) has the daemon with it there. Without root it works as well, and only its
//! bridges lack their own netdevs.

#![allow(dead_code, unused_imports, reason = "each test program uses a part of it")]

pub mod daemon;
pub mod guests;
pub mod hosts;
pub mod totals;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringswitch_dataplane::sys::affinity::allowed_cpus;

pub use daemon::{Daemon, ringswitchd};
pub use totals::Totals;

/// The bridge that tests use.
pub const BRIDGE: &str = "br0";

/// How long anything may take that is to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// There are fewer CPUs than these tests would like: one runs at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until it holds.
pub fn eventually(what: &str, holds: impl FnMut() -> bool) {
    assert!(in_time(holds), "never: {what}");
}

/// Waits until it holds; false when it does not, however long one is willing to wait.
pub fn in_time(mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// A configuration: these vhost-user ports (name and more lines), these flows.
pub fn config(ports: &[(&str, &str)], flows: &[String]) -> String {
    let flows: Vec<_> = flows.iter().map(|flow| format!("  \"{flow}\",\n")).collect();
    let mut text = format!("[bridges.{BRIDGE}]\nflows = [\n{}]\n", flows.concat());
    for (name, more) in ports {
        text += &format!("[bridges.{BRIDGE}.ports.{name}]\ntype = \"vhost-user\"\npath = \"DIR/{name}\"\n{more}\n");
    }
    text
}

/// The configuration with two workers instead of one, where there are two CPUs.
pub fn with_two_workers(config: &str) -> String {
    let cpus = allowed_cpus();
    format!("[workers]\ncpus = {:?}\n{config}", &cpus[..cpus.len().min(2)])
}

/// Flows that join two ports like a wire.
pub fn wire() -> Vec<String> {
    vec!["in_port=1 actions=output:2".to_owned(), "in_port=2 actions=output:1".to_owned()]
}

/// A bridge with two guests' ports, which learns.
pub const TWO_PORTS: &str = r#"
[bridges.br0.ports.vm1]
type = "vhost-user"
path = "DIR/vm1.sock"
[bridges.br0.ports.vm2]
type = "vhost-user"
path = "DIR/vm2.sock"
"#;
