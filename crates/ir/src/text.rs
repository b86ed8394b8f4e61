//! The text form of a network: printed and parsed back.
//!
//! ```text
//! network "name"
//! $0 = "w" f32[2, 2] [1.0, 2.0, 3.0, 4.0]
//! $1 = Transpose{permutation=_} ($0) 0
//! input "x" %0
//! weight $1 %1
//! output "y" %2
//! guard N == M, "batch sizes"
//! body
//! input %0 : f32[N, 2]
//! input %1 : f32[2, 2]
//! %2 = MatMul{transpose_a=false, transpose_b=false} (%0, %1) : f32[N, 2]
//! output %2
//! ```
//!
//! Values are numbered in the order of their definition. Weights of more than 64 elements are printed `...` and parsed
//! as zeros; source locations are not printed. Bodies of control flow stand indented below their node between
//! `body` and `end`. Known contents are not printed: parsing infers them again.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sinter_base::{Attr, DataType, Dim, Location, Shape, Tensor, TensorType, ValueType};
use sinter_ops::{Body, Guard, InferContext, Op, Operands, ValueId, catalog, infer};

use crate::network::{Input, Network, Output, Weight, WeightExpr};

/// Weights with more elements are printed without them.
const PRINTED_ELEMENTS: usize = 64;

/// Largest weight that text may declare, in bytes.
const MAX_BYTES: usize = 1 << 31;

/// Deepest nesting of bodies and types.
const MAX_DEPTH: usize = 64;

/// Text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct TextError {
    /// Number of the line, from 1.
    pub line: usize,
    /// The problem.
    pub reason: String,
}

// ---- printing

fn contents(tensor: &Tensor) -> String {
    if tensor.count() > PRINTED_ELEMENTS {
        return "...".to_owned();
    }
    let items: Vec<Attr> = match tensor.data_type() {
        DataType::String => tensor.strings().unwrap_or_default().iter().cloned().map(Attr::Text).collect(),
        t if t.is_float() => tensor.to_floats().into_iter().map(Attr::Float).collect(),
        _ => tensor.to_i64().into_iter().map(Attr::Int).collect(),
    };
    Attr::List(items).to_string()
}

fn listed<T: fmt::Display>(items: impl Iterator<Item = Option<T>>) -> String {
    items.map(|item| item.map_or_else(|| "_".to_owned(), |item| item.to_string())).collect::<Vec<_>>().join(", ")
}

/// Numbers of a body's values in the order of their definition.
fn numbers(body: &Body) -> HashMap<ValueId, ValueId> {
    let defined = body.inputs().iter().chain(body.nodes().iter().flat_map(|node| &node.outputs));
    defined.enumerate().map(|(number, id)| (*id, ValueId::new(number))).collect()
}

fn print_body(f: &mut fmt::Formatter<'_>, body: &Body, level: usize) -> fmt::Result {
    let pad = "  ".repeat(level);
    let numbers = numbers(body);
    let number = |id: &ValueId| numbers.get(id).copied().unwrap_or(*id);
    for id in body.inputs() {
        writeln!(f, "{pad}input {} : {}", number(id), body.ty(*id))?;
    }
    for node in body.nodes() {
        let results = listed(node.outputs.iter().map(|id| Some(number(id))));
        let operands = listed(node.inputs.iter().map(|id| id.as_ref().map(number)));
        let types = listed(node.outputs.iter().map(|id| Some(body.ty(*id))));
        writeln!(f, "{pad}{results} = {}{} ({operands}) : {types}", node.op.name(), node.op.to_attr())?;
        for inner in node.op.bodies() {
            writeln!(f, "{pad}  body")?;
            print_body(f, inner, level + 2)?;
            writeln!(f, "{pad}  end")?;
        }
    }
    writeln!(f, "{pad}output {}", listed(body.outputs().iter().map(|id| Some(number(id)))))
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "network {:?}", self.name)?;
        let mut exprs: Vec<&Arc<WeightExpr>> = Vec::new();
        WeightExpr::visit(self.weights.iter().map(|w| &w.expr), &mut |expr| exprs.push(expr));
        let number: HashMap<*const WeightExpr, usize> =
            exprs.iter().enumerate().map(|(number, expr)| (Arc::as_ptr(expr), number)).collect();
        let numbered = |expr: &Arc<WeightExpr>| format!("${}", number[&Arc::as_ptr(expr)]);
        for expr in &exprs {
            match &***expr {
                WeightExpr::Source { name, tensor, is_refittable } => {
                    let ty = TensorType::new(tensor.data_type(), Shape::from(tensor.sizes()));
                    let refittable = if *is_refittable { "refittable " } else { "" };
                    writeln!(f, "{} = {refittable}{:?} {ty} {}", numbered(expr), &**name, contents(tensor))?;
                }
                WeightExpr::Apply { op, inputs, output } => {
                    let operands = listed(inputs.iter().map(|i| i.as_ref().map(&numbered)));
                    writeln!(f, "{} = {}{} ({operands}) {output}", numbered(expr), op.name(), op.to_attr())?;
                }
            }
        }
        let values = numbers(&self.body);
        let value = |id: ValueId| values.get(&id).copied().unwrap_or(id);
        for input in &self.inputs {
            writeln!(f, "input {:?} {}", input.name, value(input.value))?;
        }
        for weight in &self.weights {
            writeln!(f, "weight {} {}", numbered(&weight.expr), value(weight.value))?;
        }
        for output in &self.outputs {
            writeln!(f, "output {:?} {}", output.name, value(output.value))?;
        }
        for guard in &self.guards {
            writeln!(f, "guard {} == {}, {:?}", guard.left, guard.right, guard.reason)?;
        }
        writeln!(f, "body")?;
        print_body(f, &self.body, 0)
    }
}

