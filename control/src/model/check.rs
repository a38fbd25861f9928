//! Whether the parts of a switch fit together: what one value alone cannot tell.
//!
//! Trust: operators. Pure but for the list of CPUs, which the caller gives. Neighbours: `config` turns a [`Place`] into a
//! line of the file, `apply` into words.

use std::collections::BTreeMap;
use std::fmt;

use ringswitch_dataplane::port::MAX_PORTS;
use ringswitch_dataplane::port::xdp::PassFilter;

use super::pool;
use super::schema::SETTINGS;
use super::{Bridge, Port, PortType, Scope, Switch, Target, parse_affinity};

/// Longest name that a network device can have.
const NETDEV_NAME_MAX: usize = 15;
/// OpenFlow's versions, as `ovs-vsctl` names them.
pub const PROTOCOLS: [&str; 4] = ["OpenFlow10", "OpenFlow13", "OpenFlow14", "OpenFlow15"];
/// Longest path that a unix socket can have (`sun_path` with its terminator).
const SOCKET_PATH_MAX: usize = 107;

/// What a problem is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// `[ssl]`.
    pub ssl: bool,
    /// The QoS.
    pub qos: Option<String>,
    /// Its queue, or a queue of no QoS.
    pub queue: Option<QueuePlace>,
    /// The bridge; none for `[workers]`.
    pub bridge: Option<String>,
    /// Its port.
    pub port: Option<String>,
    /// The pool.
    pub pool: Option<String>,
    /// The setting.
    pub setting: Option<&'static str>,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueuePlace {
    /// Of the place's QoS, by its number there.
    Number(u32),
    /// By its name.
    Name(String),
}

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is about.
    pub place: Place,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place { port: Some(port), .. } => write!(f, "port {}: {}", port.escape_debug(), self.message),
            Place { bridge: Some(bridge), .. } => write!(f, "bridge {}: {}", bridge.escape_debug(), self.message),
            Place { pool: Some(pool), .. } => write!(f, "pool {}: {}", pool.escape_debug(), self.message),
            Place { ssl: true, .. } => write!(f, "ssl: {}", self.message),
            Place { qos: Some(qos), queue: Some(QueuePlace::Number(queue)), .. } => {
                write!(f, "qos {}: queue {queue}: {}", qos.escape_debug(), self.message)
            }
            Place { qos: Some(qos), .. } => write!(f, "qos {}: {}", qos.escape_debug(), self.message),
            Place { queue: Some(QueuePlace::Name(queue)), .. } => {
                write!(f, "queue {}: {}", queue.escape_debug(), self.message)
            }
            _ => write!(f, "workers: {}", self.message),
        }
    }
}

/// Everything that does not fit together. `allowed_cpus` are those that this process may run on.
#[must_use]
pub fn check(switch: &Switch, allowed_cpus: &[usize]) -> Vec<Problem> {
    let mut checker = Checker { cpus: switch.worker_cpus(allowed_cpus), ..Checker::default() };
    checker.workers(switch, allowed_cpus);
    let files = ["private-key", "certificate", "ca-cert"];
    let given = files.into_iter().filter(|file| switch.ssl.text(file).is_some()).count();
    if let Some(missing) = files.into_iter().find(|file| given > 0 && switch.ssl.text(file).is_none()) {
        let place = Place { ssl: true, ..Place::default() };
        checker.problem(place, format!("{missing} is missing; private-key, certificate and ca-cert belong together"));
    }
    checker.problems.extend(switch.shaping.problems());
    for (name, bridge) in &switch.bridges {
        let place = Place { bridge: Some(name.clone()), ..Place::default() };
        if let Err(why) = netdev_name(name) {
            checker.problem(place.clone(), format!("its name {why}"));
        }
        checker.claim(format!("name {name}"), &place, "bridge");
        checker.openflow(bridge, &place);
        let mut numbers = BTreeMap::new();
        for (name, port) in &bridge.ports {
            let place = Place { port: Some(name.clone()), ..place.clone() };
            checker.port(name, port, &place);
            if let Some(why) = switch.shaping.unknown_to(port) {
                checker.problem(Place { setting: Some("qos"), ..place.clone() }, why);
            }
            if let Some(number) = port.settings.number("ofport_request")
                && let Some(other) = numbers.insert(number, name)
            {
                let message = format!("ofport_request {number} is already asked for by port {other}");
                checker.problem(Place { setting: Some("ofport_request"), ..place }, message);
            }
        }
    }
    let ports: usize = switch.bridges.values().map(|bridge| bridge.ports.len() + 1).sum();
    if ports > MAX_PORTS {
        let message = format!("{ports} ports (each bridge has one of its own), a switch has at most {MAX_PORTS}");
        checker.problem(Place::default(), message);
    }
    checker.problems.extend(pool::problems(switch));
    checker.problems
}

