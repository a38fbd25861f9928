//! What an AF_XDP port leaves to the host's own stack: a short list of plain tests, run by the XDP program.
//!
//! Text: `arp`, `dl_type=0x88cc`, `tcp:22`, `udp:67` (destination port, IPv4 and IPv6), `dl_dst=02:00:00:00:00:01`.

use std::fmt;
use std::str::FromStr;

/// Most entries of a filter; the XDP program has room for as many.
pub const MAX_PASS_FILTERS: usize = 16;
/// Bytes of one entry in the program (`struct rule` in `bpf/steer.bpf.c`).
const RULE_LEN: usize = 12;

/// Frames that this matches go to the kernel and not to the switch. VLAN tags are looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassFilter {
    /// This EtherType.
    DlType(u16),
    /// TCP to this port.
    Tcp(u16),
    /// UDP to this port.
    Udp(u16),
    /// This destination address.
    DlDst([u8; 6]),
}

/// A text that is no filter.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a pass filter: expected arp, dl_type=NUMBER, tcp:PORT, udp:PORT or dl_dst=MAC")]
pub struct ParsePassFilterError {
    text: String,
}

const ETH_P_ARP: u16 = 0x0806;

impl PassFilter {
    /// All entries as the program wants them.
    pub(super) fn encode(filters: &[Self]) -> [u8; RULE_LEN * MAX_PASS_FILTERS] {
        let mut bytes = [0; RULE_LEN * MAX_PASS_FILTERS];
        for (rule, filter) in bytes.chunks_exact_mut(RULE_LEN).zip(filters) {
            let (kind, nw_proto, value, dl_dst) = match *filter {
                Self::DlType(dl_type) => (1, 0, dl_type, [0; 6]),
                Self::Tcp(port) => (2, libc::IPPROTO_TCP as u8, port, [0; 6]),
                Self::Udp(port) => (2, libc::IPPROTO_UDP as u8, port, [0; 6]),
                Self::DlDst(mac) => (3, 0, 0, mac),
            };
            rule[0] = kind;
            rule[1] = nw_proto;
            rule[2..4].copy_from_slice(&value.to_be_bytes());
            rule[4..10].copy_from_slice(&dl_dst);
        }
        bytes
    }
}

impl FromStr for PassFilter {
    type Err = ParsePassFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.split_once(['=', ':']) {
            None if text == "arp" => Some(Self::DlType(ETH_P_ARP)),
            Some(("dl_type", number)) => parse_number(number).map(Self::DlType),
            Some(("tcp", port)) => parse_number(port).map(Self::Tcp),
            Some(("udp", port)) => parse_number(port).map(Self::Udp),
            Some(("dl_dst", mac)) => parse_mac(mac).map(Self::DlDst),
            _ => None,
        };
        parsed.ok_or_else(|| ParsePassFilterError { text: text.to_owned() })
    }
}

fn parse_number(text: &str) -> Option<u16> {
    match text.strip_prefix("0x") {
        Some(hex) => u16::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut parts = text.split(':');
    let mut mac = [0; 6];
    for byte in &mut mac {
        *byte = parts.next().filter(|part| part.len() <= 2).and_then(|part| u8::from_str_radix(part, 16).ok())?;
    }
    parts.next().is_none().then_some(mac)
}

impl fmt::Display for PassFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DlType(ETH_P_ARP) => f.write_str("arp"),
            Self::DlType(dl_type) => write!(f, "dl_type={dl_type:#06x}"),
            Self::Tcp(port) => write!(f, "tcp:{port}"),
            Self::Udp(port) => write!(f, "udp:{port}"),
            Self::DlDst([a, b, c, d, e, g]) => write!(f, "dl_dst={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_printed_as_they_are_read() {
        for text in ["arp", "dl_type=0x88cc", "tcp:22", "udp:67", "dl_dst=02:00:00:00:00:0a"] {
            assert_eq!(text.parse::<PassFilter>().expect(text).to_string(), text);
        }
        for text in [
            "",
            "ARP",
            "tcp:",
            "tcp:65536",
            "tcp:-1",
            "sctp:1",
            "dl_type=0x12345",
            "dl_dst=02:00",
            "dl_dst=1:2:3:4:5:6:7",
        ] {
            assert!(text.parse::<PassFilter>().is_err(), "{text}");
        }
    }
}
