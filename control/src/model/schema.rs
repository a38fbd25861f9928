//! Every setting there is: its name, whose it is, what it may hold.
//!
//! Trust: values come from operators; a value that is stored has the shape its setting asks for.

use std::collections::BTreeMap;
use std::fmt;

/// What kind of port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortType {
    /// A guest, over a unix socket.
    VhostUser,
    /// A network device, with AF_XDP.
    AfXdp,
    /// A tap device, for the host's own stack or an emulated NIC.
    Tap,
    /// The same as a tap; Open vSwitch's word for a port of the host's own stack.
    Internal,
}

impl PortType {
    /// All of them, as operators write them.
    pub const NAMES: &'static [&'static str] = &["vhost-user", "afxdp", "tap", "internal"];
    const ALL: [Self; 4] = [Self::VhostUser, Self::AfXdp, Self::Tap, Self::Internal];

    /// From the operator's word.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().position(|&known| known == name).map(|index| Self::ALL[index])
    }

    /// The operator's word.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// Whose setting it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `[workers]` of the file; `other_config` of the table Open_vSwitch.
    Workers,
    /// `[ssl]` of the file.
    Ssl,
    /// A column of a bridge.
    Bridge,
    /// `other_config` of a bridge.
    BridgeOther,
    /// A column of a bridge's controllers.
    Controller,
    /// A column of a pool.
    Pool,
    /// A column of a port.
    Port,
    /// A column of an interface.
    Interface,
    /// `other_config` of an interface.
    InterfaceOther,
    /// `options` of an interface of these types.
    Options(&'static [PortType]),
    /// A column of a QoS.
    Qos,
    /// `other_config` of a QoS.
    QosOther,
    /// `other_config` of a queue.
    QueueOther,
}

/// What a setting may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Any text; says what it is.
    Text(&'static str),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A number from .. to.
    Number(u64, u64),
    /// Several numbers from .. to; ranges are `10-20`.
    Numbers(u64, u64),
    /// Several texts without commas; says what they are.
    List(&'static str),
    /// Addresses, or `auto`.
    Filters,
    /// File permissions in octal, as text.
    Permissions,
    /// `true` or `false`.
    Flag,
}

/// A setting that exists.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name: the key in the file, the column or the part behind `options:` on the command line.
    pub name: &'static str,
    /// Whose it is.
    pub scope: Scope,
    /// What it may hold.
    pub expects: Expect,
    /// What holds when it is not set, for operators.
    pub default: &'static str,
    /// One line for operators, with the unit.
    pub help: &'static str,
}

const VHOST: Scope = Scope::Options(&[PortType::VhostUser]);
const XDP: Scope = Scope::Options(&[PortType::AfXdp]);
const NETDEV: Scope = Scope::Options(&[PortType::AfXdp, PortType::Tap, PortType::Internal]);

const fn setting(
    name: &'static str,
    scope: Scope,
    expects: Expect,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting { name, scope, expects, default, help }
}

/// Most bits per second, and most bits at once.
const BITS_MAX: u64 = 1_000_000_000_000;