// ---- parsing

/// A cursor over one line.
struct Line<'t> {
    rest: &'t str,
}

type Parsed<T> = Result<T, String>;

impl<'t> Line<'t> {
    fn expected<T>(&self, what: &str) -> Parsed<T> {
        let near: String = self.rest.chars().take(24).collect();
        Err(format!("expected {what} at '{near}'"))
    }

    fn accept(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.accept(token) { Ok(()) } else { self.expected(&format!("'{token}'")) }
    }

    fn word(&mut self) -> &'t str {
        let text = self.rest.trim_start();
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        word
    }

    fn number(&mut self) -> Parsed<usize> {
        let word = self.word();
        match word.parse() {
            Ok(number) => Ok(number),
            Err(_) => self.expected("a number"),
        }
    }

    /// The text up to one of these characters outside of quotes and brackets.
    fn until(&mut self, ends: &[char]) -> &'t str {
        let text = self.rest.trim_start();
        let (mut depth, mut quote, mut escaped) = (0usize, None, false);
        for (at, c) in text.char_indices() {
            match quote {
                Some(_) if escaped => escaped = false,
                Some(_) if c == '\\' => escaped = true,
                Some(q) if c == q => quote = None,
                Some(_) => {}
                None if depth == 0 && ends.contains(&c) => {
                    self.rest = &text[at..];
                    return text[..at].trim_end();
                }
                None if c == '"' || c == '\'' => quote = Some(c),
                None if matches!(c, '[' | '{' | '(') => depth += 1,
                None if matches!(c, ']' | '}' | ')') => depth = depth.saturating_sub(1),
                None => {}
            }
        }
        self.rest = "";
        text.trim_end()
    }

    fn quoted(&mut self) -> Parsed<String> {
        self.rest = self.rest.trim_start();
        let text = self.rest;
        let mut escaped = false;
        let end = text.char_indices().skip(1).find(|(_, c)| {
            let closes = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            closes
        });
        let Some((end, _)) = end else { return self.expected("quoted text") };
        self.rest = &text[end + 1..];
        match text[..=end].parse::<Attr>() {
            Ok(Attr::Text(text)) => Ok(text),
            _ => Err(format!("'{}' is no quoted text", &text[..=end])),
        }
    }

    fn dim(&mut self, ends: &[char]) -> Parsed<Dim> {
        self.until(ends).parse().map_err(|e: <Dim as FromStr>::Err| e.to_string())
    }

    fn ty(&mut self, depth: usize) -> Parsed<ValueType> {
        if depth > MAX_DEPTH {
            return Err(format!("types nested deeper than {MAX_DEPTH}"));
        }
        let word = self.word();
        if matches!(word, "sequence" | "optional") {
            self.expect("<")?;
            let inner = Box::new(self.ty(depth + 1)?);
            self.expect(">")?;
            return Ok(if word == "sequence" { ValueType::Sequence(inner) } else { ValueType::Optional(inner) });
        }
        let data_type: DataType = word.parse().map_err(|_| format!("'{word}' is no data type"))?;
        self.expect("[")?;
        if self.accept("..]") {
            return Ok(ValueType::unranked(data_type));
        }
        let mut dims = Vec::new();
        if !self.accept("]") {
            loop {
                dims.push(self.dim(&[',', ']'])?);
                if !self.accept(",") {
                    break;
                }
            }
            self.expect("]")?;
        }
        Ok(ValueType::tensor(data_type, dims))
    }

    /// `Name{attributes}`.
    fn op(&mut self) -> Parsed<Op> {
        let name = self.word();
        let Some(info) = catalog::by_name(name) else { return Err(format!("there is no operator '{name}'")) };
        let attributes = self.until(&['(']);
        let attributes: Attr = attributes.parse().map_err(|e| format!("{name}: {e}"))?;
        (info.from_attr)(&attributes).map_err(|e| format!("{name}: {e}"))
    }

    /// `(a, _, b)` of numbers behind a mark.
    fn operands(&mut self, mark: &str) -> Parsed<Vec<Option<usize>>> {
        self.expect("(")?;
        let mut operands = Vec::new();
        if self.accept(")") {
            return Ok(operands);
        }
        loop {
            operands.push(if self.accept("_") {
                None
            } else {
                self.expect(mark)?;
                Some(self.number()?)
            });
            if !self.accept(",") {
                self.expect(")")?;
                return Ok(operands);
            }
        }
    }

    fn end(&self) -> Parsed<()> {
        if self.rest.trim().is_empty() { Ok(()) } else { self.expected("the end of the line") }
    }
}

