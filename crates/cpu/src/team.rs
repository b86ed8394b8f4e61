//! The team: threads that share the work of one kernel at a time.
//!
//! The caller is worker 0. The others spin for a short while after each job, then park. A job is open while the caller
//! works on it; a thread joins an open job and the caller waits only for those that joined, so a thread that sleeps or
//! is descheduled delays no other. A second caller finds the team busy and does its work on its own thread.
#![allow(
    unsafe_code,
    reason = "a job borrows its caller's stack; the caller does not return before all who joined left"
)]

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, TryLockError};
use std::thread::JoinHandle;

use crate::launch::Workers;

/// How often a worker polls for a new job before it parks: some tens of microseconds.
const SPINS: usize = 20_000;

type Task<'a> = &'a (dyn Fn(usize) + Sync + 'a);

/// Low bits of the state: how many threads joined the job.
const JOINED: u64 = 0xFFFF;
/// Set while threads may join.
const OPEN: u64 = 0x1_0000;
/// One job more.
const EPOCH: u64 = 0x2_0000;

struct Shared {
    /// Index of the job, whether it is open, and the number of joined threads.
    state: AtomicU64,
    /// Next task of the job.
    next: AtomicUsize,
    tasks: AtomicUsize,
    /// The job itself, written only while the job is closed and no thread is joined.
    task: UnsafeCell<Option<Task<'static>>>,
    panicked: AtomicBool,
    /// The payload of the first panic of the job.
    payload: Mutex<Option<Box<dyn Any + Send>>>,
    stop: AtomicBool,
    sleepers: Mutex<usize>,
    wake: Condvar,
}

// SAFETY: `task` is the only field that is not Sync. It is written by the caller that holds the team's lock while the
// state is closed with no thread joined, and read only by threads that joined the open state afterwards (acquire on
// state).
unsafe impl Sync for Shared {}
// SAFETY: the reference in `task` points to a Sync closure, so it may be used from any thread.
unsafe impl Send for Shared {}

impl Shared {
    /// Takes tasks until none is left.
    fn work(&self, task: Task<'_>) {
        let tasks = self.tasks.load(Ordering::Relaxed);
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= tasks {
                return;
            }
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| task(index))) {
                if let Ok(mut first) = self.payload.lock() {
                    first.get_or_insert(payload);
                }
                self.panicked.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Joins the open job unless it is the last seen one; returns its index.
    fn join(&self, seen: u64) -> Option<u64> {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            let epoch = state & !(OPEN | JOINED);
            if state & OPEN == 0 || epoch == seen {
                return None;
            }
            match self.state.compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(epoch),
                Err(current) => state = current,
            }
        }
    }

    fn serve(&self) {
        let mut seen = 0;
        while !self.stop.load(Ordering::Acquire) {
            match (0..SPINS).find_map(|_| {
                std::hint::spin_loop();
                self.join(seen)
            }) {
                Some(epoch) => {
                    seen = epoch;
                    // SAFETY: this thread joined the job, so the caller keeps the closure alive until it leaves below.
                    if let Some(task) = unsafe { *self.task.get() } {
                        self.work(task);
                    }
                    self.state.fetch_sub(1, Ordering::AcqRel);
                }
                None => self.park(seen),
            }
        }
    }

    fn park(&self, seen: u64) {
        let Ok(mut sleepers) = self.sleepers.lock() else { return };
        *sleepers += 1;
        // The worker checks the state again under the lock: a caller opens the job first and takes the lock afterwards.
        while !self.stop.load(Ordering::Acquire) {
            let state = self.state.load(Ordering::Acquire);
            if state & OPEN != 0 && state & !(OPEN | JOINED) != seen {
                break;
            }
            match self.wake.wait(sleepers) {
                Ok(guard) => sleepers = guard,
                Err(_) => return,
            }
        }
        *sleepers -= 1;
    }
}

/// See the module documentation.
pub struct Team {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    busy: Mutex<()>,
    asked: usize,
}

