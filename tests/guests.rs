//! Guests of every kind through the real daemon: what one sends, the other receives, byte for byte; what cannot be
//! delivered is counted with a reason; and a guest that breaks the rules hurts itself only.

mod common;

use common::guests::{HonestPair, assert_receives, drain, frame, mac, open, send};
use common::hosts::is_root;
use common::{BRIDGE, Daemon, alone, config, eventually, wire, with_two_workers};
use rspktgen::guest::{Guest, Mode};
use rspktgen::hostile::Kind;

/// Options of a guest as on rspktgen's command line. Without `mrg` a frame has to fit into `rx_buf`.
const KINDS: &[&str] = &[
    "rx_buf=9300",
    "rx_buf=1536",
    "legacy,rx_buf=9300",
    "legacy,mrg",
    "mrg",
    "mrg,rx_buf=128",
    "in_order,rx_buf=9300,shape=chain",
    "event_idx,rx_buf=9300,shape=indirect",
    "in_order,event_idx,mrg,queues=2,mode=server",
    "packed,rx_buf=9300",
    "packed,rx_buf=1536,shape=chain",
    "packed,mrg,shape=indirect",
    "packed,mrg,rx_buf=128",
    "packed,in_order,mrg",
    "packed,event_idx,rx_buf=9300,mode=server",
    "packed,in_order,event_idx,mrg,queues=2,size=1024",
];

/// Around each boundary: the shortest frame, cache lines, whole or in two parts, one small buffer or two, the MTUs.
const SIZES: &[usize] = &[14, 59, 60, 64, 65, 116, 117, 127, 128, 129, 244, 511, 512, 513, 1514, 1518];
const JUMBOS: &[usize] = &[1537, 9014, 9216];

fn port(kind: usize) -> String {
    format!("vm{}", kind + 1)
}

fn number(kind: usize) -> u8 {
    kind as u8 + 1
}

/// A daemon with a port for a guest of each kind, where every guest reaches every guest, itself too, by address.
fn daemon_of_all_kinds(workers: fn(&str) -> String) -> (Daemon, Vec<Guest>) {
    let mut flows = vec!["priority=30,dl_dst=ff:ff:ff:ff:ff:ff actions=flood".to_owned()];
    for kind in 0..KINDS.len() {
        let number = number(kind);
        flows.push(format!("priority=20,in_port={number},dl_dst=02:00:00:00:00:{number:02x} actions=in_port"));
        flows.push(format!("priority=10,dl_dst=02:00:00:00:00:{number:02x} actions=output:{number}"));
    }
    let mode = |options: &str| if options.contains("mode=server") { "client" } else { "server" };
    let ports: Vec<_> = (0..KINDS.len())
        .map(|kind| {
            (port(kind), format!("queues = 2\nofport_request = {}\nmode = \"{}\"", number(kind), mode(KINDS[kind])))
        })
        .collect();
    let ports: Vec<_> = ports.iter().map(|(name, more)| (name.as_str(), more.as_str())).collect();
    let daemon = Daemon::start(&workers(&config(&ports, &flows)));
    let guests: Vec<_> =
        KINDS.iter().enumerate().map(|(kind, options)| open(&daemon.path(&port(kind)), options)).collect();
    for (kind, guest) in guests.iter().enumerate() {
        let client = guest.config().mode == Mode::Server;
        eventually(&format!("{} is up ({client})", port(kind)), || daemon.link(&port(kind)).0);
    }
    (daemon, guests)
}

/// True when the guest can receive such a frame.
fn fits(guest: &Guest, len: usize) -> bool {
    guest.config().mrg || len <= guest.config().rx_buf as usize
}

#[test]
fn every_kind_of_guest_hears_every_other_byte_for_byte() {
    every_kind_hears_every_other(str::to_owned);
}

#[test]
fn two_workers_carry_the_same() {
    every_kind_hears_every_other(with_two_workers);
}

