//! What a person does: clicks that all views follow.

use crate::support::{checkpoint, messages, opened, program, run, run_all, runs};
use clap::Parser;
use eframe::egui::{Event, Key, Modifiers, MouseWheelSource, MouseWheelUnit, TouchPhase, vec2};
use egui_kittest::kittest::Queryable;
use kernelscope::analysis::tree::Address;
use kernelscope_viewer::command::{Command, Threshold};
use kernelscope_viewer::state::{
    Arrangement, Camera, Images, KernelSort, Settings, Source, State, Transfer, View, XAxis,
};
use kernelscope_viewer::{cli, export};

#[test]
fn a_layer_in_the_tree_is_shown_by_all_views() {
    let mut harness = opened(&[&runs().join("line")]);
    harness.get_by_label("Expand stages").click();
    harness.run_steps(3);
    harness.get_by_label("Expand stages.0").click();
    harness.run_steps(3);
    assert!(harness.state().state.look.expanded.contains("stages.0"));
    run(&mut harness, Command::GoTo("stages.0.0.dwconv:3".parse().unwrap()));
    let state = &harness.state().state;
    let entry = state.current().unwrap();
    let (_, layer) = state.kernel_layer(entry).unwrap();
    assert_eq!((layer.path.as_str(), state.channel(layer)), ("stages.0.0.dwconv", Some(3)));
    // The address and the kernels say which.
    assert!(harness.query_all_by_label("stages.0.0.dwconv:3").count() >= 2);
    run(&mut harness, Command::GoTo(Address::layer("stages.0.99")));
    assert!(messages(harness.state()).pop().unwrap().contains("in stages.0: 0"));
}

#[test]
fn an_address_can_be_typed_and_copied() {
    let mut harness = opened(&[&runs().join("line")]);
    run(&mut harness, Command::GoToTyped);
    harness.event(Event::Text("stages.1.0.dwconv:2".into()));
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert_eq!(harness.state().state.look.address.as_ref().unwrap().to_string(), "stages.1.0.dwconv:2");
    harness.get_by_label("Copy").click();
    harness.step();
    let copied = harness.output().platform_output.commands.iter().find_map(|command| match command {
        eframe::egui::OutputCommand::CopyText(text) => Some(text.clone()),
        _ => None,
    });
    assert_eq!(copied.as_deref(), Some("stages.1.0.dwconv:2"));
    run(&mut harness, Command::GoToTyped);
    harness.event(Event::Text(" not an address".into()));
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert!(messages(harness.state()).pop().unwrap().starts_with("address: got"));
}

#[test]
fn the_step_slider_drives_every_view() {
    let mut harness = opened(&[&runs().join("line")]);
    let kernels = |harness: &egui_kittest::Harness<'_, kernelscope_viewer::Viewer>| {
        let entry = &harness.state().state.entries[0];
        (
            entry.facts.kernels[0].weights.clone(),
            entry.erf.as_ref().unwrap().map.contribution.clone(),
            entry.hash.clone(),
        )
    };
    let newest = kernels(&harness);
    run(&mut harness, Command::SetEpoch(1));
    let first = kernels(&harness);
    assert!(newest.0 != first.0 && newest.1 != first.1 && newest.2 != first.2);
    run(&mut harness, Command::NextEpoch);
    run(&mut harness, Command::NextEpoch);
    assert_eq!(kernels(&harness), newest);
    run(&mut harness, Command::SetEpoch(77));
    assert_eq!(kernels(&harness), newest, "an epoch that is not there changes nothing");
}

#[test]
fn a_click_on_a_map_probes_the_position_under_it() {
    let mut harness = opened(&[&runs().join("line")]);
    let area = harness.get_by_label("Receptive field of line").rect();
    let before = harness.state().state.entries[0].erf.as_ref().unwrap().clone();
    let at = area.min + area.size() * vec2(0.1, 0.9);
    harness.hover_at(at);
    harness.run_steps(1);
    harness.drag_at(at);
    harness.drop_at(at);
    harness.run_steps(4);
    let after = harness.state().state.entries[0].erf.as_ref().unwrap();
    let (rows, columns) = after.stage_size;
    assert_eq!(after.map.position, ((0.9 * rows as f32) as usize, (0.1 * columns as f32) as usize));
    assert_ne!(before.map.contribution, after.map.contribution);
    // A position outside is an error of the library, shown where the map would be.
    run(&mut harness, Command::SetPosition(Some((500, 0))));
    assert!(harness.query_all_by_label_contains("position: got (500, 0)").next().is_some());
}

