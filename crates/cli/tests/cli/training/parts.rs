//! The optimizer, schedule, averaging and loss against plain references.

use super::snapshot;
use crate::common::{array, fill_signed, golden, integer, max_abs_diff, max_rel_diff, random, values};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use kernelscope::nn::{BuildOptions, Builder, Init, Kind, Params, Scope};
use kernelscope_lab::train::{AdamW, AdamWConfig, CosineSchedule, Ema, accuracy, soft_cross_entropy};
use std::collections::BTreeMap;

/// One parameter of every kind, with initial values that follow from the names.
fn toy_params() -> Params {
    let builder = Builder::new(BuildOptions::default());
    let add = |scope: &Scope, name: &str, shape: &[usize], kind| {
        let values = fill_signed(&scope.name(name), shape.iter().product());
        scope.param(name, shape, kind, Init::Values(values)).unwrap();
    };
    let root = builder.root();
    add(&root.child("conv"), "weight", &[2, 1, 1, 3], Kind::Weight);
    add(&root.child("conv"), "bias", &[2], Kind::Bias);
    add(&root.child("conv"), "theta", &[2], Kind::Theta);
    add(&root.child("norm"), "weight", &[4], Kind::NormWeight);
    add(&root.child("norm"), "running_mean", &[4], Kind::RunningStat);
    add(&root.child("norm"), "num_batches_tracked", &[], Kind::Counter);
    add(&root, "gamma", &[3], Kind::Gamma);
    add(&root.child("head"), "weight", &[2, 2], Kind::Weight);
    builder.finish().unwrap()
}

/// Gradients with the given values, as those of `sum(parameter * value)`.
fn gradients(params: &Params, of: impl Fn(&str, usize) -> Vec<f32>) -> GradStore {
    let terms = params.trainable().map(|(name, p)| {
        let value = Tensor::from_vec(of(name, p.var.elem_count()), p.var.shape(), &Device::Cpu).unwrap();
        (p.var.as_tensor() * value).unwrap().sum_all().unwrap()
    });
    terms.reduce(|a, b| (a + b).unwrap()).unwrap().backward().unwrap()
}

#[test]
fn adamw_is_its_equations() {
    let params = toy_params();
    let config = AdamWConfig { beta1: 0.8, beta2: 0.95, eps: 1e-3, weight_decay: 0.3 };
    let mut optimizer = AdamW::new(&params, config);
    let start = snapshot(&params);
    let mut p = start.clone();
    let zeros = || p.iter().map(|(name, v)| (name.clone(), vec![0.0; v.len()])).collect::<BTreeMap<_, Vec<f64>>>();
    let (mut m, mut v) = (zeros(), zeros());
    for t in 1..=5 {
        let (lr, scale) = (0.05 / f64::from(t), if t == 3 { 0.25 } else { 1.0 });
        let gradient = |name: &str, count| fill_signed(&format!("gradient {t} of {name}"), count);
        optimizer.step(&gradients(&params, gradient), lr, scale).unwrap();
        for (name, _) in params.trainable() {
            let decays = name.ends_with("conv.weight") || name == "head.weight";
            let (p, m, v) = (p.get_mut(name).unwrap(), m.get_mut(name).unwrap(), v.get_mut(name).unwrap());
            for (i, g) in gradient(name, p.len()).into_iter().enumerate() {
                let g = f64::from(g) * scale;
                m[i] = 0.8 * m[i] + 0.2 * g;
                v[i] = 0.95 * v[i] + 0.05 * g * g;
                let (m_hat, v_hat) = (m[i] / (1.0 - 0.8f64.powi(t)), v[i] / (1.0 - 0.95f64.powi(t)));
                let kept = if decays { p[i] * (1.0 - lr * 0.3) } else { p[i] };
                p[i] = kept - lr * m_hat / (v_hat.sqrt() + 1e-3);
            }
        }
        for (name, now) in snapshot(&params) {
            let off = max_abs_diff(&now, &p[&name]);
            assert!(off < 2e-6, "step {t}: {name} is off by {off:e}");
        }
    }
    for (name, param) in params.iter().filter(|(_, p)| !p.kind.trainable()) {
        assert_eq!(values(param.var.as_tensor()), start[name], "{name} is not the optimizer's");
    }
}

