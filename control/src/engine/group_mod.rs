//! Group-mods. OpenFlow 1.5.1 section 6.7 and 7.3.4.3; where it leaves a choice, groups are checked: what a bucket names must
//! be there, and no group may come to itself again.

use std::collections::BTreeSet;
use std::sync::Arc;

use ringswitch_dataplane::flow::{Action, Bucket, GROUP_MAX, Group, GroupEntry, GroupKind, Groups, WATCH_ANY};

use super::edit::Editor;
use crate::openflow::OfError;
use crate::openflow::message::{
    BUCKET_ALL, BUCKET_FIRST, BUCKET_LAST, GROUP_ALL, GroupMod, GroupModCommand, RemovedReason,
};

/// Most groups of a bridge.
pub(super) const GROUPS_MAX: usize = 65_536;
/// Most buckets of a group.
const BUCKETS_MAX: usize = 4096;

impl Editor<'_> {
    pub fn group_mod(&mut self, request: GroupMod) -> Result<(), OfError> {
        let GroupMod { command, group, command_bucket } = request;
        let is_there = self.bridge.program.groups.contains_key(&group.id);
        match command {
            GroupModCommand::Add if is_there => Err(OfError::OFPGMFC_GROUP_EXISTS),
            GroupModCommand::Modify if !is_there => Err(OfError::OFPGMFC_UNKNOWN_GROUP),
            GroupModCommand::Add | GroupModCommand::Modify | GroupModCommand::AddOrMod => self.set_group(group),
            GroupModCommand::Delete => self.delete_groups(group.id),
            GroupModCommand::InsertBucket => self.insert_buckets(group, command_bucket),
            GroupModCommand::RemoveBucket => self.remove_buckets(group.id, command_bucket),
        }
    }

    /// Groups that may name each other. Which one is refused, and why.
    pub fn set_groups(&mut self, groups: Vec<Group>) -> Result<(), (u32, OfError)> {
        groups.iter().for_each(|group| self.put_group(group.clone()));
        groups.iter().try_for_each(|group| self.check_group(group).map_err(|why| (group.id, why)))
    }

    /// Groups go, and the flows that use them. Which one cannot, and why.
    pub fn remove_groups(&mut self, ids: &[u32]) -> Result<(), (u32, OfError)> {
        for id in ids {
            self.bridge.program.groups.remove(id);
        }
        let is_gone = |id: &u32| ids.contains(id);
        for entry in self.bridge.program.groups.values() {
            if let Some(id) = references(&entry.group).into_iter().find(is_gone) {
                return Err((id, OfError::OFPGMFC_CHAINED_GROUP));
            }
        }
        let uses = |action: &Action| matches!(action, Action::Group(group) if is_gone(group));
        self.delete_flows_with(uses, RemovedReason::GroupDelete);
        Ok(())
    }

    fn set_group(&mut self, group: Group) -> Result<(), OfError> {
        self.check_group(&group)?;
        self.put_group(group);
        Ok(())
    }

    /// A group that is changed keeps its age, and counts from zero.
    fn put_group(&mut self, group: Group) {
        let groups = &mut self.bridge.program.groups;
        let created = groups.get(&group.id).map_or(self.now_ms, |old| old.created_ms);
        groups.insert(group.id, Arc::new(GroupEntry::new(group, created, self.lanes)));
    }

    /// A group that does not exist is gone already. Flows that use it go with it.
    fn delete_groups(&mut self, id: u32) -> Result<(), OfError> {
        if id == GROUP_ALL {
            self.bridge.program.groups = Groups::new();
            self.delete_flows_with(|action| matches!(action, Action::Group(_)), RemovedReason::GroupDelete);
            return Ok(());
        }
        if id > GROUP_MAX {
            return Err(OfError::OFPGMFC_INVALID_GROUP);
        }
        let is_used = |entry: &Arc<GroupEntry>| entry.group.id != id && references(&entry.group).contains(&id);
        if self.bridge.program.groups.values().any(is_used) {
            return Err(OfError::OFPGMFC_CHAINED_GROUP);
        }
        if self.bridge.program.groups.remove(&id).is_some() {
            let is_it = |action: &Action| matches!(action, Action::Group(group) if *group == id);
            self.delete_flows_with(is_it, RemovedReason::GroupDelete);
        }
        Ok(())
    }

    fn group(&self, id: u32) -> Result<Group, OfError> {
        self.bridge.program.groups.get(&id).map(|entry| entry.group.clone()).ok_or(OfError::OFPGMFC_UNKNOWN_GROUP)
    }

    fn insert_buckets(&mut self, request: Group, after: u32) -> Result<(), OfError> {
        let mut group = self.group(request.id)?;
        let is_there = |bucket: &Bucket| group.buckets.iter().any(|old| old.id == bucket.id);
        if request.buckets.iter().any(is_there) {
            return Err(OfError::OFPGMFC_BUCKET_EXISTS);
        }
        let place = match after {
            BUCKET_FIRST => 0,
            BUCKET_LAST => group.buckets.len(),
            id => place_of(&group, id)? + 1,
        };
        group.buckets.splice(place..place, request.buckets);
        self.set_group(group)
    }

    fn remove_buckets(&mut self, id: u32, which: u32) -> Result<(), OfError> {
        let mut group = self.group(id)?;
        match which {
            BUCKET_ALL => group.buckets.clear(),
            BUCKET_FIRST if group.buckets.is_empty() => {}
            BUCKET_FIRST => drop(group.buckets.remove(0)),
            BUCKET_LAST => drop(group.buckets.pop()),
            id => drop(group.buckets.remove(place_of(&group, id)?)),
        }
        self.set_group(group)
    }

    fn check_group(&self, group: &Group) -> Result<(), OfError> {
        let groups = &self.bridge.program.groups;
        if group.id > GROUP_MAX {
            return Err(OfError::OFPGMFC_INVALID_GROUP);
        }
        if group.buckets.len() > BUCKETS_MAX {
            return Err(OfError::OFPGMFC_OUT_OF_BUCKETS);
        }
        if groups.len() >= GROUPS_MAX && !groups.contains_key(&group.id) {
            return Err(OfError::OFPGMFC_OUT_OF_GROUPS);
        }
        if group.kind == GroupKind::Indirect && group.buckets.len() != 1 {
            return Err(OfError::OFPGMFC_INVALID_GROUP);
        }
        group.buckets.iter().try_for_each(|bucket| check_bucket(group.kind, bucket))?;
        let used = references(group);
        if used.contains(&group.id) {
            return Err(OfError::OFPGMFC_LOOP);
        }
        group.buckets.iter().try_for_each(|bucket| self.verify(&bucket.actions, None))?;
        let watched = group.buckets.iter().map(|bucket| bucket.watch_group).filter(|group| *group != WATCH_ANY);
        if watched.into_iter().any(|group| !groups.contains_key(&group)) {
            return Err(OfError::OFPGMFC_BAD_WATCH);
        }
        if comes_back(groups, group.id, used) { Err(OfError::OFPGMFC_LOOP) } else { Ok(()) }
    }
}

