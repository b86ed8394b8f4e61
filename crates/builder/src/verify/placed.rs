//! Runs a kernel in memory as the plan places it: operands and results in rows of larger buffers, and results in place
//! of operands.
//!
//! The numbers between rows belong to other values: the kernel must not change them.

use sinter_backend::{
    Argument, Arguments, Candidate, Device, End, Input, KernelError, KernelId, Memory, Output, StrideSupport,
};
use sinter_base::view::element_bytes;
use sinter_base::{Buffer, DataType, MemoryRef, Rows, Sizes, Tensor, Value, ValueType, View};
use sinter_plan::{Graph, PlanValueId, Step, Storage};

use crate::harness::{bytes_of, data, placed};

/// The poison between rows, and in results before the kernel runs.
const POISON: u8 = 0x5A;
/// Elements between rows.
const SPACING: usize = 3;

/// The plan's use of memory in a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// By operand: is it an alias in a larger buffer?
    operands: Vec<bool>,
    results: Vec<bool>,
    in_place: Vec<(usize, usize)>,
}

/// Memory of one operand or result on the host, before and after a launch.
struct Image {
    data_type: DataType,
    sizes: Sizes,
    rows: Rows,
    memory: Buffer,
}

impl Placement {
    /// The placement of a kernel's step; `None` where all operands and results have buffers of their own.
    pub(crate) fn of(graph: &Graph, step: &Step) -> Option<Self> {
        let in_place = step.in_place();
        let is_alias = |id: &PlanValueId| {
            graph.values.get(id.index()).is_some_and(|value| matches!(value.storage, Storage::Alias(_)))
        };
        let operands: Vec<bool> = step.inputs.iter().map(|id| id.as_ref().is_some_and(is_alias)).collect();
        let results: Vec<bool> = step.outputs.iter().map(is_alias).collect();
        let any = !in_place.is_empty() || operands.contains(&true) || results.contains(&true);
        any.then(|| Self { operands, results, in_place: in_place.to_vec() })
    }

    /// Launches a kernel once, on operands by their index in the region; `None` where results have dynamic sizes.
    ///
    /// # Errors
    /// The kernel's own errors, and numbers between rows that it changed.
    pub(crate) fn launch(
        &self,
        device: &dyn Device,
        kernel: KernelId,
        candidate: &Candidate,
        results: &[ValueType],
        operands: &[Option<Tensor>],
        workspace: usize,
    ) -> Result<Option<Vec<Value>>, KernelError> {
        let is = |list: &[bool], at: usize| list.get(at) == Some(&true);
        let mut images = Vec::new();
        for (at, ty) in results.iter().enumerate() {
            let Some(ty) = ty.as_tensor() else { return Ok(None) };
            let Some(sizes) = ty.shape.sizes() else { return Ok(None) };
            let rows = rows(&sizes, candidate.stride_support(End::Result(at)), is(&self.results, at));
            images.push(Image::new(ty.data_type, sizes, rows)?);
        }
        let mut queue = device.queue()?;
        let mut arguments = Arguments::default();
        for (at, tensor) in operands.iter().enumerate() {
            let Some(tensor) = tensor else {
                arguments.inputs.push(Input::Absent);
                continue;
            };
            let pair = self.in_place.iter().find(|(operand, _)| *operand == at).map(|(_, result)| *result);
            if let Some((result, image)) = pair.and_then(|result| Some((result, images.get_mut(result)?))) {
                if !image.is_like(tensor) {
                    return Ok(None);
                }
                image.fill(tensor);
                arguments.inputs.push(Input::InPlace(result));
                continue;
            }
            let rows = rows(tensor.sizes(), candidate.stride_support(End::Operand(at)), is(&self.operands, at));
            let mut image = Image::new(tensor.data_type(), tensor.sizes().into(), rows)?;
            image.fill(tensor);
            arguments.inputs.push(Input::Memory(image.placed(&mut *queue)?));
        }
        for image in &images {
            arguments.outputs.push(Output::Memory(image.placed(&mut *queue)?));
        }
        let range = MemoryRef { block: queue.allocate(workspace)?, offset: 0, bytes: workspace };
        arguments.workspace = Some(range).filter(|range| range.bytes > 0);
        queue.launch(kernel, &arguments, (0, 0))?;
        queue.finish()?;
        let mut values = Vec::new();
        for (image, output) in images.iter_mut().zip(&arguments.outputs) {
            if let Output::Memory(argument) = output {
                image.memory = bytes_of(&mut *queue, argument)?;
            }
            values.push(image.value()?);
        }
        Ok(Some(values))
    }
}

