//! The devices of a plan: that of its target and that of its island, with the kernels that were compiled and loaded for
//! both.

use sinter_backend::{BackEnd, KernelError, Kernels, Tactic};
use sinter_plan::{Graph, Place, Step};

/// See the module documentation.
pub(crate) struct Devices<'b> {
    pub(crate) main: Kernels<'b>,
    pub(crate) island: Option<Kernels<'b>>,
}

impl<'b> Devices<'b> {
    /// Opens the devices of two back ends, for this many threads.
    ///
    /// # Errors
    /// Errors of the devices.
    pub(crate) fn open(
        main: &'b dyn BackEnd,
        island: Option<&'b dyn BackEnd>,
        threads: usize,
    ) -> Result<Self, KernelError> {
        let open = |back_end: &'b dyn BackEnd| Ok(Kernels::new(back_end, back_end.open(threads)?));
        Ok(Self { main: open(main)?, island: island.map(open).transpose()? })
    }

    /// The kernels of a place.
    pub(crate) fn at(&self, place: Place) -> &Kernels<'b> {
        self.island.as_ref().filter(|_| place == Place::ISLAND).unwrap_or(&self.main)
    }

    /// The kernels of the device that a step runs on.
    pub(crate) fn of(&self, graph: &Graph, step: &Step) -> &Kernels<'b> {
        let mut ends = step.outputs.iter().chain(step.inputs.iter().flatten());
        self.at(ends.next().map_or(Place::MAIN, |id| graph.values[id.index()].place))
    }

    /// All kernels, by place.
    pub(crate) fn all(&self) -> Vec<&Kernels<'b>> {
        [&self.main].into_iter().chain(&self.island).collect()
    }

    /// The tactic of this name.
    pub(crate) fn tactic(&self, name: &str) -> Option<&dyn Tactic> {
        self.all().into_iter().find_map(|kernels| kernels.back_end().tactic(name))
    }
}
