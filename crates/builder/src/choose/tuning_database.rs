//! The tuning database: facts about candidates beyond their tactics' descriptions, which are times and disagreements
//! with the reference executor.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};

use sinter_backend::{Candidate, Recipe, Refusal, Region, RegionKey, Sizing};
use sinter_plan::report::Dropped;

use crate::choose::concrete::problem_text;
use crate::choose::point::{Optimum, Point, concrete};
use crate::choose::timings::{Timing, TimingCache};

/// A query for kernels of a region, with the offered candidates.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) region: Region,
    /// Number of queries by the present cover.
    pub(crate) count: usize,
    pub(crate) offered: Vec<Candidate>,
    pub(crate) refusals: Vec<(String, Refusal)>,
    /// The timing point, where the build is tuned, or why there is none.
    pub(crate) point: Result<Point, String>,
}

/// A step whose kernel does not agree.
pub(crate) struct Failure {
    pub(crate) recipe: Recipe,
    pub(crate) region: Region,
    pub(crate) dropped: Dropped,
}

/// Measured times on the device of a build.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    /// The name of the device in timings.
    pub(crate) device: String,
    pub(crate) cache: TimingCache,
    /// The factor that makes estimates comparable with times.
    pub(crate) scale: f64,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct TuningDatabase {
    /// Recipes that failed verification on a region.
    banned: HashSet<(String, RegionKey)>,
    pub(crate) times: Option<Times>,
    /// Does the build choose kernels by times, where there are some?
    by_times: bool,
    /// Optimum sizes by profile; at least one.
    profiles: Vec<Optimum>,
    /// Queries by the text of the problem.
    queries: RefCell<BTreeMap<String, Query>>,
}

/// An empty database, with dynamic sizes only.
impl Default for TuningDatabase {
    fn default() -> Self {
        Self {
            banned: HashSet::new(),
            times: None,
            by_times: false,
            profiles: vec![Optimum::default()],
            queries: RefCell::default(),
        }
    }
}

impl TuningDatabase {
    /// The database for a network with these optimum sizes, by profile.
    pub(crate) fn new(profiles: Vec<Optimum>, times: Option<Times>) -> Self {
        Self { profiles, times, ..Self::default() }
    }

    /// Sets the optimum sizes where the user names none.
    pub(crate) fn set_optimum(&mut self, sizes: BTreeMap<String, i64>) {
        if let Some(first) = self.profiles.first_mut() {
            first.set_optimum(sizes);
        }
    }

    /// Excludes this recipe for this region from now on.
    pub(crate) fn ban(&mut self, recipe: &Recipe, region: &Region) {
        self.banned.insert((recipe.to_string(), region.key()));
    }

    /// Banned recipes, each with the text of its region's key.
    pub(crate) fn bans(&self) -> Vec<(String, String)> {
        let mut bans: Vec<_> = self.banned.iter().map(|(recipe, key)| (recipe.clone(), key.to_string())).collect();
        bans.sort_unstable();
        bans
    }

    /// Bans the candidates that an earlier build banned; a text that is no key bans nothing.
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

    /// From now on the build chooses kernels by times where there are some, or by estimates alone.
    pub(crate) fn go_by_times(&mut self, by_times: bool) {
        self.by_times = by_times && self.times.is_some();
    }

    /// The optimum sizes of the first profile.
    pub(crate) fn sizes(&self) -> &Optimum {
        &self.profiles[0]
    }

    /// The optimum sizes by profile.
    pub(crate) fn profiles(&self) -> &[Optimum] {
        &self.profiles
    }

    /// The optimum sizes for tactics.
    pub(crate) fn sizing(&self) -> &Sizing {
        &self.sizes().sizing
    }

    /// Starts a new cover: counts begin again, and queries from before a ban are dropped.
    pub(crate) fn begin_cover(&self) {
        self.queries.borrow_mut().clear();
    }

    /// Records a query at the sizes of a profile, and returns the timing point of the region.
    pub(crate) fn note(
        &self,
        region: &Region,
        profile: usize,
        offered: &[Candidate],
        refusals: &[(String, Refusal)],
    ) -> Option<Point> {
        let mut queries = self.queries.borrow_mut();
        let mut key = problem_text(region);
        if profile > 0 {
            key.push_str(&format!("profile {profile}\n"));
        }
        let entry = queries.entry(key).or_insert_with(|| Query {
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

    /// The timing of a recipe at a point.
    pub(crate) fn timing(&self, point: &Point, recipe: &Recipe) -> Option<&Timing> {
        let times = self.times.as_ref()?;
        times.cache.get(&times.device, &point.problem, recipe)
    }

    /// Sets the factor of estimates.
    pub(crate) fn set_scale(&mut self, scale: f64) {
        if let Some(times) = &mut self.times {
            times.scale = scale;
        }
    }

    /// Devices with timings in the cache.
    pub(crate) fn devices(&self) -> Vec<String> {
        self.times.iter().flat_map(|times| times.cache.devices()).map(str::to_owned).collect()
    }

    /// The scaled estimate of a candidate that was not timed.
    pub(crate) fn estimate(&self, candidate: &Candidate) -> f64 {
        let times = self.times.as_ref().filter(|_| self.by_times);
        candidate.estimate * times.map_or(1.0, |times| times.scale)
    }

    /// Takes the queries of the present cover, so that the caller can put them back later.
    pub(crate) fn take_queries(&mut self) -> BTreeMap<String, Query> {
        self.queries.take()
    }

    /// Puts back the queries of another cover, which becomes the present one.
    pub(crate) fn put_queries(&mut self, queries: BTreeMap<String, Query>) {
        self.queries = RefCell::new(queries);
    }

    /// All queries of the present cover, by the text of the problem.
    pub(crate) fn queries(&self) -> Vec<(String, Query)> {
        self.queries.borrow().iter().map(|(text, query)| (text.clone(), query.clone())).collect()
    }
}
