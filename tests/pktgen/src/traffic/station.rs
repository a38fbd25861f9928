//! A guest or a netdev that sends and receives.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use ringswitch_dataplane::sys::clock;

use super::Sender;
use super::pace::Pace;
use crate::capture::Recorder;
use crate::check::{Tracker, read_tag};
use crate::frame::HEAD;
use crate::guest::{Guest, GuestError, Pair};
use crate::queue::BATCH;

/// A receiver at full speed looks again only after this many cycles when less than a batch is there: it is the switch
/// that is measured, and looking at what the switch is just writing slows it down.
const PATIENCE: u64 = 4000;

/// What a station did in a trial.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Frames sent.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames that were due but found no room in time.
    pub tx_missed: u64,
    /// Frames received.
    pub rx_frames: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Cycles spent on sending (calls that sent something).
    pub tx_cycles: u64,
    /// Cycles spent on receiving (calls that received something).
    pub rx_cycles: u64,
}

/// How closely a receiver looks.
pub enum Listening {
    /// It counts.
    Counting,
    /// It counts, and reads every byte into this.
    Touching(Box<[u8]>),
    /// It counts, and reads the time stamp of one frame per batch.
    Sampling,
    /// It reads every byte of every frame.
    Checking(Box<Tracker>),
}

enum Link {
    Guest(Box<Guest>),
    Netdev(Box<Pair>),
}

/// A guest or a netdev, with what it sends and how it listens.
pub struct Station {
    /// For messages and tables.
    pub name: String,
    /// Its address.
    pub mac: [u8; 6],
    link: Link,
    /// One per queue, or none.
    senders: Vec<Sender>,
    paces: Vec<Pace>,
    /// Frames per second whatever the trial says.
    own_pps: Option<f64>,
    /// Frames that it sends and receives before it is another one's turn.
    pub burst: usize,
    /// How closely it looks at what it receives.
    pub listening: Listening,
    /// Where received frames are written to.
    pub recorder: Option<Arc<Mutex<Recorder>>>,
    /// Latencies seen, in cycles.
    pub latency: Histogram<u64>,
    /// Frames to announce its addresses with.
    announcements: Vec<Vec<u8>>,
    /// Since the trial began.
    pub counters: Counters,
    down_since: Option<Instant>,
    last_rx: u64,
    /// The queue that sent last: it comes last, so that the first one does not take a closed loop's whole room.
    last_queue: usize,
    sample: usize,
}

impl Station {
    /// A guest; it sends at `own_pps`, if it has a rate of its own, and else at each trial's.
    #[must_use]
    pub fn guest(name: String, mac: [u8; 6], guest: Guest, own_pps: Option<f64>) -> Self {
        Self { own_pps, ..Self::new(name, mac, Link::Guest(Box::new(guest))) }
    }

    /// A netdev.
    #[must_use]
    pub fn netdev(name: String, mac: [u8; 6], pair: Pair) -> Self {
        Self::new(name, mac, Link::Netdev(Box::new(pair)))
    }

    fn new(name: String, mac: [u8; 6], link: Link) -> Self {
        Self {
            name,
            mac,
            link,
            senders: Vec::new(),
            paces: Vec::new(),
            own_pps: None,
            burst: BATCH,
            listening: Listening::Counting,
            recorder: None,
            latency: latencies(),
            announcements: Vec::new(),
            counters: Counters::default(),
            down_since: None,
            last_rx: 0,
            last_queue: 0,
            sample: 0,
        }
    }

    /// Queue pairs.
    pub fn queues(&mut self) -> usize {
        self.pairs().len()
    }

    fn pairs(&mut self) -> &mut [Pair] {
        match &mut self.link {
            Link::Guest(guest) => guest.pairs_mut(),
            Link::Netdev(pair) => std::slice::from_mut(pair),
        }
    }

    /// True when it sends.
    #[must_use]
    pub fn is_sender(&self) -> bool {
        !self.senders.is_empty()
    }

    /// What it sends, one sender per queue, and the frames that announce its addresses.
    pub fn set_up(&mut self, senders: Vec<Sender>, announcements: Vec<Vec<u8>>) {
        self.senders = senders;
        self.announcements = announcements;
    }

