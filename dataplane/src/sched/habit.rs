//! Where the bursts of a receive queue mostly go: so that the next one can be asked for before it is pulled.
//!
//! A guess, and a wrong one costs little: what goes somewhere else is charged there all the same. Neighbours: the worker.

use crate::port::PortId;

/// A queue of a port that senders share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The port.
    pub port: PortId,
    /// OpenFlow's number of the queue.
    pub queue: u32,
}

/// Bursts that must go elsewhere until a habit is forgotten.
const FIRM: u8 = 4;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Habit {
    place: Option<Shared>,
    firm: u8,
}

impl Habit {
    /// Where the next burst will mostly go; none when that is no shared port.
    #[inline(always)]
    #[must_use]
    pub fn place(&self) -> Option<Shared> {
        self.place
    }

    /// A burst mostly went there.
    #[inline(always)]
    pub fn note(&mut self, place: Option<Shared>) {
        if place == self.place {
            self.firm = (self.firm + 1).min(FIRM);
        } else if self.firm > 1 {
            self.firm -= 1;
        } else {
            (self.place, self.firm) = (place, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_burst_makes_a_habit_and_several_others_another() {
        let shared = |port| Some(Shared { port: PortId(port), queue: 0 });
        let mut habit = Habit::default();
        habit.note(shared(1));
        assert_eq!(habit.place(), shared(1));
        (0..9).for_each(|_| habit.note(shared(1)));
        (0..3).for_each(|_| habit.note(None));
        assert_eq!(habit.place(), shared(1));
        habit.note(shared(2));
        assert_eq!(habit.place(), shared(2));
    }
}