/// The table.
pub const SETTINGS: &[Setting] = &[
    setting(
        "cpus",
        Scope::Workers,
        Expect::Numbers(0, 1023),
        "the last one allowed",
        "CPUs that poll, a worker on each",
    ),
    setting(
        "cache-entries",
        Scope::Workers,
        Expect::Number(1024, 4 << 20),
        "131072",
        "flows that a worker's cache holds",
    ),
    setting(
        "idle",
        Scope::Workers,
        Expect::OneOf(&["sleep", "spin"]),
        "sleep",
        "what a worker does that finds nothing",
    ),
    setting(
        "spin-us",
        Scope::Workers,
        Expect::Number(0, 10_000_000),
        "200",
        "microseconds of finding nothing before a worker sleeps",
    ),
    setting(
        "resume-latency-us",
        Scope::Workers,
        Expect::Number(0, 1_000_000),
        "not limited",
        "microseconds that a worker's CPU may take to resume from idle; 0: it is never halted",
    ),
    setting("pmd-rxq-isolate", Scope::Workers, Expect::Flag, "true", "a worker with a pinned queue polls no others"),
    setting("pmd-auto-lb", Scope::Workers, Expect::Flag, "false", "queues are moved when workers are loaded unequally"),
    setting(
        "pmd-auto-lb-rebal-interval",
        Scope::Workers,
        Expect::Number(0, 20_000),
        "1",
        "least minutes between two times that queues are moved; 0 is 1",
    ),
    setting(
        "pmd-auto-lb-load-threshold",
        Scope::Workers,
        Expect::Number(0, 100),
        "95",
        "percent that the busiest worker is busy before queues are moved",
    ),
    setting(
        "pmd-auto-lb-improvement-threshold",
        Scope::Workers,
        Expect::Number(0, 100),
        "25",
        "percent of the variance of workers' loads that has to go",
    ),
    setting("private-key", Scope::Ssl, Expect::Text("the path of a PEM file"), "no TLS", "the switch's private key"),
    setting("certificate", Scope::Ssl, Expect::Text("the path of a PEM file"), "no TLS", "its certificate"),
    setting(
        "ca-cert",
        Scope::Ssl,
        Expect::Text("the path of a PEM file"),
        "no TLS",
        "who signs controllers' certificates",
    ),
    setting(
        "fail_mode",
        Scope::Bridge,
        Expect::OneOf(&["standalone", "secure"]),
        "standalone",
        "without a controller: standalone switches as NORMAL does, secure keeps to its flows",
    ),
    setting(
        "protocols",
        Scope::Bridge,
        Expect::List("a list of OpenFlow10, OpenFlow13, OpenFlow14, OpenFlow15"),
        "all of them",
        "OpenFlow versions that are spoken",
    ),
    setting(
        "controller",
        Scope::Bridge,
        Expect::List("a list of targets such as tcp:192.0.2.1:6653 or ptcp:6653"),
        "none",
        "controllers to connect to, and where to listen for some",
    ),
    setting(
        "inactivity_probe",
        Scope::Controller,
        Expect::Number(0, 3_600_000),
        "5000",
        "milliseconds of silence before a controller is probed; 0 for never",
    ),
    setting(
        "max_backoff",
        Scope::Controller,
        Expect::Number(1000, 3_600_000),
        "8000",
        "most milliseconds between attempts to connect",
    ),
    setting(
        "controller_rate_limit",
        Scope::Controller,
        Expect::Number(100, 10_000_000),
        "10000",
        "packet-ins per second of a port and controller",
    ),
    setting(
        "controller_burst_limit",
        Scope::Controller,
        Expect::Number(25, 10_000_000),
        "2500",
        "packet-ins of a port and controller at once",
    ),
    setting(
        "connection_mode",
        Scope::Controller,
        Expect::OneOf(&["out-of-band"]),
        "out-of-band",
        "how controllers are reached: never through the bridge itself",
    ),
    setting(
        "datapath-id",
        Scope::BridgeOther,
        Expect::Text("16 hexadecimal digits"),
        "made from the host and the bridge's name",
        "how controllers know the bridge",
    ),
    setting("disable-in-band", Scope::BridgeOther, Expect::OneOf(&["true"]), "true", "taken for compatibility"),
    setting("flow-limit", Scope::BridgeOther, Expect::Number(1, 10_000_000), "none", "most flows of a table"),
    setting(
        "overflow-policy",
        Scope::BridgeOther,
        Expect::OneOf(&["refuse", "evict"]),
        "refuse",
        "what happens when a table is full: evict removes flows of little importance",
    ),
    setting(
        "mac-table-size",
        Scope::BridgeOther,
        Expect::Number(10, 1 << 20),
        "8192",
        "most addresses that are learned",
    ),
    setting(
        "mac-aging-time",
        Scope::BridgeOther,
        Expect::Number(15, 3600),
        "300",
        "seconds until a silent address is forgotten",
    ),
    setting("ports", Scope::Pool, Expect::List("names of ports"), "must be set", "the VM's ports"),
    setting("filters", Scope::Pool, Expect::Filters, "auto", "the VM's addresses; auto: what flows and learning say"),
    setting(
        "weight",
        Scope::Pool,
        Expect::Number(1, 10_000),
        "100",
        "its part of what several pools want at once, against their weights",
    ),
    setting("priority", Scope::Pool, Expect::Number(0, 7), "0", "a higher one is served first where several wait"),
    setting(
        "min_rate",
        Scope::Pool,
        Expect::Number(0, 1_000_000_000_000),
        "0, nothing is promised",
        "bits per second that it gets of a shared port before weights count",
    ),
    setting(
        "max_rate",
        Scope::Pool,
        Expect::Number(0, 1_000_000_000_000),
        "0, no limit",
        "bits per second that its ports together may send; the rest waits in their rings",
    ),
    setting(
        "max_packet_rate",
        Scope::Pool,
        Expect::Number(0, 1_000_000_000),
        "0, no limit",
        "packets per second that its ports together may send; the rest waits in their rings",
    ),
    setting("tag", Scope::Port, Expect::Number(0, 4095), "a trunk", "the VLAN of untagged frames"),
    setting("trunks", Scope::Port, Expect::Numbers(0, 4095), "all", "the VLANs of tagged frames"),
    setting(
        "vlan_mode",
        Scope::Port,
        Expect::OneOf(&["access", "trunk", "native-tagged", "native-untagged"]),
        "access with a tag, else trunk",
        "how tag and trunks are read",
    ),
    setting("qos", Scope::Port, Expect::Text("the name of a qos"), "none", "how those who send to the port share it"),
    setting("type", Scope::Interface, Expect::OneOf(PortType::NAMES), "must be set", "what kind of port"),
    setting(
        "ofport_request",
        Scope::Interface,
        Expect::Number(1, 65279),
        "the lowest free",
        "the OpenFlow number it gets",
    ),
    setting("mtu_request", Scope::Interface, Expect::Number(68, 9190), "1500", "the MTU of a tap, bytes"),
    setting("admin_state", Scope::Interface, Expect::OneOf(&["up", "down"]), "up", "down detaches it"),
    setting(
        "max_rate",
        Scope::Interface,
        Expect::Number(0, 1_000_000_000_000),
        "0, no limit",
        "bits per second that the port may send; the rest waits in its ring",
    ),
    setting(
        "max_packet_rate",
        Scope::Interface,
        Expect::Number(0, 1_000_000_000),
        "0, no limit",
        "packets per second that the port may send; the rest waits in its ring",
    ),
    setting(
        "ingress_policing_rate",
        Scope::Interface,
        Expect::Number(0, 1_000_000_000),
        "0, no limit",
        "kilobits (1000 bits) per second that the port may send; the rest is dropped",
    ),
    setting(
        "ingress_policing_burst",
        Scope::Interface,
        Expect::Number(0, 1_000_000_000),
        "8000",
        "kilobits that it may send at once above that rate",
    ),
    setting(
        "ingress_policing_kpkts_rate",
        Scope::Interface,
        Expect::Number(0, 1_000_000),
        "0, no limit",
        "1000 packets per second that the port may send; the rest is dropped",
    ),
    setting(
        "ingress_policing_kpkts_burst",
        Scope::Interface,
        Expect::Number(0, 1_000_000),
        "16",
        "1000 packets that it may send at once above that rate",
    ),
    setting(
        "pmd-rxq-affinity",
        Scope::InterfaceOther,
        Expect::Text("pairs QUEUE:CPU such as \"0:3,1:7\""),
        "by load",
        "receive queues that the worker on this CPU polls",
    ),
    setting("path", VHOST, Expect::Text("the path of a unix socket"), "must be set", "the socket"),
    setting("mode", VHOST, Expect::OneOf(&["server", "client"]), "server", "who listens: server is the switch"),
    setting("owner", VHOST, Expect::Text("a user's name or number"), "the daemon's", "the socket file's (server mode)"),
    setting(
        "group",
        VHOST,
        Expect::Text("a group's name or number"),
        "the daemon's",
        "the socket file's (server mode)",
    ),
    setting("permissions", VHOST, Expect::Permissions, "by the daemon's umask", "the socket file's (server mode)"),
    setting("queues", VHOST, Expect::Number(1, 128), "1", "most queue pairs"),
    setting("packed", VHOST, Expect::Flag, "true", "offer packed rings"),
    setting("mrg-rxbuf", VHOST, Expect::Flag, "true", "offer mergeable receive buffers"),
    setting("indirect", VHOST, Expect::Flag, "true", "offer indirect descriptors"),
    setting("event-idx", VHOST, Expect::Flag, "true", "offer notification by index"),
    setting("in-order", VHOST, Expect::Flag, "true", "offer in-order completion"),
    setting("netdev", NETDEV, Expect::Text("a network device"), "the port's name", "the device"),
    setting(
        "xdp-mode",
        XDP,
        Expect::OneOf(&["best-effort", "native-with-zerocopy", "native", "generic"]),
        "best-effort",
        "how frames are taken from the driver",
    ),
    setting(
        "sorter",
        XDP,
        Expect::OneOf(&["auto", "nic", "xdp", "software"]),
        "auto",
        "who sorts received frames into pools: auto is the first of the others that works",
    ),
    setting("n_rxq", XDP, Expect::Number(1, 256), "all of the netdev", "queues to use"),
    setting("pass", XDP, Expect::Text("tests such as \"arp,tcp:22\""), "nothing", "what stays with the kernel"),
    setting("busy-poll", XDP, Expect::Number(1, 1_000_000), "off", "microseconds of busy polling in the kernel"),
    setting("frames", XDP, Expect::Number(64, 1 << 16), "2048", "frames of a queue and direction, a power of two"),
    setting(
        "type",
        Scope::Qos,
        Expect::OneOf(&["linux-htb", "linux-hfsc"]),
        "must be set",
        "the discipline, by Open vSwitch's name; what is over a rate waits in the senders' rings",
    ),
    setting(
        "max-rate",
        Scope::QosOther,
        Expect::Number(1, BITS_MAX),
        "the port's own speed",
        "bits per second of all queues together",
    ),
    setting(
        "min-rate",
        Scope::QueueOther,
        Expect::Number(1, BITS_MAX),
        "nothing",
        "bits per second that the queue gets before others",
    ),
    setting("max-rate", Scope::QueueOther, Expect::Number(1, BITS_MAX), "no limit", "bits per second of the queue"),
    setting(
        "burst",
        Scope::QueueOther,
        Expect::Number(1, BITS_MAX),
        "what max-rate sends in 10 ms",
        "bits that the queue may send at once",
    ),
    setting(
        "priority",
        Scope::QueueOther,
        Expect::Number(0, u32::MAX as u64),
        "0",
        "a smaller one is served first with what no min-rate takes",
    ),
];

