//! Where a controller is, or where to listen for some, in the words of `ovs-vsctl set-controller`.
//!
//! Hosts are addresses: looking a name up could take seconds, and control waits for nobody.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// OpenFlow's port.
pub const DEFAULT_PORT: u16 = 6653;

/// One controller, or one listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// We listen (`ptcp`, `punix`, `pssl`) instead of connecting.
    pub passive: bool,
    /// With TLS (`ssl`, `pssl`).
    pub tls: bool,
    /// Where.
    pub address: Address,
}

/// Where.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// `tcp:HOST:PORT`, `ptcp:PORT:HOST`
    Ip(SocketAddr),
    /// `unix:PATH`, `punix:PATH`
    Path(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("controller \"{text}\": {what}");
        let (method, rest) = text.split_once(':').unwrap_or((text, ""));
        let passive = method.starts_with('p');
        let address = match method {
            "tcp" | "ssl" => {
                active(rest).ok_or_else(|| wrong("expected an IP address, and maybe a port behind a colon"))?
            }
            "ptcp" | "pssl" => {
                listening(rest).ok_or_else(|| wrong("expected a port, and maybe an IP address behind a colon"))?
            }
            "unix" | "punix" if rest.starts_with('/') => Address::Path(rest.into()),
            "unix" | "punix" => return Err(wrong("expected an absolute path")),
            _ => return Err(wrong("expected tcp:, ssl:, unix:, ptcp:, pssl: or punix:")),
        };
        Ok(Self { passive, tls: method.ends_with("ssl"), address })
    }
}

/// `HOST[:PORT]`, an IPv6 address in brackets.
fn active(text: &str) -> Option<Address> {
    if let Ok(address) = text.parse() {
        return Some(Address::Ip(address));
    }
    host(text).map(|host| Address::Ip(SocketAddr::new(host, DEFAULT_PORT)))
}

/// `[PORT][:HOST]`
fn listening(text: &str) -> Option<Address> {
    let (port, address) = text.split_once(':').unwrap_or((text, ""));
    let port = if port.is_empty() { DEFAULT_PORT } else { port.parse().ok()? };
    let address = if address.is_empty() { Ipv4Addr::UNSPECIFIED.into() } else { host(address)? };
    Some(Address::Ip(SocketAddr::new(address, port)))
}

fn host(text: &str) -> Option<IpAddr> {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text).parse().ok()
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match (&self.address, self.tls) {
            (Address::Path(_), _) => "unix",
            (_, true) => "ssl",
            _ => "tcp",
        };
        let passive = if self.passive { "p" } else { "" };
        match &self.address {
            Address::Path(path) => write!(f, "{passive}{method}:{}", path.display()),
            Address::Ip(at) if self.passive => write!(f, "p{method}:{}:{}", at.port(), at.ip()),
            Address::Ip(at) => write!(f, "{method}:{at}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_those_of_ovs_vsctl() {
        let cases = [
            ("tcp:127.0.0.1:6633", "tcp:127.0.0.1:6633"),
            ("tcp:127.0.0.1", "tcp:127.0.0.1:6653"),
            ("ssl:[::1]:1", "ssl:[::1]:1"),
            ("tcp:[::1]", "tcp:[::1]:6653"),
            ("ptcp:", "ptcp:6653:0.0.0.0"),
            ("ptcp", "ptcp:6653:0.0.0.0"),
            ("ptcp:6654:127.0.0.1", "ptcp:6654:127.0.0.1"),
            ("pssl:6654:[::1]", "pssl:6654:::1"),
            ("punix:/run/x", "punix:/run/x"),
        ];
        for (text, shown) in cases {
            assert_eq!(text.parse::<Target>().map(|target| target.to_string()), Ok(shown.to_owned()), "{text}");
        }
        for text in ["", "tcp:", "tcp:localhost:1", "tcp:1.2.3.4:99999", "unix:x", "udp:1.2.3.4", "ptcp:x"] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.contains("expected"), "{error}");
        }
    }
}
