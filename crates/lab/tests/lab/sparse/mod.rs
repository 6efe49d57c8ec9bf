//! Sparse training: masks against values from the official code, and their rules on hand-made parameters.

mod networks;
mod official;
mod rules;
mod support;
