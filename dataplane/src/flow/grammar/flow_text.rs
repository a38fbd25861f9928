//! Flows as `ovs-ofctl dump-flows` prints them.

use std::fmt::{self, Display, Formatter, Write};

use super::super::Flow;
use super::{PortNames, format_actions, format_match};

/// What `dump-flows` prints beside the flow itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowStats {
    /// Milliseconds since it was installed.
    pub age_ms: u64,
    /// Packets it decided.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A line of `dump-flows`. Without statistics (`--no-stats`) it is also what `add-flow` takes.
#[must_use]
pub fn format_flow(flow: &Flow, stats: Option<&FlowStats>, ports: &dyn PortNames) -> String {
    let mut text = String::new();
    let mut put = |args: fmt::Arguments<'_>| text.write_fmt(args).unwrap_or_default();
    match stats {
        Some(stats) => {
            put(format_args!(" cookie={:#x}, duration={}, ", flow.cookie, Duration(stats.age_ms)));
            put(format_args!("table={}, n_packets={}, n_bytes={}, ", flow.table, stats.packets, stats.bytes));
        }
        None => {
            put(format_args!("{}", Unless(flow.cookie == 0, format_args!("cookie={:#x}, ", flow.cookie))));
            put(format_args!("{}", Unless(flow.table == 0, format_args!("table={}, ", flow.table))));
        }
    }
    for (name, seconds) in [("idle_timeout", flow.idle_timeout), ("hard_timeout", flow.hard_timeout)] {
        put(format_args!("{}", Unless(seconds == 0, format_args!("{name}={seconds}, "))));
    }
    flow.flags.names().for_each(|name| put(format_args!("{name} ")));
    put(format_args!("{}", Unless(flow.importance == 0, format_args!("importance={}, ", flow.importance))));
    let matches = format_match(&flow.matches, flow.priority, ports);
    put(format_args!("{matches}{}", if matches.is_empty() { "" } else { " " }));
    put(format_args!("actions={}", format_actions(&flow.actions, ports)));
    text
}

/// Seconds, with three decimals unless they are zero.
pub(super) struct Duration(pub u64);

impl Display for Duration {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        match self.0 % 1000 {
            0 => write!(to, "{}s", self.0 / 1000),
            rest => write!(to, "{}.{rest:03}s", self.0 / 1000),
        }
    }
}

/// Prints nothing when the condition holds.
struct Unless<'a>(bool, fmt::Arguments<'a>);

impl Display for Unless<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        if self.0 { Ok(()) } else { to.write_fmt(self.1) }
    }
}
