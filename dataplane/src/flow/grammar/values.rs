//! Values of fields in text, each in the form that its kind has: addresses, numbers, flags, ports.

use std::fmt::{self, Display, Formatter, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::FieldId;
use super::PortNames;
use super::ports::{self, Port};
use super::token::wide_number;

/// How a field's value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Port,
    Mac,
    Ipv4,
    Ipv6,
    Decimal,
    Hexadecimal,
    Frag,
    TcpFlags,
}

fn form(id: FieldId) -> Form {
    match id {
        FieldId::IN_PORT | FieldId::NXM_IN_PORT | FieldId::ACTSET_OUTPUT => Form::Port,
        FieldId::IPV4_SRC | FieldId::IPV4_DST | FieldId::ARP_SPA | FieldId::ARP_TPA => Form::Ipv4,
        FieldId::IPV6_SRC | FieldId::IPV6_DST | FieldId::ND_TARGET => Form::Ipv6,
        FieldId::IP_FRAG => Form::Frag,
        FieldId::TCP_FLAGS => Form::TcpFlags,
        FieldId::ETH_TYPE | FieldId::VLAN_TCI | FieldId::IPV6_LABEL | FieldId::IPV6_EXTHDR => Form::Hexadecimal,
        FieldId::CONJ_ID => Form::Decimal,
        _ => match id.info().bits {
            48 => Form::Mac,
            // Registers, metadata, marks.
            32 | 64 | 128 => Form::Hexadecimal,
            _ => Form::Decimal,
        },
    }
}

/// TCP flags by bit.
const TCP_FLAGS: [&str; 9] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns"];
/// All bits of the field, also those without a name.
const ALL_TCP_FLAGS: u128 = 0xfff;

/// A value of the field and which of its bits are meant; what was expected when the text is none.
pub(super) fn read(id: FieldId, text: &str, names: &dyn PortNames) -> Result<(u128, u128), String> {
    let all = id.ones();
    let maskable = id.info().maskable;
    let found = match form(id) {
        Form::Port => ports::port(text, names).filter(|port| ports::is_source(*port)).map(|port| (port.into(), all)),
        Form::Mac => masked(text, None, |text| mac(text).map(u128::from)),
        Form::Ipv4 => masked(text, Some(32), |text| text.parse().ok().map(|ip: Ipv4Addr| u32::from(ip).into())),
        Form::Ipv6 => masked(text, Some(128), |text| text.parse().ok().map(|ip: Ipv6Addr| u128::from(ip))),
        Form::Frag => frag(text),
        Form::TcpFlags => tcp_flags(text),
        Form::Decimal | Form::Hexadecimal => {
            masked(text, None, |text| wide_number(text).filter(|&value| value <= limit(id)))
        }
    };
    let found = found.map(|(value, bits)| (value & all, bits & all)).filter(|&(_, bits)| maskable || bits == all);
    found.ok_or_else(|| expected(id))
}

/// The largest number that is taken: the key has 8 bits for ARP's 16.
fn limit(id: FieldId) -> u128 {
    if id == FieldId::ARP_OP { 0xff } else { id.ones() }
}

fn expected(id: FieldId) -> String {
    let masked = if id.info().maskable { ", alone or with /MASK" } else { "" };
    match form(id) {
        Form::Port => "a port number, a port's name, or LOCAL".to_owned(),
        Form::Mac => format!("a MAC address{masked}"),
        Form::Ipv4 => "an IPv4 address, alone, with /PREFIX-LENGTH or with /MASK".to_owned(),
        Form::Ipv6 => "an IPv6 address, alone, with /PREFIX-LENGTH or with /MASK".to_owned(),
        Form::Frag => "no, yes, first, later or not_later".to_owned(),
        Form::TcpFlags => {
            "flags that are set and not set, as +syn-ack; exactly these, as syn|ack; or NUMBER/MASK".to_owned()
        }
        Form::Decimal | Form::Hexadecimal if id.info().bits <= 32 => format!("a number, 0 to {}{masked}", limit(id)),
        Form::Decimal | Form::Hexadecimal => format!("a number of {} bits{masked}", id.info().bits),
    }
}

/// A value and which of its bits count; `/LEN` is a prefix length where `width` says of how many bits.
fn masked(text: &str, width: Option<u32>, value: impl Fn(&str) -> Option<u128>) -> Option<(u128, u128)> {
    let Some((address, mask)) = text.split_once('/') else {
        return Some((value(text)?, u128::MAX));
    };
    let prefix = width.and_then(|width| Some((width, mask.parse::<u32>().ok().filter(|&len| len <= width)?)));
    let bits = match prefix {
        Some((width, len)) => u128::MAX.checked_shl(width - len).unwrap_or(0),
        None => value(mask)?,
    };
    Some((value(address)?, bits))
}

/// The six bytes of a MAC address, as a number.
pub(super) fn mac(text: &str) -> Option<u64> {
    let mut value = 0;
    let mut count = 0;
    for part in text.split(':') {
        let digits = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        value = value << 8 | u64::from(u8::from_str_radix(part, 16).ok().filter(|_| digits)?);
        count += 1;
    }
    (count == 6).then_some(value)
}

