//! Networks in f16 and bf16: built with verification, so that every kernel agrees with its own definition, the plan with the
//! narrow network, and its outputs with those in f32 within the bound of the precision.

use std::collections::HashMap;

use sinter_base::{DataType, Location, Tensor, Value, ValueType};
use sinter_builder::{BuildError, BuildOptions, Built, Precision, PrecisionError, PrecisionOptions, Verify, build};
use sinter_conformance::engine::{check_kernels, run_here};
use sinter_conformance::odd_networks;
use sinter_conformance::random::grown;
use sinter_cpu::Cpu;
use sinter_ir::{Network, NetworkBuilder};
use sinter_ops::matmul::MatMul;
use sinter_ops::pointwise::{Expr, ScalarOp};

use crate::models::{network_of, onnx_models, tensors};

const NARROW: [Precision; 2] = [Precision::Fp16, Precision::Bf16];

/// Networks of every run of the tests.
const RANDOM: u64 = 150;

/// Largest file of a model here.
const MOST_BYTES: u64 = 4 << 20;

/// Models whose large layers the kernels of the CPU compute in plain loops where the type is narrow.
const SLOW: &[&str] = &[
    "basic-pitch",
    "dnsmos-sig",
    "dnsmos-sig-dynint8",
    "magika-v3-3",
    "fastestdet-qdq-int8",
    "gtcrn-simple",
    "mnv3-face-heatmap",
    "resnet-block",
    "yunet-n-320",
    "yunet-n-320-fp16",
];

fn options(precision: Precision, verify: Verify) -> BuildOptions<'static> {
    let precision = PrecisionOptions { network: precision, ..PrecisionOptions::default() };
    BuildOptions { threads: 2, precision, verify, max_memory: 2 << 30, ..BuildOptions::default() }
}

/// A plan in a precision, all of whose kernels agree.
fn built(network: &Network, precision: Precision, verify: Verify) -> Result<Built, BuildError> {
    let built = build(network, &Cpu, options(precision, verify))?;
    if let Some(dropped) = built.verification.dropped.first() {
        let reason = format!("dropped: {}: {}: {}", dropped.name, dropped.origin, dropped.reason);
        return Err(BuildError::Disagrees { reason });
    }
    Ok(built)
}