#[test]
fn only_weights_decay() {
    let params = toy_params();
    let before = snapshot(&params);
    let mut optimizer = AdamW::new(&params, AdamWConfig { weight_decay: 0.5, ..AdamWConfig::default() });
    optimizer.step(&gradients(&params, |_, count| vec![0.0; count]), 0.1, 1.0).unwrap();
    for (name, now) in snapshot(&params) {
        let factor = if name == "conv.weight" || name == "head.weight" { 0.95 } else { 1.0 };
        let expected: Vec<f64> = before[&name].iter().map(|v| v * factor).collect();
        assert!(max_abs_diff(&now, &expected) < 1e-7, "{name}");
    }
}

#[test]
fn the_optimizer_resumes_and_refuses_missing_gradients() {
    let gradient = |t: usize| move |name: &str, count: usize| fill_signed(&format!("{t} {name}"), count);
    let whole = toy_params();
    let mut optimizer = AdamW::new(&whole, AdamWConfig::default());
    let parts = toy_params();
    let mut first = AdamW::new(&parts, AdamWConfig::default());
    for t in 0..2 {
        optimizer.step(&gradients(&whole, gradient(t)), 0.01, 1.0).unwrap();
        first.step(&gradients(&parts, gradient(t)), 0.01, 1.0).unwrap();
    }
    let (state, step) = first.state().unwrap();
    assert_eq!(step, 2);
    let mut second = AdamW::new(&parts, AdamWConfig::default());
    second.restore(&state, step).unwrap();
    optimizer.step(&gradients(&whole, gradient(2)), 0.01, 1.0).unwrap();
    second.step(&gradients(&parts, gradient(2)), 0.01, 1.0).unwrap();
    assert_eq!(snapshot(&whole), snapshot(&parts));
    let mut lost = state.clone();
    lost.shift_remove("v.gamma").unwrap();
    assert!(second.restore(&lost, 2).unwrap_err().to_string().contains("v.gamma"));
    let only_gamma = whole.get("gamma").unwrap().var.as_tensor().sum_all().unwrap().backward().unwrap();
    assert!(optimizer.step(&only_gamma, 0.01, 1.0).unwrap_err().to_string().contains("conv.weight"));
}

#[test]
fn the_gradient_norm_is_over_all_parameters() {
    let params = toy_params();
    let optimizer = AdamW::new(&params, AdamWConfig::default());
    let sum: f64 = params
        .trainable()
        .flat_map(|(name, p)| fill_signed(name, p.var.elem_count()))
        .map(|g| f64::from(g) * f64::from(g))
        .sum();
    let norm = optimizer.gradient_norm(&gradients(&params, fill_signed)).unwrap();
    assert!((norm - sum.sqrt()).abs() < 1e-6, "{norm} {}", sum.sqrt());
}

#[test]
fn the_schedule_is_the_published_one() {
    let golden = golden("replk/schedules.json");
    let mut compared = 0;
    for case in array(&golden["cosine_scheduler"]) {
        let Some(listed) = case["values"].as_object() else { continue };
        let args = &case["args"];
        let count = |name: &str| args.get(name).map_or(0, integer);
        let per_epoch = count("niter_per_ep");
        let schedule = CosineSchedule {
            base: args["base_value"].as_f64().unwrap(),
            last: args["final_value"].as_f64().unwrap(),
            warmup_steps: count("warmup_epochs") * per_epoch,
            steps: count("epochs") * per_epoch,
        };
        assert_eq!(schedule.steps, integer(&case["length"]));
        for (step, expected) in listed {
            let (found, expected) = (schedule.at(step.parse().unwrap()), expected.as_f64().unwrap());
            assert!((found - expected).abs() <= 1e-12 * expected.abs(), "step {step}: {found} {expected}");
            compared += 1;
        }
        let sum: f64 = (0..schedule.steps).map(|step| schedule.at(step)).sum();
        let expected = case["sum"].as_f64().unwrap();
        assert!((sum - expected).abs() <= 1e-12 * expected, "sum {sum} {expected}");
    }
    assert!(compared > 25, "only {compared} values were compared");
}

