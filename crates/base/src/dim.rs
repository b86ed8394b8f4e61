//! Symbolic dimensions: integer expressions over named sizes such as `N` or `S`.
//!
//! A dimension is a canonical sum of products, so that equal expressions compare equal in most cases. An undecided
//! comparison gives [`Truth::Unknown`] and becomes a guard, which the run checks. Named sizes are never negative.
//!
//! Expressions share parts in memory, but readers walk an expression as a tree, and a few squares make a tree of any
//! size. So each expression stores the size of its tree, and inference replaces expressions that are
//! [too large](Dim::is_too_large) by dynamic dimensions, whose values the run computes.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The answer to a question about symbolic sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// Holds for all sizes.
    Yes,
    /// Holds for no sizes.
    No,
    /// Depends on the sizes, or could not be decided.
    Unknown,
}

/// An integer expression over named sizes. Constant arithmetic saturates: an absurd product becomes `i64::MAX`, which
/// every size limit refuses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dim(Repr);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Constant(i64),
    Sum(Arc<Sum>),
}

/// `constant + sum of coefficient * product`, products sorted, no zero coefficient, at least one term.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Sum {
    pub(crate) terms: Vec<(Product, i64)>,
    pub(crate) constant: i64,
    extent: Extent,
}

/// How large the tree of an expression is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Extent {
    /// Factors and constants; saturates.
    nodes: u64,
    /// Nesting depth of quotients, remainders, minima and maxima.
    depth: usize,
}

impl Extent {
    const LEAF: Self = Self { nodes: 1, depth: 0 };

    fn with(self, other: Self) -> Self {
        Self { nodes: self.nodes.saturating_add(other.nodes), depth: self.depth.max(other.depth) }
    }
}

/// A sorted list of factors, repeated for powers.
pub(crate) type Product = Vec<Factor>;

/// A factor that is no sum of products.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Factor {
    Symbol(Arc<str>),
    FloorDiv(Dim, Dim),
    Modulo(Dim, Dim),
    Min(Dim, Dim),
    Max(Dim, Dim),
}

/// One node of a dimension, its parts already turned into `T`; see [`Dim::fold`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fold<'a, T> {
    /// A number.
    Constant(i64),
    /// A named size.
    Symbol(&'a str),
    /// A sum.
    Add(T, T),
    /// A product.
    Multiply(T, T),
    /// floor(a / b).
    FloorDivide(T, T),
    /// a - b floor(a / b).
    Modulo(T, T),
    /// The smaller.
    Minimum(T, T),
    /// The larger.
    Maximum(T, T),
}

/// Expressions with more terms than this stop being expanded into sums of products.
const MAX_TERMS: usize = 64;

/// An expression of more factors and constants than this is too large: several times what the anchors of a detector on
/// five levels of an image take.
const MAX_NODES: u64 = 512;

/// Expressions that are nested deeper than this are too large, and the parser refuses their text.
pub(crate) const MAX_DEPTH: usize = 64;

impl Dim {
    /// A known size.
    pub const fn constant(value: i64) -> Self {
        Dim(Repr::Constant(value))
    }

    /// A named size, at least 0.
    pub fn symbol(name: &str) -> Self {
        Self::factor(Factor::Symbol(name.into()))
    }

    fn factor(factor: Factor) -> Self {
        Self::from_terms(BTreeMap::from([(vec![factor], 1)]), 0)
    }

    /// This size as one opaque factor, which products do not expand: `floor_div(self, 1)`, a form without another use.
    #[must_use]
    pub fn opaque(&self) -> Dim {
        match self.parts() {
            ([], _) | ([_], 0) => self.clone(),
            _ => Self::factor(Factor::FloorDiv(self.clone(), Dim::constant(1))),
        }
    }

    fn from_terms(terms: BTreeMap<Product, i64>, constant: i64) -> Self {
        let terms: Vec<_> = terms.into_iter().filter(|(_, c)| *c != 0).collect();
        if terms.is_empty() {
            return Self::constant(constant);
        }
        let factors = terms.iter().flat_map(|(product, _)| product).map(Factor::extent);
        let rest = (constant != 0).then_some(Extent::LEAF);
        let extent = factors.chain(rest).fold(Extent { nodes: 0, depth: 0 }, Extent::with);
        Dim(Repr::Sum(Arc::new(Sum { terms, constant, extent })))
    }