#[test]
fn the_wheel_zooms_about_the_pointer_and_a_drag_pans_all_fields() {
    let mut harness = opened(&[runs()]);
    harness.state_mut().show_only(&[View::Erf]);
    harness.run_steps(3);
    let camera =
        |harness: &egui_kittest::Harness<'_, kernelscope_viewer::Viewer>| harness.state().state.look.erf.camera;
    let area = harness.get_by_label("Receptive field of shifts").rect();
    let at = area.min + area.size() * 0.25;
    harness.hover_at(at);
    harness.run_steps(1);
    harness.event(Event::MouseWheel {
        unit: MouseWheelUnit::Point,
        delta: vec2(0.0, 200.0),
        phase: TouchPhase::Move,
        source: MouseWheelSource::Wheel,
        modifiers: Modifiers::NONE,
    });
    harness.run_steps(12);
    let zoomed = camera(&harness);
    assert!(zoomed.zoom > 1.5, "{zoomed:?}");
    // What was under the pointer is there still: a quarter of the way into the image.
    for center in [zoomed.center.0, zoomed.center.1] {
        assert!((center - 0.25 / zoomed.zoom - 0.25).abs() < 0.01, "{zoomed:?}");
    }
    // The other field shows the same part.
    let other = harness.get_by_label("Receptive field of line").rect();
    let (from, to) = (other.center(), other.center() - other.size() * 0.2);
    harness.drag_at(from);
    harness.run_steps(2);
    harness.hover_at(to);
    harness.run_steps(2);
    harness.drop_at(to);
    harness.run_steps(3);
    let panned = camera(&harness);
    assert_eq!(panned.zoom, zoomed.zoom);
    assert!((panned.center.0 - zoomed.center.0 - 0.2 / zoomed.zoom).abs() < 0.02, "{zoomed:?} {panned:?}");
    run(&mut harness, Command::ShowWholeImage);
    assert_eq!(camera(&harness).zoom, 1.0);
}

#[test]
fn a_category_leads_to_its_images_and_an_image_to_its_probabilities() {
    let mut harness = opened(&[&runs().join("line")]);
    run(&mut harness, Command::Show(View::ShapeBias));
    let bias = harness.state().state.entries[0].bias.as_ref().unwrap();
    assert_eq!(bias.answered.len(), 56);
    assert!(bias.answered.iter().all(|a| (a.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-4));
    let all = harness.query_all_by_label_contains("Image ").count();
    run(&mut harness, Command::SetCategory(Some(2)));
    let some = harness.query_all_by_label_contains("Image ").count();
    assert_eq!((all, some), (56, 7));
    harness.query_all_by_label_contains("Image ").next().unwrap().scroll_to_me();
    harness.run_steps(10);
    harness.query_all_by_label_contains("Image ").next().unwrap().click();
    harness.run_steps(3);
    assert_eq!(harness.state().state.look.bias.image, Some(2));
    assert!(harness.query_all_by_label_contains("shape of square").next().is_some());
}

#[test]
fn a_field_may_be_computed_from_a_picture_and_bias_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("picture.png");
    image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([(6 * x) as u8, (8 * y) as u8, 90])).save(&picture).unwrap();
    let mut harness = opened(&[&runs().join("line")]);
    let before = harness.state().state.entries[0].erf.as_ref().unwrap().clone();
    run(&mut harness, Command::SetSource(Images::Path(picture.clone())));
    let after = harness.state().state.entries[0].erf.as_ref().unwrap();
    assert_eq!((after.map.images, after.image.width, &*after.input), (1, 64, picture.to_str().unwrap()));
    assert_ne!(before.map.contribution, after.map.contribution);
    let absent = folder.path().join("absent");
    run(&mut harness, Command::SetSource(Images::Path(absent.clone())));
    assert!(harness.state().state.entries[0].erf_fault.as_ref().unwrap().contains("absent"));
    run(&mut harness, Command::Show(View::ShapeBias));
    run(&mut harness, Command::SetStimuli(Some(absent)));
    assert!(harness.state().state.entries[0].bias_fault.as_ref().unwrap().contains("absent"));
    assert!(harness.query_all_by_label_contains("absent").next().is_some(), "the view says so");
}

