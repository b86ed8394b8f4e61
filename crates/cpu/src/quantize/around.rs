//! `cpu.quantize.around.f32`: one operator on quantized operands, by its f32 kernel.
//!
//! The kernel dequantizes operands into scratch memory, runs the kernel of another tactic on them, with weights packed
//! as usual, and quantizes the result from scratch memory. So it computes the bits of the separate steps, for every
//! operator that has a kernel; no real value leaves the region.

use sinter_backend::{Candidate, KernelError, KernelKind, Problem, Recipe, Refusal, Region, Tactic};
use sinter_base::view::{ALIGNMENT, element_bytes};
use sinter_base::{Attr, DataType, Dim, Sizes, Tensor, View, ViewMut};
use sinter_ops::operator::count_of;
use sinter_ops::{Body, OpKind, Operands};
use smallvec::SmallVec;

use crate::Cpu;
use crate::launch::{HostTactic, Kernel, Launch, Loaded, Operand, Output, Workspace};
use crate::packed::readers;
use crate::quantize::columns::Means;
use crate::quantize::split::{From, MOST_OPERANDS, Read, Split, is_quantized};
use crate::tactic::Speed;
use crate::tier::Tier;

/// See the module documentation.
pub const AROUND: Around = Around;

/// The tactic.
pub struct Around;

/// The parameters of a recipe: the kernel of another tactic inside.
struct Inner {
    tactic: &'static dyn HostTactic,
    parameters: Attr,
    /// Does that kernel compute the epilogue?
    has_program: bool,
}

impl Inner {
    fn to_parameters(tactic: &str, parameters: Attr, has_program: bool) -> Attr {
        let fields = vec![
            ("tactic".to_owned(), Attr::Text(tactic.to_owned())),
            ("program".to_owned(), Attr::Bool(has_program)),
            ("parameters".to_owned(), parameters),
        ];
        Attr::Record { variant: String::new(), fields }
    }

    fn of(recipe: &Recipe) -> Result<Self, KernelError> {
        let wrong = || KernelError::Recipe(format!("{} has no inner kernel: {}", recipe.tactic, recipe.parameters));
        let Attr::Record { fields, .. } = &recipe.parameters else { return Err(wrong()) };
        let [(_, Attr::Text(name)), (_, Attr::Bool(has_program)), (_, parameters)] = &fields[..] else {
            return Err(wrong());
        };
        let tactic = inner_tactics().find(|tactic| tactic.name() == name).ok_or_else(wrong)?;
        Ok(Self { tactic, parameters: parameters.clone(), has_program: *has_program })
    }

    fn recipe(&self) -> Recipe {
        Recipe { tactic: self.tactic.name().to_owned(), parameters: self.parameters.clone() }
    }
}

fn inner_tactics() -> impl Iterator<Item = &'static dyn HostTactic> {
    Cpu::host_tactics().into_iter().filter(|tactic| tactic.name() != AROUND.name())
}

impl Tactic for Around {
    fn name(&self) -> &str {
        "cpu.quantize.around.f32"
    }

    fn roots(&self) -> &[OpKind] {
        &[
            OpKind::Convolution,
            OpKind::Deconvolution,
            OpKind::MatMul,
            OpKind::Pool,
            OpKind::Normalize,
            OpKind::Softmax,
            OpKind::Concat,
            OpKind::Resize,
            OpKind::Reduce,
            OpKind::Attention,
        ]
    }

    fn offer(&self, problem: &Problem<'_>, most: usize) -> Result<Vec<Candidate>, Refusal> {
        if !is_quantized(problem.region) {
            return Err(Refusal::OtherOperator);
        }
        let mut candidates = Vec::new();
        let mut last = Refusal::new("no kernel takes the operator inside");
        for has_program in [true, false] {
            let split = match Split::of(problem.region, has_program) {
                Ok(split) => split,
                Err(refusal) => {
                    last = refusal;
                    continue;
                }
            };
            if has_program && !split.has_program() {
                continue;
            }
            candidates.extend(split.candidates(problem, has_program));
        }
        candidates.sort_by(|a, b| a.estimate.total_cmp(&b.estimate));
        candidates.truncate(most);
        if candidates.is_empty() { Err(last) } else { Ok(candidates) }
    }

    fn pack(&self, recipe: &Recipe, region: &Region, operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
        let inner = Inner::of(recipe)?;
        let wrong = |refusal: Refusal| KernelError::Recipe(format!("{}: {refusal}", self.name()));
        let split = Split::of(region, inner.has_program).map_err(wrong)?;
        let own = split.operands.iter().position(|from| *from == Some(From::Operand(operand)));
        let own = own.ok_or_else(|| wrong(Refusal::new(format!("operand {operand} is none of the operator"))))?;
        inner.tactic.pack(&inner.recipe(), &split.inner, own, weight)
    }
}