    fn extent(&self) -> Extent {
        self.sum().map_or(Extent::LEAF, |sum| sum.extent)
    }

    /// Factors and constants in the tree of the expression, each as often as it occurs; saturates.
    pub fn nodes(&self) -> u64 {
        self.extent().nodes
    }

    /// Nesting depth of quotients, remainders, minima and maxima.
    pub fn depth(&self) -> usize {
        self.extent().depth
    }

    /// Is this expression too large for inference? The run computes such a size or number.
    pub fn is_too_large(&self) -> bool {
        self.nodes() > MAX_NODES || self.depth() > MAX_DEPTH
    }

    pub(crate) fn sum(&self) -> Option<&Sum> {
        match &self.0 {
            Repr::Constant(_) => None,
            Repr::Sum(sum) => Some(sum),
        }
    }

    fn parts(&self) -> (&[(Product, i64)], i64) {
        match &self.0 {
            Repr::Constant(value) => (&[], *value),
            Repr::Sum(sum) => (&sum.terms, sum.constant),
        }
    }

    /// The size, when it does not depend on symbols.
    pub fn as_constant(&self) -> Option<i64> {
        match self.0 {
            Repr::Constant(value) => Some(value),
            Repr::Sum(_) => None,
        }
    }

    /// The name, when this is a single named size.
    pub fn as_symbol(&self) -> Option<&str> {
        match self.as_factor() {
            Some(Factor::Symbol(name)) => Some(name),
            _ => None,
        }
    }

    /// `self + other`.
    #[must_use]
    pub fn add(&self, other: &Dim) -> Dim {
        self.term_by_term(other, i64::saturating_add)
    }

    /// `self - other`.
    #[must_use]
    pub fn sub(&self, other: &Dim) -> Dim {
        self.term_by_term(other, i64::saturating_sub)
    }

    fn term_by_term(&self, other: &Dim, combined: fn(i64, i64) -> i64) -> Dim {
        let ((a, ca), (b, cb)) = (self.parts(), other.parts());
        let mut terms: BTreeMap<Product, i64> = a.iter().cloned().collect();
        for (product, coefficient) in b {
            let entry = terms.entry(product.clone()).or_insert(0);
            *entry = combined(*entry, *coefficient);
        }
        Self::from_terms(terms, combined(ca, cb))
    }

    /// `-self`.
    #[must_use]
    pub fn neg(&self) -> Dim {
        self.mul(&Dim::constant(-1))
    }

    /// `self * other`.
    #[must_use]
    pub fn mul(&self, other: &Dim) -> Dim {
        let ((a, ca), (b, cb)) = (self.parts(), other.parts());
        let mut terms: BTreeMap<Product, i64> = BTreeMap::new();
        let mut put = |product: Product, coefficient: i64| {
            let entry = terms.entry(product).or_insert(0);
            *entry = entry.saturating_add(coefficient);
        };
        if a.len().saturating_mul(b.len()) > MAX_TERMS {
            // Still a true product, only less canonical.
            return self.opaque().mul(&other.opaque());
        }
        for (pa, na) in a {
            for (pb, nb) in b {
                let mut product: Product = pa.iter().chain(pb).cloned().collect();
                product.sort();
                put(product, na.saturating_mul(*nb));
            }
            put(pa.clone(), na.saturating_mul(cb));
        }
        for (pb, nb) in b {
            put(pb.clone(), nb.saturating_mul(ca));
        }
        Self::from_terms(terms, ca.saturating_mul(cb))
    }