impl Team {
    /// A team of this many threads, the caller included. The team has fewer threads if the system refuses some.
    pub fn new(threads: usize) -> Self {
        let asked = threads;
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            tasks: AtomicUsize::new(0),
            task: UnsafeCell::new(None),
            panicked: AtomicBool::new(false),
            payload: Mutex::new(None),
            stop: AtomicBool::new(false),
            sleepers: Mutex::new(0),
            wake: Condvar::new(),
        });
        let threads = (1..threads)
            .filter_map(|index| {
                let shared = shared.clone();
                std::thread::Builder::new().name(format!("sinter-{index}")).spawn(move || shared.serve()).ok()
            })
            .collect();
        Self { shared, threads, busy: Mutex::new(()), asked }
    }

    /// How many threads were asked for.
    pub fn asked(&self) -> usize {
        self.asked
    }
}

impl Team {
    /// The right to give the team a job; `None` while it has one.
    fn lease(&self) -> Option<MutexGuard<'_, ()>> {
        match self.busy.try_lock() {
            Ok(lease) => Some(lease),
            // A job that panicked had ended when its caller got the panic.
            Err(TryLockError::Poisoned(lease)) => Some(lease.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Workers for Team {
    fn count(&self) -> usize {
        self.threads.len() + 1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let lease = if tasks < 2 || self.threads.is_empty() { None } else { self.lease() };
        let Some(_lease) = lease else { return (0..tasks).for_each(task) };
        let shared = &*self.shared;
        shared.next.store(0, Ordering::Relaxed);
        shared.tasks.store(tasks, Ordering::Relaxed);
        // SAFETY: only the lifetime changes. The reference is read by threads that join between the two state changes
        // below, and this function does not return before the last of them has left.
        let erased: Task<'static> = unsafe { std::mem::transmute::<Task<'_>, Task<'static>>(task) };
        // SAFETY: the state is closed with no thread joined and the lock is held, so no other thread touches the cell.
        unsafe { *shared.task.get() = Some(erased) };
        shared.state.fetch_add(EPOCH | OPEN, Ordering::AcqRel);
        if shared.sleepers.lock().is_ok_and(|sleepers| *sleepers > 0) {
            shared.wake.notify_all();
        }
        shared.work(task);
        shared.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut turns = 0u32;
        while shared.state.load(Ordering::Acquire) & JOINED != 0 {
            turns += 1;
            // A joined thread may have lost its core: yields this one now and then.
            if turns.is_multiple_of(1024) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
        if shared.panicked.swap(false, Ordering::Relaxed) {
            let payload = shared.payload.lock().ok().and_then(|mut payload| payload.take());
            resume_unwind(payload.unwrap_or_else(|| Box::new("a kernel panicked on a worker thread")));
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Ok(_guard) = self.shared.sleepers.lock() {
            self.shared.wake.notify_all();
        }
        for thread in self.threads.drain(..) {
            // A worker catches the panics of its tasks, so the result of `join` carries no information.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        let team = Team::new(4);
        for tasks in [0, 1, 2, 3, 1000] {
            for _ in 0..200 {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                team.run(tasks, &|i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn parked_workers_wake_up() {
        let team = Team::new(2);
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let total = AtomicUsize::new(0);
            team.run(64, &|i| {
                total.fetch_add(i, Ordering::Relaxed);
            });
            assert_eq!(total.into_inner(), 64 * 63 / 2);
        }
    }

    #[test]
    fn a_busy_team_does_not_block_a_second_caller() {
        let team = Team::new(2);
        let inner = AtomicUsize::new(0);
        team.run(4, &|_| {
            team.run(5, &|_| {
                inner.fetch_add(1, Ordering::Relaxed);
            })
        });
        assert_eq!(inner.into_inner(), 20);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_lives_on() {
        let team = Team::new(2);
        let result = catch_unwind(AssertUnwindSafe(|| team.run(8, &|i| assert!(i != 5, "task five"))));
        let payload = result.unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"task five"));
        // Two tasks that wait for each other: one thread alone would wait in vain.
        let started = AtomicUsize::new(0);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        team.run(2, &|_| {
            started.fetch_add(1, Ordering::Relaxed);
            while started.load(Ordering::Relaxed) < 2 {
                assert!(std::time::Instant::now() < deadline, "the team has one thread left");
                std::thread::yield_now();
            }
        });
    }
}
