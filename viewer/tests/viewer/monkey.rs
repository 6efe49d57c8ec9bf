//! Ten thousand random events: clicks, drags, keys, wheel, text and commands.

use crate::support::{opened, runs};
use eframe::egui::{
    Event, Key, Modifiers, MouseWheelSource, MouseWheelUnit, PointerButton, Pos2, TouchPhase, pos2, vec2,
};
use kernelscope_viewer::command::Command;
use kernelscope_viewer::state::{Dialog, State};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const EVENTS: usize = 10_000;

fn point(rng: &mut ChaCha8Rng) -> Pos2 {
    pos2(rng.random_range(0.0..1100.0), rng.random_range(0.0..760.0))
}

/// A command that neither ends the program nor opens the system's windows.
fn command(rng: &mut ChaCha8Rng, state: &State) -> Option<Command> {
    let all = Command::palette(state);
    let command = all.choose(rng)?.clone();
    let outside = matches!(command, Command::OpenFiles | Command::OpenFolder | Command::Quit);
    (!outside).then_some(command)
}

#[test]
fn ten_thousand_random_events_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(&[runs()]);
    harness.set_size(vec2(1100.0, 760.0));
    let ctx = harness.ctx.clone();
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let keys =
        [Key::Escape, Key::Enter, Key::Tab, Key::ArrowDown, Key::ArrowUp, Key::Z, Key::K, Key::L, Key::Num3, Key::F1];
    // What is computed takes longest; it is kept small.
    let small = |state: &mut State| {
        state.look.erf.size = 32;
        state.look.erf.images = 1;
        state.look.bias.images = 8;
        state.settings.recent.retain(|source| source.path.starts_with(std::env::temp_dir()));
        // What it exports goes into a folder that is removed.
        if let Dialog::Export(figure, text) = &mut state.dialog {
            *text = folder.path().join(figure.name()).with_extension("svg").display().to_string();
        }
    };
    for count in 0..EVENTS {
        match rng.random_range(0..100) {
            0..45 => {
                let pos = point(&mut rng);
                let button = if rng.random_bool(0.9) { PointerButton::Primary } else { PointerButton::Secondary };
                harness.event(Event::PointerMoved(pos));
                for pressed in [true, false] {
                    harness.event(Event::PointerButton { pos, button, pressed, modifiers: Modifiers::NONE });
                }
            }
            45..60 => {
                let (from, to) = (point(&mut rng), point(&mut rng));
                harness.drag_at(from);
                harness.hover_at(to);
                harness.drop_at(to);
            }
            60..75 => {
                let modifiers = if rng.random_bool(0.2) { Modifiers::COMMAND } else { Modifiers::NONE };
                let delta = vec2(0.0, rng.random_range(-300.0..300.0));
                harness.hover_at(point(&mut rng));
                harness.event(Event::MouseWheel {
                    unit: MouseWheelUnit::Point,
                    delta,
                    phase: TouchPhase::Move,
                    source: MouseWheelSource::Wheel,
                    modifiers,
                });
            }
            75..88 => {
                let key = *keys.choose(&mut rng).unwrap();
                let modifiers = if rng.random_bool(0.5) { Modifiers::COMMAND } else { Modifiers::NONE };
                harness.key_press_modifiers(modifiers, key);
            }
            88..93 => {
                harness.event(Event::Text(["stages", ".0", ":7", "erf", "ü"].choose(&mut rng).unwrap().to_string()))
            }
            _ => {
                if let Some(command) = command(&mut rng, &harness.state().state) {
                    harness.state_mut().run(&ctx, command);
                }
            }
        }
        if count % 4 == 0 {
            small(&mut harness.state_mut().state);
            harness.step();
        }
        if harness.state().state.entries.is_empty() {
            harness.state_mut().run(&ctx, Command::Open(runs().into()));
        }
    }
    harness.run_steps(4);
    assert!(harness.state().is_idle());
}
