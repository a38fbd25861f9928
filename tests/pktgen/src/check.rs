//! Reads frames back: whole, unharmed, each once, in order.
//!
//! Trust: every byte may be wrong. Neighbours: `frame` says what a right one looks like.

use crate::frame::{MAGIC, TAG, fold, is_pattern, word_sum};

/// A frame's tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Number of the sender.
    pub sender: u8,
    /// Which payload follows.
    pub seed: u16,
    /// Flow.
    pub flow: u32,
    /// Sequence number in the flow.
    pub sequence: u64,
    /// When it was sent, cycles; 0 when not stamped.
    pub time: u64,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One of ours, unharmed.
    Good(Tag),
    /// One of ours, harmed.
    Corrupt,
    /// Not ours.
    Foreign,
}

/// The offset of the IPv4 header, behind up to two VLAN tags.
fn ip_offset(frame: &[u8]) -> Option<usize> {
    let mut at = 12;
    for _ in 0..3 {
        match frame.get(at..at + 2)? {
            [0x08, 0x00] => return Some(at + 2),
            [0x81, 0x00] | [0x88, 0xa8] => at += 4,
            _ => return None,
        }
    }
    None
}

/// The tag of a frame that is ours as far as its headers say, nothing verified.
#[inline]
#[must_use]
pub fn read_tag(frame: &[u8]) -> Option<Tag> {
    let ip = ip_offset(frame)?;
    let tag: &[u8; TAG] = frame.get(ip + 28..ip + 28 + TAG)?.try_into().ok()?;
    if tag[0] != MAGIC || frame[ip] != 0x45 || frame[ip + 9] != 17 {
        return None;
    }
    let number = |from: usize, len: usize| tag[from..from + len].iter().fold(0, |sum, &b| sum << 8 | u64::from(b));
    Some(Tag {
        sender: tag[1],
        seed: number(2, 2) as u16,
        flow: number(4, 4) as u32,
        sequence: number(8, 6),
        time: number(14, 8),
    })
}

/// Judges a frame by its lengths, checksums and payload.
#[must_use]
pub fn judge(frame: &[u8]) -> Verdict {
    let Some(ip) = ip_offset(frame) else { return Verdict::Foreign };
    let Some(tag) = read_tag(frame) else {
        // A harmed tag or header still looks like ours by its addresses.
        let ours = frame.get(ip + 9) == Some(&17) && frame.get(ip + 16..ip + 18) == Some(&[0xc6, 0x12]);
        return if ours { Verdict::Corrupt } else { Verdict::Foreign };
    };
    let packet = &frame[ip..];
    let word = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    let total = word(2);
    if total != packet.len() || word(24) != total - 20 || fold(word_sum(&packet[..20])) != 0xffff {
        return Verdict::Corrupt;
    }
    let pseudo = word_sum(&packet[12..20]) + 17 + (total - 20) as u64;
    let right = word(26) == 0 || fold(pseudo + word_sum(&packet[20..])) == 0xffff;
    if right && is_pattern(tag.seed, &packet[28 + TAG..]) { Verdict::Good(tag) } else { Verdict::Corrupt }
}

/// What a receiver found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Unharmed, for us, for the first time.
    pub good: u64,
    /// Seen before.
    pub duplicate: u64,
    /// Behind a later one of their flow.
    pub reordered: u64,
    /// Harmed.
    pub corrupt: u64,
    /// Ours, but for another receiver.
    pub stray: u64,
    /// Not ours.
    pub foreign: u64,
}

impl Findings {
    /// Adds another receiver's.
    pub fn add(&mut self, other: &Self) {
        self.good += other.good;
        self.duplicate += other.duplicate;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.stray += other.stray;
        self.foreign += other.foreign;
    }
}

/// One flow: the sequence number expected next, and which of the 64 before it were seen (bit 0 the one right before).
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    next: u64,
    seen: u64,
}

/// A receiver's memory of the flows that come to it. Grows with the flow numbers that really arrive in good frames.
#[derive(Debug, Default)]
pub struct Tracker {
    /// By sender: that sender's flows.
    flows: Vec<Vec<Flow>>,
    /// By sender: this receiver's place and the number of receivers in that sender's flows; `None` when it sends us nothing.
    wanted: Vec<Option<(u32, u32)>>,
    /// So far.
    pub findings: Findings,
}

/// More flows than any run has: a frame with a higher number did not come from a sender of ours.
const MAX_FLOWS: u32 = 1 << 24;