impl HostTactic for Around {
    fn load(&self, recipe: &Recipe, region: &Region) -> Result<Loaded, KernelError> {
        let inner = Inner::of(recipe)?;
        let wrong = |refusal: Refusal| KernelError::Recipe(format!("{}: {refusal}", self.name()));
        let split = Split::of(region, inner.has_program).map_err(wrong)?;
        let Loaded::Kernel(kernel) = inner.tactic.load(&inner.recipe(), &split.inner)? else {
            return Err(wrong(Refusal::new("the kernel inside works on whole values")));
        };
        Ok(Loaded::Kernel(Box::new(Composed { kernel, split, tier: Tier::in_use() })))
    }
}

/// Bytes of elements of a type, up to the next line of the cache.
fn scratch_bytes(body: &Body, id: sinter_ops::ValueId) -> Dim {
    let width = i64::try_from(element_bytes(body.ty(id).data_type())).unwrap_or(8);
    count_of(body.ty(id)).mul(&width.into()).add(&(ALIGNMENT as i64).into())
}

impl Split {
    fn has_program(&self) -> bool {
        self.inner.body().nodes().last().is_some_and(|node| node.op.kind() == OpKind::Pointwise)
    }

    /// The candidates of the kernels for the operator, with the chains around them.
    fn candidates(&self, problem: &Problem<'_>, has_program: bool) -> Vec<Candidate> {
        let Some(root) = self.inner.root() else { return Vec::new() };
        let inner = Problem { region: &self.inner, ..*problem };
        let mut found = Vec::new();
        for tactic in inner_tactics().filter(|tactic| tactic.roots().contains(&root)) {
            for candidate in tactic.offer(&inner, usize::MAX).unwrap_or_default() {
                found.extend(self.around(problem, candidate, has_program));
            }
        }
        found
    }

    fn around(&self, problem: &Problem<'_>, inner: Candidate, has_program: bool) -> Option<Candidate> {
        let body = self.inner.body();
        let operand = |own: &usize| match self.operands.get(*own)? {
            Some(From::Operand(operand)) => Some(*operand),
            _ => None,
        };
        let packed: Vec<usize> = inner.packed.iter().map(operand).collect::<Option<_>>()?;
        // A chain that reads the weight too needs it unpacked.
        if inner.kind != KernelKind::Device || packed.iter().any(|operand| readers(problem.region, *operand) > 1) {
            return None;
        }
        let mut workspace = inner.workspace.add(&(ALIGNMENT as i64).into());
        let mut made = vec![false; self.before.len()];
        for (position, from) in self.operands.iter().enumerate() {
            if let Some(From::Made(chain)) = from
                && !std::mem::replace(&mut made[*chain], true)
                && let Some(id) = self.operand_value(position)
            {
                workspace = workspace.add(&scratch_bytes(body, id));
            }
        }
        if self.behind.is_some() {
            workspace = workspace.add(&scratch_bytes(body, body.outputs()[0]));
        }
        let parameters = Inner::to_parameters(&inner.recipe.tactic, inner.recipe.parameters.clone(), has_program);
        let mut candidate = Candidate::plain(&AROUND, inner.numerics, inner.estimate + self.overhead(problem));
        candidate.recipe.parameters = parameters;
        candidate.workspace = workspace;
        candidate.packed = packed;
        candidate.capturable = inner.capturable;
        Some(candidate)
    }

    /// The value of the inner region that is this operand.
    fn operand_value(&self, position: usize) -> Option<sinter_ops::ValueId> {
        match self.inner.only() {
            Some(node) => node.inputs.get(position).copied().flatten(),
            None => self.inner.body().inputs().get(position).copied(),
        }
    }

    /// Cost of the chains: their operations, and the bytes of the stored values. The estimate of the inner kernel
    /// already counts the scratch memory, which all steps share.
    fn overhead(&self, problem: &Problem<'_>) -> f64 {
        let number = |dim: &Dim| problem.sizing.evaluate(dim).unwrap_or(0).max(0) as f64;
        let body = problem.region.body();
        let mut cost = 0.0;
        for node in body.nodes() {
            let is_quantization = matches!(node.op.kind(), OpKind::Quantize | OpKind::Dequantize);
            if is_quantization {
                let types: Vec<_> = node.inputs.iter().map(|id| id.map(|id| body.ty(id))).collect();
                let outputs: Vec<_> = node.outputs.iter().map(|id| body.ty(*id).clone()).collect();
                let operations = number(&node.op.cost(&Operands::new(&types), &outputs).operations);
                cost += operations * Speed::VECTOR.per_operation;
            }
        }
        let ends = body.inputs().iter().chain(body.outputs()).map(|id| body.ty(*id));
        let stored = ends.filter(|ty| ty.data_type() != DataType::F32);
        let bytes = stored.map(|ty| number(&count_of(ty)) * element_bytes(ty.data_type()) as f64).sum::<f64>();
        cost + bytes * Speed::VECTOR.per_byte
    }
}

