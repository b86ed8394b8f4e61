//! Times the candidates of one region: warm, in turns, the shortest of many launches.
//!
//! Disturbances (another process, an interrupt, a slow clock) only ever add time, so that the minimum is the robust
//! figure; taking turns spreads a disturbance over all candidates.

use std::time::{Duration, Instant};

use sinter_backend::{BackEnd, Device, KernelError, KernelId, Loaded, Problem, Recipe, Region, Sizing};
use sinter_base::{DataType, Tensor, TensorType};

use crate::choose::select::MOST_CANDIDATES;
use crate::choose::timings::Timing;
use crate::harness::{Setup, workspace_bytes};

/// Timing a candidate ends after this much time, or this many launches.
const ENOUGH: Duration = Duration::from_millis(25);
const MAX_LAUNCHES: usize = 100;
/// Least number of launches behind a figure, while there is time.
const MIN_LAUNCHES: usize = 3;
/// A candidate that takes this many times as long as the best one after a launch is dropped from the comparison.
const HOPELESS: u32 = 4;

/// The device and deadline of timings.
pub(crate) struct Bench<'a> {
    pub(crate) back_end: &'a dyn BackEnd,
    pub(crate) device: &'a dyn Device,
    /// End of the timing.
    pub(crate) deadline: Instant,
}

/// A candidate in the comparison.
struct TimedCandidate {
    position: usize,
    kernel: KernelId,
    setup: Setup,
    best: Duration,
    total: Duration,
    launches: usize,
}

impl Bench<'_> {
    /// Times recipes for a region with static sizes; `None` where the time was over before the first launch.
    pub(crate) fn time(&self, region: &Region, recipes: &[Recipe]) -> Vec<Option<Timing>> {
        let mut timings: Vec<Option<Timing>> = vec![None; recipes.len()];
        let mut candidates = Vec::new();
        for (position, recipe) in recipes.iter().enumerate() {
            if Instant::now() >= self.deadline {
                break;
            }
            // The first launch touches memory and code for the first time: it does not count.
            match self.prepare(region, recipe).and_then(|mut candidate| self.launch(&mut candidate).map(|_| candidate))
            {
                Ok(candidate) => candidates.push(TimedCandidate { position, ..candidate }),
                Err(reason) => timings[position] = Some(Timing::Failed(reason)),
            }
        }
        let mut is_first = true;
        let mut timing: Vec<usize> = (0..candidates.len()).collect();
        while !timing.is_empty() && (is_first || Instant::now() < self.deadline) {
            for &index in &timing {
                let candidate = &mut candidates[index];
                match self.launch(candidate) {
                    Ok(time) => {
                        candidate.best = candidate.best.min(time);
                        candidate.total += time;
                        candidate.launches += 1;
                    }
                    Err(reason) => timings[candidate.position] = Some(Timing::Failed(reason)),
                }
            }
            is_first = false;
            let best = timing.iter().map(|&index| candidates[index].best).min().unwrap_or_default();
            timing.retain(|&index| {
                let TimedCandidate { position, best: own, total, launches, .. } = &candidates[index];
                let is_done = *launches >= MAX_LAUNCHES || *total >= ENOUGH && *launches >= MIN_LAUNCHES;
                timings[*position].is_none() && !is_done && *own <= best * HOPELESS
            });
        }
        for candidate in candidates {
            if candidate.launches > 0 && timings[candidate.position].is_none() {
                // At least 1: a clock of coarse steps must not make a kernel free.
                let picoseconds = u64::try_from(candidate.best.as_nanos() * 1000).unwrap_or(u64::MAX).max(1);
                timings[candidate.position] = Some(Timing::Picoseconds(picoseconds));
            }
        }
        timings
    }

    fn launch(&self, candidate: &mut TimedCandidate) -> Result<Duration, String> {
        candidate.setup.launch(candidate.kernel).map_err(|e| e.to_string())
    }

    fn prepare(&self, region: &Region, recipe: &Recipe) -> Result<TimedCandidate, String> {
        let tactic = self.back_end.tactic(&recipe.tactic).ok_or("the tactic does not exist")?;
        let sizing = Sizing::default();
        let problem = Problem { region, target: self.device.target(), sizing: &sizing };
        let offered = tactic.offer(&problem, MOST_CANDIDATES).map_err(|refusal| refusal.to_string())?;
        let candidate =
            offered.iter().find(|c| c.recipe == *recipe).ok_or("the tactic does not offer it at these sizes")?;
        let text = |e: KernelError| e.to_string();
        let code = tactic.compile(recipe, region, self.device.target()).map_err(text)?;
        let kernel = match self.device.load(recipe, region, code.as_ref()).map_err(text)? {
            Loaded::Kernel(kernel) => kernel,
            Loaded::Values(_) => return Err("the kernel works on host values, not on memory".to_owned()),
        };
        let workspace = workspace_bytes(candidate, region, &region.body().input_types());
        let mut operands = operands(region)?;
        for &operand in &candidate.packed {
            let weight = operands.get(operand).and_then(Option::as_ref).ok_or("a packed operand is left out")?;
            operands[operand] = Some(tactic.pack(recipe, region, operand, weight).map_err(|e| e.to_string())?);
        }
        let setup = Setup::new(self.device, &region.body().output_types(), &operands, workspace);
        let setup = setup.map_err(|e| e.to_string())?;
        Ok(TimedCandidate { position: 0, kernel, setup, best: Duration::MAX, total: Duration::ZERO, launches: 0 })
    }
}

/// Synthetic operands by index: known contents where there are some, plausible numbers elsewhere.
fn operands(region: &Region) -> Result<Vec<Option<Tensor>>, String> {
    let body = region.body();
    let ids: Vec<_> = match region.only() {
        Some(node) => node.inputs.to_vec(),
        None => body.inputs().iter().copied().map(Some).collect(),
    };
    let tensor = |id| synthetic(body.ty(id).as_tensor().ok_or("an operand is no tensor")?).map(Some);
    ids.into_iter().map(|id| id.map_or(Ok(None), tensor)).collect()
}

fn synthetic(ty: &TensorType) -> Result<Tensor, String> {
    if let Some(known) = ty.constant() {
        return Ok(known);
    }
    let sizes = ty.shape.sizes().ok_or("an operand of dynamic size")?;
    let count = sinter_base::shape::element_count(&sizes).ok_or("an operand that is too large")?;
    // Floats spread evenly over -1..1, none of them denormal; integers are indices that are valid for every axis.
    let float = |index: usize| ((index * 7919) % 2003) as f32 / 1001.5 - 0.9997;
    let made = match ty.data_type {
        DataType::F32 => Tensor::from_vec(&sizes, (0..count).map(float).collect()),
        DataType::String => return Err("it works on text".to_owned()),
        t if t.is_float() => {
            Tensor::from_floats(t, &sizes, &(0..count).map(|i| f64::from(float(i))).collect::<Vec<_>>())
        }
        t => Tensor::from_ints(t, &sizes, &(0..count).map(|i| i128::from(i % 3 == 1)).collect::<Vec<_>>()),
    };
    made.map_err(|e| e.to_string())
}
