//! What is wanted to be sorted, for whom, and what is known about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::prove::Refusal;
use crate::flow::{FRAME_WORDS, Field, FlowKey, Mac, Mask, Rule};
use crate::port::PortId;
use crate::sched::PoolId;
use crate::wire::vlan;

/// A pool as the sort stage sees it. Cheap to make again with other ports: it goes on counting where it was.
#[derive(Debug)]
pub struct SortedPool {
    id: PoolId,
    ports: Vec<PortId>,
    lanes: Arc<[Lane]>,
}

/// One worker's counts; written by it alone.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Lane {
    sorted: AtomicU64,
    unsorted: AtomicU64,
}

/// Frames that came in for a pool's filters where its frames are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SortTotals {
    /// Frames that took the fast path.
    pub sorted: u64,
    /// Frames that took the normal way.
    pub unsorted: u64,
}

impl SortedPool {
    /// A new pool with these ports; `workers` will count.
    #[must_use]
    pub fn new(id: PoolId, ports: Vec<PortId>, workers: usize) -> Self {
        Self { id, ports, lanes: (0..workers).map(|_| Lane::default()).collect() }
    }

    /// The same pool with other ports.
    #[must_use]
    pub fn with_ports(&self, ports: Vec<PortId>) -> Self {
        Self { id: self.id, ports, lanes: Arc::clone(&self.lanes) }
    }

    /// Its place in the switch.
    #[must_use]
    pub fn id(&self) -> PoolId {
        self.id
    }

    /// Its ports.
    #[must_use]
    pub fn ports(&self) -> &[PortId] {
        &self.ports
    }

    /// All workers' counts.
    #[must_use]
    pub fn totals(&self) -> SortTotals {
        let sum = |count: fn(&Lane) -> &AtomicU64| self.lanes.iter().map(|lane| count(lane).load(Relaxed)).sum();
        SortTotals { sorted: sum(|lane| &lane.sorted), unsorted: sum(|lane| &lane.unsorted) }
    }

    #[inline]
    pub(super) fn count(&self, lane: usize, frames: u64, is_sorted: bool) {
        let Some(lane) = self.lanes.get(lane) else { return };
        let count = if is_sorted { &lane.sorted } else { &lane.unsorted };
        count.store(count.load(Relaxed) + frames, Relaxed);
    }
}

/// Where all frames of an entry go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To this port of the pool.
    Port(PortId),
    /// Where a learning switch would send them.
    Normal,
}

/// What is known about the frames of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SortState {
    /// Nothing yet: rules changed a moment ago.
    Pending,
    /// One verdict holds for all of them.
    Uniform(Target),
    /// They take the normal way.
    Refused(Refusal),
}

/// The frames that come in at one port with one destination and one outermost tag, or none.
#[derive(Debug)]
pub struct SortEntry {
    /// Never used before in this process: workers tell entries apart by it.
    number: u64,
    pub(super) ingress: PortId,
    /// See [`seat_of_frame`].
    pub(super) seat: u64,
    pub(super) pool: Arc<SortedPool>,
    /// What rules see of its frames, where that is the same for all of them: the bits of `known`.
    pub(super) key: FlowKey,
    pub(super) known: Mask,
    /// The tables that its frames come through, one bit each; as far as they were followed.
    pub(super) tables: [u64; 4],
    pub(super) state: SortState,
}

impl SortEntry {
    /// `number` is the ingress port's in OpenFlow; `tag` is 0 for untagged frames, otherwise the id with [`vlan::DEI`] set.
    pub(super) fn new(ingress: PortId, number: u32, mac: Mac, tag: u16, pool: &Arc<SortedPool>) -> Self {
        let seat = seat_of(mac, tag);
        let mut key = FlowKey::default();
        key.set(Field::IN_PORT, u64::from(number));
        key.set(Field::DL_DST, seat >> 16);
        key.set(Field::VLAN_TCI, u64::from(tag));
        let known = known_of(tag != 0);
        let pool = Arc::clone(pool);
        Self { number: 0, ingress, seat, pool, key, known, tables: [0; 4], state: SortState::Pending }
    }

