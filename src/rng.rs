//! Seeded random streams. Every random number in the crate comes from [`stream`], so the same seed gives the same
//! numbers whatever the number of threads or the order in which work is done.

use rand::SeedableRng;
pub use rand_chacha::ChaCha8Rng;

/// The golden-ratio increment of the SplitMix64 sequence.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// One SplitMix64 output step: a bijective mixing of 64 bits.
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// FNV-1a, 64 bits, of a name: ties a random stream to a parameter's name instead of to construction order.
pub fn hash_name(name: &str) -> u64 {
    hash_bytes(name.bytes())
}

/// FNV-1a, 64 bits, of any bytes.
pub fn hash_bytes(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// Derives one seed from a base seed and a list of coordinates (epoch, sample, layer, ...).
///
/// ```
/// use kernelscope::rng::derive;
/// assert_eq!(derive(1, &[2, 3]), derive(1, &[2, 3]));
/// assert_ne!(derive(1, &[2, 3]), derive(1, &[3, 2]));
/// ```
pub fn derive(seed: u64, coordinates: &[u64]) -> u64 {
    coordinates.iter().fold(mix(seed), |state, &c| mix(state ^ mix(c).rotate_left(17)))
}

/// An independent generator for one seed and list of coordinates.
pub fn stream(seed: u64, coordinates: &[u64]) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(derive(seed, coordinates))
}
