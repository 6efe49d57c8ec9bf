//! Random numbers of masks: they follow from (seed, number of the update, name of the layer).

use kernelscope::rng;
use rand::RngExt;

/// Random numbers in [0, 1) by the name of a layer, as many as asked for.
pub type Random<'a> = dyn Fn(&str, usize) -> Vec<f32> + Sync + 'a;

/// Stream of the masks.
const MASKS: u64 = 11;

/// The random numbers of one update; the first masks are number 0.
pub(super) fn random(seed: u64, update: usize) -> impl Fn(&str, usize) -> Vec<f32> + Sync {
    move |name, count| {
        let mut rng = rng::stream(seed, &[MASKS, update as u64, rng::hash_name(name)]);
        (0..count).map(|_| rng.random::<f32>()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_follow_from_seed_update_and_name() {
        let draw = |seed, update, name| random(seed, update)(name, 5);
        let first = draw(1, 2, "a");
        assert_eq!(first, draw(1, 2, "a"));
        assert!(first.iter().all(|u| (0.0..1.0).contains(u)));
        for other in [draw(2, 2, "a"), draw(1, 3, "a"), draw(1, 2, "b")] {
            assert_ne!(first, other);
        }
    }
}
