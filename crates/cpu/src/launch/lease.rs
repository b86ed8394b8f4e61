//! Teams of threads that streams lease from one pool of the process, from their first launch to the end of their work.
//!
//! The caller is worker 0 of its team and waits for no thread outside of it, so contexts run concurrently. All teams
//! together have no more threads than the machine has processors, or than the only team requests: with more, threads
//! that spin would take the processors of those that work. A context of one thread leases no team.

use std::num::NonZero;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::available_parallelism;

use crate::launch::kernel::Workers;
use crate::team::Team;

/// Free teams, and the number of threads of the leased ones.
struct Pool {
    idle: Vec<Team>,
    leased: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { idle: Vec::new(), leased: 0 });

/// Number of processors that the process may use. The first call queries the system, which reads files.
fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| available_parallelism().map_or(1, NonZero::get))
}

/// A team until it is dropped.
pub struct Lease {
    /// `None` for the calling thread only.
    team: Option<Team>,
    threads: usize,
}

impl Lease {
    /// Leases a team of at most this many threads, the caller included; it has fewer threads where other teams use the
    /// processors.
    pub fn of(threads: usize) -> Self {
        let processors = processors();
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        let left = processors.max(threads).saturating_sub(pool.leased);
        let threads = threads.min(left).max(1);
        pool.leased += threads;
        if threads == 1 {
            return Self { team: None, threads };
        }
        let known = pool.idle.iter().position(|team| team.asked() == threads);
        let known = known.map(|at| pool.idle.swap_remove(at));
        drop(pool);
        Self { team: Some(known.unwrap_or_else(|| Team::new(threads))), threads }
    }

    /// The threads to share work with.
    pub fn workers(&self) -> &dyn Workers {
        match &self.team {
            Some(team) => team,
            None => &crate::single_thread::SingleThread,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        pool.leased -= self.threads;
        let Some(team) = self.team.take() else { return };
        // Requests for other numbers of threads are rare, and come mostly from tests: the pool keeps only a few teams.
        let oldest = (pool.idle.len() >= MOST_IDLE).then(|| pool.idle.remove(0));
        pool.idle.push(team);
        drop(pool);
        // Its threads end outside of the lock.
        drop(oldest);
    }
}

/// Teams that are kept.
const MOST_IDLE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teams_are_as_large_as_there_is_room() {
        let processors = processors();
        let large = Lease::of(processors + 2);
        assert_eq!(large.workers().count(), processors + 2, "who is alone has what it asks for");
        let beside = Lease::of(processors);
        assert_eq!(beside.workers().count(), 1, "the processors are taken");
        drop(large);
        let again = Lease::of(processors + 2);
        assert_eq!(again.workers().count(), processors + 1, "one thread is taken");
    }
}