#[derive(Default)]
struct Checker {
    problems: Vec<Problem>,
    /// Who has what: `socket /run/x` -> `port vm1`.
    owners: BTreeMap<String, String>,
    /// Where workers are.
    cpus: Vec<usize>,
}

impl Checker {
    fn problem(&mut self, place: Place, message: String) {
        self.problems.push(Problem { place, message });
    }

    fn workers(&mut self, switch: &Switch, allowed_cpus: &[usize]) {
        let place = Place { setting: Some("cpus"), ..Place::default() };
        for cpu in switch.cpus() {
            if !allowed_cpus.contains(&cpu) {
                let allowed = allowed_cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
                self.problem(place.clone(), format!("CPU {cpu} is not one this process may run on ({allowed})"));
            }
        }
    }

    fn openflow(&mut self, bridge: &Bridge, place: &Place) {
        let at = |setting| Place { setting: Some(setting), ..place.clone() };
        for target in bridge.settings.list("controller") {
            match target.parse::<Target>() {
                Ok(target) if target.passive => self.claim(format!("listener {target}"), &at("controller"), "bridge"),
                Ok(_) => {}
                Err(why) => self.problem(at("controller"), why),
            }
        }
        for version in bridge.settings.list("protocols").iter().filter(|name| !PROTOCOLS.contains(&name.as_str())) {
            let message = format!("\"{version}\" is not spoken; expected some of {}", PROTOCOLS.join(", "));
            self.problem(at("protocols"), message);
        }
        let is_id = |id: &str| id.len() == 16 && u64::from_str_radix(id, 16).is_ok_and(|id| id != 0);
        if let Some(id) = bridge.settings.text("datapath-id").filter(|id| !is_id(id)) {
            self.problem(at("datapath-id"), format!("\"{id}\" is not 16 hexadecimal digits, not all zero"));
        }
    }

    fn port(&mut self, name: &str, port: &Port, place: &Place) {
        let at = |setting| Place { setting: Some(setting), ..place.clone() };
        self.claim(format!("name {name}"), place, "port");
        if let Err(why) = word(name) {
            return self.problem(place.clone(), format!("its name {why}"));
        }
        let Some(port_type) = port.port_type() else {
            let message = format!("it has no type; expected one of {}", PortType::NAMES.join(", "));
            return self.problem(place.clone(), message);
        };
        for (option, _) in port.settings.iter() {
            if !fits(option, port_type) {
                let message = format!(
                    "a port of type {} has no option {option} (it has {})",
                    port_type.name(),
                    options(port_type)
                );
                self.problem(at(option), message);
            }
        }
        match (port_type, port.settings.text("path")) {
            (PortType::VhostUser, None) => {
                self.problem(place.clone(), "a port of type vhost-user needs options:path, its socket".to_owned());
            }
            (PortType::VhostUser, Some(path)) if !path.starts_with('/') || path.len() > SOCKET_PATH_MAX => {
                let message =
                    format!("socket path \"{path}\" is not an absolute path of at most {SOCKET_PATH_MAX} bytes");
                self.problem(at("path"), message);
            }
            (PortType::VhostUser, _) => {}
            _ => {
                let netdev = port.settings.text("netdev").unwrap_or(name);
                if let Err(why) = netdev_name(netdev) {
                    self.problem(place.clone(), format!("its network device's name {why}"));
                }
            }
        }
        self.affinity(port, place);
        if let Some(frames) = port.settings.number("frames").filter(|frames| !frames.is_power_of_two()) {
            self.problem(at("frames"), format!("frames is {frames}; expected a power of two"));
        }
        for test in port.settings.text("pass").into_iter().flat_map(|list| list.split(',')) {
            if let Err(why) = test.trim().parse::<PassFilter>() {
                self.problem(at("pass"), why.to_string());
            }
        }
        for resource in port.resources(name) {
            self.claim(resource, place, "port");
        }
    }

