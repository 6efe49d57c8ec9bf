//! What jobs report becomes state.

use super::Viewer;
use crate::jobs::{Report, Slot};
use crate::state::{Entry, EntryId, Level, MOST_COMPARED};
use kernelscope::open::{Facts, Fault, Found, Overview, Stamp, Subject};
use std::sync::Arc;

impl Viewer {
    pub(super) fn absorb(&mut self, slot: Slot, report: Report) {
        let entry = slot.entry();
        match report {
            Report::Progress(..) => {}
            Report::Found(found) => self.found(found),
            Report::Fault(message) => self.state.messages.push(Level::Error, message),
            Report::Picked(paths) => {
                if !paths.is_empty() {
                    self.open_all(paths.into_iter().map(|path| (path, None)).collect());
                }
            }
            Report::Written(path) => self.state.messages.push(Level::Info, format_args!("Wrote {}", path.display())),
            Report::Done(end) => self.done(slot, end),
            of_entry => {
                if let Some(id) = entry {
                    self.absorb_entry(id, slot, of_entry);
                }
            }
        }
    }

    fn absorb_entry(&mut self, id: EntryId, slot: Slot, report: Report) {
        match report {
            Report::Overview(overview, stamp) => self.overview(id, overview, stamp, matches!(slot, Slot::Open(_))),
            Report::Subject(subject, facts) => self.subject(id, subject, facts),
            other => {
                let Some(entry) = self.state.entry_mut(id) else { return };
                match other {
                    Report::Sparsity(found) => entry.sparsity = Some(found),
                    Report::Hash(hash) => entry.hash = Some(hash),
                    Report::Matrix(result) | Report::Erf(result) => entry.erf = Some(*result),
                    Report::Bias(result) => entry.bias = Some(*result),
                    Report::Merged(layers) => entry.merged = Some(Ok(layers)),
                    _ => {}
                }
            }
        }
    }

    fn found(&mut self, found: Vec<(Found, Option<String>)>) {
        let mut first = None;
        for (item, model) in found {
            let known = self.state.entries.iter_mut().find(|entry| entry.found == item);
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
                    if let (Some(epoch), Found::Run(_)) = (self.state.first_epoch, &item) {
                        self.state.look.epochs.insert(id, epoch);
                    }
                    self.state.entries.push(Entry::new(id, item, model));
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
        // What is open is no choice that could be undone.
        self.undo.rebase(&self.state.look);
    }

    fn overview(&mut self, id: EntryId, overview: Arc<Overview>, stamp: Stamp, opens: bool) {
        let Some(entry) = self.state.entry_mut(id) else { return };
        let before: Vec<Fault> = entry.overview.iter().flat_map(|overview| overview.faults.clone()).collect();
        let fresh: Vec<Fault> = overview.faults.iter().filter(|fault| !before.contains(fault)).cloned().collect();
        let label = entry.label.clone();
        (entry.overview, entry.stamp) = (Some(overview), stamp);
        self.report(&label, &fresh);
        if opens {
            self.opens_newest(id);
        }
    }

    fn subject(&mut self, id: EntryId, subject: Arc<Subject>, facts: Arc<Facts>) {
        let Some(entry) = self.state.entry_mut(id) else { return };
        let before: Vec<Fault> = entry.all_faults().cloned().collect();
        let faults = subject.faults.iter().chain(&facts.faults);
        let faults: Vec<Fault> = faults.filter(|fault| !before.contains(fault)).cloned().collect();
        let label = entry.label.clone();
        entry.generation += 1;
        (entry.subject, entry.facts) = (Some(subject), facts);
        // Results of the weights before are shown until there are new ones, except what would be wrong now.
        (entry.hash, entry.merged, entry.erf_fault, entry.bias_fault) = (None, None, None, None);
        self.report(&label, &faults);
    }

    fn report(&mut self, label: &str, faults: &[Fault]) {
        for fault in faults {
            let text = format!("{label}: cannot show {}: {}", fault.what, fault.message);
            self.state.messages.push(Level::Warning, text);
        }
    }

    fn done(&mut self, slot: Slot, end: Result<(), String>) {
        let Err(error) = end else { return };
        if error.starts_with("interrupted") {
            return;
        }
        let Some(id) = slot.entry() else {
            self.state.messages.push(Level::Error, error);
            return;
        };
        let Some(entry) = self.state.entry_mut(id) else { return };
        let label = entry.label.clone();
        match slot {
            Slot::Open(_) => {
                let nothing = entry.subject.is_none() && entry.overview.is_none() && entry.erf.is_none();
                entry.faults = vec![Fault { what: "weights", message: error.clone() }];
                if nothing {
                    self.remove(id);
                }
                self.state.messages.push(if nothing { Level::Error } else { Level::Warning }, error);
                return;
            }
            Slot::Erf(_) => entry.erf_fault = Some(error.clone()),
            Slot::Bias(_) => entry.bias_fault = Some(error.clone()),
            Slot::Merge(_) => entry.merged = Some(Err(error.clone())),
            _ => {}
        }
        let level = if matches!(slot, Slot::Merge(_) | Slot::Bias(_)) { Level::Warning } else { Level::Error };
        self.state.messages.push(level, format!("{label}: {error}"));
    }

    /// Takes an entry out of the list.
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
        self.undo.rebase(&self.state.look);
    }
}
