//! A file changed while the switch runs: what changed *in the file* is carried over to the running switch, and what was
//! done by command since stays. Pure.
//!
//! Neighbours: `apply` calls it on reload, and plans from the result.

use std::collections::BTreeMap;

use crate::model::{Bridge, Pool, Port, Settings, Shaping, Switch};

/// The running switch with the difference between the file as it was (`base`) and as it is (`file`).
///
/// # Errors
/// Every place where file and commands want different things; nothing is decided then.
pub fn merge(base: &Switch, file: &Switch, running: &Switch) -> Result<Switch, Vec<String>> {
    let mut merged = running.clone();
    let mut conflicts = Vec::new();
    settings(&base.workers, &file.workers, &mut merged.workers, "workers", &mut conflicts);
    settings(&base.ssl, &file.ssl, &mut merged.ssl, "ssl", &mut conflicts);
    shaping(&base.shaping, &file.shaping, &mut merged.shaping, &mut conflicts);
    for (name, old) in base.bridges.iter().filter(|(name, _)| !file.bridges.contains_key(*name)) {
        let added = |it: &Bridge| it.ports.keys().find(|port| !old.ports.contains_key(*port)).cloned();
        match merged.bridges.remove(name).as_ref().and_then(added) {
            Some(port) => {
                conflicts.push(format!("bridge {name} is gone from the file, but port {port} was added to it since"))
            }
            None => continue,
        }
    }
    for (name, wanted) in &file.bridges {
        match (base.bridges.get(name), merged.bridges.get_mut(name)) {
            (Some(old), Some(now)) => bridge(old, wanted, now, name, &mut conflicts),
            (Some(old), None) if old == wanted => {}
            (None, Some(now)) if now != wanted => {
                conflicts.push(format!("bridge {name} is new in the file, but was added since with other settings"));
            }
            _ => {
                merged.bridges.insert(name.clone(), wanted.clone());
            }
        }
    }
    pools(&base.pools, &file.pools, &mut merged.pools, &mut conflicts);
    if conflicts.is_empty() { Ok(merged) } else { Err(conflicts) }
}

fn pools(
    old: &BTreeMap<String, Pool>,
    wanted: &BTreeMap<String, Pool>,
    now: &mut BTreeMap<String, Pool>,
    conflicts: &mut Vec<String>,
) {
    now.retain(|name, _| wanted.contains_key(name) || !old.contains_key(name));
    for (name, pool) in wanted {
        match (old.get(name), now.get_mut(name)) {
            (Some(old), Some(now)) => {
                settings(&old.settings, &pool.settings, &mut now.settings, &format!("pool {name}"), conflicts);
            }
            (Some(old), None) if old == pool => {}
            (None, Some(now)) if now != pool => {
                conflicts.push(format!("pool {name} is new in the file, but was made since with other settings"));
            }
            _ => {
                now.insert(name.clone(), pool.clone());
            }
        }
    }
}

fn bridge(old: &Bridge, wanted: &Bridge, now: &mut Bridge, name: &str, conflicts: &mut Vec<String>) {
    settings(&old.settings, &wanted.settings, &mut now.settings, &format!("bridge {name}"), conflicts);
    now.flows.retain(|flow| wanted.flows.contains(flow) || !old.flows.contains(flow));
    now.flows.extend(wanted.flows.difference(&old.flows).cloned());
    numbered(&old.groups, &wanted.groups, &mut now.groups);
    numbered(&old.meters, &wanted.meters, &mut now.meters);
    let both = |old: &Port, wanted: &Port, now: &mut Port, whose: &str, conflicts: &mut Vec<String>| {
        settings(&old.settings, &wanted.settings, &mut now.settings, whose, conflicts);
    };
    records(&old.ports, &wanted.ports, &mut now.ports, "port", conflicts, both);
}

/// Whether a port or QoS still needs what the file lacks is seen when everything is merged.
fn shaping(old: &Shaping, wanted: &Shaping, now: &mut Shaping, conflicts: &mut Vec<String>) {
    records(&old.qos, &wanted.qos, &mut now.qos, "qos", conflicts, |old, wanted, now, whose, conflicts| {
        settings(&old.settings, &wanted.settings, &mut now.settings, whose, conflicts);
        numbered(&old.queues, &wanted.queues, &mut now.queues);
    });
    records(&old.queues, &wanted.queues, &mut now.queues, "queue", conflicts, settings);
}

/// Carries over which records came and went; `both` merges those that are still there.
fn records<T: Clone + PartialEq>(
    old: &BTreeMap<String, T>,
    wanted: &BTreeMap<String, T>,
    now: &mut BTreeMap<String, T>,
    what: &str,
    conflicts: &mut Vec<String>,
    both: impl Fn(&T, &T, &mut T, &str, &mut Vec<String>),
) {
    now.retain(|name, _| wanted.contains_key(name) || !old.contains_key(name));
    for (name, record) in wanted {
        match (old.get(name), now.get_mut(name)) {
            (Some(old), Some(now)) => both(old, record, now, &format!("{what} {name}"), conflicts),
            (Some(old), None) if old == record => {}
            (None, Some(now)) if now != record => {
                conflicts.push(format!("{what} {name} is new in the file, but was added since with other settings"));
            }
            _ => drop(now.insert(name.clone(), record.clone())),
        }
    }
}

