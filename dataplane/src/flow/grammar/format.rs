//! Flows as `ovs-ofctl dump-flows` prints them.

use std::fmt::{self, Display, Formatter, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::{Action, DEFAULT_PRIORITY, Field, Flow, LOCAL_PORT, Match};
use super::PortNames;
use super::fields::{ALL_TCP_FLAGS, TCP_FLAGS};
use crate::wire::{ethernet, icmp, sctp, tcp, udp};

/// What `dump-flows` prints beside the flow itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowStats {
    /// Milliseconds since it was installed.
    pub age_ms: u64,
    /// Packets it decided.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A line of `dump-flows`. Without statistics (`--no-stats`) it is also what `add-flow` takes.
#[must_use]
pub fn format_flow(flow: &Flow, stats: Option<&FlowStats>, ports: &dyn PortNames) -> String {
    let mut text = String::new();
    let mut put = |args: fmt::Arguments<'_>| text.write_fmt(args).unwrap_or_default();
    match stats {
        Some(stats) => {
            put(format_args!(" cookie={:#x}, duration={}, ", flow.cookie, Duration(stats.age_ms)));
            put(format_args!("table={}, n_packets={}, n_bytes={}, ", flow.table, stats.packets, stats.bytes));
        }
        None => {
            put(format_args!("{}", Unless(flow.cookie == 0, format_args!("cookie={:#x}, ", flow.cookie))));
            put(format_args!("{}", Unless(flow.table == 0, format_args!("table={}, ", flow.table))));
        }
    }
    for (name, seconds) in [("idle_timeout", flow.idle_timeout), ("hard_timeout", flow.hard_timeout)] {
        put(format_args!("{}", Unless(seconds == 0, format_args!("{name}={seconds}, "))));
    }
    let matches = format_match(&flow.matches, flow.priority, ports);
    put(format_args!("{matches}{}", if matches.is_empty() { "" } else { " " }));
    put(format_args!("actions={}", format_actions(&flow.actions, ports)));
    text
}

/// The match, with the priority in front when it is not the default one. Empty for "all packets".
#[must_use]
pub fn format_match(matches: &Match, priority: u16, ports: &dyn PortNames) -> String {
    let mut printer = Printer { matches, text: String::new() };
    if priority != DEFAULT_PRIORITY {
        printer.put("priority", priority);
    }
    printer.all(ports);
    printer.text.pop();
    printer.text
}

/// What stands behind `actions=`.
#[must_use]
pub fn format_actions(actions: &[Action], ports: &dyn PortNames) -> String {
    if actions.is_empty() {
        return "drop".to_owned();
    }
    actions.iter().map(|action| format_action(action, ports)).collect::<Vec<_>>().join(",")
}

fn format_action(action: &Action, ports: &dyn PortNames) -> String {
    match action {
        Action::Output(port) => format!("output:{}", Port(*port, ports)),
        Action::InPort => "IN_PORT".to_owned(),
        Action::Flood => "FLOOD".to_owned(),
        Action::All => "ALL".to_owned(),
        Action::Local => "LOCAL".to_owned(),
        Action::Normal => "NORMAL".to_owned(),
        Action::SetDlSrc(mac) => format!("mod_dl_src:{}", MacText(*mac)),
        Action::SetDlDst(mac) => format!("mod_dl_dst:{}", MacText(*mac)),
        Action::SetVlanVid(vid) => format!("mod_vlan_vid:{vid}"),
        Action::SetVlanPcp(pcp) => format!("mod_vlan_pcp:{pcp}"),
        Action::PushVlan(tag_type) => format!("push_vlan:{tag_type:#06x}"),
        Action::PopVlan => "strip_vlan".to_owned(),
        Action::SetNwSrc(address) => format!("mod_nw_src:{address}"),
        Action::SetNwDst(address) => format!("mod_nw_dst:{address}"),
        Action::SetNwTos(tos) => format!("mod_nw_tos:{tos}"),
        Action::SetNwTtl(ttl) => format!("mod_nw_ttl:{ttl}"),
        Action::DecTtl(_) => "dec_ttl".to_owned(),
        Action::SetTpSrc(port) => format!("mod_tp_src:{port}"),
        Action::SetTpDst(port) => format!("mod_tp_dst:{port}"),
        _ => format!("{action:?}"),
    }
}

/// Fields in Open vSwitch's order, a comma behind each.
struct Printer<'a> {
    matches: &'a Match,
    text: String,
}

