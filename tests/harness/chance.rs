//! Chance with a seed (xorshift), so that a seed repeats a run as far as the machine does.

use crate::harness::place;

/// A small generator.
#[derive(Debug, Clone)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    /// Starts where `RESOLVERD_SEED` says.
    pub(crate) fn told() -> Chance {
        Chance(number("RESOLVERD_SEED", 0x2545_f491).max(1))
    }

    /// Returns a number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }

    /// Returns an index into something of `length`.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }
}

/// Returns the number in an environment variable.
pub(crate) fn number(name: &str, otherwise: u64) -> u64 {
    place::variable(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// Returns how many cases to run: what the variable `name` says, else `full` where `RESOLVERD_FULL` is set, else `few`.
pub(crate) fn count(name: &str, few: u64, full: u64) -> u64 {
    number(name, if place::variable("RESOLVERD_FULL").is_some() { full } else { few })
}
