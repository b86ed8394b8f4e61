//! The time of one call: the median of rounds, each long enough for the clock.

use std::time::{Duration, Instant};

/// How long a round takes at least.
const ROUND: Duration = Duration::from_micros(200);

/// Nanoseconds of one call.
///
/// # Errors
/// Those of the call.
pub fn time<E>(rounds: usize, mut call: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let mut round = |calls: u32| -> Result<Duration, E> {
        let start = Instant::now();
        for _ in 0..calls {
            call()?;
        }
        Ok(start.elapsed())
    };
    // The first call touches memory and fills the scratch allocator; then twice as many, until a round is long enough.
    round(1)?;
    let mut calls = 1;
    while round(calls)? < ROUND {
        calls *= 2;
    }
    let mut times = Vec::new();
    for _ in 0..rounds.max(1) {
        times.push(round(calls)?.as_secs_f64() * 1e9 / f64::from(calls));
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_call_takes_longer() {
        let sleep = |millis| {
            let call = || {
                std::thread::sleep(Duration::from_millis(millis));
                Ok::<(), ()>(())
            };
            time(1, call).unwrap()
        };
        assert!(sleep(1) >= 1e6 && sleep(4) >= 4e6);
        assert_eq!(time(3, || Err("no")), Err("no"));
    }
}