#[test]
fn averages_follow_the_recursion() {
    let params = toy_params();
    let mut ema = Ema::new(&params, 0.75).unwrap();
    let mut expected = snapshot(&params);
    for step in 0..4 {
        for (name, p) in params.iter() {
            p.var.set(&random(&format!("{name} {step}"), p.var.dims())).unwrap();
        }
        ema.update(&params).unwrap();
        for (name, p) in params.iter() {
            let now = values(p.var.as_tensor());
            let average = expected.get_mut(name).unwrap();
            for (e, p_now) in average.iter_mut().zip(now) {
                let copied = matches!(p.kind, Kind::Theta | Kind::Counter);
                *e = if copied { p_now } else { 0.75 * *e + 0.25 * p_now };
            }
            assert!(max_abs_diff(&values(&ema.tensors()[name]), average) < 1e-6, "step {step}: {name}");
        }
    }
}

/// Soft cross entropy in plain double precision.
fn reference_loss(logits: &[f64], targets: &[f64], classes: usize) -> f64 {
    let rows = logits.chunks(classes).zip(targets.chunks(classes));
    let sum: f64 = rows
        .map(|(l, t)| {
            let log_sum = l.iter().map(|v| v.exp()).sum::<f64>().ln();
            -l.iter().zip(t).map(|(l, t)| t * (l - log_sum)).sum::<f64>()
        })
        .sum();
    sum / (logits.len() / classes) as f64
}

#[test]
fn the_loss_and_its_gradient() {
    let (n, classes) = (4, 5);
    let logits = Var::from_tensor(&(random("logits", &[n, classes]) * 4.0).unwrap()).unwrap();
    let raw: Vec<f64> = fill_signed("targets", n * classes).iter().map(|v| f64::from(*v).abs() + 0.01).collect();
    let targets: Vec<f64> = raw.chunks(classes).flat_map(|r| r.iter().map(|v| v / r.iter().sum::<f64>())).collect();
    let narrow: Vec<f32> = targets.iter().map(|&v| v as f32).collect();
    let loss =
        soft_cross_entropy(logits.as_tensor(), &Tensor::from_vec(narrow, (n, classes), &Device::Cpu).unwrap()).unwrap();
    let x = values(logits.as_tensor());
    assert!(max_rel_diff(&values(&loss), &[reference_loss(&x, &targets, classes)]) < 1e-5);
    let found = values(loss.backward().unwrap().get(logits.as_tensor()).unwrap());
    let step = 1e-5;
    let numeric: Vec<f64> = (0..x.len())
        .map(|i| {
            let moved = |by: f64| {
                let mut x = x.clone();
                x[i] += by;
                reference_loss(&x, &targets, classes)
            };
            (moved(step) - moved(-step)) / (2.0 * step)
        })
        .collect();
    assert!(max_abs_diff(&found, &numeric) < 1e-6, "{found:?} {numeric:?}");
    // Large logits do not overflow.
    let huge = Tensor::new(&[[500f32, -500.0]], &Device::Cpu).unwrap();
    let target = Tensor::new(&[[0f32, 1.0]], &Device::Cpu).unwrap();
    assert_eq!(values(&soft_cross_entropy(&huge, &target).unwrap()), [1000.0]);
    let logits = Tensor::new(&[[0f32, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 0.0, 1.0]], &Device::Cpu).unwrap();
    assert_eq!(accuracy(&logits, &[1, 0, 1]).unwrap(), 2);
}
