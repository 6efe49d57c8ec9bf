//! The analyses: shape bias against reference values, receptive fields against finite differences, kernels and their
//! orientations in real networks, and costs.

mod kernels;
mod receptive_fields;
mod shape_bias;
mod tables;

use kernelscope::nn::BuildOptions;
use kernelscope::zoo::{ModelSpec, Network};

fn network(name: &str, overrides: &[&str], options: BuildOptions) -> Network {
    Network::build(ModelSpec::named(name).unwrap().with_overrides(overrides).unwrap(), options).unwrap()
}

fn frozen(name: &str, overrides: &[&str]) -> Network {
    network(name, overrides, BuildOptions::frozen())
}
