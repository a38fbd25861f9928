//! What controllers ask about flows, tables, groups and meters.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ringswitch_dataplane::flow::{Action, Group, GroupEntry, Meter, MeterEntry, Rule, TABLES};
use ringswitch_dataplane::pipeline::Program;
use ringswitch_dataplane::sys::clock::coarse_ms;

use super::flow_mod::{active, filter_of_request};
use super::group_mod::{GROUPS_MAX, references};
use super::meter_mod::{BANDS_MAX, METERS_MAX};
use super::state::BridgeSlot;
use super::{Dataplane, Engine};
use crate::openflow::OfError;
use crate::openflow::message::{GROUP_ALL, METER_ALL, TABLE_ALL};
use crate::openflow::stats::{
    Count, FlowEntry, FlowRequest, GroupFeatures, GroupStats, MeterFeatures, MeterStats, TableDesc, TableFeatures,
    TableStats,
};

/// Flows that a table can hold when nobody set a limit: what is told, not what is.
const FLOWS_MAX: u32 = 1_000_000;

impl<D: Dataplane> Engine<D> {
    fn served_bridge(&self, bridge: usize) -> Result<&BridgeSlot, OfError> {
        self.state.bridges.get(bridge).and_then(Option::as_ref).ok_or(OfError::OFPBRC_EPERM)
    }

    fn program(&self, bridge: usize) -> Result<&Program, OfError> {
        self.served_bridge(bridge).map(|slot| &slot.program)
    }

    /// The flows that a request means, by table, highest priority first.
    ///
    /// # Errors
    /// When there is no such bridge or table.
    pub fn flows(&self, bridge: usize, request: &FlowRequest) -> Result<Vec<Arc<Rule>>, OfError> {
        if request.table != TABLE_ALL && request.table >= TABLES {
            return Err(OfError::OFPBRC_BAD_TABLE_ID);
        }
        let mut rules = self.program(bridge)?.tables.select(&filter_of_request(request));
        rules.sort_by_key(|rule| (rule.flow.table, Reverse(rule.flow.priority), rule.created_ms, rule.id));
        Ok(rules)
    }

    /// Packets, bytes and number of the flows that a request means.
    ///
    /// # Errors
    /// When there is no such bridge or table.
    pub fn aggregate(&self, bridge: usize, request: &FlowRequest) -> Result<(u64, u64, u32), OfError> {
        let rules = self.flows(bridge, request)?;
        let totals = rules.iter().map(|rule| rule.totals());
        let (packets, bytes) = totals.fold((0, 0), |sum, rule| (sum.0 + rule.packets, sum.1 + rule.bytes));
        Ok((packets, bytes, u32::try_from(rules.len()).unwrap_or(u32::MAX)))
    }

    /// The counters of all tables.
    ///
    /// # Errors
    /// When there is no such bridge.
    pub fn table_stats(&self, bridge: usize) -> Result<Vec<TableStats>, OfError> {
        let slot = self.served_bridge(bridge)?;
        let stats = |table| {
            let totals = self.dataplane.table_totals(bridge, table);
            TableStats {
                table,
                name: String::new(),
                max_entries: max_entries(slot),
                active: active(&slot.program.tables, table),
                lookups: totals.lookups,
                matched: totals.matches,
            }
        };
        Ok((0..TABLES).map(stats).collect())
    }

    /// What tables can do.
    ///
    /// # Errors
    /// When there is no such bridge.
    pub fn table_features(&self, bridge: usize) -> Result<Vec<TableFeatures>, OfError> {
        let max_entries = max_entries(self.served_bridge(bridge)?);
        // Without names: tools would print them instead of numbers.
        let features = |table| TableFeatures { table, name: String::new(), max_entries, tables: TABLES };
        Ok((0..TABLES).map(features).collect())
    }

    /// The settings of all tables.
    ///
    /// # Errors
    /// When there is no such bridge.
    pub fn table_descs(&self, bridge: usize) -> Result<Vec<TableDesc>, OfError> {
        let slot = self.served_bridge(bridge)?;
        let free = |table| {
            let (most, active) = (max_entries(slot), active(&slot.program.tables, table));
            (u64::from(most.saturating_sub(active)) * 100 / u64::from(most.max(1))) as u8
        };
        let desc = |table| {
            let set = slot.table_desc(table);
            let vacancy = set.vacancy.map(|(down, up, _)| (down, up, free(table)));
            TableDesc { eviction: slot.evicts(table), vacancy, ..set }
        };
        Ok((0..TABLES).map(desc).collect())
    }

    /// The counters of a group or of all.
    ///
    /// # Errors
    /// When there is no such bridge.
    pub fn group_stats(&self, bridge: usize, group: u32) -> Result<Vec<GroupStats>, OfError> {
        let program = self.program(bridge)?;
        let mut used = BTreeMap::<u32, u32>::new();
        for rule in program.tables.rules() {
            Action::any(&rule.flow.actions, &mut |action| {
                if let Action::Group(group) = action {
                    *used.entry(*group).or_default() += 1;
                }
                false
            });
        }
        for entry in program.groups.values() {
            references(&entry.group).into_iter().for_each(|group| *used.entry(group).or_default() += 1);
        }
        let now = coarse_ms();
        let stats = |entry: &Arc<GroupEntry>| group_stats(entry, used.get(&entry.group.id).copied(), now);
        Ok(groups(program, group).map(stats).collect())
    }

