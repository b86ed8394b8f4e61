//! Files of the user: a model to build or a plan to run. The contents decide, not the file's name.

use std::path::Path;

use sinter_import_onnx::{ImportError, ImportOptions, import_file};
use sinter_ir::Network;
use sinter_plan::{Plan, PlanError, Trust, is_plan, read};

use crate::internals::foreign::{Foreign, SAVED_MODEL, recognise};
pub use crate::port::Port as Declared;

/// A model or a plan.
#[derive(Debug)]
pub enum Source {
    /// An imported model.
    Model(Box<Network>),
    /// A plan, its hashes checked.
    Plan(Box<Plan>),
}

/// A file that is neither.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file starts like a plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The importer read the file as a model.
    #[error(transparent)]
    Model(#[from] ImportError),
    /// The file belongs to another program.
    #[error("this is {}, not an ONNX model or a plan", .0.what)]
    Foreign(Foreign),
}

/// Opens a model or a plan.
///
/// # Errors
/// When the file is neither an intact plan nor a model that an importer reads.
pub fn open(path: &Path, options: &ImportOptions) -> Result<Source, SourceError> {
    if is_plan(path) {
        return Ok(Source::Plan(Box::new(read(path, Trust::Nothing)?)));
    }
    Ok(Source::Model(Box::new(import(path, options)?)))
}

/// Imports a model. The error of a file of another program names the format of the file.
///
/// # Errors
/// When the file cannot be read as a model.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Network, SourceError> {
    import_file(path, options).map_err(|error| match (&error, recognise(path)) {
        (ImportError::Open { .. } | ImportError::Decode { .. }, Some(foreign)) => SourceError::Foreign(foreign),
        // The first two fields of a SavedModel read as those of a model.
        (ImportError::Model(_), Some(foreign)) if foreign == SAVED_MODEL => SourceError::Foreign(foreign),
        _ => error.into(),
    })
}

/// Inputs of a network in order.
pub fn network_inputs(network: &Network) -> Vec<Declared> {
    let declared = |i: &sinter_ir::Input| Declared { name: i.name.clone(), ty: network.body.ty(i.value).clone() };
    network.inputs.iter().map(declared).collect()
}

/// Outputs of a network in order.
pub fn network_outputs(network: &Network) -> Vec<Declared> {
    let declared = |o: &sinter_ir::Output| Declared { name: o.name.clone(), ty: network.body.ty(o.value).clone() };
    network.outputs.iter().map(declared).collect()
}

/// Inputs of a plan in order.
pub fn plan_inputs(plan: &Plan) -> Vec<Declared> {
    plan_ports(plan, &plan.inputs)
}

/// Outputs of a plan in order.
pub fn plan_outputs(plan: &Plan) -> Vec<Declared> {
    plan_ports(plan, &plan.outputs)
}

fn plan_ports(plan: &Plan, ports: &[sinter_plan::Port]) -> Vec<Declared> {
    let ty = |port: &sinter_plan::Port| plan.graph.values.get(port.value.index()).map(|v| v.ty.clone());
    let declared = |port: &sinter_plan::Port| Some(Declared { name: port.name.clone(), ty: ty(port)? });
    ports.iter().filter_map(declared).collect()
}
