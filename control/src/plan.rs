//! What has to change so that a running switch becomes the wanted one: pure, minimal, in an order that can be done.
//!
//! Trust: both sides passed [`crate::model::check`]. Neighbours: `apply` carries the changes out, one after the other, and
//! undoes them when one fails.
//!
//! Order: what is new and in nobody's way first, so that a failure there has disturbed nothing; then whatever leaves; then
//! what needed the room; then settings and flows, which cannot fail.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Bridge, Pool, Port, Scope, Settings, Shaping, Switch, find};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Change {
    /// Other workers.
    SetWorkers { settings: Settings },
    /// Other keys for controllers.
    SetSsl { settings: Settings },
    /// Other QoS and queues, for the ports that use them.
    SetShaping { shaping: Shaping },
    /// A bridge without ports and flows.
    AddBridge { bridge: String, settings: Settings },
    /// Other columns of a bridge.
    SetBridge { bridge: String, settings: Settings },
    /// A bridge goes; its ports went before.
    RemoveBridge { bridge: String },
    /// A new port is opened.
    AddPort { bridge: String, port: String, spec: Port },
    /// A port goes.
    RemovePort { bridge: String, port: String },
    /// A port that stays lets go of its device or socket.
    ClosePort { bridge: String, port: String },
    /// And takes another, with these columns. Its numbers and counters stay.
    OpenPort { bridge: String, port: String, spec: Port },
    /// Other columns of a port that stays open.
    SetPort { bridge: String, port: String, spec: Port },
    /// A pool comes, or has other columns.
    SetPool { pool: String, spec: Pool },
    /// A pool goes; its ports that stay are pools of their own then.
    RemovePool { pool: String },
    /// Groups of the configuration come or are other ones.
    SetGroups { bridge: String, groups: Vec<String> },
    /// Groups of the configuration go.
    RemoveGroups { bridge: String, groups: Vec<u32> },
    /// A meter of the configuration comes or is another one.
    SetMeter { bridge: String, meter: String },
    /// A meter of the configuration goes.
    RemoveMeter { bridge: String, meter: u32 },
    /// A flow of the configuration comes.
    AddFlow { bridge: String, flow: String },
    /// A flow of the configuration goes.
    RemoveFlow { bridge: String, flow: String },
}

/// The changes from `running` to `desired`. Empty when they are equal.
#[must_use]
pub fn plan(running: &Switch, desired: &Switch) -> Vec<Change> {
    let mut plan = Plan::default();
    if running.workers != desired.workers {
        plan.early.push(Change::SetWorkers { settings: desired.workers.clone() });
    }
    if running.ssl != desired.ssl {
        plan.settings.push(Change::SetSsl { settings: desired.ssl.clone() });
    }
    if running.shaping != desired.shaping {
        plan.settings.push(Change::SetShaping { shaping: desired.shaping.clone() });
    }
    for (name, bridge) in &running.bridges {
        plan.leave(name, bridge, desired.bridges.get(name));
    }
    for (name, bridge) in &desired.bridges {
        plan.come(name, running.bridges.get(name), bridge);
    }
    let gone = running.pools.keys().filter(|pool| !desired.pools.contains_key(*pool));
    plan.settings.extend(gone.map(|pool| Change::RemovePool { pool: pool.clone() }));
    let come = desired.pools.iter().filter(|(name, pool)| running.pools.get(*name) != Some(pool));
    plan.settings.extend(come.map(|(name, pool)| Change::SetPool { pool: name.clone(), spec: pool.clone() }));
    plan.early.into_iter().chain(plan.leaving).chain(plan.late).chain(plan.settings).chain(plan.unused).collect()
}

#[derive(Default)]
struct Plan {
    early: Vec<Change>,
    leaving: Vec<Change>,
    late: Vec<Change>,
    settings: Vec<Change>,
    /// Groups and meters that go when the flows that used them are gone.
    unused: Vec<Change>,
    /// What leaves: `name vm1`, `socket /run/x`, `netdev eth0`, `numbers of br0`.
    freed: BTreeSet<String>,
}

