//! Progress on a terminal: the stage, a bar with the time left where the end is known. Silent when standard error is no
//! terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often a spinner moves.
const TICK: Duration = Duration::from_millis(100);

/// One stage; it vanishes when it is dropped.
pub struct Stage(ProgressBar);

impl Stage {
    /// A stage whose end is not known: shows the time that has passed.
    pub fn spinner(name: &str) -> Self {
        let bar = ProgressBar::new_spinner().with_message(name.to_owned());
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// A stage of `total` parts: shows a bar and the time left.
    pub fn bar(name: &str, total: u64) -> Self {
        let bar = ProgressBar::new(total).with_message(name.to_owned());
        let style = ProgressStyle::with_template("{msg} [{bar:30}] {percent} %, {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    /// Parts done so far.
    pub fn set(&self, done: u64) {
        self.0.set_position(done);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
