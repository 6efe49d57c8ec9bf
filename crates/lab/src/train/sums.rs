//! Sums over the steps of an epoch.

use crate::run::{Row, RowKind};

/// Sums over steps, for means.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    pub(super) loss: f64,
    pub(super) correct: usize,
    pub(super) images: usize,
    pub(super) norm: f64,
    pub(super) steps: usize,
}

impl Sums {
    pub(super) fn add(&mut self, other: &Sums) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.images += other.images;
        self.norm += other.norm;
        self.steps += other.steps;
    }

    pub(super) fn row(&self, kind: RowKind, epoch: usize, step: usize, lr: f64, images_per_second: f64) -> Row {
        let images = self.images.max(1) as f64;
        Row {
            kind,
            epoch,
            step,
            lr,
            train_loss: self.loss / images,
            train_accuracy: self.correct as f64 / images,
            gradient_norm: self.norm / self.steps.max(1) as f64,
            val_loss: None,
            val_accuracy: None,
            ema_accuracy: None,
            images_per_second,
        }
    }
}