    /// The entry with what was found out about it.
    pub(super) fn decided(&self, tables: [u64; 4], state: SortState) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let (pool, number) = (Arc::clone(&self.pool), LAST.fetch_add(1, Relaxed) + 1);
        Self { number, pool, tables, state, ..*self }
    }

    /// The entry of which nothing is known again.
    pub(super) fn pending(&self) -> Self {
        Self { number: 0, pool: Arc::clone(&self.pool), tables: [0; 4], state: SortState::Pending, ..*self }
    }

    /// True when what is known does not depend on the rule: it stands in a table through which no frame of the entry came, or
    /// could match none. What tables hand on is not compared: it is known at each table only.
    pub(super) fn is_free_of(&self, rule: &Rule) -> bool {
        let (table, matches) = (usize::from(rule.flow.table), &rule.flow.matches);
        let mut of_frame = self.known;
        of_frame.words[FRAME_WORDS..].fill(0);
        self.tables[table / 64] & 1 << (table % 64) == 0 || !matches.may_cover(&self.key, &of_frame)
    }

    pub(super) fn is_tagged(&self) -> bool {
        self.seat & 0xffff != 0
    }

    pub(super) fn is_uniform(&self) -> bool {
        matches!(self.state, SortState::Uniform(_))
    }

    /// Tells it from all others.
    #[inline(always)]
    pub(in crate::pipeline) fn number(&self) -> u64 {
        self.number
    }

    /// A key of its frames: what is not known is zero in it.
    pub(in crate::pipeline) fn key(&self) -> &FlowKey {
        &self.key
    }

    /// Whose frames these are.
    #[must_use]
    pub fn pool(&self) -> &SortedPool {
        &self.pool
    }

    /// Where they come in.
    #[must_use]
    pub fn ingress(&self) -> PortId {
        self.ingress
    }

    /// What is known about them.
    #[must_use]
    pub fn state(&self) -> &SortState {
        &self.state
    }
}

/// What is known of frames of one entry: the same bits for all entries without a tag, and for all with one.
pub(super) fn known_of(is_tagged: bool) -> Mask {
    let mut known = Mask::NONE;
    known.add(Field::IN_PORT, u64::MAX);
    known.add(Field::DL_DST, u64::MAX);
    // Of a tag, rules may also look at the priority, which differs.
    known.add(Field::VLAN_TCI, u64::from(if is_tagged { vlan::DEI | vlan::VID } else { u16::MAX }));
    // What no frame fills is zero when it comes in, and whatever constants rules write.
    known.words[FRAME_WORDS..].fill(u64::MAX);
    known
}

/// No frame has this.
pub(super) const NO_SEAT: u64 = u64::MAX;

/// The seat of frames with this destination and tag.
#[inline(always)]
pub(super) fn seat_of([a, b, c, d, e, f]: Mac, tag: u16) -> u64 {
    u64::from_be_bytes([a, b, c, d, e, f, 0, 0]) | u64::from(tag)
}

/// By what a frame is sorted: the destination, and the outermost tag's id with [`vlan::DEI`] for "there is one", as rules see it.
/// Frames that end in what might be a tag have none, so that nobody has to agree on what they are.
#[inline(always)]
pub(super) fn seat_of_frame(head: &[u8]) -> u64 {
    const LEN: usize = crate::wire::ethernet::LEN + vlan::LEN;
    let Some(start) = head.first_chunk::<LEN>() else { return NO_SEAT };
    let [a, b, c, d, e, f, ..] = *start;
    let kind = u16::from_be_bytes([start[12], start[13]]);
    let tci = u16::from_be_bytes([start[14], start[15]]);
    let tag = if vlan::is_tag(kind) { tci & vlan::VID | vlan::DEI } else { 0 };
    seat_of([a, b, c, d, e, f], tag)
}
