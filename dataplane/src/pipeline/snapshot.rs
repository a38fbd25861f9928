//! The immutable state that workers read: ports, bridges, rules. Control builds a new one for every change and shares
//! with the old one what did not change.

use std::sync::Arc;

use super::fdb::Fdb;
use super::parse::Depth;
use super::shortlist::Shortlist;
use super::sort::SortTable;
use super::stats::TableStats;
use crate::flow::{FRAME_WORDS, Field, FlowKey, Groups, Mask, Meters, Tables};
use crate::packet::PortCounters;
use crate::port::{PortId, TxQueues};
use crate::sched::{Egress, Limits, Pool};

/// OpenFlow's number of the bridge's own port.
pub const LOCAL_NUMBER: u32 = 0xffff_fffe;
/// The id of what is no port, where a packet that control sends came from.
pub const NOWHERE: PortId = PortId(u16::MAX);

/// Everything workers read. `epoch` grows with each publication.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// Which publication this is, from 1.
    pub epoch: u64,
    /// The publication since which every port carries the VLANs that it carries now.
    pub vlan_epoch: u64,
    /// Ports by [`PortId`].
    pub ports: Vec<Option<Arc<PortEntry>>>,
    /// Bridges by index; a removed bridge leaves a hole that is reused.
    pub bridges: Vec<Option<Arc<BridgeView>>>,
}

impl Snapshot {
    /// The port with this id, if there is one.
    #[inline(always)]
    #[must_use]
    pub fn port(&self, id: PortId) -> Option<&Arc<PortEntry>> {
        self.ports.get(usize::from(id.0))?.as_ref()
    }

    /// Makes this the publication after `old`.
    pub(crate) fn follow(&mut self, old: &Self) {
        self.epoch = old.epoch + 1;
        let mut ids = 0..self.ports.len().max(old.ports.len()) as u16;
        let has_its_vlans = |id: u16| match (self.port(PortId(id)), old.port(PortId(id))) {
            (Some(now), Some(before)) => Arc::ptr_eq(now, before) || now.vlan == before.vlan,
            (now, before) => now.is_none() && before.is_none(),
        };
        self.vlan_epoch = if ids.all(has_its_vlans) { old.vlan_epoch } else { self.epoch };
    }

    /// The bridge with this index, if there is one.
    #[inline(always)]
    #[must_use]
    pub fn bridge(&self, index: usize) -> Option<&Arc<BridgeView>> {
        self.bridges.get(index)?.as_ref()
    }
}

/// A port as the pipeline sees it.
#[derive(Clone)]
pub struct PortEntry {
    /// Its place in the switch.
    pub id: PortId,
    /// Its OpenFlow number in its bridge.
    pub number: u32,
    /// Index of its bridge.
    pub bridge: usize,
    /// Where packets leave.
    pub tx: Arc<TxQueues>,
    /// A lane per worker.
    pub counters: Arc<[PortCounters]>,
    /// Which VLANs it carries under NORMAL.
    pub vlan: VlanMode,
    /// How much it may send; none when it is not limited.
    pub limits: Option<Arc<Limits>>,
    /// Whose it is.
    pub pool: Arc<Pool>,
    /// How those who send to it share it; none when nobody has to.
    pub egress: Option<Arc<Egress>>,
    /// What controllers forbid it.
    pub flags: PortFlags,
}

/// OpenFlow's configuration of a port (`ofp_port_config`). Down is no flag here: such a port has no queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Independent bits of the protocol.
pub struct PortFlags {
    /// What comes in is dropped.
    pub no_recv: bool,
    /// Nothing goes out.
    pub no_fwd: bool,
    /// Floods leave it out.
    pub no_flood: bool,
    /// Controllers get no packets that came in here.
    pub no_packet_in: bool,
}

