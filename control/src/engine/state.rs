//! Bridges and ports that exist, with the numbers they were given. Cheap to clone: a transaction edits a clone.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringswitch_dataplane::pipeline::Program;
use ringswitch_dataplane::port::{MAX_PORTS, PortId};
use ringswitch_dataplane::sched::{Pool, PoolId, PoolSpec};
use ringswitch_dataplane::sys::clock::coarse_ms;

use super::pools::PoolSlot;
use super::shaping::egress;
use super::{Affinity, BridgeView, Name, PortView};
use crate::flows::Ports;
use crate::model::{Port, Settings, Shaping};
use crate::openflow::stats::TableDesc;
use crate::report::LOCAL;

/// Highest OpenFlow number of a port; above are reserved ones (`OFPP_MAX` of OpenFlow 1.0).
pub(super) const NUMBER_MAX: u32 = 0xfeff;

/// Full tables let flows of little importance go first, and of those the ones that would go soonest: `OFPTMPEF_IMPORTANCE`
/// and `OFPTMPEF_LIFETIME`.
const BY_WORTH: u32 = 1 << 1 | 1 << 2;

/// See the file's head.
#[derive(Clone, Default)]
pub struct State {
    /// By index; indices are reused.
    pub bridges: Vec<Option<BridgeSlot>>,
    /// By [`PortId`].
    ports: Vec<Option<PortSlot>>,
    /// Those that the operator made, by name.
    pub pools: BTreeMap<String, PoolSlot>,
    /// How senders share ports.
    pub shaping: Arc<Shaping>,
}

/// A bridge that exists.
#[derive(Clone)]
pub struct BridgeSlot {
    pub name: String,
    pub program: Program,
    /// What workers see instead of the program while no controller is there, in standalone mode.
    pub fallback: Option<Program>,
    /// Most flows of a table.
    pub flow_limit: Option<usize>,
    /// Full tables make room.
    pub evicts: bool,
    /// Tables that controllers changed something about.
    pub tables: BTreeMap<u8, TableDesc>,
}

impl BridgeSlot {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            program: Program::default(),
            fallback: None,
            flow_limit: None,
            evicts: false,
            tables: BTreeMap::new(),
        }
    }

    /// Takes over the columns that flows depend on.
    pub fn configure(&mut self, settings: &Settings) {
        self.flow_limit = settings.number("flow-limit").map(|limit| limit as usize);
        self.evicts = settings.text("overflow-policy") == Some("evict");
    }

    /// The table's settings.
    pub fn table_desc(&self, number: u8) -> TableDesc {
        self.tables.get(&number).copied().unwrap_or(TableDesc {
            table: number,
            eviction_flags: BY_WORTH,
            ..TableDesc::default()
        })
    }

    /// True when the table makes room.
    pub fn evicts(&self, table: u8) -> bool {
        self.evicts || self.table_desc(table).eviction
    }
}

/// A port that exists.
#[derive(Clone)]
pub struct PortSlot {
    pub id: PortId,
    pub name: Name,
    /// Index of its bridge.
    pub bridge: usize,
    pub number: u32,
    pub spec: Port,
    /// Its own while the operator put it into none.
    pub pool: Arc<Pool>,
    /// False while its `admin_state` is down, and while it cannot be opened.
    pub open: bool,
    /// What controllers said about it, bits of [`crate::openflow::stats::Port`].
    pub config: u32,
    /// When it came, milliseconds of `sys::clock::coarse_ms`.
    pub created_ms: u64,
}

impl State {
    /// The index of this bridge.
    pub fn bridge(&self, name: &str) -> Result<usize, String> {
        let named = |slot: &Option<BridgeSlot>| slot.as_ref().is_some_and(|bridge| bridge.name == name);
        self.bridges.iter().position(named).ok_or_else(|| format!("no bridge named {name}"))
    }

    /// The bridge with this index, which exists.
    pub fn bridge_mut(&mut self, name: &str) -> Result<&mut BridgeSlot, String> {
        let index = self.bridge(name)?;
        self.bridges[index].as_mut().ok_or_else(|| format!("no bridge named {name}"))
    }

    /// Puts a bridge into the first place that `taken` does not rule out.
    pub fn add_bridge(&mut self, name: &str, taken: impl Fn(usize) -> bool) -> usize {
        let slot = BridgeSlot::new(name);
        let free = |index: &usize| self.bridges.get(*index).is_none_or(Option::is_none) && !taken(*index);
        let index = (0..).find(free).unwrap_or(self.bridges.len());
        self.bridges.resize(self.bridges.len().max(index + 1), None);
        self.bridges[index] = Some(slot);
        index
    }

    pub fn ports(&self) -> impl Iterator<Item = &PortSlot> {
        self.ports.iter().flatten()
    }

    pub fn ports_mut(&mut self) -> impl Iterator<Item = &mut PortSlot> {
        self.ports.iter_mut().flatten()
    }