struct Parser<'t> {
    lines: Vec<(usize, &'t str)>,
    at: usize,
    exprs: Vec<(Arc<WeightExpr>, ValueType)>,
}

impl FromStr for Network {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty() && !l.trim_start().starts_with('#'));
        let lines: Vec<(usize, &str)> = lines.map(|(number, line)| (number + 1, line)).collect();
        let mut parser = Parser { lines, at: 0, exprs: Vec::new() };
        parser.network().map_err(|reason| {
            let line = parser.lines.get(parser.at.saturating_sub(1)).map_or(0, |(number, _)| *number);
            TextError { line, reason }
        })
    }
}

impl<'t> Parser<'t> {
    fn next(&mut self) -> Parsed<Line<'t>> {
        let Some((_, line)) = self.lines.get(self.at) else { return Err("the text ends too early".to_owned()) };
        self.at += 1;
        Ok(Line { rest: line })
    }

    fn network(&mut self) -> Parsed<Network> {
        let mut line = self.next()?;
        line.expect("network")?;
        let mut network = Network { name: line.quoted()?, ..Network::default() };
        let (mut inputs, mut weights, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let mut line = self.next()?;
            if line.accept("body") {
                line.end()?;
                break;
            } else if line.accept("$") {
                if line.number()? != self.exprs.len() {
                    return Err("weights are numbered in order".to_owned());
                }
                line.expect("=")?;
                self.expr(&mut line)?;
            } else if line.accept("input") {
                let name = line.quoted()?;
                line.expect("%")?;
                inputs.push((name, line.number()?));
            } else if line.accept("weight") {
                line.expect("$")?;
                let number = line.number()?;
                let expr = self.exprs.get(number).ok_or_else(|| format!("there is no ${number}"))?;
                line.expect("%")?;
                weights.push((expr.0.clone(), line.number()?));
            } else if line.accept("output") {
                outputs.push(line.quoted()?);
            } else if line.accept("guard") {
                let left = line.dim(&['='])?;
                line.expect("==")?;
                let right = line.dim(&[','])?;
                line.expect(",")?;
                network.guards.push(Guard { left, right, reason: line.quoted()? });
            } else {
                return line.expected("a weight, input, output, guard or body");
            }
        }
        let contents: HashMap<usize, ValueType> = weights
            .iter()
            .filter_map(|(expr, value)| {
                let known = self.exprs.iter().find(|(other, _)| Arc::ptr_eq(other, expr));
                Some((*value, known?.1.clone()))
            })
            .collect();
        network.body = self.body(&contents, 0)?;
        let input = |number: usize| {
            let found = network.body.inputs().get(number).copied();
            found.ok_or_else(|| format!("%{number} is no input of the body"))
        };
        network.inputs = inputs
            .into_iter()
            .map(|(name, value)| Ok(Input { name, value: input(value)?, default: None }))
            .collect::<Parsed<_>>()?;
        network.weights = weights
            .into_iter()
            .map(|(expr, value)| Ok(Weight { value: input(value)?, expr }))
            .collect::<Parsed<_>>()?;
        let results = network.body.outputs();
        if results.len() != outputs.len() {
            return Err(format!("{} outputs for {} results", outputs.len(), results.len()));
        }
        network.outputs = outputs.into_iter().zip(results).map(|(name, &value)| Output { name, value }).collect();
        network.locations = vec![Location::default(); network.body.nodes().len()];
        Ok(network)
    }

    fn expr(&mut self, line: &mut Line<'t>) -> Parsed<()> {
        let is_refittable = line.accept("refittable");
        if !line.rest.trim_start().starts_with('"') {
            let op = line.op()?;
            let operands = line.operands("$")?;
            let output = line.number()?;
            let mut inputs = Vec::new();
            let mut types: Vec<Option<&ValueType>> = Vec::new();
            for operand in operands {
                let known =
                    operand.map(|n| self.exprs.get(n).ok_or_else(|| format!("there is no ${n}"))).transpose()?;
                inputs.push(known.map(|(expr, _)| expr.clone()));
                types.push(known.map(|(_, ty)| ty));
            }
            let inferred = infer(&op, &Operands::new(&types), &mut InferContext::default());
            let ty = inferred.map_err(|e| e.to_string())?.into_iter().nth(output);
            let ty = ty.ok_or_else(|| format!("{} has no result {output}", op.name()))?;
            self.exprs.push((Arc::new(WeightExpr::Apply { op, inputs, output }), ty));
            return line.end();
        }
        let name: Arc<str> = line.quoted()?.into();
        let ValueType::Tensor(ty) = line.ty(0)? else { return Err("a weight is a tensor".to_owned()) };
        let Some(sizes) = ty.shape.sizes() else { return Err(format!("{ty} has dynamic dimensions")) };
        let (tensor, ty) = if line.accept("...") {
            let bits = sizes.iter().try_fold(ty.data_type.bits(), |total, size| total.checked_mul(*size));
            let Some(bytes) = bits.map(|bits| bits.div_ceil(8)).filter(|bytes| *bytes <= MAX_BYTES) else {
                return Err(format!("a weight of type {ty} is too large"));
            };
            let zeros = Tensor::from_bytes(ty.data_type, &sizes, vec![0; bytes].into());
            (zeros.map_err(|e| e.to_string())?, ty)
        } else {
            let tensor = tensor(&ty, &sizes, line.until(&[]))?;
            let ty = TensorType::of(&tensor);
            (tensor, ty)
        };
        let ty = if is_refittable { TensorType::new(ty.data_type, ty.shape) } else { ty };
        self.exprs.push((Arc::new(WeightExpr::Source { name, tensor, is_refittable }), ty.into()));
        line.end()
    }

    /// A body up to and including its `output` line. `contents` are types of inputs with known contents.
    fn body(&mut self, contents: &HashMap<usize, ValueType>, depth: usize) -> Parsed<Body> {
        if depth > MAX_DEPTH {
            return Err(format!("bodies nested deeper than {MAX_DEPTH}"));
        }
        let mut body = Body::new();
        loop {
            let mut line = self.next()?;
            if line.accept("input") {
                line.expect("%")?;
                let number = line.number()?;
                line.expect(":")?;
                let mut ty = line.ty(0)?;
                if let (ValueType::Tensor(ty), Some(ValueType::Tensor(known))) = (&mut ty, contents.get(&number))
                    && ty.shape == known.shape
                {
                    ty.value = known.value.clone();
                }
                let id = body.add_input(ty);
                if id.index() != number {
                    return Err(format!("%{number} should be {id}"));
                }
            } else if line.accept("output") {
                let mut outputs = Vec::new();
                while line.accept("%") {
                    outputs.push(value(&body, line.number()?)?);
                    line.accept(",");
                }
                body.set_outputs(outputs);
                line.end()?;
                return Ok(body);
            } else {
                self.node(&mut body, &mut line, depth)?;
            }
        }
    }

    fn node(&mut self, body: &mut Body, line: &mut Line<'t>, depth: usize) -> Parsed<()> {
        let first = body.value_count();
        let mut results = 0;
        while line.accept("%") {
            if line.number()? != first + results {
                return Err(format!("results are numbered in order, the next is %{}", first + results));
            }
            results += 1;
            line.accept(",");
        }
        line.expect("=")?;
        let mut op = line.op()?;
        let inputs: Vec<Option<ValueId>> = line
            .operands("%")?
            .into_iter()
            .map(|operand| operand.map(|number| value(body, number)).transpose())
            .collect::<Parsed<_>>()?;
        line.expect(":")?;
        let mut types = Vec::new();
        for _ in 0..results {
            types.push(line.ty(0)?);
            line.accept(",");
        }
        line.end()?;
        let mut bodies = Vec::new();
        for _ in 0..op.bodies().len() {
            self.next()?.expect("body")?;
            // A captured value keeps its known contents inside the body.
            let fed = |body: &Body, offset: usize| -> HashMap<usize, ValueType> {
                let captured = inputs.iter().skip(offset).flatten().enumerate();
                captured.map(|(number, id)| (number, body.ty(*id).clone())).collect()
            };
            let contents = match &op {
                Op::If(_) => fed(body, 1 + bodies.iter().map(|b: &Arc<Body>| b.inputs().len()).sum::<usize>()),
                _ => HashMap::new(),
            };
            bodies.push(Arc::new(self.body(&contents, depth + 1)?));
            self.next()?.expect("end")?;
        }
        if !bodies.is_empty() {
            op = op.with_bodies(bodies);
        }
        let operands: Vec<Option<&ValueType>> = inputs.iter().map(|id| id.map(|id| body.ty(id))).collect();
        let inferred =
            infer(&op, &Operands::new(&operands), &mut InferContext::default()).map_err(|e| e.to_string())?;
        if inferred.len() != types.len() {
            return Err(format!("{} has {} results", op.name(), inferred.len()));
        }
        for (ty, inferred) in types.iter_mut().zip(inferred) {
            if let (ValueType::Tensor(ty), ValueType::Tensor(inferred)) = (ty, inferred) {
                ty.value = inferred.value;
            }
        }
        body.add_typed(op, &inputs, types);
        Ok(())
    }
}

