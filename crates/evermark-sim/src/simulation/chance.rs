//! Random numbers that mean the same for ever: a seed in a bug report replays on every later version.

/// SplitMix64 (Steele, Lea, Flood 2014), written out here so that no update of a dependency changes what a seed does.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`; 0 for an `end` of 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The bias of a remainder is below 2^-32 for the small numbers asked for here.
        self.bits().checked_rem(end).unwrap_or(0)
    }

    /// Tells whether something that happens in `percent` of cases happens now.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn u32(&mut self) -> u32 {
        // The low half of 64 mixed bits.
        (self.bits() & 0xffff_ffff) as u32
    }

    /// Returns one of `choices`, which must not be empty.
    pub fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let n = self.below(choices.len() as u64);
        &choices[usize::try_from(n).unwrap_or_default()]
    }
}