impl PortEntry {
    /// A port that carries every VLAN, of which nothing is limited, shared or forbidden.
    #[must_use]
    pub fn new(id: PortId, number: u32, bridge: usize, tx: Arc<TxQueues>, counters: Arc<[PortCounters]>) -> Self {
        let (vlan, pool, flags) = (VlanMode::default(), Arc::default(), PortFlags::default());
        Self { id, number, bridge, tx, counters, vlan, limits: None, pool, egress: None, flags }
    }

    /// True when workers would see no difference.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let Self { id, number, bridge, tx, counters, vlan, limits, pool, egress, flags } = self;
        let rates = |limits: &Option<Arc<Limits>>| limits.as_ref().map(|limits| *limits.rates());
        (*id, *number, *bridge, *flags) == (other.id, other.number, other.bridge, other.flags)
            && Arc::ptr_eq(tx, &other.tx)
            && Arc::ptr_eq(counters, &other.counters)
            && *vlan == other.vlan
            && rates(limits) == rates(&other.limits)
            && Arc::ptr_eq(pool, &other.pool)
            && egress.as_ref().map(|egress| egress.spec()) == other.egress.as_ref().map(|egress| egress.spec())
    }
}

/// How a port treats VLANs under NORMAL; the words of OVS's `vlan_mode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VlanMode {
    /// `tag=N`: untagged frames only, in VLAN N.
    Access(u16),
    /// Tagged frames of the VLANs in the set, and untagged ones according to `native`.
    Trunk {
        /// The VLANs carried.
        allowed: VlanSet,
        /// What untagged frames are.
        native: Native,
    },
}

/// What a trunk port does with untagged frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Native {
    /// They are VLAN 0 (`trunk`).
    None,
    /// They are in this VLAN, whose frames leave with a tag (`native-tagged`).
    Tagged(u16),
    /// They are in this VLAN, whose frames leave without a tag (`native-untagged`).
    Untagged(u16),
}

impl Default for VlanMode {
    fn default() -> Self {
        Self::Trunk { allowed: VlanSet::all(), native: Native::None }
    }
}

/// In which form a frame leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With its VLAN's tag (VLAN 0: without).
    Tagged,
    /// Without a tag.
    Untagged,
}

impl VlanMode {
    /// The VLAN of a frame that comes in with this tag id (`None` or 0: untagged); `None` when the port does not carry it.
    #[must_use]
    pub fn ingress(&self, tag: Option<u16>) -> Option<u16> {
        let tag = tag.filter(|&vid| vid != 0);
        match (self, tag) {
            (Self::Access(vid), None) => Some(*vid),
            (Self::Access(_), Some(_)) => None,
            (Self::Trunk { allowed, .. }, Some(vid)) => allowed.contains(vid).then_some(vid),
            (Self::Trunk { allowed, native: Native::None }, None) => allowed.contains(0).then_some(0),
            (Self::Trunk { native: Native::Tagged(vid) | Native::Untagged(vid), .. }, None) => Some(*vid),
        }
    }

    /// How a frame of this VLAN leaves; `None` when the port does not carry it.
    #[must_use]
    pub fn egress(&self, vlan: u16) -> Option<Form> {
        match self {
            Self::Access(vid) => (*vid == vlan).then_some(Form::Untagged),
            Self::Trunk { native: Native::Untagged(vid), .. } if *vid == vlan => Some(Form::Untagged),
            Self::Trunk { native: Native::Tagged(vid), .. } if *vid == vlan => Some(Form::Tagged),
            Self::Trunk { allowed, .. } => {
                allowed.contains(vlan).then_some(if vlan == 0 { Form::Untagged } else { Form::Tagged })
            }
        }
    }

    /// True for a trunk of all VLANs without a native one: frames pass as they are.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// A set of VLAN ids 0 ..= 4095.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VlanSet(Box<[u64; 64]>);

impl VlanSet {
    /// Every VLAN, and untagged frames.
    #[must_use]
    pub fn all() -> Self {
        Self(Box::new([u64::MAX; 64]))
    }