/// Carries over what changed in texts that have numbers.
fn numbered(old: &BTreeMap<u32, String>, wanted: &BTreeMap<u32, String>, now: &mut BTreeMap<u32, String>) {
    now.retain(|number, _| wanted.contains_key(number) || !old.contains_key(number));
    let changed = wanted.iter().filter(|(number, text)| old.get(number) != Some(text));
    now.extend(changed.map(|(number, text)| (*number, text.clone())));
}

fn settings(old: &Settings, wanted: &Settings, now: &mut Settings, whose: &str, conflicts: &mut Vec<String>) {
    let names: std::collections::BTreeSet<_> = old.iter().chain(wanted.iter()).map(|(name, _)| name).collect();
    for name in names {
        let (old, wanted) = (old.value(name), wanted.value(name));
        if old == wanted || now.value(name) == wanted {
            continue;
        }
        if now.value(name) != old {
            let say = |value: Option<&crate::model::Value>| value.map_or("unset".to_owned(), ToString::to_string);
            conflicts.push(format!(
                "{whose}: {name} is {} in the file, but was set to {} since",
                say(wanted),
                say(now.value(name))
            ));
        }
        now.replace(name, wanted.cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switch(text: &str) -> Switch {
        crate::config::parse(text, "t".as_ref(), &[0, 1]).unwrap()
    }

    fn port(name: &str, more: &str) -> String {
        format!("[bridges.br0.ports.{name}]\ntype = \"vhost-user\"\npath = \"/run/{name}\"\n{more}\n")
    }

    #[test]
    fn what_was_added_by_command_stays_and_what_changed_in_the_file_comes() {
        let base = switch(&(port("vm1", "") + &port("vm2", "")));
        let file = switch(&(port("vm1", "tag = 5") + &port("vm3", "")));
        let running = switch(&(port("vm1", "queues = 2") + &port("vm2", "") + &port("cli", "")));
        let expected = switch(&(port("vm1", "queues = 2\ntag = 5") + &port("vm3", "") + &port("cli", "")));
        assert_eq!(merge(&base, &file, &running), Ok(expected));
    }

    #[test]
    fn what_was_removed_by_command_stays_away_until_the_file_changes_it() {
        let base = switch(&port("vm1", ""));
        let running = switch("[bridges.br0]");
        assert_eq!(merge(&base, &base, &running), Ok(running.clone()));
        let file = switch(&port("vm1", "tag = 1"));
        assert_eq!(merge(&base, &file, &running), Ok(file));
    }

    #[test]
    fn pools_of_the_file_and_of_commands_come_together() {
        let ports = port("vm1", "") + &port("vm2", "") + &port("vm3", "");
        let with = |pools: &str| switch(&format!("{ports}{pools}"));
        let (web, db) = ("[pools.web]\nports = [\"vm1\"]\n", "[pools.db]\nports = [\"vm2\"]\n");
        let own = "[pools.own]\nports = [\"vm3\"]\n";
        let running = with(&format!("{web}priority = 3\n{own}"));
        let file = with(&format!("{web}weight = 9\n{db}"));
        let expected = with(&format!("{web}priority = 3\nweight = 9\n{db}{own}"));
        assert_eq!(merge(&with(web), &file, &running), Ok(expected));
        let conflicts = merge(
            &with(web),
            &with(&format!("{web}weight = 9\n{own}")),
            &with(&format!("{web}weight = 8\n{own}weight = 1")),
        );
        assert_eq!(
            conflicts.unwrap_err(),
            [
                "pool own is new in the file, but was made since with other settings",
                "pool web: weight is 9 in the file, but was set to 8 since",
            ]
        );
        assert_eq!(merge(&with(&format!("{web}{db}")), &with(db), &with(&format!("{web}{db}"))), Ok(with(db)));
    }

    #[test]
    fn qos_and_queues_are_merged_by_name() {
        let qos = |rate: u64, queues: &str| {
            format!("[qos.up]\ntype = \"linux-htb\"\nmax-rate = {rate}\n{queues}\n[bridges.br0]")
        };
        let queue = |number: u32, rate: u64| format!("[qos.up.queues.{number}]\nmin-rate = {rate}\n");
        let base = switch(&qos(100, &queue(1, 5)));
        let file = switch(&qos(200, &queue(2, 6)));
        let running = switch(&qos(100, &(queue(1, 5) + &queue(3, 7))));
        assert_eq!(merge(&base, &file, &running), Ok(switch(&qos(200, &(queue(2, 6) + &queue(3, 7))))));
        let running = switch(&qos(300, &queue(1, 9)));
        let file = switch(&qos(200, &queue(1, 6)));
        let contradictions = [
            "qos up: max-rate is 200 in the file, but was set to 300 since",
            "queue up.1: min-rate is 6 in the file, but was set to 9 since",
        ];
        assert_eq!(merge(&base, &file, &running).unwrap_err(), contradictions);
    }

    #[test]
    fn contradictions_are_all_named() {
        let base = switch(&(port("vm1", "") + "[bridges.br1]"));
        let file = switch(&(port("vm1", "tag = 1") + &port("new", "")));
        let mut running = switch(&(port("vm1", "tag = 2") + &port("new", "tag = 9") + "[bridges.br1]"));
        let stray = running.bridges["br0"].ports["vm1"].clone();
        running.bridges.get_mut("br1").unwrap().ports.insert("stray".to_owned(), stray);
        assert_eq!(
            merge(&base, &file, &running).unwrap_err(),
            [
                "bridge br1 is gone from the file, but port stray was added to it since",
                "port new is new in the file, but was added since with other settings",
                "port vm1: tag is 1 in the file, but was set to 2 since",
            ]
        );
    }
}
