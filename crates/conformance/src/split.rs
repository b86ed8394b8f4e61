//! One tactic preferred or left out: plans with a fused region and with its split form, for comparisons of both.

use std::sync::Arc;

use sinter_backend::{
    BackEnd, Candidate, Device, KernelError, Problem, Proposer, Recipe, Refusal, Region, Tactic, Target,
};
use sinter_base::{DataType, Location, Tensor, ValueType};
use sinter_builder::{BuildOptions, Verify, build};
use sinter_cpu::Cpu;
use sinter_ir::{Network, NetworkBuilder};
use sinter_ops::OpKind;
use sinter_ops::conv::Convolution;
use sinter_ops::matmul::MatMul;
use sinter_ops::norm::Normalize;
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::pool::{Pool, PoolMode, PoolWindow};
use sinter_ops::window::Padding;
use sinter_plan::Plan;

/// The processor with one tactic that costs nothing, or that takes no region.
struct Biased {
    tactic: &'static str,
    is_preferred: bool,
}

/// A tactic whose candidates cost nothing.
struct Free(&'static dyn Tactic);

impl Tactic for Free {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn roots(&self) -> &[OpKind] {
        self.0.roots()
    }

    fn offer(&self, problem: &Problem<'_>, most: usize) -> Result<Vec<Candidate>, Refusal> {
        // The tactic's own order of its recipes stays.
        let offered = self.0.offer(problem, most)?;
        Ok(offered
            .into_iter()
            .map(|candidate| Candidate { estimate: candidate.estimate * 1e-6, ..candidate })
            .collect())
    }

    fn pack(&self, recipe: &Recipe, region: &Region, operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
        self.0.pack(recipe, region, operand, weight)
    }
}

impl BackEnd for Biased {
    fn name(&self) -> &str {
        Cpu.name()
    }

    fn target(&self, threads: usize) -> Target {
        Cpu.target(threads)
    }

    fn tactics(&self) -> Vec<&'static dyn Tactic> {
        let own = |tactic: &'static dyn Tactic| match tactic.name() == self.tactic {
            false => Some(tactic),
            // A few bytes for each comparison, in programs that make few.
            true => self.is_preferred.then(|| &*Box::leak(Box::new(Free(tactic))) as &dyn Tactic),
        };
        Cpu.tactics().into_iter().filter_map(own).collect()
    }

    fn proposers(&self) -> Vec<&'static dyn Proposer> {
        Cpu.proposers()
    }

    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError> {
        Cpu.open(threads)
    }
}

/// Plans of a network with a tactic wherever it can run, and without it.
///
/// # Errors
/// Why there is none, in words.
pub fn plans(network: &Network, tactic: &'static str, threads: usize) -> Result<[Plan; 2], String> {
    let plan = |is_preferred| {
        let options = BuildOptions { threads, verify: Verify::Off, ..BuildOptions::default() };
        let built = build(network, &Biased { tactic, is_preferred }, options);
        built.map(|built| built.plan).map_err(|e| e.to_string())
    };
    let (fused, split) = (plan(true)?, plan(false)?);
    if !fused.tactics().contains(&tactic) || split.tactics().contains(&tactic) {
        return Err(format!("{tactic} does not take a region of the network"));
    }
    Ok([fused, split])
}

/// Does the builder choose the tactic for a network?
///
/// # Errors
/// Why there is no plan, in words.
pub fn is_chosen(network: &Network, tactic: &str, threads: usize) -> Result<bool, String> {
    let options = BuildOptions { threads, verify: Verify::Off, ..BuildOptions::default() };
    let built = build(network, &Cpu, options).map_err(|e| e.to_string())?;
    Ok(built.plan.tactics().contains(&tactic))
}

/// A network around one region, and the tactic that computes it.
pub struct Case {
    /// The region and its sizes.
    pub name: String,
    /// The tactic.
    pub tactic: &'static str,
    /// The network; its only input is called `x`.
    pub network: Network,
    /// Sizes of the input.
    pub sizes: Vec<usize>,
}

/// Numbers between -1 and 1.
///
/// # Panics
/// When the sizes are those of no tensor.
pub fn numbers(sizes: &[usize], seed: usize) -> Tensor {
    let count = sizes.iter().product();
    let number = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0;
    Tensor::from_vec(sizes, (0..count).map(number).collect()).expect("as many numbers as the sizes say")
}

fn network(
    sizes: &[usize],
    body: impl FnOnce(&mut NetworkBuilder, sinter_ir::Handle) -> Vec<sinter_ir::Handle>,
) -> Network {
    let mut builder = NetworkBuilder::new();
    let dims = sizes.iter().map(|&size| size.into()).collect();
    let x = builder.add_network_input("x", ValueType::tensor(DataType::F32, dims), None);
    let results = body(&mut builder, x);
    let named: Vec<_> = results.into_iter().enumerate().map(|(index, id)| (format!("y{index}"), id)).collect();
    builder.finish("region", &named)
}

fn add(builder: &mut NetworkBuilder, op: impl Into<sinter_ops::Op>, inputs: &[sinter_ir::Handle]) -> sinter_ir::Handle {
    let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
    builder.add(op.into(), &inputs, &Location::default()).expect("operands of these types")[0]
}

