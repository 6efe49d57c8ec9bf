//! Which of several sets of weights is meant, as far as their names tell.

/// Names of dictionaries that hold the weights of a network, the most usual first.
pub(super) const USUAL: [&str; 9] =
    ["state_dict", "model", "model_state_dict", "module", "net", "network", "params", "model_state", "weights"];
/// Names of dictionaries that hold averaged weights, the most usual first.
const AVERAGED: [&str; 7] =
    ["model_ema", "state_dict_ema", "ema", "ema.module", "ema.shadow", "ema_state_dict", "params_ema"];

/// What the name of a set says of it, the preferred first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// The weights themselves; a smaller number is a more usual name.
    Usual(usize),
    /// Averaged weights.
    Averaged(usize),
    /// The top level.
    Top,
    /// Nothing.
    Unnamed,
}

impl Rank {
    /// The rank of a dotted path.
    pub(crate) fn of(path: &str) -> Self {
        if path.is_empty() {
            return Rank::Top;
        }
        if path.split(['.', '_']).any(|word| matches!(word, "ema" | "swa" | "averaged")) {
            return Rank::Averaged(AVERAGED.iter().position(|name| *name == path).unwrap_or(AVERAGED.len()));
        }
        let places: Option<Vec<usize>> =
            path.split('.').map(|part| USUAL.iter().position(|name| *name == part)).collect();
        match places.as_deref() {
            Some([first, ..]) => Rank::Usual(*first),
            _ => Rank::Unnamed,
        }
    }
}

/// Whether a dictionary of this name holds state of a training, which is not a network's.
pub(super) fn is_state(name: &str) -> bool {
    const STATE: [&str; 8] = ["optimizer", "optim", "lr_sched", "scaler", "amp", "callbacks", "loops", "rng"];
    let whole = |start: &str| matches!(start, "scaler" | "amp" | "callbacks" | "loops");
    STATE.iter().any(|start| if whole(start) { name == *start } else { name.starts_with(start) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_go_before_averages_and_those_before_the_top_level_and_other_names() {
        let order =
            ["state_dict", "model", "model.state_dict", "net", "model_ema", "ema.module", "swa_state", "", "student"];
        let ranks: Vec<Rank> = order.iter().map(|path| Rank::of(path)).collect();
        assert!(ranks.is_sorted(), "{ranks:?}");
        assert_eq!(Rank::of("model.ema"), Rank::Averaged(AVERAGED.len()));
        assert_eq!(Rank::of("generator.state_dict"), Rank::Unnamed);
        assert_eq!(Rank::of("schema"), Rank::Unnamed, "ema is a word, not a part of one");
    }

    #[test]
    fn state_of_a_training_is_no_network() {
        for name in
            ["optimizer", "optimizer_state_dict", "optim_g", "lr_scheduler", "scaler", "amp", "loops", "rng_states"]
        {
            assert!(is_state(name), "{name}");
        }
        for name in ["model", "amplitude", "scalers", "loop_net"] {
            assert!(!is_state(name), "{name}");
        }
    }
}
