//! Looks into trained networks with every analysis, and writes what it finds: tables, figures and one page.

pub mod erf_table;
pub mod evaluation;
mod figures;
mod html;
mod inputs;
mod inspect;
mod stimuli;

pub(crate) use figures::{Picture, picture};
pub use figures::{kernel_grid, oriented_taps};
pub use html::{Comparison, write_comparison};
pub(crate) use html::{STYLE, figure as embedded};
pub use inputs::ErfInputs;
pub use inspect::{InspectOptions, Inspection, builtin_shape_bias, inspect, receptive_field};
pub use stimuli::{Answered, Stimuli};
