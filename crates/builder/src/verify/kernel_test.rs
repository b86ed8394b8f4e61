//! Tests one kernel of a plan: launches it on given operands and compares the results with the meaning of its region.

use std::sync::Arc;

use sinter_backend::panic::caught;
use sinter_backend::{Candidate, KernelError, KernelId, Loaded, Numerics, Region};
use sinter_base::{Value, ValueType};
use sinter_ops::known::known_type;
use sinter_ops::{InferContext, Memory};
use sinter_plan::{Graph, Step, Storage, Variant};

use crate::assemble::lowered::LoweredPlan;
use crate::devices::Devices;
use crate::harness::{launch_once, workspace_bytes};
use crate::verify::placed::Placement;
use crate::verify::rules::{Rule, agree, coarsest_rounding, rule_of, score_error, weight_error};
use crate::verify::{overflow, products, sensitivity};

/// The devices and memory of kernel tests.
pub(crate) struct Bench<'a> {
    pub(crate) lowered_plan: &'a LoweredPlan,
    pub(crate) devices: &'a Devices<'a>,
    /// The memory that the reference executor may use.
    pub(crate) memory: Memory,
}

/// The test of a kernel of a step.
pub(crate) struct KernelTest<'a> {
    bench: &'a Bench<'a>,
    graph: &'a Graph,
    step: &'a Step,
    variant: &'a Variant,
    region: &'a Region,
    candidate: &'a Candidate,
    /// The kernel, or why it cannot be loaded.
    kernel: Result<Arc<Loaded<KernelId>>, String>,
    /// The plan's placement of operands and results, if they have no buffers of their own.
    placement: Option<Placement>,
}

/// The result of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agreed {
    Yes,
    /// Unknown: f32 may overflow where the reference executor does not.
    Overflows,
}

impl Bench<'_> {
    /// A kernel of a step of a graph.
    ///
    /// # Errors
    /// When no tactic offered the kernel.
    pub(crate) fn test<'t>(
        &'t self,
        graph: &'t Graph,
        step: &'t Step,
        variant: &'t Variant,
    ) -> Result<KernelTest<'t>, String> {
        let (region, recipe) = (step.region().ok_or("no kernel")?, &variant.recipe);
        let candidate = self.lowered_plan.candidates.get(region, recipe);
        let candidate = candidate.ok_or_else(|| format!("{recipe} was never offered"))?;
        let kernel = self.devices.of(graph, step).make(recipe, region).map_err(|e| e.to_string());
        Ok(KernelTest {
            bench: self,
            graph,
            step,
            variant,
            region,
            candidate,
            kernel,
            placement: Placement::of(graph, step),
        })
    }
}

impl KernelTest<'_> {
    /// Launches the kernel, and compares its results with the expected ones.
    ///
    /// # Errors
    /// The first difference, or why the kernel does not run.
    pub(crate) fn agrees(&self, operands: &[Option<Value>], expected: &[Value]) -> Result<Agreed, String> {
        let runs = self.launch(operands)?;
        match runs.iter().try_for_each(|found| self.holds(operands, found, expected)) {
            Ok(()) => Ok(Agreed::Yes),
            Err(_) if overflow::region_may_overflow(self.region.body(), operands, self.bench.memory) => {
                Ok(Agreed::Overflows)
            }
            Err(reason) => Err(reason),
        }
    }

    fn holds(&self, operands: &[Option<Value>], found: &[Value], expected: &[Value]) -> Result<(), String> {
        let body = self.region.body();
        if self.candidate.numerics == Numerics::Exact {
            let moved = |(found, expected)| agree(found, expected, Rule::Moved, 0.0, 0.0);
            return found.iter().zip(expected).try_for_each(moved);
        }
        let (rule, rounding) = (rule_of(body), coarsest_rounding(body));
        let narrowed =
            if self.candidate.numerics == Numerics::Narrowed { weight_error(body, operands, expected) } else { 0.0 };
        let wider = score_error(body, operands) + narrowed;
        let all = |(found, expected)| agree(found, expected, rule, wider, rounding);
        let agreed = products::check(body, operands, found, expected);
        match agreed.and_then(|()| found.iter().zip(expected).try_for_each(all)) {
            Err(_) if sensitivity::excuses(body, operands, found, expected, self.bench.memory) => Ok(()),
            other => other,
        }
    }

    /// The kernel's results in buffers of its own, and in memory as the plan places it, where that differs.
    fn launch(&self, operands: &[Option<Value>]) -> Result<Vec<Vec<Value>>, String> {
        let Self { graph, step, variant, region, candidate, .. } = *self;
        let Bench { lowered_plan, devices, .. } = *self.bench;
        let tactic = &candidate.recipe.tactic;
        let text = |e: KernelError| e.to_string();
        let kernel = match &**self.kernel.as_ref().map_err(Clone::clone)? {
            Loaded::Values(kernel) => return Ok(vec![caught(tactic, || kernel.run(operands)).map_err(text)?]),
            Loaded::Kernel(kernel) => *kernel,
        };
        let mut tensors = Vec::new();
        for (position, (value, id)) in operands.iter().zip(&step.inputs).enumerate() {
            let replaced = variant.replaced.iter().find(|(at, _)| *at == position);
            let id = replaced.map(|(_, id)| *id).or(*id);
            let tensor = match (candidate.packed.contains(&position), id) {
                (true, Some(id)) => match graph.values.get(id.index()).map(|v| &v.storage) {
                    Some(Storage::Weight(weight)) => Some(lowered_plan.plan.weights[weight.index()].tensor().clone()),
                    _ => return Err("a packed operand is no weight".to_owned()),
                },
                _ => value.as_ref().and_then(Value::as_tensor).cloned(),
            };
            if value.is_some() && tensor.is_none() {
                return Err("an operand is no tensor".to_owned());
            }
            tensors.push(tensor);
        }
        let types: Vec<ValueType> = operands.iter().flatten().map(known_type).collect();
        let results = region.infer(&types, &mut InferContext::default()).map_err(|e| e.to_string())?;
        let workspace = workspace_bytes(candidate, region, &types);
        let device = &**devices.of(graph, step).device();
        let mut runs = vec![launch_once(device, kernel, &results, &tensors, workspace).map_err(text)?];
        if let Some(placement) = &self.placement {
            let placed = placement.launch(device, kernel, candidate, &results, &tensors, workspace);
            runs.extend(placed.map_err(|e| format!("as the plan places it: {e}"))?);
        }
        Ok(runs)
    }
}
