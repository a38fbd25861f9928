//! Random frames and random rules: what the switch decides, through whatever cache, is what the plain reference decides;
//! what it rewrites has right checksums and differs only where it should.

use ringswitch_dataplane::flow::grammar::parse_flow;
use ringswitch_dataplane::flow::{Action, Flow};
use ringswitch_dataplane::port::vhost::driver::Piece;
use ringswitch_fuzz::guest::{BUFFERS, Guest, pieces};
use ringswitch_fuzz::switch::Switch;
use ringswitch_fuzz::{Random, frame, reference, run, text};

/// Frames of one burst, and the bytes of a buffer.
const BURST: usize = 8;
const SLOT: u64 = 4096;

/// Flows with these actions, one after the other, of different priorities.
fn flows(random: &mut Random, count: u64, actions: impl Fn(&mut Random, u64) -> String) -> Vec<Flow> {
    let mut flows = Vec::new();
    for nth in 0..count {
        let text = format!("{} actions={}", text::matches(random), actions(random, nth));
        if let Ok(flow) = parse_flow(&text, &()) {
            flows.push(Flow { priority: nth as u16, ..flow });
        }
    }
    flows
}

/// A guest on port 1 sends these frames in pieces of any kind.
fn send(random: &mut Random, guest: &mut Guest, frames: &[Vec<u8>]) {
    for (slot, frame) in frames.iter().enumerate() {
        let bytes = [&vec![0; guest.features.header_len], &frame[..]].concat();
        let address = BUFFERS + slot as u64 * SLOT;
        guest.sends.write(address, &bytes);
        let pieces = pieces(random, address, bytes.len() as u32, false);
        guest.sends.add(&pieces).expect("room");
    }
}

/// Buffers of its own for each frame.
fn post(guest: &mut Guest) {
    for slot in 0..BURST as u64 {
        let piece = Piece { address: BUFFERS + (BURST as u64 + slot) * SLOT, len: SLOT as u32, writable: true };
        guest.receives.add(&[piece]).expect("room");
    }
}

/// The frames that arrived there, whose buffers come in the order in which they were posted.
fn receive(guest: &mut Guest) -> Vec<Vec<u8>> {
    let header = guest.features.header_len;
    let lens: Vec<_> = guest.receives.collect().into_iter().map(|(_, len)| len as usize).collect();
    let at = |slot: usize| BUFFERS + (BURST + slot) as u64 * SLOT;
    lens.iter().enumerate().map(|(slot, &len)| guest.receives.read(at(slot), len).split_off(header)).collect()
}

/// Each flow marks its frames with a MAC of its own, so it shows who decided.
fn decisions(random: &mut Random) {
    let count = 1 + random.below(30);
    let flows = flows(random, count, |_, nth| format!("mod_dl_src:0e:00:00:00:00:{nth:02x},output:2"));
    let frames: Vec<_> = (0..BURST).map(|_| frame::any(random)).filter(|frame| frame.len() <= 3000).collect();
    let mut guests = [Guest::new(random, [0; 8]), Guest::new(random, [0; 8])];
    let mut switch = Switch::new(&[&guests[0], &guests[1]], flows.clone());
    let expected: Vec<Vec<u8>> = frames
        .iter()
        .filter_map(|frame| {
            let flow = reference::decide(&flows, &reference::parse(frame, 1).key)?;
            let [Action::SetDlSrc(mac), ..] = &flow.actions[..] else { unreachable!("our own actions") };
            Some([&frame[..6], mac, &frame[12..]].concat())
        })
        .collect();
    // Twice: walked, then cached.
    for way in ["walked", "cached"] {
        send(random, &mut guests[0], &frames);
        post(&mut guests[1]);
        switch.pass();
        guests[0].sends.collect();
        let got = receive(&mut guests[1]);
        assert_eq!(got.len(), expected.len(), "{way}: flows {flows:?}");
        let differs = got.iter().zip(&expected).find(|(got, expected)| got != expected);
        assert!(differs.is_none(), "{way}: {differs:02x?}, flows {flows:?}");
        // Buffers that are left would shift the next lap's.
        guests[1] = Guest::new(random, [0; 8]);
        switch.attach(1, &guests[1]);
    }
    switch.assert_accounted();
}

/// Good frames stay good whatever is rewritten in them.
fn rewrites(random: &mut Random) {
    // Some fields can be set only where the match says that they are there.
    let actions = format!("{} actions={}", text::protocol(random), text::rewrites(random));
    let Ok(flow) = parse_flow(&format!("{actions},output:2"), &()) else { return };
    let frames: Vec<_> = (0..BURST).map(|_| frame::good(random)).collect();
    frames.iter().for_each(|frame| reference::assert_checksums(frame));
    let mut guests = [Guest::new(random, [0; 8]), Guest::new(random, [0; 8])];
    let mut switch = Switch::new(&[&guests[0], &guests[1]], vec![flow]);
    send(random, &mut guests[0], &frames);
    post(&mut guests[1]);
    switch.pass();
    let got = receive(&mut guests[1]);
    let dropped = switch.totals(0).dropped();
    assert_eq!(got.len() + dropped as usize, frames.len(), "{actions}");
    for frame in &got {
        let checked = std::panic::catch_unwind(|| reference::assert_checksums(frame));
        assert!(checked.is_ok(), "after {actions}: {frame:02x?}");
    }
    switch.assert_accounted();
}

/// Frames that make no sense are rewritten without a panic.
fn damaged(random: &mut Random) {
    let count = 1 + random.below(4);
    let flows = flows(random, count, |random, _| format!("{},output:2", text::rewrites(random)));
    let frames: Vec<_> = (0..BURST).map(|_| frame::any(random)).filter(|frame| frame.len() <= 3000).collect();
    let mut guests = [Guest::new(random, [0; 8]), Guest::new(random, [0; 8])];
    let mut switch = Switch::new(&[&guests[0], &guests[1]], flows);
    send(random, &mut guests[0], &frames);
    post(&mut guests[1]);
    switch.pass();
    switch.assert_accounted();
}

#[test]
fn verdicts_are_those_of_the_reference() {
    run("frames", decisions);
}

#[test]
fn checksums_stay_right() {
    run("frames", rewrites);
}

#[test]
fn damaged_frames_are_rewritten_somehow() {
    run("frames", damaged);
}
