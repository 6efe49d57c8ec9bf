//! Sparse training: masks against values from the official code, their rules on hand-made parameters, and sparse runs
//! that are killed and resumed, repeated with other numbers of threads, or refused.

mod networks;
mod official;
mod rules;
mod runs;
mod support;
