//! What several views use to draw.

mod bar;
mod heat;
mod polar;
mod textures;
mod tiles;

pub use bar::{color_bar, number, share_bar};
pub use heat::{ImageArea, image_area, paint_image};
pub use polar::{Rose, built_color, rose};
pub use textures::Textures;
pub use tiles::{KernelPicture, PictureKey, Tap, kernel_picture, kernel_tile, limit, tap_at};

use crate::command::{Command, Commands};
use eframe::egui::{self, Color32, FontFamily, FontId, RichText, TextStyle};
use kernelscope_lab::plot::colormap;

/// The color of a network, by its position in the list. Black would not be visible on a dark background.
pub fn series_color(index: usize, dark: bool) -> Color32 {
    let [r, g, b] = colormap::series(index);
    if dark && u16::from(r) + u16::from(g) + u16::from(b) < 60 {
        return Color32::from_gray(225);
    }
    let lift = |c: u8| if dark { c.saturating_add(28) } else { c };
    Color32::from_rgb(lift(r), lift(g), lift(b))
}

/// Converts a color of the library.
pub fn color([r, g, b]: [u8; 3]) -> Color32 {
    Color32::from_rgb(r, g, b)
}

/// The accent color.
pub fn accent(dark: bool) -> Color32 {
    if dark { Color32::from_rgb(96, 178, 232) } else { Color32::from_rgb(0, 98, 160) }
}

/// Sets fonts, spacing and the colors of both themes.
pub fn style(ctx: &egui::Context) {
    ctx.all_styles_mut(|style| {
        style.spacing.item_spacing = egui::vec2(8.0, 5.0);
        style.spacing.button_padding = egui::vec2(7.0, 3.0);
        style.spacing.interact_size.y = 22.0;
        style.spacing.scroll = egui::style::ScrollStyle::solid();
        style.spacing.scroll.bar_width = 8.0;
        for (text, size) in [(TextStyle::Small, 11.0), (TextStyle::Body, 13.0), (TextStyle::Button, 13.0)] {
            style.text_styles.insert(text, FontId::new(size, FontFamily::Proportional));
        }
        style.text_styles.insert(TextStyle::Heading, FontId::new(16.0, FontFamily::Proportional));
        style.text_styles.insert(TextStyle::Monospace, FontId::new(12.0, FontFamily::Monospace));
    });
    for theme in [egui::Theme::Dark, egui::Theme::Light] {
        ctx.style_mut_of(theme, |style| {
            let dark = theme == egui::Theme::Dark;
            let visuals = &mut style.visuals;
            let accent = accent(dark);
            visuals.selection.bg_fill = accent.linear_multiply(if dark { 0.35 } else { 0.25 });
            visuals.selection.stroke.color = if dark { Color32::WHITE } else { Color32::from_gray(20) };
            visuals.hyperlink_color = accent;
            if dark {
                visuals.panel_fill = Color32::from_gray(30);
                visuals.window_fill = Color32::from_gray(36);
                visuals.extreme_bg_color = Color32::from_gray(18);
                visuals.faint_bg_color = Color32::from_gray(36);
                visuals.override_text_color = Some(Color32::from_gray(208));
            } else {
                visuals.panel_fill = Color32::from_gray(250);
                visuals.override_text_color = Some(Color32::from_gray(40));
            }
        });
    }
}

/// Faint text.
pub fn faint(text: impl Into<String>) -> RichText {
    RichText::new(text).weak()
}

/// A heading inside a view.
pub fn heading(ui: &mut egui::Ui, text: impl Into<String>) {
    ui.add_space(2.0);
    ui.label(RichText::new(text).strong().size(13.5));
}

/// A checkbox for a choice that a command toggles.
pub fn toggle(ui: &mut egui::Ui, mut on: bool, text: &str, command: Command, out: &mut Commands) -> egui::Response {
    let response = ui.checkbox(&mut on, text);
    if response.changed() {
        out.push(command);
    }
    response
}

/// Says in a view that there is nothing to show, and why.
pub fn nothing(ui: &mut egui::Ui, what: &str, why: &str) {
    ui.vertical_centered(|ui| {
        ui.add_space((ui.available_height() / 3.0).min(120.0));
        ui.label(RichText::new(what).strong());
        ui.label(faint(why));
    });
}

/// A fault, in a frame.
pub fn fault(ui: &mut egui::Ui, text: &str) {
    let dark = ui.visuals().dark_mode;
    let (ground, ink) = match dark {
        true => (Color32::from_rgb(66, 44, 20), Color32::from_rgb(255, 208, 140)),
        false => (Color32::from_rgb(255, 243, 219), Color32::from_rgb(120, 66, 0)),
    };
    egui::Frame::new().fill(ground).corner_radius(4).inner_margin(egui::Margin::symmetric(8, 4)).show(ui, |ui| {
        ui.add(egui::Label::new(RichText::new(text).color(ink)).wrap());
    });
}

/// Formats a large number with few digits: `28.6 M`, `4.46 G`.
pub fn short_count(count: f64) -> String {
    let (value, unit) = match count {
        c if c >= 1e9 => (c / 1e9, " G"),
        c if c >= 1e6 => (c / 1e6, " M"),
        c if c >= 1e4 => (c / 1e3, " k"),
        c => return format!("{c:.0}"),
    };
    let digits = if value >= 100.0 { 0 } else { usize::from(value < 10.0) + 1 };
    format!("{value:.digits$}{unit}")
}

/// Formats a share as a percentage.
pub fn percent(share: f64) -> String {
    match 100.0 * share {
        p if p >= 99.95 => "100 %".into(),
        p => format!("{p:.1} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_short() {
        for (count, text) in
            [(0.0, "0"), (999.0, "999"), (28_589_128.0, "28.6 M"), (4.456e9, "4.46 G"), (123_456.0, "123 k")]
        {
            assert_eq!(short_count(count), text);
        }
        assert_eq!((percent(0.1234).as_str(), percent(1.0).as_str()), ("12.3 %", "100 %"));
    }
}
