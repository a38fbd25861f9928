//! The daemon with NICs, taps and guests, as root: real netdevs, the kernel's own stack at the far ends. Each test runs in a
//! network namespace of its own, the switch with it, and makes further ones for the hosts around the switch.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::guests::open;
use common::hosts::{Host, Kernel, inside, sh};
use common::{Daemon, eventually};
use ringswitch_dataplane::sys::packet_socket::PacketSocket;
use rspktgen::guest::Guest;

/// An Ethernet frame of a local experimental type.
fn frame(dst: u8, src: u8, seed: u8) -> Vec<u8> {
    let mut frame = vec![seed; 100];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src, 0x88, 0xb5]);
    frame
}

/// Sends until the guest has received it; other frames are let go.
fn until_received(guest: &mut Guest, wanted: &[u8], mut send: impl FnMut()) {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < Duration::from_secs(10), "the guest never receives {wanted:02x?}");
        send();
        while let Some(seen) = guest.receive_within(Duration::from_millis(50)).expect("the ring is whole") {
            if seen == wanted {
                return;
            }
        }
    }
}

const TWO_NICS: &str = r#"
[bridges.br0.ports.nic0]
type = "afxdp"
[bridges.br0.ports.nic1]
type = "afxdp"
"#;

#[test]
fn hosts_talk_through_two_nics() {
    if !inside("hosts_talk_through_two_nics", "") {
        return;
    }
    let (a, b) = (Host::on("nic0", "10.0.0.1", 1500), Host::on("nic1", "10.0.0.2", 1500));
    let switch = Daemon::start(TWO_NICS);
    a.ping("", "10.0.0.2");
    assert!(a.iperf3(&b, "10.0.0.2", "") > 0);
    assert!(b.iperf3(&a, "10.0.0.1", "-u -b 20M") > 0);
    switch.assert_balanced();
    assert!(switch.ok(&["show"]).contains("link: up (native XDP, copy, 1 queue)"), "{}", switch.ok(&["show"]));
    assert_eq!(switch.ok(&["get", "interface", "nic0", "status:xdp_mode", "status:zero_copy"]), "native\n\"false\"\n");
    switch.ok(&["set", "interface", "nic1", "options:xdp-mode=generic"]);
    assert_eq!(switch.state("nic1"), "up generic XDP, copy, 1 queue");
    a.ping("", "10.0.0.2");
}

#[test]
fn a_host_a_tap_and_the_bridges_own_port_talk() {
    if !inside("a_host_a_tap_and_the_bridges_own_port_talk", "") {
        return;
    }
    let (a, b) = (Host::on("nic0", "10.0.0.1", 1500), Host::new("tap"));
    let switch = Daemon::start(&format!("{TWO_NICS}[bridges.br0.ports.tap0]\ntype = \"tap\"\n"));
    sh(&format!("ip link set tap0 netns {}", b.0.name()));
    b.set_up("tap0", "10.0.0.2");
    a.ping("", "10.0.0.2");
    assert!(a.iperf3(&b, "10.0.0.2", "") > 0);
    assert!(b.iperf3(&a, "10.0.0.1", "") > 0);
    sh("ip addr add 10.0.0.9/24 dev br0");
    a.ping("", "10.0.0.9");
    sh("ping -n -c 1 -W 5 10.0.0.2");
    switch.assert_balanced();
    assert_eq!(switch.state("tap0"), "up tap tap0, in another network namespace");
    assert_eq!(switch.state("nic1"), "down no such netdev");
}

const GUEST_AND_NIC: &str = r#"
[bridges.br0.ports.nic0]
type = "afxdp"
[bridges.br0.ports.vm1]
type = "vhost-user"
path = "DIR/vm1.sock"
"#;

