//! A vhost-user port and its front-end: negotiation, rings that come and go, memory that changes under traffic, sockets.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ringswitch_dataplane::mem::Mapping;
use ringswitch_dataplane::packet::PacketBatch;
use ringswitch_dataplane::port::PortEvent;
use ringswitch_dataplane::port::vhost::{FeatureSwitches, Mode, VhostError, VhostOptions};
use support::guest::{Guest, MRG_RXBUF, PACKED, PROTOCOL_FEATURES, VERSION_1};
use support::{TestPort, is_down, is_up};
use vhost::VhostBackend;
use vhost::VhostUserMemoryRegionInfo;
use vhost::vhost_user::message::VhostUserHeaderFlag;
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use virtio_bindings::virtio_net::VIRTIO_NET_F_MQ;

const MODERN: u64 = VERSION_1 | MRG_RXBUF | PROTOCOL_FEATURES;

struct Setup {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn setup() -> Setup {
    let directory = tempfile::tempdir().expect("directory");
    Setup { path: directory.path().join("vm1"), _directory: directory }
}

/// The numbers of the frames that arrive, until `until` many.
fn numbers(port: &TestPort, index: u16, until: usize) -> Vec<u32> {
    let (mut batch, mut seen) = (PacketBatch::new(), Vec::new());
    let deadline = Instant::now() + Duration::from_secs(10);
    while seen.len() < until && Instant::now() < deadline {
        if let Some(queue) = port.host.queues.lock().unwrap().get_mut(&index) {
            queue.rx_batch(&mut batch);
            seen.extend(batch.packets().iter().map(|packet| {
                assert_eq!(packet.len(), 60);
                u32::from_be_bytes(packet.head()[..4].try_into().expect("four bytes"))
            }));
            assert_eq!(batch.tally.total(), 0, "frames dropped");
            queue.finish();
            batch.clear();
        }
        std::thread::yield_now();
    }
    seen
}

#[test]
fn comes_up_and_receives_from_split_and_packed_rings() {
    for (features, kind) in [(MODERN, "split"), (MODERN | PACKED, "packed")] {
        let setup = setup();
        let mut port = TestPort::open(VhostOptions { queue_pairs: 2, ..VhostOptions::new(&setup.path) });
        let mut guest = Guest::connect(&setup.path, 2, features);
        assert_eq!(guest.front_end.get_queue_num().expect("get_queue_num"), 4);
        assert_eq!(guest.front_end.get_max_mem_slots().expect("get_max_mem_slots"), 509);
        guest.start();
        assert_eq!(port.event(), PortEvent::Up(format!("vhost-user: {kind}, mrg_rxbuf, 1 queue pair")));
        assert_eq!(port.event(), PortEvent::Up(format!("vhost-user: {kind}, mrg_rxbuf, 2 queue pairs")));
        (0..100).for_each(|number| guest.send(number % 2));
        assert_eq!(numbers(&port, 0, 50), (0..100).step_by(2).collect::<Vec<_>>());
        assert_eq!(numbers(&port, 1, 50), (1..100).step_by(2).collect::<Vec<_>>());
        let status = port.status();
        assert_eq!((status.connections, status.memory_regions, status.live_pairs()), (1, 1, 2));
        port.close();
        assert!(!setup.path.exists(), "the socket is left");
    }
}

#[test]
fn features_turned_off_are_not_offered() {
    let setup = setup();
    let off = FeatureSwitches { packed: false, mrg_rxbuf: false, indirect: false, event_idx: false, in_order: false };
    let _port = TestPort::open(VhostOptions { features: off, ..VhostOptions::new(&setup.path) });
    let front_end = Frontend::connect(&setup.path, 2).expect("connect");
    assert_eq!(front_end.get_features().expect("get_features"), VERSION_1 | PROTOCOL_FEATURES | 1 << 27);
}

/// Without PROTOCOL_FEATURES rings need not be enabled; without VERSION_1 and MRG_RXBUF headers have 10 bytes.
#[test]
fn legacy_guests_are_served() {
    let setup = setup();
    let port = TestPort::open(VhostOptions::new(&setup.path));
    Guest::connect(&setup.path, 1, 0).start();
    assert_eq!(port.event(), PortEvent::Up("vhost-user: split, legacy, 1 queue pair".into()));
}

#[test]
fn no_frame_is_lost_or_doubled_while_memory_and_rings_change() {
    for features in [MODERN, MODERN | PACKED] {
        let setup = setup();
        let port = TestPort::open(VhostOptions::new(&setup.path));
        let mut guest = Guest::connect(&setup.path, 1, features);
        guest.start();
        port.wait_event(5, is_up);
        guest.front_end.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        let other = Mapping::memfd(c"other", 65536).expect("memfd");
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: 0x4000_0000,
            memory_size: 65536,
            userspace_addr: 0x4000_0000,
            mmap_offset: 0,
            mmap_handle: std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&other)),
        };
        let total = 30_000;
        let seen = std::thread::scope(|scope| {
            let receiver = scope.spawn(|| numbers(&port, 0, total));
            for number in 0..total {
                guest.send(0);
                match number % 600 {
                    100 => _ = guest.front_end.add_mem_region(&region).expect("add_mem_region"),
                    200 => guest.front_end.remove_mem_region(&region).expect("remove_mem_region"),
                    300 => _ = guest.front_end.set_mem_table(&[guest.region()]).expect("set_mem_table"),
                    400 => guest.front_end.set_vring_kick(1, &guest.kicks[1]).expect("set_vring_kick"),
                    500 if number < 5000 => {
                        guest.front_end.set_vring_enable(1, false).expect("set_vring_enable");
                        guest.front_end.set_vring_enable(1, true).expect("set_vring_enable");
                    }
                    _ => {}
                }
            }
            receiver.join().expect("receiver")
        });
        assert_eq!(seen.len(), total);
        assert!(seen.iter().copied().eq(0..total as u32), "frames lost, doubled or out of order");
        assert!(port.host.attached.load(Relaxed) > 200, "the rings did change hands");
    }
}

