//! Runs frame by frame: results of jobs, the views, the commands that they emit, and the jobs that are due.

mod absorb;
mod apply;
mod chrome;
mod dialogs;
mod due;
mod opening;
mod palette;
mod step;

use crate::command::{Command, Commands};
use crate::jobs::{Jobs, Runner, Slot};
use crate::state::{
    BiasLook, Camera, Entry, ErfLook, Look, Pane, Settings, Source, State, View, default_layout, layout,
};
use crate::views::{self, Scene};
use crate::widgets::Textures;
use eframe::egui::{self, Key, KeyboardShortcut};
use egui_tiles::{Tiles, Tree, UiResponse};

/// The program.
pub struct Viewer {
    /// What is open and what is being looked at.
    pub state: State,
    jobs: Jobs,
    layout: Tree<Pane>,
    textures: Textures,
    commands: Commands,
    keys: Vec<Keys>,
    numbers: u64,
    next_follow: f64,
    themed: Option<bool>,
}

/// A shortcut and its command.
struct Keys {
    shortcut: KeyboardShortcut,
    command: Command,
}

/// All shortcuts. The commands that have one do not depend on the state.
fn all_keys() -> Vec<Keys> {
    let of = |command: Command| Some(Keys { shortcut: command.shortcut()?, command });
    let mut keys: Vec<Keys> = Command::offered(&State::default()).into_iter().filter_map(of).collect();
    // Keys with Shift also match the same shortcut without it, so they are checked first.
    keys.sort_by_key(|keys| !keys.shortcut.modifiers.shift);
    keys
}

/// Key under which the settings are stored.
pub const SETTINGS: &str = "settings";

impl Viewer {
    /// Nothing is open yet; `runner` runs the jobs.
    pub fn new(ctx: &egui::Context, settings: Settings, runner: Box<dyn Runner>) -> Self {
        let layout = settings.layout.clone().unwrap_or_else(default_layout);
        let look = Look {
            kernels: settings.kernels.clone(),
            erf: settings.erf.clone(),
            bias: settings.bias.clone(),
            x_axis: settings.x_axis,
            ..Look::default()
        };
        let mut state = State { settings, look, ..State::default() };
        state.undo.rebase(&state.look);
        crate::widgets::style(ctx);
        Viewer {
            state,
            jobs: Jobs::new(runner, ctx.clone()),
            layout,
            textures: Textures::default(),
            commands: Commands::default(),
            keys: all_keys(),
            numbers: 0,
            next_follow: 0.0,
            themed: None,
        }
    }

    /// Does something, as if it had been chosen in a menu.
    pub fn run(&mut self, ctx: &egui::Context, command: Command) {
        self.apply(ctx, command);
        self.settle();
    }

    /// Takes the results of jobs and starts the jobs that are due, until there are none left. It does not wait for jobs on
    /// other threads.
    pub fn settle(&mut self) {
        // Results start more jobs, which the inline runner finishes right away.
        for _ in 0..64 {
            let fresh = self.jobs.poll();
            let none = fresh.is_empty();
            fresh.into_iter().for_each(|(slot, report)| self.absorb(slot, report));
            if !self.start_due() && none {
                break;
            }
        }
        self.state.running = self.jobs.running();
    }

    /// Whether no job is in progress.
    pub fn is_idle(&self) -> bool {
        self.jobs.is_idle()
    }

    /// The views that are in front.
    pub fn visible(&self) -> Vec<View> {
        layout::visible(&self.layout)
    }

    /// Shows only these views, for scripts and tests.
    pub fn show_only(&mut self, views: &[View]) {
        self.layout = Tree::new_horizontal(egui::Id::unique("views"), views.iter().map(|view| Pane(*view)).collect());
    }

    /// What is remembered between sessions.
    pub fn settings(&self) -> Settings {
        let look = &self.state.look;
        Settings {
            layout: Some(self.layout.clone()),
            kernels: look.kernels.clone(),
            // A position belongs to one network, and a part of an image to one image.
            erf: ErfLook { position: None, stage: None, camera: Camera::default(), ..look.erf.clone() },
            bias: BiasLook { category: None, image: None, ..look.bias.clone() },
            x_axis: look.x_axis,
            ..self.state.settings.clone()
        }
    }