    /// A group, or all, as installed.
    ///
    /// # Errors
    /// When there is no such bridge.
    pub fn groups(&self, bridge: usize, group: u32) -> Result<Vec<Group>, OfError> {
        Ok(groups(self.program(bridge)?, group).map(|entry| entry.group.clone()).collect())
    }

    /// The counters of a meter or of all.
    ///
    /// # Errors
    /// When there is no such bridge or meter.
    pub fn meter_stats(&self, bridge: usize, meter: u32) -> Result<Vec<MeterStats>, OfError> {
        let program = self.program(bridge)?;
        let mut used = BTreeMap::<u32, u32>::new();
        for rule in program.tables.rules() {
            Action::any(&rule.flow.actions, &mut |action| {
                if let Action::Meter(meter) = action {
                    *used.entry(*meter).or_default() += 1;
                }
                false
            });
        }
        let now = coarse_ms();
        let count = |(packets, bytes)| Count { packets, bytes };
        let stats = |entry: &Arc<MeterEntry>| {
            let totals = entry.totals();
            MeterStats {
                meter: entry.meter.id,
                flows: used.get(&entry.meter.id).copied().unwrap_or(0),
                count: count((totals.packets, totals.bytes)),
                duration: Duration::from_millis(now.saturating_sub(entry.created_ms)),
                bands: totals.bands.into_iter().map(count).collect(),
            }
        };
        Ok(meters(program, meter)?.into_iter().map(stats).collect())
    }

    /// A meter, or all, as installed.
    ///
    /// # Errors
    /// When there is no such bridge or meter.
    pub fn meters(&self, bridge: usize, meter: u32) -> Result<Vec<Meter>, OfError> {
        Ok(meters(self.program(bridge)?, meter)?.into_iter().map(|entry| entry.meter.clone()).collect())
    }
}

/// A flow and what it counted.
#[must_use]
pub fn flow_entry(rule: &Rule, now_ms: u64) -> FlowEntry {
    let totals = rule.totals();
    let since = |then: u64| Duration::from_millis(now_ms.saturating_sub(then));
    FlowEntry {
        flow: rule.flow.clone(),
        duration: since(rule.created_ms),
        idle: Some(since(totals.used_ms)),
        hard: Some(since(rule.modified_ms.load(Relaxed))),
        packets: totals.packets,
        bytes: totals.bytes,
    }
}

/// What groups can do.
#[must_use]
pub fn group_features() -> GroupFeatures {
    // Weights, liveness, chaining, and that chains are checked.
    GroupFeatures { types: 0xf, capabilities: 0xf, max_groups: [GROUPS_MAX as u32; 4] }
}

/// What meters can do.
#[must_use]
pub fn meter_features() -> MeterFeatures {
    MeterFeatures {
        max_meters: METERS_MAX as u32,
        // Drop and DSCP remark.
        band_types: 1 << 1 | 1 << 2,
        // Kilobits, packets, bursts, statistics.
        capabilities: 0xf,
        max_bands: BANDS_MAX,
        max_color: 0,
    }
}

fn max_entries(slot: &BridgeSlot) -> u32 {
    slot.flow_limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(FLOWS_MAX)
}

fn groups(program: &Program, wanted: u32) -> impl Iterator<Item = &Arc<GroupEntry>> {
    program.groups.values().filter(move |entry| wanted == GROUP_ALL || entry.group.id == wanted)
}

fn meters(program: &Program, wanted: u32) -> Result<Vec<&Arc<MeterEntry>>, OfError> {
    match wanted {
        METER_ALL => Ok(program.meters.values().collect()),
        id => program.meters.get(&id).map(|entry| vec![entry]).ok_or(OfError::OFPMMFC_UNKNOWN_METER),
    }
}

fn group_stats(entry: &GroupEntry, references: Option<u32>, now_ms: u64) -> GroupStats {
    let sum = |lanes: &mut dyn Iterator<Item = (u64, u64)>| {
        lanes.fold(Count::default(), |sum, (packets, bytes)| Count {
            packets: sum.packets + packets,
            bytes: sum.bytes + bytes,
        })
    };
    let bucket = |place: usize| sum(&mut entry.stats.iter().map(|lane| lane.buckets[place].totals()));
    GroupStats {
        group: entry.group.id,
        references: references.unwrap_or(0),
        count: sum(&mut entry.stats.iter().map(|lane| lane.total.totals())),
        duration: Duration::from_millis(now_ms.saturating_sub(entry.created_ms)),
        buckets: (0..entry.group.buckets.len()).map(bucket).collect(),
    }
}
