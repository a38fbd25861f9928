//! AF_XDP ports on real veth pairs: the port on `v0`, the far end of the wire on `p0`.

mod netns;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use netns::{Bench, batch_of, bytes_of, collect, frame, inject, inside, sh};
use ringswitch_dataplane::packet::{DropReason, PacketBatch};
use ringswitch_dataplane::port::PortEvent;
use ringswitch_dataplane::port::xdp::{PassFilter, XdpError, XdpMode, XdpOptions, XdpPort};
use ringswitch_dataplane::sys::affinity::{allowed_cpus, pin_to_cpu};
use ringswitch_dataplane::sys::packet_socket::PacketSocket;

const PAIR: &str = "ip link add v0 type veth peer name p0
    ip link set v0 up
    ip link set p0 up";
const JUMBO_PAIR: &str = "ip link add v0 mtu 9000 type veth peer name p0 mtu 9000
    ip link set v0 up
    ip link set p0 up";
const TWO_QUEUES: &str = "ip link add v0 numrxqueues 2 numtxqueues 2 type veth peer name p0 numrxqueues 2 numtxqueues 2
    ip link set v0 up
    ip link set p0 up";

fn open(bench: &Bench, options: XdpOptions) -> XdpPort {
    XdpPort::open(options, bench.context.clone()).expect("the port opens")
}

fn options(mode: XdpMode) -> XdpOptions {
    XdpOptions { mode, ..XdpOptions::new("v0") }
}

fn far_end() -> PacketSocket {
    PacketSocket::open("p0").expect("packet socket on p0")
}

fn there_and_back(bench: &Bench, sizes: &[usize]) {
    let far = far_end();
    let frames: Vec<_> = sizes.iter().enumerate().map(|(seed, &len)| frame(len, seed)).collect();
    frames.iter().for_each(|frame| inject(&far, frame));
    assert_eq!(bench.receive(0, frames.len()), frames, "wire to switch");
    assert_eq!(bench.send(0, &frames), frames.len());
    assert_eq!(collect(&far, frames.len()), frames, "switch to wire");
}

/// Around each boundary: whole and split, one frame of the UMEM and several.
const SIZES: &[usize] = &[60, 64, 127, 128, 129, 511, 512, 513, 1000, 1514];
const JUMBO_SIZES: &[usize] = &[60, 1514, 3500, 3839, 3840, 3841, 4096, 7679, 7680, 7681, 8999, 9014];

#[test]
fn native_mode_carries_frames_both_ways() {
    if !inside("native_mode_carries_frames_both_ways", PAIR) {
        return;
    }
    let bench = Bench::new(4);
    let port = open(&bench, options(XdpMode::Native));
    assert_eq!(port.status().text, "native XDP, copy, 1 queue");
    assert_eq!(bench.next_event(), PortEvent::Up("native XDP, copy, 1 queue".into()));
    there_and_back(&bench, SIZES);
    port.close();
    assert_eq!(bench.tx.active_count(), 0);
    assert!(!sh("ip link show v0").contains("xdp"), "the program is detached");
}

#[test]
fn generic_mode_carries_frames_both_ways() {
    if !inside("generic_mode_carries_frames_both_ways", PAIR) {
        return;
    }
    let bench = Bench::new(1);
    let port = open(&bench, options(XdpMode::Generic));
    assert_eq!(port.status().text, "generic XDP, copy, 1 queue");
    there_and_back(&bench, SIZES);
}

#[test]
fn jumbo_frames_arrive_byte_for_byte() {
    if !inside("jumbo_frames_arrive_byte_for_byte", JUMBO_PAIR) {
        return;
    }
    for mode in [XdpMode::Native, XdpMode::Generic] {
        let bench = Bench::new(1);
        let port = open(&bench, options(mode));
        assert_eq!(port.status().mtu, 9000);
        there_and_back(&bench, JUMBO_SIZES);
        for _ in 0..100 {
            there_and_back(&bench, &[9014; 32]);
        }
        assert_eq!(port.status().counters.invalid_descs, 0);
    }
}

