//! Edits of one field each: none is lost to another one, and undo takes back what belongs together.

use crate::support::{opened, run, run_all, runs};
use eframe::egui::{Event, Modifiers, PointerButton, vec2};
use egui_kittest::kittest::Queryable;
use kernelscope_viewer::command::Command;
use kernelscope_viewer::state::View;

#[test]
fn two_edits_in_one_frame_both_count() {
    let mut harness = opened(&[&runs().join("line")]);
    let before = harness.state().state.look.clone();
    assert!(!before.erf.contours && before.erf.position.is_none());
    let area = harness.get_by_label("Receptive field of line").rect();
    let at = area.min + area.size() * vec2(0.1, 0.9);
    harness.hover_at(at);
    harness.run_steps(1);
    harness.drag_at(at);
    harness.run_steps(1);
    // The pointer is released on the map, which probes a position, in the frame in which a box is ticked.
    let release =
        Event::PointerButton { pos: at, button: PointerButton::Primary, pressed: false, modifiers: Modifiers::NONE };
    harness.input_mut().events.push(release);
    harness.get_by_label("Contours").click_accesskit();
    harness.run_steps(4);
    let after = harness.state().state.look.clone();
    assert!(after.erf.position.is_some(), "the click on the map was lost");
    assert!(after.erf.contours, "the tick of the box was lost");
    // What happened in one frame is one step.
    run(&mut harness, Command::Undo);
    assert_eq!(harness.state().state.look, before);
    run(&mut harness, Command::Redo);
    assert_eq!(harness.state().state.look, after);
}

#[test]
fn a_slider_that_is_dragged_is_one_step() {
    let mut harness = opened(&[&runs().join("line")]);
    harness.state_mut().show_only(&[View::Kernels]);
    harness.run_steps(3);
    let before = harness.state().state.look.clone();
    let slider = harness.get_by_label("Size").rect();
    let from = slider.center();
    harness.hover_at(from);
    harness.drag_at(from);
    for step in 1..6 {
        harness.hover_at(from + vec2(4.0 * step as f32, 0.0));
        harness.run_steps(1);
    }
    harness.drop_at(from + vec2(20.0, 0.0));
    harness.run_steps(3);
    let after = harness.state().state.look.clone();
    assert_ne!(before.kernels.side, after.kernels.side);
    run(&mut harness, Command::Undo);
    assert_eq!(harness.state().state.look, before);
    run(&mut harness, Command::Redo);
    assert_eq!(harness.state().state.look, after);
}

#[test]
fn a_position_is_forgotten_with_its_stage_and_an_image_with_its_category() {
    let mut harness = opened(&[&runs().join("line")]);
    let some = [
        Command::SetPosition(Some((1, 1))),
        Command::SetStage(None),
        Command::SetCategory(Some(2)),
        Command::SetConflict(Some(2)),
        Command::SetCategory(Some(2)),
    ];
    run_all(&mut harness, some);
    let look = &harness.state().state.look;
    assert_eq!((look.erf.position, look.bias.image), (Some((1, 1)), Some(2)), "nothing else was chosen");
    run_all(&mut harness, [Command::SetStage(Some(0)), Command::SetCategory(None)]);
    let look = &harness.state().state.look;
    assert_eq!((look.erf.position, look.bias.image), (None, None));
}
