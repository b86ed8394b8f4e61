//! Normalized rows with an epilogue: agreement with the reference on odd sizes, and their speed.

use sinter_backend::Region;
use sinter_base::DataType;
use sinter_ops::norm::Normalize;
use sinter_ops::norm::normalize::Measure;
use sinter_ops::pointwise::Expr;
use sinter_ops::{Body, InferContext};

use crate::device::device;
use crate::products::{agree, offers, ty};

/// The operands of the epilogue.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Behind {
    Nothing,
    /// A scale and a bias for each element of a row, in f32.
    ScaleBias,
    /// The same, and a tensor as large as the result.
    Residual,
    /// A number for each row.
    Rows,
}

/// A normalization over the last `inner` axes with an epilogue.
fn normalization(measure: Measure, data_type: DataType, sizes: &[usize], inner: usize, behind: Behind) -> Region {
    let mut body = Body::new();
    let mut cx = InferContext::default();
    let x = body.add_input(ty(data_type, sizes));
    let axes = (1..=i64::try_from(inner).expect("few axes")).map(|axis| -axis).collect();
    let op = Normalize { measure, ..Normalize::deviation(axes, 1e-5) };
    let mut y = body.add(op.into(), &[Some(x)], &mut cx).expect("a normalization")[0];
    let own = |at: usize| Expr::input(at, DataType::F32);
    let x = Expr::input(0, data_type).cast(DataType::F32);
    let last = sizes[sizes.len() - inner..].to_vec();
    let rows: Vec<usize> =
        (0..sizes.len()).map(|axis| if axis + inner < sizes.len() { sizes[axis] } else { 1 }).collect();
    let (program, beside) = match behind {
        Behind::Nothing => (None, vec![]),
        Behind::ScaleBias => (Some(&(&x * &own(1)) + &own(2)), vec![last.clone(), last]),
        Behind::Residual => (Some(&(&(&x * &own(1)) + &own(2)) + &own(3)), vec![last.clone(), last, sizes.to_vec()]),
        Behind::Rows => (Some(&x * &own(1)), vec![rows]),
    };
    if let Some(program) = program {
        let op = Expr::into_pointwise(&[program.cast(data_type)]).expect("a program");
        let beside = beside.iter().map(|sizes| Some(body.add_input(ty(DataType::F32, sizes)))).collect::<Vec<_>>();
        let inputs: Vec<_> = [Some(y)].into_iter().chain(beside).collect();
        y = body.add(op.into(), &inputs, &mut cx).expect("an epilogue")[0];
    }
    body.set_outputs(vec![y]);
    Region::new(body)
}

/// Rows of a warp, of blocks of all sizes, and longer ones; tails, single elements, no rows, several axes, many rows.
const SIZES: &[(&[usize], usize)] = &[
    (&[3, 64], 1),
    (&[2, 5, 768], 1),
    (&[7, 1], 1),
    (&[5, 13], 1),
    (&[4, 1021], 1),
    (&[3, 8192], 1),
    (&[2, 8193], 1),
    (&[2, 20_000], 1),
    (&[6000, 96], 1),
    (&[5000, 515], 1),
    (&[0, 16], 1),
    (&[2, 3, 4, 5, 6], 2),
    (&[3, 7, 32, 32], 3),
];

#[test]
fn normalized_rows_agree_with_the_reference() {
    let Some(device) = device() else { return };
    let mut regions = Vec::new();
    for (index, (sizes, inner)) in SIZES.iter().enumerate() {
        for (number, behind) in
            [Behind::Nothing, Behind::ScaleBias, Behind::Residual, Behind::Rows].into_iter().enumerate()
        {
            let data_type = [DataType::F32, DataType::F16, DataType::Bf16][(index + number) % 3];
            let measure = if (index + number) % 2 == 0 { Measure::Deviation } else { Measure::RootMeanSquare };
            regions.push(normalization(measure, data_type, sizes, *inner, behind));
        }
    }
    agree(&*device, &regions);
}

/// Normalized rows with a scale, a bias and a residual run as one region.
#[test]
fn a_normalization_with_an_epilogue_has_a_kernel() {
    let target = sinter_cuda::target::Chip::named("sm_90a").expect("a known target").typical();
    for behind in [Behind::ScaleBias, Behind::Residual, Behind::Rows] {
        let region = normalization(Measure::Deviation, DataType::F16, &[4, 128, 768], 1, behind);
        let offers = offers(&region, &target, 4);
        let names: Vec<&str> = offers.iter().map(|(tactic, _)| tactic.name()).collect();
        assert_eq!(names, ["cuda.norm.rows"], "{behind:?}");
        if crate::compile::has_compiler() {
            let (tactic, candidate) = &offers[0];
            tactic.compile(&candidate.recipe, &region, &target).expect("machine code");
        }
    }
}
