//! The weights of all engines of the process: engines share equal weights of different plans, so that memory holds each
//! weight once, and so does the memory of each device.
//!
//! The key of a weight is the hash of its elements, which the reader of the plan checked, with its element type and sizes.
//! The builder packs weights, so that the hash identifies the layout as well. Weights loaded without hash verification are
//! not shared: their hash is not trusted. The store owns no memory: the last engine that uses a weight releases it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use bytes::Bytes;
use sinter_backend::{Argument, Device, KernelError, Queue, ResidentId};
use sinter_base::{Buffer, DataType, MemoryRef, Sizes, View};
use sinter_plan::{Plan, PlanWeight};

/// Hash, element type and sizes.
type Key = ([u8; 32], DataType, Vec<usize>);

/// A weight in the layout of kernels.
pub(crate) struct Weight {
    /// The elements; `None` for strings, which kernels do not read.
    bytes: Option<Bytes>,
    /// The weight as a tensor, in the same memory.
    source: PlanWeight,
    /// Its copies on devices, by the address of the device.
    residents: Mutex<HashMap<usize, Weak<Resident>>>,
}

/// A weight in the memory of a device.
pub(crate) struct Resident {
    /// The shared copy, which other engines find while this engine keeps it.
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

/// Replaces weights of a plan by equal ones of earlier engines, and returns them.
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
        // A copy may take long, so the thread does not hold the lock meanwhile: of two engines that load at once, the first
        // one to finish stores its weight.
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

    /// The weight in the memory of a device, which all engines share; `None` for strings.
    ///
    /// # Errors
    /// When the device has not enough memory.
    pub(crate) fn at(self: &Arc<Self>, device: &Arc<dyn Device>) -> Result<Option<Arc<Resident>>, KernelError> {
        let Some(bytes) = &self.bytes else { return Ok(None) };
        let mut residents = self.residents.lock().unwrap_or_else(PoisonError::into_inner);
        residents.retain(|_, resident| resident.strong_count() > 0);
        // A resident keeps its device alive, so no other device can have the address meanwhile.
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
