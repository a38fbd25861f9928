//! The entries of a bridge: made by control, immutable, shared by snapshots as long as they hold.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::entry::{NO_SEAT, SortEntry, SortState, SortedPool, seat_of};
use super::prove::{Openings, prove};
use crate::flow::Mac;
use crate::pipeline::snapshot::{BridgePorts, BridgeView, Program};
use crate::port::PortId;
use crate::wire::vlan;

/// Probes that may be made for one entry: more make it refused.
const ENTRY_BUDGET: u32 = 1 << 16;
/// What an entry's walk costs, in rules taken in.
const WALK_COST: u32 = 2;
/// Probes that cost as much as taking in one rule.
const PROBES: u32 = 16;
/// Rules compared with entries in one publication: where more would have to be, nothing holds on.
const CARRY_BUDGET: usize = 1 << 18;

/// Frames that are to be sorted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where they come in.
    pub ingress: PortId,
    /// Their destination.
    pub mac: Mac,
    /// Their VLAN; 0 for those without a tag, or with one that carries a priority only.
    pub vlan: u16,
    /// Whose they are.
    pub pool: Arc<SortedPool>,
}

impl PartialEq for Wanted {
    fn eq(&self, other: &Self) -> bool {
        let Self { ingress, mac, vlan, pool } = self;
        (*ingress, *mac, *vlan) == (other.ingress, other.mac, other.vlan) && Arc::ptr_eq(pool, &other.pool)
    }
}

impl Wanted {
    /// The tags of the frames meant, as entries have them: rules can tell untagged from priority-tagged.
    fn tags(&self) -> impl Iterator<Item = u16> + use<> {
        let bare = (self.vlan == 0).then_some(0);
        bare.into_iter().chain([vlan::DEI | self.vlan & vlan::VID])
    }
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct SortTable {
    /// What it was made for.
    wanted: Arc<[Wanted]>,
    entries: Vec<Arc<SortEntry>>,
    ports: Arc<[Seats]>,
}

impl SortTable {
    /// True when nothing is sorted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = &SortEntry> {
        self.entries.iter().map(|entry| &**entry)
    }

    /// The entry of untagged frames (`vlan` 0), or of those of a VLAN, that come in at `ingress`.
    #[must_use]
    pub fn find(&self, ingress: PortId, mac: Mac, vlan: u16) -> Option<&SortEntry> {
        let tag = if vlan == 0 { 0 } else { vlan::DEI | vlan };
        self.entry(self.seats(ingress)?, seat_of(mac, tag))
    }

    /// The frames that are sorted among those that come in at `ingress`.
    #[inline(always)]
    pub(in crate::pipeline) fn seats(&self, ingress: PortId) -> Option<&Seats> {
        self.ports.iter().find(|seats| seats.ingress == ingress)
    }

    #[inline(always)]
    pub(super) fn entry(&self, seats: &Seats, seat: u64) -> Option<&SortEntry> {
        seats.find(seat).map(|place| &*self.entries[place])
    }

    /// The table of the bridge `after`, which comes in the place of `before`: what was known of wanted frames and certainly holds
    /// on, the rest unknown.
    ///
    /// What certainly holds: nothing but rules changed, it is known which, and no frame of the entry could meet one of them.
    #[must_use]
    pub fn carry(before: Option<&BridgeView>, after: &BridgeView, wanted: &Arc<[Wanted]>) -> Arc<Self> {
        let ports = &after.ports;
        let Some(before) = before.filter(|before| differ_in_rules_only(before, after)) else {
            return if wanted.is_empty() { Arc::default() } else { Arc::new(Self::of(wanted, ports, |_| None)) };
        };
        let old = &before.sorted;
        let changed = after.program.tables.changes_since(before.program.tables.state());
        let changed = changed.map(|rules| rules.collect::<Vec<_>>());
        let changed = changed.filter(|rules| rules.len() * old.entries.len() <= CARRY_BUDGET);
        let holds = |entry: &SortEntry| {
            entry.state == SortState::Pending
                || changed.as_ref().is_some_and(|rules| rules.iter().all(|rule| entry.is_free_of(rule)))
        };
        if Arc::ptr_eq(&old.wanted, wanted) || old.wanted == *wanted {
            return if old.entries().all(holds) {
                Arc::clone(old)
            } else {
                Arc::new(old.forget(|entry| !holds(entry)))
            };
        }
        Arc::new(Self::of(wanted, ports, |new| {
            let entry = old.seats(new.ingress).and_then(|seats| seats.find(new.seat)).map(|place| &old.entries[place]);
            entry.filter(|entry| Arc::ptr_eq(&entry.pool, &new.pool) && holds(entry)).cloned()
        }))
    }

