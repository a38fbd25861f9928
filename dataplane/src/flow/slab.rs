//! Rules by their number, in a persistent array: a clone is one pointer, a change copies three nodes of 64.
//!
//! A tree of fixed depth rather than a general persistent vector, because the forwarding path reads it for every packet.
//! Free places form a list through the slots themselves, so numbers stay dense.

use std::sync::Arc;

use super::{Rule, RuleId};

/// Children of one node.
const WIDTH: usize = 64;
const BITS: u32 = WIDTH.trailing_zeros();

/// End of the list of free slots.
const NONE: u32 = u32::MAX;

#[derive(Clone)]
enum Slot {
    Rule(Arc<Rule>),
    Free(u32),
}

type Leaf = [Slot; WIDTH];
type Middle = [Option<Arc<Leaf>>; WIDTH];

/// See the file's head.
#[derive(Clone)]
pub(super) struct Slab {
    root: Arc<Vec<Arc<Middle>>>,
    free: u32,
    /// Slots that were ever used.
    end: u32,
    len: usize,
}

impl Slab {
    pub(super) fn new() -> Self {
        Self { root: Arc::new(Vec::new()), free: NONE, end: 0, len: 0 }
    }

    /// The same nodes: nothing was changed in either since one was cloned from the other.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.root, &other.root)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn slot(&self, id: u32) -> Option<&Slot> {
        let middle = self.root.get((id >> (2 * BITS)) as usize)?;
        let leaf = middle[(id >> BITS) as usize % WIDTH].as_ref()?;
        Some(&leaf[id as usize % WIDTH])
    }

    #[inline(always)]
    pub(super) fn rule(&self, id: RuleId) -> Option<&Arc<Rule>> {
        match self.slot(id.0) {
            Some(Slot::Rule(rule)) => Some(rule),
            _ => None,
        }
    }

    /// The number that the next [`insert`](Self::insert) will use.
    pub(super) fn next_id(&self) -> RuleId {
        RuleId(if self.free == NONE { self.end } else { self.free })
    }

    /// Puts a new rule at [`next_id`](Self::next_id), which it must carry.
    pub(super) fn insert(&mut self, rule: Arc<Rule>) {
        let id = self.next_id();
        debug_assert_eq!(rule.id, id);
        match self.slot(id.0) {
            Some(&Slot::Free(next)) if self.free != NONE => self.free = next,
            _ => self.end += 1,
        }
        *self.slot_mut(id.0) = Slot::Rule(rule);
        self.len += 1;
    }

    /// Puts another rule in the place of an installed one with the same number.
    pub(super) fn replace(&mut self, rule: Arc<Rule>) {
        let id = rule.id.0;
        *self.slot_mut(id) = Slot::Rule(rule);
    }

    pub(super) fn remove(&mut self, id: RuleId) -> Option<Arc<Rule>> {
        let rule = Arc::clone(self.rule(id)?);
        *self.slot_mut(id.0) = Slot::Free(self.free);
        self.free = id.0;
        self.len -= 1;
        Some(rule)
    }

    /// The slot to change; nodes that other clones share are copied first.
    fn slot_mut(&mut self, id: u32) -> &mut Slot {
        let (high, middle, low) = ((id >> (2 * BITS)) as usize, (id >> BITS) as usize % WIDTH, id as usize % WIDTH);
        let root = Arc::make_mut(&mut self.root);
        if root.len() <= high {
            root.resize_with(high + 1, || Arc::new([const { None }; WIDTH]));
        }
        let leaf =
            Arc::make_mut(&mut root[high])[middle].get_or_insert_with(|| Arc::new([const { Slot::Free(NONE) }; WIDTH]));
        &mut Arc::make_mut(leaf)[low]
    }

    /// Tells the rules that are different in `after`, at places from `from` on, and returns where to go on when the budget is spent: 1 for
    /// each rule told and for every leaf compared.
    pub(super) fn differ(
        before: Option<&Self>,
        after: Option<&Self>,
        from: u32,
        budget: &mut u32,
        tell: &mut impl FnMut(Option<&Arc<Rule>>, Option<&Arc<Rule>>),
    ) -> Option<u32> {
        let states = [before, after];
        if is_same(states.map(|state| state.map(|state| &state.root))) {
            return None;
        }
        let end = states.into_iter().flatten().map(|state| state.end).max().unwrap_or(0);
        let mut at = from;
        while at < end {
            let high = at >> (2 * BITS);
            let middles = states.map(|state| state.and_then(|state| state.root.get(high as usize)));
            if is_same(middles) {
                at = (high + 1) << (2 * BITS);
                continue;
            }
            let leaves = middles.map(|middle| middle.and_then(|middle| middle[(at >> BITS) as usize % WIDTH].as_ref()));
            if !is_same(leaves) {
                if *budget == 0 {
                    return Some(at);
                }
                let mut cost = 1;
                for place in 0..WIDTH {
                    let rules = leaves.map(|leaf| match leaf.map(|leaf| &leaf[place]) {
                        Some(Slot::Rule(rule)) => Some(rule),
                        _ => None,
                    });
                    if !is_same(rules) {
                        tell(rules[0], rules[1]);
                        cost += 1;
                    }
                }
                *budget = budget.saturating_sub(cost);
            }
            at += WIDTH as u32;
        }
        None
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.root.iter().flat_map(|middle| middle.iter().flatten()).flat_map(|leaf| leaf.iter()).filter_map(|slot| {
            match slot {
                Slot::Rule(rule) => Some(rule),
                Slot::Free(_) => None,
            }
        })
    }
}

/// Both the same object, or both nothing.
fn is_same<T>(pair: [Option<&Arc<T>>; 2]) -> bool {
    match pair {
        [Some(one), Some(other)] => Arc::ptr_eq(one, other),
        [None, None] => true,
        _ => false,
    }
}
