//! Which of a queue's sockets is served next: deficit round robin by weight, counted in frames.

use crate::packet::BATCH;

/// Frames that the least weight is worth per turn: with one busy socket among many, idle ones are looked at once per so many.
const LEAST_TURN: u64 = 2 * BATCH as u64;

/// One socket's part.
#[derive(Clone, Copy, Debug)]
struct Turn {
    weight: u32,
    /// Frames per turn.
    quantum: i64,
    /// Frames left of this turn; a batch may go beyond it, which the next turn pays for.
    credit: i64,
}

/// By socket, in their order.
#[derive(Debug, Default)]
pub(super) struct Turns {
    turns: Vec<Turn>,
    now: usize,
}

impl Turns {
    /// Adds a socket, as the last.
    pub fn add(&mut self, weight: u32) {
        self.turns.push(Turn { weight: weight.max(1), quantum: 0, credit: 0 });
        self.scale();
    }

    /// Takes a socket out; those behind it move up.
    pub fn remove(&mut self, index: usize) {
        self.turns.remove(index);
        self.now = 0;
        self.scale();
    }

    /// A socket gets another weight.
    pub fn set_weight(&mut self, index: usize, weight: u32) {
        self.turns[index].weight = weight.max(1);
        self.scale();
    }

    fn scale(&mut self) {
        let least = self.turns.iter().map(|turn| turn.weight).min().unwrap_or(1);
        for turn in &mut self.turns {
            turn.quantum = (u64::from(turn.weight) * LEAST_TURN / u64::from(least)) as i64;
        }
    }

    /// The socket to serve, of those that have frames. Looks at each at most once, and at the one whose turn it was twice.
    #[inline]
    pub fn next(&mut self, has_frames: impl Fn(usize) -> bool) -> Option<usize> {
        for _ in 0..=self.turns.len() {
            if self.turns[self.now].credit > 0 && has_frames(self.now) {
                return Some(self.now);
            }
            self.now = if self.now + 1 == self.turns.len() { 0 } else { self.now + 1 };
            // What was not used is not saved up.
            let turn = &mut self.turns[self.now];
            turn.credit = (turn.credit + turn.quantum).min(turn.quantum);
        }
        None
    }

    /// So many frames were taken from a socket.
    #[inline]
    pub fn served(&mut self, index: usize, frames: usize) {
        self.turns[index].credit -= frames as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(weights: &[u32]) -> Turns {
        let mut turns = Turns::default();
        weights.iter().for_each(|&weight| turns.add(weight));
        turns
    }

    /// Frames that each got after so many batches, when those in `busy` always have frames.
    fn served(turns: &mut Turns, busy: &[usize], batches: usize) -> Vec<usize> {
        let mut counts = vec![0; turns.turns.len()];
        for _ in 0..batches {
            let index = turns.next(|index| busy.contains(&index)).expect("someone is busy");
            turns.served(index, BATCH);
            counts[index] += BATCH;
        }
        counts
    }

    #[test]
    fn busy_sockets_share_by_weight() {
        let mut turns = of(&[100, 100, 300]);
        assert_eq!(served(&mut turns, &[0, 1, 2], 500), [100 * BATCH, 100 * BATCH, 300 * BATCH]);
        // What the third does not use, the others share.
        let counts = served(&mut turns, &[0, 1], 500);
        assert!(counts[0].abs_diff(counts[1]) <= 2 * BATCH && counts[2] == 0, "{counts:?}");
        // Weights change, sockets come and go.
        turns.set_weight(0, 900);
        turns.remove(1);
        turns.add(300);
        let counts = served(&mut turns, &[0, 1, 2], 1000);
        assert!(
            counts[0].abs_diff(3 * counts[1]) <= 6 * BATCH && counts[1].abs_diff(counts[2]) <= 2 * BATCH,
            "{counts:?}"
        );
    }

    #[test]
    fn an_extreme_weight_starves_nobody_and_idle_ones_cost_one_look() {
        let mut turns = of(&[10_000, 1]);
        let counts = served(&mut turns, &[0, 1], 40_002);
        assert!(counts[1] > 0 && counts[0] / counts[1] >= 9_000, "{counts:?}");
        let looks = std::cell::Cell::new(0);
        let mut turns = of(&[100; 65]);
        turns.next(|_| false);
        let idle = |_| {
            looks.set(looks.get() + 1);
            false
        };
        assert_eq!(turns.next(idle), None);
        assert!(looks.get() <= 66, "{}", looks.get());
    }

    /// Small batches cannot be used to take more than one's part.
    #[test]
    fn frames_count_and_not_batches() {
        let mut turns = of(&[100, 100]);
        let mut counts = [0; 2];
        for _ in 0..10_000 {
            let index = turns.next(|_| true).expect("both are busy");
            let frames = [1, BATCH][index];
            turns.served(index, frames);
            counts[index] += frames;
        }
        assert!(counts[0].abs_diff(counts[1]) <= 4 * BATCH, "{counts:?}");
    }
}
