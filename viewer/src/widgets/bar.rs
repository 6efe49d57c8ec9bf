//! Color bars and bars of shares.

use eframe::egui::{self, Align2, Color32, FontId, Rect, Sense, Stroke, pos2, vec2};
use kernelscope_lab::plot::Colormap;

/// A horizontal color bar with values at its ends and in its middle, and a label.
pub fn color_bar(ui: &mut egui::Ui, map: Colormap, range: (f64, f64), label: &str, width: f32) {
    let (rect, response) = ui.allocate_exact_size(vec2(width, 40.0), Sense::hover());
    let painter = ui.painter_at(rect.expand(2.0));
    let strip = Rect::from_min_size(rect.min + vec2(1.0, 1.0), vec2(width - 2.0, 11.0));
    let steps = 96;
    for i in 0..steps {
        let t = (i as f32 + 0.5) / steps as f32;
        let x = |i: usize| strip.left() + strip.width() * i as f32 / steps as f32;
        let part = Rect::from_min_max(pos2(x(i), strip.top()), pos2(x(i + 1) + 0.5, strip.bottom()));
        painter.rect_filled(part, 0.0, super::color(map.at(f64::from(t))));
    }
    painter.rect_stroke(strip, 0.0, Stroke::new(1.0, Color32::from_gray(128)), egui::StrokeKind::Outside);
    let ink = ui.visuals().text_color();
    let font = FontId::proportional(10.5);
    let (low, high) = range;
    let texts = [(low, Align2::LEFT_TOP), ((low + high) / 2.0, Align2::CENTER_TOP), (high, Align2::RIGHT_TOP)];
    for (index, (value, align)) in texts.into_iter().enumerate() {
        let x = strip.left() + strip.width() * index as f32 / 2.0;
        painter.text(pos2(x, strip.bottom() + 2.0), align, number(value), font.clone(), ink);
    }
    painter.text(pos2(strip.center().x, rect.bottom()), Align2::CENTER_BOTTOM, label, font, ink);
    response.on_hover_text(format!("{label}: {} to {}", number(low), number(high)));
}

/// Formats a number with at most four digits.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if !(1e-3..1e4).contains(&size) {
        format!("{value:.2e}")
    } else {
        let digits = (3 - size.log10().floor() as i32).clamp(0, 4) as usize;
        let text = format!("{value:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
    }
}

/// A bar that is filled according to a share, with a text on it.
pub fn share_bar(ui: &mut egui::Ui, share: f64, fill: Color32, text: &str, width: f32) -> egui::Response {
    let (rect, response) = ui.allocate_exact_size(vec2(width, 15.0), Sense::hover());
    let painter = ui.painter();
    painter.rect_filled(rect, 2.0, ui.visuals().extreme_bg_color);
    let end = rect.left() + rect.width() * (share.clamp(0.0, 1.0) as f32);
    painter.rect_filled(Rect::from_min_max(rect.min, pos2(end, rect.bottom())), 2.0, fill);
    let font = FontId::proportional(10.5);
    painter.text(rect.right_center() - vec2(4.0, 0.0), Align2::RIGHT_CENTER, text, font, ui.visuals().text_color());
    response
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 1.0, 0.5, -0.123_456, 1234.56, 1e-6, 20000.0].map(number);
        assert_eq!(texts, ["0", "1", "0.5", "-0.1235", "1235", "1.00e-6", "2.00e4"]);
    }
}
