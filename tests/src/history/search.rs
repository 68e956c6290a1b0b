//! The search for an order: Wing and Gong's algorithm (1993) with Lowe's memory (2017).
//!
//! Calls and returns of one key stand in a linked list in the order of their instants. An operation
//! whose call stands before the first return may be next; it and its return are then lifted out.
//! A pair of a set of operations and a state that was once a dead end is never entered again.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::model::{self, Claim, State};
use super::{Operation, Verdict, report};

/// Steps between two looks at the clock.
const CLOCK_STEPS: u64 = 4_096;

/// How much a search of one key may cost; above it the key is undecided.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub steps: u64,
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 3_000_000,
            time: Duration::from_secs(30),
        }
    }
}

/// Searches an order of one key's operations; returns the steps that it took, too.
pub(super) fn search(operations: &[&Operation], limits: Limits) -> (Verdict, u64) {
    let claims = model::claims(operations);
    let mut search = Search::new(operations, &claims);
    let verdict = match search.run(limits) {
        Found::Order => Verdict::Linearizable,
        Found::Nothing => {
            let stuck = report::stuck(operations, &claims, &search.longest);
            Verdict::Violated(stuck)
        }
        Found::Limit => Verdict::Undecided(format!(
            "{} operations, given up after {} steps with {} in order",
            operations.len(),
            search.steps,
            search.longest.len()
        )),
    };
    (verdict, search.steps)
}

enum Found {
    Order,
    Nothing,
    Limit,
}

/// The list's head and end; entries begin at 1.
const HEAD: usize = 0;

/// A call or a return in the list of those not yet lifted.
#[derive(Debug, Clone, Copy)]
struct Entry {
    operation: usize,
    is_return: bool,
    previous: usize,
    next: usize,
}

struct Search<'a> {
    claims: &'a [Claim],
    entries: Vec<Entry>,
    /// By operation: its call and, when it has one, its return.
    places: Vec<(usize, Option<usize>)>,
    /// Operations with an answer that are not yet in the order.
    left: usize,
    chosen: Box<[u64]>,
    order: Vec<(usize, State)>,
    longest: Vec<usize>,
    dead_ends: HashSet<(Box<[u64]>, State)>,
    steps: u64,
}

impl<'a> Search<'a> {
    fn new(operations: &[&Operation], claims: &'a [Claim]) -> Self {
        let mut events = Vec::new();
        for (position, operation) in operations.iter().enumerate() {
            // At the same instant calls come first: the two may have overlapped.
            events.push((operation.invoked, false, position));
            if operation.answer().is_some() {
                events.push((operation.returned(), true, position));
            }
        }
        events.sort_unstable();
        let last = events.len();
        let mut entries = vec![Entry {
            operation: usize::MAX,
            is_return: false,
            previous: last,
            next: usize::from(last > 0),
        }];
        let mut places = vec![(HEAD, None); operations.len()];
        for (place, &(_, is_return, operation)) in (1..).zip(&events) {
            entries.push(Entry {
                operation,
                is_return,
                previous: place - 1,
                next: if place == last { HEAD } else { place + 1 },
            });
            if is_return {
                places[operation].1 = Some(place);
            } else {
                places[operation].0 = place;
            }
        }
        Self {
            claims,
            entries,
            left: places.iter().filter(|place| place.1.is_some()).count(),
            places,
            chosen: vec![0; operations.len().div_ceil(64)].into(),
            order: Vec::new(),
            longest: Vec::new(),
            dead_ends: HashSet::new(),
            steps: 0,
        }
    }

    fn run(&mut self, limits: Limits) -> Found {
        let end = Instant::now() + limits.time;
        let mut state = State::EMPTY;
        let mut place = self.entries[HEAD].next;
        while self.left > 0 {
            self.steps += 1;
            let late = self.steps.is_multiple_of(CLOCK_STEPS) && Instant::now() > end;
            if self.steps > limits.steps || late {
                return Found::Limit;
            }
            let entry = self.entries[place];
            // The end of the list is as good as a return: nothing behind it can be next.
            if place == HEAD || entry.is_return {
                let Some((operation, before)) = self.order.pop() else {
                    return Found::Nothing;
                };
                self.put_back(operation);
                state = before;
                place = self.entries[self.places[operation].0].next;
            } else if let Some(after) = self.enter(entry.operation, state) {
                self.order.push((entry.operation, state));
                self.take_out(entry.operation);
                state = after;
                place = self.entries[HEAD].next;
                if self.order.len() > self.longest.len() {
                    self.longest = self.order.iter().map(|(operation, _)| *operation).collect();
                }
            } else {
                place = entry.next;
            }
        }
        Found::Order
    }

    /// Returns the state with the operation next, unless it does not fit or was tried before.
    fn enter(&mut self, operation: usize, state: State) -> Option<State> {
        let after = model::step(state, operation, self.claims[operation])?;
        self.chosen[operation / 64] |= 1 << (operation % 64);
        let is_new = self.dead_ends.insert((self.chosen.clone(), after));
        if !is_new {
            self.chosen[operation / 64] &= !(1 << (operation % 64));
        }
        is_new.then_some(after)
    }

    fn take_out(&mut self, operation: usize) {
        let (call, answer) = self.places[operation];
        self.unlink(call);
        if let Some(answer) = answer {
            self.unlink(answer);
            self.left -= 1;
        }
    }

    /// Undoes the newest [`Self::take_out`].
    fn put_back(&mut self, operation: usize) {
        let (call, answer) = self.places[operation];
        if let Some(answer) = answer {
            self.relink(answer);
            self.left += 1;
        }
        self.relink(call);
        self.chosen[operation / 64] &= !(1 << (operation % 64));
    }

    fn unlink(&mut self, place: usize) {
        let Entry { previous, next, .. } = self.entries[place];
        self.entries[previous].next = next;
        self.entries[next].previous = previous;
    }

    fn relink(&mut self, place: usize) {
        let Entry { previous, next, .. } = self.entries[place];
        self.entries[previous].next = place;
        self.entries[next].previous = place;
    }
}
