use super::*;

fn angles(channels: usize, directions: usize, turn: f64) -> Vec<f32> {
    channel_angles(channels, directions, turn).unwrap()
}

fn rounded(angles: &[f32], half: Precision) -> Vec<f32> {
    angles.iter().map(|&angle| half.round(angle)).collect()
}

#[test]
fn angles_of_the_configuration_are_restored_from_either_half_precision() {
    for (channels, directions, turn) in
        [(64, 8, 0.0), (96, 8, 0.5), (768, 8, 0.5), (32, 3, 0.0), (64, 64, 0.5), (4, 8, 0.0)]
    {
        let configured = angles(channels, directions, turn);
        assert_eq!(Restored::of(&configured, &configured, 31), Restored::Stored);
        for half in Precision::HALF {
            let stored = rounded(&configured, half);
            assert_ne!(stored, configured);
            assert_eq!(
                Restored::of(&stored, &configured, 31),
                Restored::Configured,
                "{channels} {directions} {half:?}"
            );
        }
    }
}

#[test]
fn a_rounded_vertical_filter_reads_other_pixels() {
    let vertical = std::f32::consts::FRAC_PI_2;
    for half in Precision::HALF {
        assert_ne!(tap_offsets(half.round(vertical), 31), tap_offsets(vertical, 31), "{half:?}");
    }
}

#[test]
fn angles_of_another_number_of_directions_or_turn_are_found() {
    for (channels, directions, turn) in [(384, 383, 0.0), (384, 384, 0.0), (768, 768, 0.5), (64, 12, 0.5), (96, 8, 0.5)]
    {
        let (built, configured) = (angles(channels, directions, turn), angles(channels, 8, 0.0));
        for half in Precision::HALF {
            // A rule by values would turn channels of the first case in bf16 to eighths of a half turn.
            let restored = Restored::of(&rounded(&built, half), &configured, 31);
            assert_eq!(restored, Restored::Other(built.clone()), "{channels} {directions} {half:?}");
        }
    }
}

#[test]
fn exact_angles_that_half_precision_holds_stay() {
    // One of them is pi/2 as half precision has it.
    let exact = angles(3247, 3247, 0.0);
    assert!(exact.contains(&1.570_312_5));
    assert_eq!(Restored::of(&exact, &angles(3247, 8, 0.0), 31), Restored::Stored);
}

#[test]
fn somebodys_own_angles_stay() {
    let configured = angles(64, 8, 0.0);
    let mut own = configured.clone();
    own[40] = 0.4;
    assert_eq!(Restored::of(&own, &configured, 31), Restored::Stored, "nothing is in half precision");
    let mut stored = rounded(&configured, Precision::F16);
    stored[40] = Precision::F16.round(0.4);
    assert_eq!(Restored::of(&stored, &configured, 31), Restored::Doubtful(Doubt::NoSet));
    let zeros = vec![0.0; 64];
    assert_eq!(Restored::of(&zeros, &configured, 31), Restored::Stored, "any precision holds zero");
    for odd in [f32::NAN, f32::INFINITY] {
        let mut stored = rounded(&configured, Precision::Bf16);
        stored[3] = odd;
        let kept = matches!(Restored::of(&stored, &configured, 31), Restored::Stored | Restored::Doubtful(_));
        assert!(kept, "{odd}");
    }
}

#[test]
fn layers_agree_on_a_number_or_on_one_direction_per_channel() {
    let layers = |directions: &dyn Fn(usize) -> usize, half: Precision| -> Vec<Vec<f32>> {
        let layer = |channels, turn| rounded(&angles(channels, directions(channels), turn), half);
        vec![layer(64, 0.0), layer(96, 0.5), layer(128, 0.0)]
    };
    for half in [Precision::Single, Precision::F16, Precision::Bf16] {
        assert_eq!(Agreed::among(&layers(&|_| 12, half)), Some(Agreed::Count(12)), "{half:?}");
        assert_eq!(Agreed::among(&layers(&|channels| channels, half)), Some(Agreed::Channels), "{half:?}");
        assert_eq!(Agreed::among(&layers(&|channels| channels / 2, half)), None, "{half:?}");
    }
    let mut mixed = layers(&|_| 12, Precision::Bf16);
    mixed.push(vec![0.1, 0.2]);
    assert_eq!(Agreed::among(&mixed), Some(Agreed::Count(12)), "angles of no number of directions have no say");
    mixed.push(angles(96, 8, 0.0));
    assert_eq!(Agreed::among(&mixed), None, "exact angles have");
    assert_eq!(Agreed::among(&[]), None);
}

#[test]
fn what_is_said_names_layers_once() {
    let mut notes = AngleNotes::default();
    notes.note("a.theta", &Restored::Configured, None);
    assert!(notes.lines().is_empty());
    notes.note("a.theta", &Restored::Other(vec![]), Some(Agreed::Channels));
    for name in ["b.theta", "c.theta", "d.theta"] {
        notes.note(name, &Restored::Doubtful(Doubt::NoSet), None);
    }
    notes.note("e.theta", &Restored::Doubtful(Doubt::Disagreement), None);
    assert_eq!(
        notes.lines(),
        [
            "angles are stored in half precision; taken for those of directions=channels",
            "theta of b (and of 2 more) is in half precision and of no registered set: taps may be off; store theta in f32",
            "theta of e is in half precision and not of the same number of directions as other layers: taps may be off; \
             store theta in f32",
        ]
    );
}
