//! How senders share ports: from an operator's QoS to what the dataplane schedules by, and what became of it.
//!
//! Neighbours: `state` puts the result into the view that workers get; controllers and `rsctl` ask for queues here.

use std::collections::BTreeSet;
use std::time::Duration;

use ringswitch_dataplane::sched::{EgressSpec, QueueCounts, QueueSpec, Rate, Rates};
use ringswitch_dataplane::sys::clock::coarse_ms;

use super::state::PortSlot;
use super::{Dataplane, Engine};
use crate::model::{Port, PortType, Qos, Settings, Shaping};
use crate::openflow::OfError;
use crate::openflow::message::{PORT_ANY, QUEUE_ALL};
use crate::openflow::stats::{QueueDesc, QueueStats};
use crate::report::{QueueConfigReport, QueueStatsReport};

/// Strict classes that the dataplane has.
const CLASSES: usize = 8;

/// How the senders to a port share it; none when nobody has to. A NIC is shared even without a QoS: by its own speed.
pub(super) fn egress(port: &Port, shaping: &Shaping) -> Option<EgressSpec> {
    let Some(qos) = shaping.of(port) else {
        return (port.port_type() == Some(PortType::AfXdp)).then(EgressSpec::default);
    };
    let nothing = Settings::default();
    let settings = |number| shaping.queue(qos, number).unwrap_or(&nothing);
    let queues: Vec<_> = numbers(qos).into_iter().map(|number| (number, settings(number))).collect();
    let priorities: BTreeSet<u64> = queues.iter().map(|(_, queue)| priority(queue)).collect();
    let spec = |&(id, queue): &(u32, &Settings)| QueueSpec {
        id,
        min_bytes: queue.number("min-rate").map(bytes),
        max_bytes: queue.number("max-rate").map(|bits| rate(bits, queue.number("burst"))),
        priority: class(&priorities, priority(queue)),
    };
    let max_bytes = qos.settings.number("max-rate").map(|bits| rate(bits, None));
    Some(EgressSpec { max_bytes, queues: queues.iter().map(spec).collect() })
}

/// The queues of a QoS; queue 0 is always one, for packets that name none.
fn numbers(qos: &Qos) -> BTreeSet<u32> {
    qos.queues.keys().copied().chain([0]).collect()
}

fn priority(queue: &Settings) -> u64 {
    queue.number("priority").unwrap_or(0)
}

/// The smallest priority is served first, and only their order counts; classes are served from the highest. When there are
/// more priorities than classes, the largest ones share the lowest.
fn class(priorities: &BTreeSet<u64>, priority: u64) -> u8 {
    let smaller = priorities.range(..priority).count();
    (priorities.len().min(CLASSES) - 1).saturating_sub(smaller) as u8
}

fn bytes(bits: u64) -> u64 {
    bits.div_ceil(8)
}

/// A burst that is too small for a frame counts as none.
fn rate(bits: u64, burst: Option<u64>) -> Rate {
    let usual = Rates::shaped_bytes(bytes(bits));
    let least = Rates::shaped_bytes(1).burst;
    Rate { burst: burst.map_or(usual.burst, |bits| bytes(bits).max(least)), ..usual }
}

/// A port and one of its queues' numbers.
type PortQueue<'a> = (&'a PortSlot, u32);

