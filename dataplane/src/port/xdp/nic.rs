//! The first sorter: rules in the NIC that give a hardware queue to a pool.
//!
//! A pool may have the queues that RSS does not use: which those are is the administrator's word
//! (`ethtool -X NETDEV equal N` leaves all but the first N). Taking queues from RSS here would move flows between queues, and
//! reorder them, for the sake of a pool that can be sorted otherwise.
//!
//! Rules outlive the process that made them, so ours have places of their own in the NIC's table: what is found there at
//! start was left over by a switch that was killed. Others' rules do not get there by themselves: `ethtool -N` takes the last
//! free place, drivers the first.
//!
//! Neighbours: `sys::ethtool` speaks to the driver, `plan` gives the queues out.

use std::io;
use std::ops::Range;

use super::SortFilter;
use crate::sys::ethtool::{self, SteerRule};

/// Rules on one netdev. Dropping it removes them.
pub(super) struct Nic {
    netdev: String,
    installed: Vec<SteerRule>,
}

impl Nic {
    /// Without rules; those that were left over are removed.
    pub fn new(netdev: &str) -> Self {
        let nic = Self { netdev: netdev.to_owned(), installed: Vec::new() };
        let stale = nic.places().and_then(|places| {
            let taken = ethtool::rule_locations(netdev)?;
            Ok(taken.into_iter().filter(|place| places.contains(place)).collect::<Vec<_>>())
        });
        for place in stale.unwrap_or_default() {
            tracing::info!(netdev, place, "removing a steering rule that was left over");
            nic.delete(place);
        }
        nic
    }

    /// Queues below `queue_count` that pools may have, or why none, for operators.
    pub fn spare_queues(&self, queue_count: u16) -> Result<Vec<u16>, String> {
        let netdev = &self.netdev;
        let places = self.places().map_err(|_| self.driver("cannot steer by destination address"))?;
        if places.is_empty() {
            return Err(self.driver("has no place for rules of ours"));
        }
        if !ethtool::has_ntuple(netdev).unwrap_or(false) {
            return Err(format!("steering is switched off: ethtool -K {netdev} ntuple on"));
        }
        let rss = ethtool::rss_queues(netdev).map_err(|_| self.driver("does not tell which queues RSS uses"))?;
        spare(&rss, queue_count, netdev)
    }

    /// Has the NIC steer exactly these, with as few changes as possible; false when there was nothing to change.
    ///
    /// # Errors
    /// The driver refuses a rule; text for operators. Those before it are in force.
    pub fn steer(&mut self, wanted: &[(SortFilter, u16)]) -> Result<bool, String> {
        if wanted.is_empty() && self.installed.is_empty() {
            return Ok(false);
        }
        let is_wanted =
            |rule: &SteerRule| wanted.contains(&(SortFilter { mac: rule.mac, vlan: rule.vlan }, rule.queue));
        let (keep, leave): (Vec<_>, Vec<_>) = self.installed.drain(..).partition(is_wanted);
        self.installed = keep;
        leave.iter().for_each(|rule| self.delete(rule.location));
        let places = self.places().map_err(|error| self.refusal(&error))?;
        let mut is_changed = !leave.is_empty();
        for &(SortFilter { mac, vlan }, queue) in wanted {
            let same = |rule: &&SteerRule| (rule.mac, rule.vlan, rule.queue) == (mac, vlan, queue);
            if self.installed.iter().any(|rule| same(&rule)) {
                continue;
            }
            let is_free = |place: &u32| self.installed.iter().all(|rule| rule.location != *place);
            let location = places.clone().find(is_free).ok_or("no room: the NIC's table for rules is full")?;
            let rule = SteerRule { mac, vlan, queue, location };
            ethtool::insert_rule(&self.netdev, &rule).map_err(|error| self.refusal(&error))?;
            self.installed.push(rule);
            is_changed = true;
        }
        Ok(is_changed)
    }

    /// What the driver does, for operators.
    fn driver(&self, does: &str) -> String {
        let name = ethtool::driver(&self.netdev).unwrap_or_else(|_| "unknown".into());
        format!("the driver ({name}) {does}")
    }

    fn refusal(&self, error: &io::Error) -> String {
        self.driver(&format!("refused a steering rule: {error}"))
    }

    /// Our part of the table.
    fn places(&self) -> io::Result<Range<u32>> {
        ethtool::rule_capacity(&self.netdev).map(ours)
    }

    fn delete(&self, place: u32) {
        if let Err(error) = ethtool::delete_rule(&self.netdev, place) {
            tracing::warn!(netdev = self.netdev, place, %error, "cannot remove a steering rule");
        }
    }
}

impl Drop for Nic {
    fn drop(&mut self) {
        self.installed.iter().for_each(|rule| self.delete(rule.location));
    }
}

/// Of a table of so many places: neither end.
fn ours(capacity: u32) -> Range<u32> {
    capacity / 4..capacity / 2
}

fn spare(rss: &[u16], queue_count: u16, netdev: &str) -> Result<Vec<u16>, String> {
    let spare: Vec<_> = (0..queue_count).filter(|queue| !rss.contains(queue)).collect();
    if spare.is_empty() {
        return Err(format!(
            "RSS uses all {queue_count} queues: `ethtool -X {netdev} equal N` leaves the others to pools"
        ));
    }
    if spare.len() == usize::from(queue_count) {
        return Err(format!("RSS uses none of the port's {queue_count} queues: one must take everything else"));
    }
    Ok(spare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_get_what_rss_leaves() {
        assert_eq!(spare(&[0, 1], 4, "eth0"), Ok(vec![2, 3]));
        assert!(spare(&[0, 1], 2, "eth0").is_err_and(|why| why.contains("ethtool -X eth0 equal N")));
        assert!(spare(&[4], 2, "eth0").is_err_and(|why| why.contains("everything else")));
    }

    #[test]
    fn our_places_are_neither_the_first_nor_the_last() {
        assert_eq!(ours(1024), 256..512);
        assert!(ours(1).is_empty());
    }
}
