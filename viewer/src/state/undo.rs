//! Undo and redo of what is being looked at.

use super::look::Look;

/// Maximum number of steps that are kept.
const MOST: usize = 100;

/// The looks before and after the current one.
#[derive(Debug, Default)]
pub struct Undo {
    past: Vec<Look>,
    present: Look,
    future: Vec<Look>,
}

impl Undo {
    /// Records the current look. A step is made only when the user is idle, so that dragging a slider is one step.
    pub fn note(&mut self, look: &Look, idle: bool) {
        if !idle || *look == self.present {
            return;
        }
        self.past.push(std::mem::replace(&mut self.present, look.clone()));
        if self.past.len() > MOST {
            self.past.remove(0);
        }
        self.future.clear();
    }

    /// Takes a look as the current one without making a step, for changes that the user did not make.
    pub fn rebase(&mut self, look: &Look) {
        self.present = look.clone();
    }

    /// Whether there is something to undo, including a look that is not recorded yet.
    pub fn can_undo(&self, look: &Look) -> bool {
        !self.past.is_empty() || *look != self.present
    }

    /// Whether there is something to redo.
    pub fn can_redo(&self) -> bool {
        !self.future.is_empty()
    }

    /// Goes back to the look before the current one.
    pub fn undo(&mut self) -> Option<Look> {
        let look = self.past.pop()?;
        self.future.push(std::mem::replace(&mut self.present, look));
        Some(self.present.clone())
    }

    /// Goes forward to the look after the current one.
    pub fn redo(&mut self) -> Option<Look> {
        let look = self.future.pop()?;
        self.past.push(std::mem::replace(&mut self.present, look));
        Some(self.present.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(side: f32) -> Look {
        let mut look = Look::default();
        look.kernels.side = side;
        look
    }

    #[test]
    fn a_dragged_slider_is_one_step() {
        let mut undo = Undo::default();
        undo.rebase(&look(1.0));
        undo.note(&look(2.0), false);
        undo.note(&look(3.0), false);
        undo.note(&look(3.0), true);
        undo.note(&look(3.0), true);
        assert_eq!(undo.undo(), Some(look(1.0)));
        assert_eq!(undo.undo(), None);
        assert_eq!(undo.redo(), Some(look(3.0)));
        undo.undo();
        undo.note(&look(9.0), true);
        assert!(undo.can_undo(&look(9.0)) && !undo.can_redo());
    }
}