    /// `floor(self / other)`; a division by the constant 0 stays as it is and evaluates to `None`.
    #[must_use]
    pub fn floor_div(&self, other: &Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.as_constant(), other.as_constant())
            && b != 0
        {
            return Dim::constant(floor_div(a, b));
        }
        if let Some(exact) = self.exact_div(other) {
            return exact;
        }
        Self::factor(Factor::FloorDiv(self.clone(), other.clone()))
    }

    /// `ceil(self / other)`.
    #[must_use]
    pub fn ceil_div(&self, other: &Dim) -> Dim {
        self.neg().floor_div(other).neg()
    }

    /// The quotient when `other` divides every term of `self`. A symbolic divisor counts as non-zero: where it is zero,
    /// the network has no elements and the value of the quotient does not matter.
    pub fn exact_div(&self, other: &Dim) -> Option<Dim> {
        if self == other {
            return Some(Dim::constant(1));
        }
        let (quotient, rest) = self.divided(other)?;
        (rest == Dim::constant(0)).then_some(quotient)
    }

    /// `(q, r)` with `self == q * other + r`: `r` has the terms that `other`, one term and not 0, does not divide.
    pub fn divided(&self, other: &Dim) -> Option<(Dim, Dim)> {
        let (terms, constant) = self.parts();
        let (divisor_product, divisor): (&[Factor], i64) = match other.parts() {
            ([], value) if value != 0 => (&[], value),
            ([(product, coefficient)], 0) => (product, *coefficient),
            _ => return None,
        };
        let without = |product: &Product| {
            divisor_product.iter().try_fold(product.clone(), |mut rest, factor| {
                rest.remove(rest.iter().position(|f| f == factor)?);
                Some(rest)
            })
        };
        let (mut quotient, mut rest) = (BTreeMap::new(), BTreeMap::new());
        for (product, coefficient) in terms {
            match without(product).filter(|_| coefficient % divisor == 0) {
                Some(product) => quotient.insert(product, coefficient / divisor),
                None => rest.insert(product.clone(), *coefficient),
            };
        }
        let divides = constant % divisor == 0 && divisor_product.is_empty();
        let whole = if divides { constant / divisor } else { 0 };
        let (divided, left) = (whole + quotient.remove(&Vec::new()).unwrap_or(0), constant - whole * divisor);
        Some((Self::from_terms(quotient, divided), Self::from_terms(rest, left)))
    }

    /// `self - other * floor(self / other)`, with the sign of `other`.
    #[must_use]
    pub fn modulo(&self, other: &Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.as_constant(), other.as_constant())
            && b != 0
        {
            return Dim::constant(a.wrapping_sub(b.wrapping_mul(floor_div(a, b))));
        }
        if self.exact_div(other).is_some() {
            return Dim::constant(0);
        }
        Self::factor(Factor::Modulo(self.clone(), other.clone()))
    }

    /// The smaller of both.
    #[must_use]
    pub fn minimum(&self, other: &Dim) -> Dim {
        match self.less_or_equal(other) {
            Truth::Yes => self.clone(),
            Truth::No => other.clone(),
            Truth::Unknown => match other.less_or_equal(self) {
                Truth::Yes => other.clone(),
                _ if self.is_minimum_with(other) => self.clone(),
                _ if other.is_minimum_with(self) => other.clone(),
                _ => {
                    let (a, b) = sorted(self, other);
                    Self::factor(Factor::Min(a, b))
                }
            },
        }
    }

    /// The larger of both.
    #[must_use]
    pub fn maximum(&self, other: &Dim) -> Dim {
        match self.less_or_equal(other) {
            Truth::Yes => other.clone(),
            Truth::No => self.clone(),
            Truth::Unknown => match other.less_or_equal(self) {
                Truth::Yes => self.clone(),
                _ if self.is_maximum_with(other) => self.clone(),
                _ if other.is_maximum_with(self) => other.clone(),
                _ => {
                    let (a, b) = sorted(self, other);
                    Self::factor(Factor::Max(a, b))
                }
            },
        }
    }

    /// The only factor, if the size consists of one factor.
    fn as_factor(&self) -> Option<&Factor> {
        match self.parts() {
            ([(product, 1)], 0) => match product.as_slice() {
                [factor] => Some(factor),
                _ => None,
            },
            _ => None,
        }
    }

    /// Is it the smallest of some sizes, of which the other is one?
    fn is_minimum_with(&self, other: &Dim) -> bool {
        matches!(self.as_factor(), Some(Factor::Min(a, b)) if [a, b].iter().any(|d| *d == other || d.is_minimum_with(other)))
    }

    /// Is it the largest of some sizes, of which the other is one?
    fn is_maximum_with(&self, other: &Dim) -> bool {
        matches!(self.as_factor(), Some(Factor::Max(a, b)) if [a, b].iter().any(|d| *d == other || d.is_maximum_with(other)))
    }

    /// Smallest possible value, with every named size at least 0; `i64::MIN` when unbounded.
    pub fn lower_bound(&self) -> i64 {
        self.bounds().0
    }

    /// Largest possible value; `i64::MAX` when unbounded.
    pub fn upper_bound(&self) -> i64 {
        self.bounds().1
    }

    fn bounds(&self) -> (i64, i64) {
        let (terms, constant) = self.parts();
        let (mut low, mut high) = (constant, constant);
        for (product, coefficient) in terms {
            let (a, b) = product.iter().fold((1i64, 1i64), |(low, high), factor| {
                let (a, b) = factor.bounds();
                if low < 0 || a < 0 { (i64::MIN, i64::MAX) } else { (low.saturating_mul(a), times(high, b)) }
            });
            let (a, b) = match coefficient.signum() {
                1 => (scaled(a, *coefficient), scaled(b, *coefficient)),
                _ => (scaled(b, *coefficient), scaled(a, *coefficient)),
            };
            low = if low == i64::MIN || a == i64::MIN { i64::MIN } else { low.saturating_add(a) };
            high = if high == i64::MAX || b == i64::MAX { i64::MAX } else { high.saturating_add(b) };
        }
        (low, high)
    }

    /// Is `self == other`?
    pub fn equals(&self, other: &Dim) -> Truth {
        let difference = self.sub(other);
        match difference.as_constant() {
            Some(0) => Truth::Yes,
            Some(_) => Truth::No,
            None if difference.lower_bound() > 0 || difference.upper_bound() < 0 => Truth::No,
            None => Truth::Unknown,
        }
    }

    /// Is `self <= other`?
    pub fn less_or_equal(&self, other: &Dim) -> Truth {
        let difference = other.sub(self);
        if difference.lower_bound() >= 0 {
            Truth::Yes
        } else if difference.upper_bound() < 0 {
            Truth::No
        } else {
            Truth::Unknown
        }
    }

    /// Is this the other size cut at a constant of at least 2, `min(other, c)`, as a slice of a longer table is?
    pub fn is_cut_of(&self, other: &Dim) -> bool {
        let Some(Factor::Min(a, b)) = self.as_factor() else { return false };
        let is_pair = |whole: &Dim, bound: &Dim| whole == other && bound.as_constant().is_some_and(|c| c >= 2);
        is_pair(a, b) || is_pair(b, a)
    }

    /// The value when `size_of` knows every symbol; `None` for an unknown symbol, a division by zero or overflow.
    pub fn evaluate(&self, size_of: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
        let (terms, constant) = self.parts();
        let mut total = constant;
        for (product, coefficient) in terms {
            let mut value = *coefficient;
            for factor in product {
                value = value.checked_mul(factor.evaluate(size_of)?)?;
            }
            total = total.checked_add(value)?;
        }
        Some(total)
    }

    /// The expression with symbols replaced where `replace` returns a size.
    #[must_use]
    pub fn substitute(&self, replace: &dyn Fn(&str) -> Option<Dim>) -> Dim {
        let (terms, constant) = self.parts();
        terms.iter().fold(Dim::constant(constant), |total, (product, coefficient)| {
            let value = product.iter().fold(Dim::constant(*coefficient), |v, f| v.mul(&f.substitute(replace)));
            total.add(&value)
        })
    }

    /// Folds the expression bottom up, as a tree of binary operations.
    pub fn fold<T>(&self, build: &mut dyn FnMut(Fold<'_, T>) -> T) -> T {
        let (terms, constant) = self.parts();
        let mut total: Option<T> = None;
        for (product, coefficient) in terms {
            let mut value = if *coefficient == 1 { None } else { Some(build(Fold::Constant(*coefficient))) };
            for factor in product {
                let factor = factor.fold(build);
                value = Some(match value {
                    Some(value) => build(Fold::Multiply(value, factor)),
                    None => factor,
                });
            }
            let value = value.unwrap_or_else(|| build(Fold::Constant(1)));
            total = Some(match total {
                Some(total) => build(Fold::Add(total, value)),
                None => value,
            });
        }
        match total {
            Some(total) if constant == 0 => total,
            Some(total) => {
                let constant = build(Fold::Constant(constant));
                build(Fold::Add(total, constant))
            }
            None => build(Fold::Constant(constant)),
        }
    }

    /// Calls `visit` with every symbol in the expression, repeated as it occurs.
    pub fn visit_symbols(&self, visit: &mut dyn FnMut(&str)) {
        for (product, _) in self.parts().0 {
            for factor in product {
                match factor {
                    Factor::Symbol(name) => visit(name),
                    Factor::FloorDiv(a, b) | Factor::Modulo(a, b) | Factor::Min(a, b) | Factor::Max(a, b) => {
                        a.visit_symbols(visit);
                        b.visit_symbols(visit);
                    }
                }
            }
        }
    }
}

