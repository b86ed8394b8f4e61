//! A guide by examples. Each one compiles and runs as a test of this crate.
//!
//! The model of the examples is `y = relu(x) + x` for `x` of `f32[N, 3]`: the dimension `N` is dynamic.
//!
//! # Open, build, save, run
//!
//! ```
//! use sinter::{Builder, Engine, EngineOptions, Model, Registry, Tensor};
//!
//! # fn main() -> Result<(), sinter::Error> {
//! # let folder = tempfile::tempdir().expect("a temporary folder");
//! # let plan_path = folder.path().join("residual.plan");
//! # let model_path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/residual.onnxtxt");
//! let model = Model::open(model_path)?;
//! for input in model.inputs() {
//!     println!("{input}"); // x: f32[N, 3]
//! }
//! let plan = Builder::new(&model).threads(2).build()?;
//! println!("{}", plan.summary());
//! plan.save(&plan_path)?;
//!
//! // Later, elsewhere: neither the model nor the builder is needed.
//! let options = EngineOptions { threads: 2, ..EngineOptions::default() };
//! let engine = Engine::open_with(&plan_path, &options, &Registry::default())?;
//! engine.self_test()?;
//! let x = Tensor::from_vec(&[1, 3], vec![-1.0f32, 0.0, 2.0])?;
//! let outputs = engine.run([("x", x)])?;
//! let y = outputs[0].as_tensor().expect("y is a tensor");
//! assert_eq!(*y.elements::<f32>()?, [-1.0, 0.0, 4.0]);
//! # Ok(())
//! # }
//! ```
//!
//! # Dynamic shapes
//!
//! A dimension with a name stays dynamic: one engine takes any size. [`Builder::min`](crate::Builder::min) and
//! [`Builder::max`](crate::Builder::max) bound it, [`Builder::opt`](crate::Builder::opt) names the size to choose kernels
//! for, and [`Builder::pin`](crate::Builder::pin) makes it a constant.
//!
//! ```
//! use sinter::errors::RuntimeError;
//! use sinter::{Builder, Engine, Error, Model, Tensor};
//!
//! # fn main() -> Result<(), sinter::Error> {
//! # let model = Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/residual.onnxtxt"))?;
//! let engine = Engine::from_plan(Builder::new(&model).min("N", 1).opt("N", 8).max("N", 64).build()?)?;
//! for batch in [1, 8, 64] {
//!     engine.run([("x", Tensor::from_vec(&[batch, 3], vec![1.0f32; batch * 3])?)])?;
//! }
//! let too_large = Tensor::from_vec(&[65, 3], vec![1.0f32; 195])?;
//! assert!(matches!(engine.run([("x", too_large)]), Err(Error::Run(RuntimeError::Range { .. }))));
//!
//! let engine = Engine::from_plan(Builder::new(&model).pin("N", 8).build()?)?;
//! assert_eq!(engine.inputs()[0].to_string(), "x: f32[8, 3]");
//! # Ok(())
//! # }
//! ```
//!
//! # No copies
//!
//! A [`Context`](crate::Context) keeps its memory from run to run, and [`Bindings`](crate::Bindings) name the memory of
//! inputs and outputs. Either the bindings own it, and the caller writes and reads it in place, or the caller lends its
//! own, as [`HostMemory`](crate::HostMemory). A run of the same sizes as the one before allocates nothing.
//!
//! ```
//! use sinter::{Builder, Engine, HostMemory, Model};
//!
//! /// Memory of the caller; here a vector, else a mapped buffer or an array of another language.
//! struct Lent(Vec<f32>);
//!
//! impl HostMemory for Lent {
//!     fn bytes(&self) -> &[u8] {
//!         bytemuck::cast_slice(&self.0)
//!     }
//!
//!     fn bytes_mut(&mut self) -> &mut [u8] {
//!         bytemuck::cast_slice_mut(&mut self.0)
//!     }
//! }
//!
//! # fn main() -> Result<(), sinter::Error> {
//! # let model = Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/residual.onnxtxt"))?;
//! # let engine = Engine::from_plan(Builder::new(&model).build()?)?;
//! let mut context = engine.context();
//!
//! // Memory of the bindings.
//! let mut bindings = context.bindings();
//! for step in 0..3 {
//!     bindings.input("x", &[1, 3])?.elements::<f32>().fill(step as f32);
//!     context.run_into(&mut bindings)?;
//!     let y = bindings.output("y").expect("the run made y");
//!     assert_eq!(y.elements::<f32>(), [2.0 * step as f32; 3]);
//! }
//!
//! // Memory of the caller.
//! let mut bindings = context.bindings();
//! bindings.bind_input("x", &[1, 3], Box::new(Lent(vec![1.0, 2.0, 3.0])))?;
//! bindings.bind_output("y", Box::new(Lent(vec![0.0; 3])))?;
//! context.run_into(&mut bindings)?;
//! let y = bindings.take_output("y").expect("y was bound");
//! assert_eq!(bytemuck::cast_slice::<u8, f32>(y.bytes()), [2.0, 4.0, 6.0]);
//! # Ok(())
//! # }
//! ```
//!
//! # Several threads
//!
//! Threads share an engine: weights and kernels exist once. [`Engine::run`](crate::Engine::run) takes a context from a
//! pool; a thread that runs many inferences makes one of its own.
//!
//! ```
//! use sinter::{Builder, Engine, Model};
//!
//! # fn main() -> Result<(), sinter::Error> {
//! # let model = Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/residual.onnxtxt"))?;
//! # let engine = Engine::from_plan(Builder::new(&model).build()?)?;
//! std::thread::scope(|scope| {
//!     let engine = &engine;
//!     let work = |worker: usize| {
//!         move || -> Result<f32, sinter::Error> {
//!             let mut context = engine.context();
//!             let mut bindings = context.bindings();
//!             bindings.input("x", &[1, 3])?.elements::<f32>().fill(worker as f32);
//!             context.run_into(&mut bindings)?;
//!             Ok(bindings.output("y").map_or(0.0, |y| y.elements::<f32>()[0]))
//!         }
//!     };
//!     let workers: Vec<_> = (0..4).map(|worker| scope.spawn(work(worker))).collect();
//!     for (worker, thread) in workers.into_iter().enumerate() {
//!         let found = thread.join().expect("no panic").expect("the inference runs");
//!         assert_eq!(found, 2.0 * worker as f32);
//!     }
//! });
//! # Ok(())
//! # }
//! ```
//!
//! # Progress and tuning
//!
//! [`Builder::tune`](crate::Builder::tune) times kernels within a budget, [`Builder::timing_cache`](crate::Builder::timing_cache)
//! keeps the timings, and [`Builder::locked`](crate::Builder::locked) makes the same plan again from them.
//!
//! ```
//! use std::time::Duration;
//!
//! use sinter::{Builder, Model, Stage};
//!
//! # fn main() -> Result<(), sinter::Error> {
//! # let model = Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/residual.onnxtxt"))?;
//! # let folder = tempfile::tempdir().expect("a temporary folder");
//! # let cache = folder.path().join("timings");
//! let stages = std::cell::RefCell::new(Vec::new());
//! let report = |stage: Stage, done: Option<(u64, u64)>| match done {
//!     None => stages.borrow_mut().push(stage),
//!     Some((done, all)) => println!("{}: {done} of {all}", stage.name()),
//! };
//! let tuned = Builder::new(&model).tune(Duration::from_millis(200)).timing_cache(&cache).progress(&report).build()?;
//! assert!(stages.borrow().contains(&Stage::Choose));
//!
//! let again = Builder::new(&model).locked().timing_cache(&cache).build();
//! # // A machine under load may have had no time for every kernel.
//! # let Ok(again) = again else { return Ok(()) };
//! assert_eq!(again.targets(), tuned.targets());
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//!
//! Every fallible function of this crate returns [`Error`](crate::Error); methods of contexts and bindings return the
//! [`RuntimeError`](crate::errors::RuntimeError) that `?` makes one of. An error says what went wrong, with names and
//! numbers; [`Error::path`](crate::Error::path) names the file and [`Error::help`](crate::Error::help) says what to do.
//!
//! ```
//! use sinter::errors::{BuildError, ImportError};
//! use sinter::{Builder, Error, Model};
//!
//! # fn main() -> Result<(), Error> {
//! # let model_path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/residual.onnxtxt");
//! let error = Model::open("missing.onnx").expect_err("there is no such file");
//! assert!(matches!(error, Error::Import { source: ImportError::Open { .. }, .. }));
//! assert_eq!(error.help(), Some("check the path and its permissions"));
//!
//! let error = Model::from_onnx_bytes(&b"GGUF\x03\0\0\0"[..]).expect_err("this is no model");
//! assert_eq!(error.to_string(), "this is a GGUF file, not a model that an importer reads");
//!
//! let model = Model::open(model_path)?;
//! let error = Builder::new(&model).max("M", 64).build().expect_err("the dimension is N");
//! assert!(matches!(error, Error::Build(BuildError::UnknownSize { .. })));
//! # Ok(())
//! # }
//! ```
