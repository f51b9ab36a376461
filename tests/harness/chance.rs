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

/// Has `count` cases worked off by several threads, each with a chance and a share of its own: most of a case is waiting. How many
/// threads is what `RESOLVERD_WORKERS` says, else one for small counts and four for full ones.
pub(crate) fn shared(count: u64, work: impl Fn(Chance, u64) + Sync) {
    let workers = self::count("RESOLVERD_WORKERS", 1, 4).clamp(1, count.max(1));
    let work = &work;
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let share = count / workers + u64::from(worker < count % workers);
            let chance = Chance(Chance::told().0 ^ worker.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            scope.spawn(move || work(chance, share));
        }
    });
}
