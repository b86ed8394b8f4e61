//! Registries: back ends and importers beside the built-in ones.

use std::sync::Arc;

use sinter::internals::backend::{BackEnd, Device, KernelError, Tactic, Target};
use sinter::internals::base::ValueType;
use sinter::internals::cpu::Cpu;
use sinter::internals::ir::{Network, NetworkBuilder};
use sinter::{
    Builder, DataType, Dim, Engine, EngineOptions, Error, ImportOptions, Importer, Model, ModelSource, Registry,
};

use crate::{BATCH, ones, residual, text};

/// A back end without kernels.
struct Abacus;

impl BackEnd for Abacus {
    fn name(&self) -> &str {
        "abacus"
    }

    fn target(&self, threads: usize) -> Target {
        Target::unknown("abacus", "beads", threads)
    }

    fn tactics(&self) -> Vec<&dyn Tactic> {
        Vec::new()
    }

    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError> {
        Cpu.open(threads)
    }
}

/// Models that are the word `identity`: y = x for x of f32[N].
struct Identity;

impl Importer for Identity {
    fn format(&self) -> &str {
        "identity"
    }

    fn recognises(&self, source: &ModelSource) -> bool {
        source.bytes().is_ok_and(|bytes| bytes.starts_with(b"identity"))
    }

    fn import(&self, _: &ModelSource, options: &ImportOptions) -> Result<Network, Error> {
        let size = options.shapes.get("x").and_then(|sizes| sizes.first());
        let dim = size.map_or_else(|| Dim::symbol("N"), |size| Dim::from(*size));
        let mut network = NetworkBuilder::new();
        let x = network.add_network_input("x", ValueType::tensor(DataType::F32, vec![dim]), None);
        Ok(network.finish("identity", &[("y".to_owned(), x)]))
    }
}

#[test]
fn a_registry_lists_back_ends_and_importers() {
    let mut registry = Registry::default();
    registry.add_back_end(Arc::new(Abacus)).unwrap().add_importer(Arc::new(Identity)).unwrap();
    assert_eq!(registry.back_ends().map(BackEnd::name).collect::<Vec<_>>(), ["cpu", "cuda", "abacus"]);
    assert_eq!(registry.importers().map(Importer::format).collect::<Vec<_>>(), ["identity", "onnx"]);
    assert!(format!("{registry:?}").contains("abacus"));
    assert_eq!(Registry::default().back_ends().count(), 2, "nothing is registered for the whole process");
}

#[test]
fn names_are_unique() {
    let mut registry = Registry::default();
    registry.add_back_end(Arc::new(Abacus)).unwrap();
    registry.add_importer(Arc::new(Identity)).unwrap();
    for error in [
        registry.add_back_end(Arc::new(Abacus)).unwrap_err(),
        registry.add_back_end(Arc::new(Cpu)).unwrap_err(),
        registry.add_importer(Arc::new(Identity)).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Options { .. }) && error.to_string().contains("already"), "{error}");
    }
}

#[test]
fn a_build_uses_the_back_end_of_its_registry() {
    let mut registry = Registry::default();
    registry.add_back_end(Arc::new(Abacus)).unwrap();
    let model = residual(BATCH);
    let error = Builder::new(&model).registry(&registry).device("abacus").build().unwrap_err();
    assert!(error.to_string().contains("first") && error.help().is_some(), "it has no kernels: {error}");
    assert!(Builder::new(&model).registry(&registry).build().is_ok(), "the first back end is the default");
}

#[test]
fn a_model_uses_the_importers_of_its_registry() {
    let mut registry = Registry::default();
    registry.add_importer(Arc::new(Identity)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    std::fs::write(&path, "identity").unwrap();
    let model = Model::open_with(&path, &ImportOptions::default(), &registry).unwrap();
    assert_eq!(model.format(), "identity");
    let plan = Builder::new(&model).registry(&registry).pin("N", 2).build().unwrap();
    let engine = Engine::from_plan_with(plan, &EngineOptions::default(), &registry).unwrap();
    assert_eq!(engine.inputs()[0].to_string(), "x: f32[2]");
    assert_eq!(engine.run([("x", ones(&[2]))]).unwrap(), [ones(&[2])]);

    let onnx = Model::from_bytes_with(text(BATCH, "Relu"), &ImportOptions::default(), &registry).unwrap();
    assert_eq!(onnx.format(), "onnx");
    assert!(Model::open(&path).is_err(), "the default registry does not read it");
}
