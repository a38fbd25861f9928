//! Groups, meters and tables as operators see them.
//!
//! Neighbours: `statistics` counts, for controllers too; `report` has the shapes, rsctl prints them.

use ringswitch_dataplane::flow::grammar::{self, PortNames};
use ringswitch_dataplane::flow::{BandKind, Bucket, Group, GroupKind, Meter, WATCH_ANY};

use super::{Dataplane, Engine};
use crate::flows;
use crate::openflow::message::{GROUP_ALL, METER_ALL};
use crate::openflow::stats::{self, Count};
use crate::report::{
    AggregateReport, BandReport, BucketReport, CountReport, GroupReport, GroupStatsReport, MeterReport,
    MeterStatsReport, TableReport,
};

impl<D: Dataplane> Engine<D> {
    /// A group, or all, by number. With `names`, ports have theirs.
    ///
    /// # Errors
    /// When the text names no group.
    pub fn dump_groups(&self, bridge: &str, text: Option<&str>, names: bool) -> Result<Vec<GroupReport>, String> {
        let (index, ports) = (self.state.bridge(bridge)?, self.state.port_names(bridge)?);
        let shown: &dyn PortNames = if names { &ports } else { &() };
        let groups = self.groups(index, group_id(text)?).map_err(|error| error.to_string())?;
        Ok(groups.iter().map(|group| group_report(group, shown)).collect())
    }

    /// What a group, or all of them, counted.
    ///
    /// # Errors
    /// When the text names no group.
    pub fn dump_group_stats(&self, bridge: &str, text: Option<&str>) -> Result<Vec<GroupStatsReport>, String> {
        let index = self.state.bridge(bridge)?;
        let stats = self.group_stats(index, group_id(text)?).map_err(|error| error.to_string())?;
        let report = |stats: stats::GroupStats| GroupStatsReport {
            group_id: stats.group,
            duration_ms: stats.duration.as_millis() as u64,
            ref_count: stats.references,
            count: count(stats.count),
            buckets: stats.buckets.into_iter().map(count).collect(),
        };
        Ok(stats.into_iter().map(report).collect())
    }

    /// A meter, or all, by number.
    ///
    /// # Errors
    /// When the text names no meter.
    pub fn dump_meters(&self, bridge: &str, text: Option<&str>) -> Result<Vec<MeterReport>, String> {
        let meters = self.meters(self.state.bridge(bridge)?, meter_id(text)?).map_err(|error| error.to_string())?;
        Ok(meters.iter().map(meter_report).collect())
    }

    /// What a meter, or all of them, counted.
    ///
    /// # Errors
    /// When the text names no meter.
    pub fn dump_meter_stats(&self, bridge: &str, text: Option<&str>) -> Result<Vec<MeterStatsReport>, String> {
        let index = self.state.bridge(bridge)?;
        let stats = self.meter_stats(index, meter_id(text)?).map_err(|error| error.to_string())?;
        let report = |stats: stats::MeterStats| MeterStatsReport {
            meter_id: stats.meter,
            duration_ms: stats.duration.as_millis() as u64,
            flow_count: stats.flows,
            count: count(stats.count),
            bands: stats.bands.into_iter().map(count).collect(),
        };
        Ok(stats.into_iter().map(report).collect())
    }

    /// All tables.
    ///
    /// # Errors
    /// When there is no such bridge.
    pub fn dump_tables(&self, bridge: &str) -> Result<Vec<TableReport>, String> {
        let stats = self.table_stats(self.state.bridge(bridge)?).map_err(|error| error.to_string())?;
        let report = |stats: stats::TableStats| TableReport {
            table: stats.table,
            active: stats.active,
            lookups: stats.lookups,
            matched: stats.matched,
        };
        Ok(stats.into_iter().map(report).collect())
    }

    /// The sums over matching flows; over all without a text.
    ///
    /// # Errors
    /// When the text is not a match.
    pub fn dump_aggregate(&self, bridge: &str, text: Option<&str>) -> Result<AggregateReport, String> {
        let (index, ports) = (self.state.bridge(bridge)?, self.state.port_names(bridge)?);
        let filter = flows::selection(text.unwrap_or(""), false, &ports)?;
        let rules =
            self.state.bridges[index].as_ref().map(|slot| slot.program.tables.select(&filter)).unwrap_or_default();
        let none = AggregateReport { packet_count: 0, byte_count: 0, flow_count: rules.len() };
        Ok(rules.iter().map(|rule| rule.totals()).fold(none, |sum, rule| AggregateReport {
            packet_count: sum.packet_count + rule.packets,
            byte_count: sum.byte_count + rule.bytes,
            ..sum
        }))
    }
}

fn group_id(text: Option<&str>) -> Result<u32, String> {
    let id = grammar::parse_group_id(text.unwrap_or("")).map_err(|error| error.to_string())?;
    Ok(id.unwrap_or(GROUP_ALL))
}

fn meter_id(text: Option<&str>) -> Result<u32, String> {
    let id = grammar::parse_meter_id(text.unwrap_or("")).map_err(|error| error.to_string())?;
    Ok(id.unwrap_or(METER_ALL))
}

fn count(count: Count) -> CountReport {
    CountReport { packet_count: count.packets, byte_count: count.bytes }
}

fn group_report(group: &Group, ports: &dyn PortNames) -> GroupReport {
    let kind = match group.kind {
        GroupKind::All => "all",
        GroupKind::Select => "select",
        GroupKind::Indirect => "indirect",
        GroupKind::FastFailover => "ff",
    };
    let watched = |number: u32| Some(number).filter(|number| *number != WATCH_ANY);
    let bucket = |bucket: &Bucket| BucketReport {
        bucket_id: bucket.id,
        weight: bucket.weight,
        watch_port: watched(bucket.watch_port),
        watch_group: watched(bucket.watch_group),
        actions: grammar::format_actions(&bucket.actions, ports),
    };
    GroupReport {
        group_id: group.id,
        kind: kind.to_owned(),
        selection_method: group.selection.as_ref().map(|selection| selection.method.clone()),
        buckets: group.buckets.iter().map(bucket).collect(),
        text: grammar::format_group(group, ports),
    }
}

fn meter_report(meter: &Meter) -> MeterReport {
    let bands = meter.bands.iter().map(|band| BandReport {
        kind: if band.kind == BandKind::Drop { "drop" } else { "dscp_remark" }.to_owned(),
        rate: band.rate,
        burst_size: meter.burst.then_some(band.burst_size),
        prec_level: match band.kind {
            BandKind::Drop => None,
            BandKind::DscpRemark(level) => Some(level),
        },
    });
    MeterReport {
        meter_id: meter.id,
        unit: if meter.pktps { "pktps" } else { "kbps" }.to_owned(),
        bands: bands.collect(),
        text: grammar::format_meter(meter),
    }
}
