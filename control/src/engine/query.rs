//! What operators ask: columns, ports' counters, learned addresses.

use std::collections::BTreeMap;

use ringswitch_dataplane::flow::{Mac, grammar};
use ringswitch_dataplane::packet::DropReason;
use ringswitch_dataplane::port::PortEvent;
use serde_json::{Value as Json, json};

use super::pools::PoolRef;
use super::state::PortSlot;
use super::{Dataplane, Engine, FdbFilter};
use crate::command::{Command, Table};
use crate::model::{Qos, SETTINGS, Scope, Setting, Settings, Value, find, near_miss};
use crate::report::{BridgeReport, Changed, FdbReport, FdbStats, LOCAL, PortReport, PortStats};

impl<D: Dataplane> Engine<D> {
    /// What a command of a transaction answers: nothing, unless it is a query.
    pub(super) fn answer(&self, command: &Command) -> Result<Json, String> {
        match command {
            Command::ListBr {} => Ok(json!(self.model.bridges.keys().collect::<Vec<_>>())),
            Command::ListPorts { bridge } => {
                let bridge = self.model.bridges.get(bridge).ok_or_else(|| format!("no bridge named {bridge}"))?;
                Ok(json!(bridge.ports.keys().collect::<Vec<_>>()))
            }
            Command::Get { table, record, columns, if_exists } => {
                self.get(Table::parse(table)?, record, columns, *if_exists).map(Json::Object)
            }
            Command::List { table, records } => {
                let table = Table::parse(table)?;
                let all = if records.is_empty() { self.records(table) } else { records.clone() };
                let rows: Result<Vec<_>, _> = all.iter().map(|record| self.get(table, record, &[], false)).collect();
                rows.map(|rows| json!(rows))
            }
            Command::Create { id, .. } => Ok(json!(id)),
            Command::GetFailMode { bridge } => {
                Ok(json!(self.model.bridges.get(bridge).and_then(|bridge| bridge.settings.text("fail_mode"))))
            }
            Command::GetController { bridge } => {
                Ok(json!(self.model.bridges.get(bridge).map_or(&[][..], |bridge| bridge.settings.list("controller"))))
            }
            Command::GetSsl {} => Ok(json!(values(&self.model.ssl, |scope| scope == Scope::Ssl))),
            Command::PoolList {} => Ok(json!(self.pool_list())),
            Command::Show {} => Ok(json!(self.show())),
            _ => Ok(Json::Null),
        }
    }

    /// The names of a table's records.
    fn records(&self, table: Table) -> Vec<String> {
        match table {
            Table::Bridge | Table::Controller => self.model.bridges.keys().cloned().collect(),
            Table::Port | Table::Interface => self.state.ports().map(|port| port.name.to_string()).collect(),
            Table::QoS => self.model.shaping.qos.keys().cloned().collect(),
            Table::Queue => self.model.shaping.queues.keys().cloned().collect(),
            Table::Pool => self.pool_list().into_iter().map(|pool| pool.name).collect(),
            Table::OpenVSwitch => vec![".".to_owned()],
        }
    }

    fn get(
        &self,
        table: Table,
        name: &str,
        columns: &[String],
        if_exists: bool,
    ) -> Result<serde_json::Map<String, Json>, String> {
        let row = match table {
            Table::Bridge => self.bridge_row(name),
            Table::Controller => self.controller_row(name),
            Table::OpenVSwitch => (name == ".")
                .then(|| row([("other_config", json!(values(&self.model.workers, |scope| scope == Scope::Workers)))])),
            Table::Pool => self.state.pool(name).map(|pool| self.pool_row(&pool)),
            Table::Port => self.state.port_named(name).map(port_row),
            Table::Interface => self.state.port_named(name).map(|port| self.interface_row(port)),
            Table::QoS => self.model.shaping.qos.get(name).map(|qos| qos_row(name, qos)),
            Table::Queue => self.model.shaping.queues.get(name).map(|queue| queue_row(name, queue)),
        };
        let row = match row {
            Some(row) => row,
            None if if_exists => BTreeMap::new(),
            None => return Err(format!("no row \"{name}\" in table {table:?}")),
        };
        if columns.is_empty() || row.is_empty() {
            return Ok(row.into_iter().collect());
        }
        let value = |column: &String| pick(&row, column, table, name, if_exists).map(|value| (column.clone(), value));
        columns.iter().map(value).collect()
    }

