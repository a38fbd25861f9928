//! Front-ends that break the vhost-user protocol: each is sent away at worst, no descriptor stays open, the port serves
//! the next one, and other ports notice nothing.

mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringswitch_dataplane::mem::Mapping;
use ringswitch_dataplane::port::vhost::VhostOptions;
use support::guest::{Guest, MRG_RXBUF, PROTOCOL_FEATURES, VERSION_1};
use support::{TestPort, is_down, is_up};
use vhost::VhostBackend;
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

const FEATURES: u64 = VERSION_1 | MRG_RXBUF | PROTOCOL_FEATURES;

const SET_FEATURES: u32 = 2;
const GET_FEATURES: u32 = 1;
const SET_MEM_TABLE: u32 = 5;
const SET_LOG_FD: u32 = 7;
const SET_VRING_NUM: u32 = 8;
const SET_VRING_ADDR: u32 = 9;
const SET_VRING_BASE: u32 = 10;
const GET_VRING_BASE: u32 = 11;
const SET_VRING_KICK: u32 = 12;
const SET_VRING_CALL: u32 = 13;
const SET_PROTOCOL_FEATURES: u32 = 16;
const SET_VRING_ENABLE: u32 = 18;
const SEND_RARP: u32 = 19;
const NET_SET_MTU: u32 = 20;
const ADD_MEM_REG: u32 = 37;
const REM_MEM_REG: u32 = 38;
const SET_STATUS: u32 = 39;
const GET_STATUS: u32 = 40;

/// Tests here count the descriptors of the process, so they take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("proc").count()
}

struct Bench {
    directory: tempfile::TempDir,
    port: TestPort,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let port = TestPort::open(VhostOptions::new(directory.path().join("vm1")));
        Self { directory, port }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("vm1")
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.path()).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        stream
    }

    /// A well-behaved front-end is served.
    fn assert_serves(&self) {
        Guest::connect(&self.path(), 1, FEATURES).start();
        self.port.wait_event(5, is_up);
        self.port.wait_event(5, is_down);
    }
}

