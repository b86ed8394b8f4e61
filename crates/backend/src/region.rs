//! Regions: tactics take them, builds time and verify them, steps launch them.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use sinter_base::{KnownValue, TensorType, ValueType};
use sinter_ops::{Body, InferContext, InferError, Node, Op, OpKind, Operands, ValueId, infer_types};
use smallvec::SmallVec;

/// Longer lists of floats are weights; tactics do not read their contents.
const MAX_TELLING_FLOATS: usize = 8;

/// A body of a few operators whose inputs and outputs are the region's operands and results.
///
/// The inputs of the body number the operands. A region of one operator uses the operator's own input indices, so that
/// an operand keeps its index when another one is left out.
#[derive(Clone, Debug)]
pub struct Region {
    body: Body,
    constants: Vec<usize>,
    key: OnceLock<RegionKey>,
}

/// A hash of what a region computes: of its text and of the contents of operands that kernels depend on, whichever
/// operands are weights. It is equal on every machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionKey([u8; 16]);

impl fmt::Display for RegionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for RegionKey {
    type Err = BadRegionKey;

    fn from_str(text: &str) -> Result<Self, BadRegionKey> {
        let digits = text.as_bytes();
        let mut key = [0; 16];
        if digits.len() != 2 * key.len() || !digits.is_ascii() {
            return Err(BadRegionKey);
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| BadRegionKey)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| BadRegionKey)?;
        }
        Ok(Self(key))
    }
}

/// A text that is not the key of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key of a region has 32 hexadecimal digits")]
pub struct BadRegionKey;

impl fmt::Debug for RegionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The key follows from the body.
impl PartialEq for Region {
    fn eq(&self, other: &Self) -> bool {
        self.body == other.body && self.constants == other.constants
    }
}

impl Region {
    /// The region of a body.
    pub fn new(body: Body) -> Self {
        Self { body: inputs_first(body), constants: Vec::new(), key: OnceLock::new() }
    }

    /// Declares which operands are weights: their contents are known when the plan is made.
    #[must_use]
    pub fn with_constants(mut self, constants: Vec<usize>) -> Self {
        self.constants = constants;
        self
    }

    /// The hash of what it computes; computed once.
    pub fn key(&self) -> RegionKey {
        *self.key.get_or_init(|| {
            let hash = blake3::hash((self.to_string() + &self.contents()).as_bytes());
            RegionKey(std::array::from_fn(|index| hash.as_bytes()[index]))
        })
    }

    /// The known contents of operands as text, a line with a hash for each; the text of the region omits them. Long
    /// lists of floats are left out: tactics do not read their contents, so that layers that differ in their biases
    /// alone are one problem.
    pub fn contents(&self) -> String {
        let mut text = String::new();
        for (position, ty) in self.body.input_types().iter().enumerate() {
            let Some(TensorType { value: Some(value), .. }) = ty.as_tensor() else { continue };
            if matches!(&**value, KnownValue::Floats(values) if values.len() > MAX_TELLING_FLOATS) {
                continue;
            }
            let hash = blake3::hash(format!("{value:?}").as_bytes()).to_hex();
            text.push_str(&format!("contents of {position}: {}\n", &hash[..32]));
        }
        text
    }

    /// The operator kind by which tactics are selected: that of the first operator that does more than elementwise work
    /// or movement, else of the first one. `None` for a region without operators.
    pub fn root(&self) -> Option<OpKind> {
        let is_light = |kind: &OpKind| {
            matches!(
                kind,
                OpKind::Pointwise
                    | OpKind::Transpose
                    | OpKind::Reshape
                    | OpKind::Squeeze
                    | OpKind::Unsqueeze
                    | OpKind::Quantize
                    | OpKind::Dequantize
            )
        };
        let kinds = || self.body.nodes().iter().map(|node| node.op.kind());
        kinds().find(|kind| !is_light(kind)).or_else(|| kinds().next())
    }

    /// Number of operands, including those that a single operator leaves out.
    pub fn operand_count(&self) -> usize {
        self.only().map_or(self.body.inputs().len(), |node| node.inputs.len())
    }

    /// Operands that are weights.
    pub fn constants(&self) -> &[usize] {
        &self.constants
    }

    /// Is this operand a weight?
    pub fn is_constant(&self, operand: usize) -> bool {
        self.constants.contains(&operand)
    }

    /// Index of the operand behind a value of the body.
    pub fn operand(&self, value: ValueId) -> Option<usize> {
        match self.only() {
            Some(node) => node.inputs.iter().position(|input| *input == Some(value)),
            None => self.body.inputs().iter().position(|input| *input == value),
        }
    }

    /// The region of one operator with inputs of these types; `None` for an input that is left out.
    pub fn single(op: Op, inputs: &[Option<ValueType>], outputs: Vec<ValueType>) -> Self {
        let mut body = Body::new();
        let ids: Vec<_> = inputs.iter().map(|ty| ty.as_ref().map(|ty| body.add_input(ty.clone()))).collect();
        let results = body.add_typed(op, &ids, outputs);
        body.set_outputs(results.to_vec());
        Self { body, constants: Vec::new(), key: OnceLock::new() }
    }

