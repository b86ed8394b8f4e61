//! Kernels of operators whose tactics have no parameters: a text, and a function that launches it on tensors of the
//! region's types.

use sinter_backend::{KernelError, Refusal, Region};
use sinter_base::{DataType, Dim};
use smallvec::SmallVec;

use crate::kernel::{Bound, Contraction, Kernel, Launch, Source, Tensor, recipe};
use crate::types::element;

/// The text of a kernel and its functions.
pub(crate) struct Text {
    /// Name of the tactic.
    pub(crate) name: &'static str,
    /// Number of its interface: another one for other parameters.
    pub(crate) interface: u32,
    /// Lines of the generated header; they are also part of the configuration, so that those agree.
    pub(crate) generated: String,
    pub(crate) text: &'static str,
    pub(crate) contraction: Contraction,
    pub(crate) entries: &'static [&'static str],
}

/// See [`Kernel::bounds`].
type Bounds = dyn Fn(&[Option<Tensor<'_>>]) -> Option<SmallVec<[Bound; 4]>> + Send + Sync;

/// See the module documentation.
pub(crate) struct TextKernel<F> {
    text: Text,
    /// The region's types: a launch on others is refused.
    operands: SmallVec<[Option<DataType>; 8]>,
    results: SmallVec<[DataType; 4]>,
    workspace: Dim,
    in_place: &'static [(usize, usize)],
    takes_seed: bool,
    bounds: Option<Box<Bounds>>,
    launch: F,
}

/// Lines that name the element types of a text; refuses strings.
pub(crate) fn typedefs(types: &[(&str, Option<DataType>)]) -> Result<String, Refusal> {
    let line = |(name, data_type): &(&str, Option<DataType>)| {
        let found = data_type.and_then(element);
        found.map(|text| format!("typedef {text} {name};\n")).ok_or_else(|| Refusal::new("takes tensors of numbers"))
    };
    types.iter().map(line).collect()
}

impl<F: Fn(&mut Launch<'_>) -> Result<(), KernelError> + Send + Sync + 'static> TextKernel<F> {
    pub(crate) fn new(region: &Region, text: Text, launch: F) -> Self {
        let body = region.body();
        let operands = (0..region.operand_count()).map(|index| region.input(index).map(|ty| ty.data_type));
        let (operands, results) = (operands.collect(), body.output_types().iter().map(|ty| ty.data_type()).collect());
        Self {
            text,
            operands,
            results,
            workspace: Dim::constant(0),
            in_place: &[],
            takes_seed: false,
            bounds: None,
            launch,
        }
    }

    /// With scratch memory of this many bytes.
    pub(crate) fn with_workspace(self, workspace: Dim) -> Self {
        Self { workspace, ..self }
    }

    /// With (operand, result) pairs that may share memory.
    pub(crate) fn in_place(self, in_place: &'static [(usize, usize)]) -> Self {
        Self { in_place, ..self }
    }

    /// Whose launches depend on the seed of the run.
    pub(crate) fn with_run_seed(self) -> Self {
        Self { takes_seed: true, ..self }
    }

    /// Which determines sizes of results.
    pub(crate) fn with_bounds(
        self,
        bounds: impl Fn(&[Option<Tensor<'_>>]) -> Option<SmallVec<[Bound; 4]>> + Send + Sync + 'static,
    ) -> Self {
        Self { bounds: Some(Box::new(bounds)), ..self }
    }

    pub(crate) fn boxed(self) -> Box<dyn Kernel> {
        Box::new(self)
    }
}

impl<F: Fn(&mut Launch<'_>) -> Result<(), KernelError> + Send + Sync> Kernel for TextKernel<F> {
    fn configuration(&self) -> String {
        let Text { name, interface, generated, .. } = &self.text;
        format!("{name} {interface} {}", generated.trim_end().replace('\n', " "))
    }

    fn source(&self) -> Source {
        let Text { generated, text, contraction, .. } = &self.text;
        Source { generated: generated.clone(), text, contraction: *contraction }
    }

    fn entries(&self) -> &'static [&'static str] {
        self.text.entries
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let operands = launch.inputs.iter().map(|input| input.map(|tensor| tensor.data_type));
        let results = launch.outputs.iter().map(|output| output.data_type);
        if !operands.eq(self.operands.iter().copied()) || !results.eq(self.results.iter().copied()) {
            return Err(recipe(format!("'{}' takes {:?} to {:?}", self.text.name, self.operands, self.results)));
        }
        (self.launch)(launch)
    }

    fn workspace(&self) -> Dim {
        self.workspace.clone()
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        self.in_place
    }

    fn takes_seed(&self) -> bool {
        self.takes_seed
    }

    fn bounds(&self, inputs: &[Option<Tensor<'_>>]) -> Option<SmallVec<[Bound; 4]>> {
        self.bounds.as_ref().and_then(|bounds| bounds(inputs))
    }
}
