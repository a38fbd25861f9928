//! Which rules were touched since an earlier state of the tables: for whoever derived something from that state and wants to
//! know whether it still holds.
//!
//! Every change has a number that no other change of this process has, so a number names a state: clones share it, and of two
//! states that went apart neither knows the other's last number. Whoever asks for a state that is not known, or is too long
//! ago, is told so and has to start over. Neighbours: `tables` notes every change; the pipeline's `sort` asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Rule;

/// Changes that are remembered.
const REMEMBERED: usize = 1024;

/// See the file's head. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct History {
    /// The number of each change and the rule that came, went or became another; oldest first.
    changes: imbl::Vector<(u64, Arc<Rule>)>,
    /// The last change that is not remembered any more; 0 for the empty tables with which all begin.
    forgotten: u64,
}

impl History {
    pub fn note(&mut self, rule: &Arc<Rule>) {
        static LAST: AtomicU64 = AtomicU64::new(0);
        if self.changes.len() == REMEMBERED
            && let Some((number, _)) = self.changes.pop_front()
        {
            self.forgotten = number;
        }
        self.changes.push_back((LAST.fetch_add(1, Relaxed) + 1, Arc::clone(rule)));
    }

    /// The number of this state.
    pub fn number(&self) -> u64 {
        self.changes.last().map_or(self.forgotten, |(number, _)| *number)
    }

    /// The rules touched since that state; `None` when it is not known here.
    pub fn since(&self, number: u64) -> Option<impl Iterator<Item = &Arc<Rule>>> {
        let newer = self.changes.iter().rev().take_while(|change| change.0 != number).count();
        let is_known = newer < self.changes.len() || number == self.forgotten;
        is_known.then(|| self.changes.iter().rev().take(newer).map(|(_, rule)| rule))
    }
}
