//! The shape program: all sizes of a network as one flat list of integer operations.
//!
//! Registers hold the constants, then the named sizes, then one result per instruction. Running it is one pass without
//! allocation; equal expressions share registers.

use std::collections::HashMap;

use sinter_base::Dim;

/// One operation on two registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Operation {
    /// a + b.
    Add = 0,
    /// a - b.
    Subtract = 1,
    /// a * b.
    Multiply = 2,
    /// floor(a / b); an error when b is 0.
    FloorDivide = 3,
    /// a - b floor(a / b); an error when b is 0.
    Modulo = 4,
    /// The smaller.
    Minimum = 5,
    /// The larger.
    Maximum = 6,
}

impl Operation {
    const ALL: [Self; 7] =
        [Self::Add, Self::Subtract, Self::Multiply, Self::FloorDivide, Self::Modulo, Self::Minimum, Self::Maximum];

    /// The operation of a code in a plan file.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.code() == code)
    }

    /// The code in a plan file.
    pub fn code(self) -> u32 {
        match self {
            Self::Add => 0,
            Self::Subtract => 1,
            Self::Multiply => 2,
            Self::FloorDivide => 3,
            Self::Modulo => 4,
            Self::Minimum => 5,
            Self::Maximum => 6,
        }
    }

    /// The operation on dimensions; `None` for a division by zero.
    pub(crate) fn of_dims(self, a: &Dim, b: &Dim) -> Option<Dim> {
        let divides = b.as_constant() != Some(0);
        match self {
            Self::Add => Some(a.add(b)),
            Self::Subtract => Some(a.sub(b)),
            Self::Multiply => Some(a.mul(b)),
            Self::FloorDivide if b.as_constant() == Some(1) => Some(a.opaque()),
            Self::FloorDivide => divides.then(|| a.floor_div(b)),
            Self::Modulo => divides.then(|| a.modulo(b)),
            Self::Minimum => Some(a.minimum(b)),
            Self::Maximum => Some(a.maximum(b)),
        }
    }

    fn apply(self, a: i64, b: i64) -> Option<i64> {
        let floor = |a: i64, b: i64| {
            let quotient = a.checked_div(b)?;
            let rest = a.checked_rem(b)?;
            if rest != 0 && ((rest < 0) != (b < 0)) { quotient.checked_sub(1) } else { Some(quotient) }
        };
        match self {
            Self::Add => a.checked_add(b),
            Self::Subtract => a.checked_sub(b),
            Self::Multiply => a.checked_mul(b),
            Self::FloorDivide => floor(a, b),
            Self::Modulo => floor(a, b).and_then(|q| q.checked_mul(b)).and_then(|p| a.checked_sub(p)),
            Self::Minimum => Some(a.min(b)),
            Self::Maximum => Some(a.max(b)),
        }
    }
}

/// A register of a shape program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Register(pub u32);

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShapeProgram {
    constants: Vec<i64>,
    symbols: Vec<String>,
    instructions: Vec<(Operation, Register, Register)>,
}

/// A shape program that cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// An instruction refers to a register that is not computed before it.
    #[error("instruction {0} of the shape program refers to a later register")]
    Register(usize),
    /// A division by zero or an overflow for these sizes.
    #[error("instruction {0} of the shape program divides by zero or overflows for these sizes")]
    Arithmetic(usize),
}

impl ShapeProgram {
    /// A program from the parts of a plan file.
    ///
    /// # Errors
    /// When an instruction refers to a register that is not computed before it.
    pub fn from_parts(
        constants: Vec<i64>,
        symbols: Vec<String>,
        instructions: Vec<(Operation, Register, Register)>,
    ) -> Result<Self, ShapeError> {
        let first = constants.len() + symbols.len();
        for (position, (_, a, b)) in instructions.iter().enumerate() {
            if index(*a) >= first + position || index(*b) >= first + position {
                return Err(ShapeError::Register(position));
            }
        }
        Ok(Self { constants, symbols, instructions })
    }

    /// Constants, in the first registers.
    pub fn constants(&self) -> &[i64] {
        &self.constants
    }

    /// Named sizes, in the registers after the constants.
    pub fn symbols(&self) -> &[String] {
        &self.symbols
    }