    fn bridge_row(&self, name: &str) -> Option<BTreeMap<String, Json>> {
        let bridge = self.model.bridges.get(name)?;
        let table = self.state.bridge(name).ok().and_then(|index| self.state.bridges[index].as_ref());
        Some(row([
            ("name", json!(name)),
            ("ports", json!(bridge.ports.keys().collect::<Vec<_>>())),
            ("datapath_id", json!(self.datapath_id(name).map(|id| format!("{id:016x}")))),
            ("fail_mode", column(&bridge.settings, "fail_mode")),
            ("protocols", column(&bridge.settings, "protocols")),
            ("controller", column(&bridge.settings, "controller")),
            ("other_config", json!(values(&bridge.settings, |scope| scope == Scope::BridgeOther))),
            ("flow_count", json!(table.map_or(0, |bridge| bridge.program.tables.len()))),
        ]))
    }

    fn controller_row(&self, name: &str) -> Option<BTreeMap<String, Json>> {
        let settings = &self.model.bridges.get(name)?.settings;
        let columns = SETTINGS.iter().filter(|setting| setting.scope == Scope::Controller);
        let mut row: BTreeMap<_, _> =
            columns.map(|setting| (setting.name.to_owned(), column(settings, setting.name))).collect();
        row.insert("target".to_owned(), column(settings, "controller"));
        Some(row)
    }

    fn pool_row(&self, pool: &PoolRef<'_>) -> BTreeMap<String, Json> {
        let default = Settings::default();
        let settings = pool.spec.map_or(&default, |spec| &spec.settings);
        let columns = SETTINGS.iter().filter(|setting| setting.scope == Scope::Pool);
        let mut row: BTreeMap<_, _> =
            columns.map(|setting| (setting.name.to_owned(), column(settings, setting.name))).collect();
        row.insert("name".to_owned(), json!(pool.name));
        row.insert("ports".to_owned(), json!(pool.ports.iter().map(|port| &*port.name).collect::<Vec<_>>()));
        row
    }

    fn interface_row(&self, port: &PortSlot) -> BTreeMap<String, Json> {
        let settings = &port.spec.settings;
        let (up, link) = self.link(port);
        let stats = self.stats(port);
        let mut statistics = BTreeMap::from([
            ("rx_packets".to_owned(), stats.rx_packets),
            ("rx_bytes".to_owned(), stats.rx_bytes),
            ("tx_packets".to_owned(), stats.tx_packets),
            ("tx_bytes".to_owned(), stats.tx_bytes),
            ("copies".to_owned(), stats.copies),
        ]);
        statistics.extend(stats.drops.into_iter().map(|(reason, count)| (format!("drop_{reason}"), count)));
        let mut status = if port.open { self.dataplane.port_status(port.id) } else { BTreeMap::new() };
        status.insert("link".to_owned(), link.to_owned());
        row([
            ("name", json!(&*port.name)),
            ("type", column(settings, "type")),
            // Open vSwitch's number of it, which flows take too.
            ("ofport", json!(if port.number == LOCAL { 65534 } else { port.number })),
            ("ofport_request", column(settings, "ofport_request")),
            ("mtu_request", column(settings, "mtu_request")),
            ("max_rate", column(settings, "max_rate")),
            ("max_packet_rate", column(settings, "max_packet_rate")),
            ("ingress_policing_rate", column(settings, "ingress_policing_rate")),
            ("ingress_policing_burst", column(settings, "ingress_policing_burst")),
            ("ingress_policing_kpkts_rate", column(settings, "ingress_policing_kpkts_rate")),
            ("ingress_policing_kpkts_burst", column(settings, "ingress_policing_kpkts_burst")),
            ("admin_state", json!(if port.spec.admin_up() { "up" } else { "down" })),
            ("link_state", json!(if up { "up" } else { "down" })),
            ("options", json!(values(settings, |scope| matches!(scope, Scope::Options(_))))),
            ("other_config", json!(values(settings, |scope| scope == Scope::InterfaceOther))),
            ("statistics", json!(statistics)),
            ("status", json!(status)),
            ("error", self.error(port).map_or(json!([]), |why| json!(why))),
        ])
    }

    /// Why the port is at fault, when it is.
    fn error(&self, port: &PortSlot) -> Option<&str> {
        match self.links.get(&port.id) {
            Some((_, PortEvent::Faulted(why))) => Some(why),
            _ => None,
        }
    }

