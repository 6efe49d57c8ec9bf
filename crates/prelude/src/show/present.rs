//! How kernelscope's kernel shows the last expression of a cell, whatever its type.
//!
//! evcxr calls `evcxr_display` for it, and compiles the cell once more with `Debug` where that fails: also where the
//! expression moves a variable, so that a figure becomes a line of braces. The kernel wraps the expression in [`present`]
//! instead, which chooses between the two by type: the method with more references in its receiver is found first.
//!
//! [`present`]: crate::present

use super::{Show, wire};
use serde_json::json;
use std::fmt::Debug;

/// Shows the value of an expression as that of the cell.
#[macro_export]
macro_rules! present {
    ($value:expr) => {
        // A match keeps what the value borrows from, and a reference leaves variables where they are.
        match &($value) {
            value => {
                use $crate::show::present::{ViaDebug as _, ViaShow as _};
                (&&$crate::show::present::Value(value)).present()
            }
        }
    };
}

/// A value that is to be shown.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a, T: ?Sized>(pub &'a T);

/// Values that show themselves.
pub trait ViaShow {
    /// Shows the value.
    fn present(&self);
}

impl<T: Show + ?Sized> ViaShow for &Value<'_, T> {
    fn present(&self) {
        self.0.evcxr_display();
    }
}

/// Values that are text for programmers at least.
pub trait ViaDebug {
    /// Shows the value.
    fn present(&self);
}

impl<T: Debug + ?Sized> ViaDebug for Value<'_, T> {
    fn present(&self) {
        let text = format!("{:?}", self.0);
        // A loop is an expression, too, and its value is nothing to show.
        if text != "()" {
            wire::send(&json!({ "type": "result", "data": { "text/plain": text } }));
        }
    }
}
