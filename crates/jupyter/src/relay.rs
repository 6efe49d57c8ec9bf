//! Runs inside the process that executes cells, between its standard output and everybody who reads it.
//!
//! evcxr talks to this process over its standard input and output, in lines that begin with `EVCXR_`, and reads what
//! cells print only while one of them runs. Here standard output becomes a pipe; a thread reads it, gives evcxr its own
//! lines, and writes everything else to the kernel's pipe as [`Frame`]s, at any time and in order. It also reports what
//! evcxr's interface leaves out: that a cell ended with a panic or an error.

use crate::frames::{Frame, MARK, PIPE, SESSION};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

/// Begins every line that is meant for evcxr.
const CONTROL: &str = "EVCXR_";
const BEGIN_CONTENT: &str = "EVCXR_BEGIN_CONTENT";
const END_CONTENT: &str = "EVCXR_END_CONTENT";
const PANIC: &str = "EVCXR_PANIC_NOTIFICATION";
const ERROR: &str = "EVCXR_ERROR_OCCURRED";
const COMPLETE: &str = "EVCXR_EXECUTION_COMPLETE";
/// Set by evcxr for the process that runs cells.
const IS_RUNTIME: &str = "EVCXR_IS_RUNTIME";

/// Starts the relay if this is the process that runs cells. Must be called before anything is printed.
///
/// # Errors
/// If a pipe cannot be opened.
pub fn start_in_runtime() -> io::Result<()> {
    let (Some(_), Some(session)) = (std::env::var_os(IS_RUNTIME), std::env::var_os(SESSION)) else { return Ok(()) };
    let frames = OpenOptions::new().write(true).open(Path::new(&session).join(PIPE))?;
    // Neither end is for programs that cells start; they inherit standard output itself.
    let evcxr = File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?);
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::stdio::dup2_stdout(&write)?;
    drop(write);
    let mut relay = Relay { frames, evcxr, pending: Vec::new(), in_content: false };
    let mut printed = File::from(read);
    std::thread::Builder::new().name("relay".into()).spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        // A reader that is gone ends the process soon: its standard input closes, too.
        while let Ok(read @ 1..) = printed.read(&mut buffer) {
            if relay.take(&buffer[..read]).is_err() {
                break;
            }
        }
    })?;
    Ok(())
}

/// Sorts what was printed, generic over its readers for tests.
struct Relay<F, E> {
    frames: F,
    evcxr: E,
    pending: Vec<u8>,
    in_content: bool,
}

impl<F: Write, E: Write> Relay<F, E> {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        while let Some(end) = self.pending.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            self.line(&String::from_utf8_lossy(&line), &mut text)?;
        }
        // What may be the beginning of a line for somebody else waits for its end; text does not.
        if !self.in_content && !self.pending.is_empty() && !may_become_control(&self.pending) {
            let valid = std::str::from_utf8(&self.pending).map_or_else(|e| e.valid_up_to(), str::len);
            let rest = self.pending.split_off(valid);
            text.push_str(&String::from_utf8_lossy(&self.pending));
            self.pending = rest;
        }
        self.flush_text(&mut text)
    }

    /// One line with its end.
    fn line(&mut self, line: &str, text: &mut String) -> io::Result<()> {
        if self.in_content {
            self.in_content = line.trim_end() != END_CONTENT;
            return self.evcxr.write_all(line.as_bytes());
        }
        // Text without an end of line may stand before either.
        if let Some(at) = line.find(MARK) {
            text.push_str(&line[..at]);
            self.flush_text(text)?;
            return self.frames.write_all(&line.as_bytes()[at + MARK.len()..]);
        }
        let Some(at) = line.find(CONTROL) else {
            text.push_str(line);
            return Ok(());
        };
        text.push_str(&line[..at]);
        self.flush_text(text)?;
        let control = line[at..].trim_end();
        match control {
            PANIC => self.frame(&Frame::Failed { panic: true })?,
            ERROR => self.frame(&Frame::Failed { panic: false })?,
            COMPLETE => self.frame(&Frame::Complete)?,
            _ => self.in_content = control.starts_with(BEGIN_CONTENT),
        }
        writeln!(self.evcxr, "{control}")?;
        self.evcxr.flush()
    }

    fn flush_text(&mut self, text: &mut String) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.frame(&Frame::stream("stdout", std::mem::take(text)))
    }

    fn frame(&mut self, frame: &Frame) -> io::Result<()> {
        let mut line = serde_json::to_vec(frame)?;
        line.push(b'\n');
        self.frames.write_all(&line)
    }
}

/// Whether an unfinished line may turn out to be, or contain, a frame or a line for evcxr.
fn may_become_control(pending: &[u8]) -> bool {
    let starts = |token: &[u8]| {
        (0..pending.len()).any(|at| {
            let rest = &pending[at..];
            token.starts_with(rest) || rest.starts_with(token)
        })
    };
    starts(CONTROL.as_bytes()) || starts(MARK.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel and evcxr get of pieces of output.
    fn relayed(pieces: &[&str]) -> (Vec<Frame>, String) {
        let mut relay = Relay { frames: Vec::new(), evcxr: Vec::new(), pending: Vec::new(), in_content: false };
        for piece in pieces {
            relay.take(piece.as_bytes()).unwrap();
        }
        let frames = String::from_utf8(relay.frames).unwrap();
        let frames = frames.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (frames, String::from_utf8(relay.evcxr).unwrap())
    }

    #[test]
    fn text_and_figures_keep_their_order() {
        let figure = format!("{MARK}{{\"type\":\"clear\",\"wait\":true}}\n");
        let (frames, evcxr) = relayed(&["one\ntwo", &figure[..9], &figure[9..], "three\n"]);
        let stdout = |text: &str| Frame::stream("stdout", text);
        assert_eq!(frames, [stdout("one\ntwo"), Frame::Clear { wait: true }, stdout("three\n")]);
        assert_eq!(evcxr, "");
    }

    #[test]
    fn text_without_an_end_does_not_hide_the_end_of_a_cell() {
        let (frames, evcxr) = relayed(&["50 %\r", "100 %", "EVCXR_EXECUTION_", "COMPLETE\n"]);
        assert_eq!(frames.last(), Some(&Frame::Complete));
        assert_eq!(frames.len(), 3);
        assert_eq!(evcxr, "EVCXR_EXECUTION_COMPLETE\n");
    }

    #[test]
    fn errors_and_panics_are_reported_and_passed_on() {
        let (frames, evcxr) = relayed(&["EVCXR_ERROR_OCCURRED\nEVCXR_PANIC_NOTIFICATION\n"]);
        assert_eq!(frames, [Frame::Failed { panic: false }, Frame::Failed { panic: true }]);
        assert_eq!(evcxr.lines().count(), 2);
    }

    #[test]
    fn contents_for_evcxr_are_not_looked_into() {
        let content = "EVCXR_BEGIN_CONTENT text/plain\na\nEVCXR_b\nEVCXR_END_CONTENT\n";
        assert_eq!(relayed(&[content, "after\n"]), (vec![Frame::stream("stdout", "after\n")], content.to_string()));
    }

    #[test]
    fn a_character_may_arrive_in_two_pieces() {
        let mut relay = Relay { frames: Vec::new(), evcxr: Vec::new(), pending: Vec::new(), in_content: false };
        let bytes = "µ\n".as_bytes();
        relay.take(&bytes[..1]).unwrap();
        relay.take(&bytes[1..]).unwrap();
        assert!(String::from_utf8(relay.frames).unwrap().contains('µ'));
    }
}
