//! Plans: built models.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use bytes::Bytes;
use sinter_backend::{BackEnd, Target};
use sinter_base::{Tensor, TensorType};
use sinter_plan::report::PrecisionReport;
use sinter_plan::{PlanError, PlanFile, Trust, programs_to_bytes, write_programs};
use sinter_runtime::suitable_program;

use crate::error::Error;
use crate::internals::memory::arena_bytes;
use crate::internals::source::{plan_inputs, plan_outputs};
use crate::port::Port;
use crate::registry::Registry;

/// A built model: steps, packed weights and self-test vectors, ready for an [`crate::Engine`].
///
/// A plan is data: it holds no time, no path and no host name, and it runs without the model, the importer and the builder.
/// A file may hold several programs of one model, for several kinds of machines.
///
/// ```
/// # fn main() -> Result<(), sinter::Error> {
/// # let model = sinter::Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/residual.onnxtxt"))?;
/// # let folder = tempfile::tempdir().expect("a temporary folder");
/// # let path = folder.path().join("residual.plan");
/// let plan = sinter::Builder::new(&model).build()?;
/// plan.save(&path)?;
/// let again = sinter::Plan::open(&path)?;
/// assert_eq!(again.to_bytes(), plan.to_bytes());
/// println!("{}", again.summary());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Plan {
    /// One at least; the preferred one first.
    programs: Vec<sinter_plan::Plan>,
}

impl Plan {
    pub(crate) fn of(program: sinter_plan::Plan) -> Self {
        Self { programs: vec![program] }
    }

    /// Opens a plan file and checks the hash of every section. Weights stay in the mapped file.
    ///
    /// # Errors
    /// [`Error::Plan`] when the file cannot be read, or is no intact plan of a version that this library reads.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_as(path.as_ref(), Trust::Nothing)
    }

    /// As [`Plan::open`], without a check of the weights, which may be gigabytes. For files that only trusted programs can
    /// write.
    ///
    /// # Errors
    /// As [`Plan::open`].
    pub fn open_trusted(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_as(path.as_ref(), Trust::Weights)
    }

    fn open_as(path: &Path, trust: Trust) -> Result<Self, Error> {
        let programs = PlanFile::open(path, trust).and_then(PlanFile::into_programs);
        programs.map(|programs| Self { programs }).map_err(|source| at(Some(path), source))
    }

    /// A plan file in memory.
    ///
    /// # Errors
    /// As [`Plan::open`].
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self, Error> {
        let programs = PlanFile::from_bytes(bytes.into(), Trust::Nothing).and_then(PlanFile::into_programs);
        programs.map(|programs| Self { programs }).map_err(|source| at(None, source))
    }

    /// Writes the plan. The file appears complete or not at all.
    ///
    /// # Errors
    /// [`Error::Plan`] when the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let programs: Vec<&sinter_plan::Plan> = self.programs.iter().collect();
        write_programs(path.as_ref(), &programs).map_err(|source| at(Some(path.as_ref()), source))
    }

    /// The bytes of the file that [`Plan::save`] writes.
    pub fn to_bytes(&self) -> Vec<u8> {
        programs_to_bytes(&self.programs.iter().collect::<Vec<_>>())
    }

    /// The inputs in order.
    pub fn inputs(&self) -> Vec<Port> {
        self.programs.first().map(plan_inputs).unwrap_or_default()
    }

    /// The outputs in order.
    pub fn outputs(&self) -> Vec<Port> {
        self.programs.first().map(plan_outputs).unwrap_or_default()
    }

    /// The devices that each program was built for, as `BACK_END.TIER`: `cpu.avx512`. The preferred program comes first; a
    /// program that uses several devices joins them by `+`.
    pub fn targets(&self) -> Vec<String> {
        let name = |target: &Target| format!("{}.{}", target.back_end, target.isa);
        let names = |plan: &sinter_plan::Plan| {
            std::iter::once(&plan.target).chain(&plan.islands).map(name).collect::<Vec<_>>().join("+")
        };
        self.programs.iter().map(names).collect()
    }

    /// The tensors of the model that [`Plan::refit`] may replace: name and type. A plan of [`Builder::refittable`] has some.
    ///
    /// [`Builder::refittable`]: crate::Builder::refittable
    pub fn refittable_tensors(&self) -> Vec<(String, TensorType)> {
        let of_program = |plan| sinter_builder::refittable_tensors(plan).into_iter();
        let all: BTreeMap<&str, &TensorType> = self.programs.iter().flat_map(of_program).collect();
        all.into_iter().map(|(name, ty)| (name.to_owned(), ty.clone())).collect()
    }

    /// The same plan with other weights: tensors by their names in the model. Steps and kernels stay; weights that were
    /// folded or packed are computed and packed again. Tensors that are not given stay as they are. Nothing verifies the new
    /// plan, and it has no self-test vectors.
    ///
    /// ```
    /// # fn main() -> Result<(), sinter::Error> {
    /// # let model = sinter::Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/demo/digits.onnx"))?;
    /// let plan = sinter::Builder::new(&model).refittable().build()?;
    /// let mut weights = Vec::new();
    /// for (name, ty) in plan.refittable_tensors() {
    ///     let sizes = ty.shape.sizes().expect("weights have sizes");
    ///     let elements = vec![0.5f32; sizes.iter().product()];
    ///     weights.push((name, sinter::Tensor::from_vec(&sizes, elements)?));
    /// }
    /// let other = plan.refit(weights, &sinter::Registry::default())?;
    /// assert_eq!(other.summary().steps, plan.summary().steps);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refit`] when the plan is not refittable, or tensors are unknown, of other types, or missing beside others that
    /// are computed together with them: all of them at once.
    pub fn refit<N: Into<String>>(
        &self,
        weights: impl IntoIterator<Item = (N, Tensor)>,
        registry: &Registry,
    ) -> Result<Self, Error> {
        let tensors = weights.into_iter().map(|(name, tensor)| (name.into(), tensor)).collect();
        let back_ends: Vec<&dyn BackEnd> = registry.back_ends().collect();
        let most = u64::try_from(sinter_runtime::default_memory()).unwrap_or(u64::MAX);
        let programs = self.programs.iter().map(|plan| sinter_builder::refit(plan, &tensors, &back_ends, most));
        Ok(Self { programs: programs.collect::<Result<_, _>>()? })
    }

    /// How the first program came about.
    pub fn summary(&self) -> Summary {
        self.programs.first().map(Summary::of).unwrap_or_default()
    }

    /// The program to run on this machine.
    ///
    /// # Errors
    /// When the plan has no program.
    pub(crate) fn into_program(self, back_ends: &[&dyn BackEnd], threads: usize) -> Result<sinter_plan::Plan, Error> {
        let targets = self.programs.iter().map(|plan| std::iter::once(&plan.target).chain(&plan.islands));
        let index = suitable_program(targets, back_ends, threads);
        let program = self.programs.into_iter().nth(index);
        program.ok_or_else(|| at(None, PlanError::damaged("it holds no program")))
    }
}