fn header(code: u32, flags: u32, len: usize) -> Vec<u8> {
    [code, flags, len as u32].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn message(code: u32, payload: &[u8]) -> Vec<u8> {
    [header(code, 1, payload.len()), payload.to_vec()].concat()
}

fn longs(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

fn state(index: u32, value: u32) -> Vec<u8> {
    [index.to_ne_bytes(), value.to_ne_bytes()].concat()
}

fn send(stream: &UnixStream, bytes: &[u8], fds: &[RawFd]) {
    let _ = stream.send_with_fds(&[bytes], fds);
}

/// guest address, length, front-end address, offset
fn table(regions: &[[u64; 4]]) -> Vec<u8> {
    let mut payload = longs(&[regions.len() as u64]);
    regions.iter().for_each(|region| payload.extend(longs(region)));
    message(SET_MEM_TABLE, &payload)
}

fn is_closed(stream: &mut UnixStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

fn memfd(len: u64) -> OwnedFd {
    Mapping::memfd(c"test", len).expect("memfd").as_fd().try_clone_to_owned().expect("dup")
}

/// What is sent, with which descriptors, and part of the reason for which it is refused.
type Attack = (&'static str, Vec<u8>, Vec<RawFd>, &'static str);

fn attacks(pipe: RawFd, file: RawFd, null: RawFd, memory: RawFd, disk: RawFd) -> Vec<Attack> {
    let region = [0x1000, 4096, 0x1000, 0];
    let single = |code, region: &[u64; 4]| message(code, &[longs(&[0]), longs(region)].concat());
    let attack = |name, bytes, fds: &[RawFd], why| (name, bytes, fds.to_vec(), why);
    vec![
        attack("version 2", header(GET_FEATURES, 2, 0), &[], "not vhost-user version 1"),
        attack("a reply", header(GET_FEATURES, 5, 0), &[], "not vhost-user version 1"),
        attack("garbage", vec![0xff; 64], &[], "not vhost-user version 1"),
        attack("huge", header(GET_FEATURES, 1, 0xffff_fff0), &[], "a message of 4294967280 bytes"),
        attack("unknown request", message(999, &[]), &[], "request 999 is not supported"),
        attack("never offered", message(34, &[]), &[], "request 34 is not supported"),
        attack("short payload", message(SET_VRING_NUM, &[0; 4]), &[], "a payload of 4 bytes"),
        attack("long payload", message(SET_VRING_NUM, &[0; 9]), &[], "a payload of 9 bytes"),
        attack("feature", message(SET_FEATURES, &longs(&[1 << 50])), &[], "never offered"),
        attack("protocol", message(SET_PROTOCOL_FEATURES, &longs(&[1 << 16])), &[], "never offered"),
        attack("index 300", message(SET_VRING_NUM, &state(300, 256)), &[], "vring index 0x12c"),
        attack("index 2", message(SET_VRING_BASE, &state(2, 0)), &[], "vring index 0x2"),
        attack("index -1", message(GET_VRING_BASE, &state(u32::MAX, 0)), &[], "vring index 0xffffffff"),
        attack("enable 2", message(SET_VRING_ENABLE, &state(0, 2)), &[], "value 0x2"),
        attack("address of 9", message(SET_VRING_ADDR, &longs(&[9, 0, 0, 0, 0])), &[], "vring index 0x9"),
        attack("size 0", message(SET_VRING_NUM, &state(0, 0)), &[], "ring size 0x0"),
        attack("size 100", message(SET_VRING_NUM, &state(0, 100)), &[], "ring size 0x64"),
        attack("size 65536", message(SET_VRING_NUM, &state(0, 65536)), &[], "ring size 0x10000"),
        attack("kick without fd", message(SET_VRING_KICK, &longs(&[0])), &[], "0 file descriptors"),
        attack("two kicks", message(SET_VRING_KICK, &longs(&[0])), &[pipe, pipe], "2 file descriptors"),
        attack("kick and no fd", message(SET_VRING_KICK, &longs(&[0x100])), &[pipe], "1 file descriptors"),
        attack("kick of ring 77", message(SET_VRING_KICK, &longs(&[77])), &[pipe], "vring index 0x4d"),
        attack("kick is a pipe", message(SET_VRING_KICK, &longs(&[0])), &[pipe], "is not an eventfd"),
        attack("call is a file", message(SET_VRING_CALL, &longs(&[0])), &[file], "is not an eventfd"),
        attack("descriptors of nothing", message(GET_FEATURES, &[]), &[pipe; 8], "8 file descriptors"),
        attack("flood", message(SET_VRING_NUM, &state(0, 256)), &[pipe; 253], "253 file descriptors"),
        attack("flooded table", table(&[region]), &[memory; 253], "253 file descriptors"),
        attack("table without files", table(&[region]), &[], "0 file descriptors"),
        attack("table cut short", message(SET_MEM_TABLE, &longs(&[3, 0, 0])), &[memory; 3], "a payload of 24 bytes"),
        attack("count overflows", message(SET_MEM_TABLE, &longs(&[0x0800_0000])), &[], "a payload of 8 bytes"),
        attack("memory is a pipe", table(&[region]), &[pipe], "SET_MEM_TABLE: mapping the region"),
        attack("memory is /dev/null", table(&[region]), &[null], "SET_MEM_TABLE: mapping the region"),
        attack("memory on a disk", table(&[region]), &[disk], "is not memory"),
        attack("tiny region", table(&[[0x1000, 4095, 0x1000, 0]]), &[memory], "is not possible"),
        attack("beyond the file", table(&[[0x1000, 1 << 40, 0x1000, 0]]), &[memory], "to map in a file of"),
        attack("offset overflows", table(&[[0, 4096, 0, u64::MAX]]), &[memory], "is not possible"),
        attack("address overflows", table(&[[u64::MAX, 4096, 0, 0]]), &[memory], "is not possible"),
        attack("empty region", table(&[[0, 0, 0, 0]]), &[memory], "is not possible"),
        attack("overlap", table(&[region, [0x1800, 4096, 0x9000, 0]]), &[memory; 2], "overlaps another"),
        attack("add without file", single(ADD_MEM_REG, &region), &[], "0 file descriptors"),
        attack("remove what is not", single(REM_MEM_REG, &region), &[], "guest address 0x1000"),
    ]
}

#[test]
fn bogus_messages_end_the_connection_and_leave_nothing_open() {
    let _alone = alone();
    let bench = Bench::new();
    let (reader, _writer) = std::io::pipe().expect("pipe");
    let file = tempfile::tempfile().expect("file");
    let null = File::options().read(true).write(true).open("/dev/null").expect("/dev/null");
    let memory = memfd(65536);
    // The test program itself lies on a disk; what matters is that it is a file of some size, and not memory.
    let disk = File::open(std::env::current_exe().expect("this program")).expect("this program");
    bench.assert_serves();
    let before = open_descriptors();
    let files = [reader.as_raw_fd(), file.as_raw_fd(), null.as_raw_fd(), memory.as_raw_fd(), disk.as_raw_fd()];
    let [reader, file, null, memory, disk] = files;
    for (name, bytes, fds, why) in attacks(reader, file, null, memory, disk) {
        let mut stream = bench.connect();
        send(&stream, &bytes, &fds);
        assert!(is_closed(&mut stream), "{name}: the connection is still there");
        let problem = bench.port.status().problem;
        assert!(problem.contains(why), "{name}: {problem:?}, expected {why:?}");
        drop(stream);
        assert_eq!(open_descriptors(), before, "{name}: descriptors stay open");
    }
    bench.assert_serves();
    assert_eq!(open_descriptors(), before);
}

#[test]
fn what_is_not_offered_but_harmless_is_understood() {
    let _alone = alone();
    let bench = Bench::new();
    let mut stream = bench.connect();
    let (reader, _writer) = std::io::pipe().expect("pipe");
    send(&stream, &message(SEND_RARP, &longs(&[0x1122])), &[]);
    send(&stream, &message(NET_SET_MTU, &longs(&[1500])), &[]);
    send(&stream, &message(SET_LOG_FD, &[]), &[reader.as_raw_fd()]);
    send(&stream, &message(SET_STATUS, &longs(&[15])), &[]);
    // QEMU enables rings before it acknowledges features.
    send(&stream, &message(SET_VRING_ENABLE, &state(0, 1)), &[]);
    send(&stream, &message(GET_STATUS, &[]), &[]);
    let mut answer = [0; 20];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer[..], [header(GET_STATUS, 5, 8), longs(&[15])].concat());
}

/// With REPLY_ACK a front-end hears that its request was refused, and may go on.
#[test]
fn a_refused_request_is_acknowledged_as_such() {
    let _alone = alone();
    let bench = Bench::new();
    let mut stream = bench.connect();
    send(&stream, &message(SET_PROTOCOL_FEATURES, &longs(&[8])), &[]);
    let payload = longs(&[1, 0x1000, 4096, 0x1000, 0]);
    let null = File::open("/dev/null").expect("/dev/null");
    send(&stream, &[header(SET_MEM_TABLE, 9, payload.len()), payload].concat(), &[null.as_raw_fd()]);
    let mut answer = [0; 20];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer[..], [header(SET_MEM_TABLE, 5, 8), longs(&[1])].concat());
    send(&stream, &message(GET_FEATURES, &[]), &[]);
    stream.read_exact(&mut answer).expect("the connection is still there");
}

#[test]
fn messages_in_small_pieces_are_put_together() {
    let _alone = alone();
    let bench = Bench::new();
    let mut stream = bench.connect();
    for byte in [message(SET_STATUS, &longs(&[7])), message(GET_STATUS, &[])].concat() {
        stream.write_all(&[byte]).expect("write");
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut answer = [0; 20];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer[12], 7);
}

#[test]
fn a_stalled_message_delays_neither_close_nor_other_ports() {
    let _alone = alone();
    for bytes in [&header(GET_FEATURES, 1, 0)[..5], &header(SET_VRING_NUM, 1, 8)] {
        let (mut stalled, other) = (Bench::new(), Bench::new());
        let mut stream = stalled.connect();
        send(&stream, bytes, &[]);
        other.assert_serves();
        let start = Instant::now();
        stalled.port.close();
        assert!(start.elapsed() < Duration::from_millis(500), "close took {:?}", start.elapsed());
        assert!(is_closed(&mut stream));
    }
}

#[test]
fn a_message_that_never_ends_is_given_up() {
    let _alone = alone();
    let bench = Bench::new();
    let mut stream = bench.connect();
    send(&stream, &header(SET_VRING_NUM, 1, 8), &[]);
    assert!(is_closed(&mut stream));
    assert!(bench.port.status().problem.contains("incomplete"));
    bench.assert_serves();
}

#[test]
fn a_front_end_that_never_reads_is_sent_away() {
    let _alone = alone();
    let bench = Bench::new();
    let mut stream = bench.connect();
    let request = message(GET_FEATURES, &[]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while stream.write_all(&request).is_ok() {
        assert!(Instant::now() < deadline, "still served");
    }
    assert_eq!(bench.port.status().problem, "the front-end does not read its replies");
}

/// A message in many parts, each with as many descriptors as the kernel carries.
#[test]
fn descriptors_do_not_pile_up() {
    let _alone = alone();
    let bench = Bench::new();
    let before = open_descriptors();
    let mut stream = bench.connect();
    let (reader, _writer) = std::io::pipe().expect("pipe");
    send(&stream, &header(SET_MEM_TABLE, 1, 4096), &[]);
    let mut most = 0;
    for _ in 0..200 {
        send(&stream, &[0], &[reader.as_raw_fd(); 253]);
        std::thread::sleep(Duration::from_millis(1));
        most = most.max(open_descriptors());
    }
    assert!(is_closed(&mut stream));
    assert!(most < before + 300, "{most} descriptors are open, {before} before");
    assert!(bench.port.status().problem.contains("file descriptors"), "{}", bench.port.status().problem);
}

/// What a guest's memory is mapped from does not stay open: hundreds of regions on each of many ports are too many.
#[test]
fn regions_cost_no_descriptors() {
    let _alone = alone();
    let bench = Bench::new();
    let mut stream = bench.connect();
    let memory = memfd(4096);
    let before = open_descriptors();
    for index in 0..500u64 {
        let payload = longs(&[0, index << 12, 4096, index << 12, 0]);
        send(&stream, &message(ADD_MEM_REG, &payload), &[memory.as_raw_fd()]);
    }
    send(&stream, &message(GET_FEATURES, &[]), &[]);
    stream.read_exact(&mut [0; 20]).expect("an answer, when all that came before was served");
    // Ours, and the port's end of the connection, which may not have been there before.
    assert!(open_descriptors() <= before + 1, "{} descriptors are open, {before} before", open_descriptors());
}

/// Each SET_VRING_CALL takes a running ring from its worker and gives it back: a front-end that sends nothing else waits.
#[test]
fn a_front_end_that_restarts_its_rings_without_end_waits() {
    let _alone = alone();
    let bench = Bench::new();
    let mut guest = Guest::connect(&bench.path(), 1, FEATURES);
    guest.start();
    bench.port.wait_event(5, is_up);
    let before = bench.port.status().requests;
    let start = Instant::now();
    let call = vmm_sys_util::eventfd::EventFd::new(0).expect("eventfd");
    for _ in 0..3000 {
        guest.front_end.set_vring_call(1, &call).expect("set_vring_call");
    }
    bench.port.wait_status(|status| status.requests >= before + 2500);
    assert!(start.elapsed() >= Duration::from_secs(1), "2500 restarts in {:?}", start.elapsed());
}

/// A file may be of any size and empty; mapped often enough, such files leave no address space for anybody.
#[test]
fn address_space_is_limited() {
    let _alone = alone();
    let bench = Bench::new();
    let mut stream = bench.connect();
    let memory = memfd(4 << 40);
    for index in 0..5u64 {
        let payload = longs(&[0, index << 42, 4 << 40, index << 42, 0]);
        send(&stream, &message(ADD_MEM_REG, &payload), &[memory.as_raw_fd()]);
    }
    assert!(is_closed(&mut stream));
    assert!(bench.port.status().problem.contains("region size 0x40000000000"), "{}", bench.port.status().problem);
    bench.assert_serves();
}

/// A front-end that is told of each refusal may go on for ever; each is a line in the log.
#[test]
fn refusals_do_not_flood_the_log() {
    let _alone = alone();
    let bench = Bench::new();
    let stream = bench.connect();
    send(&stream, &message(SET_PROTOCOL_FEATURES, &longs(&[8])), &[]);
    let start = Instant::now();
    for _ in 0..50 {
        send(&stream, &[header(SET_VRING_NUM, 9, 8), state(0, 0)].concat(), &[]);
    }
    bench.port.wait_status(|status| status.requests >= 45);
    assert!(start.elapsed() >= Duration::from_secs(1), "45 refusals in {:?}", start.elapsed());
}

#[test]
fn memory_slots_are_limited() {
    let _alone = alone();
    let bench = Bench::new();
    let before = open_descriptors();
    let mut stream = bench.connect();
    let memory = memfd(4096);
    for index in 0..=509u64 {
        let payload = longs(&[0, index << 12, 4096, index << 12, 0]);
        send(&stream, &message(ADD_MEM_REG, &payload), &[memory.as_raw_fd()]);
    }
    assert!(is_closed(&mut stream));
    assert!(bench.port.status().problem.contains("region number 0x1fe"), "{}", bench.port.status().problem);
    drop((stream, memory));
    assert_eq!(open_descriptors(), before);
}
