//! A pool: the ports of one VM, the addresses it is reached by, and its part of what is shared.
//!
//! Trust: operators. Neighbours: `check` reports what [`problems`] finds, `engine::pools` makes pools true.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ringswitch_dataplane::flow::{Mac, grammar};

use super::{Place, Problem, Settings, Switch, near_miss};

/// Most addresses of a pool.
pub const FILTERS_MAX: usize = 64;
/// The filter that stands for "from flows and learned addresses".
pub const AUTO: &str = "auto";

/// A pool, as it was asked for. A port that is in none is a pool of its own, named as the port, with the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Its columns.
    pub settings: Settings,
}

impl Pool {
    /// Its ports' names.
    #[must_use]
    pub fn ports(&self) -> &[String] {
        self.settings.list("ports")
    }

    /// The addresses that the operator gave it; none when they are taken from flows and learning. Those that are none were
    /// refused before.
    #[must_use]
    pub fn filters(&self) -> Option<Vec<PoolFilter>> {
        let given = self.settings.list("filters");
        let is_auto = given.is_empty() || given.iter().any(|filter| filter == AUTO);
        (!is_auto).then(|| given.iter().filter_map(|filter| filter.parse().ok()).collect())
    }

    /// A rate or weight; none when it is at its default or 0.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.settings.number(name).filter(|&number| number > 0)
    }
}

/// An address that frames to a pool have: `52:54:00:00:00:01`, or in VLAN 10 `52:54:00:00:00:01,10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolFilter {
    /// The destination.
    pub mac: Mac,
    /// The id of the VLAN tag on the wire; 0 for frames without a tag.
    pub vlan: u16,
}

impl FromStr for PoolFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected an address such as 52:54:00:00:00:01, or 52:54:00:00:00:01,10 in VLAN 10";
        let (address, vlan) = text.split_once(',').unwrap_or((text, "0"));
        let mac = grammar::parse_mac(address.trim());
        let vlan = vlan.trim().parse().ok().filter(|&vlan: &u16| vlan <= 4095);
        let (Some(mac), Some(vlan)) = (mac, vlan) else { return Err(format!("\"{text}\": {expected}")) };
        match mac {
            [0, 0, 0, 0, 0, 0] => Err(format!("\"{text}\" is nobody's address: {expected}")),
            [first, ..] if first & 1 != 0 => Err(format!("\"{text}\" is a group address, not one VM's: {expected}")),
            _ => Ok(Self { mac, vlan }),
        }
    }
}

impl fmt::Display for PoolFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, last] = self.mac;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{last:02x}")?;
        if self.vlan == 0 { Ok(()) } else { write!(f, ",{}", self.vlan) }
    }
}

impl Switch {
    /// The bridge of this port; a bridge's own port has the bridge's name.
    #[must_use]
    pub fn bridge_of_port(&self, port: &str) -> Option<&str> {
        let own = self.bridges.get_key_value(port).map(|(name, _)| name.as_str());
        own.or_else(|| self.port(port).map(|(bridge, _)| bridge))
    }

    /// The pool that this port was put into.
    #[must_use]
    pub fn pool_of_port(&self, port: &str) -> Option<&str> {
        self.pools.iter().find(|(_, pool)| pool.ports().iter().any(|member| member == port)).map(|(name, _)| &**name)
    }

    /// A port went: it is in no pool any more, and a pool goes with its last port.
    pub fn leave_pools(&mut self, port: &str) {
        self.pools.retain(|_, pool| {
            let ports = pool.ports();
            if !ports.iter().any(|member| member == port) {
                return true;
            }
            let rest: Vec<String> = ports.iter().filter(|member| *member != port).cloned().collect();
            let stays = !rest.is_empty();
            pool.settings.replace("ports", Some(super::Value::List(rest)));
            stays
        });
    }
}

