//! How values become pictures, tables and text.
//!
//! A value that implements [`Show`] shows itself where it is the last expression of a cell, and anywhere with [`show`].
//! [`Live`] is a display that changes while a cell runs, or after it. Nothing is computed here: figures come from
//! [`kernelscope_lab::plot`], which draws values.
//!
//! Figures have white paper in light and dark themes, so that colors always mean the same; tables take the colors of
//! their surroundings. Everything has a form as plain text.

mod figures;
pub mod present;
pub(crate) mod tables;
mod values;
pub(crate) mod wire;

pub(crate) use figures::history_table;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A value in the forms that a notebook can show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// Plain text; always there.
    pub plain: String,
    /// HTML that needs nothing from elsewhere.
    pub html: Option<String>,
    /// A picture.
    pub svg: Option<String>,
}

impl Shown {
    /// Text alone.
    pub fn text(plain: impl Into<String>) -> Self {
        Shown { plain: plain.into(), ..Shown::default() }
    }

    /// HTML, and what to say where there is none.
    pub fn html(html: impl Into<String>, plain: impl Into<String>) -> Self {
        Shown { plain: plain.into(), html: Some(html.into()), svg: None }
    }

    /// A figure; where it cannot be drawn, the reason.
    pub fn figure(figure: &impl kernelscope_lab::plot::Figure, plain: impl Into<String>) -> Self {
        match kernelscope_lab::plot::svg(figure) {
            Ok(svg) => Shown { plain: plain.into(), html: None, svg: Some(as_wide_as_a_cell(&svg, figure.size())) },
            Err(error) => Shown::text(error.to_string()),
        }
    }

    /// By MIME type.
    fn bundle(&self) -> Map<String, Value> {
        let mut bundle = Map::new();
        bundle.insert("text/plain".into(), self.plain.clone().into());
        for (mime, value) in [("text/html", &self.html), ("image/svg+xml", &self.svg)] {
            if let Some(value) = value {
                bundle.insert(mime.into(), value.clone().into());
            }
        }
        bundle
    }

    /// As a part of a page.
    fn as_html(&self) -> String {
        match (&self.html, &self.svg) {
            (Some(html), _) => html.clone(),
            (None, Some(svg)) => image(svg, "100%"),
            (None, None) => maud::html! { pre { (self.plain) } }.into_string(),
        }
    }
}

/// JupyterLab shows SVG at its own size, and figures are wider than a cell beside the list of files: it is shown at four
/// fifths of it.
fn as_wide_as_a_cell(svg: &str, (width, height): (u32, u32)) -> String {
    let size = |width, height| format!("width=\"{width}\" height=\"{height}\" viewBox");
    svg.replacen(&size(width, height), &size(width * 4 / 5, height * 4 / 5), 1)
}

/// An SVG as an image of its own, so that nothing of it meets the page around.
fn image(svg: &str, width: &str) -> String {
    let data = BASE64_STANDARD.encode(svg);
    let style = format!("width:{width};max-width:960px;border-radius:4px");
    maud::html! { img src=(format!("data:image/svg+xml;base64,{data}")) style=(style); }.into_string()
}

/// A value that can show itself.
pub trait Show {
    /// The forms of the value.
    fn shown(&self) -> Shown;

    /// Shows the value here. evcxr calls this for the last expression of a cell.
    fn evcxr_display(&self) {
        crate::start();
        let data = self.shown().bundle();
        if wire::in_kernel() {
            wire::send(&json!({ "type": "result", "data": data }));
        } else {
            wire::blocks(&data);
        }
    }
}

/// Shows a value in the middle of a cell; as text in the stock kernel, which has no other way.
pub fn show(value: &dyn Show) {
    display(&value.shown(), None, false);
}

fn display(shown: &Shown, id: Option<&str>, update: bool) {
    crate::start();
    if !wire::in_kernel() {
        return wire::print(&format!("{}\n", shown.plain.trim_end()));
    }
    wire::send(&json!({ "type": "display", "data": shown.bundle(), "id": id, "update": update }));
}

/// Removes what the cell has shown so far.
pub fn clear() {
    if wire::in_kernel() {
        wire::send(&json!({ "type": "clear", "wait": true }));
    }
}

