//! The daemon with NICs, taps and guests, as root: real netdevs, the kernel's own stack at the far ends. Each test runs in a
//! network namespace of its own, the switch with it, and makes further ones for the hosts around the switch.

#[path = "../dataplane/tests/netns/namespace.rs"]
mod namespace;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use namespace::{Namespace, inside, sh};
use ringswitch_dataplane::sys::packet_socket::PacketSocket;
use rspktgen::guest::{Guest, GuestConfig};
use serde_json::Value;
use tempfile::TempDir;

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A running daemon in a directory of its own. Stopped when dropped.
struct Switch {
    dir: TempDir,
    child: Child,
}

impl Switch {
    /// `DIR` in the configuration is the switch's directory.
    fn start(config: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        std::fs::write(dir.path().join("switch.toml"), config.replace("DIR", dir.path().to_str().expect("UTF-8")))
            .expect("the file is written");
        let child = Self::spawn(&dir);
        let switch = Self { dir, child };
        switch.wait();
        switch
    }

    fn spawn(dir: &TempDir) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringswitchd"));
        command.arg("--socket").arg(dir.path().join("ctl.sock")).arg("--config").arg(dir.path().join("switch.toml"));
        command.stderr(Stdio::null()).spawn().expect("ringswitchd starts")
    }

    fn wait(&self) {
        eventually("the daemon answers", || self.run(&["version"]).status.success());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, words: &[&str]) -> std::process::Output {
        let dir = self.dir.path().to_str().expect("UTF-8");
        let mut command = Command::new(env!("CARGO_BIN_EXE_rsctl"));
        command.arg("--socket").arg(self.path("ctl.sock")).args(words.iter().map(|word| word.replace("DIR", dir)));
        command.output().expect("rsctl runs")
    }

    /// Runs rsctl, which must succeed, and returns what it printed.
    fn ok(&self, words: &str) -> String {
        let output = self.run(&words.split_whitespace().collect::<Vec<_>>());
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn link(&self, port: &str) -> String {
        let text = self.ok(&format!("get interface {port} link_state status:link"));
        text.replace('\n', " ").replace('"', "").trim().to_owned()
    }

    fn signal(&mut self, signal: &str) {
        sh(&format!("kill {signal} {}", self.child.id()));
        self.child.wait().expect("it ends");
    }

    /// Over all ports: received + copies = sent + dropped.
    fn assert_accounted(&self) {
        let sums = || {
            let ports: Value = serde_json::from_str(&self.ok("--json dump-ports br0")).expect("JSON");
            let (mut left, mut right) = (0, 0);
            for port in ports.as_array().expect("a list") {
                let number = |name: &str| port[name].as_u64().expect("a number");
                left += number("rx_packets") + number("copies");
                let drops = port["drops"].as_object().expect("drops by reason");
                right += number("tx_packets") + drops.values().filter_map(Value::as_u64).sum::<u64>();
            }
            (left, right)
        };
        let start = Instant::now();
        while sums().0 != sums().1 {
            assert!(start.elapsed() < Duration::from_secs(5), "{}", self.ok("--json dump-ports br0"));
        }
        assert!(sums().0 > 0);
    }

    fn guest(&self, name: &str) -> Guest {
        let mut config = GuestConfig::new(self.path(name));
        config.packed = true;
        Guest::open(config).expect("the guest starts")
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = Command::new("kill").arg(self.child.id().to_string()).status();
            let _ = self.child.wait();
        }
    }
}

/// A host of its own, with one link to the switch's namespace.
struct Host(Namespace);

impl Host {
    /// Without a link.
    fn new(name: &str) -> Self {
        Self(Namespace::new(&format!("rsh-{}-{name}", std::process::id())))
    }

    /// With `eth0` at the other end of `nic`.
    fn on(nic: &str, address: &str, mtu: u32) -> Self {
        let host = Self::new(nic);
        host.plug(nic, address, mtu);
        host
    }

    fn plug(&self, nic: &str, address: &str, mtu: u32) {
        let name = self.0.name();
        sh(&format!("ip link add {nic} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {name}"));
        sh(&format!("ip link set {nic} up"));
        self.set_up("eth0", address);
        // A veth hands frames on with their checksum undone, as nobody is there to see it on a wire.
        self.0.run("ethtool -K eth0 tx off");
    }

