//! Bindings: the inputs and outputs of inferences. They keep their memory between inferences.
//!
//! The caller hands over the value of an input ([`Bindings::set`]) or writes it into memory of the bindings
//! ([`Bindings::input`]). Outputs lie in memory of the bindings until the next run. Kernels write outputs there, except for
//! outputs that share memory with other values. A run with the sizes of the run before allocates nothing.
//!
//! [`Bindings::feed_back`] feeds state that a network carries from run to run, such as a cache of keys and values, back to
//! an input:
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let engine = sinter_runtime::Engine::open("decoder.plan".as_ref(), &[], 1)?;
//! # let (nothing_yet, tokens) = (sinter_base::Tensor::of_i64(&[]), [1i64, 2]);
//! let mut context = engine.context();
//! let mut bindings = context.bindings();
//! bindings.set("cache", nothing_yet.into())?;
//! bindings.feed_back("new_cache", "cache")?;
//! for token in tokens {
//!     bindings.input("token", &[1])?.elements::<i64>()[0] = token;
//!     context.run_into(&mut bindings)?;
//! }
//! # Ok(())
//! # }
//! ```

use sinter_base::{DataType, Dim, HostBlock, HostMemory, TensorType, Value, ValueType, View, ViewMut};
use sinter_plan::{Plan, Port};

use crate::error::RuntimeError;
use crate::host_value::{HostTensor, HostValue, allocated};

/// See the module documentation.
#[derive(Default)]
pub struct Bindings {
    input_ports: Vec<BoundPort>,
    output_ports: Vec<BoundPort>,
    pub(crate) inputs: Vec<Option<HostValue>>,
    pub(crate) outputs: Vec<Option<HostValue>>,
    feedback: Vec<FeedBack>,
    /// Did the last run make the outputs?
    is_made: bool,
}

/// The name and the type of a port.
struct BoundPort {
    name: String,
    ty: Option<ValueType>,
}

/// An output that is an input of the next run.
struct FeedBack {
    output: usize,
    input: usize,
    /// Did a run make the output, and has the caller not set the input since?
    is_due: bool,
}

impl Bindings {
    /// Bindings with nothing bound.
    pub(crate) fn new(plan: &Plan) -> Self {
        let ty = |port: &Port| plan.graph.values.get(port.value.index()).map(|value| value.ty.clone());
        let bound = |port: &Port| BoundPort { name: port.name.clone(), ty: ty(port) };
        Self {
            input_ports: plan.inputs.iter().map(bound).collect(),
            output_ports: plan.outputs.iter().map(bound).collect(),
            inputs: plan.inputs.iter().map(|_| None).collect(),
            outputs: plan.outputs.iter().map(|_| None).collect(),
            feedback: Vec::new(),
            is_made: false,
        }
    }

    fn position(&self, name: &str) -> Result<usize, RuntimeError> {
        let unknown = |known| RuntimeError::UnknownInput { name: name.to_owned(), known };
        position(&self.input_ports, name).ok_or_else(|| unknown(names(&self.input_ports)))
    }

    /// Makes an output the input of the next run. The two swap their memory, so that nothing is copied or allocated. The caller
    /// can read the output until then. An input that the caller sets between runs takes precedence for that run, which resets
    /// the state. The caller must set the input for the first run, unless the network has a default for it.
    ///
    /// One output feeds one input: a later call replaces an earlier one for the same output or input.
    ///
    /// # Errors
    /// When there is no such output or input, or the input is of another type. The next run checks dynamic dimensions.
    pub fn feed_back(&mut self, output: &str, input: &str) -> Result<(), RuntimeError> {
        let to = self.position(input)?;
        let unknown = |known| RuntimeError::UnknownOutput { name: output.to_owned(), known };
        let from = position(&self.output_ports, output).ok_or_else(|| unknown(names(&self.output_ports)))?;
        let ty = |ports: &[BoundPort], at: usize| ports.get(at).and_then(|port| port.ty.clone());
        match (ty(&self.output_ports, from), ty(&self.input_ports, to)) {
            (Some(found), Some(expected)) if !may_be(&found, &expected) => {
                let (output, input) = (output.to_owned(), input.to_owned());
                let (found, expected) = (type_text(&found), type_text(&expected));
                return Err(RuntimeError::FeedBack { output, input, found, expected });
            }
            _ => {}
        }
        self.feedback.retain(|known| known.output != from && known.input != to);
        self.feedback.push(FeedBack { output: from, input: to, is_due: false });
        Ok(())
    }

