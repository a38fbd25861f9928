//! Numbers and padding of the wire, both ways.
//!
//! Fixed layouts are described once ([`Layout`]): reading fills the fields of a struct in the order in which writing puts
//! them. Trust: the bytes are a peer's; a [`Reader`] never goes beyond them and says what OpenFlow wants said when they end
//! too early.

use std::time::Duration;

use ringswitch_dataplane::flow::Mac;

use super::OfError;

pub(super) type Result<T> = std::result::Result<T, OfError>;

/// Bytes that are still to be read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
    /// What a length problem is called where these bytes stand.
    pub(super) short: OfError,
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8], short: OfError) -> Self {
        Self { rest, short }
    }

    /// Of a message's body.
    pub(super) fn body(rest: &'a [u8]) -> Self {
        Self::new(rest, OfError::OFPBRC_BAD_LEN)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(self.short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A part to be read by itself.
    pub(super) fn part(&mut self, len: usize) -> Result<Self> {
        Ok(Self { rest: self.take(len)?, short: self.short })
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(self.short)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Bytes that mean nothing.
    pub(super) fn skip(&mut self, len: usize) -> Result<()> {
        self.take(len).map(|_| ())
    }

    /// Bytes that have to be zero.
    pub(super) fn zeros(&mut self, len: usize, error: OfError) -> Result<()> {
        if self.take(len)?.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(error) }
    }

    /// Everything that is left has to be zero.
    pub(super) fn only_zeros(mut self, error: OfError) -> Result<()> {
        self.zeros(self.rest.len(), error)
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<()> {
        if self.is_empty() { Ok(()) } else { Err(self.short) }
    }
}

/// Big-endian numbers behind what is there.
pub(super) trait Put {
    fn put8(&mut self, value: u8);
    fn put16(&mut self, value: u16);
    fn put32(&mut self, value: u32);
    fn put64(&mut self, value: u64);
    fn pad(&mut self, len: usize);
    /// Pads what stands from `start` on to a multiple of eight bytes.
    fn align(&mut self, start: usize);
    /// Sets the 16 bits at `at`.
    fn set16(&mut self, at: usize, value: usize);
}

impl Put for Vec<u8> {
    fn put8(&mut self, value: u8) {
        self.push(value);
    }

    fn put16(&mut self, value: u16) {
        self.extend(value.to_be_bytes());
    }

    fn put32(&mut self, value: u32) {
        self.extend(value.to_be_bytes());
    }

    fn put64(&mut self, value: u64) {
        self.extend(value.to_be_bytes());
    }

    fn pad(&mut self, len: usize) {
        self.resize(self.len() + len, 0);
    }

    fn align(&mut self, start: usize) {
        self.pad((self.len() - start).next_multiple_of(8) - (self.len() - start));
    }

    fn set16(&mut self, at: usize, value: usize) {
        self[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
    }
}

/// A fixed layout, for both directions: each call reads into its argument, or writes it.
pub(super) trait Layout {
    fn raw(&mut self, bytes: &mut [u8]) -> Result<()>;

    fn b8(&mut self, value: &mut u8) -> Result<()> {
        let mut bytes = value.to_be_bytes();
        self.raw(&mut bytes)?;
        *value = u8::from_be_bytes(bytes);
        Ok(())
    }

    fn b16(&mut self, value: &mut u16) -> Result<()> {
        let mut bytes = value.to_be_bytes();
        self.raw(&mut bytes)?;
        *value = u16::from_be_bytes(bytes);
        Ok(())
    }

    fn b32(&mut self, value: &mut u32) -> Result<()> {
        let mut bytes = value.to_be_bytes();
        self.raw(&mut bytes)?;
        *value = u32::from_be_bytes(bytes);
        Ok(())
    }

    fn b64(&mut self, value: &mut u64) -> Result<()> {
        let mut bytes = value.to_be_bytes();
        self.raw(&mut bytes)?;
        *value = u64::from_be_bytes(bytes);
        Ok(())
    }

    fn gap<const N: usize>(&mut self) -> Result<()> {
        self.raw(&mut [0; N])
    }

    fn mac(&mut self, mac: &mut Mac) -> Result<()> {
        self.raw(mac)
    }

    /// Text in a field of `N` bytes, the last of which is zero.
    fn text<const N: usize>(&mut self, text: &mut String) -> Result<()> {
        let mut bytes = [0; N];
        let mut end = text.len().min(N - 1);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        self.raw(&mut bytes)?;
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(N);
        *text = String::from_utf8_lossy(&bytes[..end]).into_owned();
        Ok(())
    }

    /// A port's number in 1.0's 16 bits.
    fn port16(&mut self, port: &mut u32) -> Result<()> {
        let mut number = port_to_16(*port);
        self.b16(&mut number)?;
        *port = port_of_16(number);
        Ok(())
    }

    /// Seconds and nanoseconds.
    fn time(&mut self, time: &mut Duration) -> Result<()> {
        let (mut seconds, mut nanos) = (time.as_secs().min(u64::from(u32::MAX)) as u32, time.subsec_nanos());
        self.b32(&mut seconds)?;
        self.b32(&mut nanos)?;
        *time = Duration::from_secs(seconds.into()) + Duration::from_nanos(nanos.into());
        Ok(())
    }

    /// The same; all ones when nobody knows.
    fn time_maybe(&mut self, time: &mut Option<Duration>) -> Result<()> {
        let (mut seconds, mut nanos) = (u32::MAX, u32::MAX);
        if let Some(time) = time {
            (seconds, nanos) = (time.as_secs().min(u64::from(u32::MAX)) as u32, time.subsec_nanos());
        }
        self.b32(&mut seconds)?;
        self.b32(&mut nanos)?;
        let known = (seconds, nanos) != (u32::MAX, u32::MAX);
        *time = known.then(|| Duration::from_secs(seconds.into()) + Duration::from_nanos(nanos.into()));
        Ok(())
    }
}

impl Layout for Reader<'_> {
    fn raw(&mut self, bytes: &mut [u8]) -> Result<()> {
        bytes.copy_from_slice(self.take(bytes.len())?);
        Ok(())
    }
}

impl Layout for Vec<u8> {
    fn raw(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// The first number of 1.0's reserved ports.
const RESERVED_16: u16 = 0xff00;
/// The same in 32 bits.
const RESERVED_32: u32 = 0xffff_ff00;

/// A port's number out of 16 bits: reserved ones are the last in both widths.
pub(super) fn port_of_16(port: u16) -> u32 {
    if port >= RESERVED_16 { u32::from(port) | 0xffff_0000 } else { port.into() }
}

/// A port's number in 16 bits. One that does not fit becomes "none".
pub(super) fn port_to_16(port: u32) -> u16 {
    if port < RESERVED_16.into() || port >= RESERVED_32 { port as u16 } else { u16::MAX }
}

/// A port's number out of 32 bits.
pub(super) fn port_of_32(port: u32) -> Result<u32> {
    if port < RESERVED_16.into() || port >= RESERVED_32 { Ok(port) } else { Err(OfError::OFPBAC_BAD_OUT_PORT) }
}