    /// `known` gives an entry about which something is known, in the place of a new one.
    fn of(wanted: &Arc<[Wanted]>, ports: &BridgePorts, known: impl Fn(&SortEntry) -> Option<Arc<SortEntry>>) -> Self {
        let mut entries = Vec::new();
        for one in &**wanted {
            // Nothing comes in at a port that is not in the bridge.
            let Some(number) = ports.number_of(one.ingress) else { continue };
            for tag in one.tags() {
                let new = SortEntry::new(one.ingress, number, one.mac, tag, &one.pool);
                entries.push(known(&new).unwrap_or_else(|| Arc::new(new)));
            }
        }
        Self { wanted: Arc::clone(wanted), ports: Seats::of(&entries), entries }
    }

    /// The table in which nothing is known of some entries.
    fn forget(&self, is_forgotten: impl Fn(&SortEntry) -> bool) -> Self {
        let entry = |entry: &Arc<SortEntry>| match is_forgotten(entry) {
            true => Arc::new(entry.pending()),
            false => Arc::clone(entry),
        };
        self.with(self.entries.iter().map(entry).collect())
    }

    /// The same frames, of which other things are known.
    fn with(&self, entries: Vec<Arc<SortEntry>>) -> Self {
        Self { wanted: Arc::clone(&self.wanted), entries, ports: Arc::clone(&self.ports) }
    }

    /// True when there are entries of which nothing is known.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.entries().any(|entry| entry.state == SortState::Pending)
    }

    /// Finds out about entries of which nothing is known, until as much was done as taking in `budget` rules: first `rules` are
    /// brought up to date, then at least one entry is looked at. Returns the table with what was found, for this bridge and
    /// no other version of it; `None` when nothing was, for this time or because nothing [`is_pending`](Self::is_pending).
    #[must_use]
    pub fn derive(&self, bridge: &BridgeView, rules: &mut Openings, budget: &mut u32) -> Option<Self> {
        if !rules.follow(&bridge.program.tables, budget) {
            return None;
        }
        let is_pending = |entry: &Arc<SortEntry>| entry.state == SortState::Pending;
        let first = self.entries.iter().position(is_pending)?;
        let mut entries = self.entries.clone();
        for entry in entries[first..].iter_mut().filter(|entry| is_pending(entry)) {
            let mut left = ENTRY_BUDGET;
            *entry = Arc::new(prove(bridge, rules, entry, &mut left));
            *budget = budget.saturating_sub(WALK_COST + (ENTRY_BUDGET - left) / PROBES);
            if *budget == 0 {
                break;
            }
        }
        Some(self.with(entries))
    }
}

/// True when the bridges have the same ports, groups, meters and so on: everything but rules.
fn differ_in_rules_only(before: &BridgeView, after: &BridgeView) -> bool {
    let Program { tables: _, groups, meters, miss_to_controller, dead_ports } = &before.program;
    let other = &after.program;
    groups.ptr_eq(&other.groups)
        && meters.ptr_eq(&other.meters)
        && *miss_to_controller == other.miss_to_controller
        && *dead_ports == other.dead_ports
        && before.ports == after.ports
}

/// Which frames that come in at one port have an entry: a hash table with free places, so that most that have none are known
/// after one look. Guests may choose addresses, so the hash has a secret.
#[derive(Debug)]
pub(in crate::pipeline) struct Seats {
    ingress: PortId,
    secret: u64,
    shift: u32,
    /// A frame's seat, and the place of its entry.
    places: Box<[(u64, u32)]>,
}

impl Seats {
    fn of(entries: &[Arc<SortEntry>]) -> Arc<[Self]> {
        let mut ports: Vec<_> = entries.iter().map(|entry| entry.ingress).collect();
        ports.sort_unstable();
        ports.dedup();
        ports.into_iter().map(|port| Self::of_port(port, entries)).collect()
    }

    fn of_port(ingress: PortId, entries: &[Arc<SortEntry>]) -> Self {
        let count = entries.iter().filter(|entry| entry.ingress == ingress).count();
        let size = (4 * count).next_power_of_two();
        let (secret, shift) = (RandomState::new().hash_one(count) | 1, 64 - size.ilog2());
        let mut seats = Self { ingress, secret, shift, places: vec![(NO_SEAT, 0); size].into() };
        for (place, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.ingress == ingress) {
            let mut at = seats.home(entry.seat);
            // The first of several that want the same frames has them.
            while ![NO_SEAT, entry.seat].contains(&seats.places[at].0) {
                at = (at + 1) % size;
            }
            if seats.places[at].0 == NO_SEAT {
                seats.places[at] = (entry.seat, place as u32);
            }
        }
        seats
    }

    #[inline(always)]
    fn home(&self, seat: u64) -> usize {
        (seat.wrapping_mul(self.secret) >> self.shift) as usize
    }

    /// The place of the entry of frames with this seat.
    #[inline(always)]
    fn find(&self, seat: u64) -> Option<usize> {
        let mut at = self.home(seat);
        loop {
            let (there, place) = *self.places.get(at)?;
            if there == NO_SEAT {
                return None;
            }
            if there == seat {
                return Some(place as usize);
            }
            at = (at + 1) & (self.places.len() - 1);
        }
    }
}