/// Who has `address`? Tell 10.0.0.7, who is 02:00:00:00:00:07.
fn arp_request(address: u8) -> Vec<u8> {
    let mut arp = frame(0, 7, 0);
    arp[..6].fill(0xff);
    arp[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    arp[22..42].copy_from_slice(&[2, 0, 0, 0, 0, 7, 10, 0, 0, 7, 0, 0, 0, 0, 0, 0, 10, 0, 0, address]);
    arp
}

#[test]
fn a_guest_talks_to_a_host_behind_a_nic() {
    if !inside("a_guest_talks_to_a_host_behind_a_nic", "") {
        return;
    }
    let _host = Host::on("nic0", "10.0.0.1", 1500);
    let switch = Daemon::start(GUEST_AND_NIC);
    let mut guest = open(&switch.path("vm1.sock"), "packed");
    let start = Instant::now();
    let answer = loop {
        assert!(start.elapsed() < Duration::from_secs(10), "the host answers");
        assert!(guest.send(0, &arp_request(1)).expect("the ring is whole"));
        let seen = guest.receive_within(Duration::from_millis(200)).expect("the ring is whole");
        if let Some(answer) = seen.filter(|seen| seen[12..14] == [8, 6]) {
            break answer;
        }
    };
    assert_eq!(answer[..6], [2, 0, 0, 0, 0, 7], "to the guest");
    assert_eq!((&answer[20..22], &answer[28..32]), (&[0u8, 2][..], &[10u8, 0, 0, 1][..]), "a reply of the host");
    switch.assert_balanced();
}

#[test]
fn a_guests_kernel_talks_to_a_host_behind_a_nic() {
    if !inside("a_guests_kernel_talks_to_a_host_behind_a_nic", "") {
        return;
    }
    // The guest's kernel is that of a host whose link ends in the guest's rings instead of the switch.
    let (a, b) = (Host::on("nic0", "10.0.0.1", 1500), Host::on("rings", "10.0.0.2", 1500));
    let switch = Daemon::start(GUEST_AND_NIC);
    for options in ["mrg", "packed"] {
        let kernel = Kernel::boot(open(&switch.path("vm1.sock"), options), "rings");
        a.ping("", "10.0.0.2");
        assert!(a.iperf3(&b, "10.0.0.2", "") > 0, "{options}: to the guest");
        assert!(b.iperf3(&a, "10.0.0.1", "") > 0, "{options}: from the guest");
        drop(kernel);
    }
    switch.assert_balanced();
}

#[test]
fn arp_stays_with_the_kernel_when_it_is_told_to_pass() {
    if !inside("arp_stays_with_the_kernel_when_it_is_told_to_pass", "") {
        return;
    }
    let host = Host::on("nic0", "10.0.0.1", 1500);
    sh("ip addr add 10.0.0.5/24 dev nic0");
    let switch = Daemon::start(&GUEST_AND_NIC.replace("\"afxdp\"", "\"afxdp\"\npass = \"arp\""));
    let mut guest = open(&switch.path("vm1.sock"), "packed");
    let ping = host.command("ping -n -c 3 -i 0.2 -W 1 10.0.0.5").output().expect("ping runs");
    assert!(!ping.status.success(), "what is not ARP belongs to the switch");
    let neighbour = sh(&format!("ip -n {} neigh show 10.0.0.5", host.0.name()));
    let own = sh("cat /sys/class/net/nic0/address");
    assert!(neighbour.contains(own.trim()), "the kernel answered: {neighbour}");
    let mut types = Vec::new();
    while let Some(seen) = guest.receive_within(Duration::from_millis(200)).expect("the ring is whole") {
        types.push([seen[12], seen[13]]);
    }
    assert!(types.contains(&[8, 0]) && !types.contains(&[8, 6]), "{types:02x?}");
}

#[test]
fn an_access_port_and_a_trunk_nic_add_and_remove_tags() {
    const PAIR: &str = "ip link add nic0 type veth peer name p0
        ip link set nic0 up
        ip link set p0 up";
    if !inside("an_access_port_and_a_trunk_nic_add_and_remove_tags", PAIR) {
        return;
    }
    let config = GUEST_AND_NIC.replace("\"afxdp\"", "\"afxdp\"\ntrunks = [10, 20]");
    let switch = Daemon::start(&format!("{config}tag = 10\n"));
    let mut guest = open(&switch.path("vm1.sock"), "packed");
    // tcpdump shows the tag that the kernel has taken out of the frame when a program receives it.
    let mut tcpdump = Command::new("timeout")
        .args("20 tcpdump -i p0 -nn -e -l -c 1 ether proto 0x88b5 or vlan".split(' '))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tcpdump runs");
    let said = BufReader::new(tcpdump.stderr.take().expect("piped"));
    assert!(said.lines().map_while(Result::ok).any(|line| line.starts_with("listening")), "tcpdump listens");
    while matches!(tcpdump.try_wait(), Ok(None)) {
        assert!(guest.send(0, &frame(1, 7, 1)).expect("the ring is whole"));
        std::thread::sleep(Duration::from_millis(50));
    }
    let seen = tcpdump.wait_with_output().expect("tcpdump ends");
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert!(seen.contains("02:00:00:00:00:07 > 02:00:00:00:00:01") && seen.contains("vlan 10,"), "{seen}");

    let far = PacketSocket::open("p0").expect("a packet socket");
    let tagged = |vid: u8, seed: u8| {
        let mut frame = frame(7, 1, seed);
        frame.splice(12..12, [0x81, 0, 0, vid]);
        frame
    };
    until_received(&mut guest, &frame(7, 1, 2), || {
        for refused in [tagged(20, 3), tagged(30, 3), frame(7, 1, 3)] {
            far.send(&refused).expect("p0 takes it");
        }
        far.send(&tagged(10, 2)).expect("p0 takes it");
    });
    while let Some(seen) = guest.receive_within(Duration::from_millis(100)).expect("the ring is whole") {
        assert_ne!(seen[50], 3, "of another VLAN: {seen:02x?}");
    }
    let drops = switch.ok(&["get", "interface", "nic0", "statistics:drop_vlan_not_allowed"]);
    assert_ne!(drops.trim(), "0");
    switch.assert_balanced();
}

#[test]
fn a_nic_that_vanishes_under_traffic_comes_back_and_disturbs_nobody() {
    if !inside("a_nic_that_vanishes_under_traffic_comes_back_and_disturbs_nobody", "") {
        return;
    }
    let (a, b, c) =
        (Host::on("nic0", "10.0.0.1", 1500), Host::on("nic1", "10.0.0.2", 1500), Host::on("nic2", "10.0.0.3", 1500));
    let switch = Daemon::start(&format!("{TWO_NICS}[bridges.br0.ports.nic2]\ntype = \"afxdp\"\n"));
    b.ping("", "10.0.0.3");
    a.ping("", "10.0.0.3");
    let others = b.command("ping -n -c 14 -i 0.3 -W 5 10.0.0.3").stdout(Stdio::piped()).spawn().expect("ping runs");
    let mut lost = a.command("ping -n -f -W 1 10.0.0.3").stdout(Stdio::null()).spawn().expect("ping runs");
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(300));
        sh("ip link del nic0");
        eventually("nic0 is told to be gone", || switch.state("nic0") == "down netdev nic0 is gone");
        assert!(switch.state("nic2").starts_with("up "));
        a.plug("nic0", "10.0.0.1", 1500);
        eventually("nic0 is up again", || switch.state("nic0").starts_with("up native XDP"));
        a.ping("", "10.0.0.3");
    }
    let _ = lost.kill();
    let _ = lost.wait();
    let others = others.wait_with_output().expect("ping ends");
    let said = String::from_utf8_lossy(&others.stdout).into_owned();
    assert!(said.contains(" 0% packet loss"), "{said}");
    drop(c);
    switch.assert_balanced();
}

