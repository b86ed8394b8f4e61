//! Progress on a terminal: the stage, and a bar with the time left where the end is known. It is silent when standard error
//! is no terminal. The working thread draws, because a small machine may refuse to start an additional thread.

use std::cell::RefCell;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use sinter::internals::builder;

/// The display of one stage, until it is dropped; empty where standard error is no terminal.
pub struct Stage(Option<ProgressBar>);

impl Stage {
    /// A stage whose end is not known: shows its name.
    pub fn named(name: &str) -> Self {
        Self::new(name, None)
    }

    /// A stage of `total` parts: shows a bar and the time left.
    pub fn bar(name: &str, total: u64) -> Self {
        Self::new(name, Some(total))
    }

    fn new(name: &str, total: Option<u64>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let (bar, template) = match total {
            None => (ProgressBar::new_spinner(), "{msg} ..."),
            Some(total) => (ProgressBar::new(total), "{msg} [{bar:30}] {percent} %, {eta} left"),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = bar.with_style(style).with_message(name.to_owned());
        bar.tick();
        Self(Some(bar))
    }

    /// Parts done so far.
    pub fn set(&self, done: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(done);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
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
            // The display of the old stage vanishes before that of the new one appears.
            *shown = None;
            let new = match done {
                None => Stage::named(stage.name()),
                Some((_, all)) => Stage::bar(stage.name(), all),
            };
            *shown = Some((stage, done.is_some(), new));
        }
        if let (Some((_, _, bar)), Some((done, _))) = (&*shown, done) {
            bar.set(done);
        }
    }
}
