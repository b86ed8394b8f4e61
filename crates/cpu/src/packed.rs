//! Tactics whose kernels take weights packed.

use sinter_backend::{Candidate, KernelError, Numerics, Problem, Recipe, Refusal, Region, Tactic};
use sinter_base::{Attr, DataType, Dim, Tensor, View};
use sinter_ops::OpKind;

use crate::launch::{HostTactic, Loaded};
use crate::tactic::{Speed, describe, estimate};

/// The kernel and the resources of a matched region.
pub struct Fit {
    /// The kernel.
    pub kernel: Loaded,
    /// The operands that are packed.
    pub packed: Vec<usize>,
    /// Scratch memory in bytes.
    pub workspace: Dim,
    /// (operand, result) pairs that may share memory.
    pub in_place: Vec<(usize, usize)>,
}

/// A tactic for f32 regions with packed weights.
pub struct PackedRow {
    /// Name by the grammar of tactics.
    pub name: &'static str,
    /// The operators that it computes; see [`Tactic::roots`].
    pub roots: &'static [OpKind],
    /// Relative speed.
    pub speed: Speed,
    /// Nanoseconds that the estimate of a region exceeds that of its operators by, with its operands and results alone.
    pub extra: fn(&Problem<'_>, Speed) -> f64,
    /// Parameters of recipes, each with the factor of its estimate, the best first.
    pub recipes: fn(&Problem<'_>) -> Vec<(Attr, f64)>,
    /// The kernel for a region and the parameters of a recipe, or why there is none.
    pub fit: fn(&Region, &Attr) -> Result<Fit, Refusal>,
    /// The packed form of the weight that is this operand.
    pub pack: fn(&Region, usize, &Tensor) -> Result<Tensor, KernelError>,
}

impl Tactic for PackedRow {
    fn name(&self) -> &str {
        self.name
    }

    fn roots(&self) -> &[OpKind] {
        self.roots
    }

    fn offer(&self, problem: &Problem<'_>, most: usize) -> Result<Vec<Candidate>, Refusal> {
        let region = problem.region;
        let fit = (self.fit)(region, &Attr::Absent)?;
        if let Some(operand) = fit.packed.iter().find(|operand| !region.is_constant(**operand)) {
            return Err(Refusal::new(format!("operand {operand} is no weight")));
        }
        // Other readers of the weight need it unpacked.
        if let Some(operand) = fit.packed.iter().find(|operand| readers(region, **operand) > 1) {
            return Err(Refusal::new(format!("operand {operand} is read by several operators")));
        }
        let estimate = estimate(region, problem.sizing, self.speed) + (self.extra)(problem, self.speed);
        let mut usual = Candidate::plain(self, Numerics::Reassociated, estimate);
        describe(&mut usual, region, &fit.kernel);
        usual.packed = fit.packed;
        usual.workspace = fit.workspace;
        usual.in_place = fit.in_place;
        let recipes = (self.recipes)(problem).into_iter().take(most);
        let candidate = |(parameters, factor): (Attr, f64)| {
            let mut candidate = usual.clone();
            (candidate.recipe.parameters, candidate.estimate) = (parameters, estimate * factor);
            candidate
        };
        Ok(recipes.map(candidate).collect())
    }

    fn pack(&self, recipe: &Recipe, region: &Region, operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
        let fit = (self.fit)(region, &recipe.parameters)
            .map_err(|refusal| KernelError::Recipe(format!("{}: {refusal}", self.name)))?;
        if !fit.packed.contains(&operand) {
            return Err(KernelError::Recipe(format!("{} does not pack operand {operand}", self.name)));
        }
        (self.pack)(region, operand, weight)
    }
}

impl HostTactic for PackedRow {
    fn load(&self, recipe: &Recipe, region: &Region) -> Result<Loaded, KernelError> {
        let fit = (self.fit)(region, &recipe.parameters);
        fit.map(|fit| fit.kernel).map_err(|refusal| KernelError::Recipe(format!("{}: {refusal}", self.name)))
    }
}

/// How often the operators of a region read an operand.
pub(crate) fn readers(region: &Region, operand: usize) -> usize {
    let read = region.body().nodes().iter().flat_map(|node| node.inputs.iter().flatten());
    read.filter(|id| region.operand(**id) == Some(operand)).count()
}

/// For tactics whose estimate is that of their operators.
pub fn no_extra(_: &Problem<'_>, _: Speed) -> f64 {
    0.0
}

/// The only recipe of a tactic without parameters.
pub fn one_recipe(_: &Problem<'_>) -> Vec<(Attr, f64)> {
    vec![(Attr::Absent, 1.0)]
}

/// One weight has one packed form.
///
/// # Errors
/// When several operators of a region have the same weight.
pub fn packed_once(packed: &[usize]) -> Result<(), Refusal> {
    match packed.iter().enumerate().any(|(position, operand)| packed[..position].contains(operand)) {
        true => Err(Refusal::new("several operators have the same weight")),
        false => Ok(()),
    }
}

/// The elements of a packed weight; a damaged plan may have too few.
///
/// # Errors
/// When the weight has another number of elements.
pub fn packed_elements(view: View<'_>, expected: usize) -> Result<&[f32], KernelError> {
    if view.data_type() != DataType::F32 || view.count() != expected {
        let found = view.count();
        return Err(KernelError::Recipe(format!("a packed weight of {found} elements instead of {expected}")));
    }
    Ok(view.elements())
}

/// A packed weight as a tensor of one axis.
///
/// # Errors
/// When it is too large for a tensor.
pub fn packed_tensor(values: Vec<f32>) -> Result<Tensor, KernelError> {
    let sizes = [values.len()];
    Tensor::from_vec(&sizes, values).map_err(|e| KernelError::Data(e.to_string()))
}
