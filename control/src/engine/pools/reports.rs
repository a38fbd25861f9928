//! `pool-list`, `pool-stats`, and the columns of a pool.

use std::collections::BTreeMap;

use ringswitch_dataplane::pipeline::SortTotals;
use ringswitch_dataplane::port::PortId;
use ringswitch_dataplane::port::xdp::{PoolSorting, Sorter};

use super::PoolRef;
use super::refresh::is_uplink;
use crate::engine::{Dataplane, Engine};
use crate::model::near_miss;
use crate::report::{AddressReport, PoolReport, PoolStatsReport, SortedReport, SortingReport};

impl<D: Dataplane> Engine<D> {
    /// All pools, by name.
    #[must_use]
    pub fn pool_list(&self) -> Vec<PoolReport> {
        let sorting = self.sorting();
        self.state.pools().iter().map(|pool| self.pool_report(pool, &sorting)).collect()
    }

    /// What pools received and sent, or one of them.
    ///
    /// # Errors
    /// When there is no such pool.
    pub fn pool_stats(&self, name: Option<&str>) -> Result<Vec<PoolStatsReport>, String> {
        let pools = self.state.pools();
        if let Some(name) = name.filter(|name| pools.iter().all(|pool| pool.name != *name)) {
            let hint = near_miss(name, pools.iter().map(|pool| pool.name));
            let hint = hint.map(|hint| format!("; did you mean \"{hint}\"?")).unwrap_or_default();
            return Err(format!("no pool named {name}{hint}"));
        }
        let (sorting, cycles) = (self.sorting(), self.dataplane.cycles());
        let all: u64 = cycles.values().sum();
        let wanted = pools.iter().filter(|pool| name.is_none_or(|name| pool.name == name));
        let stats = |pool: &PoolRef<'_>| {
            let mut stats = PoolStatsReport { name: pool.name.to_owned(), ..PoolStatsReport::default() };
            for port in &pool.ports {
                let of_port = self.stats(port);
                stats.ports.push(of_port.name);
                stats.rx_packets += of_port.rx_packets;
                stats.rx_bytes += of_port.rx_bytes;
                stats.tx_packets += of_port.tx_packets;
                stats.tx_bytes += of_port.tx_bytes;
                for (reason, count) in of_port.drops {
                    *stats.drops.entry(reason).or_default() += count;
                }
                stats.cycles += cycles.get(&port.id).copied().unwrap_or(0);
            }
            stats.cycles_share = if all == 0 { 0.0 } else { stats.cycles as f64 / all as f64 };
            let frames = self.dataplane.pool_totals(pool.id);
            (stats.direct, stats.walked) = (frames.sorted, frames.unsorted);
            let of_pool: Vec<_> = sorting.values().flatten().filter(|found| *found.name == *pool.name).collect();
            let missed: u64 = of_pool.iter().map(|found| found.dropped).sum();
            if missed > 0 {
                stats.drops.insert("rx_ring_full".to_owned(), missed);
            }
            stats.sorted = sorted(&of_pool, frames);
            stats
        };
        Ok(wanted.map(stats).collect())
    }

    /// What every uplink says about its pools.
    pub(super) fn sorting(&self) -> BTreeMap<PortId, Vec<PoolSorting>> {
        let uplinks = self.state.ports().filter(|port| port.open && is_uplink(port));
        uplinks.map(|port| (port.id, self.dataplane.sorting(port.id))).collect()
    }

    fn pool_report(&self, pool: &PoolRef<'_>, sorting: &BTreeMap<PortId, Vec<PoolSorting>>) -> PoolReport {
        let number = |name| pool.spec.and_then(|spec| spec.number(name));
        let chosen = self.addresses.chosen.get(&pool.id);
        let mut filters: Vec<AddressReport> = Vec::new();
        for one in chosen.into_iter().flatten() {
            let (address, origin) = (one.filter.to_string(), one.origin.name().to_owned());
            if filters.iter().all(|known| known.address != address) {
                filters.push(AddressReport { address, origin });
            }
        }
        let uplinks = self.state.ports().filter(|port| is_uplink(port) && pool.is_on(port.bridge));
        let others = uplinks.filter(|uplink| pool.ports.iter().all(|port| port.id != uplink.id));
        PoolReport {
            name: pool.name.to_owned(),
            implicit: pool.spec.is_none(),
            ports: pool.ports.iter().map(|port| port.name.to_string()).collect(),
            filters,
            weight: pool.weight(),
            priority: number("priority").unwrap_or(0),
            min_rate: number("min_rate"),
            max_rate: number("max_rate"),
            max_packet_rate: number("max_packet_rate"),
            sorting: others.map(|uplink| sorting_report(&uplink.name, pool.name, sorting.get(&uplink.id))).collect(),
        }
    }
}

/// Who sorted the frames that came in for the pool's addresses: what no NIC or program did, the worker did.
fn sorted(sorting: &[&PoolSorting], frames: SortTotals) -> SortedReport {
    let mut sorted = SortedReport::default();
    for found in sorting {
        match found.sorter {
            Sorter::Nic => sorted.nic += found.frames,
            // In software now: what was sorted before, by the program.
            Sorter::Xdp | Sorter::Software => sorted.xdp += found.frames,
        }
    }
    sorted.software = (frames.sorted + frames.unsorted).saturating_sub(sorted.nic + sorted.xdp);
    sorted
}

/// How an uplink sorts for a pool.
pub(super) fn sorting_report(uplink: &str, pool: &str, sorting: Option<&Vec<PoolSorting>>) -> SortingReport {
    let nobody = |why: &str| SortingReport {
        uplink: uplink.to_owned(),
        sorter: "none".to_owned(),
        queues: why.to_owned(),
        ..SortingReport::default()
    };
    let Some(sorting) = sorting else { return nobody("the port is closed") };
    let Some(found) = sorting.iter().find(|found| *found.name == *pool) else {
        return nobody("no address of the pool is known there");
    };
    SortingReport {
        uplink: uplink.to_owned(),
        sorter: found.sorter.to_string(),
        queues: if found.queues.is_empty() { "by the worker".to_owned() } else { found.queues.clone() },
        why_not: found.why_not.iter().map(|(other, why)| (other.to_string(), why.clone())).collect(),
        frames: found.frames,
    }
}
