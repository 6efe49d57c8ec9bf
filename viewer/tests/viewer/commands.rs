//! Every command, on an empty program and on a full one, by run, by key and by palette.

use crate::support::{messages, opened, program, run, runs, settings};
use eframe::egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable;
use kernelscope::analysis::tree::Address;
use kernelscope_viewer::command::Command;
use kernelscope_viewer::state::{
    Arrangement, BiasLook, Dialog, EntryId, ErfLook, Figure, KernelLook, KernelSort, Transfer, XAxis,
};

/// All general commands and samples of those that take something.
fn samples() -> Vec<Command> {
    let mut all = Command::general();
    let id = EntryId(99);
    all.extend([
        Command::Open("absent".into(), None),
        Command::Open("".into(), Some("nano-1d".into())),
        Command::SetModel(id, Some("nano-1d".into())),
        Command::Close(id),
        Command::Select(id),
        Command::Compare(id, true),
        Command::Compare(id, false),
        Command::SetEpoch(Some(3)),
        Command::GoTo(Some(Address::layer("stages.0").with_channel(99_999))),
        Command::Expand("stages".into(), true),
        Command::Expand("stages".into(), false),
        Command::SetKernels(KernelLook { sort: KernelSort::Norm, own_range: true, ..KernelLook::default() }),
        Command::SetErf(Box::new(ErfLook {
            position: Some((999, 999)),
            transfer: Transfer::Power,
            ..ErfLook::default()
        })),
        Command::SetBias(BiasLook { category: Some(99), image: Some(9999), ..BiasLook::default() }),
        Command::SetXAxis(XAxis::Step),
    ]);
    // The system's dialogues would open real windows.
    all.retain(|command| !matches!(command, Command::OpenFiles | Command::OpenFolder));
    all
}

#[test]
fn every_command_works_on_an_empty_program() {
    let mut harness = program(settings(), (1200.0, 800.0));
    for command in samples() {
        run(&mut harness, command.clone());
        assert!(harness.state().state.entries.is_empty(), "{command:?}");
        run(&mut harness, Command::CloseDialog);
    }
}

#[test]
fn every_command_works_on_a_full_program() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(&[runs()]);
    let mut all = samples();
    all.extend(
        Figure::ALL.map(|figure| Command::Export(figure, folder.path().join(figure.name()).with_extension("svg"))),
    );
    for command in all {
        if matches!(command, Command::CloseAll | Command::CloseCurrent) {
            continue;
        }
        run(&mut harness, command.clone());
        assert_eq!(harness.state().state.entries.len(), 2, "{command:?}");
        run(&mut harness, Command::CloseDialog);
    }
    // All views come back, and with them the work for what is chosen in them.
    run(&mut harness, Command::ResetLayout);
    // What was asked for and is not there was said.
    let all = messages(harness.state()).join("\n");
    for part in ["absent", "path: got nothing", "below", "(999, 999)"] {
        assert!(all.contains(part), "{part}: {all}");
    }
    run(&mut harness, Command::CloseCurrent);
    assert_eq!(harness.state().state.entries.len(), 1);
    run(&mut harness, Command::CloseAll);
    assert!(harness.state().state.entries.is_empty());
}

#[test]
fn every_shortcut_does_what_its_command_does() {
    let mut harness = opened(&[&runs().join("line")]);
    let press = |harness: &mut egui_kittest::Harness<'_, kernelscope_viewer::Viewer>, modifiers, key| {
        harness.key_press_modifiers(modifiers, key);
        harness.run_steps(3);
    };
    press(&mut harness, Modifiers::COMMAND, Key::K);
    assert!(matches!(harness.state().state.dialog, Dialog::Palette(..)));
    press(&mut harness, Modifiers::NONE, Key::Escape);
    assert_eq!(harness.state().state.dialog, Dialog::None);
    press(&mut harness, Modifiers::NONE, Key::F1);
    assert_eq!(harness.state().state.dialog, Dialog::Shortcuts);
    press(&mut harness, Modifiers::NONE, Key::Escape);
    press(&mut harness, Modifiers::ALT, Key::ArrowDown);
    assert!(harness.state().state.look.address.is_some());
    press(&mut harness, Modifiers::ALT, Key::ArrowRight);
    assert!(harness.state().state.look.address.as_ref().unwrap().channel.is_some());
    press(&mut harness, Modifiers::COMMAND, Key::Z);
    assert!(harness.state().state.look.address.as_ref().is_none_or(|address| address.channel.is_none()));
    press(&mut harness, Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    assert!(harness.state().state.look.address.as_ref().unwrap().channel.is_some());
    let dark = harness.state().state.settings.dark;
    press(&mut harness, Modifiers::COMMAND | Modifiers::SHIFT, Key::D);
    assert_ne!(harness.state().state.settings.dark, dark);
    press(&mut harness, Modifiers::COMMAND, Key::W);
    assert!(harness.state().state.entries.is_empty());
}

#[test]
fn the_palette_finds_and_runs_a_command() {
    let mut harness = opened(&[&runs().join("line")]);
    run(&mut harness, Command::Palette);
    harness.get_by_label("Commands").focus();
    harness.event(eframe::egui::Event::Text("sort norm".into()));
    harness.run_steps(3);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert_eq!(harness.state().state.look.kernels.sort, KernelSort::Norm);
    assert_eq!(harness.state().state.dialog, Dialog::None);
    // Layers are in the palette as well.
    run(&mut harness, Command::Palette);
    harness.event(eframe::egui::Event::Text("go stages.0.0.dwconv".into()));
    harness.run_steps(3);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert_eq!(harness.state().state.look.address.as_ref().unwrap().to_string(), "stages.0.0.dwconv");
}

#[test]
fn undo_takes_back_what_was_looked_at_but_not_what_is_open() {
    let mut harness = opened(&[runs()]);
    let first = harness.state().state.look.clone();
    run(&mut harness, Command::SortKernels(KernelSort::Norm));
    run(&mut harness, Command::Arrange(Arrangement::Difference));
    run(&mut harness, Command::NextEntry);
    for _ in 0..3 {
        run(&mut harness, Command::Undo);
    }
    assert_eq!(harness.state().state.look, first);
    run(&mut harness, Command::Undo);
    assert_eq!(harness.state().state.entries.len(), 2);
    for _ in 0..3 {
        run(&mut harness, Command::Redo);
    }
    assert_eq!(harness.state().state.look.erf.arrangement, Arrangement::Difference);
    let id = harness.state().state.entries[1].id;
    run(&mut harness, Command::Close(id));
    run(&mut harness, Command::Undo);
    assert!(harness.state().state.current().is_some(), "what is looked at is open");
}
