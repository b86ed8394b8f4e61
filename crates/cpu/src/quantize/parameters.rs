//! Scales and zero points of a launch, applied along spans.

use sinter_backend::KernelError;
use sinter_base::quantization::Granularity;

use crate::elements::{Elements, floats};
use crate::launch::{Launch, ScratchBuffer};
use crate::number::Number;
use crate::quantize::spans::{Span, Spans};

/// Operands 1 and 2 of a launch: scales and zero points of operand 0.
pub struct Parameters<'a, T: Number> {
    scales: Elements<'a, T>,
    zeros: ScratchBuffer<'a, T>,
    spans: Spans,
}

impl<'a, T: Number> Parameters<'a, T> {
    /// The parameters of a launch; zero points that are left out are zeros.
    ///
    /// # Errors
    /// When scales or zero points are not as many as the granularity asks for.
    pub fn of(launch: &Launch<'a, '_>, granularity: Granularity) -> Result<Self, KernelError> {
        let (x, scales, scratch) = (launch.input(0)?, launch.input(1)?, launch.scratch);
        let count = scales.count();
        let zeros = launch.optional(2).map_or_else(|| scratch.filled(count, 0.0), |view| floats(view, scratch));
        if zeros.len() != count {
            return Err(KernelError::Data(format!("{} zero points for {count} scales", zeros.len())));
        }
        Ok(Self {
            scales: T::elements(scales, scratch),
            zeros: scratch.list(zeros.iter().map(|&zero| T::of(zero))),
            spans: Spans::new(granularity, x.sizes(), count)?,
        })
    }

    /// `y = each(x, scale, zero)` for elements `first..` of the result.
    #[inline]
    pub fn apply<X: Copy, Y>(&self, x: &[X], first: usize, y: &mut [Y], each: impl Fn(X, T, T) -> Y) {
        let (scales, zeros) = (&*self.scales, &*self.zeros);
        self.spans.for_each(first..first + y.len(), |Span { elements, scale, moving }| {
            let target = &mut y[elements.start - first..elements.end - first];
            let source = &x[elements];
            if moving {
                let parameters = scales[scale..].iter().zip(&zeros[scale..]);
                for ((y, &v), (&s, &z)) in target.iter_mut().zip(source).zip(parameters) {
                    *y = each(v, s, z);
                }
            } else {
                let (s, z) = (scales[scale], zeros[scale]);
                target.iter_mut().zip(source).for_each(|(y, &v)| *y = each(v, s, z));
            }
        });
    }
}
