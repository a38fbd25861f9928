//! From a worker to control: packets for controllers and flows to learn, through a bounded queue, in buffers that are used
//! again and again.
//!
//! Trust: guests cause upcalls, as many as they like: each port has a rate, and a queue that is full takes no more. What is not
//! taken is counted as a drop. Neighbours: `run` and `live` make upcalls, control takes them ([`Upcalls::take`]).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::upcall::{Continuation, Learned, PacketIn, Upcall};
use super::walk::{Outer, Request, State, learned};
use crate::flow::{Controller, FlowKey, Learn, reason};
use crate::packet::Packet;
use crate::port::{MAX_PORTS, PortId};
use crate::sys::event::EventFd;

/// Upcalls of a worker that may wait for control.
const QUEUE: usize = 512;
/// Bytes of a frame that a buffer has room for from the beginning; it grows once for a longer one.
const FRAME: usize = 2048;
/// Upcalls of one port and worker: so many per millisecond, and so many at once.
const RATE_PER_MS: u64 = 16;
const BURST: u64 = 512;
/// Milliseconds between two requests to learn the same flow: often enough to keep it from its idle time-out.
pub(super) const LEARN_MS: u64 = 500;
/// Flows learned from packets that walk by themselves of which a worker knows when that was.
const LEARNED: usize = 256;

/// The queue between one worker and control.
pub struct Upcalls {
    send: Sender<Upcall>,
    receive: Receiver<Upcall>,
    give_back: Sender<Box<PacketIn>>,
    free: Receiver<Box<PacketIn>>,
    /// Control was woken and has not looked yet.
    pending: AtomicBool,
    waker: OnceLock<Arc<EventFd>>,
}

impl Default for Upcalls {
    fn default() -> Self {
        let ((send, receive), (give_back, free)) = (bounded(QUEUE), bounded(QUEUE));
        for _ in 0..QUEUE {
            let packet = PacketIn { frame: Vec::with_capacity(FRAME), ..PacketIn::default() };
            let _ = give_back.try_send(Box::new(packet));
        }
        Self { send, receive, give_back, free, pending: AtomicBool::new(false), waker: OnceLock::new() }
    }
}

impl Upcalls {
    /// Who is signalled when there is something to take; once until it is taken.
    pub fn wake_through(&self, waker: Arc<EventFd>) {
        let _ = self.waker.set(waker);
    }

    /// What came since the last call.
    pub fn take(&self, taken: &mut Vec<Upcall>) {
        self.pending.store(false, Ordering::SeqCst);
        for upcall in self.receive.try_iter().take(QUEUE) {
            match upcall {
                Upcall::PacketIn(packet) => {
                    taken.push(Upcall::PacketIn(packet.clone()));
                    let _ = self.give_back.try_send(packet);
                }
                learned @ Upcall::Learn(_) => taken.push(learned),
            }
        }
    }

    fn send(&self, upcall: Upcall) -> bool {
        if let Err(refused) = self.send.try_send(upcall) {
            if let Upcall::PacketIn(packet) = refused.into_inner() {
                let _ = self.give_back.try_send(packet);
            }
            return false;
        }
        if !self.pending.swap(true, Ordering::SeqCst)
            && let Some(waker) = self.waker.get()
        {
            waker.signal();
        }
        true
    }
}

/// What is left of a port's share.
#[derive(Clone, Copy, Default)]
struct Share {
    used: u64,
    at_ms: u64,
}

/// A worker's end of the queue.
pub(super) struct Upcaller {
    pub queue: Arc<Upcalls>,
    shares: Box<[Share]>,
    /// A hash of what was learned from, and when.
    learned: [(u64, u64); LEARNED],
}

impl Default for Upcaller {
    fn default() -> Self {
        Self { queue: Arc::default(), shares: vec![Share::default(); MAX_PORTS + 1].into(), learned: [(0, 0); LEARNED] }
    }
}

/// Where an upcall comes from.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub bridge: usize,
    pub ingress: Option<PortId>,
}

