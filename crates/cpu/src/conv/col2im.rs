//! `cpu.conv.col2im`: columns of image patches added back into an image.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::shape::{element_count, for_each_index};
use sinter_base::{Sizes, View};
use sinter_ops::OpKind;
use sinter_ops::conv::Col2Im;

use crate::conv::scatter::Scatter;
use crate::launch::{Kernel, Launch, Loaded};
use crate::number::{Formula, Inputs, Means, Number, evaluate};
use crate::only_operator;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::target::placed;
use crate::window::{Slide, Slides};

/// See the module documentation.
pub const COL2IM: Row = Row {
    name: "cpu.conv.col2im",
    roots: &[OpKind::Col2Im],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Col2Im);
    Ok(Loaded::Kernel(Box::new(Merge { op: op.clone() })))
}

struct Merge {
    op: Col2Im,
}

/// The entry of a list that stands for `default` everywhere when it is empty.
fn entry<T: Copy>(list: &[T], axis: usize, default: T) -> T {
    list.get(axis).copied().unwrap_or(default)
}

fn sizes_of(view: View<'_>) -> Result<Sizes, KernelError> {
    let values = view.elements::<i64>();
    let sizes: Option<Sizes> = values.iter().map(|&v| usize::try_from(v).ok()).collect();
    sizes.ok_or_else(|| KernelError::Data(format!("sizes {values:?} must not be negative")))
}

impl Merge {
    /// The windows along one axis; their number follows from the sizes.
    fn slide(&self, axis: usize, image: usize, block: usize) -> Result<Slide, KernelError> {
        let (begin, end) = (entry(&self.op.begin, axis, 0), entry(&self.op.end, axis, 0));
        let (stride, dilation) = (entry(&self.op.strides, axis, 1), entry(&self.op.dilations, axis, 1));
        let wide = |v: usize| v as i128;
        let span = wide(dilation) * (wide(block) - 1) + 1;
        let room = wide(image) + i128::from(begin) + i128::from(end) - span;
        if block == 0 || stride == 0 || room < 0 {
            let message = format!("axis {axis}: a block of {block} elements in an image of {image} + {begin} + {end}");
            return Err(KernelError::Data(message));
        }
        let output = usize::try_from(room / wide(stride) + 1).unwrap_or(usize::MAX);
        Ok(Slide { input: image, output, kernel: block, stride, dilation, begin })
    }
}

struct Planes {
    scatter: Scatter,
    taps: usize,
    image: usize,
}

impl Formula for Planes {
    fn compute<T: Number>(&self, inputs: &Inputs<'_, T>, y: &mut [T], means: Means<'_>) -> Result<(), KernelError> {
        let workers = means.workers;
        let columns = inputs.given(0);
        let positions = self.scatter.positions();
        share(workers, y, self.image, Cost::PerElement(self.taps), |first, chunk| {
            for (i, plane) in chunk.chunks_exact_mut(self.image).enumerate() {
                plane.fill(T::default());
                let from = (first + i) * self.taps * positions;
                let mut rows = columns[from..from + self.taps * positions].chunks_exact(positions.max(1));
                for_each_index(self.scatter.kernel(), |tap| {
                    if let Some(row) = rows.next() {
                        self.scatter.add(tap, row, plane);
                    }
                });
            }
        });
        Ok(())
    }
}

impl Kernel for Merge {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let columns = launch.input(0)?;
        let (image, block) = (sizes_of(launch.input(1)?)?, sizes_of(launch.input(2)?)?);
        let &[samples, rows, positions] = columns.sizes() else {
            return Err(KernelError::Data(format!("columns of sizes {:?}", columns.sizes())));
        };
        if image.len() != block.len() {
            return Err(KernelError::Data(format!("an image of sizes {image:?} and blocks of sizes {block:?}")));
        }
        let slides = (0..image.len()).map(|axis| self.slide(axis, image[axis], block[axis]));
        let slides = slides.collect::<Result<Slides, _>>()?;
        let expected = element_count(&slides.iter().map(|s| s.output).collect::<Sizes>());
        let taps = element_count(&block).unwrap_or(usize::MAX).max(1);
        if expected != Some(positions) || rows % taps != 0 {
            let message = format!("{rows} x {positions} columns for an image of {image:?} in blocks of {block:?}");
            return Err(KernelError::Data(message));
        }
        let mut sizes = Sizes::from_slice(&[samples, rows / taps]);
        sizes.extend_from_slice(&image);
        let (workers, scratch) = (launch.workers, launch.scratch);
        let mut y = placed(&mut launch.outputs[0], &sizes)?;
        let planes = Planes { scatter: Scatter::new(slides), taps, image: image.iter().product() };
        evaluate(&planes, &[Some(columns)], &mut y, workers, scratch)
    }
}
