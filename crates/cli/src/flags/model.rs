//! Options of a build: `--shapes`, `--runtime-inputs`, `--disable`, `--dump-after`, `--max-memory`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use clap::builder::PossibleValuesParser;
use sinter::internals::builder::{SizeHints, Verify};
use sinter::internals::import_onnx::ImportOptions;
use sinter::internals::ir::Network;
use sinter::internals::passes::pipeline::Dump;
use sinter::internals::passes::{PassOptions, pass_names};
use sinter::internals::runtime::default_memory;
use sinter::internals::source::network_inputs;
use sinter::internals::values::{self, Role};

use crate::failure::Failure;
use crate::files::Files;
use crate::flags::{ByteSize, PrecisionFlags, TuningFlags, check_verify_data};

/// How a model is made into a plan.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Model")]
pub struct ModelFlags {
    /// Pin the sizes of inputs: NAME:1x3x224x224,OTHER:1x128
    ///
    /// A name ends at the last colon. A symbolic dimension that one input pins is pinned everywhere; dimensions that
    /// nothing pins stay dynamic, and the engine takes any size for them. With a plan: the sizes of inputs that are synthetic.
    #[arg(long, value_name = "NAME:SIZES,...", value_delimiter = ',')]
    shapes: Vec<Shape>,

    /// Keep inputs that the model gives a value: NAME,...
    ///
    /// An input that has an initializer is built in as a constant: many exporters list every weight as an input. One that
    /// is named here stays an input, with its initializer as the default. Of a model, `run`, `bench` and `diff` also keep
    /// those that an .npz file of --inputs gives.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    runtime_inputs: Vec<String>,

    /// Names that the user gives values for.
    #[arg(skip)]
    given_inputs: Vec<String>,

    /// What the plan computes in.
    #[command(flatten)]
    pub precision: PrecisionFlags,

    /// Leave a pass out; may be given several times
    #[arg(long, value_name = "PASS", value_parser = PossibleValuesParser::new(pass_names()), hide_possible_values = true)]
    disable: Vec<String>,

    /// Show the network after a pass, on standard error
    ///
    /// `sinter inspect MODEL` lists the passes and what they did.
    #[arg(long, value_name = "PASS", value_parser = PossibleValuesParser::new(pass_names()), hide_possible_values = true)]
    dump_after: Option<String>,

    /// Make a plan that `sinter refit` can give other weights
    ///
    /// The build then looks at types and sizes of the model's weights only, not at their elements, and the plan keeps how each
    /// of its weights follows from them. It can be a little slower: a factor that happens to be 1 stays.
    #[arg(long)]
    refittable: bool,

    /// Do not compare the engine with the reference executor
    ///
    /// A build runs the network by plain reference code and compares every kernel with it; one that disagrees is dropped
    /// and reported. Without the comparison a build is faster, and its plan is not verified.
    #[arg(long, conflicts_with = "verify_data")]
    no_verify: bool,

    /// Inputs to verify with: an .npz file, or a folder of input_K.pb [default: synthetic]
    #[arg(long, value_name = "DATA")]
    verify_data: Option<PathBuf>,

    /// Largest amount of memory for weights and values, such as 2G [default: half of the machine's]
    ///
    /// Checked before anything is allocated: a small file can declare tensors of any size.
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    max_memory: Option<ByteSize>,

    /// What a build may learn and remember.
    #[command(flatten)]
    pub tuning: TuningFlags,
}

/// Sizes of one input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Name of the input.
    pub name: String,
    /// Its sizes.
    pub sizes: Vec<usize>,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, sizes) = text.rsplit_once(':').ok_or_else(|| match text.parse::<usize>() {
            // A comma separates inputs.
            Ok(_) => format!("'{text}' names no input; sizes stand with x between them, as in NAME:1x{text}"),
            Err(_) => format!("'{text}' has no colon; write NAME:1x3x224x224"),
        })?;
        if name.is_empty() {
            return Err(format!("'{text}' names no input; write NAME:1x3x224x224"));
        }
        let size = |s: &str| s.parse().map_err(|_| format!("'{s}' in '{text}' is no size; write NAME:1x3x224x224"));
        // An empty text after the colon means a scalar.
        let sizes: Result<Vec<usize>, String> = sizes.split('x').filter(|s| !s.is_empty()).map(size).collect();
        Ok(Self { name: name.to_owned(), sizes: sizes? })
    }
}

impl ModelFlags {
    /// What the importer is told; `inputs` are sizes of given inputs, which `--shapes` may repeat.
    ///
    /// # Errors
    /// When two flags give one input different sizes.
    pub fn import_options(&self, inputs: &[Shape]) -> Result<ImportOptions, Failure> {
        let mut shapes: HashMap<String, Vec<usize>> = HashMap::new();
        for shape in self.shapes.iter().chain(inputs) {
            let known = shapes.entry(shape.name.clone()).or_insert_with(|| shape.sizes.clone());
            if *known != shape.sizes {
                let what = format!("input '{}' would be {known:?} and {:?} at once", shape.name, shape.sizes);
                return Err(Failure::usage(what).help("give --shapes that match --inputs, or leave one of them out"));
            }
        }
        let max_bytes = usize::try_from(self.max_memory()).unwrap_or(usize::MAX);
        let runtime_inputs = self.runtime_inputs.iter().chain(&self.given_inputs).cloned().collect();
        Ok(ImportOptions { shapes, runtime_inputs, max_bytes })
    }

