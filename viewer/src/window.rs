//! The window on the screen.

use eframe::egui;

/// The size of a window, in points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Horizontal size.
    pub width: u32,
    /// Vertical size.
    pub height: u32,
}

impl Size {
    /// The size as a vector of egui.
    pub fn points(self) -> egui::Vec2 {
        egui::vec2(self.width as f32, self.height as f32)
    }
}

/// Options of a window of this size.
pub fn options(size: Size) -> eframe::NativeOptions {
    let viewport = egui::ViewportBuilder::default()
        .with_title("kernelscope")
        .with_app_id("kernelscope")
        .with_inner_size(size.points())
        .with_min_inner_size([640.0, 420.0])
        .with_drag_and_drop(true);
    eframe::NativeOptions { viewport, renderer: eframe::Renderer::Glow, ..Default::default() }
}

/// Shows a program in a window until it is closed.
///
/// # Errors
/// If no window can be opened.
pub fn open(
    name: &str,
    options: eframe::NativeOptions,
    start: impl FnOnce(&eframe::CreationContext<'_>) -> Box<dyn eframe::App>,
) -> Result<(), String> {
    eframe::run_native(name, options, Box::new(|cc| Ok(start(cc)))).map_err(|error| {
        format!("cannot open a window: {error}; without a display, use --headless with --export or --screenshot")
    })
}
