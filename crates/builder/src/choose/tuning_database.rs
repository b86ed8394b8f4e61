//! What is known about candidates beyond what their tactics say: that they disagree with the judge, or how long they take.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};

use sinter_backend::{Candidate, Recipe, Refusal, Region, RegionKey, Sizing};

use crate::choose::point::{Optimum, Point, concrete};
use crate::choose::timings::{Timing, TimingCache};

/// A region that somebody asked kernels for, and the answers.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) region: Region,
    /// How often in the present cover.
    pub(crate) count: usize,
    pub(crate) offered: Vec<Candidate>,
    pub(crate) refusals: Vec<(String, Refusal)>,
    /// Where it is timed, when times matter, or why it cannot be.
    pub(crate) point: Result<Point, String>,
}

/// Measured times for the device of a build.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    /// The device as timings name it.
    pub(crate) device: String,
    pub(crate) cache: TimingCache,
    /// What an estimate is multiplied with where no time is known, so that it can stand beside times.
    pub(crate) scale: f64,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct TuningDatabase {
    /// Recipes that failed verification on a region.
    banned: HashSet<(String, RegionKey)>,
    pub(crate) times: Option<Times>,
    /// Are kernels chosen by times, where there are some?
    by_times: bool,
    /// Sizes that kernels are chosen for, by profile; at least one.
    profiles: Vec<Optimum>,
    /// By the text of the problem.
    asked: RefCell<BTreeMap<String, Query>>,
}

/// A region as text, with what its own text leaves out but tactics see: which operands are weights, and known contents.
pub(crate) fn problem_text(region: &Region) -> String {
    let mut text = region.to_string();
    if !region.constants().is_empty() {
        text.push_str(&format!("weights {:?}\n", region.constants()));
    }
    text.push_str(&region.contents());
    text
}

/// Nothing is known, and all sizes are open.
impl Default for TuningDatabase {
    fn default() -> Self {
        Self {
            banned: HashSet::new(),
            times: None,
            by_times: false,
            profiles: vec![Optimum::default()],
            asked: RefCell::default(),
        }
    }
}

impl TuningDatabase {
    /// TuningDatabase for a network whose dynamic sizes are as said, by profile.
    pub(crate) fn new(profiles: Vec<Optimum>, times: Option<Times>) -> Self {
        Self { profiles, times, ..Self::default() }
    }

    /// Kernels are chosen for these sizes, where the user names no usual ones.
    pub(crate) fn set_optimum(&mut self, sizes: BTreeMap<String, i64>) {
        if let Some(first) = self.profiles.first_mut() {
            first.set_optimum(sizes);
        }
    }

    /// Never choose this recipe for this region again.
    pub(crate) fn ban(&mut self, recipe: &Recipe, region: &Region) {
        self.banned.insert((recipe.to_string(), region.key()));
    }

    /// Banned recipes, each with the text of its region's key.
    pub(crate) fn bans(&self) -> Vec<(String, String)> {
        let mut bans: Vec<_> = self.banned.iter().map(|(recipe, key)| (recipe.clone(), key.to_string())).collect();
        bans.sort_unstable();
        bans
    }

    /// Bans what an earlier build banned; a text that is no key bans nothing.
    pub(crate) fn ban_all(&mut self, bans: &[(String, String)]) {
        let read = |(recipe, key): &(String, String)| Some((recipe.clone(), key.parse().ok()?));
        self.banned.extend(bans.iter().filter_map(read));
    }

    pub(crate) fn forget_bans(&mut self) {
        self.banned.clear();
    }

    pub(crate) fn is_banned(&self, recipe: &Recipe, region: &Region) -> bool {
        !self.banned.is_empty() && self.banned.contains(&(recipe.to_string(), region.key()))
    }

    /// From now on kernels are chosen by times where there are some, or by estimates alone.
    pub(crate) fn go_by_times(&mut self, by_times: bool) {
        self.by_times = by_times && self.times.is_some();
    }

    /// Sizes that kernels are chosen for: those of the first profile.
    pub(crate) fn sizes(&self) -> &Optimum {
        &self.profiles[0]
    }

    /// Sizes that kernels are chosen for, by profile.
    pub(crate) fn profiles(&self) -> &[Optimum] {
        &self.profiles
    }

    /// Sizes that kernels are chosen for, as tactics see them.
    pub(crate) fn sizing(&self) -> &Sizing {
        &self.sizes().sizing
    }

    /// Starts a new cover: counts begin again, and what was asked before a ban is forgotten.
    pub(crate) fn begin_cover(&self) {
        self.asked.borrow_mut().clear();
    }

    /// Notes that kernels were asked for at the sizes of a profile, and says where the region is timed.
    pub(crate) fn note(
        &self,
        region: &Region,
        profile: usize,
        offered: &[Candidate],
        refusals: &[(String, Refusal)],
    ) -> Option<Point> {
        let mut asked = self.asked.borrow_mut();
        let mut key = problem_text(region);
        if profile > 0 {
            key.push_str(&format!("profile {profile}\n"));
        }
        let entry = asked.entry(key).or_insert_with(|| Query {
            region: region.clone(),
            count: 0,
            offered: offered.to_vec(),
            refusals: refusals.to_vec(),
            point: match &self.times {
                Some(_) => concrete(region, &self.profiles[profile]),
                None => Err("the build is not tuned".to_owned()),
            },
        });
        entry.count += 1;
        entry.point.clone().ok()
    }

    /// The measured time of a recipe at a point, in nanoseconds, when kernels are chosen by times.
    pub(crate) fn time(&self, point: &Point, recipe: &Recipe) -> Option<f64> {
        if !self.by_times {
            return None;
        }
        match self.timing(point, recipe)? {
            Timing::Picoseconds(time) => Some(*time as f64 / 1000.0),
            Timing::Failed(_) => None,
        }
    }

    /// What is known about a recipe at a point.
    pub(crate) fn timing(&self, point: &Point, recipe: &Recipe) -> Option<&Timing> {
        let times = self.times.as_ref()?;
        times.cache.get(&times.device, &point.problem, recipe)
    }

    /// Estimates are multiplied with this from now on.
    pub(crate) fn set_scale(&mut self, scale: f64) {
        if let Some(times) = &mut self.times {
            times.scale = scale;
        }
    }

    /// Devices that there are timings of.
    pub(crate) fn devices(&self) -> Vec<String> {
        self.times.iter().flat_map(|times| times.cache.devices()).map(str::to_owned).collect()
    }

    /// What stands in for the time of a candidate that nobody timed.
    pub(crate) fn estimate(&self, candidate: &Candidate) -> f64 {
        let times = self.times.as_ref().filter(|_| self.by_times);
        candidate.estimate * times.map_or(1.0, |times| times.scale)
    }

    /// Takes what was asked for the present cover, to be put back when it is the present one again.
    pub(crate) fn take_queries(&mut self) -> BTreeMap<String, Query> {
        self.asked.take()
    }

    /// Puts back what was asked for another cover, which is the present one from now on.
    pub(crate) fn put_queries(&mut self, asked: BTreeMap<String, Query>) {
        self.asked = RefCell::new(asked);
    }

    /// All that was asked for the present cover, by the text of the problem.
    pub(crate) fn asked(&self) -> Vec<(String, Query)> {
        self.asked.borrow().iter().map(|(text, asked)| (text.clone(), asked.clone())).collect()
    }
}
