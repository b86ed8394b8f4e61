//! Plans of every format version, as its own writer wrote them: `tests/plans/VERSION/NAME.plan`. A new version is added
//! by `SINTER_BLESS=1`; files that are there never change.

use std::path::{Path, PathBuf};

use sinter_base::DataType;
use sinter_builder::{BuildOptions, build};
use sinter_cpu::Cpu;
use sinter_interp::{FastEvaluator, run_with};
use sinter_ir::Network;
use sinter_ops::control::If;
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::reduce::Softmax;
use sinter_plan::container::VERSION;
use sinter_plan::write;
use sinter_runtime::Engine;

use crate::parts::{Maker, inputs};

/// Convolutions with packed weights, a concatenation and slices of it, for a dynamic batch.
fn joined() -> Network {
    let mut maker = Maker::default();
    let x = maker.batched(&[5, 6, 7]);
    let left = maker.conv(x, [8, 5, 3, 3], 1);
    let right = maker.unary(x, ScalarOp::Tanh);
    let both = maker.concat(1, &[left, right]);
    let middle = maker.slice(both, 1, 4, 11);
    let deep = maker.conv(both, [6, 13, 1, 1], 1);
    let middle = maker.unary(middle, ScalarOp::Exp);
    let soft = maker.op(Softmax { axis: -1, log: false }, &[deep]);
    maker.finish(&[middle, soft])
}

/// One of two bodies.
fn branches() -> Network {
    let mut maker = Maker::default();
    let (x, y) = (maker.batched(&[9]), maker.batched(&[9]));
    let number = maker.fixed(&[]);
    let is_positive = Expr::constant(DataType::F32, 0.0).binary(ScalarOp::Less, &Expr::input(0, DataType::F32));
    let condition = maker.op(Expr::into_pointwise(&[is_positive]).expect("a program"), &[number]);
    let mut scope = |op: ScalarOp| {
        maker.builder.open_scope();
        let sum = maker.add(x, y);
        let result = maker.unary(sum, op);
        maker.builder.close_scope(&[result])
    };
    let (then, otherwise) = (scope(ScalarOp::Tanh), scope(ScalarOp::Abs));
    let operands = [vec![condition], then.captures, otherwise.captures].concat();
    let chosen = maker.op(If { then_branch: then.body, else_branch: otherwise.body }, &operands);
    maker.finish(&[chosen])
}

fn networks() -> [(&'static str, Network); 2] {
    [("joined", joined()), ("branches", branches())]
}

fn file(version: u32, name: &str) -> PathBuf {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/plans"));
    folder.join(version.to_string()).join(format!("{name}.plan"))
}

fn bless(version: u32, name: &str, network: &Network) {
    let path = file(version, name);
    if std::env::var_os("SINTER_BLESS").is_some() && version == VERSION && !path.exists() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder of plans");
        let built = build(network, &Cpu, BuildOptions::default()).expect("a plan");
        write(&path, &built.plan).expect("a file");
    }
}

#[test]
fn plans_of_every_version_are_read_and_give_the_same_results() {
    for version in 1..=VERSION {
        for (name, network) in networks() {
            bless(version, name, &network);
            let path = file(version, name);
            let header = std::fs::read(&path).expect("a plan of this version; SINTER_BLESS=1 writes a new one");
            assert_eq!(header[8..12], version.to_le_bytes(), "{}", path.display());
            let engine = Engine::open(&path, &[&Cpu], 2).expect("a plan that is read");
            assert_eq!(engine.self_test().expect("agreement"), 1, "{}", path.display());
            for batch in [1, 4] {
                let given = inputs(&network, batch, 5);
                let found = engine.run(given.clone().into_iter().collect()).expect("a run");
                let judged = run_with(&network, &given, &FastEvaluator).expect("the judge");
                for (found, judged) in found.iter().zip(&judged) {
                    let [found, judged] = [found, judged].map(|value| value.as_tensor().expect("a tensor"));
                    assert_eq!(found.sizes(), judged.sizes(), "{}", path.display());
                    let mut pairs = found.to_floats().into_iter().zip(judged.to_floats());
                    assert!(pairs.all(|(a, b)| (a - b).abs() <= 1e-4 * b.abs().max(1.0)), "{}", path.display());
                }
            }
        }
    }
}
