//! What a guest looks like to the back-end, as written on the command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::cli::parse_unit;
use crate::frame::{MAX_FRAME, MIN_FRAME};
use crate::ring::Shape;

/// Who opens the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The guest connects, and connects again when the back-end went away.
    #[default]
    Client,
    /// The guest listens.
    Server,
}

/// One guest.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestConfig {
    /// The vhost-user socket.
    pub path: PathBuf,
    /// Who opens it.
    pub mode: Mode,
    /// Its MAC address; given by position when `None`.
    pub mac: Option<[u8; 6]>,
    /// Packed rings instead of split ones.
    pub packed: bool,
    /// Ask for MRG_RXBUF.
    pub mrg: bool,
    /// Ask for IN_ORDER.
    pub in_order: bool,
    /// Ask for EVENT_IDX.
    pub event_idx: bool,
    /// Do not ask for VERSION_1.
    pub legacy: bool,
    /// Queue pairs.
    pub queues: u16,
    /// Entries per ring, a power of two.
    pub size: u16,
    /// Descriptors of a frame to be sent.
    pub shape: Shape,
    /// Room for frame bytes in one receive buffer.
    pub rx_buf: u32,
    /// The longest frame that is sent.
    pub max_frame: u32,
    /// The length of its frames, where that differs from the others'.
    pub frame: Option<u32>,
    /// The frames per second that it sends, where that differs from the others'.
    pub rate: Option<f64>,
    /// How long to wait for the back-end, and for each of its answers.
    pub timeout: Duration,
}

impl GuestConfig {
    /// A guest on this socket with everything else as by default: client, split rings of 256, one queue pair, no options.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            mode: Mode::Client,
            mac: None,
            packed: false,
            mrg: false,
            in_order: false,
            event_idx: false,
            legacy: false,
            queues: 1,
            size: 256,
            shape: Shape::Single,
            rx_buf: 1536,
            max_frame: 1518,
            frame: None,
            rate: None,
            timeout: Duration::from_secs(10),
        }
    }

    /// Bytes of virtio-net header (virtio 1.2 section 5.1.6.1: 10 only for legacy without MRG_RXBUF).
    #[must_use]
    pub fn header_len(&self) -> u32 {
        if self.legacy && !self.mrg { 10 } else { 12 }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "path" => self.path = value.into(),
            "mode" => {
                self.mode = match value {
                    "client" => Mode::Client,
                    "server" => Mode::Server,
                    _ => return Err(format!("mode is client or server, not '{value}'")),
                }
            }
            "mac" => self.mac = Some(parse_mac(value)?),
            "packed" => self.packed = parse_switch(key, value)?,
            "mrg" => self.mrg = parse_switch(key, value)?,
            "in_order" => self.in_order = parse_switch(key, value)?,
            "event_idx" => self.event_idx = parse_switch(key, value)?,
            "legacy" => self.legacy = parse_switch(key, value)?,
            "queues" => self.queues = parse_number(key, value, 1, 128)? as u16,
            "size" => self.size = parse_number(key, value, 64, 32768)? as u16,
            "rx_buf" => self.rx_buf = parse_number(key, value, 64, 65536)?,
            "frame" => self.frame = Some(parse_number(key, value, MIN_FRAME, MAX_FRAME)?),
            "rate" => self.rate = Some(parse_unit(value)?),
            "timeout" => self.timeout = Duration::from_secs(parse_number(key, value, 1, 3600)?.into()),
            "shape" => {
                self.shape = match value {
                    "single" => Shape::Single,
                    "chain" => Shape::Chain,
                    "indirect" => Shape::Indirect,
                    _ => return Err(format!("shape is single, chain or indirect, not '{value}'")),
                }
            }
            _ => return Err(format!("a guest has no option '{key}'")),
        }
        Ok(())
    }

    fn check(self) -> Result<Self, String> {
        if self.path.as_os_str().is_empty() {
            return Err("a guest needs path=SOCKET".into());
        }
        if !self.size.is_power_of_two() {
            return Err(format!("size={} is not a power of two", self.size));
        }
        if self.legacy && (self.packed || self.in_order) {
            return Err("packed and in_order need VERSION_1: not with legacy=on".into());
        }
        Ok(self)
    }
}

impl FromStr for GuestConfig {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut config = Self::new("");
        for (number, part) in text.split(',').enumerate() {
            match part.split_once('=') {
                Some((key, value)) => config.set(key.trim(), value.trim())?,
                None if number == 0 => config.path = part.into(),
                None => config.set(part.trim(), "on")?,
            }
        }
        config.check()
    }
}

fn parse_switch(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" | "yes" | "1" | "true" => Ok(true),
        "off" | "no" | "0" | "false" => Ok(false),
        _ => Err(format!("{key} is on or off, not '{value}'")),
    }
}

fn parse_number(key: &str, value: &str, from: u32, to: u32) -> Result<u32, String> {
    let number = value.parse().ok().filter(|number| (from..=to).contains(number));
    number.ok_or_else(|| format!("{key} is a number from {from} to {to}, not '{value}'"))
}

/// Reads a MAC address as six hexadecimal bytes with colons.
///
/// # Errors
/// Says what was expected.
pub fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| format!("'{text}' is not a MAC (aa:bb:cc:dd:ee:ff)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_read_from_its_command_line_form() {
        let config: GuestConfig =
            "/run/a.sock,mode=server,packed,mrg=on,queues=2,mac=02:00:00:00:00:0a,frame=1500,rate=20K"
                .parse()
                .expect("valid");
        assert_eq!(config.path.to_str(), Some("/run/a.sock"));
        assert!(config.packed && config.mrg && !config.in_order);
        assert_eq!((config.frame, config.rate), (Some(1500), Some(20e3)));
        assert_eq!((config.mode, config.queues, config.mac), (Mode::Server, 2, Some([2, 0, 0, 0, 0, 10])));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("path=/a,mode=both", "client or server"),
            ("mode=client", "path"),
            ("/a,size=100", "power of two"),
            ("/a,queues=0", "1 to 128"),
            ("/a,colour=red", "colour"),
            ("/a,frame=63", "64 to 9216"),
            ("/a,rate=0", "positive"),
            ("/a,mac=1:2", "MAC"),
            ("/a,legacy,packed", "VERSION_1"),
        ] {
            let error = text.parse::<GuestConfig>().expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
