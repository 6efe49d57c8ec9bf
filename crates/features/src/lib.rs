//! Nothing: see this package's manifest.
//!
//! Cargo compiles a crate once for every set of features that the selected packages ask for. `cargo run` selects the
//! default members of the workspace, the tests select all. With what the others ask for listed here, a default member, both
//! select the same, and nothing is compiled twice.
