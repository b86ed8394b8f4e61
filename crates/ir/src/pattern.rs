//! Patterns that look like the mathematics: `&x * &x.unary(Sigmoid)` finds x times its sigmoid.
//!
//! A pattern matches a value of a network in normal form: one scalar operation per elementwise node. Names do not
//! matter. A pattern that is used twice must match the same value both times; operands of commutative operations match
//! in either order; numbers match constants to [`NUMBER_TOLERANCE`], since exporters round them. All ways to match are
//! tried before a match fails.

use std::ops::{Add, Div, Mul, Sub};
use std::sync::Arc;

use sinter_base::DataType;
use sinter_ops::pointwise::program::Step;
use sinter_ops::pointwise::{CastMode, ScalarOp};
use sinter_ops::{Op, ValueId};
use smallvec::SmallVec;

use crate::graph::Graph;

/// Relative difference up to which a constant is a pattern's number; half precision rounds to 5e-4.
pub const NUMBER_TOLERANCE: f64 = 6e-4;

/// An argument of a scalar operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Term {
    /// A value of the body.
    Value(ValueId),
    /// A number.
    Number(f64),
}

/// One scalar operation.
#[derive(Clone, Debug)]
pub struct Application {
    /// The operation.
    pub op: ScalarOp,
    /// The type it computes in.
    pub compute: DataType,
    /// Its arguments.
    pub args: SmallVec<[Term; 3]>,
}

/// The operation that computes a value, if its producer is an elementwise node in normal form.
pub fn application(graph: &Graph<'_>, value: ValueId) -> Option<Application> {
    let (node, _) = graph.producer(value)?;
    let Op::Pointwise(pointwise) = &node.op else { return None };
    let program = &pointwise.program;
    let &[result] = program.results() else { return None };
    let Step::Apply { op, compute, args } = &program.steps()[result] else { return None };
    let args: Option<SmallVec<[Term; 3]>> = args
        .iter()
        .map(|&arg| match &program.steps()[arg] {
            Step::Input { index, .. } => node.inputs.get(*index).copied().flatten().map(Term::Value),
            Step::Constant { value, .. } => Some(Term::Number(value.float())),
            Step::Apply { .. } => None,
        })
        .collect();
    Some(Application { op: *op, compute: *compute, args: args? })
}

/// Does the order of the operands not matter?
pub fn is_commutative(op: ScalarOp) -> bool {
    use ScalarOp::{Add, And, BitAnd, BitOr, BitXor, Equal, Max, Min, Mul, Or, Xor};
    matches!(op, Add | Mul | Min | Max | Equal | And | Or | Xor | BitAnd | BitOr | BitXor)
}

#[derive(Debug)]
enum Kind {
    Any,
    AnyNumber,
    Number(f64),
    Scalar(ScalarOp, SmallVec<[Pattern; 3]>),
    Node(fn(&Op) -> bool, SmallVec<[Pattern; 3]>),
    Either(Vec<Pattern>),
}

/// See the module documentation. Cloning is cheap, and a clone is the same pattern.
#[derive(Clone, Debug)]
pub struct Pattern(Arc<Kind>);

impl Pattern {
    /// Any value.
    pub fn any() -> Self {
        Pattern(Arc::new(Kind::Any))
    }

    /// Any constant.
    pub fn any_number() -> Self {
        Pattern(Arc::new(Kind::AnyNumber))
    }

    /// This constant.
    pub fn number(value: f64) -> Self {
        Pattern(Arc::new(Kind::Number(value)))
    }

    /// A scalar operation on one value.
    #[must_use]
    pub fn unary(&self, op: ScalarOp) -> Self {
        Pattern(Arc::new(Kind::Scalar(op, [self.clone()].into_iter().collect())))
    }

    /// A scalar operation on two values.
    #[must_use]
    pub fn binary(&self, op: ScalarOp, other: &Pattern) -> Self {
        Pattern(Arc::new(Kind::Scalar(op, [self.clone(), other.clone()].into_iter().collect())))
    }

    /// The result of an operator that is accepted, whose first operands match; further operands may be anything.
    pub fn node(accept: fn(&Op) -> bool, operands: &[&Pattern]) -> Self {
        Pattern(Arc::new(Kind::Node(accept, operands.iter().copied().cloned().collect())))
    }

    /// One of several spellings.
    pub fn either(spellings: &[&Pattern]) -> Self {
        Pattern(Arc::new(Kind::Either(spellings.iter().copied().cloned().collect())))
    }

    /// The value after a conversion, or as it is.
    #[must_use]
    pub fn maybe_cast(&self) -> Self {
        let cast = self.unary(ScalarOp::Cast(CastMode::default()));
        Self::either(&[self, &cast])
    }

    /// `self^2`, as a product or a power.
    #[must_use]
    pub fn square(&self) -> Self {
        Self::either(&[&(self * self), &self.binary(ScalarOp::Pow, &Self::number(2.0))])
    }

