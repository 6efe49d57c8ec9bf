//! What a training run reports while it goes on, and who listens.

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Steps done in all.
    pub step: usize,
    /// Steps of the whole run.
    pub steps: usize,
    /// Loss of this step.
    pub loss: f64,
    /// Running accuracy of this epoch on the training images.
    pub accuracy: f64,
    /// Learning rate.
    pub lr: f64,
    /// Share of the weights with masks that are kept, in sparse training.
    pub density: Option<f64>,
    /// Images per second since the trainer started.
    pub images_per_second: f64,
}

/// What one epoch reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochReport {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Mean training loss.
    pub train_loss: f64,
    /// On the validation images.
    pub validation: Evaluation,
    /// The same with the averaged weights.
    pub ema: Option<Evaluation>,
    /// Share of the weights with masks that are kept, in sparse training.
    pub density: Option<f64>,
    /// Images per second.
    pub images_per_second: f64,
}

/// Loss and accuracy on a set of images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Mean cross entropy.
    pub loss: f64,
    /// Share of images classified as labeled.
    pub accuracy: f64,
    /// Number of images.
    pub images: usize,
}

/// The end of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Last epoch's report; `None` if the run was already complete.
    pub last: Option<EpochReport>,
    /// Seconds of this call.
    pub seconds: f64,
}

/// Somebody who follows a run: a progress bar, a notebook, a test.
pub trait Observer {
    /// After every step.
    fn step(&mut self, _report: &StepReport) {}
    /// After every epoch.
    fn epoch(&mut self, _report: &EpochReport) {}
}

/// An observer that does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