    /// Queues have to exist, and workers have to be where queues are wanted.
    fn affinity(&mut self, port: &Port, place: &Place) {
        let Some(text) = port.settings.text("pmd-rxq-affinity") else { return };
        let at = Place { setting: Some("pmd-rxq-affinity"), ..place.clone() };
        let pairs = match parse_affinity(text) {
            Ok(pairs) => pairs,
            Err(why) => return self.problem(at, format!("pmd-rxq-affinity: {why}")),
        };
        for (queue, cpu) in pairs {
            if let Some(most) = port.most_queues().filter(|&most| u64::from(queue) >= most) {
                let message = format!("pmd-rxq-affinity: there is no queue {queue}, the port has {most}, from 0");
                self.problem(at.clone(), message);
            }
            if !self.cpus.contains(&cpu) {
                let cpus = self.cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
                let message = format!(
                    "pmd-rxq-affinity: no worker is on CPU {cpu}, which queue {queue} asks for (workers: {cpus})"
                );
                self.problem(at.clone(), message);
            }
        }
    }

    /// Notes that this bridge or port has it; a problem when another one has it.
    fn claim(&mut self, resource: String, place: &Place, what: &str) {
        let owner = format!("{what} {}", place.port.as_ref().or(place.bridge.as_ref()).map_or("", String::as_str));
        if let Some(other) = self.owners.get(&resource) {
            let setting = if resource.starts_with("socket ") { Some("path") } else { None };
            let message = format!("{resource} is already used by {other}");
            self.problem(Place { setting, ..place.clone() }, message);
        } else {
            self.owners.insert(resource, owner);
        }
    }
}

fn fits(name: &str, port_type: PortType) -> bool {
    SETTINGS.iter().any(|setting| {
        setting.name == name
            && match setting.scope {
                Scope::Options(types) => types.contains(&port_type),
                _ if name == "mtu_request" => matches!(port_type, PortType::Tap | PortType::Internal),
                scope => matches!(scope, Scope::Port | Scope::Interface | Scope::InterfaceOther),
            }
    })
}

fn options(port_type: PortType) -> String {
    let options =
        SETTINGS.iter().filter(|setting| matches!(setting.scope, Scope::Options(types) if types.contains(&port_type)));
    options.map(|setting| setting.name).collect::<Vec<_>>().join(", ")
}

/// Bridges and ports are named like network devices; other records have similar names.
pub(super) fn word(name: &str) -> Result<(), String> {
    let strange = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | ',' | '=');
    if name.is_empty() || name == "." || name == ".." || name.contains(strange) {
        return Err(format!("\"{}\" is not a name: no spaces and none of / : , =", name.escape_debug()));
    }
    Ok(())
}

/// Could a network device have this name?
fn netdev_name(name: &str) -> Result<(), String> {
    word(name)?;
    if name.len() > NETDEV_NAME_MAX {
        return Err(format!("\"{name}\" has {} bytes, the kernel allows {NETDEV_NAME_MAX}", name.len()));
    }
    Ok(())
}
