//! The weights of all engines of the process: equal ones lie in memory once, whatever plans they come from.
//!
//! A weight is known by the hash of its elements that the reader of the plan checked, by its element type and sizes. It is
//! packed when the plan is made, so the hash stands for the form as well. What nobody checked is shared with nobody, for
//! it may be something else than it says. The store keeps no memory: weights go with the last engine that has them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use sinter_base::{DataType, Value};
use sinter_plan::{Plan, PlanWeight};

use crate::memory::{Held, TensorMemory};

/// Hash, element type and sizes.
type Key = ([u8; 32], DataType, Vec<usize>);

/// A weight as kernels see it.
pub(crate) struct Weight {
    pub(crate) held: Held,
    /// As a plan has it, in the same memory.
    source: PlanWeight,
}

fn store() -> &'static Mutex<HashMap<Key, Weak<Weight>>> {
    static STORE: OnceLock<Mutex<HashMap<Key, Weak<Weight>>>> = OnceLock::new();
    STORE.get_or_init(Mutex::default)
}

/// The weights of a plan, which from now on lie where an earlier engine has them.
pub(crate) fn share(plan: &mut Plan) -> Vec<Arc<Weight>> {
    let mut known = store().lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|_, weight| weight.strong_count() > 0);
    drop(known);
    plan.weights.iter_mut().map(share_one).collect()
}

fn share_one(weight: &mut PlanWeight) -> Arc<Weight> {
    let tensor = weight.tensor();
    let hash = weight.hash().filter(|_| tensor.data_type() != DataType::String);
    let Some(key) = hash.map(|hash| (*hash, tensor.data_type(), tensor.sizes().to_vec())) else {
        return Arc::new(Weight::new(weight.clone()));
    };
    let find = |known: &HashMap<Key, Weak<Weight>>| known.get(&key).and_then(Weak::upgrade);
    let earlier = find(&store().lock().unwrap_or_else(PoisonError::into_inner));
    let shared = earlier.unwrap_or_else(|| {
        // Copying may take long: others load meanwhile, and the first to come back wins.
        let new = Arc::new(Weight::new(weight.clone()));
        let mut known = store().lock().unwrap_or_else(PoisonError::into_inner);
        find(&known).unwrap_or_else(|| {
            known.insert(key.clone(), Arc::downgrade(&new));
            new
        })
    });
    let name = std::mem::take(&mut weight.name);
    *weight = shared.source.clone();
    weight.name = name;
    shared
}

impl Weight {
    fn new(source: PlanWeight) -> Self {
        let held = match source.tensor().data_type() {
            DataType::String => Held::Value(Value::Tensor(source.tensor().clone())),
            _ => Held::Tensor(TensorMemory::new(source.tensor().clone())),
        };
        Self { held, source }
    }
}