    /// The product of three factors, grouped in any way.
    pub fn product(a: &Pattern, b: &Pattern, c: &Pattern) -> Self {
        Self::either(&[&(a * &(b * c)), &(b * &(a * c)), &(c * &(a * b))])
    }

    /// `self * factor`, also written as a division by the reciprocal number.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        Self::either(&[&(self * &Self::number(factor)), &(self / &Self::number(1.0 / factor))])
    }

    /// Matches against a value.
    pub fn find(&self, graph: &Graph<'_>, value: ValueId) -> Option<Match> {
        let mut found = Match::default();
        let goal = Goal { pattern: self, term: Term::Value(value), rest: None };
        solve(graph, Some(&goal), &mut found).then_some(found)
    }
}

macro_rules! arithmetic {
    ($($trait:ident $method:ident),*) => {$(
        impl $trait<&Pattern> for &Pattern {
            type Output = Pattern;

            fn $method(self, other: &Pattern) -> Pattern {
                self.binary(ScalarOp::$trait, other)
            }
        }

        impl $trait<f64> for &Pattern {
            type Output = Pattern;

            fn $method(self, other: f64) -> Pattern {
                self.binary(ScalarOp::$trait, &Pattern::number(other))
            }
        }
    )*};
}

arithmetic!(Add add, Sub sub, Mul mul, Div div);

/// The values that the parts of a pattern matched.
#[derive(Clone, Debug, Default)]
pub struct Match {
    bindings: SmallVec<[(*const Kind, Term); 16]>,
    nodes: SmallVec<[usize; 16]>,
}

impl Match {
    fn term(&self, pattern: &Pattern) -> Option<Term> {
        let key = Arc::as_ptr(&pattern.0);
        self.bindings.iter().find(|(p, _)| *p == key).map(|(_, term)| *term)
    }

    /// The value that a part stands for.
    pub fn value(&self, pattern: &Pattern) -> Option<ValueId> {
        match self.term(pattern)? {
            Term::Value(id) => Some(id),
            Term::Number(_) => None,
        }
    }

    /// The number that a part stands for.
    pub fn number(&self, graph: &Graph<'_>, pattern: &Pattern) -> Option<f64> {
        number_of(graph, self.term(pattern)?)
    }

    /// Positions of all nodes that the match covers.
    pub fn nodes(&self) -> &[usize] {
        &self.nodes
    }
}

fn number_of(graph: &Graph<'_>, term: Term) -> Option<f64> {
    match term {
        Term::Number(value) => Some(value),
        Term::Value(id) => graph.uniform(id),
    }
}

/// A pattern that must match a term, and what must match after it.
struct Goal<'a> {
    pattern: &'a Pattern,
    term: Term,
    rest: Option<&'a Goal<'a>>,
}