    /// One frame.
    pub fn frame(&mut self, ui: &mut egui::Ui) {
        let ctx = ui.ctx().clone();
        if self.themed != Some(self.state.settings.dark) {
            ctx.set_theme(if self.state.settings.dark { egui::Theme::Dark } else { egui::Theme::Light });
            self.themed = Some(self.state.settings.dark);
        }
        self.follow(&ctx);
        self.dropped(&ctx);
        self.shortcuts(&ctx);
        chrome::menu_bar(ui, &self.state, &mut self.commands);
        chrome::networks_bar(ui, &self.state, &mut self.commands);
        chrome::status_bar(ui, &self.state, &mut self.commands);
        egui::CentralPanel::no_frame().show(ui, |ui| {
            if self.state.entries.is_empty() && self.jobs.is_idle() {
                views::start(ui, &self.state, &mut self.commands);
            } else {
                self.views(ui);
            }
        });
        dialogs::show(&ctx, &mut self.state, &mut self.commands);
        palette::show(&ctx, &mut self.state, &mut self.commands);
        chrome::drop_hint(&ctx);
        for command in self.commands.take() {
            self.apply(&ctx, command);
        }
        let idle = ctx.input(|i| !i.pointer.any_down());
        self.state.undo.note(&self.state.look, idle);
        if idle {
            self.settle();
        }
        if self.visible().contains(&View::Messages) {
            self.state.messages.unread = 0;
        }
        self.textures.end_frame();
    }

    fn views(&mut self, ui: &mut egui::Ui) {
        let mut panes = Panes { state: &mut self.state, textures: &mut self.textures, commands: &mut self.commands };
        self.layout.ui(&mut panes, ui);
    }

    /// Checks from time to time whether unfinished runs have progressed.
    fn follow(&mut self, ctx: &egui::Context) {
        let unfinished =
            |entry: &Entry| entry.overview.as_ref().is_some_and(|overview| overview.is_complete() == Some(false));
        if !self.state.entries.iter().any(unfinished) {
            return;
        }
        let now = ctx.input(|i| i.time);
        if now >= self.next_follow {
            self.next_follow = now + FOLLOW_SECONDS;
            let ids: Vec<_> = self.state.entries.iter().filter(|e| unfinished(e)).map(|e| e.id).collect();
            ids.into_iter().for_each(|id| self.start_follow(id));
        }
        ctx.request_repaint_after(std::time::Duration::from_secs_f64(FOLLOW_SECONDS));
    }

    fn dropped(&mut self, ctx: &egui::Context) {
        let dropped: Vec<Source> =
            ctx.input(|i| i.raw.dropped_files.iter().map(|file| Source::from(file.path())).collect());
        if !dropped.is_empty() {
            self.open_all(dropped);
        }
    }

    fn shortcuts(&mut self, ctx: &egui::Context) {
        // While a text field has the focus, editing keys belong to it.
        let typing = ctx.egui_wants_keyboard_input();
        for Keys { shortcut, command } in &self.keys {
            let arrows = [Key::ArrowLeft, Key::ArrowRight, Key::ArrowUp, Key::ArrowDown];
            let edits = shortcut.logical_key == Key::Z || arrows.contains(&shortcut.logical_key);
            if typing && edits {
                continue;
            }
            if command.is_enabled(&self.state) && ctx.input_mut(|i| i.consume_shortcut(shortcut)) {
                self.commands.push(command.clone());
            }
        }
    }

    /// A number that distinguishes a job from others of its kind.
    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Whether a job of this slot is in progress, for tests.
    pub fn is_busy(&self, slot: Slot) -> bool {
        self.jobs.is_busy(slot)
    }
}

/// Seconds between two checks of an unfinished run.
const FOLLOW_SECONDS: f64 = 1.0;

impl eframe::App for Viewer {
    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        self.frame(ui);
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        if let Ok(text) = serde_json::to_string(&self.settings()) {
            storage.set_string(SETTINGS, text);
        }
    }
}

/// Draws the panes for the layout.
struct Panes<'a> {
    state: &'a mut State,
    textures: &'a mut Textures,
    commands: &'a mut Commands,
}

impl egui_tiles::Behavior<Pane> for Panes<'_> {
    fn pane_ui(&mut self, ui: &mut egui::Ui, _id: egui_tiles::TileId, pane: &mut Pane) -> UiResponse {
        let pressed = ui.input(|i| i.pointer.any_pressed());
        if pressed && ui.rect_contains_pointer(ui.max_rect()) {
            self.state.focus = Some(pane.0);
        }
        egui::Frame::new().fill(ui.visuals().panel_fill).inner_margin(8).show(ui, |ui| {
            ui.set_min_size(ui.available_size());
            let mut scene = Scene { state: self.state, textures: self.textures, out: self.commands };
            views::show(pane.0, ui, &mut scene);
        });
        UiResponse::None
    }

    fn tab_title_for_pane(&mut self, pane: &Pane) -> egui::WidgetText {
        match (pane.0, self.state.messages.unread) {
            (View::Messages, unread) if unread > 0 => format!("Messages ({unread})").into(),
            (view, _) => view.title().into(),
        }
    }

    fn is_tab_closable(&self, _tiles: &Tiles<Pane>, _id: egui_tiles::TileId) -> bool {
        true
    }

    fn tab_bar_height(&self, _style: &egui::Style) -> f32 {
        28.0
    }

    fn gap_width(&self, _style: &egui::Style) -> f32 {
        4.0
    }

    fn simplification_options(&self) -> egui_tiles::SimplificationOptions {
        egui_tiles::SimplificationOptions { all_panes_must_have_tabs: true, ..Default::default() }
    }
}