/// The setting of this name among those in scope.
#[must_use]
pub fn find(name: &str, in_scope: impl Fn(Scope) -> bool) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name && in_scope(setting.scope))
}

/// What a setting holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text, one of the words, or octal digits.
    Text(String),
    /// A number.
    Number(u64),
    /// Sorted numbers.
    Numbers(Vec<u64>),
    /// Texts.
    List(Vec<String>),
    /// Yes or no.
    Flag(bool),
}

impl Expect {
    /// Reads a value; `None` when it is not what is expected.
    #[must_use]
    pub fn parse(self, text: &str) -> Option<Value> {
        match self {
            Self::Text(_) => (!text.is_empty() && !text.contains('\0')).then(|| Value::Text(text.to_owned())),
            Self::OneOf(words) => words.contains(&text).then(|| Value::Text(text.to_owned())),
            Self::Number(from, to) => number(text, from, to).map(Value::Number),
            Self::Numbers(from, to) => numbers(text, from, to).map(Value::Numbers),
            Self::List(_) => list(text).map(Value::List),
            Self::Filters => list(text).map(|words| Value::List(with_vlans(words))),
            Self::Permissions => u16::from_str_radix(text, 8)
                .ok()
                .filter(|&bits| bits <= 0o777 && !text.starts_with('+'))
                .map(|bits| Value::Text(format!("{bits:04o}"))),
            Self::Flag => text.parse().ok().map(Value::Flag),
        }
    }
}