    /// Moves outputs to the inputs that they feed.
    pub(crate) fn take_feedback(&mut self) {
        for FeedBack { output, input, is_due } in &mut self.feedback {
            if let (Some(output), Some(input), true) =
                (self.outputs.get_mut(*output), self.inputs.get_mut(*input), std::mem::take(is_due))
            {
                std::mem::swap(output, input);
            }
        }
    }

    /// Records whether a run made all outputs, or none that can be used.
    pub(crate) fn has_run(&mut self, is_made: bool) {
        self.is_made = is_made;
        self.feedback.iter_mut().filter(|_| is_made).for_each(|feedback| feedback.is_due = true);
    }

    /// Records that the caller set the input: no output feeds it until the next run.
    fn keep_input(&mut self, input: usize) {
        self.feedback.iter_mut().filter(|known| known.input == input).for_each(|known| known.is_due = false);
    }

    /// Hands over the value of an input.
    ///
    /// # Errors
    /// When there is no input of this name.
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), RuntimeError> {
        let position = self.position(name)?;
        self.keep_input(position);
        if let Some(slot) = self.inputs.get_mut(position) {
            *slot = Some(HostValue::new(value));
        }
        Ok(())
    }

    /// Memory for an input of these sizes, which the caller writes before the next run. It has the contents of the run before
    /// where the sizes are the same, else unspecified ones.
    ///
    /// # Errors
    /// When there is no input of this name, or the sizes are too large.
    pub fn input(&mut self, name: &str, sizes: &[usize]) -> Result<ViewMut<'_>, RuntimeError> {
        let position = self.position(name)?;
        self.keep_input(position);
        let data_type = self.input_ports.get(position).and_then(|port| port.ty.as_ref()).map(ValueType::data_type);
        let (Some(slot), Some(data_type)) = (self.inputs.get_mut(position), data_type) else {
            return Err(RuntimeError::Damaged(format!("input '{name}' has no place")));
        };
        let tensor = allocated(slot, data_type, sizes).map_err(|error| error.at_port(name))?;
        tensor.view_mut().ok_or_else(|| RuntimeError::Damaged(format!("input '{name}' has no memory")))
    }

    /// Reads an input from the caller's memory in every run, without a copy where the device works in the memory of the host.
    /// [`Bindings::take_input`] gives the memory back.
    ///
    /// # Errors
    /// When there is no input of this name, or the memory is too small or not aligned for the elements.
    pub fn bind_input(&mut self, name: &str, sizes: &[usize], memory: Box<dyn HostMemory>) -> Result<(), RuntimeError> {
        let position = self.position(name)?;
        let bound = lent(self.input_ports.get(position), sizes, memory)?;
        self.keep_input(position);
        if let Some(slot) = self.inputs.get_mut(position) {
            *slot = Some(bound);
        }
        Ok(())
    }

    /// Writes an output to the caller's memory in every run. Kernels write there where the device works in the memory of the
    /// host and no other value shares the memory; else the runtime copies the output there. [`Bindings::take_output`] gives the
    /// memory back.
    ///
    /// # Errors
    /// When there is no output of this name, or the memory is not aligned for the elements. The run that makes the output
    /// checks whether the memory is large enough.
    pub fn bind_output(&mut self, name: &str, memory: Box<dyn HostMemory>) -> Result<(), RuntimeError> {
        let unknown = |known| RuntimeError::UnknownOutput { name: name.to_owned(), known };
        let position = position(&self.output_ports, name).ok_or_else(|| unknown(names(&self.output_ports)))?;
        let bound = lent(self.output_ports.get(position), &[0], memory)?;
        if let Some(slot) = self.outputs.get_mut(position) {
            *slot = Some(bound);
        }
        Ok(())
    }

    /// Gives back the memory that an input was bound to; `None` when it was bound to none.
    pub fn take_input(&mut self, name: &str) -> Option<Box<dyn HostMemory>> {
        take_lent(self.inputs.get_mut(position(&self.input_ports, name)?)?)
    }

    /// Gives back the memory that an output was bound to; `None` when it was bound to none.
    pub fn take_output(&mut self, name: &str) -> Option<Box<dyn HostMemory>> {
        take_lent(self.outputs.get_mut(position(&self.output_ports, name)?)?)
    }

    /// An output of the last run, when it is a tensor of numbers.
    pub fn output(&self, name: &str) -> Option<View<'_>> {
        self.outputs.get(position(&self.output_ports, name)?).filter(|_| self.is_made)?.as_ref()?.tensor()?.view()
    }

    /// All outputs of the last run, copied.
    ///
    /// # Errors
    /// When there was no run before.
    pub fn to_values(&self) -> Result<Vec<Value>, RuntimeError> {
        let missing = || RuntimeError::Damaged("there are no outputs before a run".to_owned());
        let made =
            |output: &Option<HostValue>| output.as_ref().filter(|_| self.is_made).ok_or_else(missing)?.to_value();
        self.outputs.iter().map(made).collect()
    }
}

