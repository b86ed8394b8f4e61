//! What a plan may do beyond running the operators of the network one by one.
//!
//! Where each step computes its region and the whole does not compute the network, no kernel is to blame. Then the build
//! gives up as few freedoms as it takes for the plan to agree, and says which.

use serde::{Deserialize, Serialize};

/// Something that a plan may do, the cheapest to give up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Freedom {
    /// Concatenations and slices may lie in the memory of other values.
    Parts,
    /// Values that are not alive at once may lie in the same memory, and results in that of operands.
    SharedMemory,
    /// Several operators may be one region, in a layout of its own.
    Regions,
    /// Passes may change the network.
    Passes,
}

/// Stands for all passes where no single one is to blame.
pub(crate) const ALL_PASSES: &str = "all passes";

impl Freedom {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Freedom::Parts => "parts of values",
            Freedom::SharedMemory => "shared memory",
            Freedom::Regions => "regions of several operators",
            Freedom::Passes => ALL_PASSES,
        }
    }
}

/// What to give up: one of these alone where that is enough, else all without those that may stay, the dearest tried
/// first; `None` where nothing helps.
///
/// # Errors
/// The first that `agrees` has.
pub(crate) fn least<E>(
    of: &[Freedom],
    mut agrees: impl FnMut(&[Freedom]) -> Result<bool, E>,
) -> Result<Option<Vec<Freedom>>, E> {
    for one in of {
        if agrees(&[*one])? {
            return Ok(Some(vec![*one]));
        }
    }
    let mut given_up = of.to_vec();
    if of.len() < 2 || !agrees(&given_up)? {
        return Ok(None);
    }
    for stays in of.iter().rev() {
        let fewer: Vec<Freedom> = given_up.iter().copied().filter(|freedom| freedom != stays).collect();
        // Each alone was tried.
        if fewer.len() > 1 && agrees(&fewer)? {
            given_up = fewer;
        }
    }
    Ok(Some(given_up))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Freedom; 4] = [Freedom::Parts, Freedom::SharedMemory, Freedom::Regions, Freedom::Passes];

    /// What is given up where exactly these have to be, and after how many questions.
    fn given_up(needed: &[Freedom]) -> (Option<Vec<Freedom>>, usize) {
        let mut asked = 0;
        let found: Result<_, ()> = least(&ALL, |given_up| {
            asked += 1;
            Ok(needed.iter().all(|freedom| given_up.contains(freedom)))
        });
        (found.expect("no errors"), asked)
    }

    #[test]
    fn as_few_as_it_takes() {
        for set in 1..1 << ALL.len() {
            let needed: Vec<Freedom> = (0..ALL.len()).filter(|at| set >> at & 1 == 1).map(|at| ALL[at]).collect();
            let (found, asked) = given_up(&needed);
            assert_eq!(found.as_deref(), Some(&needed[..]));
            assert!(asked <= 2 * ALL.len() + 1, "{asked} questions for {needed:?}");
        }
    }

    #[test]
    fn nothing_helps() {
        let never = |_: &[Freedom]| Ok::<bool, ()>(false);
        assert_eq!((least(&ALL, never), least(&[], never)), (Ok(None), Ok(None)));
    }

    #[test]
    fn errors_end_the_search() {
        assert_eq!(least(&ALL, |given_up| if given_up == [Freedom::Regions] { Err(7) } else { Ok(false) }), Err(7));
    }
}