struct Composed {
    kernel: Box<dyn Kernel>,
    split: Split,
    tier: Tier,
}

/// Divides the workspace into consecutive ranges.
struct Ranges<'w> {
    given: &'w mut [u8],
}

impl<'w> Ranges<'w> {
    /// The next `bytes` of the workspace, aligned to a cache line; empty where fewer are left.
    fn take(&mut self, bytes: usize) -> &'w mut [u8] {
        let given = std::mem::take(&mut self.given);
        let before = given.as_ptr().align_offset(ALIGNMENT);
        if before.saturating_add(bytes) > given.len() {
            self.given = given;
            return &mut [];
        }
        let (range, rest) = given[before..].split_at_mut(bytes);
        self.given = rest;
        range
    }
}

fn view_of<'b>(inputs: &[Operand<'b>], operand: usize) -> Result<View<'b>, KernelError> {
    let view = inputs.get(operand).and_then(Operand::view);
    view.ok_or_else(|| KernelError::Data(format!("operand {operand} is missing")))
}

fn wrong(error: sinter_base::view::ViewError) -> KernelError {
    KernelError::Data(error.to_string())
}

impl Kernel for Composed {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let Split { inner, operands, before, behind } = &self.split;
        let means = Means { tier: self.tier, workers: launch.workers, scratch: launch.scratch };
        let (inputs, scratch) = (launch.inputs, launch.scratch);
        let mut ranges = Ranges { given: std::mem::take(&mut launch.workspace) };
        let mut made: SmallVec<[(DataType, Sizes, Workspace<'_, f32>); MOST_OPERANDS]> = SmallVec::new();
        for (chain, sources) in before {
            let sizes = Sizes::from_slice(view_of(inputs, sources[chain.whole])?.sizes());
            let count: usize = sizes.iter().product();
            let mut buffer = Workspace::<f32>::of(ranges.take(count.saturating_mul(4)), scratch, count);
            let bytes = bytemuck::cast_slice_mut(&mut buffer[..]);
            chain.run(|source| view_of(inputs, sources[source]), &sizes, bytes, means)?;
            made.push((chain.data_type, sizes, buffer));
        }
        let output = launch.outputs[0].view();
        let sizes = Sizes::from_slice(output.sizes());
        let mut product = None;
        if behind.is_some() {
            let count: usize = sizes.iter().product();
            product = Some(Workspace::<f32>::of(ranges.take(count.saturating_mul(4)), scratch, count));
        }
        let mut views: SmallVec<[Operand<'_>; MOST_OPERANDS]> = SmallVec::new();
        for from in operands {
            views.push(match from {
                None => Operand::Absent,
                Some(From::Operand(operand)) => inputs.get(*operand).copied().unwrap_or(Operand::Absent),
                Some(From::Made(chain)) => {
                    let (data_type, sizes, buffer) = &made[*chain];
                    let bytes = bytemuck::cast_slice(&buffer[..]);
                    Operand::View(View::new(*data_type, sizes, bytes).map_err(wrong)?)
                }
            });
        }
        let target = match &mut product {
            Some(product) => {
                let data_type = inner.output(0).map_or(DataType::F32, |ty| ty.data_type);
                ViewMut::new(data_type, &sizes, bytemuck::cast_slice_mut(&mut product[..])).map_err(wrong)?
            }
            None => output.reborrow(),
        };
        let mut outputs = [Output::View(target)];
        self.kernel.launch(&mut Launch {
            workers: launch.workers,
            inputs: &views,
            outputs: &mut outputs,
            workspace: ranges.take(ranges.given.len().saturating_sub(ALIGNMENT)),
            scratch,
            seed: launch.seed,
        })?;
        let (Some((chain, reads)), Some(product)) = (behind, &product) else { return Ok(()) };
        let bytes = bytemuck::cast_slice(&product[..]);
        let read = |source: usize| match reads[source] {
            Read::Operand(operand) => view_of(inputs, operand),
            Read::Product => View::new(DataType::F32, &sizes, bytes).map_err(wrong),
        };
        chain.run(read, &sizes, launch.outputs[0].view().bytes(), means)
    }
}