impl Plan {
    /// Notes what of a running bridge has to go.
    fn leave(&mut self, name: &str, old: &Bridge, new: Option<&Bridge>) {
        let bridge = || name.to_owned();
        for (port, spec) in &old.ports {
            match new.and_then(|new| new.ports.get(port)) {
                None => {
                    self.freed.insert(format!("name {port}"));
                    self.freed.insert(format!("numbers of {name}"));
                    self.leaving.push(Change::RemovePort { bridge: bridge(), port: port.clone() });
                }
                Some(wanted) if needs_reopening(spec, wanted) => {
                    self.leaving.push(Change::ClosePort { bridge: bridge(), port: port.clone() });
                }
                Some(_) => continue,
            }
            self.freed.extend(spec.resources(port));
        }
        match new {
            None => {
                self.freed.extend([format!("name {name}"), format!("netdev {name}")]);
                self.leaving.push(Change::RemoveBridge { bridge: bridge() });
            }
            Some(new) => {
                let gone = old.flows.difference(&new.flows).cloned();
                self.settings.extend(gone.map(|flow| Change::RemoveFlow { bridge: bridge(), flow }));
                let groups = old.groups.keys().filter(|group| !new.groups.contains_key(group));
                let groups: Vec<u32> = groups.copied().collect();
                if !groups.is_empty() {
                    self.unused.push(Change::RemoveGroups { bridge: bridge(), groups });
                }
                let meters = old.meters.keys().filter(|meter| !new.meters.contains_key(meter));
                self.unused.extend(meters.map(|&meter| Change::RemoveMeter { bridge: bridge(), meter }));
            }
        }
    }

    /// Adds what a wanted bridge lacks. Everything that leaves was noted before.
    fn come(&mut self, name: &str, old: Option<&Bridge>, new: &Bridge) {
        let bridge = || name.to_owned();
        let mut in_the_way = false;
        match old {
            None => {
                in_the_way = self.is_freed(&[format!("name {name}"), format!("netdev {name}")]);
                self.add(in_the_way, Change::AddBridge { bridge: bridge(), settings: new.settings.clone() });
            }
            Some(old) if old.settings != new.settings => {
                self.settings.push(Change::SetBridge { bridge: bridge(), settings: new.settings.clone() });
            }
            Some(_) => {}
        }
        for (port, spec) in &new.ports {
            let (port, spec) = (port.clone(), spec.clone());
            match old.and_then(|old| old.ports.get(&port)) {
                None => {
                    let mut needs = spec.resources(&port);
                    needs.push(format!("name {port}"));
                    if spec.settings.number("ofport_request").is_some() {
                        needs.push(format!("numbers of {name}"));
                    }
                    let late = in_the_way || self.is_freed(&needs);
                    self.add(late, Change::AddPort { bridge: bridge(), port, spec });
                }
                Some(had) if needs_reopening(had, &spec) => {
                    self.late.push(Change::OpenPort { bridge: bridge(), port, spec })
                }
                Some(had) if *had != spec => self.settings.push(Change::SetPort { bridge: bridge(), port, spec }),
                Some(_) => {}
            }
        }
        let changed = |old: Option<&BTreeMap<u32, String>>, new: &BTreeMap<u32, String>| {
            let had = |number: &u32, text: &String| old.is_some_and(|old| old.get(number) == Some(text));
            new.iter().filter(|(number, text)| !had(number, text)).map(|(_, text)| text.clone()).collect::<Vec<_>>()
        };
        let meters = changed(old.map(|old| &old.meters), &new.meters).into_iter();
        self.settings.extend(meters.map(|meter| Change::SetMeter { bridge: bridge(), meter }));
        let groups = changed(old.map(|old| &old.groups), &new.groups);
        if !groups.is_empty() {
            self.settings.push(Change::SetGroups { bridge: bridge(), groups });
        }
        let nothing = BTreeSet::new();
        let come = new.flows.difference(old.map_or(&nothing, |old| &old.flows)).cloned();
        self.settings.extend(come.map(|flow| Change::AddFlow { bridge: bridge(), flow }));
    }