/// A display that can be changed, also from another thread and after its cell has ended. The stock kernel has none:
/// there, nothing is shown but what [`Live::say`] is given.
#[derive(Debug)]
pub struct Live {
    id: String,
    shown: bool,
}

impl Default for Live {
    fn default() -> Self {
        Live::new()
    }
}

impl Live {
    /// A new display; it appears with its first content.
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Displays of an earlier process stay in the notebook.
        Live { id: format!("kernelscope-{}-{number}", std::process::id()), shown: false }
    }

    /// Sets what is shown.
    pub fn set(&mut self, value: &dyn Show) {
        self.set_shown(&value.shown());
    }

    /// Sets what is shown, in its forms.
    pub fn set_shown(&mut self, shown: &Shown) {
        if wire::in_kernel() {
            display(shown, Some(&self.id), self.shown);
            self.shown = true;
        }
    }

    /// Prints a line where displays cannot change.
    pub fn say(&self, text: &str) {
        if !wire::in_kernel() {
            wire::print(&format!("{text}\n"));
        }
    }
}

impl<T: Show + ?Sized> Show for &T {
    fn shown(&self) -> Shown {
        (**self).shown()
    }
}

impl Show for Shown {
    fn shown(&self) -> Shown {
        self.clone()
    }
}

/// HTML of your own.
pub fn html(text: &str) -> Shown {
    Shown::html(text, text)
}

/// Text in paragraphs, with an empty line between them. Only `**bold**` and `` `code` `` are marked up.
pub fn markdown(text: &str) -> Shown {
    let marked = |text: &str, mark: &str, tag: &str| {
        let parts: Vec<&str> = text.split(mark).collect();
        // A mark without a partner is text.
        let pairs = if parts.len() % 2 == 1 { parts.len() } else { parts.len() - 1 };
        let mut out = String::new();
        for (index, part) in parts.iter().enumerate() {
            match (index, index < pairs) {
                (0, _) => out += part,
                (i, true) if i % 2 == 1 => out += &format!("<{tag}>{part}</{tag}>"),
                (_, true) => out += part,
                (_, false) => out += &format!("{mark}{part}"),
            }
        }
        out
    };
    let escaped = maud::html! { (text) }.into_string();
    let paragraphs =
        escaped.split("\n\n").map(|p| format!("<p>{}</p>", marked(&marked(p.trim(), "**", "b"), "`", "code")));
    Shown::html(paragraphs.collect::<String>(), text)
}

/// Several values side by side, as many to a row as there is room for.
pub fn beside(values: &[&dyn Show]) -> Shown {
    let all: Vec<Shown> = values.iter().map(|value| value.shown()).collect();
    let plain = all.iter().map(|shown| shown.plain.trim_end()).collect::<Vec<_>>().join("\n\n");
    let html = maud::html! {
        div style="display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start" {
            @for shown in &all {
                // Pictures take the room that tables leave.
                @let part = if shown.html.is_some() { "flex:0 1 auto" } else { "flex:1 1 340px" };
                div style=(format!("{part};min-width:0;max-width:100%")) { (maud::PreEscaped(shown.as_html())) }
            }
        }
    };
    Shown::html(html.into_string(), plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_its_type() {
        let shown = Shown { plain: "p".into(), html: Some("<b>h</b>".into()), svg: Some("<svg/>".into()) };
        let types: Vec<String> = shown.bundle().keys().cloned().collect();
        assert_eq!(types, ["image/svg+xml", "text/html", "text/plain"]);
    }

    #[test]
    fn text_is_escaped_and_marked_up() {
        let shown = markdown("a **b** `c<d>`\n\ne ** f");
        assert_eq!(shown.html.as_deref(), Some("<p>a <b>b</b> <code>c&lt;d&gt;</code></p><p>e ** f</p>"));
    }

    #[test]
    fn values_side_by_side_are_one_text_and_one_page() {
        let both = beside(&[&Shown::text("a"), &Shown::html("<i>b</i>", "b")]);
        assert_eq!(both.plain, "a\n\nb");
        let html = both.html.unwrap();
        assert!(html.contains("<pre>a</pre>") && html.contains("<i>b</i>"), "{html}");
    }
}