    /// Instructions.
    pub fn instructions(&self) -> &[(Operation, Register, Register)] {
        &self.instructions
    }

    /// Number of registers.
    pub fn register_count(&self) -> usize {
        self.constants.len() + self.symbols.len() + self.instructions.len()
    }

    /// Register of a named size.
    pub fn symbol(&self, name: &str) -> Option<Register> {
        let position = self.symbols.iter().position(|s| s == name)?;
        u32::try_from(self.constants.len() + position).ok().map(Register)
    }

    /// The number in a register, when it holds a constant.
    pub fn constant_of(&self, register: Register) -> Option<i64> {
        self.constants.get(index(register)).copied()
    }

    /// The named size in a register, when it holds one.
    pub fn symbol_of(&self, register: Register) -> Option<&str> {
        let position = index(register).checked_sub(self.constants.len())?;
        self.symbols.get(position).map(String::as_str)
    }

    /// The instruction that fills a register, if one does.
    pub fn instruction_of(&self, register: Register) -> Option<(Operation, Register, Register)> {
        let position = index(register).checked_sub(self.constants.len() + self.symbols.len())?;
        self.instructions.get(position).copied()
    }

    /// All registers for named sizes; names without a size are 0.
    ///
    /// # Errors
    /// As [`ShapeProgram::run`].
    pub fn registers(&self, size: &dyn Fn(&str) -> Option<i64>) -> Result<Vec<i64>, ShapeError> {
        let mut registers = vec![0; self.register_count()];
        for (register, name) in registers.iter_mut().skip(self.constants.len()).zip(&self.symbols) {
            *register = size(name).unwrap_or(0);
        }
        self.run(&mut registers)?;
        Ok(registers)
    }

    /// Fills all registers; those of the named sizes must be set by the caller.
    ///
    /// # Errors
    /// On a division by zero or an overflow, and when `registers` has another length than the program.
    pub fn run(&self, registers: &mut [i64]) -> Result<(), ShapeError> {
        self.run_where(registers, |_| true)
    }

    /// As [`ShapeProgram::run`], but computes only the registers of these indices.
    ///
    /// # Errors
    /// As [`ShapeProgram::run`].
    pub fn run_where(&self, registers: &mut [i64], is_included: impl Fn(usize) -> bool) -> Result<(), ShapeError> {
        if registers.len() != self.register_count() {
            return Err(ShapeError::Register(0));
        }
        for (register, constant) in registers.iter_mut().zip(&self.constants) {
            *register = *constant;
        }
        let first = self.constants.len() + self.symbols.len();
        for (position, (operation, a, b)) in self.instructions.iter().enumerate() {
            if !is_included(first + position) {
                continue;
            }
            let (done, rest) = registers.split_at_mut(first + position);
            let (Some(a), Some(b)) = (done.get(index(*a)), done.get(index(*b))) else {
                return Err(ShapeError::Register(position));
            };
            let value = operation.apply(*a, *b).ok_or(ShapeError::Arithmetic(position))?;
            if let Some(register) = rest.first_mut() {
                *register = value;
            }
        }
        Ok(())
    }
}

fn index(register: Register) -> usize {
    usize::try_from(register.0).unwrap_or(usize::MAX)
}

/// Builds a shape program from dimensions.
#[derive(Debug, Default)]
pub struct ShapeCompiler {
    terms: Vec<Term>,
    known: HashMap<Term, usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Term {
    Constant(i64),
    Symbol(String),
    Apply(Operation, usize, usize),
}

/// A dimension inside a compiler; becomes a [`Register`] when the program is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(usize);

impl ShapeCompiler {
    fn term(&mut self, term: Term) -> usize {
        if let Some(known) = self.known.get(&term) {
            return *known;
        }
        self.terms.push(term.clone());
        self.known.insert(term, self.terms.len() - 1);
        self.terms.len() - 1
    }

    /// Makes sure that a named size has a register, used or not.
    pub fn symbol(&mut self, name: &str) -> Slot {
        Slot(self.term(Term::Symbol(name.to_owned())))
    }