fn check_bucket(kind: GroupKind, bucket: &Bucket) -> Result<(), OfError> {
    let is_watched = bucket.watch_port != WATCH_ANY || bucket.watch_group != WATCH_ANY;
    match kind {
        GroupKind::FastFailover if !is_watched => Err(OfError::OFPGMFC_INVALID_GROUP),
        GroupKind::All | GroupKind::Indirect if is_watched => Err(OfError::OFPGMFC_WATCH_UNSUPPORTED),
        GroupKind::Select => Ok(()),
        _ if bucket.weight > 0 => Err(OfError::OFPGMFC_INVALID_GROUP),
        _ => Ok(()),
    }
}

fn place_of(group: &Group, bucket: u32) -> Result<usize, OfError> {
    group.buckets.iter().position(|known| known.id == bucket).ok_or(OfError::OFPGMFC_UNKNOWN_BUCKET)
}

/// The groups that a group's buckets name.
pub(super) fn references(group: &Group) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for bucket in &group.buckets {
        found.extend(Some(bucket.watch_group).filter(|group| *group != WATCH_ANY));
        Action::any(&bucket.actions, &mut |action| {
            if let Action::Group(group) = action {
                found.insert(*group);
            }
            false
        });
    }
    found
}

/// True when a way from these groups leads to `id`.
fn comes_back(groups: &Groups, id: u32, from: BTreeSet<u32>) -> bool {
    let (mut seen, mut left) = (from.clone(), Vec::from_iter(from));
    while let Some(next) = left.pop() {
        if next == id {
            return true;
        }
        let used = groups.get(&next).map(|entry| references(&entry.group)).unwrap_or_default();
        left.extend(used.into_iter().filter(|group| seen.insert(*group)));
    }
    false
}
