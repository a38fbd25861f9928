//! Walks with a packet at hand: where each needs one of its own, and to make the requests that a path left out.
//!
//! A path holds no keys, no data for controllers and no flows to learn: when a packet on it has to make such a request, the
//! walk is taken again with the packet's key, and the request is made when it comes by. Packet-outs and packets whose way
//! depends on more than their key walk live: each step is done at once.

use super::act::Burst;
use super::parse::{Depth, parse_again};
use super::path::Step;
use super::punt::Origin;
use super::run::{Run, meters_admit};
use super::upcall::PacketOut;
use super::walk::{Outer, Request, Sink, State, Stop, Walk};
use crate::flow::{FlowKey, METER_CONTROLLER, reason};
use crate::packet::DropReason;

/// Makes request `nth` of the walk of packet `id`; false when it was refused.
pub(super) fn replay(burst: &mut Burst, nth: u16, id: usize) -> bool {
    let (bridge, key) = (burst.bridge, burst.key(id));
    let mut room = std::mem::take(&mut burst.slow.room);
    let mut sink = Replay { burst, nth, id, made: false };
    // The same walk was within the budget before.
    let _ = Walk::new(bridge, key, &mut sink, &mut room, &mut { u32::MAX }).start();
    let made = sink.made;
    burst.slow.room = room;
    made
}

struct Replay<'r, 'b> {
    burst: &'r mut Burst<'b>,
    nth: u16,
    id: usize,
    made: bool,
}

impl<'a> Sink<'a> for Replay<'_, '_> {
    fn step(&mut self, _: Step) {}

    fn request(&mut self, nth: u16, request: Request<'a>, state: &State<'a>, stack: &[u128], outer: &Outer<'a, '_>) {
        if nth == self.nth {
            self.made = make(self.burst, self.id, request, (state, stack, outer));
        }
    }

    fn save(&mut self) -> usize {
        0
    }

    fn close(&mut self, _: usize) {}

    fn read(&mut self, _: &mut FlowKey) -> bool {
        false
    }

    fn frame_len(&mut self) -> Option<usize> {
        None
    }
}

fn make(burst: &mut Burst, id: usize, request: Request, at: (&State, &[u128], &Outer)) -> bool {
    let packet = &burst.batch.packets()[id];
    if let Request::Controller(controller, _) | Request::Pause(controller, _) = request {
        let meters = &burst.bridge.program.meters;
        let own = controller.meter.and_then(|meter| meters.get(&meter));
        if !meters_admit(own, packet.len()) || !meters_admit(meters.get(&METER_CONTROLLER), packet.len()) {
            return false;
        }
    }
    let origin = Origin { bridge: burst.ingress.bridge, ingress: burst.origin };
    burst.slow.upcaller.make(origin, request, at, packet)
}

/// Walks with packet `id` and does what is found. `start` begins the walk.
pub(super) fn walk<'b>(
    burst: &mut Burst<'b>,
    id: usize,
    key: FlowKey,
    start: impl FnOnce(Walk<'b, '_>) -> Result<(), Stop>,
) {
    let (bridge, mut budget) = (burst.bridge, burst.budget);
    let mut room = std::mem::take(&mut burst.slow.room);
    burst.slow.backup.clear();
    burst.slow.alive.clear();
    let mut sink = Live { run: Run::new(burst, id..id + 1), id };
    let outcome = start(Walk::new(bridge, key, &mut sink, &mut room, &mut budget));
    burst.slow.room = room;
    burst.budget = budget;
    match outcome {
        Ok(()) => {}
        Err(Stop::Budget) => burst.egress.note_drop(id, DropReason::LookupBudget),
        Err(Stop::TooComplex | Stop::NeedsFrame) => burst.egress.note_drop(id, DropReason::TooComplex),
    }
}

struct Live<'r, 'b> {
    run: Run<'r, 'b>,
    id: usize,
}

impl<'a> Sink<'a> for Live<'_, '_> {
    fn step(&mut self, step: Step) {
        self.run.take(&step, false);
    }

    fn request(&mut self, _: u16, request: Request<'a>, state: &State<'a>, stack: &[u128], outer: &Outer<'a, '_>) {
        if !self.run.is_alive() {
            return;
        }
        let id = self.id;
        if let Request::Expired(_, mpls) = request {
            self.run.release();
            if self.run.dec_ttl_of(id, mpls) {
                return;
            }
        }
        if let Request::Learn(learn) = request
            && self.run.burst.has_learned(learn, &state.key)
        {
            return;
        }
        let made = self.run.burst.may_punt() && make(self.run.burst, id, request, (state, stack, outer));
        if let Request::Controller(..) | Request::Pause(..) = request {
            let reason = if made { DropReason::ToController } else { DropReason::UpcallLimit };
            self.run.burst.egress.note_drop(id, reason);
        }
    }

    fn save(&mut self) -> usize {
        self.run.take(&Step::Save, false);
        0
    }

    fn close(&mut self, _: usize) {
        self.run.take(&Step::Restore { save: 0 }, false);
    }

    fn read(&mut self, key: &mut FlowKey) -> bool {
        self.run.release();
        parse_again(&mut self.run.burst.batch.packets_mut()[self.id], Depth::All, key);
        true
    }

    fn frame_len(&mut self) -> Option<usize> {
        Some(self.run.burst.batch.packets()[self.id].len())
    }
}

/// Runs what control says of its packet, the only one of the burst.
pub(super) fn inject<'b>(burst: &mut Burst<'b>, out: &'b PacketOut) {
    let resume = out.resume.as_deref();
    let mut key = resume.map_or(out.key, |resume| resume.key);
    parse_again(&mut burst.batch.packets_mut()[0], Depth::All, &mut key);
    walk(burst, 0, key, |mut walk| match resume {
        Some(resume) => {
            walk.state.table = resume.table;
            walk.room.stack.extend_from_slice(&resume.stack);
            walk.state.set.write_all(&resume.action_set)?;
            walk.lists(resume.actions.iter().map(Vec::as_slice))
        }
        None => {
            walk.reason = reason::PACKET_OUT;
            walk.lists(std::iter::once(out.actions.as_slice()))
        }
    });
}
