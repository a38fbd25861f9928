//! A closed loop: how many frames may be on their way.

use crate::queue::BATCH;

/// What one core sent and not yet received.
#[derive(Debug)]
pub struct Window {
    /// Infinite when the loop is open.
    limit: u64,
    on_their_way: u64,
    last_rx: u64,
}

impl Window {
    /// At most `limit` frames.
    pub fn new(limit: Option<u64>) -> Self {
        Self { limit: limit.unwrap_or(u64::MAX), on_their_way: 0, last_rx: 0 }
    }

    /// How many may be sent now. Less than a batch is not worth a turn: batches would become ever smaller.
    #[inline(always)]
    pub fn room(&self) -> usize {
        let room = self.limit.saturating_sub(self.on_their_way);
        if room < self.limit.min(BATCH as u64) { 0 } else { usize::try_from(room).unwrap_or(usize::MAX) }
    }

    /// So many were sent and received. Copies (a flood) may arrive more often than they were sent.
    #[inline(always)]
    pub fn moved(&mut self, sent: u64, received: u64, now: u64) {
        self.on_their_way = (self.on_their_way + sent).saturating_sub(received);
        if received > 0 {
            self.last_rx = now;
        }
    }

    /// Gives up what is on its way when nothing arrived for `patience` cycles.
    pub fn forgive(&mut self, now: u64, patience: u64) {
        if now.saturating_sub(self.last_rx) > patience {
            self.on_their_way = 0;
            self.last_rx = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_window_is_on_its_way() {
        let mut window = Window::new(Some(64));
        assert_eq!(window.room(), 64);
        window.moved(64, 0, 1);
        assert_eq!(window.room(), 0);
        window.moved(0, 31, 2);
        assert_eq!(window.room(), 0, "less than a batch waits");
        window.moved(0, 1, 3);
        assert_eq!(window.room(), 32);
    }

    #[test]
    fn what_is_lost_is_forgotten_after_a_while() {
        let mut window = Window::new(Some(8));
        window.moved(8, 0, 0);
        window.forgive(100, 100);
        assert_eq!(window.room(), 0);
        window.forgive(101, 100);
        assert_eq!(window.room(), 8);
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let mut window = Window::new(None);
        window.moved(1_000_000, 0, 0);
        assert!(window.room() > BATCH);
    }
}