fn every_kind_hears_every_other(workers: fn(&str) -> String) {
    let _alone = alone();
    let (daemon, mut guests) = daemon_of_all_kinds(workers);
    let mut too_large = vec![0; KINDS.len()];
    for from in 0..KINDS.len() {
        for to in 0..KINDS.len() {
            let who = format!("{} to {}", KINDS[from], KINDS[to]);
            for queue in 0..usize::from(guests[from].config().queues) {
                for (nth, part) in [SIZES, JUMBOS].into_iter().enumerate() {
                    let make = |&len: &usize| frame(mac(number(from)), mac(number(to)), len, len + nth + queue);
                    let frames: Vec<_> = part.iter().map(make).collect();
                    frames.iter().for_each(|frame| send(&mut guests[from], queue, frame));
                    let sent = frames.len();
                    let frames: Vec<_> = frames.into_iter().filter(|frame| fits(&guests[to], frame.len())).collect();
                    assert_receives(&who, &mut guests[to], &frames);
                    too_large[to] += sent - frames.len();
                }
            }
        }
    }
    for from in 0..KINDS.len() {
        let call = frame(mac(number(from)), [0xff; 6], 300, from);
        send(&mut guests[from], 0, &call);
        for to in (0..KINDS.len()).filter(|&to| to != from) {
            let who = format!("{} to all, {}", KINDS[from], KINDS[to]);
            assert_receives(&who, &mut guests[to], std::slice::from_ref(&call));
        }
    }
    daemon.assert_balanced();
    let totals = daemon.totals();
    for (kind, &count) in too_large.iter().enumerate() {
        assert_eq!(totals.drops(&port(kind), "tx_too_large"), count as u64, "{}", KINDS[kind]);
    }
    // The bridge's own port is open as root only; the floods reach it too.
    let calls = if is_root() { KINDS.len() as u64 } else { 0 };
    assert_eq!(totals.of(BRIDGE, "tx_packets"), calls, "frames for the host");
    assert_eq!(totals.all_drops(), too_large.iter().sum::<usize>() as u64);
    // A guest that leaves in good order has got all its buffers back.
    guests.into_iter().for_each(Guest::close);
}

#[test]
fn what_is_not_delivered_is_counted_with_its_reason() {
    let _alone = alone();
    let flows = [
        "priority=9,udp actions=drop",
        "priority=8,dl_dst=02:00:00:00:00:02 actions=output:2",
        "priority=8,dl_dst=02:00:00:00:00:03 actions=output:3",
        "priority=8,dl_dst=02:00:00:00:00:01 actions=output:1",
    ];
    let flows = flows.map(str::to_owned);
    let daemon = Daemon::start(&config(&[("vm1", ""), ("vm2", ""), ("vm3", "")], &flows));
    for options in ["size=128", "packed,size=128"] {
        let mut one = open(&daemon.path("vm1"), options);
        let mut two = open(&daemon.path("vm2"), options);
        let before = daemon.totals();
        let to = |to: u8, len| frame(mac(1), mac(to), len, 1);
        let mut udp = to(2, 100);
        udp[23] = 17;
        let cases = [
            ("vm1", "rx_runt", to(2, 13)),
            ("vm1", "rx_giant", to(2, 9217)),
            ("vm1", "no_rule", to(9, 100)),
            ("vm1", "rule_drop", udp),
            ("vm1", "output_to_ingress", to(1, 100)),
            ("vm2", "tx_too_large", to(2, 1537)),
            ("vm3", "tx_down", to(3, 100)),
        ];
        for (_, _, frame) in &cases {
            for _ in 0..5 {
                send(&mut one, 0, frame);
            }
        }
        // Nobody takes them: the ring is full at some time, and the rest is dropped.
        for seed in 0..1000 {
            send(&mut one, 0, &frame(mac(1), mac(2), 200, seed));
        }
        let all = before.of("vm1", "rx_packets") + 5 * cases.len() as u64 + 1000;
        eventually("the switch has seen all", || daemon.totals().of("vm1", "rx_packets") == all);
        assert_eq!(drain(&mut two), 128, "{options}: frames in a ring of 128");
        daemon.assert_balanced();
        let after = daemon.totals();
        for (port, reason, _) in &cases {
            let grown = after.drops(port, reason) - before.drops(port, reason);
            assert_eq!(grown, 5, "{options}: {reason} of {port}: {:#?}", after.0);
        }
        assert_eq!(after.drops("vm2", "tx_full") - before.drops("vm2", "tx_full"), 1000 - 128, "{options}");
        let shown = daemon.ok(&["dump-ports", BRIDGE]);
        for (_, reason, _) in &cases {
            assert!(shown.contains(&format!("{reason}=")), "{reason} is not in {shown}");
        }
    }
}

