//! What unit tests of several modules use.

/// xorshift64*: enough to vary inputs, and the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    /// Takes the seed from an environment variable, or any, and prints it.
    pub(crate) fn from_environment(variable: &str) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "replays a seed of an earlier run"
        )]
        let given = std::env::var(variable)
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed: u64 = given.unwrap_or_else(rand::random);
        println!("{variable}={seed}");
        Self::new(seed)
    }

    /// Starts from a seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % most
    }

    pub(crate) fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    pub(crate) fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1))
            .map(|_| self.below(256) as u8)
            .collect()
    }
}
