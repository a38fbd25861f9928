//! Ports in text: numbers, names, and OpenFlow's reserved ports, whose numbers have 16 bits in OpenFlow 1.0 and 32 later.

use std::fmt::{self, Display, Formatter};

use super::super::Action;
use super::token::number;

/// Names of ports, where there are any. `()` knows none.
pub trait PortNames {
    /// The OpenFlow number of the port with this name.
    fn number(&self, name: &str) -> Option<u32>;
    /// The name of the port with this OpenFlow number.
    fn name(&self, number: u32) -> Option<&str>;
}

impl PortNames for () {
    fn number(&self, _: &str) -> Option<u32> {
        None
    }

    fn name(&self, _: u32) -> Option<&str> {
        None
    }
}

/// The largest port number that is not reserved.
pub(super) const MAX_PORT: u64 = 0xfeff;
/// The first reserved one of 32 bits. Those of 16 bits have the same low half.
const RESERVED: u32 = 0xffff_fff8;
/// Where the packet came from.
pub(super) const IN_PORT: u32 = 0xffff_fff8;
pub(super) const ANY: u32 = 0xffff_ffff;
const CONTROLLER: u32 = 0xffff_fffd;

/// Reserved ports from [`RESERVED`] up.
const NAMES: [&str; 8] = ["IN_PORT", "TABLE", "NORMAL", "FLOOD", "ALL", "CONTROLLER", "LOCAL", "ANY"];

/// A port's number in OpenFlow 1.3's 32 bits.
pub(super) fn port(text: &str, ports: &dyn PortNames) -> Option<u32> {
    if let Some(name) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return ports.number(name);
    }
    // A port's number is decimal even behind a zero.
    if let Some(number) = text.parse().ok().filter(|_| !text.starts_with('+')).or_else(|| number(text)) {
        return match number {
            0..=MAX_PORT => Some(number as u32),
            0xfff8..=0xffff => Some(0xffff_0000 | number as u32),
            0xffff_fff8..=0xffff_ffff => Some(number as u32),
            _ => None,
        };
    }
    if text.eq_ignore_ascii_case("none") {
        return Some(ANY);
    }
    let reserved = NAMES.iter().position(|name| name.eq_ignore_ascii_case(text));
    reserved.map(|place| RESERVED + place as u32).or_else(|| ports.number(text))
}

/// The action that sends to the port with this number; none for [`ANY`] and the controllers.
pub(super) fn output(port: u32) -> Option<Action> {
    Some(match port.checked_sub(RESERVED).map(|place| NAMES[place as usize]) {
        None => Action::Output(port),
        Some("IN_PORT") => Action::InPort,
        Some("TABLE") => Action::Table,
        Some("NORMAL") => Action::Normal,
        Some("FLOOD") => Action::Flood,
        Some("ALL") => Action::All,
        Some("LOCAL") => Action::Local,
        Some("CONTROLLER") => Action::Controller(Box::default()),
        Some(_) => return None,
    })
}

/// True for ports that packets come from: ordinary ones, the bridge's own, and controllers.
pub(super) fn is_source(port: u32) -> bool {
    !(RESERVED..CONTROLLER).contains(&port)
}

/// A port by its name, where it has one.
pub(super) struct Port<'a>(pub u32, pub &'a dyn PortNames);

impl Display for Port<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        match self.1.name(self.0) {
            Some(name) if is_plain(name) => to.write_str(name),
            Some(name) => write!(to, "\"{name}\""),
            None => match self.0.checked_sub(RESERVED) {
                Some(place) => to.write_str(NAMES[place as usize]),
                None => write!(to, "{}", self.0),
            },
        }
    }
}

/// True for names that need no quotes.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let reserved = || NAMES.iter().any(|word| word.eq_ignore_ascii_case(name));
    name.bytes().all(plain) && !name.starts_with(|first: char| first.is_ascii_digit()) && !reserved()
}
