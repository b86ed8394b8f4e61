//! Operations on integer columns; results are wrapped into their type by the caller.

use sinter_base::DataType;
use sinter_ops::pointwise::ScalarOp;

/// `y = op(a, b)`; false for what is no integer operation. Always inlined, as for floats.
#[inline(always)]
pub fn function(op: ScalarOp, compute: DataType, y: &mut [i64], a: &[i64], b: &[i64]) -> bool {
    macro_rules! binary {
        ($x:ident, $z:ident => $e:expr) => {
            y.iter_mut().zip(a).zip(b).for_each(|((y, &$x), &$z)| *y = $e)
        };
    }
    let unsigned = compute == DataType::U64;
    match op {
        ScalarOp::Neg => binary!(x, _z => x.wrapping_neg()),
        ScalarOp::Abs if unsigned => binary!(x, _z => x),
        ScalarOp::Abs => binary!(x, _z => x.wrapping_abs()),
        ScalarOp::Sign if unsigned => binary!(x, _z => i64::from(x != 0)),
        ScalarOp::Sign => binary!(x, _z => x.signum()),
        ScalarOp::Add => binary!(x, z => x.wrapping_add(z)),
        ScalarOp::Sub => binary!(x, z => x.wrapping_sub(z)),
        ScalarOp::Mul => binary!(x, z => x.wrapping_mul(z)),
        ScalarOp::Div if unsigned => binary!(x, z => (x as u64).checked_div(z as u64).unwrap_or(0) as i64),
        ScalarOp::Div => binary!(x, z => if z == 0 { 0 } else { x.wrapping_div(z) }),
        ScalarOp::Mod | ScalarOp::Fmod if unsigned => {
            binary!(x, z => (x as u64).checked_rem(z as u64).unwrap_or(0) as i64)
        }
        ScalarOp::Mod => binary!(x, z => {
            let r = if z == 0 { 0 } else { x.wrapping_rem(z) };
            if r != 0 && (r < 0) != (z < 0) { r + z } else { r }
        }),
        ScalarOp::Fmod => binary!(x, z => if z == 0 { 0 } else { x.wrapping_rem(z) }),
        // Bits beyond the type are dropped, as many as there may be.
        ScalarOp::Pow => binary!(x, z => match u32::try_from(z) {
            Ok(z) => x.wrapping_pow(z),
            Err(_) if unsigned || z >= 0 => x.wrapping_pow(u32::MAX),
            Err(_) => (x as f64).powf(z as f64) as i128 as i64,
        }),
        ScalarOp::Min if unsigned => binary!(x, z => (x as u64).min(z as u64) as i64),
        ScalarOp::Min => binary!(x, z => x.min(z)),
        ScalarOp::Max if unsigned => binary!(x, z => (x as u64).max(z as u64) as i64),
        ScalarOp::Max => binary!(x, z => x.max(z)),
        ScalarOp::BitAnd | ScalarOp::And => binary!(x, z => x & z),
        ScalarOp::BitOr | ScalarOp::Or => binary!(x, z => x | z),
        ScalarOp::BitXor | ScalarOp::Xor => binary!(x, z => x ^ z),
        ScalarOp::ShiftLeft => binary!(x, z => if (0..64).contains(&z) { x << z } else { 0 }),
        ScalarOp::ShiftRight if unsigned => {
            binary!(x, z => if (0..64).contains(&z) { ((x as u64) >> z) as i64 } else { 0 })
        }
        ScalarOp::ShiftRight => binary!(x, z => x >> z.clamp(0, 63)),
        ScalarOp::Equal => binary!(x, z => i64::from(x == z)),
        ScalarOp::Less if unsigned => binary!(x, z => i64::from((x as u64) < z as u64)),
        ScalarOp::Less => binary!(x, z => i64::from(x < z)),
        ScalarOp::LessOrEqual if unsigned => binary!(x, z => i64::from(x as u64 <= z as u64)),
        ScalarOp::LessOrEqual => binary!(x, z => i64::from(x <= z)),
        _ => return false,
    }
    true
}