    /// The same flags, where the user gives values for these names.
    #[must_use]
    pub fn with_given_inputs(&self, names: Vec<String>) -> Self {
        Self { given_inputs: names, ..self.clone() }
    }

    /// Are there such names?
    pub fn has_given_inputs(&self) -> bool {
        !self.given_inputs.is_empty()
    }

    /// Holds the names of `--runtime-inputs` against the inputs of the model.
    ///
    /// # Errors
    /// When there is no such input.
    pub fn check_runtime_inputs(&self, network: &Network) -> Result<(), Failure> {
        let inputs: Vec<&str> = network.inputs.iter().map(|input| input.name.as_str()).collect();
        match self.runtime_inputs.iter().find(|name| !inputs.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let what = format!("--runtime-inputs: the model has no input '{name}'; it has {}", inputs.join(", "));
                Err(Failure::usage(what).help("a weight that the model does not list as an input is a constant"))
            }
        }
    }

    /// What the passes are told; networks to be shown go to `dump`.
    pub fn pass_options<'a>(&self, dump: Dump<'a>) -> PassOptions<'a> {
        let disabled = self.disable.iter().cloned().collect();
        PassOptions { disabled, dump_after: self.dump_after.clone(), dump: Some(dump) }
    }

    /// What a build is verified with; `sizes` bound those that stay dynamic.
    ///
    /// # Errors
    /// When the data is missing, damaged or does not fit the network or the sizes.
    pub fn verify(&self, network: &Network, sizes: &SizeHints) -> Result<Verify, Failure> {
        let Some(path) = &self.verify_data else {
            return Ok(if self.no_verify { Verify::Off } else { Verify::Generated });
        };
        let limit = usize::try_from(self.max_memory()).unwrap_or(usize::MAX);
        let values = values::read(path, Role::Input, &network_inputs(network), limit)?.into_iter().collect();
        check_verify_data(&values, sizes, network)?;
        Ok(Verify::Given(values))
    }

    /// Takes in the files that a build reads besides the model, and those that it writes besides the plan.
    pub fn name_files<'a>(&'a self, files: &mut Files<'a>) {
        files.reads("the data to verify with", self.verify_data.as_deref());
        self.tuning.name_files(files);
    }

    /// Is verification refused?
    pub fn no_verify(&self) -> bool {
        self.no_verify
    }

    /// The bound on memory.
    pub fn max_memory(&self) -> u64 {
        self.max_memory.map_or_else(|| default_memory() as u64, |size| size.0)
    }

    /// Is the plan to be refittable?
    pub fn refittable(&self) -> bool {
        self.refittable
    }

    /// Sizes that the user gives inputs.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// A plan is built already: flags that would change it are refused, not ignored.
    ///
    /// # Errors
    /// Names the flag.
    pub fn refuse_for_plan(&self) -> Result<(), Failure> {
        match self.shapes.is_empty() {
            true => self.refuse_building_for_plan(),
            false => Err(Failure::usage("--shapes applies to models, and to inputs of plans that are synthetic")
                .help("give the flag to `sinter build`, or leave it out")),
        }
    }

    /// As [`ModelFlags::refuse_for_plan`], but accepts `--shapes`, which gives the sizes of synthetic inputs.
    ///
    /// # Errors
    /// Names the flag.
    pub fn refuse_building_for_plan(&self) -> Result<(), Failure> {
        let given = [
            ("--runtime-inputs", !self.runtime_inputs.is_empty()),
            ("--disable", !self.disable.is_empty()),
            ("--refittable", self.refittable),
            ("--no-verify", self.no_verify),
            ("--verify-data", self.verify_data.is_some()),
            ("--dump-after", self.dump_after.is_some()),
        ];
        let mut given = given.into_iter().chain(self.precision.given()).chain(self.tuning.given());
        match given.find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => Err(Failure::usage(format!("{flag} applies to models; a plan is built already"))
                .help("give the flag to `sinter build`, or hand in the model instead of the plan")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_the_last_colon() {
        let shape: Shape = "serving_default/x:0:1x3x224".parse().unwrap();
        assert_eq!(shape, Shape { name: "serving_default/x:0".into(), sizes: vec![1, 3, 224] });
        assert_eq!("scalar:".parse::<Shape>().unwrap().sizes, Vec::<usize>::new());
        for (wrong, hint) in [
            ("x", "has no colon; write NAME:1x3"),
            (":1x2", "names no input"),
            ("x:1xa", "'a' in 'x:1xa' is no size"),
            ("x:-1", "is no size"),
            ("32", "sizes stand with x between them, as in NAME:1x32"),
        ] {
            let error = wrong.parse::<Shape>().unwrap_err();
            assert!(error.contains(hint), "{wrong}: {error}");
        }
    }
}