    fn set_up(&self, netdev: &str, address: &str) {
        self.0.run(&format!("ip addr add {address}/24 dev {netdev}"));
        self.0.run(&format!("ip link set {netdev} up"));
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.0.name()]).args(words.split_whitespace());
        command
    }

    fn ping(&self, options: &str, to: &str) {
        let output = self.command(&format!("ping -n {options} {to}")).output().expect("ping runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(" 0% packet loss"), "ping {options} {to}: {said}");
    }

    /// Two seconds of iperf3 towards `server`; the bytes that arrived there.
    fn iperf3(&self, server: &Host, address: &str, options: &str) -> u64 {
        let mut daemon = server.command("iperf3 -s -1").stdout(Stdio::null()).spawn().expect("iperf3 runs");
        let start = Instant::now();
        let outcome = loop {
            let command = format!("timeout 20 iperf3 -c {address} -t 2 -J {options}");
            let output = self.command(&command).output().expect("iperf3 runs");
            if output.status.success() || start.elapsed() > Duration::from_secs(10) {
                break output;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let _ = daemon.kill();
        let _ = daemon.wait();
        let said = String::from_utf8_lossy(&outcome.stdout).into_owned();
        let json: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
        let end = &json["end"];
        let received = end["sum_received"]["bytes"].as_u64().or_else(|| end["sum"]["bytes"].as_u64());
        received.unwrap_or_else(|| panic!("{said}"))
    }
}

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
    let switch = Switch::start(TWO_NICS);
    a.ping("-c 3 -i 0.1 -W 5", "10.0.0.2");
    assert!(a.iperf3(&b, "10.0.0.2", "") > 0);
    assert!(b.iperf3(&a, "10.0.0.1", "-u -b 20M") > 0);
    switch.assert_accounted();
    assert!(switch.ok("show").contains("link: up (native XDP, copy, 1 queue)"), "{}", switch.ok("show"));
    assert_eq!(switch.ok("get interface nic0 status:xdp_mode status:zero_copy"), "native\n\"false\"\n");
    switch.ok("set interface nic1 options:xdp-mode=generic");
    assert_eq!(switch.link("nic1"), "up generic XDP, copy, 1 queue");
    a.ping("-c 3 -i 0.1 -W 5", "10.0.0.2");
}

#[test]
fn a_host_a_tap_and_the_bridges_own_port_talk() {
    if !inside("a_host_a_tap_and_the_bridges_own_port_talk", "") {
        return;
    }
    let (a, b) = (Host::on("nic0", "10.0.0.1", 1500), Host::new("tap"));
    let switch = Switch::start(&format!("{TWO_NICS}[bridges.br0.ports.tap0]\ntype = \"tap\"\n"));
    sh(&format!("ip link set tap0 netns {}", b.0.name()));
    b.set_up("tap0", "10.0.0.2");
    a.ping("-c 3 -i 0.1 -W 5", "10.0.0.2");
    assert!(a.iperf3(&b, "10.0.0.2", "") > 0);
    assert!(b.iperf3(&a, "10.0.0.1", "") > 0);
    sh("ip addr add 10.0.0.9/24 dev br0");
    a.ping("-c 3 -i 0.1 -W 5", "10.0.0.9");
    sh("ping -n -c 3 -i 0.1 -W 5 10.0.0.2");
    switch.assert_accounted();
    assert_eq!(switch.link("tap0"), "up tap tap0, in another network namespace");
    assert_eq!(switch.link("nic1"), "down no such netdev");
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
    let switch = Switch::start(GUEST_AND_NIC);
    let mut guest = switch.guest("vm1.sock");
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
    switch.assert_accounted();
}

#[test]
fn arp_stays_with_the_kernel_when_it_is_told_to_pass() {
    if !inside("arp_stays_with_the_kernel_when_it_is_told_to_pass", "") {
        return;
    }
    let host = Host::on("nic0", "10.0.0.1", 1500);
    sh("ip addr add 10.0.0.5/24 dev nic0");
    let switch = Switch::start(&GUEST_AND_NIC.replace("\"afxdp\"", "\"afxdp\"\npass = \"arp\""));
    let mut guest = switch.guest("vm1.sock");
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
    let switch = Switch::start(&format!("{config}tag = 10\n"));
    let mut guest = switch.guest("vm1.sock");
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
    let drops = switch.ok("get interface nic0 statistics:drop_vlan_not_allowed");
    assert_ne!(drops.trim(), "0");
    switch.assert_accounted();
}

#[test]
fn a_nic_that_vanishes_under_traffic_comes_back_and_disturbs_nobody() {
    if !inside("a_nic_that_vanishes_under_traffic_comes_back_and_disturbs_nobody", "") {
        return;
    }
    let (a, b, c) =
        (Host::on("nic0", "10.0.0.1", 1500), Host::on("nic1", "10.0.0.2", 1500), Host::on("nic2", "10.0.0.3", 1500));
    let switch = Switch::start(&format!("{TWO_NICS}[bridges.br0.ports.nic2]\ntype = \"afxdp\"\n"));
    b.ping("-c 3 -i 0.1 -W 5", "10.0.0.3");
    a.ping("-c 3 -i 0.1 -W 5", "10.0.0.3");
    let others = b.command("ping -n -c 40 -i 0.1 -W 5 10.0.0.3").stdout(Stdio::piped()).spawn().expect("ping runs");
    let mut lost = a.command("ping -n -f -W 1 10.0.0.3").stdout(Stdio::null()).spawn().expect("ping runs");
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(300));
        sh("ip link del nic0");
        eventually("nic0 is told to be gone", || switch.link("nic0") == "down netdev nic0 is gone");
        assert!(switch.link("nic2").starts_with("up "));
        a.plug("nic0", "10.0.0.1", 1500);
        eventually("nic0 is up again", || switch.link("nic0").starts_with("up native XDP"));
        a.ping("-c 3 -i 0.1 -W 5", "10.0.0.3");
    }
    let _ = lost.kill();
    let _ = lost.wait();
    let others = others.wait_with_output().expect("ping ends");
    let said = String::from_utf8_lossy(&others.stdout).into_owned();
    assert!(said.contains(" 0% packet loss"), "{said}");
    drop(c);
    switch.assert_accounted();
}

