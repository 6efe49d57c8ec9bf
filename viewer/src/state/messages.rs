//! What was reported. Every error gets a message.

/// How serious a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something was done.
    Info,
    /// Something cannot be shown.
    Warning,
    /// Something failed.
    Error,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// How serious it is.
    pub level: Level,
    /// What happened, and where.
    pub text: String,
}

/// Maximum number of messages that are kept.
const MOST: usize = 2000;

/// All messages, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Messages {
    all: Vec<Message>,
    /// Messages that arrived since the list was last shown.
    pub unread: usize,
}

impl Messages {
    /// Adds a message, as one line.
    pub fn push(&mut self, level: Level, text: impl std::fmt::Display) {
        if self.all.len() >= MOST {
            self.all.remove(0);
        }
        self.all.push(Message { level, text: text.to_string().replace('\n', " ") });
        self.unread += usize::from(level != Level::Info);
    }

    /// All messages, oldest first.
    pub fn all(&self) -> &[Message] {
        &self.all
    }

    /// The newest.
    pub fn last(&self) -> Option<&Message> {
        self.all.last()
    }

    /// Removes all messages.
    pub fn clear(&mut self) {
        self.all.clear();
        self.unread = 0;
    }
}