/// Whoever listens, the switch or the guest: both find each other again, and nothing old is in the way.
#[test]
fn guests_meet_a_killed_switch_again() {
    let _alone = alone();
    let ports = ["vm1", "vm2", "vm3", "vm4"];
    let modes = ["", "mode = \"client\"", "", "mode = \"client\""];
    let mut flows = wire();
    flows.extend(["in_port=3 actions=output:4".to_owned(), "in_port=4 actions=output:3".to_owned()]);
    let mut daemon = Daemon::start(&config(&std::array::from_fn::<_, 4, _>(|at| (ports[at], modes[at])), &flows));
    let kinds = ["in_order", "mode=server,mrg", "packed,event_idx", "packed,mode=server,in_order"];
    let mut guests = std::array::from_fn::<_, 4, _>(|at| open(&daemon.path(ports[at]), kinds[at]));
    for signal in ["-KILL", "-TERM", "-KILL", "-TERM"] {
        for (from, to) in [(0, 1), (1, 0), (2, 3), (3, 2)] {
            eventually("the receiver is up", || daemon.link(ports[to]).0);
            let frames: Vec<_> = SIZES.iter().map(|&len| frame(mac(1), mac(2), len, len)).collect();
            frames.iter().for_each(|frame| send(&mut guests[from], 0, frame));
            assert_receives(kinds[to], &mut guests[to], &frames);
        }
        daemon.assert_balanced();
        // It goes with frames in every ring.
        for guest in &mut guests {
            (0..100).for_each(|seed| drop(guest.send(0, &frame(mac(1), mac(2), 200, seed))));
        }
        daemon.end(signal);
        for (guest, port) in guests.iter().zip(ports) {
            eventually(&format!("{port} notices"), || !guest.is_connected());
        }
        daemon.start_again();
        for (guest, port) in guests.iter_mut().zip(ports) {
            let again = || guest.try_reconnect().unwrap_or_else(|error| panic!("{port}: {error}"));
            eventually(&format!("{port} is back"), again);
        }
    }
}

#[test]
fn a_guest_that_floods_costs_others_nothing() {
    let _alone = alone();
    let mut flows = wire();
    flows.push("in_port=3 actions=output:4,output:5,in_port".to_owned());
    let ports = ["vm1", "vm2", "vm3", "vm4", "vm5"].map(|port| (port, ""));
    let daemon = Daemon::start(&with_two_workers(&config(&ports, &flows)));
    let [one, two, mut flooder, _deaf] =
        [("vm1", "packed"), ("vm2", "mrg"), ("vm3", "in_order"), ("vm4", "packed,rx_buf=128,mrg")]
            .map(|(port, options)| open(&daemon.path(port), options));
    let pair = HonestPair::start([one, two]);
    let sent = 50_000;
    for seed in 0..sent {
        send(&mut flooder, 0, &frame(mac(3), [0xff; 6], 60 + seed % 1400, seed));
    }
    pair.talks(10);
    pair.stop();
    daemon.assert_balanced();
    let totals = daemon.totals();
    assert_eq!(totals.of("vm3", "rx_packets"), sent as u64);
    assert_eq!(totals.of("vm3", "copies"), 2 * sent as u64);
    assert_eq!(totals.drops("vm5", "tx_down"), sent as u64, "nobody is there");
    for port in ["vm3", "vm4"] {
        let (arrived, dropped) = (totals.of(port, "tx_packets"), totals.drops(port, "tx_full"));
        assert!(arrived > 0 && dropped > 0 && arrived + dropped == sent as u64, "{port}: {:#?}", totals.0);
    }
    assert_eq!(totals.drops("vm1", "tx_full") + totals.drops("vm2", "tx_full"), 0);
}

#[test]
fn a_guest_that_comes_and_goes_takes_nobodys_cache() {
    let _alone = alone();
    // Too many rules to compare with one by one, with several masks: what a walk through them found is remembered.
    let mut flows: Vec<_> = (0..40)
        .map(|bit| format!("priority=9,ip,nw_src=198.51.100.{bit},nw_dst=203.0.113.0/{} actions=drop", 24 + bit % 8))
        .collect();
    flows.push("actions=NORMAL".to_owned());
    let ports = ["vm1", "vm2", "vm3"].map(|port| (port, ""));
    let daemon = Daemon::start(&config(&ports, &flows));
    let pair = HonestPair::start(["vm1", "vm2"].map(|port| open(&daemon.path(port), "")));
    pair.talks(20);
    let walks = daemon.of_queues("walks");
    assert!(walks > 0 && daemon.of_queues("cache_hits") > walks);
    let link = || daemon.ok(&["get", "interface", "vm3", "link_state"]);
    for _ in 0..3 {
        let restless = open(&daemon.path("vm3"), "");
        eventually("its link is up", || link() == "up\n");
        drop(restless);
        eventually("its link is down", || link() == "down\n");
        pair.talks(5);
    }
    assert_eq!(daemon.of_queues("walks"), walks);
    // Where somebody looks at its link, what is remembered must go.
    daemon.ok(&["add-group", BRIDGE, "group_id=1,type=ff,bucket=watch_port:3,output:3,bucket=watch_port:1,output:1"]);
    pair.talks(5);
    let walks = daemon.of_queues("walks");
    let _restless = open(&daemon.path("vm3"), "");
    eventually("its link is up", || link() == "up\n");
    pair.talks(5);
    assert!(daemon.of_queues("walks") > walks);
    pair.stop();
}

