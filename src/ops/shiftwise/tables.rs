//! The index tables of the shift-wise operator: which channels it leaves alone, and which small kernel stands where.
//!
//! The tables are drawn at random when a layer is built and are in no official checkpoint: the released code seeds
//! PyTorch's and numpy's generators with 123 in every module and draws again. Here both are reproduced exactly. They
//! are MT19937 (Matsumoto and Nishimura, 1998), from which
//!
//! ```text
//! torch.randperm(m)           r = 0..m-1; for i = 0..m-2: swap(r[i], r[i + u32 mod (m-i)])
//! torch.randint(0, m)         u32 mod m
//! numpy.random.permutation(m) x = 0..m-1; for i = m-1..1: draw j = u32 & mask(i) until j <= i; swap(x[i], x[j])
//! ```
//!
//! with `mask(i)` the smallest `2^b - 1` that is not below i. The order is: all horizontal permutations (path by path,
//! channel by channel), all vertical ones, then the identity's indices. All blocks of a stage have the same tables.

use crate::rng::hash_bytes;
use crate::{Error, Result};

/// Seed of all tables.
pub const SEED: u32 = 123;

/// Most entries of one table: far more than any network that can be trained has.
const MAX_ENTRIES: usize = 1 << 24;

/// Words of the generator's state.
const WORDS: usize = 624;

/// The generator of PyTorch and of numpy's older interface.
struct Mt19937 {
    state: [u32; WORDS],
    next: usize,
}

impl Mt19937 {
    fn new(seed: u32) -> Self {
        let mut state = [seed; WORDS];
        for i in 1..WORDS {
            let last = state[i - 1];
            state[i] = (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Mt19937 { state, next: WORDS }
    }

    fn refill(&mut self) {
        for i in 0..WORDS {
            let joined = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % WORDS] & 0x7fff_ffff);
            let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + 397) % WORDS] ^ (joined >> 1) ^ odd;
        }
        self.next = 0;
    }

    fn draw(&mut self) -> u32 {
        if self.next == WORDS {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// `torch.randint(0, m)`.
    fn below(&mut self, m: usize) -> u32 {
        self.draw() % m as u32
    }

    /// `torch.randperm(m)`, appended to a list.
    fn append_permutation(&mut self, m: usize, list: &mut Vec<u32>) {
        let start = list.len();
        list.extend(0..m as u32);
        for i in 0..m.saturating_sub(1) {
            let other = i + self.below(m - i) as usize;
            list.swap(start + i, start + other);
        }
    }

    /// `numpy.random.permutation(m)`.
    fn numpy_permutation(&mut self, m: usize) -> Vec<u32> {
        let mut list: Vec<u32> = (0..m as u32).collect();
        for i in (1..m).rev() {
            let mask = u32::MAX >> (i as u32).leading_zeros();
            let other = loop {
                let j = (self.draw() & mask) as usize;
                if j <= i {
                    break j;
                }
            };
            list.swap(i, other);
        }
        list
    }
}

/// Which channels of a layer are convolved and which pass through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSplit {
    /// Channels that are convolved, ascending.
    pub rep: Vec<u32>,
    /// Channels that pass through (ghosts), ascending.
    pub ghost: Vec<u32>,
}

impl ChannelSplit {
    /// The split of `channels` channels of which `ghosts` pass through.
    ///
    /// # Errors
    /// If no channel is left to convolve, or there are more than 2^24.
    ///
    /// ```
    /// let split = kernelscope::ops::shiftwise::ChannelSplit::new(10, 2)?;
    /// assert_eq!((split.rep, split.ghost), (vec![1, 2, 3, 5, 6, 7, 8, 9], vec![0, 4]));
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn new(channels: usize, ghosts: usize) -> Result<Self> {
        if ghosts >= channels || channels > MAX_ENTRIES {
            let given = format!("{ghosts} of {channels}");
            return Err(Error::argument(
                "channels that pass through",
                given,
                "fewer than all channels, and at most 2^24 channels",
            ));
        }
        let mut ghost = Mt19937::new(SEED).numpy_permutation(channels);
        ghost.truncate(ghosts);
        ghost.sort_unstable();
        let rep = (0..channels as u32).filter(|channel| ghost.binary_search(channel).is_err()).collect();
        Ok(ChannelSplit { rep, ghost })
    }
}