#[test]
fn the_tail_of_a_received_frame_goes_out_again() {
    if !inside("the_tail_of_a_received_frame_goes_out_again", JUMBO_PAIR) {
        return;
    }
    let bench = Bench::new(1);
    let _port = open(&bench, options(XdpMode::Auto));
    let far = far_end();
    let frames: Vec<_> = [600, 1514, 5000, 9014].iter().map(|&len| frame(len, len)).collect();
    frames.iter().for_each(|frame| inject(&far, frame));
    let (mut batch, start, mut sent) = (PacketBatch::new(), Instant::now(), 0);
    while sent < frames.len() && start.elapsed() < Duration::from_secs(2) {
        bench.poll(0, &mut batch, |batch| {
            let mut list = ringswitch_dataplane::packet::TxList::new();
            (0..batch.len()).for_each(|id| assert!(list.push(id)));
            assert!(batch.packets().iter().all(|packet| !packet.tail().is_empty()));
            bench.tx.with(0, |tx| {
                sent += tx.tx_batch(batch, &mut list);
                tx.flush();
            });
        });
    }
    assert_eq!(collect(&far, frames.len()), frames);
}

#[test]
fn two_queues_both_carry_frames() {
    if !inside("two_queues_both_carry_frames", TWO_QUEUES) {
        return;
    }
    let bench = Bench::new(2);
    let port = open(&bench, options(XdpMode::Auto));
    assert_eq!(port.status().text, "native XDP, copy, 2 queues");
    assert_eq!(bench.tx.active_count(), 2);
    let far = far_end();
    // The kernel chooses a queue by flow: UDP from many ports.
    let flows: Vec<_> = (0..=199)
        .map(|port| {
            let mut frame = frame(200, 0);
            frame[12..14].copy_from_slice(&[0x08, 0x00]);
            frame[14..24].copy_from_slice(&[0x45, 0, 0, 186, 0, 0, 0, 0, 64, 17]);
            frame[34..40].copy_from_slice(&[0x40, port, 0, 53, 0, 166]);
            frame
        })
        .collect();
    flows.iter().for_each(|frame| inject(&far, frame));
    let mut received = [bench.receive(0, 200), bench.receive(1, 200)];
    assert!(received.iter().all(|frames| !frames.is_empty()), "both queues get some");
    for (queue, frames) in received.iter().enumerate() {
        assert_eq!(bench.send(queue, frames), frames.len());
        assert_eq!(collect(&far, frames.len()), *frames);
    }
    let mut all: Vec<_> = received.iter_mut().flat_map(std::mem::take).collect();
    all.sort();
    assert!(all == flows, "every frame, each once");
}