/// What does not fit about the pools.
pub(super) fn problems(switch: &Switch) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut owners = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    for (name, pool) in &switch.pools {
        let mut problem = |setting: Option<&'static str>, message: String| {
            problems.push(Problem { place: Place { pool: Some(name.clone()), setting, ..Place::default() }, message });
        };
        if let Err(why) = super::check::word(name) {
            problem(None, format!("its name {why}"));
        }
        if pool.ports().is_empty() {
            problem(None, "it has no ports; expected ports, the names of at least one".to_owned());
        } else if switch.bridge_of_port(name).is_some() && !pool.ports().contains(name) {
            problem(Some("ports"), format!("it is named as port {name}, which is not one of its ports"));
        }
        let mut bridges = Vec::new();
        for port in pool.ports() {
            match switch.bridge_of_port(port) {
                Some(bridge) => bridges.push(bridge),
                None => problem(Some("ports"), unknown_port(switch, port)),
            }
            match owners.insert(port, name) {
                Some(other) if other == name => problem(Some("ports"), format!("port {port} a second time")),
                Some(other) => {
                    let message = format!("port {port} is in pool {other} already; a port is in one pool at most");
                    problem(Some("ports"), message);
                }
                None => {}
            }
        }
        for message in filters(name, pool, &bridges, &mut addresses) {
            problem(Some("filters"), message);
        }
        if let (Some(min), Some(max)) = (pool.number("min_rate"), pool.number("max_rate"))
            && min > max
        {
            problem(Some("min_rate"), format!("min_rate is {min}; expected at most max_rate, {max}"));
        }
    }
    problems
}

fn unknown_port(switch: &Switch, port: &str) -> String {
    let names = switch.bridges.iter().flat_map(|(name, bridge)| bridge.ports.keys().chain([name]));
    let hint = near_miss(port, names.map(String::as_str));
    let hint = hint.map(|hint| format!("; did you mean \"{hint}\"?")).unwrap_or_default();
    format!("there is no port {}{hint}", port.escape_debug())
}

/// What is wrong with a pool's addresses. `taken` says whose an address is on a bridge.
fn filters<'a>(
    name: &'a str,
    pool: &Pool,
    bridges: &[&'a str],
    taken: &mut BTreeMap<(&'a str, PoolFilter), &'a str>,
) -> Vec<String> {
    let given = pool.settings.list("filters");
    if given.len() > FILTERS_MAX {
        return vec![format!("{} filters; expected at most {FILTERS_MAX}", given.len())];
    }
    if given.len() > 1 && given.iter().any(|filter| filter == AUTO) {
        return vec![format!("\"{AUTO}\" among addresses; expected it alone, or addresses only")];
    }
    let mut wrong = Vec::new();
    let mut own = std::collections::BTreeSet::new();
    for text in given.iter().filter(|filter| *filter != AUTO) {
        match text.parse::<PoolFilter>() {
            Err(why) => wrong.push(why),
            Ok(filter) if !own.insert(filter) => wrong.push(format!("{filter} a second time")),
            Ok(filter) => {
                let others = bridges.iter().filter_map(|bridge| taken.insert((*bridge, filter), name));
                if let Some(other) = others.into_iter().find(|other| *other != name) {
                    wrong.push(format!("{filter} is a filter of pool {other} already, on the same bridge"));
                }
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_the_same() {
        for text in ["52:54:00:00:00:01", "52:54:00:00:00:01,10", "02:00:00:00:00:ff,4095"] {
            assert_eq!(text.parse::<PoolFilter>().unwrap().to_string(), text);
        }
        assert_eq!("52:54:00:AB:cd:01, 0".parse::<PoolFilter>().unwrap().to_string(), "52:54:00:ab:cd:01");
        for (text, part) in [
            ("01:00:5e:00:00:01", "is a group address"),
            ("00:00:00:00:00:00", "nobody's address"),
            ("52:54:00:00:00:01,4096", "expected an address such as"),
            ("52:54:00:00:00", "expected an address such as"),
            ("", "expected an address such as"),
        ] {
            let why = text.parse::<PoolFilter>().unwrap_err();
            assert!(why.contains(part) && why.contains(text), "{why}");
        }
    }
}