/// Rows of the last axis, spaced where the kernel supports such; where it supports any rows, of the
/// last two axes.
fn rows(sizes: &[usize], support: StrideSupport, apart: bool) -> Rows {
    let count: usize = sizes.iter().product();
    let last = |axes: usize| sizes[sizes.len().saturating_sub(axes)..].iter().product::<usize>();
    let inner = match support {
        StrideSupport::Always if apart && sizes.len() > 2 => last(2),
        StrideSupport::Always | StrideSupport::LastAxis if apart && !sizes.is_empty() => last(1),
        _ => count,
    };
    let inner = inner.max(1);
    Rows { inner, step: if inner < count { inner + SPACING } else { inner } }
}

impl Image {
    fn new(data_type: DataType, sizes: Sizes, rows: Rows) -> Result<Self, KernelError> {
        let span = rows.span(sizes.iter().product()).ok_or_else(|| data(&"rows that do not fit"))?;
        let mut memory = Buffer::new(span * element_bytes(data_type));
        memory.bytes_mut().fill(POISON);
        Ok(Self { data_type, sizes, rows, memory })
    }

    fn is_like(&self, tensor: &Tensor) -> bool {
        tensor.data_type() == self.data_type && tensor.count() == self.sizes.iter().product::<usize>()
    }

    /// Byte ranges of the rows, in the memory and in contiguous elements.
    fn each_row(&self, mut visit: impl FnMut(std::ops::Range<usize>, std::ops::Range<usize>)) {
        let width = element_bytes(self.data_type);
        let count: usize = self.sizes.iter().product();
        let length = self.rows.inner * width;
        for row in 0..count / self.rows.inner {
            let at = row * self.rows.step * width;
            visit(at..at + length, row * length..(row + 1) * length);
        }
    }

    fn fill(&mut self, tensor: &Tensor) {
        let source = Buffer::of(tensor);
        let mut rows = Vec::new();
        self.each_row(|own, other| rows.push((own, other)));
        for (own, other) in rows {
            self.memory.bytes_mut()[own].copy_from_slice(&source.bytes()[other]);
        }
    }

    /// The same bytes in the memory of a queue.
    fn placed(&self, queue: &mut dyn Memory) -> Result<Argument, KernelError> {
        let count: usize = self.sizes.iter().product();
        let rows = Some(self.rows).filter(|rows| !rows.is_contiguous(count));
        placed(queue, (self.data_type, self.sizes.clone(), rows), self.memory.bytes())
    }

    fn value(&self) -> Result<Value, KernelError> {
        let (mut packed, mut end) = (Vec::new(), 0);
        let mut is_kept = true;
        self.each_row(|own, _| {
            is_kept &= self.memory.bytes()[end..own.start].iter().all(|byte| *byte == POISON);
            end = own.end;
            packed.extend_from_slice(&self.memory.bytes()[own]);
        });
        if !is_kept {
            return Err(KernelError::Data("it writes between the rows of its result".to_owned()));
        }
        let mut memory = Buffer::new(packed.len());
        memory.bytes_mut().copy_from_slice(&packed);
        let view = View::new(self.data_type, &self.sizes, memory.bytes()).map_err(|e| data(&e))?;
        view.to_tensor().map(Value::Tensor).map_err(|e| data(&e))
    }
}

