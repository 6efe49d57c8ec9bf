//! Which jobs are due: those for everything that is shown and not known yet.

use super::Viewer;
use crate::jobs::{self, BiasTask, ErfTask, Lane, OpenTask, Slot};
use crate::state::{Entry, EntryId, Merged, OpenKey, View};
use kernelscope::analysis::orientation::orientations;
use kernelscope_lab::open::Found;
use std::sync::Arc;

impl Viewer {
    /// Starts all jobs that are due, and returns whether there were any.
    pub(super) fn start_due(&mut self) -> bool {
        let mut started = false;
        let ids: Vec<EntryId> = self.state.entries.iter().map(|entry| entry.id).collect();
        for id in ids {
            started |= self.open_due(id);
        }
        let visible = self.visible();
        let shown = self.shown_ids();
        if visible.contains(&View::Erf) && self.state.look.erf.live {
            for &id in &shown {
                started |= self.start_erf(id);
            }
        }
        if visible.contains(&View::ShapeBias) {
            for &id in &shown {
                started |= self.start_bias(id);
            }
        }
        if self.state.look.kernels.merged
            && let Some(id) = self.state.look.current
        {
            started |= self.start_merge(id);
        }
        started
    }

    /// What determines an entry's weights. The newest checkpoint of a run changes while it is trained.
    fn open_key(&self, entry: &Entry) -> OpenKey {
        let epoch = match &entry.found {
            Found::Run(_) => {
                let newest = entry.overview.as_ref().map(|overview| overview.progress.epoch);
                self.state.look.epochs.get(&entry.id).copied().or(newest)
            }
            Found::Weights(_) | Found::Matrix(_) => None,
        };
        OpenKey { epoch, model: entry.model.clone(), reloads: entry.reloads }
    }

    fn open_due(&mut self, id: EntryId) -> bool {
        let Some(entry) = self.state.entry(id) else { return false };
        let key = self.open_key(entry);
        if entry.opened.as_ref() == Some(&key) {
            return false;
        }
        let chosen = self.state.look.epochs.get(&id).copied();
        let task = OpenTask { found: entry.found.clone(), model: entry.model.clone(), epoch: chosen };
        let label = format!("Reading {}", entry.label);
        if let Some(entry) = self.state.entry_mut(id) {
            entry.opened = Some(key);
            entry.faults.clear();
        }
        self.jobs.start(Slot::Open(id), Lane::Quick, label, move |link| jobs::open(&task, link));
        true
    }

    /// Records that the job that opens a run reads the newest checkpoint.
    pub(super) fn opens_newest(&mut self, id: EntryId) {
        let Some(key) = self.state.entry(id).map(|entry| self.open_key(entry)) else { return };
        if let Some(entry) = self.state.entry_mut(id)
            && entry.opened.as_ref().is_some_and(|opened| opened.epoch.is_none())
        {
            entry.opened = Some(key);
        }
    }

    /// Computes an entry's receptive field unless that was already started.
    pub(super) fn start_erf(&mut self, id: EntryId) -> bool {
        let Some(entry) = self.state.entry(id) else { return false };
        let Some(subject) = entry.subject.clone().filter(|subject| subject.network.is_some()) else { return false };
        let key = self.state.look.erf.key(entry.generation);
        if entry.erf_wanted.as_ref() == Some(&key) {
            return false;
        }
        let label = entry.label.clone();
        if let Some(entry) = self.state.entry_mut(id) {
            entry.erf_wanted = Some(key.clone());
            entry.erf_fault = None;
        }
        let task = ErfTask { subject, key, label: label.clone() };
        self.jobs.start(Slot::Erf(id), Lane::Compute, format!("Receptive field of {label}"), move |link| {
            jobs::erf(&task, link)
        });
        true
    }

    fn start_bias(&mut self, id: EntryId) -> bool {
        let Some(entry) = self.state.entry(id) else { return false };
        let Some(subject) = entry.subject.clone().filter(|subject| subject.network.is_some()) else { return false };
        let key = self.state.look.bias.key(entry.generation);
        if entry.bias_wanted.as_ref() == Some(&key) {
            return false;
        }
        let label = entry.label.clone();
        if let Some(entry) = self.state.entry_mut(id) {
            entry.bias_wanted = Some(key.clone());
            entry.bias_fault = None;
        }
        let task = BiasTask { subject, key, label: label.clone() };
        self.jobs.start(Slot::Bias(id), Lane::Compute, format!("Shape bias of {label}"), move |link| {
            jobs::bias(&task, link)
        });
        true
    }

    fn start_merge(&mut self, id: EntryId) -> bool {
        let Some(entry) = self.state.entry(id).filter(|entry| entry.merged.is_none()) else { return false };
        let Some(subject) = entry.subject.clone() else { return false };
        if self.jobs.is_busy(Slot::Merge(id)) {
            return false;
        }
        let label = format!("Merging {}", entry.label);
        self.jobs.start(Slot::Merge(id), Lane::Compute, label, move |link| {
            let kernels = kernelscope_lab::open::merged_kernels(&subject)?;
            let orientations = kernels.iter().map(orientations).collect();
            link.send(jobs::Report::Merged(Arc::new(Merged { kernels, orientations })));
            Ok(())
        });
        true
    }

    /// Checks whether a run has progressed.
    pub(super) fn start_follow(&mut self, id: EntryId) {
        let Some(entry) = self.state.entry(id) else { return };
        if !matches!(entry.found, Found::Run(_)) || self.jobs.is_busy(Slot::Follow(id)) {
            return;
        }
        let (found, stamp) = (entry.found.clone(), entry.stamp.clone());
        let label = format!("Following {}", entry.label);
        self.jobs.start(Slot::Follow(id), Lane::Quick, label, move |link| jobs::follow(&found, &stamp, link));
    }
}
