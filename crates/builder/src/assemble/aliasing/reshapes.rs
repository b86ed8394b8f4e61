//! Reshapes without copies: operand and result are the same rows of the same buffer.
//!
//! A reshape keeps the order of elements, and an alias lists elements in this order, so rows of the operand are rows of
//! the result. Mostly the readers of the result read the operand. Where the result has a place already, in a
//! concatenation, or is a result of the network, which has a buffer of its own, the maker of the operand writes there.

use sinter_base::Dim;
use sinter_ops::Op;
use sinter_plan::aliasing::{Rows, SymbolicAlias};
use sinter_plan::{PlanValueId, Storage};

use crate::assemble::aliasing::placing::{Placing, only};

/// Does the operator only change the shape of its first operand?
pub(crate) fn is_reshape(op: &Op) -> bool {
    matches!(op, Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_))
}

impl Placing<'_> {
    /// Operand and result of a reshape in the arena.
    fn ends(&self, step: usize) -> Result<(PlanValueId, PlanValueId), String> {
        let graph = self.graph;
        let step = graph.steps.get(step).filter(|step| step.launch().is_some() && only(step).is_some_and(is_reshape));
        let ends = step.map(|step| (step.inputs.first().copied().flatten(), step.outputs.as_slice()));
        let Some((Some(operand), &[result])) = ends else { return Err("it is no reshape".to_owned()) };
        let [from, to] = [operand, result].map(|id| &graph.values[id.index()]);
        if from.place != to.place || from.ty.data_type() != to.ty.data_type() {
            return Err("its result is of another type, or on another device".to_owned());
        }
        if !self.is_in_arena(result) || !self.has_known_sizes(operand) || !self.has_known_sizes(result) {
            return Err("the sizes are dynamic".to_owned());
        }
        Ok((operand, result))
    }

    /// Is this step a reshape for which a kernel would still run?
    pub(super) fn is_copying_reshape(&self, step: usize) -> bool {
        let launches = !self.has_no_work[step] && self.graph.steps[step].launch().is_some();
        launches && only(&self.graph.steps[step]).is_some_and(is_reshape)
    }

    /// The place of all elements of a value.
    fn whole(&self, id: PlanValueId) -> SymbolicAlias {
        let own = || {
            let count = self.count(id);
            let rows = Rows { offset: Dim::constant(0), inner: count.clone(), step: count };
            SymbolicAlias { base: id, rows }
        };
        self.places[id.index()].clone().unwrap_or_else(own)
    }

    /// Lets the maker of the operand write a result of the network.
    pub(super) fn reshape_into_result(&mut self, step: usize) {
        let Ok((operand, result)) = self.ends(step) else { return };
        if self.graph.outputs.contains(&result) && self.places[result.index()].is_none() {
            let place = self.whole(result);
            self.has_no_work[step] = true;
            self.has_no_work[step] = self.write_in_place(operand, 1, &place).is_ok();
        }
    }

    /// Makes the result an alias of the operand.
    pub(super) fn reshape(&mut self, step: usize) -> Result<(), String> {
        let (operand, result) = self.ends(step)?;
        let is_input =
            self.graph.values[operand.index()].storage == Storage::Input && self.graph.inputs.contains(&operand);
        if !self.is_in_arena(operand) && !is_input {
            return Err("its operand is a weight, or of dynamic size".to_owned());
        }
        if self.places[result.index()].is_some() {
            return Err("a step copies it into a concatenation".to_owned());
        }
        if self.graph.outputs.contains(&result) {
            return Err("it is a result of the network".to_owned());
        }
        let place = self.whole(operand);
        self.has_no_work[step] = true;
        let done = self.read_in_place(result, place);
        self.has_no_work[step] = done.is_ok();
        done
    }

    /// Makes a value that a slice or a reshape takes out of another one an alias. Reshapes of it that cannot read its rows become
    /// aliases with it.
    pub(super) fn read_in_place(&mut self, id: PlanValueId, place: SymbolicAlias) -> Result<(), String> {
        self.together(id, place.base)?;
        self.places[id.index()] = Some(place.clone());
        let mut reshaped = Vec::new();
        if !place.rows.is_contiguous(&self.count(id)) {
            for (step, operand) in self.readers[id.index()].clone() {
                if self.is_copying_reshape(step)
                    && !self.step_admits(step, operand, id, &place)
                    && self.reshape(step).is_ok()
                {
                    reshaped.push(step);
                }
            }
        }
        let admitted = self.readers_admit(id, &place);
        if admitted.is_err() {
            reshaped.into_iter().for_each(|step| self.copy_again(step));
            self.places[id.index()] = None;
        }
        admitted
    }

    /// Undoes [`Placing::reshape`].
    fn copy_again(&mut self, step: usize) {
        let Ok((_, result)) = self.ends(step) else { return };
        for (reader, _) in self.readers[result.index()].clone() {
            if self.has_no_work[reader] && self.ends(reader).is_ok() {
                self.copy_again(reader);
            }
        }
        self.places[result.index()] = None;
        self.has_no_work[step] = false;
    }

    /// Lets the maker of a value write it at this place, or that of the value whose reshape it is.
    pub(super) fn write_in_place(&mut self, id: PlanValueId, uses: usize, place: &SymbolicAlias) -> Result<(), String> {
        self.operand(id, uses, place)?;
        if self.places[id.index()].is_some() {
            return Ok(());
        }
        self.places[id.index()] = Some(place.clone());
        if let Some((maker, _)) = self.makers[id.index()]
            && let Ok((operand, _)) = self.ends(maker)
        {
            self.has_no_work[maker] = true;
            if self.write_in_place(operand, 1, place).is_ok() {
                return Ok(());
            }
            self.has_no_work[maker] = false;
        }
        let admitted = self.maker_admits(id, place);
        if admitted.is_err() {
            self.places[id.index()] = None;
        }
        admitted
    }

    /// Undoes [`Placing::write_in_place`].
    pub(super) fn write_elsewhere(&mut self, id: PlanValueId) {
        self.places[id.index()] = None;
        if let Some((maker, _)) = self.makers[id.index()]
            && self.has_no_work[maker]
            && let Ok((operand, _)) = self.ends(maker)
        {
            self.has_no_work[maker] = false;
            self.write_elsewhere(operand);
        }
    }
}