fn position(ports: &[BoundPort], name: &str) -> Option<usize> {
    ports.iter().position(|port| port.name == name)
}

fn names(ports: &[BoundPort]) -> String {
    ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Can a value of one type be of the other as well? Contents and dynamic dimensions are not known yet.
fn may_be(found: &ValueType, expected: &ValueType) -> bool {
    let (Some(from), Some(to)) = (found.as_tensor(), expected.as_tensor()) else { return found == expected };
    let (Ok(left), Ok(right)) = (from.dims(), to.dims()) else { return from.data_type == to.data_type };
    let may_equal = |(a, b): (&Dim, &Dim)| !matches!((a.as_constant(), b.as_constant()), (Some(a), Some(b)) if a != b);
    from.data_type == to.data_type && left.len() == right.len() && left.iter().zip(right).all(may_equal)
}

/// A type without the known contents of small tensors.
fn type_text(ty: &ValueType) -> String {
    match ty.as_tensor() {
        Some(tensor) => TensorType::new(tensor.data_type, tensor.shape.clone()).to_string(),
        None => ty.to_string(),
    }
}

/// Memory of the caller as the value of a port.
fn lent(port: Option<&BoundPort>, sizes: &[usize], memory: Box<dyn HostMemory>) -> Result<HostValue, RuntimeError> {
    let name = || port.map(|port| port.name.clone()).unwrap_or_default();
    let tensor = port.and_then(|port| port.ty.as_ref()).and_then(ValueType::as_tensor);
    let data_type = tensor.map(|ty| ty.data_type).filter(|ty| *ty != DataType::String);
    let data_type = data_type.ok_or_else(|| RuntimeError::Damaged(format!("'{}' is no tensor of numbers", name())))?;
    let found = memory.bytes().len();
    let bound = HostTensor::in_memory(data_type, sizes, HostBlock::Lent(memory));
    let misfit = |needed| RuntimeError::LentMemory { name: name(), ty: format!("{data_type}{sizes:?}"), needed, found };
    bound.map(HostValue::Tensor).map_err(misfit)
}

fn take_lent(slot: &mut Option<HostValue>) -> Option<Box<dyn HostMemory>> {
    let tensor = slot.take_if(|value| value.tensor().is_some_and(HostTensor::is_lent))?;
    match tensor {
        HostValue::Tensor(mut tensor) => match tensor.take_memory() {
            HostBlock::Lent(memory) => Some(memory),
            HostBlock::Shared(_) | HostBlock::Owned(_) => None,
        },
        HostValue::Value(_) => None,
    }
}
