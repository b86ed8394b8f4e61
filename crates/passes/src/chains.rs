//! Chains of reshapes and transposes, each as one reshape, one transpose and one reshape.
//!
//! The axes of the first value are split until every axis of every later value is a run of whole pieces, the *atoms*. A
//! transpose permutes atoms and a reshape only groups them, so a chain is the order in which its result lists them. The
//! sizes of axes decide how they are split, as `[L, 12 N, 64]` splits 768 behind `[L, N, 768]`; a chain begins behind a
//! reshape whose sizes do not decide it.

use std::collections::VecDeque;
use std::ops::Range;

use sinter_base::Dim;
use sinter_ir::{Graph, Patch};
use sinter_ops::movement::Transpose;
use sinter_ops::{Op, ValueId};

use crate::pass::Miss;
use crate::reshapes::{is_reshape, reshaped};

/// Limit on the operators of a chain.
const LONGEST: usize = 16;
/// Limit on the atoms of a chain.
const MOST_ATOMS: usize = 16;

fn is_one(dim: &Dim) -> bool {
    dim.as_constant() == Some(1)
}

fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Dim {
    dims.into_iter().fold(Dim::constant(1), |all, dim| all.mul(dim))
}

/// The pieces of the first value's axes; their ids stay while others are split off.
struct Atoms {
    sizes: Vec<Dim>,
    /// Ids in the order of the first value.
    order: Vec<usize>,
}

impl Atoms {
    /// Cuts an atom behind `first`; returns the id of the rest.
    fn split(&mut self, atom: usize, first: &Dim) -> Option<usize> {
        let rest = self.sizes[atom].exact_div(first)?;
        let id = self.sizes.len();
        let at = self.order.iter().position(|known| *known == atom)?;
        self.order.insert(at + 1, id);
        self.sizes[atom] = first.clone();
        self.sizes.push(rest);
        (id < MOST_ATOMS).then_some(id)
    }

    /// These atoms as axes of these sizes.
    fn grouped(&mut self, atoms: impl IntoIterator<Item = usize>, dims: &[Dim]) -> Option<Vec<Vec<usize>>> {
        let mut rest: VecDeque<usize> = atoms.into_iter().collect();
        let mut axes = Vec::with_capacity(dims.len());
        for dim in dims {
            let (mut axis, mut left) = (Vec::new(), dim.clone());
            while !is_one(&left) {
                let atom = rest.pop_front()?;
                axis.push(atom);
                left = match left.exact_div(&self.sizes[atom]) {
                    Some(left) => left,
                    None => {
                        rest.push_front(self.split(atom, &left)?);
                        Dim::constant(1)
                    }
                };
            }
            axes.push(axis);
        }
        rest.is_empty().then_some(axes)
    }
}

/// See the module documentation.
pub(crate) struct Chain {
    /// The value at its beginning.
    pub(crate) root: ValueId,
    /// Its operators.
    pub(crate) nodes: Vec<usize>,
    /// Number of transposes among them.
    pub(crate) transposes: usize,
    /// Sizes of the atoms, in the order of the root.
    atoms: Vec<Dim>,
    /// The atoms of each axis of the result.
    axes: Vec<Vec<usize>>,
    /// Sizes of the result.
    dims: Vec<Dim>,
}

impl Chain {
    /// The longest chain that makes this value; `None` where another operator does.
    pub(crate) fn of(graph: &Graph<'_>, value: ValueId) -> Option<Self> {
        let mut values = vec![value];
        let mut at = value;
        while values.len() <= LONGEST
            && let Some((node, _)) = graph.producer(at)
            && (is_reshape(&node.op) || matches!(node.op, Op::Transpose(Transpose { permutation: Some(_) })))
            && let Some(&Some(input)) = node.inputs.first()
        {
            values.push(input);
            at = input;
        }
        (1..values.len()).rev().find_map(|last| Self::through(graph, &values[..=last]))
    }