    fn is_freed(&self, resources: &[String]) -> bool {
        resources.iter().any(|resource| self.freed.contains(resource))
    }

    fn add(&mut self, late: bool, change: Change) {
        if late { self.late.push(change) } else { self.early.push(change) }
    }
}

/// Options and these columns are the device's; everything else changes in the snapshot, or while the device is open (`sorter`).
fn needs_reopening(old: &Port, new: &Port) -> bool {
    let device = |port: &Port| {
        let is_option = |name| find(name, |scope| matches!(scope, Scope::Options(_))).is_some();
        let of_device =
            |name| (is_option(name) && name != "sorter") || matches!(name, "type" | "mtu_request" | "admin_state");
        port.settings
            .iter()
            .filter(|(name, _)| of_device(name))
            .map(|(name, value)| (name, value.clone()))
            .collect::<Vec<_>>()
    };
    device(old) != device(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One word per change: `+br0`, `-vm1`, `close vm1`, `open vm1`, `set vm1`, `+flow`, ...
    fn words(running: &str, desired: &str) -> String {
        let read = |text: &str| crate::config::parse(text, "t".as_ref(), &[0, 1]).unwrap();
        let changes = plan(&read(running), &read(desired));
        let words = changes.iter().map(|change| match change {
            Change::SetWorkers { .. } => "set workers".to_owned(),
            Change::SetSsl { .. } => "set ssl".to_owned(),
            Change::SetShaping { .. } => "set shaping".to_owned(),
            Change::AddBridge { bridge, .. } => format!("+{bridge}"),
            Change::SetBridge { bridge, .. } => format!("set {bridge}"),
            Change::RemoveBridge { bridge } => format!("-{bridge}"),
            Change::AddPort { port, .. } => format!("+{port}"),
            Change::RemovePort { port, .. } => format!("-{port}"),
            Change::ClosePort { port, .. } => format!("close {port}"),
            Change::OpenPort { port, .. } => format!("open {port}"),
            Change::SetPort { port, .. } => format!("set {port}"),
            Change::SetPool { pool, .. } => format!("pool {pool}"),
            Change::RemovePool { pool } => format!("-pool {pool}"),
            Change::SetGroups { groups, .. } => format!("set [{}]", groups.join("; ")),
            Change::RemoveGroups { groups, .. } => format!("-groups {groups:?}"),
            Change::SetMeter { meter, .. } => format!("set [{meter}]"),
            Change::RemoveMeter { meter, .. } => format!("-meter {meter}"),
            Change::AddFlow { flow, .. } => format!("+[{flow}]"),
            Change::RemoveFlow { flow, .. } => format!("-[{flow}]"),
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// `br0: vm1=/a tag=1; vm2=/b` as a configuration file.
    fn file(text: &str) -> String {
        let mut file = String::new();
        for bridge in text.split('|').filter(|bridge| !bridge.trim().is_empty()) {
            let (name, ports) = bridge.split_once(':').unwrap();
            file += &format!("[bridges.{}]\n", name.trim());
            for port in ports.split(';').filter(|port| !port.trim().is_empty()) {
                let mut words = port.split_whitespace();
                let (port, path) = words.next().unwrap().split_once('=').unwrap();
                file += &format!("[bridges.{}.ports.{port}]\ntype = \"vhost-user\"\npath = \"{path}\"\n", name.trim());
                words.for_each(|setting| file += &format!("{setting}\n"));
            }
        }
        file
    }

    #[test]
    fn plans_are_minimal_and_in_an_order_that_can_be_done() {
        let cases = [
            ("", "", ""),
            ("br0: vm1=/a", "br0: vm1=/a", ""),
            ("", "br0: vm1=/a; vm2=/b", "+br0, +vm1, +vm2, +[priority=0 actions=NORMAL]"),
            ("br0: vm1=/a", "", "-vm1, -br0"),
            ("br0: vm1=/a", "br0: vm1=/a; vm2=/b", "+vm2"),
            ("br0: vm1=/a", "br0: vm2=/b", "+vm2, -vm1"),
            ("br0: vm1=/a", "br0: vm2=/a", "-vm1, +vm2"),
            ("br0: vm1=/a", "br0: vm2=/b ofport_request=1", "-vm1, +vm2"),
            ("br0: vm1=/a", "br0: vm1=/b", "close vm1, open vm1"),
            ("br0: vm1=/a; vm2=/b", "br0: vm1=/b; vm2=/a", "close vm1, close vm2, open vm1, open vm2"),
            ("br0: vm1=/a", "br0: vm1=/a tag=3", "set vm1"),
            ("br0: vm1=/a", "br0: vm1=/a queues=3", "close vm1, open vm1"),
            ("br0: vm1=/a | br1:", "br0: | br1: vm1=/a", "-vm1, +vm1"),
            ("br0: br1=/a", "br1: vm1=/b", "-br1, -br0, +br1, +vm1, +[priority=0 actions=NORMAL]"),
        ];
        for (running, desired, expected) in cases {
            assert_eq!(words(&file(running), &file(desired)), expected, "{running} -> {desired}");
        }
    }

    #[test]
    fn flows_workers_and_bridge_settings_change_alone() {
        let flow = |flow: &str| format!("[bridges.br0]\nflows = [\"{flow}\"]");
        let replaced = "-[arp actions=NORMAL], +[arp actions=drop]";
        assert_eq!(words(&flow("arp actions=NORMAL"), &flow("arp actions=drop")), replaced);
        let used =
            |group: &str| format!("{}\ngroups = [\"group_id=1,type=all,bucket={group}\"]", flow("arp actions=group:1"));
        let bucket = |port: u32| format!("group_id=1,type=all,bucket=bucket_id:0,actions=output:{port}");
        let come = format!("-[arp actions=drop], set [{}], +[arp actions=group:1]", bucket(1));
        assert_eq!(words(&flow("arp actions=drop"), &used("1")), come);
        assert_eq!(words(&used("1"), &used("2")), format!("set [{}]", bucket(2)));
        assert_eq!(
            words(&used("1"), &flow("arp actions=drop")),
            "-[arp actions=group:1], +[arp actions=drop], -groups [1]"
        );
        assert_eq!(words("[bridges.br0]", "[bridges.br0]\nmac-aging-time = 60"), "set br0");
        let nic = "[bridges.br0.ports.eth1]\ntype = \"afxdp\"\n";
        assert_eq!(words(nic, &format!("{nic}sorter = \"xdp\"")), "set eth1", "frames would be lost");
        let pool = |more: &str| {
            let port = |name: &str| format!("[bridges.br0.ports.{name}]\ntype = \"tap\"\n");
            format!("{}{}{more}", port("a"), port("b"))
        };
        let (one, other) =
            ("[pools.p]\nports = [\"a\"]", "[pools.p]\nports = [\"a\"]\nweight = 2\n[pools.q]\nports = [\"b\"]");
        assert_eq!(words(&pool(""), &pool(other)), "pool p, pool q");
        assert_eq!(words(&pool(one), &pool(other)), "pool p, pool q");
        assert_eq!(words(&pool(other), &pool(one)), "-pool q, pool p");
        let qos = |rate: u64| format!("[qos.q]\ntype = \"linux-htb\"\nmax-rate = {rate}\n[bridges.br0]");
        assert_eq!(words(&qos(8), &qos(16)), "set shaping");
        assert_eq!(words(&qos(8), &qos(8)), "");
        assert_eq!(words("[workers]\ncpus = [0]", "[workers]\ncpus = [1]"), "set workers");
    }
}
