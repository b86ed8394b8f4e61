//! The other end of the pipe: starts the lean program and asks it to run plans.

use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bytes::Bytes;
use sinter_base::Value;

use crate::frame::{Answer, Request, read_answer, write_request};

/// A lean program at work. It ends when this is dropped.
pub struct LeanProgram {
    child: Child,
    to: Option<BufWriter<ChildStdin>>,
    from: BufReader<ChildStdout>,
}

impl LeanProgram {
    /// Starts the program; `tier` forces an instruction set.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, tier: Option<&str>) -> std::io::Result<Self> {
        let mut command = Command::new(program);
        if let Some(tier) = tier {
            command.env("SINTER_CPU", tier);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(to), Some(from)) => Ok(Self { child, to: Some(BufWriter::new(to)), from: BufReader::new(from) }),
            _ => Err(std::io::Error::other("the program has no pipes")),
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Runs a plan in the program; an empty one stands for that of the call before.
    ///
    /// # Errors
    /// What the program reports, or that it ended.
    pub fn run(&mut self, plan: Bytes, threads: usize, inputs: Vec<(String, Value)>) -> Answer {
        let Some(to) = &mut self.to else { return Err("the lean program was stopped".to_owned()) };
        let request = Request { plan, threads, inputs };
        let answered = write_request(to, &request).and_then(|()| read_answer(&mut self.from));
        answered.unwrap_or_else(|error| Err(format!("the lean program ended: {error}")))
    }
}

impl Drop for LeanProgram {
    fn drop(&mut self) {
        // It ends at the end of its input.
        self.to = None;
        let _ = self.child.wait();
    }
}