    /// Announces the station's addresses, then writes the buffers that it will send.
    ///
    /// # Errors
    /// The link broke.
    pub fn prepare(&mut self) -> Result<(), GuestError> {
        let announcements = std::mem::take(&mut self.announcements);
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut sent = 0;
        while sent < announcements.len() && Instant::now() < deadline {
            let tx = &mut self.pairs()[0].tx;
            let (area, buffers) = (tx.area().clone(), tx.frames());
            let frame = &announcements[sent];
            sent += tx.send(1, false, |id| {
                area.write_bytes(buffers.offset(id), frame);
                frame.len() as u32
            })?;
        }
        self.announcements = announcements;
        // The switch must have read them before their buffers are written again.
        let deadline = Instant::now() + Duration::from_millis(200);
        while !self.pairs()[0].tx.is_idle()? && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut senders = std::mem::take(&mut self.senders);
        for (sender, pair) in senders.iter_mut().zip(self.pairs()) {
            sender.prepare(&pair.tx);
        }
        self.senders = senders;
        Ok(())
    }

    /// Takes what arrived so far, without looking at it: others' announcements, which are none of the traffic.
    ///
    /// # Errors
    /// The link broke.
    pub fn discard(&mut self) -> Result<(), GuestError> {
        for pair in self.pairs() {
            // No more than rings hold: others may go on sending.
            for _ in 0..(1 << 16) / BATCH {
                if pair.rx.count_frames(BATCH, false, |_, _, _| ())?.0 == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Begins a trial: counters to zero, `pps` and `count` for the whole station.
    pub fn begin(&mut self, pps: f64, count: u64) {
        self.counters = Counters::default();
        self.latency.reset();
        let pps = self.own_pps.unwrap_or(pps);
        let queues = self.senders.len() as u64;
        self.paces = (0..queues)
            .map(|queue| Pace::new(pps / queues as f64, count / queues + u64::from(queue < count % queues)))
            .collect();
    }

    /// True when all that it was to send is sent.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.paces.iter().all(Pace::is_over)
    }

    /// Receives and sends once on all queues, at most `room` frames together. Returns true when there was something to do.
    ///
    /// # Errors
    /// The link broke.
    #[inline]
    pub fn turn(&mut self, now: u64, sending: bool, mut room: usize) -> Result<bool, GuestError> {
        if self.down_since.is_some() {
            return Ok(false);
        }
        let (mut worked, queues, first) = (false, self.queues(), self.last_queue + 1);
        for turn in 0..queues {
            let queue = (first + turn) % queues;
            worked |= self.receive(queue, now, sending)?;
            if sending && queue < self.senders.len() {
                let sent = self.send(queue, now, room)?;
                if sent > 0 {
                    self.last_queue = queue;
                    room = room.saturating_sub(sent);
                    worked = true;
                }
            }
        }
        Ok(worked)
    }

    #[inline(always)]
    fn send(&mut self, queue: usize, now: u64, room: usize) -> Result<usize, GuestError> {
        let pace = &mut self.paces[queue];
        let due = pace.due(now, self.burst.min(room));
        self.counters.tx_missed += std::mem::take(&mut pace.missed);
        if due == 0 {
            return Ok(0);
        }
        let whole = pace.is_unlimited() && due == BATCH;
        let pair = match &mut self.link {
            Link::Guest(guest) => &mut guest.pairs_mut()[queue],
            Link::Netdev(pair) => pair,
        };
        let start = clock::cycles();
        let (frames, bytes) = self.senders[queue].send(&mut pair.tx, due, whole)?;
        if frames > 0 {
            self.counters.tx_cycles += clock::cycles() - start;
            self.counters.tx_frames += frames;
            self.counters.tx_bytes += bytes;
            pace.sent(frames as usize);
        }
        Ok(frames as usize)
    }

    #[inline(always)]
    fn receive(&mut self, queue: usize, now: u64, sending: bool) -> Result<bool, GuestError> {
        let pair = match &mut self.link {
            Link::Guest(guest) => &mut guest.pairs_mut()[queue],
            Link::Netdev(pair) => pair,
        };
        let start = clock::cycles();
        let (frames, bytes) = match (&mut self.listening, &self.recorder) {
            (Listening::Counting, None) => {
                let patient = sending && now.wrapping_sub(self.last_rx) < PATIENCE;
                pair.rx.count_frames(self.burst, patient, |_, _, _| ())?
            }
            (Listening::Touching(bytes), None) => {
                let patient = sending && now.wrapping_sub(self.last_rx) < PATIENCE;
                pair.rx.count_frames(self.burst, patient, |area, offset, len| {
                    let len = bytes.len().min(len as usize);
                    area.read_bytes(offset, &mut bytes[..len]);
                })?
            }
            (Listening::Sampling, None) => {
                let (mut number, wanted, mut latency) = (0, self.sample, None);
                let counted = pair.rx.count_frames(self.burst, false, |area, offset, len| {
                    // One of the batch, another one each time; the first when the batch is shorter.
                    if number == wanted || number == 0 {
                        let mut head = [0; HEAD];
                        let head = &mut head[..HEAD.min(len as usize)];
                        area.read_bytes(offset, head);
                        latency = read_tag(head).filter(|tag| tag.time != 0).map(|tag| start.wrapping_sub(tag.time));
                    }
                    number += 1;
                })?;
                self.sample = (self.sample + 1) % number.max(1);
                latency.into_iter().for_each(|cycles| self.latency.saturating_record(cycles));
                counted
            }
            (listening, recorder) => {
                let mut recorder = recorder.as_ref().map(|r| r.lock().unwrap_or_else(|e| e.into_inner()));
                let (mut frames, mut bytes) = (0, 0);
                pair.rx.receive_frames(self.burst, |frame| {
                    frames += 1;
                    bytes += frame.len() as u64;
                    if let Some(recorder) = &mut recorder {
                        recorder.write(frame);
                    }
                    let tag = match listening {
                        Listening::Checking(tracker) => tracker.see(frame),
                        _ => read_tag(frame),
                    };
                    if let Some(tag) = tag.filter(|tag| tag.time != 0) {
                        self.latency.saturating_record(start.wrapping_sub(tag.time));
                    }
                })?;
                (frames, bytes)
            }
        };
        if frames > 0 {
            self.counters.rx_cycles += clock::cycles() - start;
            self.counters.rx_frames += frames;
            self.counters.rx_bytes += bytes;
            self.last_rx = now;
        }
        Ok(frames > 0)
    }

    /// Looks after the connection, about once a millisecond: notices a lost one, tries to get it back. Returns what an
    /// operator should know.
    pub fn look_after(&mut self) -> Option<String> {
        let Link::Guest(guest) = &mut self.link else { return None };
        let Some(since) = self.down_since else {
            return (!guest.is_connected()).then(|| self.lose("the back-end closed the connection"));
        };
        if since.elapsed() < Duration::from_millis(50) {
            return None;
        }
        self.down_since = Some(Instant::now());
        let back = guest.try_reconnect().and_then(|back| if back { self.prepare().map(|()| true) } else { Ok(false) });
        match back {
            Ok(true) => {
                self.down_since = None;
                Some(format!("{}: connected again", self.name))
            }
            Ok(false) => None,
            Err(error) => {
                let text = crate::report::chain(&error);
                Some(self.lose(&format!("connecting again: {text}")))
            }
        }
    }

    /// Gives the connection up until the back-end is back; the message for the operator.
    pub fn lose(&mut self, why: &str) -> String {
        if let Link::Guest(guest) = &mut self.link {
            guest.disconnect();
        }
        self.down_since = Some(Instant::now());
        format!("{}: {why}", self.name)
    }

    /// Stops the rings in an orderly way.
    pub fn close(self) {
        if let Link::Guest(guest) = self.link {
            guest.close();
        }
    }
}

/// Longest latency that can be told from a longer one, in cycles: minutes.
const LONGEST_LATENCY: u64 = 1 << 40;

/// Has its range from the start: recording must not allocate, and `saturating_record` cuts off what is out of range.
fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_LATENCY, 3).expect("3 significant digits and this range are allowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_latencies_are_recorded_as_they_are() {
        let mut latencies = latencies();
        for cycles in [1_000, 3_000_000, 9_000_000_000] {
            latencies.saturating_record(cycles);
            let seen = latencies.max();
            assert!(seen >= cycles && seen - cycles <= cycles / 500, "{cycles} became {seen}");
        }
    }
}
