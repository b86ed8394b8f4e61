//! The weights of all engines of the process: equal ones lie in memory once, whatever plans they come from, and once in
//! the memory of each device.
//!
//! A weight is known by the hash of its elements that the reader of the plan checked, by its element type and sizes. It is
//! packed when the plan is made, so the hash stands for the form as well. What nobody checked is shared with nobody, for
//! it may be something else than it says. The store keeps no memory: weights go with the last engine that has them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use bytes::Bytes;
use sinter_backend::{Argument, Device, KernelError, Queue, ResidentId};
use sinter_base::{Buffer, DataType, MemoryRef, Sizes, View};
use sinter_plan::{Plan, PlanWeight};

/// Hash, element type and sizes.
type Key = ([u8; 32], DataType, Vec<usize>);

/// A weight as kernels see it.
pub(crate) struct Weight {
    /// The elements; `None` for strings, which no kernel sees.
    bytes: Option<Bytes>,
    /// As a plan has it, in the same memory.
    source: PlanWeight,
    /// Its copies on devices, by the address of the device.
    residents: Mutex<HashMap<usize, Weak<Resident>>>,
}

/// A weight in the memory of a device.
pub(crate) struct Resident {
    /// Which other engines find as long as this one has it.
    _weight: Arc<Weight>,
    device: Arc<dyn Device>,
    id: ResidentId,
    data_type: DataType,
    sizes: Sizes,
    bytes: usize,
}

impl Drop for Resident {
    fn drop(&mut self) {
        self.device.discard(self.id);
    }
}

impl Resident {
    /// The weight as an argument of launches on a queue of its device.
    ///
    /// # Errors
    /// Errors of the device.
    pub(crate) fn attach(&self, queue: &mut dyn Queue) -> Result<Argument, KernelError> {
        let memory = MemoryRef { block: queue.attach(self.id)?, offset: 0, bytes: self.bytes };
        Ok(Argument { memory, data_type: self.data_type, sizes: self.sizes.clone(), rows: None })
    }
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
        let tensor = source.tensor();
        let bytes = match tensor.data_type() {
            DataType::String => None,
            _ if View::of(tensor).is_some() => Some(tensor.shared_bytes()),
            _ => Some(Bytes::from_owner(Buffer::of(tensor))),
        };
        Self { bytes, source, residents: Mutex::default() }
    }

    /// The weight in the memory of a device, where all engines have it once; `None` for strings.
    ///
    /// # Errors
    /// When the device has not so much memory.
    pub(crate) fn at(self: &Arc<Self>, device: &Arc<dyn Device>) -> Result<Option<Arc<Resident>>, KernelError> {
        let Some(bytes) = &self.bytes else { return Ok(None) };
        let mut residents = self.residents.lock().unwrap_or_else(PoisonError::into_inner);
        residents.retain(|_, resident| resident.strong_count() > 0);
        // A resident keeps its device, so no other device has the address meanwhile.
        let address = Arc::as_ptr(device).addr();
        if let Some(known) = residents.get(&address).and_then(Weak::upgrade) {
            return Ok(Some(known));
        }
        let tensor = self.source.tensor();
        let (data_type, sizes) = (tensor.data_type(), tensor.sizes().into());
        let id = device.upload(bytes)?;
        let resident = Arc::new(Resident {
            _weight: self.clone(),
            device: device.clone(),
            id,
            data_type,
            sizes,
            bytes: bytes.len(),
        });
        residents.insert(address, Arc::downgrade(&resident));
        Ok(Some(resident))
    }
}