impl Factor {
    fn extent(&self) -> Extent {
        match self {
            Factor::Symbol(_) => Extent::LEAF,
            Factor::FloorDiv(a, b) | Factor::Modulo(a, b) | Factor::Min(a, b) | Factor::Max(a, b) => {
                let Extent { nodes, depth } = a.extent().with(b.extent());
                Extent { nodes: nodes.saturating_add(1), depth: depth + 1 }
            }
        }
    }

    fn bounds(&self) -> (i64, i64) {
        match self {
            Factor::Symbol(_) => (0, i64::MAX),
            Factor::FloorDiv(a, b) => match b.as_constant() {
                Some(b) if b > 0 => {
                    let (low, high) = a.bounds();
                    (
                        if low == i64::MIN { low } else { floor_div(low, b) },
                        if high == i64::MAX { high } else { floor_div(high, b) },
                    )
                }
                _ if a.lower_bound() >= 0 && b.lower_bound() >= 0 => (0, a.upper_bound()),
                _ => (i64::MIN, i64::MAX),
            },
            Factor::Modulo(_, b) => match b.as_constant() {
                Some(b) if b > 0 => (0, b - 1),
                _ if b.lower_bound() >= 0 => (0, b.upper_bound()),
                _ => (i64::MIN, i64::MAX),
            },
            Factor::Min(a, b) => {
                let ((la, ha), (lb, hb)) = (a.bounds(), b.bounds());
                (la.min(lb), ha.min(hb))
            }
            Factor::Max(a, b) => {
                let ((la, ha), (lb, hb)) = (a.bounds(), b.bounds());
                (la.max(lb), ha.max(hb))
            }
        }
    }