/// A gate and an up projection.
///
/// # Panics
/// Never with sizes that memory can hold.
pub fn gated(rows: usize, inner: usize, columns: usize) -> Case {
    let sizes = vec![rows, inner];
    let network = network(&sizes, |builder, x| {
        let [gate, up] = [1, 2].map(|seed| {
            let w = builder.add_weight(&format!("w{seed}"), numbers(&[inner, columns], seed));
            add(builder, MatMul::default(), &[x, w])
        });
        let [g, u] = [0, 1].map(|index| Expr::input(index, DataType::F32));
        let program = Expr::into_pointwise(&[&(&g * &g.unary(ScalarOp::Sigmoid)) * &u]).expect("a program");
        vec![add(builder, program, &[gate, up])]
    });
    let name = format!("gate and up {rows}x{inner}x{columns}");
    Case { name, tactic: "cpu.matmul.gated.f32", network, sizes }
}

/// Layer normalization in front of products.
///
/// # Panics
/// Never with sizes that memory can hold.
pub fn normalized(rows: usize, inner: usize, columns: &[usize]) -> Case {
    let sizes = vec![rows, inner];
    let network = network(&sizes, |builder, x| {
        let y = add(builder, Normalize::deviation(vec![-1], 1e-5), &[x]);
        let [scale, shift] = [1, 2].map(|seed| builder.add_weight(&format!("s{seed}"), numbers(&[inner], seed)));
        let [v, w, b] = [0, 1, 2].map(|index| Expr::input(index, DataType::F32));
        let scaled = Expr::into_pointwise(&[&(&v * &w) + &b]).expect("a program");
        let y = add(builder, scaled, &[y, scale, shift]);
        let product = |(index, &columns): (usize, &usize)| {
            let w = builder.add_weight(&format!("w{index}"), numbers(&[inner, columns], index));
            add(builder, MatMul::default(), &[y, w])
        };
        columns.iter().enumerate().map(product).collect()
    });
    let name = format!("norm and {} products {rows}x{inner}x{}", columns.len(), columns[0]);
    Case { name, tactic: "cpu.norm.product.f32", network, sizes }
}

/// A convolution with an activation in front of a pool: between convolutions, so that everything has channels last.
///
/// # Panics
/// Never with sizes that memory can hold.
pub fn pooled(side: usize, channels: [usize; 2], (kernel, stride): (usize, usize), window: (usize, usize)) -> Case {
    let sizes = vec![1, channels[0], side, side];
    let network = network(&sizes, |builder, x| {
        let w = builder.add_weight("w", numbers(&[channels[1], channels[0], kernel, kernel], 1));
        let pad = (kernel / 2) as i64;
        let padding = Padding::Explicit { begin: vec![pad; 2], end: vec![pad; 2] };
        let op = Convolution { padding, strides: vec![stride; 2], ..Convolution::plain(2) };
        let y = add(builder, op, &[x, w]);
        let v = Expr::input(0, DataType::F32);
        let relu = Expr::into_pointwise(&[v.binary(ScalarOp::Max, &v.same(0.0))]).expect("a program");
        let y = add(builder, relu, &[y]);
        let pad = (window.0 / 2 * usize::from(window.0 % 2 == 1)) as i64;
        let padding = Padding::Explicit { begin: vec![pad; 2], end: vec![pad; 2] };
        let pool = PoolWindow { strides: vec![window.1; 2], padding, ..PoolWindow::of(&[window.0; 2]) };
        let y = add(builder, Pool { mode: PoolMode::Max, window: Some(pool) }, &[y]);
        let w = builder.add_weight("v", numbers(&[16, channels[1], 1, 1], 2));
        vec![add(builder, Convolution::plain(2), &[y, w])]
    });
    let (from, to) = (channels[0], channels[1]);
    let name = format!("conv {kernel}x{kernel}/{stride} {from}>{to} at {side}, pool {0}x{0}/{1}", window.0, window.1);
    Case { name, tactic: "cpu.conv.pooled.f32", network, sizes }
}

/// The regions that `docs/performance/cpu.md` compares with their split form.
///
/// # Panics
/// Never: the sizes are fixed.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [(1, 768, 2048), (16, 768, 2048), (128, 768, 2048), (512, 768, 2048), (64, 256, 688)]
        .map(|(rows, inner, columns)| gated(rows, inner, columns))
        .into();
    let norms: [(usize, usize, &[usize]); 7] = [
        (1, 768, &[3072]),
        (16, 768, &[3072]),
        (128, 768, &[3072]),
        (197, 192, &[192, 192, 192]),
        (784, 192, &[768]),
        (3136, 96, &[384]),
        (50176, 96, &[96]),
    ];
    cases.extend(norms.map(|(rows, inner, columns)| normalized(rows, inner, columns)));
    cases.extend([
        pooled(224, [3, 64], (7, 2), (3, 2)),
        pooled(224, [3, 64], (3, 2), (3, 2)),
        pooled(112, [64, 64], (3, 1), (2, 2)),
        pooled(56, [128, 128], (3, 1), (2, 2)),
        pooled(28, [16, 32], (5, 1), (2, 2)),
        pooled(55, [32, 256], (1, 1), (3, 2)),
        pooled(320, [32, 64], (3, 1), (2, 2)),
    ]);
    cases
}