/// Which of a channel's small kernels stands at which place of its large kernels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexTables {
    channels: usize,
    groups: usize,
    reps: usize,
    horizontal: Vec<u32>,
    vertical: Vec<u32>,
    identity: Vec<u32>,
}

impl IndexTables {
    /// The tables of `channels` channels with `groups` (k) small kernels each, shuffled `reps` (G) times.
    ///
    /// # Errors
    /// If a number is 0, or there are more than 2^24 entries.
    pub fn new(channels: usize, groups: usize, reps: usize) -> Result<Self> {
        let entries = channels.checked_mul(groups).and_then(|n| n.checked_mul(reps));
        if !entries.is_some_and(|n| (1..=MAX_ENTRIES).contains(&n)) {
            let given = format!("{reps} shuffles of {groups} groups in {channels} channels");
            return Err(Error::argument("index tables", given, "1 to 2^24 entries"));
        }
        let mut generator = Mt19937::new(SEED);
        let mut shuffle = || {
            let mut list = Vec::with_capacity(channels * groups * reps);
            (0..channels * reps).for_each(|_| generator.append_permutation(groups, &mut list));
            list
        };
        let (horizontal, vertical) = (shuffle(), shuffle());
        let identity = (0..channels * reps).map(|_| generator.below(groups)).collect();
        Ok(IndexTables { channels, groups, reps, horizontal, vertical, identity })
    }

    /// Number of channels C.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Small kernels per channel, k.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Shuffles, G.
    pub fn reps(&self) -> usize {
        self.reps
    }

    /// `H[g][c]`: the small kernel at each place from left to right; empty for what is not there.
    pub fn horizontal(&self, rep: usize, channel: usize) -> &[u32] {
        self.row(&self.horizontal, rep, channel)
    }

    /// `V[g][c]`: the small kernel at each place from top to bottom; empty for what is not there.
    pub fn vertical(&self, rep: usize, channel: usize) -> &[u32] {
        self.row(&self.vertical, rep, channel)
    }

    /// `I[g][c]`: the small kernel of the identity branch; 0 for what is not there.
    pub fn identity(&self, rep: usize, channel: usize) -> u32 {
        self.identity.get(rep * self.channels + channel).copied().unwrap_or_default()
    }

    fn row<'a>(&self, table: &'a [u32], rep: usize, channel: usize) -> &'a [u32] {
        let start = (rep * self.channels + channel) * self.groups;
        table.get(start..start + self.groups).unwrap_or_default()
    }

    /// A checksum of all entries: networks with the same weights but other tables compute other things.
    pub fn checksum(&self) -> u64 {
        let sizes = [self.channels as u32, self.groups as u32, self.reps as u32];
        let entries = sizes.iter().chain(&self.horizontal).chain(&self.vertical).chain(&self.identity);
        hash_bytes(entries.flat_map(|entry| entry.to_le_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // The 10000th number from the seed 5489 is what the C++ standard requires of its mt19937.
        let mut generator = Mt19937::new(5489);
        let last = (0..10_000).map(|_| generator.draw()).last();
        assert_eq!(last, Some(4_123_659_995));
    }

    #[test]
    fn impossible_tables_are_refused() {
        for (channels, groups, reps) in [(0, 3, 1), (3, 0, 1), (3, 3, 0), (1 << 20, 63, 4), (usize::MAX, 2, 2)] {
            let error = IndexTables::new(channels, groups, reps).unwrap_err().to_string();
            assert!(error.contains("index tables") && error.contains("2^24"), "{error}");
        }
        assert!(ChannelSplit::new(4, 4).unwrap_err().to_string().contains("4 of 4"));
        let tables = IndexTables::new(2, 3, 1).unwrap();
        assert_eq!((tables.horizontal(1, 0), tables.identity(5, 0)), (&[][..], 0));
    }
}