    /// The chain through these values, from its result to its root.
    fn through(graph: &Graph<'_>, values: &[ValueId]) -> Option<Self> {
        let dims = |id: ValueId| graph.tensor(id).and_then(|ty| ty.dims().ok());
        let (&result, &root) = (values.first()?, values.last()?);
        if values.iter().any(|id| dims(*id).is_none_or(|dims| dims.contains(&Dim::constant(0)))) {
            return None;
        }
        let sizes: Vec<Dim> = dims(root)?.iter().filter(|dim| !is_one(dim)).cloned().collect();
        if sizes.len() > MOST_ATOMS {
            return None;
        }
        let mut atoms = Atoms { order: (0..sizes.len()).collect(), sizes };
        let mut axes = atoms.grouped(0..atoms.sizes.len(), dims(root)?)?;
        let (mut nodes, mut transposes) = (Vec::new(), 0);
        for id in values.iter().rev().skip(1) {
            let position = graph.producer_position(*id)?;
            nodes.push(position);
            match &graph.node(position).op {
                Op::Transpose(Transpose { permutation: Some(permutation) }) => {
                    transposes += 1;
                    axes = permutation.iter().map(|axis| axes.get(*axis).cloned()).collect::<Option<_>>()?;
                }
                _ => axes = atoms.grouped(axes.into_iter().flatten(), dims(*id)?)?,
            }
        }
        let place = |atom: &usize| atoms.order.iter().position(|known| known == atom);
        let axes = axes.iter().map(|axis| axis.iter().map(place).collect::<Option<_>>()).collect::<Option<_>>()?;
        let sizes = atoms.order.iter().map(|atom| atoms.sizes[*atom].clone()).collect();
        Some(Self { root, nodes, transposes, atoms: sizes, axes, dims: dims(result)?.to_vec() })
    }

    /// Does the result list axes in the order of the root, if its axes are taken in this order?
    pub(crate) fn is_in_order(&self, axes: impl IntoIterator<Item = usize>) -> bool {
        let atoms = axes.into_iter().filter_map(|axis| self.axes.get(axis)).flatten().copied();
        atoms.eq(0..self.atoms.len())
    }

    /// By axis of the result: the runs of atoms that lie side by side in the root too.
    fn runs(&self) -> Vec<Vec<Range<usize>>> {
        let runs = |axis: &Vec<usize>| {
            let mut runs: Vec<Range<usize>> = Vec::new();
            for &atom in axis {
                match runs.last_mut() {
                    Some(last) if last.end == atom => last.end += 1,
                    _ => runs.push(atom..atom + 1),
                }
            }
            runs
        };
        self.axes.iter().map(runs).collect()
    }

    /// The result, made from the root by at most one transpose.
    pub(crate) fn rebuilt(&self, patch: &mut Patch<'_>) -> Result<ValueId, Miss> {
        if self.is_in_order(0..self.axes.len()) {
            return reshaped(patch, self.root, &self.dims);
        }
        let runs = self.runs();
        // Axes of size 1 need no place where a reshape follows.
        let is_whole = runs.iter().all(|axis| axis.len() < 2);
        let fine: Vec<Option<Range<usize>>> = match is_whole {
            true => runs.into_iter().map(|axis| axis.into_iter().next()).collect(),
            false => runs.into_iter().flatten().map(Some).collect(),
        };
        let mut sorted: Vec<&Range<usize>> = fine.iter().flatten().collect();
        sorted.sort_by_key(|run| run.start);
        let mut sorted = sorted.into_iter();
        let source: Vec<Option<&Range<usize>>> =
            fine.iter().map(|run| run.as_ref().and_then(|_| sorted.next())).collect();
        let from = |(slot, run): (usize, &Option<Range<usize>>)| match run {
            Some(run) => source.iter().position(|other| *other == Some(run)).unwrap_or(slot),
            None => slot,
        };
        let permutation = fine.iter().enumerate().map(from).collect();
        let size = |run: &Option<&Range<usize>>| product(run.iter().flat_map(|run| &self.atoms[(*run).clone()]));
        let sizes: Vec<Dim> = source.iter().map(size).collect();
        let x = reshaped(patch, self.root, &sizes)?;
        let y = patch.add_one(Transpose { permutation: Some(permutation) }, &[x])?;
        reshaped(patch, y, &self.dims)
    }
}
