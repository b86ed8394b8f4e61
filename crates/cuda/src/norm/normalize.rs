//! `cuda.norm.groups`: layer, instance, group, batch and root mean square normalization, and division by a norm: a pass for
//! the mean, one for the measure, and one that writes.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::axes::axis_of;
use sinter_ops::norm::Normalize;
use sinter_ops::norm::normalize::Measure;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, Source};
use crate::only_operator;
use crate::reduce::groups::{ENTRIES, Groups, axes_of};
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::types::element;

/// See the module documentation.
pub const NORMALIZE: Row = Row {
    name: "cuda.norm.groups",
    roots: &[OpKind::Normalize],
    numerics: Numerics::Reassociated,
    speed: Speed { bandwidth: 0.3, arithmetic: 0.2, launches: 1.0 },
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Normalize);
    refuse_unknown_sizes(region)?;
    match region.input(0).map(|ty| ty.data_type) {
        Some(data_type) if data_type.is_float() => Ok(Box::new(NormalizeKernel { op: op.clone(), data_type })),
        _ => Err(Refusal::new("takes floats")),
    }
}

struct NormalizeKernel {
    op: Normalize,
    data_type: DataType,
}

impl Kernel for NormalizeKernel {
    fn configuration(&self) -> String {
        let measure = match self.op.measure {
            Measure::Deviation => "deviation",
            Measure::RootMeanSquare => "root_mean_square",
            Measure::Norm { .. } => "norm",
        };
        let statistics = self.op.statistics.map_or("none", DataType::name);
        format!("cuda.norm.groups 1 {measure} {statistics} {}", self.data_type)
    }

    fn source(&self) -> Source {
        let measure = match self.op.measure {
            Measure::Deviation => "DEVIATION",
            Measure::RootMeanSquare => "ROOT_MEAN_SQUARE",
            Measure::Norm { .. } => "NORM",
        };
        let generated = format!(
            "typedef {} T;\ntypedef {} S;\n#define MEASURE {measure}\n",
            element(self.data_type).unwrap_or("void"),
            element(self.op.statistics.unwrap_or(DataType::F32)).unwrap_or("void"),
        );
        Source { generated, text: include_str!("normalize.cu"), contraction: Contraction::On }
    }

    fn entries(&self) -> &'static [&'static str] {
        ENTRIES
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let (x, y) = (launch.input(0)?, launch.output(0)?);
        let rank = x.sizes.len();
        let refused = |error: String| KernelError::Recipe(error);
        let normalized =
            self.op.axes.iter().map(|axis| axis_of(*axis, rank)).collect::<Result<SmallVec<[usize; 8]>, _>>();
        let mut normalized = normalized.map_err(|error| refused(error.to_string()))?;
        let mut sizes: SmallVec<[usize; 8]> = x.sizes.into();
        if let Some(parts) = self.op.groups {
            // Axis 1 is two: the part, and the place in it, which is normalized.
            let channels = sizes.get(1).copied().unwrap_or(0);
            if parts == 0 || !channels.is_multiple_of(parts) || normalized.contains(&1) {
                return Err(refused(format!("{channels} channels in {parts} groups")));
            }
            sizes[1] = parts;
            sizes.insert(2, channels / parts);
            normalized.iter_mut().filter(|axis| **axis > 1).for_each(|axis| *axis += 1);
            normalized.push(2);
        }
        let groups = Groups::of(&axes_of(&sizes, |axis| normalized.contains(&axis)));
        let groups = groups.ok_or_else(|| refused("too many axes".to_owned()))?;
        let is_statistic = |tensor: &crate::kernel::Tensor<'_>| {
            Some(tensor.data_type) == self.op.statistics && usize::try_from(groups.groups) == Ok(tensor.count())
        };
        let fits = x.data_type == self.data_type && y.data_type == self.data_type && x.sizes == y.sizes;
        if !fits || !launch.outputs[1..].iter().all(is_statistic) {
            return Err(refused(format!("a normalization of {:?} into {:?}", x.sizes, y.sizes)));
        }
        if groups.groups == 0 {
            return Ok(());
        }
        let order = if let Measure::Norm { order } = self.op.measure { order } else { 2.0 };
        let (entry, geometry) = groups.team(launch);
        let mut parameters: SmallVec<[u64; 48]> = SmallVec::from_slice(&groups.words());
        parameters.extend([x.address, y.address]);
        parameters.extend((1..3).map(|index| launch.outputs.get(index).map_or(0, |tensor| tensor.address)));
        parameters.extend([self.op.epsilon.to_bits(), order.to_bits()]);
        launch.sink.run(entry, geometry, &parameters)
    }
}
