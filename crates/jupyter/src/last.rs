//! The last expression of a cell, which shows itself.

use ra_ap_syntax::ast::{self, HasModuleItem};
use ra_ap_syntax::{AstNode, Edition, SourceFile, TextRange};

/// What stands around the cell while it is parsed.
const BEFORE: &str = "fn cell() {";

/// The cell with its last expression wrapped in `kernelscope_prelude::present`, which chooses the form of the value by
/// its type; evcxr's own way needs another compilation for values without a display, and loses the display of values that
/// were moved into the expression. `None` if the cell ends with no expression, or is not only Rust.
pub fn presented(code: &str) -> Option<String> {
    let command = |line: &str| line.trim_start().starts_with(':');
    if code.lines().any(command) {
        return None;
    }
    let range = last_expression(code)?;
    let (start, end) = (usize::from(range.start()), usize::from(range.end()));
    let (before, expression, after) = (code.get(..start)?, code.get(start..end)?, code.get(end..)?);
    Some(format!("{before}kernelscope_prelude::present!({expression}\n);{after}"))
}

fn last_expression(code: &str) -> Option<TextRange> {
    let file = SourceFile::parse(&format!("{BEFORE}{code}\n}}"), Edition::Edition2024);
    if !file.errors().is_empty() {
        return None;
    }
    let mut items = file.tree().items();
    let (Some(ast::Item::Fn(cell)), None) = (items.next(), items.next()) else { return None };
    let last = cell.body()?.stmt_list()?.tail_expr()?;
    let range = last.syntax().text_range();
    range.checked_sub(u32::try_from(BEFORE.len()).ok()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, expression: &str, after: &str) {
        let expected = format!("{before}kernelscope_prelude::present!({expression}\n);{after}");
        assert_eq!(presented(&format!("{before}{expression}{after}")), Some(expected));
    }

    #[test]
    fn the_last_expression_is_wrapped() {
        check("", "1 + 1", "");
        check("let x = 3;\n", "x", " // three\n");
        check("struct A;\nfn f() -> A { A }\n", "f()", "");
        check("let µ = \"é\";\n", "µ.len()", "\n");
        check("", "run.erf(8)?", "");
    }

    #[test]
    fn other_cells_are_left_as_they_are() {
        for code in ["let x = 3;", "fn f() {}", "", "// nothing", ":vars", "let x = ;\nx", "x }", ":dep a\nx"] {
            assert_eq!(presented(code), None, "{code}");
        }
    }
}
