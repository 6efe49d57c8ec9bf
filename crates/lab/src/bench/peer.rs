//! The same operators and networks in PyTorch, timed by a Python process that lives as long as the benchmark, so that
//! both sides of a comparison are measured shortly after each other.
//!
//! The process runs `peer.py`. Requests and answers are JSON, one per line; see there.

use super::case::Case;
use super::gpu_pass::Pass;
use super::timing::{Effort, Timing};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The Python program.
const PROGRAM: &str = include_str!("peer.py");

/// Order of the values of a batch in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryLayout {
    /// Planes of one channel.
    Nchw,
    /// Pixels of all channels.
    ChannelsLast,
}

impl MemoryLayout {
    /// As PyTorch names it.
    pub fn label(self) -> &'static str {
        match self {
            MemoryLayout::Nchw => "nchw",
            MemoryLayout::ChannelsLast => "channels_last",
        }
    }
}

/// PyTorch's time, in the faster of its two layouts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PeerTime {
    /// The layout.
    pub layout: MemoryLayout,
    /// Times.
    #[serde(flatten)]
    pub timing: Timing,
    /// Bytes that it allocates at most on a GPU beside what was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated_bytes: Option<u64>,
    /// Whether the network was compiled, which is then faster than to run it operator by operator.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compiled: bool,
}

impl PeerTime {
    /// The same measurement taken again: the layout with the shortest run counts.
    pub fn with(self, again: PeerTime) -> Self {
        let faster = if again.timing.min_s < self.timing.min_s { again } else { self };
        PeerTime { timing: self.timing.with(again.timing), ..faster }
    }
}

/// What the other library is to repeat of a network.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct NetworkStep<'a> {
    /// A serialized [`kernelscope::zoo::ModelConfig`].
    pub config: &'a serde_json::Value,
    /// A training step instead of inference.
    pub training: bool,
    /// Images per step.
    pub batch: usize,
    /// Side of the images.
    pub size: usize,
    /// On the first GPU instead of the CPU.
    pub on_gpu: bool,
}

/// What is asked for.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
enum Request<'a> {
    Convolution {
        images: usize,
        channels: usize,
        side: usize,
        kernel: (usize, usize),
        stride: usize,
        gradients: bool,
        /// On a GPU, the pass that is timed by itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        on_gpu: Option<&'static str>,
        dtype: &'a str,
        effort: Effort,
    },
    Network {
        #[serde(flatten)]
        step: NetworkStep<'a>,
        effort: Effort,
    },
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ready { version: String, threads: usize },
    Missing(String),
    Time(PeerTime),
    Done,
    Unsupported(String),
    Failed(String),
}

/// Requests and answers, over any pair of streams.
struct Dialogue<W, R> {
    requests: W,
    answers: R,
}

impl<W: Write, R: BufRead> Dialogue<W, R> {
    /// Sends one line; `None` if nobody is there any more.
    fn send(&mut self, request: &impl Serialize) -> Result<Option<()>> {
        let line = serde_json::to_string(request).map_err(|e| Error::argument("request", e, "serializable values"))?;
        Ok(writeln!(self.requests, "{line}").and_then(|()| self.requests.flush()).ok())
    }

    /// Reads one line; `None` at the end.
    fn receive(&mut self) -> Result<Option<Answer>> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(0) | Err(_) => Ok(None),
            Ok(_) => serde_json::from_str(&line).map(Some).map_err(|_| failure(line.trim_end(), "a line of JSON")),
        }
    }

    /// Greets; the version of PyTorch, or `None` if the process ended.
    fn greet(&mut self, threads: usize) -> Result<Option<String>> {
        // Without PyTorch the process may have ended before it reads; what it says matters more.
        let _ = self.send(&serde_json::json!({ "threads": threads }))?;
        match self.receive()? {
            None => Ok(None),
            Some(Answer::Ready { version, threads: set }) if set == threads => Ok(Some(version)),
            Some(Answer::Ready { threads: set, .. }) => {
                Err(failure(format!("{set} threads"), format!("the requested {threads} threads")))
            }
            Some(Answer::Missing(reason)) => Err(unusable(format!("no PyTorch ({reason})"))),
            Some(other) => Err(failure(format!("{other:?}"), "a greeting")),
        }
    }

    /// Asks for a measurement: the best layout's, or `None` if the peer has no such network. `Ok(None)` if the process
    /// ended.
    fn ask(&mut self, request: &Request) -> Result<Option<Option<PeerTime>>> {
        if self.send(request)?.is_none() {
            return Ok(None);
        }
        let mut best: Option<PeerTime> = None;
        loop {
            match self.receive()? {
                None => return Ok(None),
                Some(Answer::Time(time)) if best.is_none_or(|b| time.timing.min_s < b.timing.min_s) => {
                    best = Some(time);
                }
                Some(Answer::Time(_)) => {}
                Some(Answer::Done) => return Ok(Some(best)),
                Some(Answer::Unsupported(_)) => return Ok(Some(None)),
                Some(Answer::Failed(reason)) => return Err(failure(reason, "a measurement without errors")),
                Some(other) => return Err(failure(format!("{other:?}"), "a measurement")),
            }
        }
    }
}

