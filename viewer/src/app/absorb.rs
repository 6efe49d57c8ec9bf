//! Puts what jobs report into the state.

use super::Viewer;
use crate::jobs::{End, Opened, Report, Slot};
use crate::state::{Entry, EntryId, ErfResult, Level, MOST_COMPARED};
use kernelscope_lab::open::{Facts, Fault, Found, Overview, Stamp, Subject};
use std::sync::Arc;

impl Viewer {
    pub(super) fn absorb(&mut self, slot: Slot, report: Report) {
        match report {
            // The queue has already recorded it.
            Report::Progress(_) => {}
            Report::Found(found) => self.found(found),
            Report::Fault(message) => self.state.messages.push(Level::Error, message),
            Report::Picked(sources) => {
                if !sources.is_empty() {
                    self.open_all(sources);
                }
            }
            Report::Written(path) => self.state.messages.push(Level::Info, format_args!("Wrote {}", path.display())),
            Report::Overview(overview, stamp) => self.overview(slot, overview, stamp),
            Report::Subject(subject, facts) => self.subject(slot, subject, facts),
            Report::Sparsity(found) => self.change(slot, |entry| entry.sparsity = Some(found)),
            Report::Hash(hash) => self.change(slot, |entry| entry.hash = Some(hash)),
            Report::Erf(result) => self.change(slot, |entry| erf(entry, *result)),
            Report::Bias(result) => self.change(slot, |entry| entry.bias = Some(*result)),
            Report::Merged(layers) => self.change(slot, |entry| entry.merged = Some(Ok(layers))),
            Report::Done(End::Complete | End::Canceled) => {}
            Report::Done(End::Failed(error)) => self.failed(slot, error),
        }
    }

    /// Changes the entry that a job is for, if it is still open.
    fn change(&mut self, slot: Slot, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = slot.entry().and_then(|id| self.state.entry_mut(id)) {
            change(entry);
        }
    }

    fn found(&mut self, found: Vec<Opened>) {
        let mut first = None;
        for Opened { found, model } in found {
            let known = self.state.entries.iter_mut().find(|entry| entry.found == found);
            let id = match known {
                Some(entry) => {
                    entry.reloads += 1;
                    if model.is_some() {
                        entry.model = model;
                    }
                    entry.id
                }
                None => {
                    let id = self.state.new_id();
                    if let (Some(epoch), Found::Run(_)) = (self.state.first_epoch, &found) {
                        self.state.look.epochs.insert(id, epoch);
                    }
                    self.state.entries.push(Entry::new(id, found, model));
                    if self.state.look.compared.len() < MOST_COMPARED {
                        self.state.look.compared.insert(id);
                    }
                    id
                }
            };
            first.get_or_insert(id);
        }
        if let Some(id) = first {
            self.state.look.current = Some(id);
        }
        // Opening something is not undone.
        self.state.undo.rebase(&self.state.look);
    }

    fn overview(&mut self, slot: Slot, overview: Arc<Overview>, stamp: Stamp) {
        let Some(entry) = slot.entry().and_then(|id| self.state.entry_mut(id)) else { return };
        let before: Vec<Fault> = entry.overview.iter().flat_map(|overview| overview.faults.clone()).collect();
        let fresh: Vec<Fault> = overview.faults.iter().filter(|fault| !before.contains(fault)).cloned().collect();
        let label = entry.label.clone();
        (entry.overview, entry.stamp) = (Some(overview), stamp);
        self.report(&label, &fresh);
        if let Slot::Open(id) = slot {
            self.opens_newest(id);
        }
    }

    fn subject(&mut self, slot: Slot, subject: Arc<Subject>, facts: Arc<Facts>) {
        let Some(entry) = slot.entry().and_then(|id| self.state.entry_mut(id)) else { return };
        let before: Vec<Fault> = entry.all_faults().cloned().collect();
        let faults = subject.faults.iter().chain(&facts.faults);
        let faults: Vec<Fault> = faults.filter(|fault| !before.contains(fault)).cloned().collect();
        let label = entry.label.clone();
        let name = entry.network_name().map(str::to_string);
        entry.generation += 1;
        (entry.subject, entry.facts) = (Some(subject), facts);
        // Earlier results are shown until there are new ones, except those that would now be wrong.
        (entry.hash, entry.merged, entry.erf_fault, entry.bias_fault) = (None, None, None, None);
        if entry.network_name() != name.as_deref() {
            entry.stages = None;
        }
        self.report(&label, &faults);
    }

    fn report(&mut self, label: &str, faults: &[Fault]) {
        for fault in faults {
            let text = format!("{label}: cannot show {}: {}", fault.what, fault.message);
            self.state.messages.push(Level::Warning, text);
        }
    }

    fn failed(&mut self, slot: Slot, error: String) {
        let Some(id) = slot.entry() else {
            self.state.messages.push(Level::Error, error);
            return;
        };
        let Some(entry) = self.state.entry_mut(id) else { return };
        let labeled = format!("{}: {error}", entry.label);
        match slot {
            Slot::Open(_) => {
                let nothing = entry.subject.is_none() && entry.overview.is_none() && entry.erf.is_none();
                entry.faults = vec![Fault { what: "weights", message: error.clone() }];
                if nothing {
                    self.remove(id);
                }
                self.state.messages.push(if nothing { Level::Error } else { Level::Warning }, error);
            }
            Slot::Erf(_) => {
                entry.erf_fault = Some(error);
                self.state.messages.push(Level::Error, labeled);
            }
            Slot::Bias(_) => {
                entry.bias_fault = Some(error);
                self.state.messages.push(Level::Warning, labeled);
            }
            Slot::Merge(_) => {
                entry.merged = Some(Err(error));
                self.state.messages.push(Level::Warning, labeled);
            }
            Slot::Find(_) | Slot::Follow(_) | Slot::Export(_) | Slot::Pick => {
                self.state.messages.push(Level::Error, labeled);
            }
        }
    }

    /// Removes an entry from the list.
    pub(super) fn remove(&mut self, id: EntryId) {
        self.jobs.cancel_all(Some(id));
        let index = self.state.index_of(id);
        self.state.entries.retain(|entry| entry.id != id);
        let look = &mut self.state.look;
        look.compared.remove(&id);
        look.epochs.remove(&id);
        if look.current == Some(id) {
            let next = self.state.entries.get(index).or(self.state.entries.last());
            look.current = next.map(|entry| entry.id);
        }
        self.state.undo.rebase(&self.state.look);
    }
}

/// Stores a receptive field. One of the last stage also tells how many stages the network has.
fn erf(entry: &mut Entry, result: ErfResult) {
    if result.key.stage.is_none() && result.stage_size != (0, 0) {
        entry.stages = Some(result.map.stage + 1);
    }
    entry.erf = Some(result);
}