    pub(super) fn link(&self, port: &PortSlot) -> (bool, &str) {
        match self.links.get(&port.id) {
            Some((_, PortEvent::Up(how))) if port.open => (true, how),
            Some((_, PortEvent::Up(text) | PortEvent::Down(text) | PortEvent::Faulted(text))) => (false, text),
            None => (false, "closed"),
        }
    }

    pub(super) fn show(&self) -> Vec<BridgeReport> {
        let mut reports = Vec::new();
        for (index, slot) in self.state.bridges.iter().enumerate() {
            let Some(slot) = slot else { continue };
            let port = |port: &&PortSlot| {
                let (link_up, link) = self.link(port);
                let (name, columns) = (port.name.to_string(), columns(&port.spec.settings));
                let error = self.error(port).map(str::to_owned);
                PortReport { name, number: port.number, columns, link_up, link: link.to_owned(), error }
            };
            let ports = self.state.ports_of(index).iter().map(port).collect();
            let settings = self.model.bridges.get(&slot.name).map(|bridge| columns(&bridge.settings));
            let (name, columns) = (slot.name.clone(), settings.unwrap_or_default());
            reports.push(BridgeReport { name, columns, ports, flows: slot.program.tables.len() });
        }
        reports.sort_by(|a, b| a.name.cmp(&b.name));
        reports
    }

    /// Counters of the bridge's ports, or of one of them, by name or number.
    ///
    /// # Errors
    /// When there is no such bridge or port.
    pub fn dump_ports(&self, bridge: &str, port: Option<&str>) -> Result<Vec<PortStats>, String> {
        let bridge = self.state.bridge(bridge)?;
        let ports = match port {
            Some(port) => vec![self.state.port_of(bridge, port)?],
            None => self.state.ports_of(bridge),
        };
        Ok(ports.into_iter().map(|port| self.stats(port)).collect())
    }

    pub(super) fn stats(&self, port: &PortSlot) -> PortStats {
        let totals = self.dataplane.port_totals(port.id);
        let drops = DropReason::ALL.iter().zip(&totals.drops).filter(|(_, count)| **count > 0);
        PortStats {
            name: port.name.to_string(),
            number: port.number,
            rx_packets: totals.rx_packets,
            rx_bytes: totals.rx_bytes,
            tx_packets: totals.tx_packets,
            tx_bytes: totals.tx_bytes,
            copies: totals.copies,
            drops: drops.map(|(reason, count)| (reason.name().to_owned(), *count)).collect(),
        }
    }

    /// The bridge's learned and static addresses, by VLAN and address.
    ///
    /// # Errors
    /// When there is no such bridge.
    pub fn fdb(&self, bridge: &str) -> Result<Vec<FdbReport>, String> {
        let mut entries = self.dataplane.fdb(self.state.bridge(bridge)?);
        entries.sort_by_key(|entry| (entry.vlan, entry.mac));
        let report = |entry: &super::FdbEntry| {
            let port = self.state.port(entry.port)?;
            let (mac, name) = (format_mac(entry.mac), port.name.to_string());
            Some(FdbReport { port: port.number, name, vlan: entry.vlan, mac, age: entry.age })
        };
        Ok(entries.iter().filter_map(report).collect())
    }

    /// Forgets learned addresses: all, or those of a port or VLAN.
    ///
    /// # Errors
    /// When there is no such bridge or port.
    pub fn fdb_flush(&mut self, bridge: &str, port: Option<&str>, vlan: Option<u16>) -> Result<Changed, String> {
        let bridge = self.state.bridge(bridge)?;
        let port = port.map(|port| self.state.port_of(bridge, port).map(|port| port.id)).transpose()?;
        Ok(Changed { count: self.dataplane.fdb_flush(bridge, FdbFilter { port, vlan }) })
    }

    /// Adds a static address.
    ///
    /// # Errors
    /// When there is no such bridge or port, or the address is not one.
    pub fn fdb_add(&mut self, bridge: &str, port: &str, vlan: u16, mac: &str) -> Result<(), String> {
        let bridge = self.state.bridge(bridge)?;
        let port = self.state.port_of(bridge, port)?.id;
        let mac = parse_mac(mac)?;
        if mac[0] & 1 != 0 {
            return Err(format!("{}: a group address is not behind one port", format_mac(mac)));
        }
        self.dataplane.fdb_add(bridge, vlan_id(vlan)?, mac, port)
    }

