//! The driver against a device that others wrote: DPDK's vhost library, in testpmd, forwarding between two sockets.
//! Skipped with a message where `dpdk-testpmd` is not installed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rspktgen::check::{Verdict, judge};
use rspktgen::frame::{Frames, Stamp, Vary};
use rspktgen::guest::{Guest, GuestConfig, open_all};

/// testpmd with two vhost ports; ended when dropped.
struct Testpmd {
    child: Child,
    directory: tempfile::TempDir,
}

impl Testpmd {
    fn start(client: bool, queues: u16) -> Option<Self> {
        let found = Command::new("dpdk-testpmd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            eprintln!("skipped: dpdk-testpmd is not installed (Debian: apt install dpdk-dev)");
            return None;
        }
        let directory = tempfile::tempdir().expect("temporary directory");
        let log = std::fs::File::create(directory.path().join("log")).expect("log file");
        let name = directory.path().file_name().expect("a name").to_string_lossy().into_owned();
        let mut command = Command::new("dpdk-testpmd");
        command.args(["--lcores", "0@0,1@1", "--no-pci", "--no-huge", "-m", "512", "--file-prefix", &name]);
        for number in 0..2 {
            let path = directory.path().join(format!("{number}.sock"));
            let client = u8::from(client);
            command.arg(format!("--vdev=eth_vhost{number},iface={},queues={queues},client={client}", path.display()));
        }
        let queues = queues.to_string();
        command.args(["--", "--nb-cores=1", "--total-num-mbufs=16384", "--forward-mode=io", "--auto-start"]);
        command.args(["--rxq", &queues, "--txq", &queues, "--stats-period=100"]);
        let child = command.stdout(log.try_clone().expect("log file")).stderr(log).stdin(Stdio::null()).spawn();
        Some(Self { child: child.expect("testpmd starts"), directory })
    }

    fn socket(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("{number}.sock"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn guests(testpmd: &Testpmd, options: &str) -> (Guest, Guest) {
    let config = |number| {
        let text = format!("{},timeout=60{options}", testpmd.socket(number).display());
        text.parse::<GuestConfig>().expect("valid options")
    };
    let mut guests = open_all(vec![config(0), config(1)])
        .unwrap_or_else(|error| panic!("{}\n{}", rspktgen::report::chain(&error), testpmd.log()));
    let second = guests.pop().expect("two");
    (guests.pop().expect("two"), second)
}

/// Sends frames of several lengths, a few at a time, more than the rings have entries, and wants each back unharmed.
fn exchange(from: &mut Guest, to: &mut Guest, count: u64) {
    let vary = Vary { src_port: true, ..Vary::default() };
    let frames =
        Frames { sender: 0, mac: [2, 0, 1, 0, 0, 1], receivers: vec![(1, [2, 0, 2, 0, 0, 1])], vary, vlan: None };
    let queues = from.config().queues as usize;
    let (mut sent, mut received) = (0, 0);
    // The first frames may be dropped while the device is still bringing the other port up.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(from.send(0, &frames.build(64, 0, Stamp::default())).expect("ring"), "nothing is taken");
        if to.receive_within(Duration::from_millis(100)).expect("ring").is_some() {
            break;
        }
        assert!(Instant::now() < deadline, "no frame ever arrived");
    }
    while to.receive_within(Duration::from_millis(200)).expect("ring").is_some() {}
    while received < count {
        while sent < count && sent - received < 16 {
            let len = [64, 600, 1514, 65][sent as usize % 4];
            let frame = frames.build(len, sent as u16, Stamp { flow: 0, sequence: sent, time: 0 });
            assert!(from.send(sent as usize % queues, &frame).expect("ring"), "the ring is full with 16 frames in it");
            sent += 1;
        }
        let frame = to.receive_within(Duration::from_secs(30)).expect("ring");
        let frame = frame.unwrap_or_else(|| panic!("frame {received} of {count} did not arrive"));
        let Verdict::Good(tag) = judge(&frame) else { panic!("frame {received}: {:?}", judge(&frame)) };
        if queues == 1 {
            assert_eq!(tag.sequence, received, "out of order");
        }
        received += 1;
    }
    assert_eq!(to.receive_within(Duration::from_millis(50)).expect("ring"), None, "more frames than were sent");
}

#[test]
fn every_kind_of_ring_carries_frames_both_ways() {
    let Some(testpmd) = Testpmd::start(false, 1) else { return };
    for options in [
        "",
        ",mrg",
        ",in_order",
        ",event_idx",
        ",legacy",
        ",legacy,mrg",
        ",shape=chain",
        ",shape=indirect",
        ",mrg,rx_buf=256",
        ",packed",
        ",packed,mrg",
        ",packed,in_order",
        ",packed,mrg,in_order",
        ",packed,event_idx",
        ",packed,shape=chain",
        ",packed,shape=indirect",
        ",packed,mrg,rx_buf=256",
        ",size=1024",
    ] {
        eprintln!("options '{options}'");
        let (mut first, mut second) = guests(&testpmd, options);
        exchange(&mut first, &mut second, 1000);
        exchange(&mut second, &mut first, 1000);
        first.close();
        second.close();
    }
}

#[test]
fn a_guest_can_listen_and_survives_its_back_end() {
    let Some(mut testpmd) = Testpmd::start(true, 1) else { return };
    let (mut first, mut second) = guests(&testpmd, ",mode=server,packed");
    exchange(&mut first, &mut second, 300);
    testpmd.child.kill().expect("running");
    testpmd.child.wait().expect("ended");
    let deadline = Instant::now() + Duration::from_secs(10);
    while first.is_connected() || second.is_connected() {
        assert!(Instant::now() < deadline, "the loss is not noticed");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!first.try_reconnect().expect("nobody is there, which is no error"));
    assert!(Path::exists(&testpmd.socket(0)), "still listening");
}

#[test]
fn two_queue_pairs_both_carry_frames() {
    let Some(testpmd) = Testpmd::start(false, 2) else { return };
    let (mut first, mut second) = guests(&testpmd, ",queues=2");
    exchange(&mut first, &mut second, 500);
}

#[test]
fn a_missing_back_end_is_named() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("nobody.sock");
    let config: GuestConfig = format!("{},timeout=1", path.display()).parse().expect("valid");
    let error = Guest::open(config).map(|_| ()).expect_err("nobody listens");
    let text = rspktgen::report::chain(&error);
    assert!(text.contains("nobody.sock") && text.contains("within 1 s"), "{text}");
}
