//! Options of tuning and caches: `--tune-seconds`, `--timing-cache`, `--locked`, `--verification-cache`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use sinter::internals::builder::{Built, CacheError, TimingCache, Tuning, VerificationCache};

use crate::failure::{Failure, advice};
use crate::files::{Files, Form};
use crate::interrupt::while_writing;
use crate::output::warn;

/// What a build may learn and remember.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Tuning")]
#[group(skip)]
#[command(group(clap::ArgGroup::new("timed").args(["tune_seconds", "locked"]).multiple(true)))]
pub struct TuningFlags {
    /// Time kernels on this machine for so many seconds, and choose by their times
    ///
    /// Heavy layers first; equal layers share one timing. Without it no clock is read and kernels are chosen by estimates,
    /// so that the same model gives the same plan everywhere.
    #[arg(long, value_name = "S", allow_negative_numbers = true, value_parser = seconds)]
    tune_seconds: Option<Duration>,

    /// Timings of earlier builds; new ones are added to the file
    ///
    /// Timings of other devices, numbers of threads and versions are kept and not used.
    #[arg(long, value_name = "FILE", requires = "timed")]
    timing_cache: Option<PathBuf>,

    /// Choose by the times in the timing cache alone, and fail when one is missing
    ///
    /// With the cache of a tuned build this gives the same plan, byte by byte.
    #[arg(long, requires = "timing_cache", conflicts_with = "tune_seconds")]
    locked: bool,

    /// Verification results of earlier builds; a network that gives the same plan as before is not verified again
    ///
    /// A result holds for this very program, the device, the model with its weights, the inputs to verify with and the
    /// plan. The file keeps new results.
    #[arg(long, value_name = "FILE", conflicts_with = "no_verify")]
    verification_cache: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let refuse = || format!("'{text}' is no time; write a number of seconds, such as 30");
    let seconds: f64 = text.parse().map_err(|_| refuse())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| refuse())
}

fn failure(error: CacheError) -> Failure {
    let help = match &error {
        CacheError::Io { kind, .. } => advice(*kind),
        CacheError::Foreign { .. } => "name another file; this one is left as it is",
        CacheError::Version { .. } | CacheError::Damaged { .. } => "delete the file, or name another one",
    };
    match error {
        CacheError::Damaged { .. } | CacheError::Version { .. } => {
            Failure::new(crate::failure::Exit::Damaged, error.to_string())
        }
        CacheError::Io { .. } | CacheError::Foreign { .. } => Failure::usage(error.to_string()),
    }
    .help(help)
}

impl TuningFlags {
    /// Takes in the caches; a locked one is only read.
    pub fn name_files<'a>(&'a self, files: &mut Files<'a>) {
        match self.locked {
            true => files.reads("the timing cache", self.timing_cache.as_deref()),
            false => files.writes("--timing-cache", self.timing_cache.as_deref(), Form::File),
        }
        files.writes("--verification-cache", self.verification_cache.as_deref(), Form::File);
    }

    /// How the build is tuned.
    ///
    /// # Errors
    /// When the timing cache cannot be read.
    pub fn tuning(&self) -> Result<Option<Tuning>, Failure> {
        if self.tune_seconds.is_none() && !self.locked {
            return Ok(None);
        }
        let cache = match &self.timing_cache {
            None => TimingCache::default(),
            Some(path) => TimingCache::load(path).map_err(failure)?,
        };
        Ok(Some(Tuning { budget: self.tune_seconds, cache }))
    }

    /// Verification results of earlier builds; a damaged file is reported and made anew.
    ///
    /// # Errors
    /// When the file is something else, or cannot be read.
    pub fn verifications(&self) -> Result<Option<VerificationCache>, Failure> {
        let Some(path) = &self.verification_cache else { return Ok(None) };
        match VerificationCache::load(path) {
            Ok(cache) => Ok(Some(cache)),
            Err(error @ (CacheError::Damaged { .. } | CacheError::Version { .. })) => {
                warn(&format!("{error}; it is made anew"));
                Ok(Some(VerificationCache::default()))
            }
            Err(error) => Err(failure(error)),
        }
    }

    /// Keeps what a build has learnt.
    ///
    /// # Errors
    /// When a cache cannot be written.
    pub fn keep(&self, built: &Built) -> Result<(), Failure> {
        if let (Some(path), Some(tuned), false) = (&self.timing_cache, &built.tuned, self.locked) {
            while_writing(|| tuned.cache.save(path)).map_err(failure)?;
        }
        if let (Some(path), Some(results), false) =
            (&self.verification_cache, &built.verifications, built.is_known_verification)
        {
            while_writing(|| results.save(path)).map_err(failure)?;
        }
        Ok(())
    }

    /// The flags and whether each was given.
    pub fn given(&self) -> [(&'static str, bool); 4] {
        [
            ("--tune-seconds", self.tune_seconds.is_some()),
            ("--timing-cache", self.timing_cache.is_some()),
            ("--locked", self.locked),
            ("--verification-cache", self.verification_cache.is_some()),
        ]
    }
}
