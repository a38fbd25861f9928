//! Frames from and to pcap files.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};

/// Longest frame that is recorded whole.
const SNAP: usize = 65535;

/// Reads all frames of a file.
///
/// # Errors
/// Not a readable pcap file of Ethernet frames, or an empty one.
pub fn read(path: &Path) -> Result<Vec<Vec<u8>>, PcapError> {
    let mut reader = PcapReader::new(BufReader::new(File::open(path).map_err(PcapError::IoError)?))?;
    if reader.header().datalink != DataLink::ETHERNET {
        return Err(PcapError::InvalidField("not a capture of Ethernet frames"));
    }
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(packet?.data.into_owned());
    }
    if frames.is_empty() {
        return Err(PcapError::InvalidField("no frames in the file"));
    }
    Ok(frames)
}

/// Writes frames as they come.
pub struct Recorder {
    /// `None` once finished.
    writer: Option<PcapWriter<BufWriter<File>>>,
    error: Option<PcapError>,
}

impl Recorder {
    /// Creates or replaces the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(path: &Path) -> Result<Self, PcapError> {
        let header = PcapHeader {
            endianness: Endianness::native(),
            ts_resolution: TsResolution::NanoSecond,
            snaplen: SNAP as u32,
            datalink: DataLink::ETHERNET,
            ..PcapHeader::default()
        };
        let writer = PcapWriter::with_header(BufWriter::new(File::create(path).map_err(PcapError::IoError)?), header)?;
        Ok(Self { writer: Some(writer), error: None })
    }

    /// Adds a frame with the time of now. The first error is kept for [`finish`](Self::finish).
    pub fn write(&mut self, frame: &[u8]) {
        let (None, Some(writer)) = (&self.error, &mut self.writer) else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let packet = PcapPacket::new(now, frame.len() as u32, &frame[..frame.len().min(SNAP)]);
        self.error = writer.write_packet(&packet).err();
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// What went wrong first.
    pub fn finish(&mut self) -> Result<(), PcapError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        self.writer.take().map_or(Ok(()), |writer| writer.into_writer().flush().map_err(PcapError::IoError))
    }
}