impl Printer<'_> {
    fn all(&mut self, ports: &dyn PortNames) {
        let dl_type = self.exact(Field::DL_TYPE).map(|value| value as u16);
        let (type_named, protocol_named) = self.protocol(dl_type);
        if let Some(port) = self.exact(Field::IN_PORT) {
            self.put("in_port", Port(port as u32, ports));
        }
        self.vlan();
        self.mac("dl_src", Field::DL_SRC);
        self.mac("dl_dst", Field::DL_DST);
        if let (false, Some(dl_type)) = (type_named, dl_type) {
            self.put("dl_type", format_args!("{dl_type:#06x}"));
        }
        let is_arp = matches!(dl_type, Some(ethernet::TYPE_ARP | ethernet::TYPE_RARP));
        if dl_type == Some(ethernet::TYPE_IPV6) {
            self.ipv6("ipv6_src", Field::IPV6_SRC, Field::IPV6_SRC_LOW);
            self.ipv6("ipv6_dst", Field::IPV6_DST, Field::IPV6_DST_LOW);
        } else {
            self.ipv4(if is_arp { "arp_spa" } else { "nw_src" }, Field::NW_SRC);
            self.ipv4(if is_arp { "arp_tpa" } else { "nw_dst" }, Field::NW_DST);
        }
        if let (false, Some(protocol)) = (protocol_named, self.exact(Field::NW_PROTO)) {
            self.put(if is_arp { "arp_op" } else { "nw_proto" }, protocol);
        }
        self.mac("arp_sha", Field::ARP_SHA);
        self.mac("arp_tha", Field::ARP_THA);
        self.ip_rest();
        self.transport(dl_type);
    }

    fn bits(&self, field: Field) -> (u64, u64) {
        (self.matches.key.field(field), self.matches.mask.field(field))
    }

    fn exact(&self, field: Field) -> Option<u64> {
        let (value, bits) = self.bits(field);
        (bits != 0).then_some(value)
    }

    fn put(&mut self, name: &str, value: impl Display) {
        write!(self.text, "{name}={value},").unwrap_or_default();
    }

    /// Prints the short name; says whether it covers the Ethernet type and the IP protocol.
    fn protocol(&mut self, dl_type: Option<u16>) -> (bool, bool) {
        let protocol = self.exact(Field::NW_PROTO).map(|value| value as u8);
        let (name, protocol_named) = match (dl_type, protocol) {
            (Some(ethernet::TYPE_IPV4), Some(icmp::PROTOCOL)) => ("icmp", true),
            (Some(ethernet::TYPE_IPV4), Some(tcp::PROTOCOL)) => ("tcp", true),
            (Some(ethernet::TYPE_IPV4), Some(udp::PROTOCOL)) => ("udp", true),
            (Some(ethernet::TYPE_IPV4), Some(sctp::PROTOCOL)) => ("sctp", true),
            (Some(ethernet::TYPE_IPV4), _) => ("ip", false),
            (Some(ethernet::TYPE_IPV6), Some(icmp::PROTOCOL_V6)) => ("icmp6", true),
            (Some(ethernet::TYPE_IPV6), Some(tcp::PROTOCOL)) => ("tcp6", true),
            (Some(ethernet::TYPE_IPV6), Some(udp::PROTOCOL)) => ("udp6", true),
            (Some(ethernet::TYPE_IPV6), Some(sctp::PROTOCOL)) => ("sctp6", true),
            (Some(ethernet::TYPE_IPV6), _) => ("ipv6", false),
            (Some(ethernet::TYPE_ARP), _) => ("arp", false),
            (Some(ethernet::TYPE_RARP), _) => ("rarp", false),
            _ => return (false, false),
        };
        write!(self.text, "{name},").unwrap_or_default();
        (true, protocol_named)
    }

    fn vlan(&mut self) {
        let (tci, bits) = self.bits(Field::VLAN_TCI);
        let (vid_bits, pcp_bits) = (bits & 0xfff, bits & 0xe000);
        let whole = matches!(vid_bits, 0 | 0xfff) && matches!(pcp_bits, 0 | 0xe000) && vid_bits | pcp_bits != 0;
        if tci & bits & 0x1000 != 0 && whole {
            if vid_bits != 0 {
                self.put("dl_vlan", tci & 0xfff);
            }
            if pcp_bits != 0 {
                self.put("dl_vlan_pcp", tci >> 13);
            }
        } else if bits == 0xffff {
            self.put("vlan_tci", format_args!("{tci:#06x}"));
        } else if bits != 0 {
            self.put("vlan_tci", format_args!("{tci:#06x}/{bits:#06x}"));
        }
    }

    fn mac(&mut self, name: &str, field: Field) {
        let text = |value: u64| {
            let [_, _, mac @ ..] = value.to_be_bytes();
            MacText(mac)
        };
        match self.bits(field) {
            (_, 0) => {}
            (value, 0xffff_ffff_ffff) => self.put(name, text(value)),
            (value, bits) => self.put(name, format_args!("{}/{}", text(value), text(bits))),
        }
    }

    fn ipv4(&mut self, name: &str, field: Field) {
        let (value, bits) = self.bits(field);
        let (value, bits) = (Ipv4Addr::from(value as u32), bits as u32);
        match bits.leading_ones() {
            _ if bits == 0 => {}
            32 => self.put(name, value),
            len @ 1.. if bits == u32::MAX << (32 - len) => self.put(name, format_args!("{value}/{len}")),
            _ => self.put(name, format_args!("{value}/{}", Ipv4Addr::from(bits))),
        }
    }

    fn ipv6(&mut self, name: &str, high: Field, low: Field) {
        let ((value, bits), (value_low, bits_low)) = (self.bits(high), self.bits(low));
        let value = Ipv6Addr::from(u128::from(value) << 64 | u128::from(value_low));
        let bits = u128::from(bits) << 64 | u128::from(bits_low);
        match bits.leading_ones() {
            _ if bits == 0 => {}
            128 => self.put(name, value),
            len if len > 0 && bits == u128::MAX << (128 - len) => self.put(name, format_args!("{value}/{len}")),
            _ => self.put(name, format_args!("{value}/{}", Ipv6Addr::from(bits))),
        }
    }

    fn ip_rest(&mut self) {
        let (tos, bits) = self.bits(Field::NW_TOS);
        if bits & 0xfc != 0 {
            self.put("nw_tos", tos & 0xfc);
        }
        if bits & 3 != 0 {
            self.put("nw_ecn", tos & 3);
        }
        if let Some(ttl) = self.exact(Field::NW_TTL) {
            self.put("nw_ttl", ttl);
        }
        match self.bits(Field::NW_FRAG) {
            (0, 1 | 3) => self.put("nw_frag", "no"),
            (1, 1) => self.put("nw_frag", "yes"),
            (1, 3) => self.put("nw_frag", "first"),
            (0, 2) => self.put("nw_frag", "not_later"),
            (_, 2 | 3) => self.put("nw_frag", "later"),
            _ => {}
        }
    }

    fn transport(&mut self, dl_type: Option<u16>) {
        let protocol = self.exact(Field::NW_PROTO).map(|value| value as u8);
        let is_icmp = dl_type == Some(ethernet::TYPE_IPV4) && protocol == Some(icmp::PROTOCOL)
            || dl_type == Some(ethernet::TYPE_IPV6) && protocol == Some(icmp::PROTOCOL_V6);
        let names = [("tp_src", "icmp_type", Field::TP_SRC), ("tp_dst", "icmp_code", Field::TP_DST)];
        for (name, of_icmp, field) in names {
            match self.bits(field) {
                (_, 0) => {}
                // A type has 8 bits; rules may look for more all the same, under the name that allows for it.
                (value @ ..=0xff, 0xffff) if is_icmp => self.put(of_icmp, value),
                (value, 0xffff) => self.put(name, value),
                (value, bits) => self.put(name, format_args!("{value:#x}/{bits:#x}")),
            }
        }
        let (flags, bits) = self.bits(Field::TCP_FLAGS);
        if bits != 0 {
            self.put("tcp_flags", TcpFlags { flags, bits });
        }
    }
}