#[cfg(test)]
mod tests {
    use sinter_backend::{self as backend, Numerics, Problem, Recipe, Refusal, Region, Sizing, Tactic, Target};
    use sinter_cpu::launch::{HostTactic, Kernel, Launch, Loaded, Threads, open};
    use sinter_ops::OpKind;
    use sinter_ops::pointwise::Expr;

    use super::*;

    /// y = x + 1 by rows; a careless one writes between rows too.
    struct Next {
        is_careful: bool,
    }

    impl Kernel for Next {
        fn stride_support(&self, _: End) -> StrideSupport {
            StrideSupport::LastAxis
        }

        fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
            let columns = launch.output(0).sizes()[1];
            let from = launch.optional(0).map(|view| (view.span::<f32>(), view.step_of(columns).unwrap_or(columns)));
            let y = launch.outputs[0].view();
            let step = if self.is_careful { y.step_of(columns).unwrap_or(columns) } else { columns };
            for (number, row) in y.span::<f32>().chunks_mut(step).enumerate() {
                for (at, y) in row.iter_mut().take(columns).enumerate() {
                    *y = 1.0 + from.map_or(*y, |(x, step)| x.get(number * step + at).copied().unwrap_or(0.0));
                }
            }
            Ok(())
        }
    }

    impl Tactic for Next {
        fn name(&self) -> &str {
            if self.is_careful { "test.careful" } else { "test.careless" }
        }

        fn roots(&self) -> &[OpKind] {
            &[]
        }

        fn offer(&self, _: &Problem<'_>, _: usize) -> Result<Vec<Candidate>, Refusal> {
            let mut candidate = Candidate::plain(self, Numerics::Ordered, 0.0);
            let ends = [End::Operand(0), End::Result(0)];
            candidate.strided = ends.map(|end| (end, StrideSupport::LastAxis)).to_vec();
            Ok(vec![candidate])
        }
    }

    impl HostTactic for Next {
        fn load(&self, _: &Recipe, _: &Region) -> Result<Loaded, KernelError> {
            Ok(Loaded::Kernel(Box::new(Self { is_careful: self.is_careful })))
        }
    }

    const TACTICS: [Next; 2] = [Next { is_careful: true }, Next { is_careful: false }];

    #[test]
    fn rows_and_operands_in_place() {
        let x = Tensor::from_vec(&[3, 2], (0..6).map(|v| v as f32).collect()).unwrap();
        let ty = Value::from(x.clone()).value_type();
        let sum = &Expr::input(0, DataType::F32) + &Expr::input(0, DataType::F32);
        let region =
            Region::single(Expr::into_pointwise(&[sum]).unwrap().into(), &[Some(ty.clone())], vec![ty.clone()]);
        let target = Target::unknown("test", "", 1);
        let tactics = TACTICS.iter().map(|tactic| tactic as &dyn HostTactic).collect();
        let device = open(tactics, target.clone(), Threads::Leased(1));
        let problem = Problem { region: &region, target: &target, sizing: &Sizing::default() };
        let launch = |is_careful: bool, operand, result, in_place| {
            let candidate = TACTICS[usize::from(!is_careful)].offer(&problem, 1).unwrap().remove(0);
            let Ok(backend::Loaded::Kernel(kernel)) = device.load(&candidate.recipe, &region, None) else {
                panic!("a kernel")
            };
            let placement = Placement { operands: vec![operand], results: vec![result], in_place };
            let (results, operands) = ([ty.clone()], [Some(x.clone())]);
            let found = placement.launch(&*device, kernel, &candidate, &results, &operands, 0)?;
            Ok::<_, KernelError>(found.unwrap()[0].as_tensor().unwrap().to_floats())
        };
        let expected = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        for (operand, result) in [(false, false), (true, false), (false, true), (true, true)] {
            assert_eq!(launch(true, operand, result, vec![]), Ok(expected.clone()), "{operand} {result}");
        }
        assert_eq!(launch(true, false, false, vec![(0, 0)]), Ok(expected.clone()));
        assert_eq!(launch(false, true, false, vec![]), Ok(expected));
        assert!(launch(false, false, true, vec![]).unwrap_err().to_string().contains("between the rows"));
    }
}