fn number(text: &str, from: u64, to: u64) -> Option<u64> {
    text.parse().ok().filter(|number| (from..=to).contains(number))
}

fn numbers(text: &str, from: u64, to: u64) -> Option<Vec<u64>> {
    let mut all = std::collections::BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(number(first.trim(), from, to)?..=number(last.trim(), from, to)?);
    }
    (!all.is_empty()).then(|| all.into_iter().collect())
}

fn list(text: &str) -> Option<Vec<String>> {
    let words = text.split(',').map(|word| word.trim().trim_matches('"').to_owned()).collect::<Vec<_>>();
    words.iter().all(|word| !word.is_empty() && !word.contains('\0')).then_some(words)
}

/// A number alone is the VLAN of the address in front of it: `MAC,10` is one filter, `MAC,MAC,10` are two.
fn with_vlans(words: Vec<String>) -> Vec<String> {
    let mut filters: Vec<String> = Vec::new();
    for word in words {
        match filters.last_mut() {
            Some(last) if word.bytes().all(|digit| digit.is_ascii_digit()) && !last.contains(',') => {
                last.push(',');
                last.push_str(&word);
            }
            _ => filters.push(word),
        }
    }
    filters
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(what) | Self::List(what) => write!(f, "{what}"),
            Self::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Self::Number(from, to) => write!(f, "a number from {from} to {to}"),
            Self::Numbers(from, to) => write!(f, "a list of numbers from {from} to {to}"),
            Self::Filters => {
                f.write_str("auto, or addresses such as 52:54:00:00:00:01 or (in VLAN 10) 52:54:00:00:00:01,10")
            }
            Self::Permissions => write!(f, "permissions in octal, such as \"0660\""),
            Self::Flag => write!(f, "true or false"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Numbers(list) => {
                write!(f, "[{}]", list.iter().map(u64::to_string).collect::<Vec<_>>().join(", "))
            }
            Self::List(list) => write!(f, "[{}]", list.join(", ")),
            Self::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

/// The settings of one thing that are not left to their default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<&'static str, Value>);

impl Settings {
    /// Stores a value that the setting's [`Expect`] made.
    pub fn set(&mut self, setting: &'static Setting, value: Value) {
        self.0.insert(setting.name, value);
    }

    /// Back to the default.
    pub fn clear(&mut self, setting: &'static Setting) {
        self.0.remove(setting.name);
    }

    /// Stores or clears a value that came from the setting of the same name elsewhere.
    pub fn replace(&mut self, name: &'static str, value: Option<Value>) {
        match value {
            Some(value) => self.0.insert(name, value),
            None => self.0.remove(name),
        };
    }

    /// What is set, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// The value of this name, whatever its kind.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.0.get(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// Numbers.
    #[must_use]
    pub fn numbers(&self, name: &str) -> Option<&[u64]> {
        match self.0.get(name) {
            Some(Value::Numbers(list)) => Some(list),
            _ => None,
        }
    }

    /// Texts; none when it is not set.
    #[must_use]
    pub fn list(&self, name: &str) -> &[String] {
        match self.0.get(name) {
            Some(Value::List(list)) => list,
            _ => &[],
        }
    }

    /// Yes or no.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.0.get(name) {
            Some(Value::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }
}
