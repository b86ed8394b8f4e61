//! Decides which values become aliases, and explains why others do not.

use std::collections::BTreeSet;

use sinter_backend::{BackEnd, Candidate, End, KernelKind, Region, StrideSupport, Target};
use sinter_base::view::element_bytes;
use sinter_base::{Dim, ValueType};
use sinter_ops::Op;
use sinter_ops::axes::axis_of;
use sinter_ops::movement::Concat;
use sinter_plan::aliasing::{Rows, SymbolicAlias, product, taken};
use sinter_plan::{Action, Graph, Launch, PlanValueId, Step, Storage};

use crate::assemble::candidates::Candidates;
use crate::choose::select::select;
use crate::choose::tuning_database::TuningDatabase;

/// Bytes below which a concatenation is not worth a step for each operand.
const WORTH_COPIES: i64 = 4096;

/// A concatenation, slice or reshape that moves all or some of its elements in the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Its node in the model.
    pub origin: String,
    /// Its operator.
    pub operator: &'static str,
    /// The reasons, by operand where there are several.
    pub reasons: Vec<String>,
}

/// What the decisions depend on beside the graph: kernels for copies, and the sizes that are known before a run.
pub(crate) struct Known<'a> {
    pub(crate) sizes: &'a BTreeSet<String>,
    pub(crate) back_end: &'a dyn BackEnd,
    pub(crate) target: &'a Target,
    pub(crate) database: &'a TuningDatabase,
}

/// A concatenation's operand that a concatenation of one operand copies to its place.
pub(crate) struct Copied {
    pub(crate) step: usize,
    pub(crate) operand: usize,
    pub(crate) from: PlanValueId,
    pub(crate) place: SymbolicAlias,
    pub(crate) region: Region,
    pub(crate) candidate: Candidate,
}

/// The decisions so far.
pub(crate) struct Placing<'a> {
    known: &'a Known<'a>,
    pub(super) graph: &'a Graph,
    /// By step, all kernels that it may launch; empty where a step needs contiguous values or runs bodies.
    kernels: Vec<Vec<&'a Candidate>>,
    /// By value: the step that makes it, and the index of the result.
    pub(super) makers: Vec<Option<(usize, usize)>>,
    /// By value: the steps that read it, and the index of the operand.
    pub(super) readers: Vec<Vec<(usize, usize)>>,
    /// By value.
    pub(crate) places: Vec<Option<SymbolicAlias>>,
    /// By step: are its operands or results aliases, so that it has no work?
    pub(crate) has_no_work: Vec<bool>,
    pub(crate) copied: Vec<Copied>,
    pub(crate) moved: Vec<Moved>,
}

impl<'a> Placing<'a> {
    /// Decides all steps of a graph.
    pub(crate) fn of(graph: &'a Graph, candidates: &'a Candidates, known: &'a Known<'a>) -> Self {
        let mut placing = Self::new(graph, candidates, known);
        for step in (0..graph.steps.len()).rev() {
            match only(&graph.steps[step]) {
                Some(Op::Concat(op)) => placing.concat(step, op),
                _ if placing.is_copying_reshape(step) => placing.reshape_into_result(step),
                _ => {}
            }
        }
        for step in 0..graph.steps.len() {
            let done = match only(&graph.steps[step]) {
                Some(Op::Slice(_)) => {
                    placing.has_no_work[step] = true;
                    let done = placing.slice(step);
                    placing.has_no_work[step] = done.is_ok();
                    done
                }
                _ if placing.is_copying_reshape(step) => placing.reshape(step),
                _ => Ok(()),
            };
            if let Err(reason) = done {
                placing.note(step, vec![reason]);
            }
        }
        placing
    }

    fn new(graph: &'a Graph, candidates: &'a Candidates, known: &'a Known<'a>) -> Self {
        let kernel = |step: &Step| {
            let variants = step.launch().into_iter().flat_map(Launch::variants);
            let region = step.region();
            let known = variants.filter_map(|variant| candidates.get(region?, &variant.recipe));
            known.filter(|candidate| candidate.kind == KernelKind::Device).collect()
        };
        let mut makers = vec![None; graph.values.len()];
        let mut readers = vec![Vec::new(); graph.values.len()];
        for (position, step) in graph.steps.iter().enumerate() {
            step.outputs.iter().enumerate().for_each(|(result, id)| makers[id.index()] = Some((position, result)));
            let inputs = step.inputs.iter().enumerate().filter_map(|(operand, id)| Some((operand, (*id)?)));
            inputs.for_each(|(operand, id)| readers[id.index()].push((position, operand)));
        }
        Self {
            known,
            graph,
            kernels: graph.steps.iter().map(kernel).collect(),
            makers,
            readers,
            places: vec![None; graph.values.len()],
            has_no_work: vec![false; graph.steps.len()],
            copied: Vec::new(),
            moved: Vec::new(),
        }
    }

