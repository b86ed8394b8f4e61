//! Segments: maximal runs of steps that a device may record once and replay, as CUDA graphs do. The loader finds them; a
//! context records them per layout and per memory of the caller.

use std::ops::Range;

use sinter_backend::{Arguments, CapturedId, Input, KernelError, Output, Queue};
use sinter_base::MemoryRef;
use sinter_plan::Place;

use crate::graph::LoadedAction;

/// The fewest launches that are worth recording.
const SHORTEST: usize = 2;
/// The most recorded segments that a context keeps; it drops the least recently used one first.
const MOST: usize = 16;

/// The segments of a graph.
pub(crate) fn segments(actions: &[LoadedAction]) -> Vec<Range<usize>> {
    // Islands run on the host, which records nothing.
    let is_capturable =
        |action: &LoadedAction| matches!(action, LoadedAction::Launch { is_capturable: true, place: Place::MAIN, .. });
    // Each with its number of launches.
    let mut segments: Vec<(Range<usize>, usize)> = Vec::new();
    // The step behind the last segment and behind the aliases after it, which run nothing.
    let mut end = 0;
    for (position, action) in actions.iter().enumerate() {
        match (action, segments.last_mut()) {
            (LoadedAction::Alias, _) if end == position => end += 1,
            (action, _) if !is_capturable(action) => {}
            (_, Some((last, launches))) if end == position => {
                end += 1;
                (last.end, *launches) = (end, *launches + 1);
            }
            _ => {
                end = position + 1;
                segments.push((position..end, 1));
            }
        }
    }
    segments.into_iter().filter(|(_, launches)| *launches >= SHORTEST).map(|(segment, _)| segment).collect()
}

/// The state that a recording of a segment is valid for.
#[derive(PartialEq)]
struct Key {
    /// First step of the segment.
    first: usize,
    /// The layout, by the sizes that it is for.
    registers: Vec<i64>,
    /// The memory of the changing arguments.
    memory: Vec<MemoryRef>,
}

/// Recorded segments, the most recently used one last.
#[derive(Default)]
pub(crate) struct Captures {
    known: Vec<(Key, CapturedId)>,
    /// Memory of the changing arguments of the current segment. The list is kept, so that a run allocates nothing.
    memory: Vec<MemoryRef>,
    /// Did the device refuse to record?
    is_refused: bool,
}

impl Captures {
    /// May the device still record segments?
    pub(crate) fn are_possible(&self) -> bool {
        !self.is_refused
    }

    /// Begins the list of the memory of a segment's changing arguments.
    pub(crate) fn begin(&mut self) {
        self.memory.clear();
    }

    /// Adds the arguments of one step at these positions.
    pub(crate) fn add(&mut self, arguments: &Arguments, inputs: &[usize], outputs: &[usize]) {
        let inputs = inputs.iter().filter_map(|at| match arguments.inputs.get(*at) {
            Some(Input::Memory(argument)) => Some(argument.memory),
            _ => None,
        });
        self.memory.extend(inputs);
        let outputs = outputs.iter().filter_map(|at| match arguments.outputs.get(*at) {
            Some(Output::Memory(argument)) => Some(argument.memory),
            _ => None,
        });
        self.memory.extend(outputs);
    }

    /// Runs the segment that begins at this step, for these sizes: replays a recording, or records `launch`.
    pub(crate) fn run(
        &mut self,
        first: usize,
        registers: &[i64],
        queue: &mut dyn Queue,
        launch: &mut dyn FnMut(&mut dyn Queue) -> Result<(), KernelError>,
    ) -> Result<(), KernelError> {
        let is_it = |key: &Key| key.first == first && key.registers == registers && key.memory == self.memory;
        if let Some(at) = self.known.iter().position(|(key, _)| is_it(key)) {
            let found = self.known.remove(at);
            let captured = found.1;
            self.known.push(found);
            return queue.replay(captured);
        }
        if !queue.begin_capture()? {
            self.is_refused = true;
            return launch(queue);
        }
        launch(queue)?;
        let captured = queue.end_capture()?;
        if self.known.len() >= MOST {
            let (_, oldest) = self.known.remove(0);
            queue.discard_capture(oldest);
        }
        self.known.push((Key { first, registers: registers.to_vec(), memory: self.memory.clone() }, captured));
        queue.replay(captured)
    }

    /// Discards all recordings, because recorded memory is about to be released.
    pub(crate) fn clear(&mut self, queue: &mut dyn Queue) {
        for (_, captured) in self.known.drain(..) {
            queue.discard_capture(captured);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Changing;

    #[test]
    fn segments_go_on_behind_aliases() {
        let actions = |text: &str| -> Vec<LoadedAction> {
            let action = |letter: char| match letter {
                'a' => LoadedAction::Alias,
                'c' => LoadedAction::Copy,
                _ => {
                    let changing = Changing::default();
                    LoadedAction::Launch { kernels: Vec::new(), place: Place::MAIN, changing, is_capturable: true }
                }
            };
            text.chars().map(action).collect()
        };
        assert_eq!(segments(&actions("lllcalalaac")), [0..3, 5..8]);
        assert_eq!(segments(&actions("laaclalcaall")), [4..7, 10..12]);
        assert!(segments(&actions("aaalaaacaa")).is_empty());
    }
}