fn value(body: &Body, number: usize) -> Parsed<ValueId> {
    if number < body.value_count() { Ok(ValueId::new(number)) } else { Err(format!("%{number} is not defined yet")) }
}

fn tensor(ty: &TensorType, sizes: &[usize], text: &str) -> Parsed<Tensor> {
    let Ok(Attr::List(items)) = text.parse() else { return Err(format!("'{text}' is no list of elements")) };
    let wrong = |item: &Attr| format!("{item} is no element of type {}", ty.data_type);
    let tensor = if ty.data_type == DataType::String {
        let strings = items.into_iter().map(|item| match item {
            Attr::Text(text) => Ok(text),
            other => Err(wrong(&other)),
        });
        Tensor::from_strings(sizes, strings.collect::<Parsed<_>>()?)
    } else if ty.data_type.is_float() {
        let floats = items.iter().map(|item| match item {
            Attr::Float(v) => Ok(*v),
            Attr::Int(v) => Ok(*v as f64),
            other => Err(wrong(other)),
        });
        Tensor::from_floats(ty.data_type, sizes, &floats.collect::<Parsed<Vec<f64>>>()?)
    } else {
        let ints = items.iter().map(|item| match item {
            Attr::Int(v) => Ok(i128::from(*v)),
            other => Err(wrong(other)),
        });
        Tensor::from_ints(ty.data_type, sizes, &ints.collect::<Parsed<Vec<i128>>>()?)
    };
    tensor.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"network "a \"name\""
$0 = "w" f32[2, 2] [1.0, -2.5, inf, 4.0]
$1 = Transpose{permutation=[1, 0]} ($0) 0
$2 = "big" f32[100, 2] ...
input "x" %0
weight $1 %1
weight $2 %2
output "y" %4
guard N == 2*M + 1, "sizes, odd"
body
input %0 : f32[N, 2]
input %1 : f32[2, 2]
input %2 : f32[100, 2]
%3 = MatMul{transpose_a=false, transpose_b=false} (%0, %1) : f32[N, 2]
%4 = MatMul{transpose_a=false, transpose_b=true} (%3, %2) : f32[N, 100]
output %4
"#;

    #[test]
    fn printing_and_parsing_are_inverse() {
        let network: Network = TEXT.parse().unwrap();
        assert_eq!(network.to_string(), TEXT);
        assert_eq!(crate::verify(&network), Ok(()));
        // Contents of small weights are known, those of elided ones are not.
        let known = |index: usize| network.body.ty(network.weights[index].value).as_tensor().unwrap().value.is_some();
        assert_eq!((known(0), known(1)), (true, false));
    }

    #[test]
    fn damaged_text_names_its_line() {
        let line = |from: &str, to: &str| TEXT.replace(from, to).parse::<Network>().unwrap_err().line;
        assert_eq!(line("inf, ", ""), 2);
        assert_eq!(line("f32[100, 2] ...", "f32[100000000000, 2000000000] ..."), 4);
        assert_eq!(line("(%0, %1)", "(%0, %9)"), 14);
        assert_eq!(line("MatMul{transpose_a=false, transpose_b=true}", "MatMool{}"), 15);
        assert_eq!(line("output %4\n", ""), 15);
        for end in (0..TEXT.len() - "%4\n".len()).filter(|end| TEXT.is_char_boundary(*end)) {
            assert!(TEXT[..end].parse::<Network>().is_err(), "{}", &TEXT[..end]);
        }
    }
}
