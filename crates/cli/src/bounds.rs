//! Default bounds on the difference of results: the rounding error of the coarsest type on the way to a result. The
//! verification of a build widens its bounds by the same rule.

use sinter::internals::base::DataType;
use sinter::internals::ops::pointwise::program::Step as ScalarStep;
use sinter::internals::ops::{Body, Op};
use sinter::internals::plan::{Action, Graph, Plan, PlanValueId, Step};

use crate::difference::Bounds;

/// Relative part of the bound where all types on the way are f32 or wider.
const RELATIVE: f64 = 1e-3;

/// Units in the last place of a narrow type by which results may differ.
const UNITS: f64 = 4.0;

/// The bounds that the user gives, and those of the engine's types where the user gives none.
#[derive(Clone, Debug)]
pub struct Allowed {
    atol: f64,
    rtol: Option<f64>,
    min_cosine: Option<f64>,
    /// One unit in the last place of the coarsest type on the way to each value of the outermost graph.
    units: Vec<f64>,
    outputs: Vec<(String, PlanValueId)>,
    /// The bounds of outputs of a plan in low precision.
    limits: Vec<(String, f64)>,
}

impl Allowed {
    /// The bounds for a plan's values; without `rtol` they follow the types.
    pub fn new(plan: &Plan, atol: f64, rtol: Option<f64>, min_cosine: Option<f64>) -> Self {
        let outputs = plan.outputs.iter().map(|port| (port.name.clone(), port.value)).collect();
        let precision = plan.report.as_ref().and_then(|report| report.precision.as_ref());
        let limits = precision.iter().flat_map(|precision| &precision.outputs);
        let limits = limits.map(|output| (output.output.clone(), output.limit)).collect();
        Self { atol, rtol, min_cosine, units: units(&plan.graph), outputs, limits }
    }

    /// The bounds for a value.
    pub fn of_value(&self, id: PlanValueId) -> Bounds {
        self.of_unit(self.units.get(id.index()).copied().unwrap_or_default())
    }

    /// The bounds for an output by its name.
    pub fn of_output(&self, name: &str) -> Bounds {
        let limit = self.limits.iter().find(|(known, _)| known == name).map_or(0.0, |(_, limit)| limit / UNITS);
        match self.outputs.iter().find(|(known, _)| known == name) {
            Some((_, id)) => self.of_unit(self.units.get(id.index()).copied().unwrap_or_default().max(limit)),
            None => self.of_unit(limit),
        }
    }

    fn of_unit(&self, unit: f64) -> Bounds {
        let rtol = self.rtol.unwrap_or_else(|| RELATIVE.max(UNITS * unit));
        Bounds { atol: self.atol, rtol, min_cosine: self.min_cosine }
    }
}

/// The coarsest unit on the way to each value of a graph.
fn units(graph: &Graph) -> Vec<f64> {
    let mut units = vec![0f64; graph.values.len()];
    for step in &graph.steps {
        let given = step.inputs.iter().flatten().filter_map(|id| units.get(id.index()));
        let unit = given.copied().fold(of_step(step), f64::max);
        for id in &step.outputs {
            if let Some(known) = units.get_mut(id.index()) {
                *known = unit;
            }
        }
    }
    units
}

fn of_step(step: &Step) -> f64 {
    match &step.action {
        Action::Control { graphs, .. } => graphs.iter().flat_map(|graph| &graph.steps).map(of_step).fold(0.0, f64::max),
        _ => step.region().map_or(0.0, |region| of_body(region.body())),
    }
}

/// The coarsest unit that a body rounds to, in its results and inside its pointwise operators.
fn of_body(body: &Body) -> f64 {
    let mut coarsest = 0f64;
    for node in body.nodes() {
        let results = node.outputs.iter().map(|id| unit(body.ty(*id).data_type()));
        coarsest = results.chain(node.op.bodies().into_iter().map(|body| of_body(body))).fold(coarsest, f64::max);
        if let Op::Pointwise(pointwise) = &node.op {
            let made = pointwise.program.steps().iter().filter(|step| matches!(step, ScalarStep::Apply { .. }));
            coarsest = made.map(|step| unit(step.data_type())).fold(coarsest, f64::max);
        }
    }
    coarsest
}

/// One unit in the last place of a narrow float type, as a part of the number.
fn unit(data_type: DataType) -> f64 {
    match data_type {
        DataType::F16 => 2f64.powi(-10),
        DataType::Bf16 => 2f64.powi(-7),
        _ => 0.0,
    }
}
