//! A network with inputs at two sizes.

use std::collections::HashMap;
use std::fmt;

use sinter_base::Value;
use sinter_ir::Network;

/// See the module documentation.
#[derive(Clone)]
pub struct Problem {
    /// The network as an importer would return it.
    pub network: Network,
    /// Inputs by name for each run. Dynamic dimensions have other sizes in the second.
    pub sets: [HashMap<String, Value>; 2],
}

/// Elements of an input that are printed.
const SHOWN: usize = 40;

fn described(value: &Value) -> String {
    let Some(tensor) = value.as_tensor() else { return format!("{}", value.value_type()) };
    let elements: Vec<String> = match tensor.strings() {
        Ok(strings) => strings.iter().take(SHOWN).map(|text| format!("{text:?}")).collect(),
        Err(_) => tensor.to_floats().into_iter().take(SHOWN).map(|v| v.to_string()).collect(),
    };
    let rest = if tensor.count() > SHOWN { ", ..." } else { "" };
    format!("{}{:?} [{}{rest}]", tensor.data_type(), tensor.sizes(), elements.join(", "))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.network)?;
        for (number, set) in self.sets.iter().enumerate() {
            for input in &self.network.inputs {
                if let Some(value) = set.get(&input.name) {
                    writeln!(f, "run {number}, {}: {}", input.name, described(value))?;
                }
            }
        }
        Ok(())
    }
}
