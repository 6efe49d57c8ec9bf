//! Shift-wise operators and networks: index tables, operators and every form of the networks against values from the
//! official code; tap lists and merged forms against definitions; checkpoints of every form.

mod networks;
mod operators;
mod taplist;
