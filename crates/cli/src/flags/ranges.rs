//! Ranges of dynamic dimensions: `--min-shapes`, `--opt-shapes`, `--max-shapes`.

use std::collections::HashMap;

use clap::Args;
use sinter::internals::base::{Value, ValueType};
use sinter::internals::builder::{SizeHint, SizeHints};
use sinter::internals::ir::Network;

use crate::failure::Failure;
use crate::flags::Shape;

/// What is known of sizes that stay dynamic.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Dynamic dimensions")]
pub struct RangeFlags {
    /// Smallest sizes of inputs whose dimensions stay dynamic: NAME:1x128,OTHER:1x128
    ///
    /// The engine refuses smaller ones and says so. An input that is named a second time begins a second profile of sizes,
    /// and so on: `--opt-shapes x:1x3x224x224 --opt-shapes x:64x3x224x224` chooses kernels for both, and each run launches
    /// those of the profile that its sizes belong to.
    #[arg(long, value_name = "NAME:SIZES,...", value_delimiter = ',')]
    min_shapes: Vec<Shape>,

    /// Usual sizes of inputs whose dimensions stay dynamic: kernels are timed for these
    ///
    /// The engine takes other sizes as well, within --min-shapes and --max-shapes. Without it kernels are timed for the
    /// sizes of --verify-data, else for batches of one and 64 of everything else.
    #[arg(long, value_name = "NAME:SIZES,...", value_delimiter = ',')]
    opt_shapes: Vec<Shape>,

    /// Largest sizes of inputs whose dimensions stay dynamic
    ///
    /// The engine refuses larger ones and says so; --max-memory bounds what these sizes need.
    #[arg(long, value_name = "NAME:SIZES,...", value_delimiter = ',')]
    max_shapes: Vec<Shape>,
}

/// One of the three values of a hint.
type Part = fn(&mut SizeHint) -> &mut Option<i64>;

impl RangeFlags {
    /// What the flags say of the named sizes of a network's inputs, by profile; at least one.
    ///
    /// # Errors
    /// When a flag names no input, sizes do not fit the input, or the three contradict each other.
    pub fn profiles(&self, network: &Network) -> Result<Vec<SizeHints>, Failure> {
        let mut profiles = vec![SizeHints::default()];
        let flags: [(&str, &[Shape], Part); 3] = [
            ("--min-shapes", &self.min_shapes, |hint| &mut hint.min),
            ("--opt-shapes", &self.opt_shapes, |hint| &mut hint.opt),
            ("--max-shapes", &self.max_shapes, |hint| &mut hint.max),
        ];
        for (flag, shapes, part) in flags {
            for (position, shape) in shapes.iter().enumerate() {
                // A repeated name of an input belongs to the next profile.
                let profile = shapes.iter().take(position).filter(|earlier| earlier.name == shape.name).count();
                if profiles.len() <= profile {
                    profiles.resize_with(profile + 1, SizeHints::default);
                }
                take(flag, shape, part, network, &mut profiles[profile])?;
            }
        }
        for (name, SizeHint { min, opt, max }) in profiles.iter().flat_map(|profile| &profile.0) {
            let order = [("--min-shapes", min), ("--opt-shapes", opt), ("--max-shapes", max)];
            let given: Vec<(&str, i64)> = order.into_iter().filter_map(|(flag, size)| Some((flag, (*size)?))).collect();
            if let Some([(flag, size), (above, bound)]) = given.array_windows().find(|[(_, a), (_, b)]| a > b) {
                let what = format!("{flag} gives the size '{name}' as {size}, {above} as {bound}");
                return Err(Failure::usage(what).help("give sizes with min <= opt <= max"));
            }
        }
        Ok(profiles)
    }
}

/// Checks that inputs to verify with have sizes that the engine takes.
///
/// # Errors
/// Names the input, and the flags that contradict each other.
pub fn check_verify_data(values: &HashMap<String, Value>, sizes: &SizeHints, network: &Network) -> Result<(), Failure> {
    for input in &network.inputs {
        let Some(found) = values.get(&input.name).and_then(Value::as_tensor) else { continue };
        let Some(dims) = network.body.ty(input.value).as_tensor().and_then(|tensor| tensor.dims().ok()) else {
            continue;
        };
        for (axis, (dim, size)) in dims.iter().zip(found.sizes()).enumerate() {
            let Some((symbol, hint)) = dim.as_symbol().and_then(|s| Some((s, sizes.0.get(s)?))) else { continue };
            let size = i64::try_from(*size).unwrap_or(i64::MAX);
            let broken = [
                hint.min.filter(|min| size < *min).map(|min| format!("at least {min} by --min-shapes")),
                hint.max.filter(|max| size > *max).map(|max| format!("at most {max} by --max-shapes")),
            ];
            if let Some(bound) = broken.into_iter().flatten().next() {
                let what = format!(
                    "--verify-data gives input '{}' the size {size} along axis {axis} ('{symbol}'), which is {bound}",
                    input.name
                );
                return Err(Failure::usage(what).help("give data within these sizes, or flags that take it in"));
            }
        }
    }
    Ok(())
}

fn take(flag: &str, shape: &Shape, part: Part, network: &Network, hints: &mut SizeHints) -> Result<(), Failure> {
    let Shape { name, sizes } = shape;
    let help = "`sinter inspect MODEL` shows the inputs and their types";
    let Some(input) = network.inputs.iter().find(|input| input.name == *name) else {
        let known: Vec<&str> = network.inputs.iter().map(|input| input.name.as_str()).collect();
        let what =
            format!("{flag} names the input '{name}', which the model does not have; it has {}", known.join(", "));
        return Err(Failure::usage(what).help(help));
    };
    let ty: &ValueType = network.body.ty(input.value);
    let misfit = || Failure::usage(format!("{flag} gives input '{name}' the sizes {sizes:?}, it is {ty}")).help(help);
    let dims = ty.as_tensor().and_then(|tensor| tensor.dims().ok()).ok_or_else(misfit)?;
    if dims.len() != sizes.len() {
        return Err(misfit());
    }
    for (dim, size) in dims.iter().zip(sizes) {
        let size = i64::try_from(*size).map_err(|_| misfit())?;
        match dim.as_symbol() {
            None if dim.as_constant() == Some(size) => {}
            None => return Err(misfit()),
            Some(symbol) => {
                let known = part(hints.0.entry(symbol.to_owned()).or_default()).get_or_insert(size);
                if *known != size {
                    let what = format!("{flag} gives the size '{symbol}' as {known} and as {size}");
                    return Err(Failure::usage(what).help("inputs that share a named size must agree on it"));
                }
            }
        }
    }
    Ok(())
}
