//! A guest that breaks every rule between two that keep them: no byte of theirs changes or gets lost, none of theirs
//! reaches it but frames, and every packet is accounted for.

use std::collections::VecDeque;

use ringswitch_dataplane::flow::grammar;
use ringswitch_dataplane::port::vhost::driver::Piece;
use ringswitch_fuzz::guest::{BUFFER_BYTES, BUFFERS, Guest, pieces};
use ringswitch_fuzz::switch::Switch;
use ringswitch_fuzz::words::{Hostile, Scribbler};
use ringswitch_fuzz::{Random, run};

const FLOWS: [&str; 3] = [
    "in_port=1 actions=mod_dl_src:02:00:00:00:00:01,mod_vlan_vid:5,output:2,output:3,in_port",
    "in_port=2 actions=output:3,output:1",
    "in_port=3 actions=output:2,output:1",
];
/// What honest guests have in memory that is not a frame.
const SECRETS: [[u8; 8]; 3] = [*b"hostile\0", *b"seCr3t-2", *b"seCr3t-3"];
/// Buffers to receive into, and as many to send from behind them.
const SLOTS: u64 = 16;
const SLOT: u64 = 2048;

/// A guest that keeps the rules.
struct Honest {
    guest: Guest,
    number: u8,
    /// Slots that hold a frame on its way, in order; buffers to receive into, by id.
    sent: VecDeque<u64>,
    posted: Vec<Option<Vec<Piece>>>,
}

impl Honest {
    fn new(random: &mut Random, number: u8) -> Self {
        let guest = Guest::new(random, SECRETS[usize::from(number) - 1]);
        let mut honest = Self { guest, number, sent: VecDeque::new(), posted: vec![None; 256] };
        (0..SLOTS).for_each(|slot| honest.post(random, slot));
        honest
    }

    fn post(&mut self, random: &mut Random, slot: u64) {
        let pieces = if random.once_in(2) {
            vec![Piece { address: BUFFERS + slot * SLOT, len: SLOT as u32, writable: true }]
        } else {
            pieces(random, BUFFERS + slot * SLOT, SLOT as u32, true)
        };
        if let Some(id) = self.guest.receives.add(&pieces) {
            self.posted[usize::from(id)] = Some(pieces);
        }
    }

    /// Sends a few frames and returns them.
    fn send(&mut self, random: &mut Random) -> Vec<Vec<u8>> {
        let back = self.guest.sends.collect().len();
        self.sent.drain(..back);
        let mut frames = Vec::new();
        for _ in 0..random.below(4) {
            let free = (SLOTS..2 * SLOTS).find(|slot| !self.sent.contains(slot));
            let Some(slot) = free else { break };
            let mut frame = random.bytes(14 + random.clone().index(1500));
            frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, self.number, 8, 0]);
            let (address, header) = (BUFFERS + slot * SLOT, vec![0; self.guest.features.header_len]);
            let bytes = [header, frame.clone()].concat();
            self.guest.sends.write(address, &bytes);
            let pieces = pieces(random, address, bytes.len() as u32, false);
            if self.guest.sends.add(&pieces).is_none() {
                break;
            }
            self.sent.push_back(slot);
            frames.push(frame);
        }
        frames
    }

    /// The frames that arrived; their buffers are posted again.
    fn receive(&mut self, random: &mut Random) -> Vec<Vec<u8>> {
        let back = self.guest.receives.collect();
        // All at once: ids are used again as soon as buffers are posted.
        let buffers: Vec<_> =
            back.into_iter().map(|(id, len)| (self.posted[usize::from(id)].take().expect("posted"), len)).collect();
        let (mut frames, mut more) = (Vec::<Vec<u8>>::new(), 0);
        for (pieces, len) in buffers {
            assert!(u64::from(len) <= SLOT, "more was written than there is room");
            let mut bytes = self.guest.receives.read(pieces[0].address, len as usize);
            self.post(random, (pieces[0].address - BUFFERS) / SLOT);
            if more > 0 {
                frames.last_mut().expect("its beginning").append(&mut bytes);
                more -= 1;
                continue;
            }
            if self.guest.features.mergeable {
                more = u16::from_le_bytes([bytes[10], bytes[11]]) - 1;
            }
            frames.push(bytes.split_off(self.guest.features.header_len));
        }
        assert_eq!(more, 0, "the rest of a frame");
        frames
    }

    /// Nothing but buffers changed.
    fn assert_untouched(&self) {
        let rest = self.guest.sends.read(BUFFERS + 2 * SLOTS * SLOT, (BUFFER_BYTES - 2 * SLOTS * SLOT) as usize);
        let secret = SECRETS[usize::from(self.number) - 1];
        assert!(rest.chunks(8).all(|chunk| chunk == secret), "memory that was never given to the switch changed");
        assert_eq!(self.guest.fault.kind(), None, "an honest guest was blamed");
        self.guest.assert_fences();
    }
}

/// `arrived` has, of all frames with this source address, only such as were sent and have not arrived yet, in order: some
/// may have been dropped.
fn assert_in_order(from: u8, arrived: &[Vec<u8>], sent: &mut VecDeque<Vec<u8>>) {
    for frame in arrived.iter().filter(|frame| frame[6..12] == [2, 0, 0, 0, 0, from]) {
        let place = sent.iter().position(|other| other == frame);
        let place = place.unwrap_or_else(|| panic!("guest {from} never sent these {} bytes", frame.len()));
        sent.drain(..=place);
    }
}

fn case(random: &mut Random) {
    let mut attacker = Guest::new(random, SECRETS[0]);
    let mut honest = [Honest::new(random, 2), Honest::new(random, 3)];
    let mut rings = Hostile::rings(&attacker);
    let words = attacker.ring_words();
    let flows = FLOWS.map(|flow| grammar::parse_flow(flow, &()).expect("a flow"));
    let mut switch = Switch::new(&[&attacker, &honest[0].guest, &honest[1].guest], flows.to_vec());
    let scribbler = random.once_in(8).then(|| Scribbler::start(random.clone(), attacker.ring_words()));
    let mut on_the_way = [VecDeque::new(), VecDeque::new()];
    for _ in 0..20 + random.below(60) {
        for _ in 0..random.below(6) {
            rings[0].act(random, &mut attacker.sends, &words);
            rings[1].act(random, &mut attacker.receives, &words);
        }
        for (guest, sent) in honest.iter_mut().zip(&mut on_the_way) {
            sent.extend(guest.send(random));
        }
        switch.pass();
        let [two, three] = &mut honest;
        assert_in_order(2, &three.receive(random), &mut on_the_way[0]);
        assert_in_order(3, &two.receive(random), &mut on_the_way[1]);
        if attacker.fault.take().is_some() || random.once_in(30) {
            switch.reopen(0);
        }
        if random.once_in(30) {
            switch.reopen(1);
        }
    }
    drop(scribbler);
    switch.assert_accounted();
    attacker.assert_fences();
    for guest in &honest {
        guest.assert_untouched();
        attacker.assert_knows_nothing("the attacker", SECRETS[usize::from(guest.number) - 1]);
        guest.guest.assert_knows_nothing("an honest guest", SECRETS[4 - usize::from(guest.number)]);
    }
}

#[test]
fn a_hostile_guest_between_honest_ones() {
    run("rings", case);
}
