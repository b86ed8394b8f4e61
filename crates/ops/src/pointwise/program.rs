//! Programs: hash-consed lists of scalar operations with several results.

use sinter_base::{Attr, Attribute, AttributeError, DataType};
use smallvec::SmallVec;

use crate::pointwise::scalar::{Class, Scalar, ScalarOp};

/// One step of a program. Arguments are positions of earlier steps.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// An operand.
    Input {
        /// Position of the operand.
        index: usize,
        /// Its element type.
        data_type: DataType,
    },
    /// A constant.
    Constant {
        /// Its type.
        data_type: DataType,
        /// Its value, already of that type.
        value: Scalar,
    },
    /// An operation.
    Apply {
        /// The operation.
        op: ScalarOp,
        /// The type it computes in.
        compute: DataType,
        /// Positions of its arguments.
        args: SmallVec<[usize; 3]>,
    },
}

impl Step {
    /// Type of the step's value.
    pub fn data_type(&self) -> DataType {
        match self {
            Step::Input { data_type, .. } | Step::Constant { data_type, .. } => *data_type,
            Step::Apply { op, compute, .. } => op.result_type(*compute),
        }
    }
}

/// A list of steps and the positions of its results. Equal steps stand once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    steps: Vec<Step>,
    results: Vec<usize>,
}

impl Program {
    /// Adds a step, or finds an equal one.
    ///
    /// # Errors
    /// When arguments do not exist or have types that the operation does not take.
    pub fn add(&mut self, step: Step) -> Result<usize, AttributeError> {
        if let Some(known) = self.steps.iter().position(|s| *s == step) {
            return Ok(known);
        }
        if let Step::Apply { op, compute, args } = &step {
            self.check(*op, *compute, args)?;
        }
        self.steps.push(step);
        Ok(self.steps.len() - 1)
    }

    fn check(&self, op: ScalarOp, compute: DataType, args: &[usize]) -> Result<(), AttributeError> {
        let fail = |what: &str| Err(AttributeError::new(format!("{}.{compute}: {what}", op.name())));
        if args.len() != op.arity() || args.iter().any(|&a| a >= self.steps.len()) {
            return fail("wrong arguments");
        }
        let types: SmallVec<[DataType; 3]> = args.iter().map(|&a| self.steps[a].data_type()).collect();
        let all = |expected: DataType| types.iter().all(|t| *t == expected);
        let right = match op.class() {
            Class::FloatUnary | Class::FloatTest => compute.is_float() && all(compute),
            Class::Unary | Class::Binary => (compute.is_float() || compute.is_integer()) && all(compute),
            Class::IntegerBinary => compute.is_integer() && all(compute),
            Class::Comparison => compute != DataType::String && all(compute),
            Class::Logic => compute == DataType::Bool && all(DataType::Bool),
            Class::Select => types[0] == DataType::Bool && types[1] == compute && types[2] == compute,
            Class::Cast => compute != DataType::String,
        };
        if right { Ok(()) } else { fail(&format!("arguments of types {types:?}")) }
    }

    /// Declares the results.
    ///
    /// # Errors
    /// When a position does not exist.
    pub fn set_results(&mut self, results: Vec<usize>) -> Result<(), AttributeError> {
        if results.iter().any(|&r| r >= self.steps.len()) {
            return Err(AttributeError::new("a result that is no step"));
        }
        self.results = results;
        Ok(())
    }

    /// The steps in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Positions of the results.
    pub fn results(&self) -> &[usize] {
        &self.results
    }

    /// Types of the results.
    pub fn result_types(&self) -> Vec<DataType> {
        self.results.iter().map(|&r| self.steps[r].data_type()).collect()
    }

    /// Operations per element: everything that is neither operand nor constant.
    pub fn operation_count(&self) -> usize {
        self.steps.iter().filter(|s| matches!(s, Step::Apply { .. })).count()
    }

    /// Computes all steps for one element, into `values`, which is cleared first.
    pub fn evaluate(&self, inputs: &[Scalar], values: &mut Vec<Scalar>) {
        values.clear();
        for step in &self.steps {
            let value = match step {
                Step::Input { index, .. } => inputs[*index],
                Step::Constant { value, .. } => *value,
                Step::Apply { op, compute, args } => {
                    let args: SmallVec<[Scalar; 3]> = args.iter().map(|&a| values[a]).collect();
                    op.evaluate(*compute, &args)
                }
            };
            values.push(value);
        }
    }

    fn step_text(step: &Step) -> String {
        match step {
            Step::Input { index, data_type } => format!("input.{data_type} {index}"),
            Step::Constant { data_type, value: Scalar::Float(v) } => format!("const.{data_type} {v:?}"),
            Step::Constant { data_type, value: Scalar::Int(v) } => format!("const.{data_type} {v}"),
            Step::Apply { op, compute, args } => {
                let args: Vec<String> = args.iter().map(|a| format!("%{a}")).collect();
                format!("{}.{compute} {}", op.name(), args.join(" "))
            }
        }
    }

    fn parse_step(text: &str) -> Result<Step, AttributeError> {
        let wrong = || AttributeError::new(format!("'{text}' is no scalar operation"));
        let (head, rest) = text.split_once(' ').ok_or_else(wrong)?;
        let (name, data_type) = head.rsplit_once('.').ok_or_else(wrong)?;
        let data_type: DataType = data_type.parse().map_err(|_| wrong())?;
        match name {
            "input" => Ok(Step::Input { index: rest.parse().map_err(|_| wrong())?, data_type }),
            "const" if data_type.is_float() => {
                Ok(Step::Constant { data_type, value: Scalar::Float(rest.parse().map_err(|_| wrong())?) })
            }
            "const" => Ok(Step::Constant { data_type, value: Scalar::Int(rest.parse().map_err(|_| wrong())?) }),
            _ => {
                let op = ScalarOp::from_name(name).ok_or_else(wrong)?;
                let arg = |a: &str| a.strip_prefix('%').and_then(|a| a.parse().ok());
                let args: Option<SmallVec<[usize; 3]>> = rest.split(' ').map(arg).collect();
                Ok(Step::Apply { op, compute: data_type, args: args.ok_or_else(wrong)? })
            }
        }
    }
}

impl Attribute for Program {
    fn to_attr(&self) -> Attr {
        let steps = self.steps.iter().map(|s| Attr::Text(Self::step_text(s))).collect();
        Attr::Record {
            variant: String::new(),
            fields: vec![("steps".to_owned(), Attr::List(steps)), ("results".to_owned(), self.results.to_attr())],
        }
    }

    fn from_attr(attr: &Attr) -> Result<Self, AttributeError> {
        let reader = sinter_base::attribute::FieldReader::new(attr)?;
        reader.finish(&["steps", "results"])?;
        let mut program = Program::default();
        for (position, text) in reader.field::<Vec<String>>("steps")?.iter().enumerate() {
            if program.add(Self::parse_step(text)?)? != position {
                return Err(AttributeError::new(format!("'{text}' stands twice")));
            }
        }
        program.set_results(reader.field("results")?)?;
        Ok(program)
    }

    fn schema() -> String {
        "list of scalar operations".to_owned()
    }
}