    /// Removes an address.
    ///
    /// # Errors
    /// When there is no such bridge, or it does not know the address.
    pub fn fdb_del(&mut self, bridge: &str, vlan: u16, mac: &str) -> Result<(), String> {
        let index = self.state.bridge(bridge)?;
        if self.dataplane.fdb_remove(index, vlan_id(vlan)?, parse_mac(mac)?) {
            return Ok(());
        }
        Err(format!("bridge {bridge} does not know {mac} in VLAN {vlan}"))
    }

    /// The learning table's counts.
    ///
    /// # Errors
    /// When there is no such bridge.
    pub fn fdb_stats(&self, bridge: &str) -> Result<FdbStats, String> {
        Ok(self.dataplane.fdb_stats(self.state.bridge(bridge)?))
    }
}

fn row<const N: usize>(columns: [(&str, Json); N]) -> BTreeMap<String, Json> {
    columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn port_row(port: &PortSlot) -> BTreeMap<String, Json> {
    let columns = SETTINGS.iter().filter(|setting| setting.scope == Scope::Port);
    let columns = columns.map(|setting: &Setting| (setting.name.to_owned(), column(&port.spec.settings, setting.name)));
    columns.chain([("name".to_owned(), json!(&*port.name))]).collect()
}

fn qos_row(name: &str, qos: &Qos) -> BTreeMap<String, Json> {
    row([
        ("name", json!(name)),
        ("type", column(&qos.settings, "type")),
        ("queues", json!(qos.queues)),
        ("other_config", json!(values(&qos.settings, |scope| scope == Scope::QosOther))),
    ])
}

fn queue_row(name: &str, queue: &Settings) -> BTreeMap<String, Json> {
    row([("name", json!(name)), ("other_config", json!(values(queue, |scope| scope == Scope::QueueOther)))])
}

/// `column`, or `column:key` of one that is a map; null for a key that is not there, when that may be.
fn pick(
    row: &BTreeMap<String, Json>,
    column: &str,
    table: Table,
    record: &str,
    if_exists: bool,
) -> Result<Json, String> {
    let (name, key) = column.split_once(':').map_or((column, None), |(name, key)| (name, Some(key)));
    // As Open vSwitch has it, - and _ are the same, and case does not count.
    let name = &name.to_ascii_lowercase().replace('-', "_");
    let value = row.get(name).ok_or_else(|| {
        let hint = near_miss(name, row.keys().map(String::as_str));
        let hint = hint.map(|hint| format!(" (did you mean \"{hint}\"?)")).unwrap_or_default();
        format!("{table:?} does not contain a column whose name matches \"{name}\"{hint}")
    })?;
    match key {
        None => Ok(value.clone()),
        Some(key) => value
            .get(key)
            .cloned()
            .or(if_exists.then_some(Json::Null))
            .ok_or_else(|| format!("no key \"{key}\" in {table:?} record \"{record}\" column {name}")),
    }
}

fn values(settings: &Settings, scope: impl Fn(Scope) -> bool) -> BTreeMap<String, String> {
    let in_scope = settings.iter().filter(|(name, _)| find(name, &scope).is_some());
    in_scope.map(|(name, value)| (name.to_owned(), value.to_string())).collect()
}

fn column(settings: &Settings, name: &str) -> Json {
    match settings.value(name) {
        None => json!([]),
        Some(Value::Text(text)) => json!(text),
        Some(Value::Number(number)) => json!(number),
        Some(Value::Numbers(list)) => json!(list),
        Some(Value::List(list)) => json!(list),
        Some(Value::Flag(flag)) => json!(flag),
    }
}

/// As commands write them: `options:path`, `other_config:mac-table-size`, `tag`.
fn columns(settings: &Settings) -> BTreeMap<String, String> {
    let name = |name: &str| match SETTINGS.iter().find(|setting| setting.name == name).map(|setting| setting.scope) {
        Some(Scope::Options(_)) => format!("options:{name}"),
        Some(Scope::BridgeOther | Scope::InterfaceOther) => format!("other_config:{name}"),
        _ => name.to_owned(),
    };
    settings.iter().map(|(key, value)| (name(key), value.to_string())).collect()
}

fn vlan_id(vlan: u16) -> Result<u16, String> {
    if vlan <= 4095 { Ok(vlan) } else { Err(format!("VLAN {vlan}: expected 0 to 4095")) }
}

fn format_mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn parse_mac(text: &str) -> Result<Mac, String> {
    grammar::parse_mac(text).ok_or_else(|| format!("\"{text}\" is not a MAC address such as 52:54:00:00:00:01"))
}
