//! Models: files and bytes, and errors that name them.

use std::path::Path;

use sinter::errors::ImportError;
use sinter::{Builder, DataType, Dim, Engine, Error, ImportOptions, Model, Registry, Tensor};

use crate::{BATCH, residual, text};

#[test]
fn the_example_of_the_readme_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("digits.plan");
    let model = Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/demo/digits.onnx")).unwrap();
    Builder::new(&model).threads(2).opt("N", 8).build().unwrap().save(&path).unwrap();
    let engine = Engine::open(&path).unwrap();
    let image = Tensor::from_vec(&[1, 1, 8, 8], vec![0.5f32; 64]).unwrap();
    let scores = engine.run([("image", image)]).unwrap();
    assert_eq!(scores[0].as_tensor().unwrap().sizes(), [1, 10]);
}

#[test]
fn a_model_tells_its_name_format_inputs_and_outputs() {
    let model = residual(BATCH);
    assert_eq!((model.name(), model.format()), ("residual", "onnx"));
    let [x] = &model.inputs()[..] else { panic!("one input") };
    assert_eq!((x.name.as_str(), x.data_type()), ("x", DataType::F32));
    assert_eq!(x.dims().unwrap(), [Dim::symbol("N"), Dim::constant(3)]);
    assert_eq!(model.outputs()[0].to_string(), "y: f32[N, 3]");
    let debug = format!("{model:?}");
    assert!(debug.contains("residual") && debug.contains("onnx"), "{debug}");
}

#[test]
fn options_pin_the_shapes_of_inputs() {
    let shapes = [("x".to_owned(), vec![2, 3])].into();
    let options = ImportOptions { shapes, ..ImportOptions::default() };
    let model = Model::from_bytes_with(text(BATCH, "Relu"), &options, &Registry::default()).unwrap();
    assert_eq!(model.outputs()[0].to_string(), "y: f32[2, 3]");
    let options = ImportOptions { shapes: [("x".to_owned(), vec![2, 4])].into(), ..options };
    let error = Model::from_bytes_with(text(BATCH, "Relu"), &options, &Registry::default()).unwrap_err();
    assert!(matches!(error, Error::Import { source: ImportError::Shapes(_), path: None }), "{error}");
    assert!(error.help().unwrap().contains("ImportOptions::shapes"));
}

#[test]
fn the_error_of_a_model_names_the_file_and_every_problem() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.onnxtxt");
    std::fs::write(&path, text(BATCH, "Abacus")).unwrap();
    let error = Model::open(&path).unwrap_err();
    assert!(matches!(&error, Error::Import { source: ImportError::Model(problems), .. } if problems.len() == 1));
    assert_eq!(error.path(), Some(path.as_path()));
    let message = error.to_string();
    assert!(message.starts_with(&path.display().to_string()) && message.contains("Abacus"), "{message}");
}

#[test]
fn files_of_other_programs_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.bin");
    std::fs::write(&path, b"GGUF\x03\0\0\0").unwrap();
    let error = Model::open(&path).unwrap_err();
    assert!(matches!(error, Error::Foreign { what: "a GGUF file", .. }), "{error}");
    assert_eq!(error.path(), Some(path.as_path()));
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");

    let plan = folder.path().join("model.onnx");
    Builder::new(&residual(BATCH)).build().unwrap().save(&plan).unwrap();
    let error = Model::open(&plan).unwrap_err();
    assert!(matches!(error, Error::Foreign { what: "a plan", .. }), "{error}");
    assert_eq!(error.help(), Some("run it with `Engine::open`"));
}

#[test]
fn bytes_that_are_no_model_are_refused() {
    for bytes in [&b""[..], b"hello", &[0xA5; 99]] {
        let error = Model::from_onnx_bytes(bytes).unwrap_err();
        assert!(matches!(&error, Error::Import { source: ImportError::Decode { .. }, .. }), "{error}");
        assert_eq!(error.path(), None::<&Path>);
        assert!(error.to_string().starts_with("the model in memory is not"), "{error}");
    }
}