    /// The bridge's ports, by number.
    pub fn ports_of(&self, bridge: usize) -> Vec<&PortSlot> {
        let mut ports: Vec<_> = self.ports().filter(|port| port.bridge == bridge).collect();
        ports.sort_by_key(|port| port.number);
        ports
    }

    /// The names that flows of this bridge may use.
    pub fn port_names(&self, bridge: &str) -> Result<Ports, String> {
        let bridge = self.bridge(bridge)?;
        let of_bridge = self.ports().filter(|port| port.bridge == bridge);
        Ok(Ports::new(of_bridge.map(|port| (&*port.name, port.number))))
    }

    pub fn open_ports(&self) -> Vec<PortId> {
        self.ports().filter(|port| port.open).map(|port| port.id).collect()
    }

    /// Ports that should be open and could not be opened.
    pub fn failed_ports(&self) -> Vec<PortId> {
        self.ports().filter(|port| !port.open && port.spec.admin_up()).map(|port| port.id).collect()
    }

    /// The port in this place.
    pub fn port(&self, id: PortId) -> Option<&PortSlot> {
        self.ports.get(usize::from(id.0))?.as_ref()
    }

    pub fn port_mut(&mut self, id: PortId) -> Option<&mut PortSlot> {
        self.ports.get_mut(usize::from(id.0))?.as_mut()
    }

    pub fn port_named(&self, name: &str) -> Option<&PortSlot> {
        self.ports().find(|port| &*port.name == name)
    }

    /// A port's name or number in this bridge.
    pub fn port_of(&self, bridge: usize, name_or_number: &str) -> Result<&PortSlot, String> {
        let number = if name_or_number == "LOCAL" { Some(LOCAL) } else { name_or_number.parse().ok() };
        let is_it = |port: &&PortSlot| &*port.name == name_or_number || Some(port.number) == number;
        let name = self.bridges[bridge].as_ref().map_or("", |bridge| &bridge.name);
        self.ports()
            .filter(|port| port.bridge == bridge)
            .find(is_it)
            .ok_or_else(|| format!("bridge {name} has no port {name_or_number}"))
    }

    /// Puts a port into the first place that `taken` does not rule out.
    pub fn add_port(
        &mut self,
        bridge: usize,
        name: &str,
        spec: &Port,
        number: u32,
        taken: impl Fn(PortId) -> bool,
    ) -> Result<PortId, String> {
        let free = |id: &PortId| self.port(*id).is_none() && !taken(*id);
        let id = (0..MAX_PORTS as u16)
            .map(PortId)
            .find(free)
            .ok_or_else(|| format!("no place for another port, {MAX_PORTS} are in use"))?;
        let index = usize::from(id.0);
        self.ports.resize(self.ports.len().max(index + 1), None);
        let (name, spec, created_ms) = (name.into(), spec.clone(), coarse_ms());
        let pool = Arc::new(Pool::new(PoolId(id.0), PoolSpec::default()));
        self.ports[index] = Some(PortSlot { id, name, bridge, number, spec, pool, open: false, config: 0, created_ms });
        Ok(id)
    }

    pub fn remove_port(&mut self, id: PortId) {
        self.ports[usize::from(id.0)] = None;
    }

    /// The number asked for when it is free, otherwise the lowest that is. `own` may be kept.
    pub fn number(&self, bridge: usize, wanted: Option<u64>, own: Option<u32>) -> Result<u32, String> {
        let free = |number: &u32| {
            own == Some(*number) || !self.ports().any(|port| port.bridge == bridge && port.number == *number)
        };
        let wanted = wanted.map(|number| number as u32).filter(free);
        wanted.or(own).or_else(|| (1..=NUMBER_MAX).find(free)).ok_or_else(|| "no OpenFlow number is free".to_owned())
    }

    /// Queues that the operator wants on a CPU.
    pub fn affinity(&self) -> Vec<Affinity> {
        let of_port = |port: &PortSlot| {
            let id = port.id;
            port.spec.affinity().into_iter().map(move |(queue, cpu)| Affinity { port: id, queue, cpu })
        };
        self.ports().flat_map(of_port).collect()
    }

    /// What workers are to see.
    pub fn view<'a>(&'a self) -> Vec<Option<BridgeView<'a>>> {
        let port = |port: &'a PortSlot| port.view(&self.shaping);
        let ports = |index| self.ports_of(index).into_iter().filter(|port| port.open).map(port).collect();
        let bridge = |(index, slot): (usize, &'a Option<BridgeSlot>)| {
            slot.as_ref().map(|bridge| BridgeView {
                name: &bridge.name,
                program: bridge.fallback.as_ref().unwrap_or(&bridge.program),
                ports: ports(index),
            })
        };
        self.bridges.iter().enumerate().map(bridge).collect()
    }
}

impl PortSlot {
    fn view(&self, shaping: &Shaping) -> PortView<'_> {
        PortView {
            id: self.id,
            name: &self.name,
            number: self.number,
            vlan: self.spec.vlan(),
            rates: self.spec.rates(),
            pool: &self.pool,
            qos: egress(&self.spec, shaping),
            config: self.config,
        }
    }
}
