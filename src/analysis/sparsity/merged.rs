//! Sums of parallel kernels: what is left of them where several paths are added up.

use super::keep::kept;
use super::stage_of;
use crate::analysis::report::{Granularity, KeptGroups, KeptTaps, MergedKernel};
use crate::weights::TensorMap;
use crate::{Error, Result};
use indexmap::IndexMap;

/// Largest side of a kernel whose taps are added up.
const MAX_SIDE: usize = 4096;

/// Modules whose kernels are added up to those of the module above them (RepLKNet, SLaK).
const BRANCHES: [&str; 5] = ["LoRA1", "LoRA2", "small_conv", "lkb_origin", "lkb_reparam"];

/// The module above a path, and what is pruned as one in it; `None` for weights that are not one of parallel kernels.
fn parent(name: &str) -> Option<(&str, Granularity)> {
    if let Some(path) = shiftwise_parent(name) {
        return Some((path, Granularity::Groups));
    }
    let module = name.strip_suffix(".weight")?;
    let branch = module.strip_suffix(".conv").unwrap_or(module);
    let (path, last) = branch.rsplit_once('.')?;
    BRANCHES.contains(&last).then_some((path, Granularity::Entries))
}

/// The module path of a shift-wise layer, from the name of one of its weights: `PATH.LoRAs.{i}.weight`, or
/// `PATH.LoRA.weight` where the paths were added up.
pub(super) fn shiftwise_parent(name: &str) -> Option<&str> {
    let module = name.strip_suffix(".weight")?;
    if let Some(path) = module.strip_suffix(".LoRA") {
        return Some(path);
    }
    let (paths, index) = module.rsplit_once('.')?;
    let number = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
    paths.strip_suffix(".LoRAs").filter(|_| number)
}

/// The parallel kernels of a network.
#[derive(Default)]
pub(super) struct Parallel {
    pub merged: Vec<MergedKernel>,
    pub groups: Vec<KeptGroups>,
    pub taps: Vec<KeptTaps>,
}

/// One path: the name of its weights and their four sides.
type PathOf<'a> = (&'a str, [usize; 4]);

pub(super) fn parallel(tensors: &TensorMap, masks: Option<&TensorMap>) -> Result<Parallel> {
    let mut modules: IndexMap<(&str, bool), Vec<PathOf>> = IndexMap::new();
    for (name, tensor) in tensors {
        let Some((path, granularity)) = parent(name) else { continue };
        let &[out, input, height, width] = tensor.dims() else { continue };
        if tensor.elem_count() > 0 {
            let groups = granularity == Granularity::Groups;
            modules.entry((path, groups)).or_default().push((name, [out, input, height, width]));
        }
    }
    let mut found = Parallel::default();
    for ((path, groups), paths) in modules {
        let merged = if groups {
            let (merged, map) = of_groups(path, &paths, tensors, masks)?;
            found.groups.extend(map);
            merged
        } else {
            let (merged, taps) = of_taps(path, &paths, tensors, masks)?;
            found.taps.push(taps);
            merged
        };
        found.merged.push(merged);
    }
    Ok(found)
}

fn merged(path: &str, paths: &[PathOf], granularity: Granularity, (kept, units): (usize, usize)) -> MergedKernel {
    MergedKernel {
        path: path.to_string(),
        stage: stage_of(path),
        paths: paths.iter().map(|(name, _)| name.to_string()).collect(),
        granularity,
        units,
        kept,
        density: super::share(kept, units),
    }
}

fn of_groups(
    path: &str,
    paths: &[PathOf],
    tensors: &TensorMap,
    masks: Option<&TensorMap>,
) -> Result<(MergedKernel, Option<KeptGroups>)> {
    let first = paths.first().map_or([0; 4], |(_, shape)| *shape);
    let units = first.iter().take(2).product();
    let mut counts = vec![0u16; units];
    for (name, shape) in paths {
        if *shape != first {
            return Err(Error::argument(*name, format!("{shape:?}"), format!("{first:?}, like the previous path")));
        }
        let Some(weight) = tensors.get(*name) else { continue };
        let keep = kept(name, weight, masks)?.keep;
        for (count, group) in counts.iter_mut().zip(keep.chunks(shape.iter().skip(2).product())) {
            *count = count.saturating_add(u16::from(group.contains(&true)));
        }
    }
    let kept = counts.iter().filter(|&&count| count > 0).count();
    let map = groups_per_channel(path, first, tensors).map(|groups| KeptGroups {
        path: path.to_string(),
        stage: stage_of(path),
        paths: paths.len(),
        channels: units / groups,
        groups,
        kept: counts,
    });
    Ok((merged(path, paths, Granularity::Groups, (kept, units)), map))
}

/// k, from the channels of the norms that follow the shifts: each has C values, the convolution k C outputs.
fn groups_per_channel(path: &str, [out, input, ..]: [usize; 4], tensors: &TensorMap) -> Option<usize> {
    let norm = ["bn_lora1", "bn_lora2", "bn_small"];
    let channels = norm.iter().find_map(|bn| tensors.get(&format!("{path}.{bn}.weight")))?.elem_count();
    (input == 1 && channels > 0 && out.is_multiple_of(channels)).then(|| out / channels)
}

fn of_taps(
    path: &str,
    paths: &[PathOf],
    tensors: &TensorMap,
    masks: Option<&TensorMap>,
) -> Result<(MergedKernel, KeptTaps)> {
    let (mut height, mut width) = (0, 0);
    let planes = |shape: &[usize; 4]| shape.iter().take(2).product::<usize>();
    let count = paths.first().map_or(0, |(_, shape)| planes(shape));
    for (name, shape) in paths {
        let &[.., h, w] = shape;
        if planes(shape) != count || h > MAX_SIDE || w > MAX_SIDE {
            let allowed = format!("{count} kernels, as in the previous path, with sides up to {MAX_SIDE}");
            return Err(Error::argument(*name, format!("{shape:?}"), allowed));
        }
        (height, width) = (height.max(h), width.max(w));
    }
    let keeps = paths
        .iter()
        .filter_map(|(name, shape)| tensors.get(*name).map(|weight| Ok((kept(name, weight, masks)?.keep, *shape))))
        .collect::<Result<Vec<_>>>()?;
    let (mut covered, mut shares) = (vec![false; height * width], vec![0usize; height * width]);
    let mut plane = vec![false; height * width];
    for channel in 0..count {
        plane.fill(false);
        for (keep, [.., h, w]) in &keeps {
            let (top, left) = (height / 2 - h / 2, width / 2 - w / 2);
            for (index, &keep) in keep.iter().skip(channel * h * w).take(h * w).enumerate() {
                let at = (top + index / w) * width + left + index % w;
                if let (Some(covered), Some(pixel)) = (covered.get_mut(at), plane.get_mut(at)) {
                    *covered = true;
                    *pixel |= keep;
                }
            }
        }
        shares.iter_mut().zip(&plane).for_each(|(share, &keep)| *share += usize::from(keep));
    }
    let units = covered.iter().filter(|covered| **covered).count() * count;
    let share = |(&covered, &kept): (&bool, &usize)| covered.then(|| (kept as f64 / count as f64) as f32);
    let taps = KeptTaps {
        path: path.to_string(),
        stage: stage_of(path),
        height,
        width,
        share: covered.iter().zip(&shares).map(share).collect(),
    };
    Ok((merged(path, paths, Granularity::Entries, (shares.iter().sum(), units)), taps))
}
