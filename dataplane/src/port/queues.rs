//! The transmit queues of one port, shared by the workers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use super::TxQueue;

type Slot = Mutex<Option<Box<dyn TxQueue>>>;

/// A slot per transmit queue that the port may ever have; a slot is empty while the peer has not enabled that queue.
///
/// A worker locks a slot once per batch, not per packet. With one worker the lock is never contended; with several,
/// one waits while another copies at most a batch.
pub struct TxQueues {
    slots: Box<[Slot]>,
    /// The first `active_count` entries are the indices of filled slots.
    active: Box<[AtomicU16]>,
    active_count: AtomicUsize,
}

impl TxQueues {
    /// Empty slots for `capacity` queues.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            slots: (0..capacity).map(|_| Mutex::new(None)).collect(),
            active: (0..capacity).map(|_| AtomicU16::new(0)).collect(),
            active_count: AtomicUsize::new(0),
        }
    }

    /// Slots there are.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Queues that can be sent through now.
    #[inline]
    #[must_use]
    pub fn active_count(&self) -> usize {
        self.active_count.load(Ordering::Acquire)
    }

    /// The slot for a packet with this flow hash: packets of one flow keep their order. `None` when no queue is active.
    #[inline]
    #[must_use]
    pub fn choose(&self, hash: u32) -> Option<usize> {
        match self.active_count() {
            0 => None,
            1 => Some(usize::from(self.active[0].load(Ordering::Relaxed))),
            count => Some(usize::from(self.active[hash as usize % count].load(Ordering::Relaxed))),
        }
    }

    /// Puts a queue into its slot, or empties the slot; returns what was there. Waits while a worker sends through it.
    ///
    /// # Panics
    /// When `index` is not below the capacity.
    pub fn replace(&self, index: usize, queue: Option<Box<dyn TxQueue>>) -> Option<Box<dyn TxQueue>> {
        let old = std::mem::replace(&mut *lock(&self.slots[index]), queue);
        self.republish();
        old
    }

    /// Runs `send` on the queue in this slot; `None` when the slot is empty.
    #[inline]
    pub fn with<R>(&self, index: usize, send: impl FnOnce(&mut dyn TxQueue) -> R) -> Option<R> {
        let mut slot = lock(&self.slots[index]);
        slot.as_mut().map(|queue| send(queue.as_mut()))
    }

    /// Frames that each of the queues takes now; without limit when there is none: nobody waits for it.
    #[must_use]
    pub fn room(&self) -> usize {
        let rooms = self.slots.iter().filter_map(|slot| lock(slot).as_mut().map(|queue| queue.room()));
        rooms.min().unwrap_or(usize::MAX)
    }

    fn republish(&self) {
        let mut count = 0;
        for (index, slot) in self.slots.iter().enumerate() {
            if lock(slot).is_some() {
                self.active[count].store(index as u16, Ordering::Relaxed);
                count += 1;
            }
        }
        self.active_count.store(count, Ordering::Release);
    }
}

/// A queue whose user panicked is still a queue; the panic itself ends the process elsewhere.
fn lock<T>(slot: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
