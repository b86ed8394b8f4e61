//! The text of a scalar program: one line for each step.

use std::fmt::Write;

use sinter_base::DataType;
use sinter_base::minifloat::ScaleRounding;
use sinter_ops::pointwise::program::Step;
use sinter_ops::pointwise::scalar::Class;
use sinter_ops::pointwise::{Program, Scalar, ScalarOp};

use crate::types::{Kind, element};

/// A function `compute(x0, x1, ..., &y0, ...)` of one element; `None` for programs on strings.
pub fn function(program: &Program, operands: &[DataType]) -> Option<String> {
    let mut text = String::from("inline void compute(");
    for (index, data_type) in operands.iter().enumerate() {
        let _ = write!(text, "{} x{index}, ", element(*data_type)?);
    }
    let results = program.result_types();
    for (index, data_type) in results.iter().enumerate() {
        let comma = if index + 1 == results.len() { "" } else { ", " };
        let _ = write!(text, "{}& y{index}{comma}", element(*data_type)?);
    }
    text.push_str(") {\n");
    for (position, step) in program.steps().iter().enumerate() {
        let kind = Kind::of(step.data_type())?.text();
        let _ = writeln!(text, "    const {kind} v{position} = {};", expression(program, step)?);
    }
    for (index, (result, data_type)) in program.results().iter().zip(&results).enumerate() {
        let value = stored(program, *result, *data_type)?;
        let _ = writeln!(text, "    y{index} = Element<{}>::store({value});", element(*data_type)?);
    }
    text.push_str("}\n");
    Some(text)
}

/// The value of a result. Where storing rounds as the last step does, one of both is enough.
fn stored(program: &Program, result: usize, data_type: DataType) -> Option<String> {
    let last = expression(program, program.steps().get(result)?)?;
    let rounding = format!("Narrow<{}>::round(", element(data_type)?);
    let unrounded = last.strip_prefix(&rounding).and_then(|rest| rest.strip_suffix(')'));
    let rounds = matches!(data_type, DataType::F16 | DataType::Bf16);
    Some(unrounded.filter(|_| rounds).map_or_else(|| format!("v{result}"), str::to_owned))
}

fn expression(program: &Program, step: &Step) -> Option<String> {
    Some(match step {
        Step::Input { index, data_type } => format!("Element<{}>::load(x{index})", element(*data_type)?),
        Step::Constant { data_type, value } => constant(*data_type, *value)?,
        Step::Apply { op, compute, args } => {
            let from = program.steps()[*args.first()?].data_type();
            let values: Vec<String> = args.iter().map(|arg| format!("v{arg}")).collect();
            apply(*op, *compute, from, &values)?
        }
    })
}

/// A constant by its bits, so that nothing is rounded and NaN is one.
fn constant(data_type: DataType, value: Scalar) -> Option<String> {
    Some(match Kind::of(data_type)? {
        Kind::F32 => format!("of_bits({:#010x}u)", (value.float() as f32).to_bits()),
        Kind::F64 => format!("__longlong_as_double({:#018x}ll)", value.float().to_bits()),
        Kind::I64 => format!("i64({:#x}ull)", value.int() as u64),
    })
}

/// Operations on u64 that differ from those on i64.
fn has_unsigned_form(op: ScalarOp) -> bool {
    use ScalarOp::{Abs, Div, Fmod, Less, LessOrEqual, Max, Min, Mod, Pow, ShiftRight, Sign};
    matches!(op, Abs | Div | Fmod | Less | LessOrEqual | Max | Min | Mod | Pow | ShiftRight | Sign)
}

fn apply(op: ScalarOp, compute: DataType, from: DataType, values: &[String]) -> Option<String> {
    if let ScalarOp::Cast(mode) = op {
        let rounding = match mode.scale_rounding {
            ScaleRounding::Up => 0,
            ScaleRounding::Down => 1,
            ScaleRounding::Nearest => 2,
        };
        let (to, from) = (element(compute)?, element(from)?);
        return Some(format!("cast<{to}, {from}>({}, {}, {rounding})", values.first()?, mode.saturate));
    }
    if op.class() == Class::Select {
        let [condition, then, otherwise] = values else { return None };
        return Some(format!("{condition} != 0 ? {then} : {otherwise}"));
    }
    let prefix = match Kind::of(compute)? {
        Kind::F32 | Kind::F64 => "real",
        Kind::I64 if compute == DataType::U64 && has_unsigned_form(op) => "unsigned",
        Kind::I64 => "integer",
    };
    let call = format!("{prefix}_{}({})", op.name(), values.join(", "));
    let result = op.result_type(compute);
    Some(match Kind::of(result)? {
        Kind::F32 if result != DataType::F32 => format!("Narrow<{}>::round({call})", element(result)?),
        Kind::I64 if Kind::of(compute) == Some(Kind::I64) => format!("wrap<{}>({call})", element(result)?),
        _ => call,
    })
}

#[cfg(test)]
mod tests {
    use sinter_ops::pointwise::Expr;

    use super::*;

    #[test]
    fn steps_are_lines_in_their_compute_types() {
        let (x, y) = (Expr::input(0, DataType::F16), Expr::input(1, DataType::U64));
        let sum = &x.binary(ScalarOp::Add, &x) * 2.0;
        let least = y.binary(ScalarOp::Min, &y.binary(ScalarOp::Add, &y));
        let op = Expr::into_pointwise(&[sum, least]).expect("well-typed expressions");
        let text = function(&op.program, &[DataType::F16, DataType::U64]).expect("numbers");
        for part in [
            "inline void compute(f16 x0, u64 x1, f16& y0, u64& y1) {",
            "const float v0 = Element<f16>::load(x0);",
            "Narrow<f16>::round(real_add(v0, v0))",
            "of_bits(0x40000000u)",
            "wrap<u64>(integer_add(",
            "wrap<u64>(unsigned_min(",
            "y0 = Element<f16>::store(real_mul(v1, ",
            "y1 = Element<u64>::store(",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let strings = Expr::input(0, DataType::String);
        let op = Expr::into_pointwise(&[Expr::input(1, DataType::Bool).select(&strings, &strings)]);
        let op = op.expect("well-typed expressions");
        assert_eq!(function(&op.program, &[DataType::String, DataType::Bool]), None);
    }
}