#[test]
fn a_killed_switch_leaves_no_program_and_a_stopped_one_nothing() {
    if !inside("a_killed_switch_leaves_no_program_and_a_stopped_one_nothing", "") {
        return;
    }
    let a = Host::on("nic0", "10.0.0.1", 1500);
    let mut switch = Daemon::start(&format!("{GUEST_AND_NIC}[bridges.br0.ports.tap0]\ntype = \"tap\"\n"));
    let links = || sh("ip link show");
    assert!(links().contains("xdp") && links().contains("tap0") && links().contains("br0"));
    switch.end("-KILL");
    eventually("the program is gone", || !links().contains("xdp"));
    eventually("the taps are gone", || !links().contains("tap0") && !links().contains("br0"));
    switch.start_again();
    eventually("nic0 is up again", || switch.state("nic0").starts_with("up native XDP"));
    sh("ip addr add 10.0.0.9/24 dev br0");
    a.ping("", "10.0.0.9");
    assert!(switch.path("vm1.sock").exists());
    switch.end("-TERM");
    assert!(!links().contains("xdp") && !links().contains("tap0") && !links().contains("br0"), "{}", links());
    assert!(!switch.path("vm1.sock").exists() && !switch.path("ctl.sock").exists());
}

#[test]
fn jumbo_frames_go_where_the_mtu_allows() {
    if !inside("jumbo_frames_go_where_the_mtu_allows", "") {
        return;
    }
    let (a, b, t) = (Host::on("nic0", "10.0.0.1", 9000), Host::on("nic1", "10.0.0.2", 9000), Host::new("tap"));
    let switch = Daemon::start(&format!("{TWO_NICS}[bridges.br0.ports.tap0]\ntype = \"tap\"\nmtu_request = 9000\n"));
    sh(&format!("ip link set tap0 netns {}", t.0.name()));
    t.set_up("tap0", "10.0.0.3");
    for to in ["10.0.0.2", "10.0.0.3"] {
        a.ping("-M do -s 8972", to);
    }
    assert!(a.iperf3(&b, "10.0.0.2", "") > 0);
    assert_eq!(switch.ok(&["get", "interface", "nic0", "status:mtu"]).trim().trim_matches('"'), "9000");
    switch.assert_balanced();
}