    fn note(&mut self, step: usize, reasons: Vec<String>) {
        let step = &self.graph.steps[step];
        let origin = step.origins.first().cloned().unwrap_or_default();
        let operator = only(step).map_or("", |op| op.name());
        self.moved.push(Moved { origin, operator, reasons });
    }

    fn dims(&self, id: PlanValueId) -> &'a [Dim] {
        let graph: &'a Graph = self.graph;
        graph.values[id.index()].ty.as_tensor().and_then(|ty| ty.dims().ok()).unwrap_or_default()
    }

    pub(super) fn count(&self, id: PlanValueId) -> Dim {
        product(self.dims(id))
    }

    /// The value that owns the memory of this one.
    fn base(&self, id: PlanValueId) -> PlanValueId {
        self.places[id.index()].as_ref().map_or(id, |place| place.base)
    }

    pub(super) fn is_in_arena(&self, id: PlanValueId) -> bool {
        matches!(self.graph.values[id.index()].storage, Storage::Arena(_))
    }

    /// An alias of a value, which may be an alias itself.
    fn alias(&self, of: PlanValueId, rows: &Rows, count: &Dim) -> Option<SymbolicAlias> {
        match &self.places[of.index()] {
            None => Some(SymbolicAlias { base: of, rows: rows.clone() }),
            Some(place) => place.alias(&self.count(of), rows, count),
        }
    }

    /// Does a kernel support a value with this place?
    fn admits(kernel: &Candidate, end: End, dims: &[Dim], rows: &Rows) -> bool {
        match kernel.stride_support(end) {
            StrideSupport::Always => true,
            StrideSupport::LastAxis => dims.last() == Some(&rows.inner),
            StrideSupport::Contiguous => false,
        }
    }

    /// Can every step that reads this value read it at this place?
    pub(super) fn readers_admit(&self, id: PlanValueId, place: &SymbolicAlias) -> Result<(), String> {
        if place.rows.is_contiguous(&self.count(id)) {
            return Ok(());
        }
        for &(step, operand) in &self.readers[id.index()] {
            if !self.step_admits(step, operand, id, place) {
                return Err(format!("{} cannot read such rows", self.name(step)));
            }
        }
        let admits = |copied: &Copied| Self::admits(&copied.candidate, End::Operand(0), self.dims(id), &place.rows);
        if self.copied.iter().any(|copied| copied.from == id && !admits(copied)) {
            return Err("the kernel that copies it cannot read such rows".to_owned());
        }
        Ok(())
    }

    /// Can a step read its operand at this place? A step that needs contiguous values gets a copy.
    pub(super) fn step_admits(&self, step: usize, operand: usize, id: PlanValueId, place: &SymbolicAlias) -> bool {
        let admits = |kernel: &&Candidate| Self::admits(kernel, End::Operand(operand), self.dims(id), &place.rows);
        self.has_no_work[step] || self.kernels[step].iter().all(admits)
    }

    /// Can the kernels of a value's maker write it at this place?
    pub(super) fn maker_admits(&self, id: PlanValueId, place: &SymbolicAlias) -> Result<(), String> {
        let Some((maker, result)) = self.makers[id.index()] else { return Err("no step makes it".to_owned()) };
        let kernels = &self.kernels[maker];
        let admits = |kernel: &&Candidate| Self::admits(kernel, End::Result(result), self.dims(id), &place.rows);
        if place.rows.is_contiguous(&self.count(id)) || !kernels.is_empty() && kernels.iter().all(admits) {
            return Ok(());
        }
        Err(format!("{} cannot write such rows", self.name(maker)))
    }

    fn name(&self, step: usize) -> String {
        let step = &self.graph.steps[step];
        match step.launch() {
            Some(launch) => format!("{} of {}", launch.general.recipe.tactic, step.origins.join(", ")),
            None => step.origins.join(", "),
        }
    }

    /// Would a step write into memory that it reads, or twice into the same memory, if both values had one base buffer?
    pub(super) fn together(&self, a: PlanValueId, b: PlanValueId) -> Result<(), String> {
        let is_there = |id: &PlanValueId| {
            let base = self.base(*id);
            base == a || base == b
        };
        for (position, step) in self.graph.steps.iter().enumerate().filter(|(at, _)| !self.has_no_work[*at]) {
            let written = step.outputs.iter().filter(|id| is_there(id)).count();
            if written > 1 || written == 1 && step.inputs.iter().flatten().any(is_there) {
                return Err(format!("{} would write into memory that it reads", self.name(position)));
            }
        }
        if self.copied.iter().any(|copied| is_there(&copied.from) && is_there(&copied.place.base)) {
            return Err("a copy would write into memory that it reads".to_owned());
        }
        Ok(())
    }

    /// Can a value be written into a buffer at this place, apart from what its maker's kernels support?
    pub(super) fn operand(&self, id: PlanValueId, uses: usize, place: &SymbolicAlias) -> Result<(), String> {
        if let Some(known) = &self.places[id.index()] {
            return if known == place { Ok(()) } else { Err("it is an alias of another value already".to_owned()) };
        }
        if self.graph.outputs.contains(&id) {
            return Err("it is a result of the network".to_owned());
        }
        let (true, Some((maker, _))) = (self.is_in_arena(id), self.makers[id.index()]) else {
            return Err("it is an input, or of dynamic size".to_owned());
        };
        if matches!(self.graph.steps[maker].action, Action::Copy) {
            return Err("a copy from another device writes whole buffers only".to_owned());
        }
        if uses > 1 {
            return Err("it is an operand twice".to_owned());
        }
        self.readers_admit(id, place)?;
        self.together(id, place.base)
    }

    fn concat(&mut self, step: usize, op: &Concat) {
        let ([result], inputs) = (self.graph.steps[step].outputs.as_slice(), &self.graph.steps[step].inputs) else {
            return;
        };
        let result = *result;
        let operands: Option<Vec<PlanValueId>> = inputs.iter().copied().collect();
        let (Some(operands), Ok(axis)) = (operands, axis_of(op.axis, self.dims(result).len())) else { return };
        if !self.is_in_arena(result) || !self.has_known_sizes(result) {
            return self.note(step, vec!["the sizes are dynamic".to_owned()]);
        }
        self.has_no_work[step] = true;
        if self.side_by_side(result, axis, &operands) {
            return;
        }
        let mut reasons = Vec::new();
        let mut aliases = Vec::new();
        let mut others = Vec::new();
        let mut start = Dim::constant(0);
        for (index, id) in operands.iter().enumerate() {
            let dims = self.dims(*id);
            let rows = Rows::along(axis, &start, dims, self.dims(result));
            start = start.add(&dims[axis]);
            let Some(place) = self.alias(result, &rows, &product(dims)) else {
                reasons.push("its rows would be cut".to_owned());
                break;
            };
            let uses = operands.iter().filter(|other| *other == id).count();
            match self.write_in_place(*id, uses, &place) {
                Ok(()) => aliases.push(*id),
                Err(reason) => {
                    reasons.push(format!("operand {index}: {reason}"));
                    others.push((index, *id, place));
                }
            }
        }
        let copies = if aliases.is_empty() || aliases.len() + others.len() < operands.len() {
            None
        } else {
            self.copies_of(step, result, op, others)
        };
        match copies {
            Some(copies) => self.copied.extend(copies),
            None => {
                self.has_no_work[step] = false;
                aliases.iter().for_each(|id| self.write_elsewhere(*id));
            }
        }
        if !reasons.is_empty() {
            self.note(step, reasons);
        }
    }

    /// The place of a concatenation whose operands are contiguous already, in the rows of a longer one.
    fn side_by_side(&mut self, result: PlanValueId, axis: usize, operands: &[PlanValueId]) -> bool {
        if self.places[result.index()].is_some() || self.graph.outputs.contains(&result) {
            return false;
        }
        let places: Option<Vec<&SymbolicAlias>> = operands.iter().map(|id| self.places[id.index()].as_ref()).collect();
        let Some(places) = places.filter(|places| !places.is_empty()) else { return false };
        let first = places[0];
        let mut end = first.rows.offset.clone();
        for (place, id) in places.iter().zip(operands) {
            let is_next = place.base == first.base
                && place.rows.step == first.rows.step
                && place.rows.offset == end
                && place.rows.inner == product(&self.dims(*id)[axis..]);
            if !is_next {
                return false;
            }
            end = end.add(&place.rows.inner);
        }
        let (offset, step) = (first.rows.offset.clone(), first.rows.step.clone());
        let place = SymbolicAlias { base: first.base, rows: Rows { inner: end.sub(&offset), offset, step } };
        if self.readers_admit(result, &place).is_err() || self.together(result, place.base).is_err() {
            return false;
        }
        self.places[result.index()] = Some(place);
        true
    }

    /// The copies of operands that cannot be aliases; `None` where the concatenation better stays as it is.
    fn copies_of(
        &self,
        step: usize,
        result: PlanValueId,
        op: &Concat,
        others: Vec<(usize, PlanValueId, SymbolicAlias)>,
    ) -> Option<Vec<Copied>> {
        let count = self.known.database.sizes().evaluate(&self.count(result)).unwrap_or(i64::MAX);
        let width = i64::try_from(element_bytes(self.graph.values[result.index()].ty.data_type())).unwrap_or(1);
        if !others.is_empty() && count.saturating_mul(width) < WORTH_COPIES {
            return None;
        }
        let mut copies = Vec::new();
        for (operand, from, place) in others {
            // The concatenation depends on known contents, which a copy does not promise.
            let has_contents = self.graph.values[from.index()].ty.as_tensor().is_some_and(|ty| ty.value.is_some());
            let is_on_island = self.graph.values[from.index()].place != sinter_plan::Place::MAIN;
            if self.base(from) == place.base || has_contents || is_on_island {
                return None;
            }
            let ty = ValueType::tensor(self.graph.values[from.index()].ty.data_type(), self.dims(from).to_vec());
            let region = Region::single(op.clone().into(), &[Some(ty.clone())], vec![ty]);
            let Known { back_end, target, database, .. } = *self.known;
            let candidate = select(&region, back_end, target, database).ok()?;
            if candidate.kind != KernelKind::Device {
                return None;
            }
            let takes = |end: End, rows: &Rows| {
                rows.is_contiguous(&self.count(from)) || Self::admits(&candidate, end, self.dims(from), rows)
            };
            let reads = self.places[from.index()].as_ref().is_none_or(|own| takes(End::Operand(0), &own.rows));
            if !reads || !takes(End::Result(0), &place.rows) {
                return None;
            }
            copies.push(Copied { step, operand, from, place, region, candidate });
        }
        Some(copies)
    }

    /// Are the sizes of a value known before a run?
    pub(super) fn has_known_sizes(&self, id: PlanValueId) -> bool {
        let mut is_known = true;
        let mut see = |name: &str| is_known &= self.known.sizes.contains(name);
        self.dims(id).iter().for_each(|dim| dim.visit_symbols(&mut see));
        is_known
    }

    /// Makes a slice an alias of its operand.
    fn slice(&mut self, step: usize) -> Result<(), String> {
        let graph: &'a Graph = self.graph;
        let step = &graph.steps[step];
        let ([result], Some(Some(data))) = (step.outputs.as_slice(), step.inputs.first().copied()) else {
            return Err("it has another number of operands or results".to_owned());
        };
        let storage = &graph.values[data.index()].storage;
        let has_place =
            matches!(storage, Storage::Arena(_)) || *storage == Storage::Input && graph.inputs.contains(&data);
        if !has_place || !self.is_in_arena(*result) || !self.has_known_sizes(*result) || !self.has_known_sizes(data) {
            return Err("the sizes are dynamic".to_owned());
        }
        if self.places[result.index()].is_some() {
            return Err("a step copies it into a concatenation".to_owned());
        }
        if graph.outputs.contains(result) {
            return Err("it is a result of the network".to_owned());
        }
        let region = step.region().ok_or("it is not a slice")?;
        let (axis, start) = taken(region, self.dims(data), self.dims(*result))?;
        let mut is_known = true;
        start.visit_symbols(&mut |name| is_known &= self.known.sizes.contains(name));
        if !is_known {
            return Err("its start is computed".to_owned());
        }
        let rows = Rows::along(axis, &start, self.dims(*result), self.dims(data));
        let place = self.alias(data, &rows, &self.count(*result)).ok_or("its rows would be cut")?;
        self.read_in_place(*result, place)
    }
}

pub(super) fn only(step: &Step) -> Option<&Op> {
    step.region()?.only().map(|node| &node.op)
}