    fn evaluate(&self, size_of: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
        match self {
            Factor::Symbol(name) => size_of(name),
            Factor::FloorDiv(a, b) => {
                let (a, b) = (a.evaluate(size_of)?, b.evaluate(size_of)?);
                (b != 0).then(|| floor_div(a, b))
            }
            Factor::Modulo(a, b) => {
                let (a, b) = (a.evaluate(size_of)?, b.evaluate(size_of)?);
                (b != 0).then(|| a.wrapping_sub(b.wrapping_mul(floor_div(a, b))))
            }
            Factor::Min(a, b) => Some(a.evaluate(size_of)?.min(b.evaluate(size_of)?)),
            Factor::Max(a, b) => Some(a.evaluate(size_of)?.max(b.evaluate(size_of)?)),
        }
    }

    fn fold<T>(&self, build: &mut dyn FnMut(Fold<'_, T>) -> T) -> T {
        let (make, a, b): (fn(T, T) -> Fold<'static, T>, _, _) = match self {
            Factor::Symbol(name) => return build(Fold::Symbol(name)),
            Factor::FloorDiv(a, b) => (Fold::FloorDivide, a, b),
            Factor::Modulo(a, b) => (Fold::Modulo, a, b),
            Factor::Min(a, b) => (Fold::Minimum, a, b),
            Factor::Max(a, b) => (Fold::Maximum, a, b),
        };
        let (a, b) = (a.fold(build), b.fold(build));
        build(make(a, b))
    }

    fn substitute(&self, replace: &dyn Fn(&str) -> Option<Dim>) -> Dim {
        let both = |a: &Dim, b: &Dim| (a.substitute(replace), b.substitute(replace));
        match self {
            Factor::Symbol(name) => replace(name).unwrap_or_else(|| Dim::factor(self.clone())),
            Factor::FloorDiv(a, b) => {
                let (a, b) = both(a, b);
                a.floor_div(&b)
            }
            Factor::Modulo(a, b) => {
                let (a, b) = both(a, b);
                a.modulo(&b)
            }
            Factor::Min(a, b) => {
                let (a, b) = both(a, b);
                a.minimum(&b)
            }
            Factor::Max(a, b) => {
                let (a, b) = both(a, b);
                a.maximum(&b)
            }
        }
    }
}

fn sorted(a: &Dim, b: &Dim) -> (Dim, Dim) {
    if a <= b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) }
}

