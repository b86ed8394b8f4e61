//! A kernel in memory as the plan places it: operands and results in rows of larger values, and results where operands lie.
//!
//! The numbers between rows belong to other values: the kernel must leave them as they are.

use sinter_backend::{End, Kernel, KernelError, Launch, Operand, Output, Rooms, StrideSupport, Workers};
use sinter_base::view::element_bytes;
use sinter_base::{Buffer, DataType, Rows, Sizes, Tensor, Value, ValueType, View, ViewMut};
use sinter_plan::{Action, Graph, Home, PlanValueId, Step};

/// What lies between rows and in results before the kernel runs.
const POISON: u8 = 0x5A;
/// Elements between rows.
const GAP: usize = 3;

/// What a plan does with the memory of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// By operand: does it lie in a larger value?
    operands: Vec<bool>,
    results: Vec<bool>,
    in_place: Vec<(usize, usize)>,
}

/// Memory of one operand or result.
struct Room {
    data_type: DataType,
    sizes: Sizes,
    rows: Rows,
    memory: Buffer,
}

fn data(error: &dyn std::fmt::Display) -> KernelError {
    KernelError::Data(error.to_string())
}

impl Placement {
    /// That of a kernel's step; `None` where everything has a place of its own.
    pub(crate) fn of(graph: &Graph, step: &Step) -> Option<Self> {
        let Action::Kernel { in_place, .. } = &step.action else { return None };
        let is_part =
            |id: &PlanValueId| graph.values.get(id.index()).is_some_and(|value| matches!(value.home, Home::Part(_)));
        let operands: Vec<bool> = step.inputs.iter().map(|id| id.as_ref().is_some_and(is_part)).collect();
        let results: Vec<bool> = step.outputs.iter().map(is_part).collect();
        let any = !in_place.is_empty() || operands.contains(&true) || results.contains(&true);
        any.then(|| Self { operands, results, in_place: in_place.clone() })
    }

    /// Launches a kernel once, on operands by their number in the region; `None` where results have open sizes.
    ///
    /// # Errors
    /// The kernel's own, and numbers between rows that it changed.
    pub(crate) fn launch(
        &self,
        kernel: &dyn Kernel,
        results: &[ValueType],
        operands: &[Option<Tensor>],
        workspace: usize,
        workers: &dyn Workers,
    ) -> Result<Option<Vec<Value>>, KernelError> {
        let is = |list: &[bool], at: usize| list.get(at) == Some(&true);
        let mut rooms = Vec::new();
        for (at, ty) in results.iter().enumerate() {
            let Some(ty) = ty.as_tensor() else { return Ok(None) };
            let Some(sizes) = ty.shape.sizes() else { return Ok(None) };
            let rows = rows(&sizes, kernel.stride_support(End::Result(at)), is(&self.results, at));
            rooms.push(Room::new(ty.data_type, sizes, rows)?);
        }
        let mut given = Vec::new();
        for (at, tensor) in operands.iter().enumerate() {
            let Some(tensor) = tensor else {
                given.push(Given::Absent);
                continue;
            };
            let pair = self.in_place.iter().find(|(operand, _)| *operand == at).map(|(_, result)| *result);
            if let Some(room) = pair.and_then(|result| rooms.get_mut(result)) {
                if !room.is_like(tensor) {
                    return Ok(None);
                }
                room.fill(tensor);
                given.push(Given::InPlace(pair.unwrap_or_default()));
                continue;
            }
            let rows = rows(tensor.sizes(), kernel.stride_support(End::Operand(at)), is(&self.operands, at));
            let mut room = Room::new(tensor.data_type(), tensor.sizes().into(), rows)?;
            room.fill(tensor);
            given.push(Given::Room(room));
        }
        let inputs = given.iter().map(Given::operand).collect::<Result<Vec<_>, _>>()?;
        let mut outputs = rooms.iter_mut().map(Room::target).collect::<Result<Vec<_>, _>>()?;
        kernel.launch(&mut Launch {
            workers,
            inputs: &inputs,
            outputs: &mut outputs,
            workspace: Buffer::new(workspace).bytes_mut(),
            rooms: &Rooms::default(),
            seed: (0, 0),
        })?;
        drop(outputs);
        rooms.iter().map(Room::value).collect::<Result<Vec<_>, _>>().map(Some)
    }
}

enum Given {
    Absent,
    InPlace(usize),
    Room(Room),
}

impl Given {
    fn operand(&self) -> Result<Operand<'_>, KernelError> {
        Ok(match self {
            Given::Absent => Operand::Absent,
            Given::InPlace(result) => Operand::InPlace(*result),
            Given::Room(room) => {
                let Room { data_type, sizes, rows, memory } = room;
                Operand::View(View::stepped(*data_type, sizes, memory.bytes(), *rows).map_err(|e| data(&e))?)
            }
        })
    }
}

/// Rows of the last axis, apart where the kernel takes such; where it takes any, of the last two axes.
fn rows(sizes: &[usize], support: StrideSupport, apart: bool) -> Rows {
    let count: usize = sizes.iter().product();
    let last = |axes: usize| sizes[sizes.len().saturating_sub(axes)..].iter().product::<usize>();
    let inner = match support {
        StrideSupport::Always if apart && sizes.len() > 2 => last(2),
        StrideSupport::Always | StrideSupport::LastAxis if apart && !sizes.is_empty() => last(1),
        _ => count,
    };
    let inner = inner.max(1);
    Rows { inner, step: if inner < count { inner + GAP } else { inner } }
}

impl Room {
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

    fn target(&mut self) -> Result<Output<'_>, KernelError> {
        let Self { data_type, sizes, rows, memory } = self;
        ViewMut::stepped(*data_type, sizes, memory.bytes_mut(), *rows).map(Output::View).map_err(|e| data(&e))
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
    use super::*;

    struct Alone;

    impl Workers for Alone {
        fn count(&self) -> usize {
            1
        }

        fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
            (0..tasks).for_each(task);
        }
    }

    /// y = x + 1 by rows; or over all that lies there.
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

    #[test]
    fn rows_and_operands_in_place() {
        let x = Tensor::from_vec(&[3, 2], (0..6).map(|v| v as f32).collect()).unwrap();
        let launch = |is_careful, operand, result, in_place| {
            let placement = Placement { operands: vec![operand], results: vec![result], in_place };
            let results = [Value::from(x.clone()).value_type()];
            let found = placement.launch(&Next { is_careful }, &results, &[Some(x.clone())], 0, &Alone)?;
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