#[test]
fn each_queue_is_enabled_and_disabled_by_itself() {
    let setup = setup();
    let port = TestPort::open(VhostOptions { queue_pairs: 2, ..VhostOptions::new(&setup.path) });
    let mut guest = Guest::connect(&setup.path, 2, MODERN | 1 << VIRTIO_NET_F_MQ);
    guest.start();
    port.wait_event(5, |event| matches!(event, PortEvent::Up(how) if how.contains("2 queue pairs")));
    let attached = || port.host.queues.lock().unwrap().len();
    assert_eq!((attached(), port.tx.active_count()), (2, 2));
    // What the second pair sends stays in its ring while it is disabled; the first pair goes on.
    guest.front_end.set_vring_enable(3, false).expect("set_vring_enable");
    port.wait_status(|status| status.live_pairs() == 1);
    assert_eq!((attached(), port.tx.active_count()), (1, 2));
    guest.send(1);
    guest.send(0);
    assert_eq!(numbers(&port, 0, 1), [1]);
    guest.front_end.set_vring_enable(3, true).expect("set_vring_enable");
    assert_eq!(numbers(&port, 1, 1), [0]);
    // Nothing is sent to a disabled receive ring.
    guest.front_end.set_vring_enable(2, false).expect("set_vring_enable");
    port.wait_status(|status| status.live_pairs() == 1);
    assert_eq!((attached(), port.tx.active_count()), (2, 1));
}

#[test]
fn get_vring_base_stops_a_ring_and_a_kick_starts_it() {
    let setup = setup();
    let port = TestPort::open(VhostOptions::new(&setup.path));
    let mut guest = Guest::connect(&setup.path, 1, MODERN);
    guest.start();
    port.wait_event(5, is_up);
    (0..10).for_each(|_| guest.send(0));
    assert_eq!(numbers(&port, 0, 10).len(), 10);
    assert_eq!(guest.front_end.get_vring_base(1).expect("get_vring_base"), 10);
    assert!(port.host.queues.lock().unwrap().is_empty());
    assert_eq!(port.event(), PortEvent::Down("the guest stopped its rings".into()));
    guest.send(0);
    guest.start_ring(1, 10);
    port.wait_event(5, is_up);
    assert_eq!(numbers(&port, 0, 1), [10]);
}

#[test]
fn a_faulted_port_comes_back_when_its_rings_are_set_up_again() {
    let setup = setup();
    let port = TestPort::open(VhostOptions::new(&setup.path));
    let mut guest = Guest::connect(&setup.path, 1, MODERN);
    guest.start();
    port.wait_event(5, is_up);
    guest.rings[1].push_avail(9999);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut batch = PacketBatch::new();
            while !stop.load(Relaxed) {
                port.host.queues.lock().unwrap().values_mut().for_each(|queue| _ = queue.rx_batch(&mut batch));
                batch.clear();
            }
        });
        let event = port.event();
        stop.store(true, Relaxed);
        assert_eq!(event, PortEvent::Faulted("descriptor index outside the table".into()));
    });
    assert_eq!((port.status().live_pairs(), port.tx.active_count()), (0, 0));
    assert!(port.host.queues.lock().unwrap().is_empty());
    guest = Guest::over(guest.front_end, 1, MODERN);
    for ring in 0..2 {
        guest.front_end.get_vring_base(ring).expect("get_vring_base");
    }
    guest.start();
    port.wait_event(5, is_up);
    guest.send(0);
    assert_eq!(numbers(&port, 0, 1), [0]);
}