fn frag(text: &str) -> Option<(u128, u128)> {
    Some(match text {
        "no" => (0, 3),
        "yes" => (1, 1),
        "first" => (1, 3),
        "later" => (3, 3),
        "not_later" => (0, 2),
        _ => return None,
    })
}

fn tcp_flags(text: &str) -> Option<(u128, u128)> {
    let fits = |text| wide_number(text).filter(|&value| value <= ALL_TCP_FLAGS);
    if let Some((value, bits)) = text.split_once('/') {
        return Some((fits(value)?, fits(bits)?));
    }
    if !text.starts_with(['+', '-']) {
        let flags = text.split('|').map(|part| fits(part).or_else(|| tcp_flag(part)));
        return Some((flags.sum::<Option<u128>>()?, ALL_TCP_FLAGS)).filter(|&(value, _)| value <= ALL_TCP_FLAGS);
    }
    let (mut value, mut bits) = (0, 0);
    for part in text.split_inclusive(['+', '-']).collect::<Vec<_>>().windows(2) {
        let bit = tcp_flag(part[1].trim_end_matches(['+', '-']))?;
        bits |= bit;
        value |= if part[0].ends_with('+') { bit } else { 0 };
    }
    (bits != 0 && !text.ends_with(['+', '-'])).then_some((value, bits))
}

/// The bit of a flag's name; one without a name is its bit in hexadecimal, in brackets.
fn tcp_flag(name: &str) -> Option<u128> {
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(digits) => u128::from_str_radix(digits, 16).ok().filter(|&bit| bit <= ALL_TCP_FLAGS && bit != 0),
        None => TCP_FLAGS.iter().position(|&known| known == name).map(|bit| 1 << bit),
    }
}

/// A value in its field's form, with the mask unless it is the whole field.
pub(super) struct Value<'a> {
    pub field: FieldId,
    pub value: u128,
    pub bits: u128,
    pub names: &'a dyn PortNames,
}

impl Display for Value<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let (value, bits) = (self.value, self.bits);
        let whole = bits == self.field.ones();
        match form(self.field) {
            Form::Port => write!(to, "{}", Port(wide_port(self.field, value), self.names)),
            Form::Mac if whole => write!(to, "{}", MacText(value as u64)),
            Form::Mac => write!(to, "{}/{}", MacText(value as u64), MacText(bits as u64)),
            Form::Ipv4 => match prefix(bits << 96) {
                Some(32) => write!(to, "{}", Ipv4Addr::from(value as u32)),
                Some(len) => write!(to, "{}/{len}", Ipv4Addr::from(value as u32)),
                None => write!(to, "{}/{}", Ipv4Addr::from(value as u32), Ipv4Addr::from(bits as u32)),
            },
            Form::Ipv6 => match prefix(bits) {
                Some(128) => write!(to, "{}", Ipv6Addr::from(value)),
                Some(len) => write!(to, "{}/{len}", Ipv6Addr::from(value)),
                None => write!(to, "{}/{}", Ipv6Addr::from(value), Ipv6Addr::from(bits)),
            },
            Form::Frag => to.write_str(match (value & 3, bits & 3) {
                (0, 1 | 3) => "no",
                (1, 1) => "yes",
                (1, 3) => "first",
                (0, 2) => "not_later",
                _ => "later",
            }),
            Form::TcpFlags => write!(to, "{}", TcpFlags { flags: value, bits }),
            Form::Decimal if whole => write!(to, "{value}"),
            Form::Hexadecimal if whole => write!(to, "{}", Hex(value)),
            Form::Decimal => write!(to, "{value}/{bits:#x}"),
            Form::Hexadecimal => write!(to, "{}/{}", Hex(value), Hex(bits)),
        }
    }
}

/// A port in 32 bits, also where the field has 16.
fn wide_port(field: FieldId, value: u128) -> u32 {
    let reserved = field == FieldId::NXM_IN_PORT && value >= 0xfff8;
    if reserved { 0xffff_0000 | value as u32 } else { value as u32 }
}

/// The length of the prefix that a mask is, unless it is none.
fn prefix(bits: u128) -> Option<u32> {
    let len = bits.leading_ones();
    (len > 0 && bits == u128::MAX << (128 - len)).then_some(len)
}

/// A MAC address, from the low 48 bits.
pub(super) struct MacText(pub u64);

impl Display for MacText {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let [_, _, a, b, c, d, e, f] = self.0.to_be_bytes();
        write!(to, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// Hexadecimal as C prints it: zero without 0x.
pub(super) struct Hex(pub u128);

impl Display for Hex {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { to.write_char('0') } else { write!(to, "{:#x}", self.0) }
    }
}

/// Exactly these flags as `syn|ack`, some of them as `+syn-ack`.
struct TcpFlags {
    flags: u128,
    bits: u128,
}

impl Display for TcpFlags {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let exact = self.bits & ALL_TCP_FLAGS == ALL_TCP_FLAGS;
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