/// What a switch does about a guest's misdeed.
enum Answer {
    /// The port is down until the guest starts again, for a reason with these words.
    Fault(&'static str),
    /// A frame is dropped.
    Drop(&'static str),
    /// Whatever it takes the noise for.
    Any,
}

fn answer(kind: Kind, packed: bool) -> Answer {
    match kind {
        Kind::Loop => Answer::Fault("descriptor chain loops or is longer than the ring"),
        Kind::Outside | Kind::Wrap | Kind::Huge => Answer::Fault("buffer outside the guest's memory"),
        Kind::Direction => Answer::Fault("descriptor with the wrong direction"),
        Kind::Index if packed => Answer::Fault("buffer id outside the ring"),
        Kind::Index => Answer::Fault("available index jumped by more than the ring holds"),
        // Most of it does not look available.
        Kind::Garbage if packed => Answer::Any,
        Kind::Garbage => Answer::Fault(""),
        Kind::Indirect => Answer::Fault("indirect descriptor where none may be"),
        Kind::Truncate => Answer::Fault("guest memory was truncated while mapped"),
        Kind::Zero | Kind::Runt => Answer::Drop("rx_runt"),
    }
}

#[test]
fn a_hostile_guest_hurts_itself_only() {
    let _alone = alone();
    let mut flows = wire();
    flows.push("in_port=3 actions=in_port".to_owned());
    let mut daemon = Daemon::start(&config(&[("vm1", ""), ("vm2", ""), ("vm3", "")], &flows));
    let mut honest = ["in_order", "packed"];
    for options in ["", "packed"] {
        let pair = ["vm1", "vm2"].map(|port| daemon.path(port));
        let pair = HonestPair::start([open(&pair[0], honest[0]), open(&pair[1], honest[1])]);
        for &kind in Kind::ALL {
            let what = format!("{} {options}", kind.name());
            let mut guest = open(&daemon.path("vm3"), options);
            eventually("the guest is up", || daemon.link("vm3").0);
            talks_to_itself(&what, &mut guest);
            pair.talks(2);
            let (before, logged) = (daemon.totals(), daemon.log().len());
            guest.misbehave(0, kind).expect("a file can be truncated");
            match answer(kind, options == "packed") {
                Answer::Fault(why) => assert_faulted(&daemon, &what, why, logged),
                Answer::Drop(reason) => eventually(&format!("{what}: {reason}"), || {
                    daemon.totals().drops("vm3", reason) > before.drops("vm3", reason)
                }),
                Answer::Any => {}
            }
            pair.talks(2);
            assert!(daemon.is_alive(), "{what}: the daemon is gone");
            drop(guest);
            let mut guest = open(&daemon.path("vm3"), options);
            talks_to_itself(&what, &mut guest);
            guest.close();
            eventually("the port is down", || !daemon.link("vm3").0);
        }
        pair.stop();
        honest.reverse();
    }
    daemon.assert_balanced();
}

/// The operator sees that the port is down and why, and reads it in the log, once.
fn assert_faulted(daemon: &Daemon, what: &str, why: &str, logged: usize) {
    let mut link = (true, String::new());
    eventually(&format!("{what}: the port is faulted"), || {
        link = daemon.link("vm3");
        !link.0
    });
    assert!(link.1.contains(why), "{what}: {}", link.1);
    let error = daemon.json(&["get", "interface", "vm3", "error"]);
    assert_eq!(error["error"], link.1.as_str(), "{what}");
    let log = daemon.log()[logged..].to_owned();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("faulted")).collect();
    assert_eq!(lines.len(), 1, "{what}: {log}");
    assert!(lines[0].ends_with(&format!("faulted: {} port=vm3", link.1)), "{what}: {}", lines[0]);
}

/// What port 3 sends comes back to it.
fn talks_to_itself(what: &str, guest: &mut Guest) {
    let frames: Vec<_> = [60, 600].iter().map(|&len| frame(mac(3), mac(4), len, len)).collect();
    frames.iter().for_each(|frame| send(guest, 0, frame));
    assert_receives(what, guest, &frames);
}