    /// These; ids beyond 4095 are ignored.
    #[must_use]
    pub fn of(ids: impl IntoIterator<Item = u16>) -> Self {
        let mut words = Box::new([0; 64]);
        for id in ids.into_iter().filter(|&id| id < 4096) {
            words[usize::from(id) / 64] |= 1 << (id % 64);
        }
        Self(words)
    }

    /// True when the set holds this id.
    #[inline]
    #[must_use]
    pub fn contains(&self, id: u16) -> bool {
        self.0[usize::from(id & 0xfff) / 64] & 1 << (id % 64) != 0
    }
}

/// What OpenFlow says about packets: everything of a bridge that controllers change.
#[derive(Clone, Default)]
pub struct Program {
    /// The rules.
    pub tables: Tables,
    /// The groups.
    pub groups: Groups,
    /// The meters.
    pub meters: Meters,
    /// Packets that no rule matches go to controllers (OpenFlow 1.0) instead of being dropped.
    pub miss_to_controller: bool,
    /// Numbers of the ports whose link is down: fast failover and bundles pass them by.
    pub dead_ports: Arc<Vec<u32>>,
}

impl Program {
    /// True when what was cached for one holds for the other: it is this one or a clone, and neither changed since, but for
    /// links that nothing here looks at. (A guest that comes and goes would take the caches from all others.)
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let Self { tables, groups, meters, miss_to_controller, dead_ports } = self;
        tables.is_same(&other.tables)
            && groups.ptr_eq(&other.groups)
            && meters.ptr_eq(&other.meters)
            && *miss_to_controller == other.miss_to_controller
            && (*dead_ports == other.dead_ports || !self.watches_links())
    }

    fn watches_links(&self) -> bool {
        self.tables.watch_links() || self.groups.values().any(|entry| entry.watches_links())
    }
}

/// A bridge as the pipeline sees it.
#[derive(Clone)]
pub struct BridgeView {
    /// Another number, never used before in this switch, whenever rules or the numbers of ports change: what was cached for
    /// another version is stale.
    pub version: u64,
    /// The rules, groups and meters.
    pub program: Program,
    /// Where addresses are.
    pub fdb: Arc<Fdb>,
    /// Its ports.
    pub ports: Arc<BridgePorts>,
    /// What its tables were asked.
    pub stats: Arc<TableStats>,
    /// How deep rules look.
    pub depth: Depth,
    /// What any rule looks at, in matches and in actions, of a frame that just came in.
    pub union: Mask,
    /// No rule looks at anything but the ingress port: one verdict holds for a whole batch.
    pub only_port: bool,
    /// The rules to compare packets with, when the first table has only a few.
    pub shortlist: Option<Shortlist>,
    /// Frames whose verdict is known by destination and VLAN alone.
    pub sorted: Arc<SortTable>,
}

impl BridgeView {
    /// The view of some tables; computes what their union mask implies. Nothing is sorted.
    #[must_use]
    pub fn new(version: u64, program: Program, fdb: Arc<Fdb>, ports: Arc<BridgePorts>, stats: Arc<TableStats>) -> Self {
        let mut union = program.tables.union_mask();
        program.groups.values().for_each(|group| union.union(&group.reads));
        // The others are zero then.
        union.words[FRAME_WORDS..].fill(0);
        let mut beyond_port = union;
        beyond_port.words[usize::from(Field::IN_PORT.word)] &= !Field::IN_PORT.mask();
        let (depth, only_port, shortlist) = (Depth::of(&union), beyond_port.is_empty(), Shortlist::of(&program));
        Self { version, program, fdb, ports, stats, depth, union, only_port, shortlist, sorted: Arc::default() }
    }

    /// What rules see of this key.
    #[must_use]
    pub fn seen(&self, key: &FlowKey) -> FlowKey {
        FlowKey { words: std::array::from_fn(|word| key.words[word] & self.union.words[word]) }
    }
}