#[test]
fn the_pass_filter_leaves_frames_to_the_kernel() {
    if !inside("the_pass_filter_leaves_frames_to_the_kernel", PAIR) {
        return;
    }
    let pass: Vec<PassFilter> = ["arp", "dl_type=0x88cc", "tcp:22", "dl_dst=02:00:00:00:00:aa"]
        .iter()
        .map(|text| text.parse().expect("a filter"))
        .collect();
    let with_type = |dl_type: [u8; 2]| {
        let mut frame = frame(80, 1);
        frame[12..14].copy_from_slice(&dl_type);
        frame
    };
    let ip = |nw_proto: u8, tp_dst: u8| {
        let mut frame = with_type([0x08, 0x00]);
        frame[14..24].copy_from_slice(&[0x45, 0, 0, 66, 0, 0, 0, 0, 64, nw_proto]);
        frame[34..38].copy_from_slice(&[0x12, 0x34, 0, tp_dst]);
        frame
    };
    let fragment = |mut frame: Vec<u8>| {
        frame[20..22].copy_from_slice(&[0, 9]);
        frame
    };
    let to_host = |mut frame: Vec<u8>| {
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 0xaa]);
        frame
    };
    let tagged = |mut frame: Vec<u8>| {
        frame.splice(12..12, [0x81, 0, 0, 5]);
        frame
    };
    let kept = [with_type([8, 6]), with_type([0x88, 0xcc]), ip(6, 22), to_host(ip(6, 80)), tagged(ip(6, 22))];
    let taken = [ip(6, 23), ip(17, 22), fragment(ip(6, 22)), frame(60, 3), tagged(ip(6, 80))];

    for mode in [XdpMode::Native, XdpMode::Generic] {
        let bench = Bench::new(1);
        let _port = open(&bench, XdpOptions { pass: pass.clone(), ..options(mode) });
        let (far, kernel) = (far_end(), PacketSocket::open("v0").expect("packet socket on v0"));
        kept.iter().chain(&taken).for_each(|frame| inject(&far, frame));
        assert_eq!(bench.receive(0, taken.len()), taken, "{mode:?}");
        assert!(bench.receive(0, 1).is_empty());
        // The kernel takes the tag out of what it gives to a raw socket.
        let seen = collect(&kernel, kept.len());
        assert_eq!(seen[..4], kept[..4], "{mode:?}");
        assert_eq!(seen.len(), kept.len(), "{mode:?}");
    }
}