    /// The operators.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Operands whose contents determine sizes of the results; inference needs no other contents.
    pub fn size_operands(&self) -> Vec<usize> {
        let of = |node: &Node| {
            let inputs = node.op.size_inputs().iter().filter_map(|&input| node.inputs.get(input).copied().flatten());
            inputs.filter_map(|id| self.operand(id)).collect::<Vec<_>>()
        };
        let mut operands: Vec<usize> = self.body.nodes().iter().flat_map(of).collect();
        operands.sort_unstable();
        operands.dedup();
        operands
    }

    /// Infers the types of the results for operands of these types; conditions that stay undecided become guards of the
    /// context. It evaluates no operator.
    ///
    /// # Errors
    /// When an operator refuses its operands.
    pub fn infer(&self, operands: &[ValueType], cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let body = &self.body;
        let mut types: Vec<Option<ValueType>> = vec![None; body.value_count()];
        for (id, ty) in body.inputs().iter().zip(operands) {
            types[id.index()] = Some(ty.clone());
        }
        for node in body.nodes() {
            let results = {
                let of = |id: &Option<ValueId>| id.and_then(|id| types[id.index()].as_ref());
                let operands: SmallVec<[Option<&ValueType>; 8]> = node.inputs.iter().map(of).collect();
                infer_types(&node.op, &Operands::new(&operands), cx)?
            };
            for (id, ty) in node.outputs.iter().zip(results) {
                types[id.index()] = Some(ty);
            }
        }
        let result = |id: &ValueId| types[id.index()].clone();
        let missing = || InferError::Invalid("a result of the region has no type".to_owned());
        body.outputs().iter().map(|id| result(id).ok_or_else(missing)).collect()
    }

    /// The only operator, when there is one.
    pub fn only(&self) -> Option<&Node> {
        match self.body.nodes() {
            [node] => Some(node),
            _ => None,
        }
    }

    /// The only operator's tensor type at an input position; `None` when left out or no tensor.
    pub fn input(&self, index: usize) -> Option<&TensorType> {
        let id = self.only()?.inputs.get(index).copied().flatten()?;
        self.body.ty(id).as_tensor()
    }

    /// Tensor type of a result.
    pub fn output(&self, index: usize) -> Option<&TensorType> {
        self.body.ty(*self.body.outputs().get(index)?).as_tensor()
    }
}

/// The body with its inputs numbered first, as the reader of a file numbers them: the same region then has the same
/// indices and text, wherever it comes from.
fn inputs_first(old: Body) -> Body {
    if old.inputs().iter().enumerate().all(|(position, id)| id.index() == position) {
        return old;
    }
    let mut body = Body::new();
    let mut ids: Vec<Option<ValueId>> = vec![None; old.value_count()];
    for id in old.inputs() {
        ids[id.index()] = Some(body.add_input(old.ty(*id).clone()));
    }
    for node in old.nodes() {
        let inputs: SmallVec<[Option<ValueId>; 8]> =
            node.inputs.iter().map(|id| id.and_then(|id| ids[id.index()])).collect();
        let types = node.outputs.iter().map(|id| old.ty(*id).clone()).collect();
        for (id, new) in node.outputs.iter().zip(body.add_typed(node.op.clone(), &inputs, types)) {
            ids[id.index()] = Some(new);
        }
    }
    body.set_outputs(old.outputs().iter().filter_map(|id| ids[id.index()]).collect());
    body
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.body.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use sinter_base::DataType;
    use sinter_ops::movement::Transpose;

    use super::*;

    #[test]
    fn keys_read_back() {
        let ty = ValueType::tensor(DataType::F32, vec![2i64.into(), 2i64.into()]);
        let region = |constants: Vec<usize>| {
            let turn = Transpose { permutation: None };
            Region::single(turn.into(), &[Some(ty.clone())], vec![ty.clone()]).with_constants(constants)
        };
        let key = region(vec![]).key();
        assert_eq!((key, key.to_string().parse()), (region(vec![0]).key(), Ok(key)));
        for text in ["", "12", "zz", &"g".repeat(32), &"ä".repeat(16)] {
            assert_eq!(text.parse::<RegionKey>(), Err(BadRegionKey));
        }
        assert_eq!(region(vec![]).root(), Some(OpKind::Transpose));
        let scaled = |scale: f64| {
            let ty = TensorType::ranked(DataType::F32, vec![1i64.into()]).with_value(KnownValue::Floats(vec![scale]));
            Region::single(Transpose { permutation: None }.into(), &[Some(ty.clone().into())], vec![ty.into()])
        };
        assert_eq!(scaled(1.0).key(), scaled(1.0).key());
        assert_ne!(scaled(1.0).key(), scaled(2.0).key(), "kernels look at single numbers");
    }

    #[test]
    fn inputs_come_first() {
        let ty = ValueType::tensor(DataType::F32, vec![2i64.into(), 2i64.into()]);
        let turn = || Op::from(Transpose { permutation: None });
        let built = |late: bool| {
            let mut body = Body::new();
            let x = body.add_input(ty.clone());
            let early = (!late).then(|| body.add_input(ty.clone()));
            let y = body.add_typed(turn(), &[Some(x)], vec![ty.clone()])[0];
            let z = early.unwrap_or_else(|| body.add_input(ty.clone()));
            let w = body.add_typed(turn(), &[Some(z)], vec![ty.clone()])[0];
            body.set_outputs(vec![w, y]);
            Region::new(body)
        };
        assert_eq!(built(true), built(false));
        assert_eq!(built(true).to_string(), built(false).to_string());
    }
}
