//! Publishing: control puts a snapshot up, every worker takes it at the start of its next pass and says so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::pipeline::Snapshot;

/// The snapshot in force, and who uses which.
///
/// A worker's look costs one load; it takes the lock only when the epoch moved. Old snapshots stay in `retired` until
/// every worker has left them, so that control frees them and never a worker.
#[derive(Default)]
pub struct Switchboard {
    epoch: AtomicU64,
    current: Mutex<Arc<Snapshot>>,
    acknowledged: Box<[AtomicU64]>,
    retired: Mutex<Vec<Arc<Snapshot>>>,
}

impl Switchboard {
    /// An empty snapshot (epoch 0), for this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { acknowledged: (0..workers).map(|_| AtomicU64::new(0)).collect(), ..Self::default() }
    }

    /// Puts `snapshot` up as the next epoch, which is returned. Frees the snapshots that no worker uses any more.
    pub fn publish(&self, mut snapshot: Snapshot) -> u64 {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot.follow(&current);
        let epoch = snapshot.epoch;
        let old = std::mem::replace(&mut *current, Arc::new(snapshot));
        drop(current);
        self.epoch.store(epoch, Ordering::SeqCst);
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(old);
        self.collect();
        epoch
    }

    /// Frees retired snapshots that every worker has left.
    pub fn collect(&self) {
        let used = self.acknowledged();
        // Dropped outside of the lock: freeing a large table takes a while.
        let free: Vec<_> = {
            let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
            retired.extract_if(.., |old| old.epoch < used).collect()
        };
        drop(free);
    }

    /// The epoch that every worker has reached.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        let published = self.epoch.load(Ordering::SeqCst);
        self.acknowledged.iter().map(|epoch| epoch.load(Ordering::Acquire)).min().unwrap_or(published)
    }

    /// Worker `worker` uses this epoch or a later one.
    #[must_use]
    pub fn has_acknowledged(&self, worker: usize, epoch: u64) -> bool {
        self.acknowledged[worker].load(Ordering::Acquire) >= epoch
    }

    /// The epoch in force. Ordered against a worker's falling asleep, see `Workers::is_in_effect`; on x86-64 that is free.
    #[inline(always)]
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// The snapshot in force.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Worker `worker` uses `epoch` now, and nothing older.
    pub fn acknowledge(&self, worker: usize, epoch: u64) {
        self.acknowledged[worker].store(epoch, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_frees_a_snapshot_when_the_last_worker_left_it() {
        let board = Switchboard::new(2);
        assert_eq!(board.publish(Snapshot::default()), 1);
        let first = Arc::downgrade(&board.current());
        board.acknowledge(0, 1);
        board.acknowledge(1, 1);
        assert_eq!(board.publish(Snapshot::default()), 2);
        board.acknowledge(0, 2);
        board.collect();
        assert!(first.upgrade().is_some(), "worker 1 still uses it");
        assert_eq!(board.acknowledged(), 1);
        board.acknowledge(1, 2);
        board.collect();
        assert!(first.upgrade().is_none());
    }
}
