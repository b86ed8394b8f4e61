//! Lowers a region with its chosen kernel to a step that launches it: memory of its results, packed weights, and the kernels
//! for further profiles of sizes.

use sinter_backend::{Candidate, KernelKind, Region};
use sinter_base::Location;
use sinter_plan::{
    Action, BufferId, Graph, Launch, Place, PlanValue, PlanValueId, ShapeCompiler, Slot, Step, Storage, Variant,
    WeightId,
};

use crate::assemble::lowering::{KernelSlots, Lowering, PACKED, Pack, Sizes};
use crate::choose::select::select_at;

/// A region with its chosen kernel, on values of the graph.
pub(crate) struct ChosenRegion {
    pub(crate) region: Region,
    pub(crate) candidate: Candidate,
    pub(crate) inputs: Vec<Option<PlanValueId>>,
    pub(crate) outputs: Vec<PlanValueId>,
    pub(crate) origins: Vec<Location>,
}

impl Lowering<'_> {
    /// Adds the step of a region to a graph.
    pub(crate) fn lower_launch(
        &mut self,
        chosen: ChosenRegion,
        graph: &mut Graph,
        sizes: &mut Sizes,
        shapes: &mut ShapeCompiler,
    ) {
        let ChosenRegion { region, candidate, mut inputs, outputs, origins } = chosen;
        if outputs.iter().any(|id| graph.values[id.index()].place == Place::ISLAND) {
            self.on_island.extend(origins.iter().cloned());
        }
        let is_open = |id: &PlanValueId| match graph.values[id.index()].storage {
            // A `Sync` step has read the sizes of a dynamic value that has some.
            Storage::Dynamic | Storage::Input => sizes.values[id.index()].is_none(),
            Storage::Weight(_) | Storage::Arena(_) | Storage::Alias(_) | Storage::Registers(_) => false,
        };
        let fixed = candidate.kind == KernelKind::Device
            && !inputs.iter().flatten().any(is_open)
            && outputs.iter().all(|id| sizes.values[id.index()].is_some())
            && !outputs.iter().any(|id| graph.outputs.contains(id) && self.is_told(&graph.values[id.index()].ty))
            && self.sizes_are_certain(&region, &origins, shapes);
        for id in &outputs {
            if fixed {
                graph.values[id.index()].storage = Storage::Arena(BufferId::new(0));
            } else {
                sizes.values[id.index()] = None;
            }
        }
        let given = inputs.clone();
        for &operand in &candidate.packed {
            inputs[operand] = inputs[operand].map(|id| self.packed(id, operand, &candidate, &region, graph, sizes));
        }
        // Which operands are constant matters for the choice only.
        let plain = Region::new(region.body().clone());
        let others = if fixed { self.for_profiles(&region, &candidate) } else { Vec::new() };
        let mut in_place = if fixed { candidate.in_place.clone() } else { Vec::new() };
        let (mut special, mut slots) = (Vec::new(), Vec::new());
        for (profile, other) in others {
            let mut replaced = Vec::new();
            for (operand, id) in given.iter().enumerate() {
                let Some(mut id) = *id else { continue };
                if other.packed.contains(&operand) {
                    id = self.packed(id, operand, &other, &region, graph, sizes);
                }
                if inputs[operand] != Some(id) {
                    replaced.push((operand, id));
                }
            }
            let guards = self.database.profiles()[profile].hints.guards();
            let guards = guards.map(|(cut, size, _)| (shapes.dim(&cut), shapes.dim(&size))).collect();
            slots.push(KernelSlots { workspace: self.workspace(&other, shapes), guards });
            in_place.retain(|pair| other.in_place.contains(pair));
            self.candidates.insert(&plain, other.clone());
            special.push(Variant { packed: other.packed, replaced, ..Variant::of(other.recipe) });
        }
        slots.push(KernelSlots { workspace: self.workspace(&candidate, shapes), guards: Vec::new() });
        sizes.kernels.push(slots);
        sizes.bodies.push(Vec::new());
        self.candidates.insert(&plain, candidate.clone());
        let general = Variant { packed: candidate.packed, ..Variant::of(candidate.recipe) };
        let action = Action::Launch(Launch { region: plain, in_place, general, special });
        graph.steps.push(Step { action, inputs, outputs, origins: origins.iter().map(Location::to_string).collect() });
    }

    /// The bytes of scratch memory of a kernel; `None` where they are 0, or known only in a run.
    fn workspace(&self, candidate: &Candidate, shapes: &mut ShapeCompiler) -> Option<Slot> {
        let is_any = candidate.workspace.as_constant() != Some(0);
        (is_any && self.is_known(&candidate.workspace)).then(|| shapes.dim(&candidate.workspace))
    }

    /// The kernels for profiles of sizes after the first one, where they differ from the general kernel.
    fn for_profiles(&self, region: &Region, general: &Candidate) -> Vec<(usize, Candidate)> {
        let mut found: Vec<(usize, Candidate)> = Vec::new();
        for profile in 1..self.database.profiles().len() {
            let best = select_at(region, profile, self.back_end, self.target, self.database);
            let Ok(best) = best else { continue };
            if best.recipe != general.recipe && best.kind == general.kind {
                found.push((profile, best));
            }
        }
        found
    }

    /// The value that holds a weight packed for a candidate; equal packs are shared.
    fn packed(
        &mut self,
        id: PlanValueId,
        operand: usize,
        candidate: &Candidate,
        region: &Region,
        graph: &mut Graph,
        sizes: &mut Sizes,
    ) -> PlanValueId {
        let Storage::Weight(weight) = graph.values[id.index()].storage else { return id };
        let pack = Pack { weight, operand, recipe: candidate.recipe.clone(), region: region.clone() };
        let known = self.packs.iter().position(|known| *known == pack);
        let number = known.unwrap_or_else(|| {
            self.packs.push(pack);
            self.packs.len() - 1
        });
        let storage = Storage::Weight(WeightId::new(PACKED + number));
        if let Some(value) = known.and_then(|_| graph.values.iter().position(|value| value.storage == storage)) {
            return PlanValueId::new(value);
        }
        // Packing determines the type later.
        let PlanValue { ty, place, .. } = graph.values[id.index()].clone();
        graph.values.push(PlanValue { ty, sizes: None, storage, place });
        sizes.values.push(None);
        PlanValueId::new(graph.values.len() - 1)
    }
}