fn solve(graph: &Graph<'_>, goal: Option<&Goal<'_>>, found: &mut Match) -> bool {
    let Some(goal) = goal else { return true };
    let (pattern, term) = (goal.pattern, goal.term);
    if let Some(known) = found.term(pattern) {
        return known == term && solve(graph, goal.rest, found);
    }
    let key = Arc::as_ptr(&pattern.0);
    let before = (found.bindings.len(), found.nodes.len());
    let go_on = |found: &mut Match, rest: Option<&Goal<'_>>, node: Option<usize>| {
        found.bindings.push((key, term));
        found.nodes.extend(node);
        let solved = solve(graph, rest, found);
        if !solved {
            found.bindings.truncate(before.0);
            found.nodes.truncate(before.1);
        }
        solved
    };
    match (&*pattern.0, term) {
        (Kind::Any, _) => go_on(found, goal.rest, None),
        (Kind::AnyNumber, _) => number_of(graph, term).is_some() && go_on(found, goal.rest, None),
        (Kind::Number(expected), _) => {
            let near =
                |v: f64| v == *expected || (v - expected).abs() <= NUMBER_TOLERANCE * expected.abs().min(f64::MAX);
            number_of(graph, term).is_some_and(near) && go_on(found, goal.rest, None)
        }
        (Kind::Either(spellings), _) => spellings
            .iter()
            .any(|spelling| go_on(found, Some(&Goal { pattern: spelling, term, rest: goal.rest }), None)),
        (Kind::Scalar(op, patterns), Term::Value(id)) => {
            let Some(made) = application(graph, id).filter(|made| made.op == *op) else { return false };
            let node = graph.producer_position(id);
            match (patterns.as_slice(), made.args.as_slice()) {
                ([p], [a]) => go_on(found, Some(&Goal { pattern: p, term: *a, rest: goal.rest }), node),
                ([p, q], [a, b]) => {
                    let second = Goal { pattern: q, term: *b, rest: goal.rest };
                    let straight = Goal { pattern: p, term: *a, rest: Some(&second) };
                    let second = Goal { pattern: q, term: *a, rest: goal.rest };
                    let crossed = Goal { pattern: p, term: *b, rest: Some(&second) };
                    go_on(found, Some(&straight), node) || is_commutative(*op) && go_on(found, Some(&crossed), node)
                }
                _ => false,
            }
        }
        (Kind::Node(accept, patterns), Term::Value(id)) => {
            let Some((node, 0)) = graph.producer(id).filter(|(node, _)| accept(&node.op)) else { return false };
            let operands: Option<SmallVec<[ValueId; 3]>> = node.inputs.iter().take(patterns.len()).copied().collect();
            let Some(operands) = operands.filter(|o| o.len() == patterns.len()) else { return false };
            let position = graph.producer_position(id);
            match (patterns.as_slice(), operands.as_slice()) {
                ([p], [a]) => {
                    go_on(found, Some(&Goal { pattern: p, term: Term::Value(*a), rest: goal.rest }), position)
                }
                ([p, q], [a, b]) => {
                    let second = Goal { pattern: q, term: Term::Value(*b), rest: goal.rest };
                    go_on(found, Some(&Goal { pattern: p, term: Term::Value(*a), rest: Some(&second) }), position)
                }
                _ => false,
            }
        }
        (Kind::Scalar(..) | Kind::Node(..), Term::Number(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Handle, Network, NetworkBuilder};
    use sinter_base::{Location, ValueType};
    use sinter_ops::pointwise::Expr;

    fn one(builder: &mut NetworkBuilder, inputs: &[Handle], f: impl Fn(&[Expr]) -> Expr) -> Handle {
        let operands: Vec<Expr> = (0..inputs.len()).map(|i| Expr::input(i, DataType::F32)).collect();
        let inputs: Vec<Option<Handle>> = inputs.iter().copied().map(Some).collect();
        let op = Expr::into_pointwise(&[f(&operands)]).unwrap();
        builder.add(op, &inputs, &Location::default()).unwrap()[0]
    }

    fn network(build: impl Fn(&mut NetworkBuilder, Handle, Handle) -> Handle) -> Network {
        let mut builder = NetworkBuilder::new();
        let ty = || ValueType::tensor(DataType::F32, vec![4i64.into()]);
        let (x, y) = (builder.add_network_input("x", ty(), None), builder.add_network_input("y", ty(), None));
        let z = build(&mut builder, x, y);
        builder.finish("n", &[("z".to_owned(), z)])
    }

    #[test]
    fn a_part_used_twice_is_the_same_value() {
        let x = Pattern::any();
        let swish = &x * &x.unary(ScalarOp::Sigmoid);
        let found = |network: &Network| {
            let graph = Graph::of_network(network);
            swish.find(&graph, network.outputs[0].value).and_then(|m| m.value(&x))
        };
        let right = network(|b, x, _| {
            let s = one(b, &[x], |v| v[0].unary(ScalarOp::Sigmoid));
            one(b, &[s, x], |v| &v[0] * &v[1])
        });
        assert_eq!(found(&right), Some(right.inputs[0].value));
        let wrong = network(|b, x, y| {
            let s = one(b, &[y], |v| v[0].unary(ScalarOp::Sigmoid));
            one(b, &[s, x], |v| &v[0] * &v[1])
        });
        assert_eq!(found(&wrong), None);
    }

    #[test]
    fn orders_are_tried_until_all_parts_fit() {
        // (x y) + (y x^2): the first product must be bound so that the second one fits.
        let (a, b) = (Pattern::any(), Pattern::any());
        let pattern = &(&a * &b) + &(&a * &b.square());
        let network = network(|builder, x, y| {
            let xy = one(builder, &[x, y], |v| &v[0] * &v[1]);
            let xx = one(builder, &[x], |v| &v[0] * &v[0]);
            let yxx = one(builder, &[y, xx], |v| &v[0] * &v[1]);
            one(builder, &[xy, yxx], |v| &v[0] + &v[1])
        });
        let graph = Graph::of_network(&network);
        let found = pattern.find(&graph, network.outputs[0].value).unwrap();
        assert_eq!((found.value(&a), found.value(&b)), (Some(network.inputs[1].value), Some(network.inputs[0].value)));
        assert_eq!(found.nodes().len(), 4);
    }

    #[test]
    fn numbers_match_as_exporters_round_them() {
        let x = Pattern::any();
        let half = x.scaled(0.7071067811865475);
        let by = |divisor: f64| network(move |b, x, _| one(b, &[x], |v| &v[0] / divisor));
        let least = x.binary(ScalarOp::Div, &Pattern::number(f64::NEG_INFINITY));
        let cases = [
            (&half, std::f64::consts::SQRT_2, true),
            (&half, 1.4140625, true),
            (&half, 1.5, false),
            (&least, f64::NEG_INFINITY, true),
            (&least, -1e30, false),
        ];
        for (pattern, divisor, is_found) in cases {
            let network = by(divisor);
            let graph = Graph::of_network(&network);
            assert_eq!(pattern.find(&graph, network.outputs[0].value).is_some(), is_found, "{divisor}");
        }
    }
}