#[test]
fn a_killed_switch_leaves_no_program_and_a_stopped_one_nothing() {
    if !inside("a_killed_switch_leaves_no_program_and_a_stopped_one_nothing", "") {
        return;
    }
    let a = Host::on("nic0", "10.0.0.1", 1500);
    let mut switch = Switch::start(&format!("{GUEST_AND_NIC}[bridges.br0.ports.tap0]\ntype = \"tap\"\n"));
    let links = || sh("ip link show");
    assert!(links().contains("xdp") && links().contains("tap0") && links().contains("br0"));
    switch.signal("-KILL");
    eventually("the program is gone", || !links().contains("xdp"));
    eventually("the taps are gone", || !links().contains("tap0") && !links().contains("br0"));
    switch.child = Switch::spawn(&switch.dir);
    switch.wait();
    eventually("nic0 is up again", || switch.link("nic0").starts_with("up native XDP"));
    sh("ip addr add 10.0.0.9/24 dev br0");
    a.ping("-c 3 -i 0.1 -W 5", "10.0.0.9");
    assert!(switch.path("vm1.sock").exists());
    switch.signal("-TERM");
    assert!(!links().contains("xdp") && !links().contains("tap0") && !links().contains("br0"), "{}", links());
    assert!(!switch.path("vm1.sock").exists() && !switch.path("ctl.sock").exists());
}

#[test]
fn jumbo_frames_go_where_the_mtu_allows() {
    if !inside("jumbo_frames_go_where_the_mtu_allows", "") {
        return;
    }
    let (a, b, t) = (Host::on("nic0", "10.0.0.1", 9000), Host::on("nic1", "10.0.0.2", 9000), Host::new("tap"));
    let switch = Switch::start(&format!("{TWO_NICS}[bridges.br0.ports.tap0]\ntype = \"tap\"\nmtu_request = 9000\n"));
    sh(&format!("ip link set tap0 netns {}", t.0.name()));
    t.set_up("tap0", "10.0.0.3");
    for to in ["10.0.0.2", "10.0.0.3"] {
        a.ping("-c 3 -i 0.1 -W 5 -M do -s 8972", to);
    }
    assert!(a.iperf3(&b, "10.0.0.2", "") > 0);
    assert_eq!(switch.ok("get interface nic0 status:mtu").trim().trim_matches('"'), "9000");
    switch.assert_accounted();
}
