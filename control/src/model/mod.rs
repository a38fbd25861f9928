//! What the operator wants, as passive data: a switch, its bridges, their ports.
//!
//! Words are Open vSwitch's: a bridge, port or interface has *columns* (`tag`, `other_config:mac-table-size`,
//! `options:path`). The settings that exist, and what each may hold, stand in one table (`schema`), which the
//! configuration file, the command line and the documentation all read. Trust: values here passed their own check
//! (`schema`); whether they fit together is what [`check`] answers. Neighbours: `config` and `rpc` fill it, `plan`
//! compares two of them, `apply` makes it true.

mod affinity;
mod check;
mod column;
mod help;
mod pool;
mod qos;
mod schema;
mod target;

use std::collections::{BTreeMap, BTreeSet};

pub use affinity::parse_affinity;
pub use check::{PROTOCOLS, Place, Problem, QueuePlace, check};
pub use column::{ColumnError, Record, bridge_column, controller_column, pool_column, port_column, workers_column};
pub use help::settings_help;
pub use pool::{FILTERS_MAX, Pool, PoolFilter};
pub use qos::{Qos, Shaping, qos_column, queue_column};
pub use ringswitch_dataplane::flow::near_miss;
pub use schema::{Expect, PortType, SETTINGS, Scope, Setting, Settings, Value, find};
pub use target::{Address, DEFAULT_PORT, Target};

/// The flow of a bridge that was given none: it switches as a learning switch.
pub const DEFAULT_FLOW: &str = "priority=0 actions=NORMAL";

/// The whole switch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switch {
    /// `[workers]`: which CPUs poll, and how.
    pub workers: Settings,
    /// `[ssl]`: keys and certificates for controllers.
    pub ssl: Settings,
    /// How senders share ports.
    pub shaping: Shaping,
    /// Bridges by name.
    pub bridges: BTreeMap<String, Bridge>,
    /// Pools by name: those that the operator made.
    pub pools: BTreeMap<String, Pool>,
}

/// A bridge: ports that see each other, and the flows that say how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Its columns.
    pub settings: Settings,
    /// Ports by name. The bridge's own port is not listed.
    pub ports: BTreeMap<String, Port>,
    /// The flows it starts with, in the grammar's own spelling.
    pub flows: BTreeSet<String>,
    /// The groups it starts with, by number, in the grammar's own spelling.
    pub groups: BTreeMap<u32, String>,
    /// The meters it starts with, likewise.
    pub meters: BTreeMap<u32, String>,
}

/// A port, and its only interface of the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// Its columns, `type` among them.
    pub settings: Settings,
}

impl Default for Bridge {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            ports: BTreeMap::new(),
            flows: BTreeSet::from([DEFAULT_FLOW.to_owned()]),
            groups: BTreeMap::new(),
            meters: BTreeMap::new(),
        }
    }
}

/// How much a port may send, in the units of the settings. None where nothing limits it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bits per second; the rest waits in the sender's ring.
    pub max_rate: Option<u64>,
    /// Packets per second; the rest waits.
    pub max_packet_rate: Option<u64>,
    /// 1000 bits per second above which it drops.
    pub policing_kbps: Option<u64>,
    /// 1000 bits.
    pub policing_burst_kb: Option<u64>,
    /// 1000 packets per second above which it drops.
    pub policing_kpkts: Option<u64>,
    /// 1000 packets.
    pub policing_burst_kpkts: Option<u64>,
}

/// Which VLANs a port carries, resolved from `tag`, `trunks` and `vlan_mode` as Open vSwitch does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vlan {
    /// Untagged frames, which belong to this VLAN.
    Access(u16),
    /// Tagged frames of these VLANs (all when empty).
    Trunk {
        /// The VLANs carried; empty for all.
        allowed: BTreeSet<u16>,
        /// What untagged frames belong to, and whether that VLAN leaves with a tag.
        native: Option<(u16, NativeTag)>,
    },
}

/// How the native VLAN leaves a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeTag {
    /// `vlan_mode=native-tagged`
    Tagged,
    /// `vlan_mode=native-untagged`
    Untagged,
}

impl Switch {
    /// The bridge that has this port, and the port.
    #[must_use]
    pub fn port(&self, name: &str) -> Option<(&str, &Port)> {
        self.bridges.iter().find_map(|(bridge, it)| it.ports.get(name).map(|port| (bridge.as_str(), port)))
    }

    /// CPUs that poll; empty when the switch may choose.
    #[must_use]
    pub fn cpus(&self) -> Vec<usize> {
        self.workers.numbers("cpus").map(|cpus| cpus.iter().map(|&cpu| cpu as usize).collect()).unwrap_or_default()
    }

    /// The CPUs that workers run on: those asked for, or the last one allowed.
    #[must_use]
    pub fn worker_cpus(&self, allowed_cpus: &[usize]) -> Vec<usize> {
        let cpus = self.cpus();
        if cpus.is_empty() { allowed_cpus.last().copied().into_iter().collect() } else { cpus }
    }
}

impl Bridge {
    /// `other_config:mac-table-size`: most addresses that are learned.
    #[must_use]
    pub fn mac_table_size(&self) -> usize {
        self.settings.number("mac-table-size").unwrap_or(8192) as usize
    }

    /// `other_config:mac-aging-time`: seconds after which a silent address is forgotten.
    #[must_use]
    pub fn mac_aging_time(&self) -> u32 {
        self.settings.number("mac-aging-time").unwrap_or(300) as u32
    }

