//! Controllers that we connect to: when to try, and when to try again.

use crate::model::Target;

/// First pause between two attempts.
const BACKOFF_MIN_MS: u64 = 1000;
/// An attempt that takes longer has failed.
pub(super) const CONNECT_MS: u64 = 8000;

/// A controller of a bridge.
pub(super) struct Dialer {
    pub target: Target,
    /// The connection, or the attempt at one.
    pub connection: Option<usize>,
    /// When to try again.
    due_ms: u64,
    backoff_ms: u64,
}

impl Dialer {
    pub fn new(target: Target) -> Self {
        Self { target, connection: None, due_ms: 0, backoff_ms: BACKOFF_MIN_MS }
    }

    pub fn is_due(&self, now_ms: u64) -> bool {
        self.connection.is_none() && now_ms >= self.due_ms
    }

    /// It is gone, or there was never one: a while until the next attempt, longer every time.
    pub fn lost(&mut self, now_ms: u64, max_ms: u64) {
        self.connection = None;
        self.due_ms = now_ms + self.backoff_ms;
        self.backoff_ms = (self.backoff_ms * 2).min(max_ms.max(BACKOFF_MIN_MS));
    }

    /// Versions were agreed on: the next attempt is the first one again.
    pub fn succeeded(&mut self) {
        self.backoff_ms = BACKOFF_MIN_MS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_maximum_and_shrink_after_a_success() {
        let mut dialer = Dialer::new("tcp:127.0.0.1".parse().unwrap());
        let mut pauses = Vec::new();
        let mut now = 0;
        for _ in 0..5 {
            dialer.lost(now, 8000);
            let due = (now..).step_by(1000).find(|ms| dialer.is_due(*ms)).unwrap();
            pauses.push((due - now) / 1000);
            now = due;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 8]);
        dialer.succeeded();
        dialer.lost(now, 8000);
        assert!(dialer.is_due(now + 1000));
    }
}