#[test]
fn a_killed_process_leaves_no_program_behind() {
    const HOLD: &str = "RINGSWITCH_TEST_HOLD";
    const NAME: &str = "a_killed_process_leaves_no_program_behind";
    if !inside(NAME, PAIR) {
        return;
    }
    if std::env::var_os(HOLD).is_some() {
        let bench = Bench::new(1);
        let _port = open(&bench, options(XdpMode::Auto));
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let mut holder = Command::new(std::env::current_exe().expect("a binary"))
        .args(["--exact", NAME])
        .env(HOLD, "1")
        .stdout(Stdio::null())
        .spawn()
        .expect("the test starts itself");
    let within = |limit: Duration, is_attached: bool| {
        let start = Instant::now();
        while sh("ip link show v0").contains("xdp") != is_attached {
            assert!(start.elapsed() < limit, "attached should be {is_attached}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    within(Duration::from_secs(10), true);
    let refused = XdpPort::open(options(XdpMode::Auto), Bench::new(1).context);
    assert!(matches!(refused, Err(XdpError::Attach { .. })), "another process has the netdev");
    holder.kill().expect("SIGKILL");
    holder.wait().expect("it dies");
    within(Duration::from_secs(1), false);
    let bench = Bench::new(1);
    let _port = open(&bench, options(XdpMode::Auto));
    there_and_back(&bench, SIZES);
}

#[test]
fn the_netdev_may_vanish_and_come_back_under_traffic() {
    if !inside("the_netdev_may_vanish_and_come_back_under_traffic", PAIR) {
        return;
    }
    let bench = Bench::new(1);
    let port = open(&bench, options(XdpMode::Auto));
    let up = PortEvent::Up("native XDP, copy, 1 queue".into());
    assert_eq!(bench.next_event(), up);
    for _ in 0..3 {
        std::thread::scope(|scope| {
            let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
            let bench = &bench;
            let far = far_end();
            scope.spawn(move || {
                // The far end vanishes too: from then on sending fails.
                while stopped.try_recv() == Err(crossbeam_channel::TryRecvError::Empty) {
                    let _ = far.send(&frame(300, 1));
                    bench.poll(0, &mut PacketBatch::new(), |_| ());
                    bench.send(0, &[frame(300, 2)]);
                }
            });
            std::thread::sleep(Duration::from_millis(50));
            sh("ip link del v0");
            // It goes down first, which may be seen.
            let gone = PortEvent::Down("netdev v0 is gone".into());
            while bench.next_event() != gone {}
            assert!(!port.status().is_up);
            assert_eq!(bench.tx.active_count(), 0);
            drop(stop);
        });
        sh("ip link add v0 type veth peer name p0 && ip link set p0 up && ip link set v0 up");
        while bench.next_event() != up {}
        there_and_back(&bench, SIZES);
    }
    sh("ip link set v0 down");
    assert_eq!(bench.next_event(), PortEvent::Down("netdev v0 is down".into()));
    sh("ip link set v0 up");
    while bench.next_event() != up {}
    there_and_back(&bench, SIZES);
    sh("ip link set p0 down");
    assert!(matches!(bench.next_event(), PortEvent::Down(text) if text.contains("no carrier")));
    sh("ip link set p0 up");
    assert_eq!(bench.next_event(), up);
    sh("ip link set v0 mtu 1400");
    let start = Instant::now();
    while port.status().mtu != 1400 {
        assert!(start.elapsed() < Duration::from_secs(2), "the MTU is followed");
    }
}

#[test]
fn a_missing_netdev_is_waited_for_and_wrong_options_are_refused() {
    if !inside("a_missing_netdev_is_waited_for_and_wrong_options_are_refused", PAIR) {
        return;
    }
    let bench = Bench::new(1);
    let port = open(&bench, XdpOptions::new("later"));
    assert_eq!((port.status().is_up, port.status().text.as_str()), (false, "no such netdev"));
    assert_eq!(bench.next_event(), PortEvent::Down("no such netdev".into()));
    sh("ip link add later type veth peer name sooner && ip link set sooner up && ip link set later up");
    while !matches!(bench.next_event(), PortEvent::Up(_)) {}

    let refused = |options: XdpOptions| {
        let error = XdpPort::open(options, Bench::new(1).context).err().expect("refused");
        error.to_string()
    };
    assert_eq!(
        refused(XdpOptions { queues: Some(3), ..XdpOptions::new("v0") }),
        "netdev v0 has 1 queues, 3 were asked for"
    );
    assert_eq!(
        refused(XdpOptions { rx_frames: 1000, ..XdpOptions::new("v0") }),
        "rx_frames = 1000: expected a power of two from 64 to 65536"
    );
    assert!(refused(XdpOptions::new("a-name-that-is-too-long")).contains("looking at netdev"));
    assert!(refused(XdpOptions { zero_copy: Some(true), ..XdpOptions::new("v0") }).contains("AF_XDP socket"));
}

#[test]
fn more_queues_are_used_when_the_netdev_gets_them() {
    if !inside("more_queues_are_used_when_the_netdev_gets_them", TWO_QUEUES) {
        return;
    }
    sh("ethtool -L p0 tx 1 && ethtool -L v0 rx 1");
    let bench = Bench::new(2);
    let _port = open(&bench, options(XdpMode::Auto));
    let few = XdpPort::open(XdpOptions { queues: Some(1), ..XdpOptions::new("p0") }, Bench::new(2).context);
    assert_eq!(bench.next_event(), PortEvent::Up("native XDP, copy, 1 queue".into()));
    sh("ethtool -L v0 rx 2");
    while bench.next_event() != PortEvent::Up("native XDP, copy, 2 queues".into()) {}
    assert_eq!(bench.tx.active_count(), 2);
    assert_eq!(few.expect("the far end opens").status().queue_count, 1, "one was asked for");
}

#[test]
fn a_netdev_that_comes_and_goes_while_the_port_opens_is_no_error() {
    if !inside("a_netdev_that_comes_and_goes_while_the_port_opens_is_no_error", "") {
        return;
    }
    std::thread::scope(|scope| {
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        scope.spawn(move || {
            let again = crossbeam_channel::TryRecvError::Empty;
            while stopped.try_recv() == Err(again) {
                sh("ip link add v0 type veth peer name p0 && ip link set p0 up && ip link set v0 up");
                sh("sleep 0.15 && ip link del v0");
            }
        });
        let (start, mut failed, mut up) = (Instant::now(), Vec::new(), 0);
        // A busy machine seldom opens it in the moment in which the netdev is there.
        let is_short = |limit| start.elapsed() < Duration::from_secs(limit);
        while is_short(2) || up == 0 && is_short(20) {
            match XdpPort::open(options(XdpMode::Auto), Bench::new(1).context) {
                Ok(port) => up += usize::from(port.status().mode.is_some()),
                Err(error) => failed.push(error),
            }
        }
        drop(stop);
        assert!(failed.is_empty(), "{failed:?}");
        assert!(up > 0, "the netdev was there now and then");
    });
}

#[test]
fn a_full_tx_ring_takes_what_fits_and_leaves_the_rest() {
    if !inside("a_full_tx_ring_takes_what_fits_and_leaves_the_rest", PAIR) {
        return;
    }
    let bench = Bench::new(1);
    let port = open(&bench, XdpOptions { tx_frames: 64, ..options(XdpMode::Auto) });
    let far = far_end();
    let frames: Vec<_> = (0..80).map(|seed| frame(100, seed)).collect();
    for _ in 0..100 {
        // Nothing is flushed, so the 64 frames are all there is.
        let taken: usize = frames
            .chunks(20)
            .map(|chunk| {
                let (batch, mut list) = batch_of(chunk);
                let taken = bench.tx.with(0, |tx| tx.tx_batch(&batch, &mut list)).expect("the queue is there");
                assert_eq!(list.len(), chunk.len() - taken, "the rest is still the caller's");
                taken
            })
            .sum();
        assert_eq!(taken, 64);
        bench.tx.with(0, |tx| tx.flush());
        assert_eq!(collect(&far, 64), frames[..64]);
    }
    let (batch, mut list) = batch_of(&[frame(1515, 0), frame(1514, 0)]);
    assert_eq!(bench.tx.with(0, |tx| tx.tx_batch(&batch, &mut list)), Some(1));
    assert_eq!(list.tally.count(DropReason::TxTooLarge), 1);
    assert_eq!(port.status().counters.invalid_descs, 0);
}

#[test]
fn a_million_frames_later_no_frame_is_lost() {
    if !inside("a_million_frames_later_no_frame_is_lost", PAIR) {
        return;
    }
    let bench = Bench::new(1);
    let port = open(&bench, XdpOptions { rx_frames: 256, tx_frames: 256, ..options(XdpMode::Auto) });
    let far = far_end();
    let (sent, mut received, mut batch) = (1_000_000, 0, PacketBatch::new());
    let frame = frame(700, 5);
    for round in 0..sent {
        inject(&far, &frame);
        if round % 24 == 0 {
            received += bench.poll(0, &mut batch, |_| ());
        }
    }
    received += bench.receive(0, sent).len();
    let counters = port.status().counters;
    assert_eq!(received as u64 + counters.rx_dropped + counters.rx_ring_full, sent as u64);
    // Every one of the 256 can still be held at once.
    (0..256).for_each(|_| inject(&far, &frame));
    std::thread::sleep(Duration::from_millis(50));
    let mut held = 0;
    bench.with_rx(0, |rx| {
        for _ in 0..16 {
            held += rx.rx_batch(&mut batch);
            assert!(batch.packets().iter().all(|packet| bytes_of(packet) == frame));
            batch.clear();
        }
        rx.finish();
    });
    assert_eq!(held, 256);
}

#[test]
fn a_sleeping_queue_becomes_readable() {
    if !inside("a_sleeping_queue_becomes_readable", PAIR) {
        return;
    }
    let bench = Bench::new(1);
    let _port = open(&bench, options(XdpMode::Auto));
    let far = far_end();
    assert!(bench.with_rx(0, |rx| rx.arm()));
    let mut poll = mio::Poll::new().expect("epoll");
    let mut events = mio::Events::with_capacity(1);
    let fd = bench.with_rx(0, |rx| rx.event_fd()).expect("a socket");
    poll.registry()
        .register(&mut mio::unix::SourceFd(&fd), mio::Token(0), mio::Interest::READABLE)
        .expect("the socket can be polled");
    poll.poll(&mut events, Some(Duration::from_millis(50))).expect("poll");
    assert!(events.is_empty());
    inject(&far, &frame(64, 0));
    poll.poll(&mut events, Some(Duration::from_secs(2))).expect("poll");
    assert!(events.iter().any(mio::event::Event::is_readable));
    assert!(!bench.with_rx(0, |rx| rx.arm()), "something is there");
    assert_eq!(bench.receive(0, 1).len(), 1);
}

#[test]
fn busy_poll_is_accepted() {
    if !inside("busy_poll_is_accepted", PAIR) {
        return;
    }
    let bench = Bench::new(1);
    let _port = open(&bench, XdpOptions { busy_poll_us: Some(20), ..options(XdpMode::Auto) });
    there_and_back(&bench, SIZES);
}

#[test]
fn a_giant_is_counted_and_does_not_block_the_next_frame() {
    if !inside(
        "a_giant_is_counted_and_does_not_block_the_next_frame",
        "ip link add v0 mtu 12000 type veth peer name p0 mtu 12000
         ip link set v0 up
         ip link set p0 up",
    ) {
        return;
    }
    let bench = Bench::new(1);
    let _port = open(&bench, options(XdpMode::Auto));
    let far = far_end();
    inject(&far, &frame(12_000, 0));
    inject(&far, &frame(9216, 0));
    let (mut batch, mut giants, mut good, start) = (PacketBatch::new(), 0, 0, Instant::now());
    while good == 0 && start.elapsed() < Duration::from_secs(2) {
        good += bench.poll(0, &mut batch, |batch| giants += batch.tally.count(DropReason::Giant));
    }
    assert_eq!((good, giants), (1, 1));
}

/// Rough figure for the notes: `cargo test --release --test xdp -- --ignored --nocapture rate`.
#[test]
#[ignore = "measures"]
fn rate_from_one_veth_to_another() {
    if !inside(
        "rate_from_one_veth_to_another",
        "ip link add v0 type veth peer name p0
         ip link add v1 type veth peer name p1
         ip link set v0 up
         ip link set p0 up
         ip link set v1 up
         ip link set p1 up",
    ) {
        return;
    }
    // The generator is a port too: p0 -> v0 -> (forwarded) -> v1 -> p1.
    let names = ["p0", "v0", "v1", "p1"];
    let benches: Vec<_> = names.iter().map(|_| Bench::new(1)).collect();
    let _ports: Vec<_> = names.iter().zip(&benches).map(|(name, bench)| open(bench, XdpOptions::new(*name))).collect();
    let frames = vec![frame(64, 0); 32];
    let end = Instant::now() + Duration::from_secs(3);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin_to_cpu(0).expect("CPU 0");
            let (batch, _) = batch_of(&frames);
            while Instant::now() < end {
                let (_, mut list) = batch_of(&[]);
                (0..32).for_each(|id| assert!(list.push(id)));
                benches[0].tx.with(0, |tx| {
                    tx.tx_batch(&batch, &mut list);
                    tx.flush();
                });
            }
        });
        let last = usize::from(allowed_cpus().len() > 1);
        pin_to_cpu(last).expect("CPU");
        let (mut batch, mut sink, mut forwarded, mut arrived) = (PacketBatch::new(), PacketBatch::new(), 0, 0);
        while Instant::now() < end {
            benches[1].poll(0, &mut batch, |batch| {
                let mut list = ringswitch_dataplane::packet::TxList::new();
                (0..batch.len()).for_each(|id| assert!(list.push(id)));
                benches[2].tx.with(0, |tx| {
                    forwarded += tx.tx_batch(batch, &mut list);
                    tx.flush();
                });
            });
            arrived += benches[3].poll(0, &mut sink, |_| ());
        }
        println!("forwarded {} kpps, arrived {} kpps", forwarded / 3000, arrived / 3000);
    });
}
