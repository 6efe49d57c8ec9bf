//! Every command, on an empty program and on a full one, by run, by key, by menu and by palette.

use crate::support::{messages, opened, program, run, runs, settings};
use eframe::egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable;
use kernelscope::analysis::tree::Address;
use kernelscope_viewer::command::{Command, Kind, Menu, ReadAs, Target, Threshold};
use kernelscope_viewer::state::{Arrangement, Camera, Dialog, EntryId, Figure, Images, KernelSort, Source, State};
use std::path::Path;

/// Values for commands that no list offers, most of which name nothing that there is. A command is named here once its
/// value comes from a view alone.
fn extra(kind: Kind, folder: &Path) -> Vec<Command> {
    let id = EntryId(99);
    match kind {
        Kind::Open => vec![Command::Open(Path::new("absent").into()), Command::Open(Source::named("", "nano-1d"))],
        Kind::SetModel => vec![Command::SetModel(ReadAs { entry: id, model: Some("nano-1d".into()) })],
        Kind::Select => vec![Command::Select(id)],
        Kind::Compare => vec![Command::Compare(id)],
        Kind::LeaveOut => vec![Command::LeaveOut(id)],
        Kind::Close => vec![Command::Close(id)],
        Kind::SetEpoch => vec![Command::SetEpoch(3)],
        Kind::GoTo => vec![Command::GoTo(Address::layer("stages.0").with_channel(99_999))],
        Kind::Expand => vec![Command::Expand("stages".into())],
        Kind::Collapse => vec![Command::Collapse("stages".into())],
        Kind::Export => {
            let path = |figure: Figure| folder.join(figure.name()).with_extension("svg");
            Figure::ALL.map(|figure| Command::Export(Target { figure, path: path(figure) })).into()
        }
        Kind::SetKernelSide => vec![Command::SetKernelSide(30.0)],
        Kind::SetStage => vec![Command::SetStage(Some(1)), Command::SetStage(Some(99))],
        Kind::SetPosition => vec![Command::SetPosition(Some((999, 999)))],
        Kind::SetSize => vec![Command::SetSize(32)],
        Kind::SetImages => vec![Command::SetImages(1)],
        Kind::SetSource => vec![Command::SetSource(Images::Path("absent".into()))],
        Kind::SetGamma => vec![Command::SetGamma(0.5)],
        Kind::SetThreshold => [0, 99].map(|index| Command::SetThreshold(Threshold { index, share: 0.25 })).into(),
        Kind::SetSwipe => vec![Command::SetSwipe(0.25)],
        Kind::SetCamera => vec![Command::SetCamera(Camera { center: (0.25, 0.75), zoom: 4.0 })],
        Kind::SetConflicts => vec![Command::SetConflicts(16)],
        Kind::SetStimuli => vec![Command::SetStimuli(Some("absent".into()))],
        Kind::SetCategory => vec![Command::SetCategory(Some(99))],
        Kind::SetConflict => vec![Command::SetConflict(Some(9999))],
        _ => Vec::new(),
    }
}

/// Commands of every kind: those that lists offer, and some that nothing offers. The system's dialogs, which would open
/// real windows, are left out.
fn samples(state: &State, folder: &Path) -> Vec<Command> {
    let mut all = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| !matches!(kind, Kind::OpenFiles | Kind::OpenFolder)) {
        let of_kind: Vec<Command> = kind.offered(state).into_iter().chain(extra(kind, folder)).collect();
        assert!(!of_kind.is_empty(), "no list offers {kind:?}: name a sample");
        assert!(of_kind.iter().all(|command| command.kind() == kind));
        all.extend(of_kind);
    }
    all
}

#[test]
fn every_command_works_on_an_empty_program() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = program(settings(), (1200.0, 800.0));
    for command in samples(&harness.state().state, folder.path()) {
        run(&mut harness, command.clone());
        assert!(harness.state().state.entries.is_empty(), "{command:?}");
        run(&mut harness, Command::CloseDialog);
    }
}

#[test]
fn every_command_works_on_a_full_program() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(&[runs()]);
    for command in samples(&harness.state().state, folder.path()) {
        if matches!(command, Command::CloseAll | Command::CloseCurrent) {
            continue;
        }
        run(&mut harness, command.clone());
        assert_eq!(harness.state().state.entries.len(), 2, "{command:?}");
        run(&mut harness, Command::CloseDialog);
    }
    // All views come back, and with them the work for what is chosen in them.
    run(&mut harness, Command::ResetLayout);
    if !harness.state().state.look.erf.live {
        run(&mut harness, Command::ToggleLive);
    }
    run(&mut harness, Command::SetSource(Images::Own));
    run(&mut harness, Command::SetStage(None));
    run(&mut harness, Command::SetPosition(Some((999, 999))));
    // What was asked for and is not there was said.
    let all = messages(harness.state()).join("\n");
    for part in ["absent", "path: got nothing", "less than", "(999, 999)", "stage: got 99"] {
        assert!(all.contains(part), "{part}: {all}");
    }
    run(&mut harness, Command::CloseCurrent);
    assert_eq!(harness.state().state.entries.len(), 1);
    run(&mut harness, Command::CloseAll);
    assert!(harness.state().state.entries.is_empty());
}

#[test]
fn every_menu_has_its_commands() {
    let mut harness = opened(&[&runs().join("line")]);
    for menu in Menu::ALL.into_iter().filter(|menu| menu.outer().is_none()) {
        harness.get_by_label(menu.title()).click();
        harness.run_steps(4);
        for command in Command::offered(&harness.state().state) {
            let name = command.name();
            if command.about().places.iter().any(|place| place.menu == menu) {
                assert!(harness.query_all_by_label_contains(&name).next().is_some(), "{}: {name}", menu.title());
            }
        }
        harness.key_press(Key::Escape);
        harness.run_steps(4);
    }
    harness.get_by_label("Analysis").click();
    harness.run_steps(4);
    harness.get_by_label("Receptive field: swipe").click();
    harness.run_steps(4);
    assert_eq!(harness.state().state.look.erf.arrangement, Arrangement::Swipe);
}

#[test]
fn every_shortcut_does_what_its_command_does() {
    let mut harness = opened(&[&runs().join("line")]);
    let press = |harness: &mut egui_kittest::Harness<'_, kernelscope_viewer::Viewer>, modifiers, key| {
        harness.key_press_modifiers(modifiers, key);
        harness.run_steps(3);
    };
    press(&mut harness, Modifiers::COMMAND, Key::K);
    assert!(matches!(harness.state().state.dialog, Dialog::Palette { .. }));
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
