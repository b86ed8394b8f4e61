//! The text form of every operator's examples is parsed back.

use sinter_base::{Location, Value};
use sinter_ir::{Handle, Network, NetworkBuilder};
use sinter_ops::catalog;

/// Prints, parses and prints again.
pub(crate) fn check(network: &Network) -> Result<(), String> {
    let text = network.to_string();
    let parsed: Network = text.parse().map_err(|e: sinter_ir::TextError| {
        format!("{e}\n{}", text.lines().nth(e.line.saturating_sub(1)).unwrap_or_default())
    })?;
    let again = parsed.to_string();
    match text.lines().zip(again.lines()).find(|(a, b)| a != b) {
        Some((a, b)) => Err(format!("{a}\nbecame\n{b}")),
        None if text.len() != again.len() => Err("lines were lost".to_owned()),
        None => sinter_ir::verify(&parsed).map_err(|e| e.to_string()),
    }
}

#[test]
fn operator_examples_are_parsed_back() {
    let (mut checked, mut failures) = (0, Vec::new());
    for info in catalog::ALL {
        for (number, example) in info.examples().into_iter().enumerate() {
            let mut builder = NetworkBuilder::new();
            // Small tensors are weights, so that contents that shapes depend on are known.
            let inputs: Vec<Option<Handle>> = example
                .values(7)
                .iter()
                .enumerate()
                .map(|(i, value)| {
                    Some(match value.as_ref()? {
                        Value::Tensor(tensor) => builder.add_weight(&format!("w{i}"), tensor.clone()),
                        other => builder.add_network_input(&format!("x{i}"), other.value_type(), None),
                    })
                })
                .collect();
            let Ok(results) = builder.add(example.op.clone(), &inputs, &Location::default()) else { continue };
            let outputs: Vec<(String, Handle)> =
                results.iter().enumerate().map(|(i, handle)| (format!("y{i}"), *handle)).collect();
            checked += 1;
            if let Err(reason) = check(&builder.finish("example", &outputs)) {
                failures.push(format!("{} {number}: {reason}", info.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(checked > 300, "only {checked} examples");
}
