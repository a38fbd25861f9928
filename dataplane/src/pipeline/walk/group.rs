//! Groups: which buckets a packet goes through.
//!
//! Source: OpenFlow 1.5.1 section 5.10. What changes while packets pass (a port that is watched goes down) comes as another
//! version of the bridge, so that the choice holds for a path. Neighbours: `hash` spreads packets over the buckets of select groups.

use super::hash::{of_fields, of_method, score};
use super::{ActionSet, Outer, Stop, Walk};
use crate::flow::{Bucket, Group, GroupKind, HashFields, Selection, WATCH_ANY, reason};
use crate::packet::DropReason;
use crate::pipeline::path::Step;
use crate::pipeline::snapshot::BridgeView;

/// Groups that watch groups that watch groups.
const MAX_WATCHES: u32 = 32;

/// True when the port is there and its link is up.
pub(super) fn port_is_up(bridge: &BridgeView, port: u32) -> bool {
    bridge.ports.by_number(port).is_some() && !bridge.program.dead_ports.contains(&port)
}

/// True when packets may go through this bucket.
fn is_alive(bridge: &BridgeView, bucket: &Bucket, depth: u32) -> bool {
    let watches_nothing = bucket.watch_port == WATCH_ANY && bucket.watch_group == WATCH_ANY;
    let group_is_alive = |id: u32| {
        let group = bridge.program.groups.get(&id);
        depth < MAX_WATCHES
            && group.is_some_and(|entry| entry.group.buckets.iter().any(|bucket| is_alive(bridge, bucket, depth + 1)))
    };
    watches_nothing
        || (bucket.watch_port != WATCH_ANY && port_is_up(bridge, bucket.watch_port))
        || (bucket.watch_group != WATCH_ANY && group_is_alive(bucket.watch_group))
}

impl<'a> Walk<'a, '_> {
    pub(super) fn group(&mut self, id: u32, outer: &Outer<'a, '_>) -> Result<(), Stop> {
        let Some(entry) = self.bridge.program.groups.get(&id) else {
            return self.step(Step::Drop(DropReason::NoBucket));
        };
        let group = &entry.group;
        self.step(Step::Group(id))?;
        let mut alive = group.buckets.iter().enumerate().filter(|(_, bucket)| is_alive(self.bridge, bucket, 0));
        let chosen = match group.kind {
            GroupKind::All => {
                let all: &mut dyn Iterator<Item = (usize, &'a Bucket)> = &mut alive;
                return self.buckets(id, all);
            }
            GroupKind::Indirect | GroupKind::FastFailover => alive.next(),
            GroupKind::Select => {
                drop(alive);
                self.select(group)?
            }
        };
        let _ = outer;
        match chosen {
            Some(chosen) => self.buckets(id, &mut std::iter::once(chosen)),
            None => self.step(Step::Drop(DropReason::NoBucket)),
        }
    }

    fn buckets(&mut self, id: u32, buckets: &mut dyn Iterator<Item = (usize, &'a Bucket)>) -> Result<(), Stop> {
        for (place, bucket) in buckets {
            self.step(Step::Bucket { group: id, bucket: place as u16 })?;
            self.on_copy(|walk| {
                let (reason, exit) = (std::mem::replace(&mut walk.reason, reason::GROUP), walk.exit);
                let set = ActionSet::of(&bucket.actions)?;
                walk.deeper(|walk| walk.run_set(&set, &Outer { rest: &[], outer: None }))?;
                (walk.reason, walk.exit, walk.paused) = (reason, exit, false);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// By hash and weight: the bucket with the best score of those alive.
    fn select(&mut self, group: &'a Group) -> Result<Option<(usize, &'a Bucket)>, Stop> {
        self.fresh()?;
        let key = &self.state.key;
        let hash = match &group.selection {
            Some(Selection { fields, parameter, .. }) if !fields.is_empty() => of_fields(key, fields, *parameter),
            Some(Selection { parameter, .. }) => of_method(key, HashFields::SymmetricL4, *parameter),
            None => of_method(key, HashFields::SymmetricL4, 0),
        };
        // Minus the logarithm of an even choice, divided by the weight, is least for each bucket as often as its weight says.
        let cost = |bucket: &Bucket| {
            let even = (f64::from(score(hash, bucket.id)) + 1.0) / (f64::from(u32::MAX) + 2.0);
            -even.ln() / f64::from(bucket.weight)
        };
        let usable = |bucket: &Bucket| bucket.weight > 0 && is_alive(self.bridge, bucket, 0);
        let candidates = group.buckets.iter().enumerate().filter(|(_, bucket)| usable(bucket));
        Ok(candidates.min_by(|(_, one), (_, other)| cost(one).total_cmp(&cost(other))))
    }
}
