//! What a plan may do beyond running the operators of the network one by one.
//!
//! Where each step computes its region and the whole does not compute the network, no kernel is to blame. Then the build
//! gives up as few possible_fallbacks as it takes for the plan to agree, and says which.

use serde::{Deserialize, Serialize};

/// Something that a plan may do, the cheapest to give up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fallback {
    /// Concatenations and slices may lie in the memory of other values.
    Aliases,
    /// Values that are not alive at once may lie in the same memory, and results in that of operands.
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
            Fallback::Aliases => "parts of values",
            Fallback::SharedMemory => "shared memory",
            Fallback::Regions => "regions of several operators",
            Fallback::Passes => ALL_PASSES,
        }
    }
}

/// What to give up: one of these alone where that is enough, else all without those that may stay, the dearest tried
/// first; `None` where nothing helps.
///
/// # Errors
/// The first that `agrees` has.
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
        // Each alone was tried.
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

    /// What is given up where exactly these have to be, and after how many questions.
    fn fallbacks(needed: &[Fallback]) -> (Option<Vec<Fallback>>, usize) {
        let mut asked = 0;
        let found: Result<_, ()> = least(&ALL, |fallbacks| {
            asked += 1;
            Ok(needed.iter().all(|fallback| fallbacks.contains(fallback)))
        });
        (found.expect("no errors"), asked)
    }

    #[test]
    fn as_few_as_it_takes() {
        for set in 1..1 << ALL.len() {
            let needed: Vec<Fallback> = (0..ALL.len()).filter(|at| set >> at & 1 == 1).map(|at| ALL[at]).collect();
            let (found, asked) = fallbacks(&needed);
            assert_eq!(found.as_deref(), Some(&needed[..]));
            assert!(asked <= 2 * ALL.len() + 1, "{asked} questions for {needed:?}");
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
