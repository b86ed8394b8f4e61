//! Equal weights of several engines lie in memory once, and go with the last engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use sinter_base::{DataType, Dim, Tensor, Value, ValueType};
use sinter_plan::{Place, Plan, PlanValue, PlanWeight, Storage, Trust, WeightId, from_bytes, to_bytes};
use sinter_runtime::Engine;

use crate::toy::{Toy, ToyEnd, plan_of};

/// A file in memory that tells when it goes.
struct File {
    bytes: Vec<u8>,
    files: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for File {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.files.fetch_sub(1, Ordering::Relaxed);
    }
}

/// z = x, w one after the other, for a weight of these elements.
fn weighted(name: &str, elements: &[f32]) -> Plan {
    let length = Dim::from(elements.len());
    let mut plan = plan_of(Toy::Append, length.clone());
    plan.name = name.to_owned();
    let weight = Tensor::from_vec(&[elements.len()], elements.to_vec()).expect("a weight");
    plan.weights.push(PlanWeight::new(format!("weight of {name}"), weight));
    let ty = ValueType::tensor(DataType::F32, vec![length]);
    plan.graph.values[1] =
        PlanValue { ty, sizes: None, storage: Storage::Weight(WeightId::new(0)), place: Place::MAIN };
    plan.graph.inputs.truncate(1);
    plan.inputs.truncate(1);
    plan
}

/// Opens files, and counts those that lie in memory.
#[derive(Default)]
struct Shelf {
    files: Arc<AtomicUsize>,
}

impl Shelf {
    fn open(&self, plan: &Plan, trust: Trust) -> Engine {
        self.files.fetch_add(1, Ordering::Relaxed);
        let file = File { bytes: to_bytes(plan), files: self.files.clone() };
        let plan = from_bytes(Bytes::from_owner(file), trust).expect("a plan that reads back");
        Engine::from_plan(plan, &[&ToyEnd], 1).expect("an engine")
    }

    fn count(&self) -> usize {
        self.files.load(Ordering::Relaxed)
    }
}

fn place(engine: &Engine) -> *const u8 {
    engine.plan().weights[0].tensor().bytes().as_ptr()
}

fn run(engine: &Engine) -> Vec<f64> {
    let x: Value = Tensor::from_vec(&[1], vec![0.5f32]).expect("a vector").into();
    let z = engine.run(vec![("x".to_owned(), x)]).expect("a run").remove(0);
    z.as_tensor().expect("a tensor").to_floats()
}

#[test]
fn equal_weights_lie_in_memory_once() {
    let shelf = Shelf::default();
    let plan = weighted("a", &[1.0, 2.0, 3.0]);
    let first = shelf.open(&plan, Trust::Nothing);
    let second = shelf.open(&plan, Trust::Nothing);
    let of_another = shelf.open(&weighted("b", &[1.0, 2.0, 3.0]), Trust::Nothing);
    assert_eq!(shelf.count(), 1, "the first file serves all");
    assert_eq!((place(&first), place(&first)), (place(&second), place(&of_another)));
    assert_eq!(of_another.plan().weights[0].name, "weight of b", "names stay");
    assert_eq!(run(&of_another), [0.5, 1.0, 2.0, 3.0]);
    drop(first);
    assert_eq!((shelf.count(), run(&second)), (1, vec![0.5, 1.0, 2.0, 3.0]));
    drop((second, of_another));
    assert_eq!(shelf.count(), 0, "no engine, no memory");
    let again = shelf.open(&plan, Trust::Nothing);
    assert_eq!((shelf.count(), run(&again).len()), (1, 4));
}

#[test]
fn other_weights_and_unchecked_ones_are_kept_apart() {
    let shelf = Shelf::default();
    let engines = [
        shelf.open(&weighted("a", &[4.0, 5.0, 6.0]), Trust::Nothing),
        shelf.open(&weighted("a", &[4.0, 5.0, 7.0]), Trust::Nothing),
        shelf.open(&weighted("a", &[4.0, 5.0, 6.0]), Trust::Weights),
    ];
    assert_eq!(shelf.count(), 3);
    assert_eq!(engines.map(|engine| run(&engine)[3]), [6.0, 7.0, 6.0]);
}

/// A plan that says that its weight is another plan's is not believed.
#[test]
fn a_hash_that_is_not_that_of_the_elements_is_noticed() {
    let honest = to_bytes(&weighted("a", &[8.0, 9.0]));
    let mut forged = to_bytes(&weighted("a", &[8.0, 7.0]));
    let last = honest.len() - 8;
    // The elements are the last bytes of the file.
    forged[last..].copy_from_slice(&honest[last..]);
    assert!(from_bytes(forged.into(), Trust::Nothing).is_err());
}

#[test]
fn engines_that_come_and_go_on_many_threads_share() {
    let shelf = Shelf::default();
    let plans = [weighted("a", &[11.0]), weighted("b", &[11.0]), weighted("c", &[12.0])];
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (shelf, plans) = (&shelf, &plans);
            scope.spawn(move || {
                for round in 0..200 {
                    let which = (thread + round) % plans.len();
                    assert_eq!(run(&shelf.open(&plans[which], Trust::Nothing))[1], [11.0, 11.0, 12.0][which]);
                }
            });
        }
    });
    assert_eq!(shelf.count(), 0);
}