#[test]
fn merged_kernels_are_crosses_or_a_message() {
    let mut harness = opened(&[runs()]);
    run(&mut harness, Command::ToggleMerged);
    assert!(matches!(&harness.state().state.entries[0].merged, Some(Err(message)) if message.contains("parallel")));
    run(&mut harness, Command::NextEntry);
    let Some(Ok(merged)) = &harness.state().state.entries[1].merged else { panic!("no crosses") };
    let cross = merged.kernels.iter().find(|layer| layer.path == "stages.0.0.large_kernel").unwrap();
    let kernel = cross.pixels(0);
    assert_eq!((kernel.height, kernel.width), (15, 15));
    assert_eq!(kernel.values[0], 0.0, "the corners of a cross are empty");
}

#[test]
fn sorting_puts_the_largest_norm_first() {
    let mut harness = opened(&[&runs().join("line")]);
    run(&mut harness, Command::GoTo("stages.0.0.dwconv".parse().unwrap()));
    run(&mut harness, Command::SortKernels(KernelSort::Norm));
    let entry = &harness.state().state.entries[0];
    let index = entry.facts.kernels.iter().position(|layer| layer.path == "stages.0.0.dwconv").unwrap();
    let largest = entry.facts.orientations[index].channels.iter().map(|c| c.energy).fold(0.0, f64::max);
    // The grid's cells are in order; the first is the channel with the most energy.
    let first = (0..entry.facts.kernels[index].channels)
        .find(|&c| entry.facts.orientations[index].channels[c].energy == largest)
        .unwrap();
    let name = format!("Kernels of stages.0.0.dwconv from channel {first}");
    assert!(harness.query_by_label(&name).is_some(), "{name}");
}

#[test]
fn the_copied_command_shows_the_same() {
    let mut harness = opened(&[runs()]);
    run(&mut harness, Command::Show(View::Kernels));
    run(&mut harness, Command::SetEpoch(1));
    run(&mut harness, Command::GoTo("stages.0.0.dwconv:3".parse().unwrap()));
    run_all(
        &mut harness,
        [
            Command::SetStage(Some(1)),
            Command::SetPosition(Some((2, 3))),
            Command::SetTransfer(Transfer::Power),
            Command::SetGamma(0.25),
            Command::SetThreshold(Threshold { index: 0, share: 0.1 }),
            Command::SetThreshold(Threshold { index: 3, share: 0.9 }),
            Command::ToggleSquares,
            Command::ToggleContours,
            Command::ToggleSharedRange,
            Command::Arrange(Arrangement::Swipe),
            Command::SetSwipe(0.75),
            Command::SetCamera(Camera { center: (0.25, 0.5), zoom: 3.0 }),
            Command::SortKernels(KernelSort::Orientation),
            Command::SetXAxis(XAxis::Step),
            Command::SetConflicts(64),
            Command::SetCategory(Some(2)),
            Command::SetConflict(Some(3)),
        ],
    );
    let line = export::command_line(&harness.state().state);
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    let args = cli::Args::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(args.fresh, "what a machine remembers must not change what is shown: {line}");
    let mut other = program(Settings::default(), (1500.0, 940.0));
    let ctx = other.ctx.clone();
    args.apply(&ctx, other.state_mut());
    other.run_steps(4);
    let (one, two) = (&harness.state().state, &other.state().state);
    assert_eq!((&one.look.address, &one.look.erf), (&two.look.address, &two.look.erf), "{line}");
    assert_eq!(
        (&one.look.kernels, &one.look.bias, one.look.x_axis),
        (&two.look.kernels, &two.look.bias, two.look.x_axis)
    );
    assert_eq!(one.current().unwrap().label, two.current().unwrap().label);
    let epoch = |state: &State| state.look.epochs.get(&state.look.current.unwrap()).copied();
    assert_eq!(epoch(one), epoch(two));
    assert_eq!(export::command_line(two), line);
}

#[test]
fn the_copied_command_names_the_network_of_each_file() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(format!("{name}.safetensors")));
    checkpoint(&first, "nano-1d", false);
    checkpoint(&second, "nano-2d", false);
    let mut harness = opened(&[]);
    run(&mut harness, Command::Open(Source::named(first, "nano-1d")));
    run(&mut harness, Command::Open(Source::named(second, "nano-2d")));
    let line = export::command_line(&harness.state().state);
    let args = cli::Args::try_parse_from(line.split(' ').skip(1)).unwrap();
    let mut other = opened(&[]);
    let ctx = other.ctx.clone();
    args.apply(&ctx, other.state_mut());
    other.run_steps(4);
    let names: Vec<&str> = other.state().state.entries.iter().map(|entry| entry.network_name().unwrap()).collect();
    assert_eq!(names, ["nano-2d", "nano-1d"], "{line}");
}
