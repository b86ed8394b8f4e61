//! Fallbacks: the optimizations that a build may disable, cheapest first.
//!
//! Where each step computes its region and the whole plan does not compute the network, no kernel is to blame. Then the
//! build disables as few optimizations as it takes for the plan to agree, and reports them.

use serde::{Deserialize, Serialize};

/// An optimization that a build may disable, the cheapest one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fallback {
    /// Concatenations, slices and reshapes may be aliases of other buffers.
    Aliases,
    /// Values that are not live at once may share memory, and results may reuse the buffers of operands.
    SharedMemory,
    /// Several operators may be one region, in a layout of its own.
    Regions,
    /// Passes may change the network.
    Passes,
}

/// Stands for all passes where no single one is to blame.
pub(crate) const ALL_PASSES: &str = "all passes";

impl Fallback {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Fallback::Aliases => "buffer aliases",
            Fallback::SharedMemory => "shared memory",
            Fallback::Regions => "regions of several operators",
            Fallback::Passes => ALL_PASSES,
        }
    }
}

/// The optimizations to disable: one of these alone where that is enough, else all except those that may stay, tested
/// from the dearest one on; `None` where nothing helps.
///
/// # Errors
/// The first error of `agrees`.
pub(crate) fn least<E>(
    of: &[Fallback],
    mut agrees: impl FnMut(&[Fallback]) -> Result<bool, E>,
) -> Result<Option<Vec<Fallback>>, E> {
    for one in of {
        if agrees(&[*one])? {
            return Ok(Some(vec![*one]));
        }
    }
    let mut fallbacks = of.to_vec();
    if of.len() < 2 || !agrees(&fallbacks)? {
        return Ok(None);
    }
    for stays in of.iter().rev() {
        let fewer: Vec<Fallback> = fallbacks.iter().copied().filter(|fallback| fallback != stays).collect();
        // Each single one was tested already.
        if fewer.len() > 1 && agrees(&fewer)? {
            fallbacks = fewer;
        }
    }
    Ok(Some(fallbacks))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Fallback; 4] = [Fallback::Aliases, Fallback::SharedMemory, Fallback::Regions, Fallback::Passes];

    /// The disabled optimizations if exactly these are needed, and the number of tests.
    fn fallbacks(needed: &[Fallback]) -> (Option<Vec<Fallback>>, usize) {
        let mut tests = 0;
        let found: Result<_, ()> = least(&ALL, |fallbacks| {
            tests += 1;
            Ok(needed.iter().all(|fallback| fallbacks.contains(fallback)))
        });
        (found.expect("no errors"), tests)
    }

    #[test]
    fn as_few_as_it_takes() {
        for set in 1..1 << ALL.len() {
            let needed: Vec<Fallback> = (0..ALL.len()).filter(|at| set >> at & 1 == 1).map(|at| ALL[at]).collect();
            let (found, tests) = fallbacks(&needed);
            assert_eq!(found.as_deref(), Some(&needed[..]));
            assert!(tests <= 2 * ALL.len() + 1, "{tests} tests for {needed:?}");
        }
    }

    #[test]
    fn nothing_helps() {
        let never = |_: &[Fallback]| Ok::<bool, ()>(false);
        assert_eq!((least(&ALL, never), least(&[], never)), (Ok(None), Ok(None)));
    }

    #[test]
    fn errors_end_the_search() {
        assert_eq!(least(&ALL, |fallbacks| if fallbacks == [Fallback::Regions] { Err(7) } else { Ok(false) }), Err(7));
    }
}