impl Upcaller {
    /// True when the port may make one more upcall.
    pub fn admits(&mut self, port: Option<PortId>, now_ms: u64) -> bool {
        let place = port.map_or(MAX_PORTS, |port| usize::from(port.0).min(MAX_PORTS));
        let share = &mut self.shares[place];
        let elapsed = now_ms.saturating_sub(share.at_ms);
        share.at_ms = now_ms;
        share.used = share.used.saturating_sub(elapsed.saturating_mul(RATE_PER_MS));
        let admitted = share.used < BURST;
        share.used += u64::from(admitted);
        admitted
    }

    /// True when the same was learned from a packet with the same key less than [`LEARN_MS`] ago; otherwise now is noted.
    pub fn has_learned(&mut self, learn: &Learn, key: &FlowKey, now_ms: u64) -> bool {
        let mut hasher = DefaultHasher::new();
        (std::ptr::from_ref(learn), key).hash(&mut hasher);
        let hash = hasher.finish();
        let (known, at_ms) = &mut self.learned[hash as usize % LEARNED];
        if *known == hash && now_ms < *at_ms + LEARN_MS {
            return true;
        }
        (*known, *at_ms) = (hash, now_ms);
        false
    }

    /// Makes the upcalls that a request asks for; false when some of them were not taken.
    pub fn make(
        &mut self,
        origin: Origin,
        request: Request,
        (state, stack, outer): (&State, &[u128], &Outer),
        packet: &Packet,
    ) -> bool {
        match request {
            Request::Controller(controller, reason) => self.packet_in(origin, controller, reason, state, packet, None),
            Request::Pause(controller, reason) => {
                let continuation = Some(Box::new(continuation(state, stack, outer)));
                self.packet_in(origin, controller, reason, state, packet, continuation)
            }
            Request::Expired(controllers, _) => {
                let ids = if controllers.is_empty() { &[0] } else { controllers };
                let expired = |&id: &u16| {
                    let controller = Controller { id, reason: reason::INVALID_TTL, ..Controller::default() };
                    self.packet_in(origin, &controller, reason::INVALID_TTL, state, packet, None)
                };
                // All of them, also after one that was refused.
                ids.iter().map(expired).fold(true, |all, one| all & one)
            }
            Request::Learn(learn) => self.learn(origin, learn, state),
        }
    }

    fn packet_in(
        &mut self,
        origin: Origin,
        controller: &Controller,
        reason: u8,
        state: &State,
        packet: &Packet,
        continuation: Option<Box<Continuation>>,
    ) -> bool {
        let Ok(mut made) = self.queue.free.try_recv() else { return false };
        made.bridge = origin.bridge;
        made.ingress = origin.ingress;
        made.controller.clone_from(controller);
        made.controller.reason = reason;
        made.table = state.table;
        made.cookie = state.rule.map_or(u64::MAX, |rule| rule.flow.cookie);
        made.key = state.key;
        made.total_len = packet.len();
        made.continuation = continuation;
        made.frame.clear();
        made.frame.resize(packet.len(), 0);
        packet.copy_to(&mut made.frame);
        if controller.max_len != u16::MAX && !controller.pause {
            made.frame.truncate(usize::from(controller.max_len));
        }
        self.queue.send(Upcall::PacketIn(made))
    }

    fn learn(&mut self, origin: Origin, learn: &Learn, state: &State) -> bool {
        let flow = learned(learn, &state.key);
        self.queue.send(Upcall::Learn(Box::new(Learned { bridge: origin.bridge, flow, limit: learn.limit })))
    }
}

fn continuation(state: &State, stack: &[u128], outer: &Outer) -> Continuation {
    let lists = std::iter::successors(Some(outer), |list| list.outer).map(|list| list.rest);
    Continuation {
        key: state.key,
        table: state.table,
        stack: stack.to_vec(),
        actions: lists.filter(|rest| !rest.is_empty()).map(<[_]>::to_vec).collect(),
        action_set: state.set.iter().cloned().collect(),
    }
}
