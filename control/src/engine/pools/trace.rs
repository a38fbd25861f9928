//! `pool-trace`: which pool an address belongs to, why, and how its frames get there.

use ringswitch_dataplane::pipeline::{SortState, Target};
use ringswitch_dataplane::port::PortId;

use super::refresh::is_uplink;
use super::reports::sorting_report;
use crate::engine::state::PortSlot;
use crate::engine::{Dataplane, Engine};
use crate::model::PoolFilter;
use crate::report::{PoolTraceReport, UplinkTraceReport};

impl<D: Dataplane> Engine<D> {
    /// Follows frames to an address, `MAC` or `MAC,VLAN`: on this bridge, or on all.
    ///
    /// # Errors
    /// When there is no such bridge, or the text is no address.
    pub fn pool_trace(&mut self, bridge: Option<&str>, address: &str) -> Result<Vec<PoolTraceReport>, String> {
        let filter: PoolFilter = address.parse()?;
        let wanted = bridge.map(|bridge| self.state.bridge(bridge)).transpose()?;
        self.refresh_pools();
        let names: Vec<(usize, String)> = self
            .state
            .bridges
            .iter()
            .enumerate()
            .filter(|(index, _)| wanted.is_none_or(|wanted| wanted == *index))
            .filter_map(|(index, slot)| Some((index, slot.as_ref()?.name.clone())))
            .collect();
        Ok(names.into_iter().map(|(index, name)| self.trace_address(index, name, filter)).collect())
    }

    fn trace_address(&self, index: usize, bridge: String, filter: PoolFilter) -> PoolTraceReport {
        let found = self.addresses.chosen.iter().find_map(|(pool, chosen)| {
            chosen.iter().find(|one| (one.bridge, one.filter) == (index, filter)).map(|one| (*pool, one.origin))
        });
        let mut report = PoolTraceReport { bridge, address: filter.to_string(), ..PoolTraceReport::default() };
        let Some((id, origin)) = found else {
            report.why = Some(self.why_no_pool(index, filter));
            return report;
        };
        let name = self.pool_name(id);
        let sorting = self.sorting();
        let uplinks = self.state.ports().filter(|port| port.bridge == index && is_uplink(port));
        let others = uplinks.filter(|port| port.pool.id() != id);
        let uplink = |port: &PortSlot| {
            let sorting = sorting_report(&port.name, &name, sorting.get(&port.id));
            let (fast_path, verdict) = self.direct(index, port.id, filter);
            UplinkTraceReport { sorting, fast_path, verdict }
        };
        report.uplinks = others.map(uplink).collect();
        (report.pool, report.origin) = (Some(name), Some(origin.name().to_owned()));
        report
    }

    /// Whether all such frames go the same way, and which, or why not.
    fn direct(&self, bridge: usize, ingress: PortId, filter: PoolFilter) -> (bool, String) {
        match self.dataplane.sorted(bridge, ingress, filter.mac, filter.vlan) {
            None => (false, "the port is closed".to_owned()),
            Some((_, SortState::Pending)) => (false, "rules changed a moment ago, it is being looked at".to_owned()),
            Some((_, SortState::Refused(why))) => (false, why.to_string()),
            Some((_, SortState::Uniform(Target::Normal))) => (true, "all of them are for NORMAL".to_owned()),
            Some((_, SortState::Uniform(Target::Port(id)))) => {
                let name = self.state.port(id).map_or("", |port| &port.name);
                (true, format!("all of them go to {name}"))
            }
        }
    }

    fn why_no_pool(&self, bridge: usize, filter: PoolFilter) -> String {
        if let Some(pools) = self.addresses.contested.get(&(bridge, filter)) {
            let [one, other] = pools.map(|id| self.pool_name(id));
            return format!("pools {one} and {other} both claim it, so it is sorted for neither");
        }
        let behind = self.dataplane.fdb(bridge).into_iter().find(|entry| entry.mac == filter.mac);
        let port = behind.and_then(|entry| Some((self.state.port(entry.port)?, entry.vlan)));
        match port {
            Some((port, _)) if is_uplink(port) => format!("it is behind {}, an uplink", port.name),
            Some((port, vlan)) => {
                let pool = self.pool_name(port.pool.id());
                format!(
                    "it was seen behind {} in VLAN {vlan}, but pool {pool} has other filters, or as many as it can have",
                    port.name
                )
            }
            None => "no filter, flow or learned address says where it is".to_owned(),
        }
    }
}