fn at(path: Option<&Path>, source: PlanError) -> Error {
    Error::Plan { path: path.map(Path::to_owned), source }
}

/// How a plan came about. `Display` prints it, one fact a line.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// The name of the model.
    pub model: String,
    /// Steps of an inference; those of loops and branches count once.
    pub steps: usize,
    /// Bytes of weights.
    pub weight_bytes: u64,
    /// Bytes of activations at the largest sizes; `None` when a dynamic dimension has no largest size.
    pub activation_bytes: Option<u64>,
    /// Passes that changed the network, and how often.
    pub passes: Vec<(String, usize)>,
    /// What the plan computes in; `None` where it computes as the model says.
    pub precision: Option<PrecisionSummary>,
    /// Steps that agree with the reference run.
    pub agreed: usize,
    /// Kernels and passes that disagreed and were left out: name, place in the model, first difference.
    pub dropped: Vec<String>,
    /// Steps that could not be verified: place in the model, reason.
    pub unverified: Vec<String>,
    /// Why the build verified nothing; `None` when it verified.
    pub skipped: Option<String>,
}

/// What a plan in low precision computes in.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PrecisionSummary {
    /// The precision that was asked for.
    pub requested: String,
    /// Nodes that give their results in a narrow type.
    pub narrow: usize,
    /// Nodes that stay in f32: place in the model, reason.
    pub kept: Vec<String>,
    /// The largest difference of each output from f32, relative to its largest element, on the inputs of verification.
    pub errors: Vec<(String, f64)>,
}

impl PrecisionSummary {
    fn of(report: PrecisionReport) -> Self {
        let PrecisionReport { requested, narrow, kept, outputs, .. } = report;
        let kept = kept.into_iter().map(|node| format!("{}: {}", node.origin, node.reason)).collect();
        let errors = outputs.into_iter().map(|output| (output.output, output.error)).collect();
        Self { requested, narrow, kept, errors }
    }
}

impl Summary {
    fn of(plan: &sinter_plan::Plan) -> Self {
        let mut steps = 0;
        plan.graph.visit_steps(&mut |_| steps += 1);
        let weight_bytes: usize = plan.weights.iter().map(|weight| weight.tensor().bytes().len()).sum();
        let report = plan.report.clone().unwrap_or_default();
        let verification = report.verification;
        let skipped = match plan.report {
            Some(_) => verification.skipped,
            None => Some("the plan has no report".to_owned()),
        };
        let dropped = |d: sinter_plan::report::Dropped| format!("{} at {}: {}", d.name, d.origin, d.reason);
        let unverified = |u: sinter_plan::report::Unverified| format!("{}: {}", u.origin, u.reason);
        Self {
            model: plan.name.clone(),
            steps,
            weight_bytes: u64::try_from(weight_bytes).unwrap_or(u64::MAX),
            activation_bytes: arena_bytes(plan),
            passes: report.passes.into_iter().map(|pass| (pass.name, pass.fired)).collect(),
            precision: report.precision.map(PrecisionSummary::of),
            agreed: verification.agreed,
            dropped: verification.dropped.into_iter().map(dropped).collect(),
            unverified: verification.unverified.into_iter().map(unverified).collect(),
            skipped,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one_line = sinter_base::one_line;
        write!(f, "model '{}': {} steps, {} bytes of weights", one_line(&self.model), self.steps, self.weight_bytes)?;
        if let Some(bytes) = self.activation_bytes {
            write!(f, ", at most {bytes} bytes of activations")?;
        }
        for (name, times) in &self.passes {
            write!(f, "\npass {name}: {times} changes")?;
        }
        if let Some(PrecisionSummary { requested, narrow, kept, errors }) = &self.precision {
            write!(f, "\n{requested}: {narrow} nodes in it, {} in f32", kept.len())?;
            kept.iter().try_for_each(|node| write!(f, "\nin f32: {}", one_line(node)))?;
            for (output, error) in errors {
                write!(f, "\noutput '{}' differs by {error:.1e} of its largest element", one_line(output))?;
            }
        }
        match &self.skipped {
            Some(reason) => write!(f, "\nnot verified: {}", one_line(reason))?,
            None => write!(f, "\n{} steps agree with the reference run", self.agreed)?,
        }
        self.dropped.iter().try_for_each(|dropped| write!(f, "\nleft out: {}", one_line(dropped)))?;
        self.unverified.iter().try_for_each(|step| write!(f, "\nnot verified: {}", one_line(step)))
    }
}
