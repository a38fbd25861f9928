//! A switch without traffic sleeps, and the first frame wakes it.

mod common;

use std::time::Duration;

use common::guests::{assert_receives, frame, mac, open, send};
use common::{Daemon, alone, config, eventually, wire};
use rspktgen::guest::Guest;
use rspktgen::queue::Tx;

/// Frames that meet a sleeping switch, per kind of guest.
const FIRST_FRAMES: usize = 100;

/// Processor time that the process has used, in ticks of a hundredth of a second.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let fields: Vec<_> = stat.rsplit(") ").next().expect("a name").split(' ').collect();
    // utime and stime are the 14th and 15th; two are gone.
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

/// Sends a frame; true when the switch had asked to be told.
fn send_and_look(guest: &mut Guest, frame: &[u8]) -> bool {
    let Tx::Ring(ring, kick) = &mut guest.pairs_mut()[0].tx else { panic!("a guest has rings") };
    ring.take(usize::MAX, false, |_, _| ()).expect("a sound ring");
    let (area, offsets) = (ring.area().clone(), ring.buffers().frame_offset(0));
    let stride = ring.buffers().stride;
    let (sent, asked) = ring.offer(1, |id| {
        area.write_bytes(offsets + usize::from(id) * stride, frame);
        frame.len() as u32
    });
    assert_eq!(sent, 1, "no room to send");
    if asked {
        kick.write(1).expect("an event descriptor");
    }
    asked
}

#[test]
fn an_idle_switch_sleeps_and_the_first_frame_wakes_it() {
    let _alone = alone();
    let daemon = Daemon::start(&config(&[("vm1", ""), ("vm2", "")], &wire()));
    for options in ["mrg", "event_idx", "packed", "packed,event_idx"] {
        let [mut one, mut two] = ["vm1", "vm2"].map(|port| open(&daemon.path(port), options));
        for seed in 0..1000 {
            let frame = frame(mac(1), mac(2), 100, seed);
            send(&mut one, 0, &frame);
            assert_receives(options, &mut two, &[frame]);
        }
        let asleep = |since: u64| eventually("the worker sleeps", || daemon.worker("sleeps") > since);
        asleep(daemon.worker("sleeps"));
        let (before, used) = (daemon.worker("sleeps"), ticks(daemon.pid()));
        std::thread::sleep(Duration::from_secs(2));
        let used = ticks(daemon.pid()) - used;
        println!("{options}: {used} of 200 ticks");
        assert!(used < 10, "{options}: an idle switch used {used} of 200 ticks");
        assert!(daemon.worker("sleeps") > before, "{options}: it does not sleep");

        let mut asked = 0;
        for seed in 0..FIRST_FRAMES {
            let sleeps = daemon.worker("sleeps");
            let frame = frame(mac(1), mac(2), 60 + seed, seed);
            asked += usize::from(send_and_look(&mut one, &frame));
            assert_receives(options, &mut two, &[frame]);
            asleep(sleeps);
        }
        // It may look around by itself at the very moment.
        assert!(asked > FIRST_FRAMES / 2, "{options}: it asked to be woken for {asked} of {FIRST_FRAMES} frames");
    }
    daemon.assert_balanced();
}

#[test]
fn the_cpus_of_workers_resume_as_fast_as_asked_and_are_left_as_they_were() {
    let _alone = alone();
    let limit = |cpu: &str| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/power/pm_qos_resume_latency_us");
        std::fs::read_to_string(path).expect("Linux tells").trim().to_owned()
    };
    let with_limit = |us: u32| format!("[workers]\nresume-latency-us = {us}\n{}", config(&[("vm1", "")], &wire()));
    let daemon = Daemon::start(&with_limit(0));
    let cpu = daemon.worker("cpu").to_string();
    assert_eq!(limit(&cpu), "n/a", "as the kernel says none");
    daemon.ok(&["set", "open_vswitch", ".", "other_config:resume-latency-us=50"]);
    assert_eq!(limit(&cpu), "50");
    let said = daemon.refused(&["set", "open_vswitch", ".", "other_config:resume-latency-us=-1"]);
    assert!(said.contains("resume-latency-us") && said.contains("0 to 1000000"), "{said}");
    daemon.ok(&["set", "open_vswitch", ".", "other_config:resume-latency-us=[]"]);
    assert_eq!(limit(&cpu), "0", "not limited");
    daemon.ok(&["set", "open_vswitch", ".", "other_config:resume-latency-us=7"]);
    drop(daemon);
    assert_eq!(limit(&cpu), "0");
}