/// A bridge's ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgePorts {
    /// All of them, LOCAL included, by OpenFlow number.
    by_number: Vec<(u32, PortId)>,
    /// `direct[n]` is the port with number n, for the small numbers that ports usually have.
    direct: Vec<Option<PortId>>,
    /// Every port is a trunk of all VLANs.
    pub plain: bool,
    /// Those that floods reach.
    flooded: Vec<PortId>,
    /// Those that send nothing.
    mute: Vec<PortId>,
    /// What else controllers set: only to tell one state from another.
    flags: Vec<PortFlags>,
}

impl BridgePorts {
    /// The table of these ports.
    #[must_use]
    pub fn new<'a>(ports: impl IntoIterator<Item = &'a PortEntry>) -> Self {
        let mut table = Self { plain: true, ..Self::default() };
        for port in ports {
            table.by_number.push((port.number, port.id));
            table.plain &= port.vlan.is_plain();
            table.flags.push(port.flags);
            if port.flags.no_fwd {
                table.mute.push(port.id);
            } else if !port.flags.no_flood {
                table.flooded.push(port.id);
            }
        }
        table.by_number.sort_unstable();
        let number = |id: &PortId| table.by_number.iter().position(|(_, other)| other == id);
        table.flooded.sort_by_key(number);
        for &(number, id) in table.by_number.iter().take_while(|(number, _)| *number < 4096) {
            table.direct.resize(number as usize + 1, None);
            table.direct[number as usize] = Some(id);
        }
        table
    }

    /// The port with this OpenFlow number.
    #[inline]
    #[must_use]
    pub fn by_number(&self, number: u32) -> Option<PortId> {
        if let Some(&port) = self.direct.get(number as usize) {
            return port;
        }
        let place = self.by_number.binary_search_by_key(&number, |&(number, _)| number).ok()?;
        Some(self.by_number[place].1)
    }

    /// The OpenFlow number of a port.
    #[must_use]
    pub fn number_of(&self, port: PortId) -> Option<u32> {
        self.by_number.iter().find(|&&(_, id)| id == port).map(|&(number, _)| number)
    }

    /// True for a port that is set to send nothing.
    #[inline(always)]
    #[must_use]
    pub fn is_mute(&self, port: PortId) -> bool {
        !self.mute.is_empty() && self.mute.contains(&port)
    }

    /// The ports that floods go to; `all` of them, or those that are not set to no-flood.
    #[inline]
    pub fn flooded(&self, all: bool) -> impl Iterator<Item = PortId> + Clone {
        let (every, some) = if all { (&*self.by_number, &[][..]) } else { (&[][..], &*self.flooded) };
        every.iter().map(|&(_, id)| id).chain(some.iter().copied())
    }

    /// All ports, LOCAL included.
    #[inline]
    pub fn all(&self) -> impl Iterator<Item = PortId> + Clone {
        self.by_number.iter().map(|&(_, id)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_carry_vlans_as_their_mode_says() {
        let access = VlanMode::Access(5);
        assert_eq!((access.ingress(None), access.ingress(Some(5)), access.ingress(Some(0))), (Some(5), None, Some(5)));
        assert_eq!((access.egress(5), access.egress(6)), (Some(Form::Untagged), None));

        let trunk = VlanMode::Trunk { allowed: VlanSet::of([5, 4095]), native: Native::None };
        assert_eq!((trunk.ingress(None), trunk.ingress(Some(5)), trunk.ingress(Some(6))), (None, Some(5), None));
        assert_eq!((trunk.egress(4095), trunk.egress(0)), (Some(Form::Tagged), None));

        let native = VlanMode::Trunk { allowed: VlanSet::of([5]), native: Native::Untagged(7) };
        assert_eq!(
            (native.ingress(None), native.egress(7), native.egress(5)),
            (Some(7), Some(Form::Untagged), Some(Form::Tagged))
        );
    }
}
