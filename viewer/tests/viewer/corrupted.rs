//! Damaged checkpoints: as many messages as files, and no panic.

use crate::support::{messages, program, run, runs, settings};
use kernelscope_viewer::command::Command;
use kernelscope_viewer::state::View;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[test]
fn two_hundred_corrupted_checkpoints_give_two_hundred_messages() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(runs().join("line/checkpoints/epoch-0001.safetensors")).unwrap();
    let mut harness = program(settings(), (900.0, 600.0));
    let ctx = harness.ctx.clone();
    harness.state_mut().show_only(&[View::Network]);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for case in 0..200 {
        let mut bytes = whole.clone();
        match case % 5 {
            // Cut off.
            0 => bytes.truncate(rng.random_range(0..whole.len() - 1)),
            // The length of the header is wrong.
            1 => bytes[..8].copy_from_slice(&rng.random::<u64>().to_le_bytes()),
            // The header's text is damaged in its structure.
            2 => {
                for _ in 0..8 {
                    let at = 8 + rng.random_range(0..header);
                    bytes[at] = b'\x01';
                }
            }
            // Bytes are missing in the middle of the values.
            3 => {
                let at = 8 + header + rng.random_range(0..whole.len() - header - 16);
                bytes.remove(at);
            }
            // Noise.
            _ => rng.fill(&mut bytes[..]),
        }
        let path = folder.path().join(format!("case-{case}.safetensors"));
        std::fs::write(&path, bytes).unwrap();
        let before = messages(harness.state()).len();
        harness.state_mut().run(&ctx, Command::Open(path.into()));
        let after = messages(harness.state());
        assert!(after.len() > before, "case {case} was silent");
        assert!(after[before..].iter().any(|text| text.contains(&format!("case-{case}"))), "{:?}", &after[before..]);
        if case % 20 == 0 {
            harness.run_steps(1);
        }
    }
    assert!(messages(harness.state()).len() >= 200);
    run(&mut harness, Command::Show(View::Messages));
}