impl Tracker {
    /// For a receiver that gets, from each sender by number, the flows whose number modulo the second is the first.
    #[must_use]
    pub fn new(wanted: Vec<Option<(u32, u32)>>) -> Self {
        Self { flows: vec![Vec::new(); wanted.len()], wanted, findings: Findings::default() }
    }

    /// Judges a frame and counts it; the tag of a good one.
    pub fn see(&mut self, frame: &[u8]) -> Option<Tag> {
        let tag = match judge(frame) {
            Verdict::Good(tag) => tag,
            Verdict::Corrupt => {
                self.findings.corrupt += 1;
                return None;
            }
            Verdict::Foreign => {
                self.findings.foreign += 1;
                return None;
            }
        };
        let wanted = self.wanted.get(usize::from(tag.sender)).copied().flatten();
        if tag.flow >= MAX_FLOWS || wanted.is_none_or(|(place, count)| tag.flow % count != place) {
            self.findings.stray += 1;
            return None;
        }
        self.count(tag);
        Some(tag)
    }

    fn count(&mut self, tag: Tag) {
        let flows = &mut self.flows[usize::from(tag.sender)];
        let index = tag.flow as usize;
        if index >= flows.len() {
            flows.resize(index + 1, Flow::default());
        }
        let flow = &mut flows[index];
        if tag.sequence >= flow.next {
            let step = tag.sequence - flow.next + 1;
            flow.seen = if step < 64 { flow.seen << step | 1 } else { 1 };
            flow.next = tag.sequence + 1;
            self.findings.good += 1;
            return;
        }
        // Older than the window: it counts as late, for a second copy that late is less likely.
        let back = flow.next - 1 - tag.sequence;
        let bit = if back < 64 { 1 << back } else { 0 };
        if flow.seen & bit != 0 {
            self.findings.duplicate += 1;
        } else {
            flow.seen |= bit;
            self.findings.good += 1;
            self.findings.reordered += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frames, Stamp, Vary};

    fn frames(vlan: Option<u16>) -> Frames {
        let vary = Vary { src_ip: true, dst_port: true, ..Vary::default() };
        Frames { sender: 1, mac: [2, 0, 0, 0, 0, 1], receivers: vec![(0, [2, 0, 0, 0, 0, 2])], vary, vlan }
    }

    fn tracker() -> Tracker {
        Tracker::new(vec![None, Some((0, 1))])
    }

    fn frame(flow: u32, sequence: u64) -> Vec<u8> {
        frames(None).build(64, 0, Stamp { flow, sequence, time: 0 })
    }

    #[test]
    fn frames_of_any_length_are_read_back() {
        for len in [64, 65, 71, 128, 1514] {
            for vlan in [None, Some(7)] {
                let len = len + if vlan.is_some() { 4 } else { 0 };
                let stamp = Stamp { flow: 70_000, sequence: 0x0000_1234_5678_9abc, time: 0xdead_beef_0000_0001 };
                let frame = frames(vlan).build(len, 17, stamp);
                let Verdict::Good(tag) = judge(&frame) else { panic!("{len} {vlan:?}: {:?}", judge(&frame)) };
                assert_eq!((tag.sender, tag.seed, tag.flow), (1, 17, 70_000));
                assert_eq!((tag.sequence, tag.time), (stamp.sequence, stamp.time));
            }
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_behind_the_addresses_is_noticed() {
        let good = frames(None).build(90, 3, Stamp { flow: 5, sequence: 9, time: 0 });
        for at in 14..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(!matches!(judge(&bad), Verdict::Good(_)), "byte {at}");
        }
        assert_eq!(judge(&good[..80]), Verdict::Corrupt, "cut off");
    }

    #[test]
    fn losses_copies_and_late_frames_are_told_apart() {
        let mut tracker = tracker();
        for sequence in [0, 1, 4, 3, 3, 5, 200, 5] {
            tracker.see(&frame(8, sequence));
        }
        tracker.see(&frame(9, 0));
        // 5 again comes 195 behind 200, outside the window: late, not a copy.
        assert_eq!(tracker.findings, Findings { good: 8, duplicate: 1, reordered: 2, ..Findings::default() });
    }

    #[test]
    fn frames_for_others_are_strays() {
        let mut tracker = Tracker::new(vec![None, Some((1, 2))]);
        tracker.see(&frame(0, 0));
        tracker.see(&frame(1, 0));
        assert_eq!((tracker.findings.stray, tracker.findings.good), (1, 1));
        tracker.see(&frames(None).announcement([2; 6]));
        assert_eq!(tracker.findings.foreign, 1);
    }
}
