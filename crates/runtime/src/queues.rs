//! The queues of a context, one per place of its plan, each with the weights that steps read there.

use sinter_backend::{Argument, KernelError, Queue};
use sinter_base::{Buffer, MemoryRef};
use sinter_plan::{Place, WeightId};

use crate::engine::Shared;
use crate::error::RuntimeError;
use crate::host_value::bytes_of;
use crate::outside::look;

/// A queue, and the engine's weights in its memory.
struct OnDevice {
    queue: Box<dyn Queue>,
    weights: Vec<Option<Argument>>,
}

impl OnDevice {
    fn new(engine: &Shared, place: usize) -> Result<Self, RuntimeError> {
        let of_device = |source| RuntimeError::Device { source };
        let missing = || RuntimeError::Damaged(format!("the plan has no place {place}"));
        let loaded = engine.places.get(place).ok_or_else(missing)?;
        let mut queue = loaded.device.queue().map_err(of_device)?;
        let mut weights = Vec::with_capacity(loaded.residents.len());
        for resident in &loaded.residents {
            let attached = resident.as_ref().map(|resident| resident.attach(&mut *queue));
            weights.push(attached.transpose().map_err(of_device)?);
        }
        Ok(Self { queue, weights })
    }
}

/// See the module documentation.
pub(crate) struct Queues {
    main: OnDevice,
    islands: Vec<OnDevice>,
    /// Staging buffer of copies from a device whose memory the host cannot read, and of strided elements.
    staging: Buffer,
}

impl Queues {
    /// New queues for an engine.
    ///
    /// # Errors
    /// Errors of the devices.
    pub(crate) fn new(engine: &Shared) -> Result<Self, RuntimeError> {
        let islands = (1..engine.places.len()).map(|place| OnDevice::new(engine, place)).collect::<Result<_, _>>()?;
        Ok(Self { main: OnDevice::new(engine, 0)?, islands, staging: Buffer::default() })
    }

    /// The queue of a place; the reader of the plan has checked that the plan has this place.
    pub(crate) fn at(&mut self, place: Place) -> &mut dyn Queue {
        let island = place.index().checked_sub(1).and_then(|island| self.islands.get_mut(island));
        &mut *island.unwrap_or(&mut self.main).queue
    }

    /// All queues, each with its place.
    pub(crate) fn all(&mut self) -> impl Iterator<Item = (Place, &mut Box<dyn Queue>)> {
        let devices = std::iter::once(&mut self.main).chain(&mut self.islands);
        devices.enumerate().map(|(place, device)| (Place::new(place), &mut device.queue))
    }

    /// The queues of two different places.
    fn pair(&mut self, from: Place, to: Place) -> Option<(&dyn Queue, &mut dyn Queue)> {
        let Self { main, islands, .. } = self;
        let (from, to) = match (from.index().checked_sub(1), to.index().checked_sub(1)) {
            (None, Some(to)) => (&*main, islands.get_mut(to)?),
            (Some(from), None) => (islands.get(from)?, main),
            (Some(from), Some(to)) => {
                let [from, to] = islands.get_disjoint_mut([from, to]).ok()?;
                (&*from, to)
            }
            (None, None) => return None,
        };
        Some((&*from.queue, &mut *to.queue))
    }

    /// A weight of the plan in the memory of a place.
    pub(crate) fn weight(&self, place: Place, id: WeightId) -> Option<&Argument> {
        let island = place.index().checked_sub(1).and_then(|island| self.islands.get(island));
        island.unwrap_or(&self.main).weights.get(id.index())?.as_ref()
    }

    /// Waits for all work.
    ///
    /// # Errors
    /// Errors of that work.
    pub(crate) fn finish(&mut self) -> Result<(), KernelError> {
        self.all().try_for_each(|(_, queue)| queue.finish())
    }

    /// Copies contiguous elements from one place to memory of another.
    ///
    /// # Errors
    /// Errors of the work that makes the elements, and of both devices.
    pub(crate) fn copy(
        &mut self,
        (from, argument): (Place, &Argument),
        (to, memory): (Place, MemoryRef),
    ) -> Result<(), KernelError> {
        if bytes_of(argument.data_type, &argument.sizes) != Some(memory.bytes) {
            return Err(KernelError::Recipe("a copy into memory of another size".to_owned()));
        }
        if argument.rows.is_none()
            && let Some((source, target)) = self.pair(from, to)
            && let Some(bytes) = source.host_bytes(argument.memory)
        {
            return target.write(memory, bytes);
        }
        let mut staging = std::mem::take(&mut self.staging);
        let done = if staging.try_resize(memory.bytes) {
            let read = self.read(from, argument, &mut staging);
            read.and_then(|()| self.at(to).write(memory, staging.bytes()))
        } else {
            Err(KernelError::Memory(format!("a copy of {} bytes on its way", memory.bytes)))
        };
        self.staging = staging;
        done
    }

    /// Reads the elements of an argument as contiguous bytes.
    fn read(&mut self, from: Place, argument: &Argument, to: &mut Buffer) -> Result<(), KernelError> {
        let queue = self.at(from);
        if argument.rows.is_none() {
            return queue.read(argument.memory, to.bytes_mut());
        }
        let read = look(argument, queue, |view| {
            view.copy_to(to.bytes_mut());
            Ok(())
        });
        read.map_err(RuntimeError::into_kernel_error)
    }
}