    /// Adds a dimension.
    pub fn dim(&mut self, dim: &Dim) -> Slot {
        let position = dim.fold(&mut |node| match node {
            sinter_base::dim::Fold::Constant(v) => self.term(Term::Constant(v)),
            sinter_base::dim::Fold::Symbol(name) => self.term(Term::Symbol(name.to_owned())),
            sinter_base::dim::Fold::Add(a, b) => self.term(Term::Apply(Operation::Add, a, b)),
            sinter_base::dim::Fold::Multiply(a, b) => self.term(Term::Apply(Operation::Multiply, a, b)),
            sinter_base::dim::Fold::FloorDivide(a, b) => self.term(Term::Apply(Operation::FloorDivide, a, b)),
            sinter_base::dim::Fold::Modulo(a, b) => self.term(Term::Apply(Operation::Modulo, a, b)),
            sinter_base::dim::Fold::Minimum(a, b) => self.term(Term::Apply(Operation::Minimum, a, b)),
            sinter_base::dim::Fold::Maximum(a, b) => self.term(Term::Apply(Operation::Maximum, a, b)),
        });
        Slot(position)
    }

    /// The program, and the register of each slot.
    pub fn finish(self) -> (ShapeProgram, impl Fn(Slot) -> Register) {
        let count = |required: fn(&Term) -> bool| {
            u32::try_from(self.terms.iter().filter(|term| required(term)).count()).unwrap_or(u32::MAX)
        };
        let first_symbol = count(|term| matches!(term, Term::Constant(_)));
        let first_result = first_symbol.saturating_add(count(|term| matches!(term, Term::Symbol(_))));
        let (mut constants, mut symbols, mut results) = (0.., first_symbol.., first_result..);
        let number = |term: &Term| match term {
            Term::Constant(_) => constants.next(),
            Term::Symbol(_) => symbols.next(),
            Term::Apply(..) => results.next(),
        };
        let registers: Vec<Register> = self.terms.iter().filter_map(number).map(Register).collect();
        let register = move |Slot(position): Slot| registers.get(position).copied().unwrap_or(NOWHERE);
        let mut program = ShapeProgram::default();
        for term in self.terms {
            match term {
                Term::Constant(value) => program.constants.push(value),
                Term::Symbol(name) => program.symbols.push(name),
                Term::Apply(op, a, b) => program.instructions.push((op, register(Slot(a)), register(Slot(b)))),
            }
        }
        (program, register)
    }
}

/// The register of a slot of another compiler: no program has it, so that readers refuse it.
const NOWHERE: Register = Register(u32::MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_compute_the_values_of_dimensions() {
        let (n, s) = (Dim::symbol("N"), Dim::symbol("S"));
        let dims = [
            n.mul(&s).add(&Dim::constant(7)),
            s.ceil_div(&Dim::constant(4)),
            n.minimum(&s).mul(&Dim::constant(3)),
            s.sub(&n).modulo(&Dim::constant(5)),
            Dim::constant(42),
        ];
        let mut compiler = ShapeCompiler::default();
        let slots: Vec<Slot> = dims.iter().map(|d| compiler.dim(d)).collect();
        let (program, register) = compiler.finish();
        let again = ShapeProgram::from_parts(
            program.constants().to_vec(),
            program.symbols().to_vec(),
            program.instructions().to_vec(),
        );
        assert_eq!(again.as_ref(), Ok(&program));
        for (n_size, s_size) in [(1, 1), (2, 9), (5, 3)] {
            let size = |name: &str| Some(if name == "N" { n_size } else { s_size });
            let mut registers = vec![0; program.register_count()];
            for (i, name) in program.symbols().iter().enumerate() {
                registers[program.constants().len() + i] = size(name).unwrap();
            }
            program.run(&mut registers).unwrap();
            for (dim, slot) in dims.iter().zip(&slots) {
                assert_eq!(Some(registers[register(*slot).0 as usize]), dim.evaluate(&size), "{dim}");
            }
        }
    }

    #[test]
    fn damaged_programs_are_errors() {
        let add = (Operation::Add, Register(0), Register(1));
        assert_eq!(ShapeProgram::from_parts(vec![1], vec![], vec![add]), Err(ShapeError::Register(0)));
        let divide = (Operation::FloorDivide, Register(0), Register(1));
        let program = ShapeProgram::from_parts(vec![1, 0], vec![], vec![divide]).unwrap();
        assert_eq!(program.run(&mut [0; 3]), Err(ShapeError::Arithmetic(0)));
    }
}