fn floor_div(a: i64, b: i64) -> i64 {
    let quotient = a.wrapping_div(b);
    if a.wrapping_rem(b) != 0 && ((a < 0) != (b < 0)) { quotient - 1 } else { quotient }
}

/// Product of upper bounds in which 0 wins over "unbounded".
fn times(a: i64, b: i64) -> i64 {
    a.saturating_mul(b)
}

/// A bound times a coefficient, keeping "unbounded" unbounded.
fn scaled(bound: i64, coefficient: i64) -> i64 {
    match (bound, coefficient.signum()) {
        (i64::MAX, 1) | (i64::MIN, -1) => i64::MAX,
        (i64::MIN, 1) | (i64::MAX, -1) => i64::MIN,
        _ => bound.saturating_mul(coefficient),
    }
}

impl From<i64> for Dim {
    fn from(value: i64) -> Self {
        Dim::constant(value)
    }
}

impl From<usize> for Dim {
    fn from(value: usize) -> Self {
        Dim::constant(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn n() -> Dim {
        Dim::symbol("N")
    }

    fn c(value: i64) -> Dim {
        Dim::constant(value)
    }

    #[test]
    fn equal_expressions_are_equal() {
        let s = Dim::symbol("S");
        assert_eq!(n().add(&s).mul(&c(2)), s.mul(&c(2)).add(&n()).add(&n()));
        assert_eq!(n().mul(&c(12)).floor_div(&c(4)), n().mul(&c(3)));
        assert_eq!(n().mul(&s).mul(&c(768)).floor_div(&n().mul(&s)), c(768));
        assert_eq!(n().sub(&n()), c(0));
        assert_eq!(n().mul(&c(6)).modulo(&c(3)), c(0));
    }

    #[test]
    fn comparison_is_three_valued() {
        assert_eq!(n().equals(&n()), Truth::Yes);
        assert_eq!(n().equals(&n().add(&c(1))), Truth::No);
        assert_eq!(n().equals(&c(3)), Truth::Unknown);
        assert_eq!(n().equals(&c(-1)), Truth::No);
        assert_eq!(c(i64::MIN + 1).equals(&c(i64::MIN)), Truth::No);
        assert_eq!(n().less_or_equal(&n().add(&c(2))), Truth::Yes);
        assert_eq!(n().floor_div(&c(2)).less_or_equal(&n()), Truth::Unknown);
        assert_eq!(n().modulo(&c(4)).less_or_equal(&c(3)), Truth::Yes);
    }

    #[test]
    fn min_and_max_fold_when_decided() {
        assert_eq!(n().maximum(&c(0)), n());
        assert_eq!(n().minimum(&n().add(&c(1))), n());
        assert_eq!(n().maximum(&c(5)).lower_bound(), 5);
    }

    #[test]
    fn cuts_are_known() {
        let cut = n().minimum(&c(512));
        assert!(cut.is_cut_of(&n()) && !cut.is_cut_of(&Dim::symbol("S")));
        assert!(!n().is_cut_of(&n()) && !c(3).is_cut_of(&n()));
        assert!(!n().minimum(&c(1)).is_cut_of(&n()), "1 broadcasts against any size");
    }

    #[test]
    fn repeated_squares_are_too_large() {
        let steps: [fn(&Dim) -> Dim; 3] =
            [|u| u.mul(u).add(&n()), |u| u.mul(u).add(&n()).floor_div(&c(97)), |u| u.add(&n()).floor_div(&c(3))];
        for (step, most) in steps.into_iter().zip([40, 10, 65]) {
            let mut size = n();
            let followed = (0..100).take_while(|_| {
                size = step(&size);
                !size.is_too_large()
            });
            assert!(followed.count() < most, "{} nodes", size.nodes());
            assert!(size.nodes() < 64 * MAX_NODES);
        }
        let nested = (0..50).fold(n(), |u, _| u.add(&n()).floor_div(&c(3)));
        assert_eq!((nested.depth(), nested.nodes()), (50, 3 * 50));
        let row = n().sub(&c(1)).floor_div(&c(2)).add(&c(1));
        assert_eq!((row.nodes(), row.depth()), (1 + 1 + 1 + 1 + 1, 1));
        assert!(!row.mul(&row).is_too_large());
    }

    #[test]
    fn long_products_stay_what_they_are() {
        let names: Vec<Dim> = (0..9).map(|i| Dim::symbol(&format!("S{i}"))).collect();
        let sum = names.iter().fold(c(1), |sum, name| sum.add(name));
        let product = sum.mul(&sum);
        for dim in [product.clone(), product.mul(&n()), product.add(&c(3)).mul(&sum), product.mul(&product)] {
            let again = dim.fold(&mut |node: Fold<'_, Dim>| match node {
                Fold::Constant(value) => c(value),
                Fold::Symbol(name) => Dim::symbol(name),
                Fold::Add(a, b) => a.add(&b),
                Fold::Multiply(a, b) => a.mul(&b),
                Fold::FloorDivide(a, b) if b == c(1) => a.opaque(),
                other => panic!("{other:?}"),
            });
            assert_eq!(again, dim, "as it is made again from its parts");
            assert_eq!(dim.to_string().parse::<Dim>().as_ref(), Ok(&dim), "as it is read again");
        }
        assert_eq!(product.evaluate(&|_| Some(2)), Some(19 * 19));
    }

    #[test]
    fn absurd_sizes_saturate() {
        let big = c(i64::MAX / 2);
        assert_eq!(big.mul(&big), c(i64::MAX));
        assert_eq!(c(7).floor_div(&c(0)).evaluate(&|_| None), None);
    }

    /// The same arithmetic on numbers and on expressions evaluated afterwards.
    #[derive(Clone, Debug)]
    enum Tree {
        Constant(i64),
        Symbol(usize),
        Node(u8, Box<Tree>, Box<Tree>),
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let leaf = prop_oneof![(-6i64..7).prop_map(Tree::Constant), (0usize..3).prop_map(Tree::Symbol)];
        leaf.prop_recursive(4, 24, 2, |inner| {
            (0u8..7, inner.clone(), inner).prop_map(|(op, a, b)| Tree::Node(op, Box::new(a), Box::new(b)))
        })
    }

    const NAMES: [&str; 3] = ["N", "S", "T"];

    fn build(tree: &Tree) -> Dim {
        match tree {
            Tree::Constant(v) => c(*v),
            Tree::Symbol(i) => Dim::symbol(NAMES[*i]),
            Tree::Node(op, a, b) => {
                let (a, b) = (build(a), build(b));
                match op {
                    0 => a.add(&b),
                    1 => a.sub(&b),
                    2 => a.mul(&b),
                    3 => a.floor_div(&b),
                    4 => a.modulo(&b),
                    5 => a.minimum(&b),
                    _ => a.maximum(&b),
                }
            }
        }
    }

    fn direct(tree: &Tree, sizes: &[i64; 3]) -> Option<i64> {
        Some(match tree {
            Tree::Constant(v) => *v,
            Tree::Symbol(i) => sizes[*i],
            Tree::Node(op, a, b) => {
                let (a, b) = (direct(a, sizes)?, direct(b, sizes)?);
                match op {
                    0 => a + b,
                    1 => a - b,
                    2 => a.checked_mul(b)?,
                    3 if b == 0 => return None,
                    3 => a.div_euclid(b) - i64::from(b < 0 && a.rem_euclid(b) != 0),
                    4 if b == 0 => return None,
                    4 => {
                        let r = a.rem_euclid(b);
                        if b < 0 && r != 0 { r + b } else { r }
                    }
                    5 => a.min(b),
                    _ => a.max(b),
                }
            }
        })
    }

    proptest! {
        #[test]
        fn canonical_form_keeps_the_value(t in tree(), sizes in [1i64..50, 1i64..50, 1i64..50]) {
            let dim = build(&t);
            let value = dim.evaluate(&|name| NAMES.iter().position(|n| *n == name).map(|i| sizes[i]));
            if let (Some(expected), Some(found)) = (direct(&t, &sizes), value) {
                prop_assert_eq!(expected, found, "{:?}", dim);
                prop_assert!(dim.lower_bound() <= found && found <= dim.upper_bound());
            }
        }

        #[test]
        fn text_form_parses_back(t in tree()) {
            let dim = build(&t);
            prop_assert_eq!(dim.to_string().parse::<Dim>().unwrap(), dim);
        }
    }
}
