//! Progress on a terminal: the stage, a bar with the time left where the end is known. Silent when standard error is no
//! terminal.

use std::cell::RefCell;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sinter::builder;

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

/// The stages of a build, one at a time.
#[derive(Default)]
pub struct Stages(RefCell<Option<(builder::Stage, bool, Stage)>>);

impl Stages {
    /// Shows the stage that the build is in, and how far that has come.
    pub fn show(&self, stage: builder::Stage, done: Option<(u64, u64)>) {
        let mut shown = self.0.borrow_mut();
        if !matches!(&*shown, Some((known, is_bar, _)) if (*known, *is_bar) == (stage, done.is_some())) {
            // The old one vanishes before the new one appears.
            *shown = None;
            let new = match done {
                None => Stage::spinner(stage.name()),
                Some((_, all)) => Stage::bar(stage.name(), all),
            };
            *shown = Some((stage, done.is_some(), new));
        }
        if let (Some((_, _, bar)), Some((done, _))) = (&*shown, done) {
            bar.set(done);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