impl<D: Dataplane> Engine<D> {
    /// The queues that a request means, by port and number.
    fn queues_of(&self, bridge: usize, port: u32, queue: u32) -> Result<Vec<PortQueue<'_>>, OfError> {
        let ports = self.slots(bridge, port, OfError::OFPQOFC_BAD_PORT)?;
        let mut queues = Vec::new();
        for port in ports {
            let numbers = self.state.shaping.of(&port.spec).map(numbers).unwrap_or_default().into_iter();
            queues.extend(numbers.filter(|&number| [number, QUEUE_ALL].contains(&queue)).map(|number| (port, number)));
        }
        if queue != QUEUE_ALL && queues.is_empty() { Err(OfError::OFPQOFC_BAD_QUEUE) } else { Ok(queues) }
    }

    /// What a port's queue, or several of them, counted.
    ///
    /// # Errors
    /// When there is no such port, or nowhere such a queue.
    pub fn queue_stats(&self, bridge: usize, port: u32, queue: u32) -> Result<Vec<QueueStats>, OfError> {
        let queues = self.queues_of(bridge, port, queue)?;
        Ok(queues.into_iter().map(|queue| self.counted(queue)).collect())
    }

    fn counted(&self, (port, queue): PortQueue<'_>) -> QueueStats {
        let totals = self.dataplane.queue_counts(port.id);
        let totals = totals.iter().find(|totals| totals.id == queue);
        let count = |of: fn(&QueueCounts) -> u64| totals.map_or(0, of);
        QueueStats {
            port: port.number,
            queue,
            tx_bytes: count(|totals| totals.bytes),
            tx_packets: count(|totals| totals.packets),
            tx_errors: count(|totals| totals.errors),
            duration: totals.map(|totals| Duration::from_millis(coarse_ms().saturating_sub(totals.since_ms))),
        }
    }

    /// How a port's queue, or several of them, are set up. OpenFlow tells rates in tenths of a percent of the port's speed:
    /// of its QoS' max-rate, when it has one.
    ///
    /// # Errors
    /// As [`Engine::queue_stats`].
    pub fn queue_descs(&self, bridge: usize, port: u32, queue: u32) -> Result<Vec<QueueDesc>, OfError> {
        let desc = |queue: PortQueue<'_>| {
            let QueueConfigReport { port, queue, min_rate, max_rate, port_rate, .. } = self.configured(queue);
            let part = |rate: Option<u64>| {
                let tenths = u128::from(rate?) * 1000 / u128::from(port_rate?);
                Some(tenths.min(1000) as u16)
            };
            QueueDesc { port, queue, min_rate: part(min_rate), max_rate: part(max_rate) }
        };
        Ok(self.queues_of(bridge, port, queue)?.into_iter().map(desc).collect())
    }

    fn configured(&self, (port, queue): PortQueue<'_>) -> QueueConfigReport {
        let shaping = &self.state.shaping;
        let qos = shaping.of(&port.spec);
        let settings = qos.and_then(|qos| shaping.queue(qos, queue));
        let number = |name| settings.and_then(|settings| settings.number(name));
        QueueConfigReport {
            port: port.number,
            name: port.name.to_string(),
            queue,
            record: qos.and_then(|qos| qos.queues.get(&queue).cloned()),
            min_rate: number("min-rate"),
            max_rate: number("max-rate"),
            burst: number("burst"),
            priority: number("priority").unwrap_or(0),
            port_rate: qos.and_then(|qos| qos.settings.number("max-rate")),
        }
    }

    /// For operators: the counters of the queues of a port (its name or number; all ports) with a number (all numbers).
    ///
    /// # Errors
    /// When there is no such bridge, port or queue.
    pub fn dump_queue_stats(
        &self,
        bridge: &str,
        port: Option<&str>,
        queue: Option<&str>,
    ) -> Result<Vec<QueueStatsReport>, String> {
        let report = |queue: PortQueue<'_>| {
            let stats = self.counted(queue);
            QueueStatsReport {
                port: stats.port,
                name: queue.0.name.to_string(),
                queue: stats.queue,
                tx_packets: stats.tx_packets,
                tx_bytes: stats.tx_bytes,
                tx_errors: stats.tx_errors,
                duration_ms: stats.duration.map(|duration| duration.as_millis() as u64),
            }
        };
        Ok(self.queues_named(bridge, port, queue)?.into_iter().map(report).collect())
    }

    /// For operators: how queues are set up.
    ///
    /// # Errors
    /// As [`Engine::dump_queue_stats`].
    pub fn dump_queue_configs(
        &self,
        bridge: &str,
        port: Option<&str>,
        queue: Option<&str>,
    ) -> Result<Vec<QueueConfigReport>, String> {
        Ok(self.queues_named(bridge, port, queue)?.into_iter().map(|queue| self.configured(queue)).collect())
    }

    fn queues_named(
        &self,
        bridge: &str,
        port: Option<&str>,
        queue: Option<&str>,
    ) -> Result<Vec<PortQueue<'_>>, String> {
        let index = self.state.bridge(bridge)?;
        let given = |word: Option<&'_ str>| word.filter(|word| !matches!(*word, "ALL" | "ANY")).map(str::to_owned);
        let (port, queue) = (given(port), given(queue));
        let number = match &port {
            Some(port) => self.state.port_of(index, port)?.number,
            None => PORT_ANY,
        };
        let wanted = match &queue {
            Some(word) => word.parse().map_err(|_| format!("\"{word}\" is not a queue's number"))?,
            None => QUEUE_ALL,
        };
        let none = |_| {
            let queue = queue.unwrap_or_default();
            match port {
                Some(port) => format!("port {port} has no queue {queue}"),
                None => format!("no port of bridge {bridge} has a queue {queue}"),
            }
        };
        self.queues_of(index, number, wanted).map_err(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Option<EgressSpec> {
        let text = format!("{text}\n[bridges.br0.ports.eth1]\ntype = \"afxdp\"\n");
        let text = if text.contains("[qos") { text + "qos = \"q\"" } else { text };
        let switch = crate::config::parse(&text, "t".as_ref(), &[0]).unwrap();
        egress(&switch.bridges["br0"].ports["eth1"], &switch.shaping)
    }

    #[test]
    fn rates_are_bits_and_queue_0_is_always_there() {
        assert_eq!(spec(""), Some(EgressSpec::default()), "a NIC is shared");
        let max = |bits: u64| Some(Rates::shaped_bytes(bits / 8));
        let wanted = EgressSpec {
            max_bytes: max(1_000_000_000),
            queues: vec![
                QueueSpec { id: 0, min_bytes: None, max_bytes: None, priority: 0 },
                QueueSpec { id: 7, min_bytes: Some(1_000_000), max_bytes: max(80_000_000), priority: 0 },
            ],
        };
        let head = "[qos.q]\ntype = \"linux-htb\"\nmax-rate = 1000000000\n[qos.q.queues.7]\n";
        let text = format!("{head}min-rate = 8000000\nmax-rate = 80000000");
        assert_eq!(spec(&text), Some(wanted));
        let burst = |bits: u64| {
            let text = format!("{head}max-rate = 8000\nburst = {bits}");
            spec(&text).unwrap().queues[1].max_bytes.unwrap()
        };
        assert_eq!(burst(80_000), Rate { per_second: 1000, burst: 10_000 });
        assert_eq!(burst(8), Rate { per_second: 1000, burst: 3028 }, "too small for a frame");
    }

    #[test]
    fn the_smaller_priority_is_the_higher_class() {
        let classes = |priorities: &[u64]| {
            let queue = |(number, priority): (usize, &u64)| format!("[qos.q.queues.{number}]\npriority = {priority}\n");
            let queues: String = priorities.iter().enumerate().map(queue).collect();
            let spec = spec(&format!("[qos.q]\ntype = \"linux-htb\"\n{queues}")).unwrap();
            spec.queues.iter().map(|queue| queue.priority).collect::<Vec<_>>()
        };
        assert_eq!(classes(&[5, 5]), [0, 0], "only the order counts");
        assert_eq!(classes(&[0, 1000, 7, 7]), [2, 0, 1, 1]);
        assert_eq!(classes(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), [7, 6, 5, 4, 3, 2, 1, 0, 0, 0]);
    }
}
