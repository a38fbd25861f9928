//! A switch of two ports without its workers: what the vhost-user tests share.
#![allow(dead_code)] // Each test file uses its part.

pub mod guest;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use ringswitch_dataplane::port::vhost::{VhostError, VhostOptions, VhostPort};
use ringswitch_dataplane::port::{PortContext, PortEvent, PortEvents, PortId, QueueHost, RxQueue, TxQueues};
use ringswitch_dataplane::sys::event::EventFd;

/// Keeps the receive queues, as a worker would.
#[derive(Default)]
pub struct TestHost {
    pub queues: Mutex<HashMap<u16, Box<dyn RxQueue>>>,
    pub attached: AtomicU64,
}

impl QueueHost for TestHost {
    fn attach_rx(&self, _port: PortId, index: u16, queue: Box<dyn RxQueue>) {
        self.attached.fetch_add(1, Relaxed);
        assert!(self.queues.lock().unwrap().insert(index, queue).is_none(), "two queues with index {index}");
    }

    fn detach_rx(&self, _port: PortId, index: u16) -> Option<Box<dyn RxQueue>> {
        self.queues.lock().unwrap().remove(&index)
    }
}

/// A port, and everything that its surroundings would be.
pub struct TestPort {
    pub port: Option<VhostPort>,
    pub host: Arc<TestHost>,
    pub tx: Arc<TxQueues>,
    pub events: Receiver<(PortId, PortEvent)>,
}

impl TestPort {
    pub fn try_open(options: VhostOptions) -> Result<Self, VhostError> {
        let host = Arc::new(TestHost::default());
        let tx = Arc::new(TxQueues::new(usize::from(options.queue_pairs.clamp(1, 128))));
        let (sender, events) = unbounded();
        let context = PortContext {
            id: PortId(7),
            name: "vm1".into(),
            host: Arc::clone(&host) as Arc<dyn QueueHost>,
            tx: Arc::clone(&tx),
            events: PortEvents::new(sender, Arc::new(EventFd::new().expect("eventfd"))),
        };
        Ok(Self { port: Some(VhostPort::open(options, context)?), host, tx, events })
    }

    pub fn open(options: VhostOptions) -> Self {
        Self::try_open(options).expect("the port opens")
    }

    /// The next thing that the port tells control.
    pub fn event(&self) -> PortEvent {
        self.events.recv_timeout(Duration::from_secs(5)).expect("the port tells something").1
    }

    /// Waits for an event that satisfies `wanted`; earlier ones are passed over.
    pub fn wait_event(&self, seconds: u64, wanted: impl Fn(&PortEvent) -> bool) -> PortEvent {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let mut seen = Vec::new();
        while let Ok((_, event)) = self.events.recv_deadline(deadline) {
            if wanted(&event) {
                return event;
            }
            seen.push(event);
        }
        panic!("the event did not come; seen: {seen:?}, {:?}", self.status());
    }

    pub fn status(&self) -> ringswitch_dataplane::port::vhost::VhostStatus {
        self.port.as_ref().expect("open").status()
    }

    /// Waits until the status satisfies `wanted`.
    pub fn wait_status(&self, wanted: impl Fn(&ringswitch_dataplane::port::vhost::VhostStatus) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !wanted(&self.status()) {
            assert!(Instant::now() < deadline, "the status stays {:?}", self.status());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn close(&mut self) {
        self.port.take().expect("open").close();
        assert!(self.host.queues.lock().unwrap().is_empty(), "a receive queue is left");
        assert_eq!(self.tx.active_count(), 0, "a transmit queue is left");
    }
}

pub fn is_up(event: &PortEvent) -> bool {
    matches!(event, PortEvent::Up(_))
}

pub fn is_down(event: &PortEvent) -> bool {
    matches!(event, PortEvent::Down(_))
}