fn failure(given: impl std::fmt::Display, allowed: impl Into<String>) -> Error {
    Error::argument("peer", given, allowed)
}

/// The error for a Python that cannot be used.
fn unusable(given: impl std::fmt::Display) -> Error {
    Error::argument("python", given, "a Python 3 with PyTorch")
}

/// A running Python process with PyTorch.
pub struct Peer {
    child: Child,
    dialogue: Dialogue<ChildStdin, BufReader<ChildStdout>>,
    complaints: File,
    python: PathBuf,
    version: String,
}

impl Peer {
    /// Starts `python` and has it use this number of threads.
    ///
    /// # Errors
    /// If there is no such program, or it has no PyTorch; the message says how to get it.
    pub fn start(python: &Path, threads: usize) -> Result<Self> {
        let temporary = || tempfile::tempfile().map_err(Error::io("create", std::env::temp_dir()));
        let complaints = temporary()?;
        let errors = complaints.try_clone().map_err(Error::io("create", std::env::temp_dir()))?;
        let mut child = Command::new(python)
            .args(["-u", "-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|e| unusable(format!("{} ({e})", python.display())))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(unusable("a process without streams"));
        };
        let dialogue = Dialogue { requests, answers: BufReader::new(answers) };
        let mut peer = Peer { child, dialogue, complaints, python: python.to_path_buf(), version: String::new() };
        peer.version = match peer.dialogue.greet(threads)? {
            Some(version) => version,
            None => return Err(peer.ended()),
        };
        Ok(peer)
    }

    /// PyTorch's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Times a case: its forward pass, or that and both gradients. An oriented kernel becomes a row of as many taps, a
    /// pruned one the whole square.
    ///
    /// # Errors
    /// If the process fails.
    pub fn convolution(&mut self, case: &Case, gradients: bool, effort: Effort) -> Result<PeerTime> {
        let request = Request::Convolution {
            images: case.images,
            channels: case.channels,
            side: case.side,
            kernel: case.kernel.dense_shape(),
            stride: case.stride,
            gradients,
            on_gpu: None,
            dtype: "f32",
            effort,
        };
        self.ask(&request)?.ok_or_else(|| failure("no time", "a time for every convolution"))
    }

    /// Times one pass of a case on the first GPU, in `dtype`.
    ///
    /// # Errors
    /// If the process fails.
    pub fn pass_on_gpu(&mut self, case: &Case, pass: Pass, dtype: &str, effort: Effort) -> Result<PeerTime> {
        let request = Request::Convolution {
            images: case.images,
            channels: case.channels,
            side: case.side,
            kernel: case.kernel.dense_shape(),
            stride: case.stride,
            gradients: false,
            on_gpu: Some(pass.name()),
            dtype,
            effort,
        };
        self.ask(&request)?.ok_or_else(|| failure("no time", "a time for every convolution"))
    }

    /// Times a network; the answer is `None` if `peer.py` does not have its family. On the first GPU, it is the faster of
    /// the network as it is and compiled.
    ///
    /// # Errors
    /// If the process fails.
    pub fn network(&mut self, step: NetworkStep<'_>, effort: Effort) -> Result<Option<PeerTime>> {
        self.ask(&Request::Network { step, effort })
    }

    fn ask(&mut self, request: &Request) -> Result<Option<PeerTime>> {
        match self.dialogue.ask(request)? {
            Some(answer) => Ok(answer),
            None => Err(self.ended()),
        }
    }

    /// The error for a process that ended: with what it complained of last.
    fn ended(&mut self) -> Error {
        let _ = self.child.wait();
        let mut text = Vec::new();
        let _ = self.complaints.rewind().and_then(|()| self.complaints.read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message").trim();
        unusable(format!("{} stopped ({last})", self.python.display()))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may be in the middle of a measurement that nobody waits for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_measurements_the_layout_of_the_shortest_run_counts() {
        let time = |layout, min_s| PeerTime {
            layout,
            timing: Timing { min_s, median_s: 2.0 * min_s, runs: 3 },
            allocated_bytes: None,
            compiled: false,
        };
        let (nchw, last) = (time(MemoryLayout::Nchw, 2.0), time(MemoryLayout::ChannelsLast, 1.0));
        for (a, b) in [(nchw, last), (last, nchw)] {
            let both = a.with(b);
            assert_eq!((both.layout, both.timing.min_s, both.timing.runs), (MemoryLayout::ChannelsLast, 1.0, 6));
        }
    }
    use crate::bench::cases::{Override, cases};

    fn dialogue(answers: &str) -> Dialogue<Vec<u8>, &[u8]> {
        Dialogue { requests: Vec::new(), answers: answers.as_bytes() }
    }

    fn request() -> Request<'static> {
        let (kernel, effort) = ((1, 31), Effort::QUICK);
        Request::Convolution {
            images: 4,
            channels: 512,
            side: 56,
            kernel,
            stride: 1,
            gradients: true,
            on_gpu: None,
            dtype: "f32",
            effort,
        }
    }

    #[test]
    fn the_faster_layout_is_taken() {
        let mut peer = dialogue(
            "{\"time\": {\"layout\": \"nchw\", \"min_s\": 0.5, \"median_s\": 0.6, \"runs\": 3}}\n\
             {\"time\": {\"layout\": \"channels_last\", \"min_s\": 0.25, \"median_s\": 0.3, \"runs\": 5, \
              \"allocated_bytes\": 4096}}\n\
             \"done\"\n",
        );
        let timing = Timing { min_s: 0.25, median_s: 0.3, runs: 5 };
        let best =
            PeerTime { layout: MemoryLayout::ChannelsLast, timing, allocated_bytes: Some(4096), compiled: false };
        assert_eq!(peer.ask(&request()).unwrap(), Some(Some(best)));
        let sent: serde_json::Value = serde_json::from_slice(&peer.requests).unwrap();
        assert_eq!((&sent["what"], &sent["kernel"][1]), (&"convolution".into(), &31.into()));
        assert_eq!((&sent["gradients"], &sent["effort"]["runs"]), (&true.into(), &2.into()));
    }

    #[test]
    fn answers_that_are_no_times_are_understood() {
        assert_eq!(dialogue("{\"unsupported\": \"convmixer\"}\n").ask(&request()).unwrap(), Some(None));
        assert_eq!(dialogue("").ask(&request()).unwrap(), None, "the process ended");
        let message = |answers: &str| dialogue(answers).ask(&request()).unwrap_err().to_string();
        assert!(message("{\"failed\": \"RuntimeError: out of memory\"}\n").contains("out of memory"));
        assert!(message("Segmentation fault\n").contains("Segmentation fault"));
    }

    #[test]
    fn a_greeting_gives_the_version_or_says_what_is_missing() {
        let ready = "{\"ready\": {\"version\": \"2.9.1\", \"threads\": 2}}\n";
        assert_eq!(dialogue(ready).greet(2).unwrap().as_deref(), Some("2.9.1"));
        assert!(dialogue(ready).greet(4).unwrap_err().to_string().contains("2 threads"));
        assert_eq!(dialogue("").greet(2).unwrap(), None);
        let missing = dialogue("{\"missing\": \"No module named 'torch'\"}\n").greet(2).unwrap_err().to_string();
        for part in ["python: ", "No module named 'torch'", "a Python 3 with PyTorch"] {
            assert!(missing.contains(part), "no {part:?} in: {missing}");
        }
    }

    #[test]
    fn a_missing_python_is_an_error_that_names_it() {
        let message = match Peer::start(Path::new("/nowhere/python3"), 1) {
            Ok(_) => panic!("there is no such program"),
            Err(error) => error.to_string(),
        };
        for part in ["python: ", "/nowhere/python3", "a Python 3 with PyTorch"] {
            assert!(message.contains(part), "no {part:?} in: {message}");
        }
        assert!(!message.contains('\n'), "{message}");
    }

    /// `cat` knows no option `-c`, and says so.
    #[cfg(unix)]
    #[test]
    fn a_program_that_is_no_python_is_an_error_with_its_last_words() {
        let message = match Peer::start(Path::new("/bin/cat"), 1) {
            Ok(_) => panic!("cat is no Python"),
            Err(error) => error.to_string(),
        };
        assert!(message.contains("/bin/cat stopped (") && message.contains("a Python 3 with PyTorch"), "{message}");
    }

    #[test]
    fn oriented_and_pruned_kernels_become_dense_ones() {
        for case in cases(Override::default()) {
            let name = case.to_string();
            let (height, width) = case.kernel.dense_shape();
            // A cross of two rectangles becomes one of twice the height.
            let named = if name.contains("shiftwise") {
                format!("{width}x{}", height.div_ceil(2))
            } else {
                format!("{height}x{width}")
            };
            assert!(name.contains(&named), "{name}: {named}");
        }
    }
}