#[test]
fn odd_networks_have_narrow_plans() {
    let (mut wrong, mut narrow) = (Vec::new(), 0);
    for network in odd_networks::networks() {
        // A network without kernels has none in a narrow type either.
        if sinter_conformance::engine::built(&network).is_err() {
            continue;
        }
        for precision in NARROW {
            match built(&network, precision, Verify::Generated) {
                Ok(built) => narrow += built.plan.report.and_then(|r| r.precision).map_or(0, |report| report.narrow),
                Err(error) => wrong.push(format!("{} in {precision}: {error}", network.name)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(narrow > 100, "only {narrow} narrow nodes");
}

#[test]
fn random_networks_have_narrow_plans() {
    let (mut wrong, mut agreed) = (Vec::new(), 0);
    for seed in 0..RANDOM {
        let problem = grown(seed);
        let precision = NARROW[usize::from(seed % 2 == 1)];
        match built(&problem.network, precision, Verify::Given(problem.sets[0].clone())) {
            Ok(_) => agreed += 1,
            // A network without kernels for its own types, or for an operator in the narrow one.
            Err(BuildError::Unsupported(_)) => {}
            Err(error) => wrong.push(format!("seed {seed} in {precision}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(agreed > RANDOM * 9 / 10, "only {agreed} were built");
}

/// Two products; the results of the first one are beyond f16.
fn overflowing() -> (Network, HashMap<String, Value>) {
    let mut builder = NetworkBuilder::new();
    let x = builder.add_network_input("x", ValueType::tensor(DataType::F32, vec![2i64.into(), 3i64.into()]), None);
    let at = |name: &str| Location::of_node("MatMul", name);
    let product = MatMul { transpose_a: false, transpose_b: false };
    let large = builder.add_weight("large", Tensor::from_vec(&[3, 4], vec![3e4f32; 12]).unwrap());
    let small = builder.add_weight("small", Tensor::from_vec(&[4, 2], vec![0.25f32; 8]).unwrap());
    let y = builder.add(product.clone(), &[Some(x), Some(large)], &at("first")).unwrap()[0];
    // No pass moves the factor into the weight, past the absolute value.
    let scaled = (&Expr::input(0, DataType::F32).unary(ScalarOp::Abs) * 1e-5).unary(ScalarOp::Tanh);
    let scaled = Expr::into_pointwise(&[scaled]).unwrap();
    let y = builder.add(scaled, &[Some(y)], &Location::of_node("Tanh", "between")).unwrap()[0];
    let y = builder.add(product, &[Some(y), Some(small)], &at("second")).unwrap()[0];
    let x = Tensor::from_vec(&[2, 3], vec![1f32, 2.0, 3.0, -1.0, -2.0, 0.5]).unwrap();
    (builder.finish("overflowing", &[("y".to_owned(), y)]), HashMap::from([("x".to_owned(), x.into())]))
}

#[test]
fn what_exceeds_the_range_stays_in_f32() {
    let (network, inputs) = overflowing();
    let plan = built(&network, Precision::Fp16, Verify::Given(inputs.clone())).unwrap().plan;
    let report = plan.report.clone().unwrap().precision.unwrap();
    let kept: Vec<&str> = report.kept.iter().filter(|node| node.is_range).map(|node| node.origin.as_str()).collect();
    assert_eq!(kept, ["MatMul node 'first'"]);
    assert!(report.kept[0].reason.contains("reaches 1.8"), "{}", report.kept[0].reason);
    assert!(report.narrow >= 2 && report.outputs[0].error <= report.outputs[0].limit, "{report:?}");
    check_kernels(&plan).unwrap();
    let y = run_here(&plan, &inputs).unwrap()[0].as_tensor().unwrap().to_floats();
    assert!(y.iter().all(|v| v.is_finite()), "{y:?}");
    let report = built(&network, Precision::Bf16, Verify::Given(inputs.clone())).unwrap().plan.report.unwrap();
    assert!(report.precision.unwrap().kept.iter().all(|node| !node.is_range), "bf16 has the range of f32");
    let strict = PrecisionOptions { network: Precision::Fp16, is_strict: true, ..PrecisionOptions::default() };
    let strict = BuildOptions { precision: strict, ..options(Precision::Fp16, Verify::Given(inputs.clone())) };
    let Err(BuildError::Precision(PrecisionError::Range { nodes, .. })) = build(&network, &Cpu, strict) else {
        panic!("a strict build refuses it");
    };
    assert_eq!(nodes[0].0, "MatMul node 'first'");
}

#[test]
fn layer_precisions_are_obeyed_or_refused() {
    let (network, inputs) = overflowing();
    let build_with = |network_precision, layers: &[(&str, Precision)]| {
        let layers = layers.iter().map(|(name, precision)| ((*name).to_owned(), *precision)).collect();
        let precision = PrecisionOptions { network: network_precision, layers, is_strict: false };
        build(&network, &Cpu, BuildOptions { precision, ..options(Precision::Fp32, Verify::Given(inputs.clone())) })
    };
    let operand_types = |built: &Built| {
        let products = built.network.body.nodes().iter().filter(|node| matches!(node.op, sinter_ops::Op::MatMul(_)));
        products.map(|node| built.network.body.ty(node.outputs[0]).data_type()).collect::<Vec<_>>()
    };
    let plan = build_with(Precision::Bf16, &[("second", Precision::Fp32)]).unwrap();
    assert_eq!(operand_types(&plan), [DataType::Bf16, DataType::F32]);
    let plan = build_with(Precision::Fp32, &[("y", Precision::Fp16)]).unwrap();
    assert_eq!(operand_types(&plan), [DataType::F32, DataType::F16]);
    let plan = build_with(Precision::Bf16, &[("*", Precision::Fp32), ("f*", Precision::Bf16)]).unwrap();
    assert_eq!(operand_types(&plan), [DataType::Bf16, DataType::F32]);
    let error = build_with(Precision::Fp16, &[("secund", Precision::Fp32)]).unwrap_err().to_string();
    assert!(error.contains("'secund'") && error.contains("names like it are: second"), "{error}");
    let error = build_with(Precision::Fp32, &[("first", Precision::Fp16)]).unwrap_err();
    assert!(matches!(error, BuildError::Precision(PrecisionError::Range { .. })), "{error}");
}

#[test]
fn small_shared_models_have_narrow_plans() {
    let Some(folder) = crate::shared("models") else { return };
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, path) in onnx_models(&folder) {
        let files = std::fs::read_dir(&path).expect("a folder").flatten();
        let bytes: u64 = files.filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum();
        if bytes > MOST_BYTES || SLOW.contains(&name.as_str()) {
            continue;
        }
        count += 1;
        for precision in NARROW {
            let start = std::time::Instant::now();
            let result = network_of(&path).and_then(|network| {
                let given = tensors(&path.join("inputs_0.npz"))?.into_iter();
                let given = given.map(|(name, tensor)| (name, tensor.into())).collect();
                built(&network, precision, Verify::Given(given)).map_err(|e| e.to_string())
            });
            let seconds = start.elapsed().as_secs_f64();
            match result.map(|built| built.plan.report.and_then(|report| report.precision)) {
                Ok(Some(report)) => println!(
                    "{name} in {precision}: {seconds:.2} s, {} narrow, {} in f32, {:?}",
                    report.narrow,
                    report.kept.len(),
                    report.outputs.iter().map(|output| format!("{:.1e}", output.error)).collect::<Vec<_>>()
                ),
                Ok(None) => wrong.push(format!("{name} in {precision}: no report")),
                Err(reason) => wrong.push(format!("{name} in {precision}: {reason}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 8, "only {count} models");
}
