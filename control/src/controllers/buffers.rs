//! Bytes on their way in and out of one connection: whole messages in, bounded both ways.
//!
//! Trust: the peer sends anything, slowly, and may not read. It gets as much of our memory as is said here, and as much of our
//! time as one turn has. Neighbours: `connection`.

use std::io::{self, ErrorKind, Read, Write};

/// What every message begins with.
pub(super) const HEADER: usize = 8;
/// Bytes of a turn: a read. Room for two of the longest messages.
const READ: usize = 128 << 10;
/// No more requests are taken in while so many bytes wait to be read by the peer.
const OUTPUT_HIGH: usize = 1 << 20;
/// A peer for which so many bytes wait that it did not ask for is not reading.
const OUTPUT_MAX: usize = 16 << 20;

/// See the file's head.
pub(super) struct Buffers {
    input: Box<[u8]>,
    /// What of `input` is taken already.
    taken: usize,
    /// What of it was read.
    read: usize,
    output: Vec<u8>,
    written: usize,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { input: vec![0; READ].into(), taken: 0, read: 0, output: Vec::new(), written: 0 }
    }
}

impl Buffers {
    /// Reads once. `Ok(true)`: there may be more. `Ok(false)`: it would block, and is told of what comes next; so is a `plain`
    /// stream that gave less than it was asked for. Only when there is no whole message: then there is room.
    pub fn fill(&mut self, stream: &mut impl Read, plain: bool) -> io::Result<bool> {
        self.input.copy_within(self.taken..self.read, 0);
        (self.read, self.taken) = (self.read - self.taken, 0);
        let read = loop {
            match stream.read(&mut self.input[self.read..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match read {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.read += count;
                Ok(!plain || self.read == READ)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The next whole message.
    ///
    /// # Errors
    /// When its header cannot be one: there is no telling where the next one would begin.
    pub fn message(&mut self) -> io::Result<Option<Vec<u8>>> {
        let rest = &self.input[self.taken..self.read];
        let Some(header) = rest.first_chunk::<HEADER>() else { return Ok(None) };
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if len < HEADER {
            return Err(io::Error::new(ErrorKind::InvalidData, "a message shorter than its header"));
        }
        let Some(message) = rest.get(..len) else { return Ok(None) };
        let message = message.to_vec();
        self.taken += len;
        Ok(Some(message))
    }

    /// True when a whole message waits.
    pub fn has_message(&self) -> bool {
        let rest = &self.input[self.taken..self.read];
        rest.len() >= HEADER && rest.len() >= usize::from(u16::from_be_bytes([rest[2], rest[3]]))
    }

    /// Where messages are written to.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Bytes that wait for the peer.
    pub fn waiting(&self) -> usize {
        self.output.len() - self.written
    }

    /// The peer reads too slowly for another request.
    pub fn is_full(&self) -> bool {
        self.waiting() > OUTPUT_HIGH
    }

    /// The peer does not read at all.
    pub fn is_overfull(&self) -> bool {
        self.waiting() > OUTPUT_MAX
    }

    /// Writes what waits, as far as that goes without waiting.
    pub fn drain(&mut self, stream: &mut impl Write) -> io::Result<()> {
        stream.flush()?;
        while self.written < self.output.len() {
            match stream.write(&self.output[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.written == self.output.len() {
            self.written = 0;
            self.output.clear();
            self.output.shrink_to(READ);
        } else if self.written > OUTPUT_HIGH {
            self.output.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_whole_however_they_were_cut() {
        let bytes = [1, 0, 0, 8, 0, 0, 0, 1, 1, 2, 0, 12, 0, 0, 0, 2, 9, 9, 9, 9, 1];
        let mut buffers = Buffers::default();
        let mut messages = Vec::new();
        for byte in bytes {
            assert!(!buffers.fill(&mut &[byte][..], true).unwrap());
            assert_eq!(
                buffers.has_message(),
                buffers
                    .message()
                    .map(|message| {
                        let is_one = message.is_some();
                        messages.extend(message);
                        is_one
                    })
                    .unwrap()
            );
        }
        assert_eq!(messages, [&bytes[..8], &bytes[8..20]]);
        let mut liar = Buffers::default();
        assert!(liar.fill(&mut &[1, 0, 0, 7, 0, 0, 0, 0][..], false).unwrap());
        assert!(liar.has_message() && liar.message().is_err());
    }
}