    /// `fail_mode=secure`: without a controller it keeps to its flows, and has none at first.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.settings.text("fail_mode") == Some("secure")
    }

    /// The controllers it connects to or listens for; targets that are none were refused before.
    #[must_use]
    pub fn controllers(&self) -> Vec<Target> {
        self.settings.list("controller").iter().filter_map(|target| target.parse().ok()).collect()
    }

    /// True when it switches by itself, unless it was given flows: nobody else would tell it to. Whoever may connect need
    /// not be a controller.
    #[must_use]
    pub fn wants_default_flow(&self) -> bool {
        !self.is_secure() && self.controllers().iter().all(|controller| controller.passive)
    }

    /// Gives or takes [`DEFAULT_FLOW`] when what decides about it changed; flows of its own it keeps.
    pub fn settle_default_flow(&mut self, wanted_before: bool) {
        let is_default = self.flows.len() == 1 && self.flows.contains(DEFAULT_FLOW);
        match (wanted_before, self.wants_default_flow()) {
            (true, false) if is_default => self.flows.clear(),
            (false, true) if self.flows.is_empty() => drop(self.flows.insert(DEFAULT_FLOW.to_owned())),
            _ => {}
        }
    }
}

impl Port {
    /// Its type, once it has one.
    #[must_use]
    pub fn port_type(&self) -> Option<PortType> {
        self.settings.text("type").and_then(PortType::parse)
    }

    /// Is it in use (`admin_state=up`)?
    #[must_use]
    pub fn admin_up(&self) -> bool {
        self.settings.text("admin_state") != Some("down")
    }

    /// How much it may send.
    #[must_use]
    pub fn rates(&self) -> Rates {
        let number = |name| self.settings.number(name).filter(|&number| number > 0);
        Rates {
            max_rate: number("max_rate"),
            max_packet_rate: number("max_packet_rate"),
            policing_kbps: number("ingress_policing_rate"),
            policing_burst_kb: number("ingress_policing_burst"),
            policing_kpkts: number("ingress_policing_kpkts_rate"),
            policing_burst_kpkts: number("ingress_policing_kpkts_burst"),
        }
    }

    /// The CPUs that poll its queues, by queue, where the operator said so.
    #[must_use]
    pub fn affinity(&self) -> BTreeMap<u16, usize> {
        let pairs = self.settings.text("pmd-rxq-affinity");
        pairs.and_then(|pairs| parse_affinity(pairs).ok()).unwrap_or_default()
    }

    /// Receive queues that it can have; `None` when only its device tells.
    #[must_use]
    pub fn most_queues(&self) -> Option<u64> {
        match self.port_type()? {
            PortType::VhostUser => Some(self.settings.number("queues").unwrap_or(1)),
            PortType::AfXdp => self.settings.number("n_rxq"),
            PortType::Tap | PortType::Internal => Some(1),
        }
    }

    /// The VLANs it carries.
    #[must_use]
    pub fn vlan(&self) -> Vlan {
        let tag = self.settings.number("tag").map(|tag| tag as u16);
        let trunks = self.settings.numbers("trunks");
        let allowed = || trunks.iter().flat_map(|list| list.iter()).map(|&vid| vid as u16).collect::<BTreeSet<_>>();
        let native = |how| {
            let vid = tag.unwrap_or(0);
            let mut allowed = allowed();
            if !allowed.is_empty() {
                allowed.insert(vid);
            }
            Vlan::Trunk { allowed, native: Some((vid, how)) }
        };
        match (self.settings.text("vlan_mode"), tag) {
            (Some("native-tagged"), _) => native(NativeTag::Tagged),
            (Some("native-untagged"), _) => native(NativeTag::Untagged),
            (Some("access"), _) => Vlan::Access(tag.unwrap_or(0)),
            (None, Some(tag)) => Vlan::Access(tag),
            _ => Vlan::Trunk { allowed: allowed(), native: None },
        }
    }

    /// What it takes from the host that no other port can have at the same time.
    #[must_use]
    pub fn resources(&self, name: &str) -> Vec<String> {
        let netdev = || format!("netdev {}", self.settings.text("netdev").unwrap_or(name));
        match self.port_type() {
            Some(PortType::VhostUser) => {
                self.settings.text("path").map(|path| format!("socket {path}")).into_iter().collect()
            }
            Some(_) => vec![netdev()],
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(columns: &[&str]) -> Port {
        let mut port = Port::default();
        for column in columns {
            port_column(&mut port, Record::Any, column).unwrap();
        }
        port
    }

    #[test]
    fn vlan_columns_mean_what_they_mean_in_open_vswitch() {
        let trunk = |allowed: &[u16], native| Vlan::Trunk { allowed: allowed.iter().copied().collect(), native };
        let cases = [
            (port(&[]), trunk(&[], None)),
            (port(&["tag=10"]), Vlan::Access(10)),
            (port(&["trunks=10,20"]), trunk(&[10, 20], None)),
            (
                port(&["tag=5", "trunks=10", "vlan_mode=native-untagged"]),
                trunk(&[5, 10], Some((5, NativeTag::Untagged))),
            ),
            (port(&["tag=5", "vlan_mode=native-tagged"]), trunk(&[], Some((5, NativeTag::Tagged)))),
            (port(&["tag=5", "vlan_mode=access"]), Vlan::Access(5)),
            (port(&["tag=5", "vlan_mode=trunk", "trunks=7-9"]), trunk(&[7, 8, 9], None)),
        ];
        for (port, vlan) in cases {
            assert_eq!(port.vlan(), vlan, "{:?}", port.settings);
        }
    }
}
