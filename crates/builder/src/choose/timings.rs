//! Timings of kernels: one build measures them, every later build uses them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sinter_backend::Recipe;

use crate::cache_file::{self, CacheError};

const KIND: &str = "timings";

/// The result of timing a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// The shortest of its launches.
    Picoseconds(u64),
    /// It could not be timed, and why.
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    device: String,
    problem: String,
    tactic: String,
    parameters: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    device: String,
    tactic: String,
    parameters: String,
    timing: Timing,
    problem: String,
}

/// Timings of kernels, by device, problem and recipe.
///
/// A device is named by back end, tier, threads, model of the processor and version of this library, a problem by the
/// text of its region. The cache keeps timings of other devices, and does not use them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimingCache {
    entries: BTreeMap<Key, Timing>,
}

impl TimingCache {
    /// Reads a file; an empty cache where it does not exist.
    ///
    /// # Errors
    /// When it cannot be read, is damaged or is not a cache of timings.
    pub fn load(path: &Path) -> Result<Self, CacheError> {
        let records: Vec<Record> = cache_file::read(path, KIND)?;
        let entry = |Record { device, tactic, parameters, timing, problem }| {
            (Key { device, problem, tactic, parameters }, timing)
        };
        Ok(Self { entries: records.into_iter().map(entry).collect() })
    }

    /// Writes a file, whole or not at all; other timings in it stay.
    ///
    /// # Errors
    /// When it cannot be written, or is not a cache of timings.
    pub fn save(&self, path: &Path) -> Result<(), CacheError> {
        let mut merged = Self::load(path)?;
        merged.entries.extend(self.entries.iter().map(|(key, timing)| (key.clone(), timing.clone())));
        let record = |(key, timing): (Key, Timing)| {
            let Key { device, problem, tactic, parameters } = key;
            Record { device, tactic, parameters, timing, problem }
        };
        cache_file::write(path, KIND, &merged.entries.into_iter().map(record).collect::<Vec<_>>())
    }

    /// Number of timings.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Devices that timings were made on.
    pub fn devices(&self) -> Vec<&str> {
        let mut devices: Vec<&str> = self.entries.keys().map(|key| key.device.as_str()).collect();
        devices.dedup();
        devices
    }

    /// The timing of a recipe.
    pub fn get(&self, device: &str, problem: &str, recipe: &Recipe) -> Option<&Timing> {
        self.entries.get(&key(device, problem, recipe))
    }

    /// Notes a timing.
    pub fn insert(&mut self, device: &str, problem: &str, recipe: &Recipe, timing: Timing) {
        self.entries.insert(key(device, problem, recipe), timing);
    }
}

fn key(device: &str, problem: &str, recipe: &Recipe) -> Key {
    Key {
        device: device.to_owned(),
        problem: problem.to_owned(),
        tactic: recipe.tactic.clone(),
        parameters: recipe.parameters.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use sinter_base::Attr;

    use super::*;

    fn recipe(tactic: &str) -> Recipe {
        Recipe { tactic: tactic.to_owned(), parameters: Attr::Absent }
    }

    fn cache(tactic: &str, time: u64) -> TimingCache {
        let mut cache = TimingCache::default();
        cache.insert("cpu", "input a\noutput a\n", &recipe(tactic), Timing::Picoseconds(time));
        cache
    }

    #[test]
    fn files_are_merged_and_later_timings_win() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        assert!(TimingCache::load(&path).unwrap().is_empty(), "no file, no timings");
        for (tactic, time) in [("a", 1), ("b", 2), ("a", 3)] {
            cache(tactic, time).save(&path).unwrap();
        }
        let merged = TimingCache::load(&path).unwrap();
        assert_eq!(merged.len(), 2);
        let time = |tactic| merged.get("cpu", "input a\noutput a\n", &recipe(tactic));
        assert_eq!(time("a"), Some(&Timing::Picoseconds(3)));
        assert_eq!(time("b"), Some(&Timing::Picoseconds(2)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no partial file stays behind");
    }

    #[test]
    fn damaged_and_foreign_files_are_reported_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        cache("a", 1).save(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let load = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let error = TimingCache::load(&path).unwrap_err();
            assert_eq!(cache("b", 1).save(&path).unwrap_err(), error);
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
            error
        };
        // Every cut and every changed byte is found.
        for length in 0..whole.len() {
            load(&whole[..length]);
        }
        for position in 0..whole.len() {
            let mut changed = whole.clone();
            changed[position] ^= 1;
            load(&changed);
        }
        assert!(matches!(load(b"\x89PNG\r\n\x1a\n"), CacheError::Foreign { .. }));
        let newer = String::from_utf8(whole).unwrap().replacen("timings 1", "timings 2", 1);
        assert!(matches!(load(newer.as_bytes()), CacheError::Version { found: 2, .. }));
    }
}