/// The front-end cuts the memory file short behind our mapping: the port faults, the process lives.
#[test]
fn memory_truncated_while_mapped_faults_the_port() {
    let setup = setup();
    let port = TestPort::open(VhostOptions::new(&setup.path));
    let mut guest = Guest::connect(&setup.path, 1, MODERN);
    guest.start();
    port.wait_event(5, is_up);
    guest.truncate();
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut batch = PacketBatch::new();
    while port.status().live_pairs() > 0 && Instant::now() < deadline {
        for queue in port.host.queues.lock().unwrap().values_mut() {
            queue.rx_batch(&mut batch);
            queue.finish();
        }
        batch.clear();
    }
    assert_eq!(port.event(), PortEvent::Faulted("guest memory was truncated while mapped".into()));
    drop(guest);
    assert_eq!(port.event(), PortEvent::Down("the front-end disconnected".into()));
}

#[test]
fn front_ends_come_and_go_and_a_second_one_waits() {
    let setup = setup();
    let port = TestPort::open(VhostOptions::new(&setup.path));
    for round in 1..=3 {
        let mut guest = Guest::connect(&setup.path, 1, MODERN);
        guest.start();
        port.wait_event(5, is_up);
        let _waits = UnixStream::connect(&setup.path).expect("the backlog has room");
        guest.send(0);
        assert_eq!(numbers(&port, 0, 1), [0]);
        assert_eq!(port.status().connections, 2 * round - 1, "the second must not be accepted");
        drop(guest);
        assert_eq!(port.event(), PortEvent::Down("the front-end disconnected".into()));
        drop(_waits);
        port.wait_event(5, is_down);
    }
}

#[test]
fn client_mode_finds_its_front_end_in_any_order() {
    let setup = setup();
    let options = VhostOptions { mode: Mode::Client, ..VhostOptions::new(&setup.path) };
    let mut port = TestPort::open(options.clone());
    std::thread::sleep(Duration::from_millis(150));
    let listener = UnixListener::bind(&setup.path).expect("bind");
    let serve = |listener: &UnixListener| {
        let (stream, _) = listener.accept().expect("accept");
        let mut guest = Guest::over(Frontend::from_stream(stream, 2), 1, MODERN);
        guest.start();
        guest
    };
    let guest = serve(&listener);
    port.wait_event(5, is_up);
    // The front-end restarts.
    drop((guest, listener));
    port.wait_event(5, is_down);
    fs::remove_file(&setup.path).expect("unlink");
    let listener = UnixListener::bind(&setup.path).expect("bind");
    let _guest = serve(&listener);
    port.wait_event(5, is_up);
    // The switch restarts.
    port.close();
    assert!(setup.path.exists(), "the front-end's socket is not ours to remove");
    let port = TestPort::open(options);
    let mut guest = serve(&listener);
    port.wait_event(5, is_up);
    guest.send(0);
    assert_eq!(numbers(&port, 0, 1), [0]);
}

#[test]
fn the_socket_has_the_owner_and_mode_asked_for() {
    let setup = setup();
    let is_root = fs::metadata("/proc/self").expect("proc").uid() == 0;
    let (owner, group) = if is_root { (Some(1234), Some(4321)) } else { (None, None) };
    let options = VhostOptions { owner, group, socket_mode: Some(0o620), ..VhostOptions::new(&setup.path) };
    let _port = TestPort::open(options);
    let meta = fs::metadata(&setup.path).expect("the socket is there");
    assert_eq!(meta.permissions().mode() & 0o777, 0o620);
    if is_root {
        assert_eq!((meta.uid(), meta.gid()), (1234, 4321));
    }
}

#[test]
fn a_stale_socket_is_replaced_and_anything_else_is_refused() {
    let setup = setup();
    drop(UnixListener::bind(&setup.path).expect("bind"));
    assert!(setup.path.exists(), "a stale socket");
    let mut first = TestPort::open(VhostOptions::new(&setup.path));
    let error = |options| TestPort::try_open(options).err().expect("an error");
    assert!(matches!(error(VhostOptions::new(&setup.path)), VhostError::InUse(_)));
    Guest::connect(&setup.path, 1, MODERN).start();
    first.wait_event(5, is_up);
    // What lies at the path when the port closes is not ours any more.
    fs::remove_file(&setup.path).expect("unlink");
    fs::write(&setup.path, "precious").expect("write");
    first.close();
    let refused = error(VhostOptions::new(&setup.path));
    assert_eq!(refused.to_string(), format!("{}: exists and is not a socket", setup.path.display()));
    assert_eq!(fs::read(&setup.path).expect("still there"), b"precious");
    let nowhere = VhostOptions::new("/nonexistent/vm1");
    assert_eq!(error(nowhere).to_string(), "/nonexistent/vm1: binding the socket");
    let many = VhostOptions { queue_pairs: 129, ..VhostOptions::new(&setup.path) };
    assert_eq!(error(many).to_string(), "129 queue pairs: expected 1 to 128");
}
