//! Bindings: the inputs and outputs of inferences, in memory that is kept between them.
//!
//! An input is a value handed over ([`Bindings::set`]) or memory to write into ([`Bindings::input`]). Outputs lie in
//! memory of the bindings until the next run. Running again with the same sizes allocates nothing.

use sinter_backend::DynamicTarget;
use sinter_base::{Value, View, ViewMut};
use sinter_plan::{Plan, Port};

use crate::error::RuntimeError;
use crate::memory::Held;

/// See the module documentation.
#[derive(Default)]
pub struct Bindings {
    names: Vec<String>,
    types: Vec<sinter_base::DataType>,
    output_names: Vec<String>,
    pub(crate) inputs: Vec<Option<Held>>,
    pub(crate) outputs: Vec<Option<Held>>,
}

impl Bindings {
    /// Nothing bound yet.
    pub(crate) fn new(plan: &Plan) -> Self {
        let names = |ports: &[Port]| ports.iter().map(|port| port.name.clone()).collect();
        let data_type = |port: &Port| plan.graph.values.get(port.value.index()).map(|v| v.ty.data_type());
        Self {
            names: names(&plan.inputs),
            types: plan.inputs.iter().filter_map(data_type).collect(),
            output_names: names(&plan.outputs),
            inputs: plan.inputs.iter().map(|_| None).collect(),
            outputs: plan.outputs.iter().map(|_| None).collect(),
        }
    }

    fn position(&self, name: &str) -> Result<usize, RuntimeError> {
        self.names
            .iter()
            .position(|known| known == name)
            .ok_or_else(|| RuntimeError::UnknownInput { name: name.to_owned(), known: self.names.join(", ") })
    }

    /// Hands over an input.
    ///
    /// # Errors
    /// When there is no input of this name.
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), RuntimeError> {
        let position = self.position(name)?;
        if let Some(slot) = self.inputs.get_mut(position) {
            *slot = Some(Held::new(value));
        }
        Ok(())
    }

    /// Memory for an input of these sizes, to be written before the next run. Its contents are those of the run before
    /// where the sizes are the same, else unspecified.
    ///
    /// # Errors
    /// When there is no input of this name, or the sizes are too large.
    pub fn input(&mut self, name: &str, sizes: &[usize]) -> Result<ViewMut<'_>, RuntimeError> {
        let position = self.position(name)?;
        let data_type = self.types.get(position).copied();
        let (Some(slot), Some(data_type)) = (self.inputs.get_mut(position), data_type) else {
            return Err(RuntimeError::Damaged(format!("input '{name}' has no place")));
        };
        allocated(slot, data_type, sizes).map_err(|source| RuntimeError::Step { origin: name.to_owned(), source })
    }

    /// An output of the last run, when it is a tensor of numbers.
    pub fn output(&self, name: &str) -> Option<View<'_>> {
        let position = self.output_names.iter().position(|known| known == name)?;
        self.outputs.get(position)?.as_ref()?.view()
    }

    /// All outputs of the last run, copied.
    ///
    /// # Errors
    /// When nothing ran before.
    pub fn to_values(&self) -> Result<Vec<Value>, RuntimeError> {
        let missing = || RuntimeError::Damaged("there are no outputs before a run".to_owned());
        self.outputs.iter().map(|held| held.as_ref().ok_or_else(missing)?.to_value()).collect()
    }
}

/// Memory of a slot for a tensor of these sizes; what it has is used again.
pub(crate) fn allocated<'a>(
    slot: &'a mut Option<Held>,
    data_type: sinter_base::DataType,
    sizes: &[usize],
) -> Result<ViewMut<'a>, sinter_backend::KernelError> {
    match slot {
        Some(Held::Made(target)) if target.data_type == data_type => {}
        _ => *slot = Some(Held::Made(DynamicTarget::new(data_type))),
    }
    match slot {
        Some(Held::Made(target)) => target.allocate(sizes),
        _ => Err(sinter_backend::KernelError::Data("there is no memory".to_owned())),
    }
}