/// A port by its name, where it has one.
struct Port<'a>(u32, &'a dyn PortNames);

impl Display for Port<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        match self.1.name(self.0) {
            Some(name) if is_plain(name) => to.write_str(name),
            Some(name) => write!(to, "\"{name}\""),
            None if self.0 == LOCAL_PORT => to.write_str("LOCAL"),
            None => write!(to, "{}", self.0),
        }
    }
}

/// True for names that need no quotes.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(plain) && !name.starts_with(|first: char| first.is_ascii_digit())
}

struct MacText([u8; 6]);

impl Display for MacText {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(to, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// Exactly these flags as `syn|ack`, some of them as `+syn-ack`.
struct TcpFlags {
    flags: u64,
    bits: u64,
}

impl Display for TcpFlags {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let exact = self.bits == ALL_TCP_FLAGS;
        if exact && self.flags == 0 {
            return to.write_char('0');
        }
        let printed = if exact { self.flags } else { self.bits };
        for (count, bit) in (0..12).filter(|bit| printed >> bit & 1 != 0).enumerate() {
            match (exact, self.flags >> bit & 1 != 0) {
                (true, _) if count == 0 => {}
                (true, _) => to.write_char('|')?,
                (false, true) => to.write_char('+')?,
                (false, false) => to.write_char('-')?,
            }
            match TCP_FLAGS.get(bit) {
                Some(name) => to.write_str(name)?,
                None => write!(to, "[{:x}]", 1 << bit)?,
            }
        }
        Ok(())
    }
}

/// Seconds, with three decimals unless they are zero.
struct Duration(u64);

impl Display for Duration {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        match self.0 % 1000 {
            0 => write!(to, "{}s", self.0 / 1000),
            rest => write!(to, "{}.{rest:03}s", self.0 / 1000),
        }
    }
}

/// Prints nothing when the condition holds.
struct Unless<'a>(bool, fmt::Arguments<'a>);

impl Display for Unless<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        if self.0 { Ok(()) } else { to.write_fmt(self.1) }
    }
}
