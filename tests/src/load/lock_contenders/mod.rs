//! Clients that contend for one lock, some as processes of their own that are stopped while they
//! hold it, and the check that the fence holds.
//!
//! A holder writes its token to a guarded key, which the cluster fences, and to a cell that nobody
//! guards: a file. Some holders sleep past their TTL, or are stopped (`SIGSTOP`), and then write all
//! the same: the cell shows how often that would have gone wrong, and the guarded key must not.

mod contender;
mod entry;
mod verdict;

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::random::Random;
use crate::wait::{self, wait_for};
pub use contender::{Contender, Lapse};
pub use entry::{Entry, What};
pub use verdict::{Fence, judge};

/// One grant of a process in so many is followed by a stop.
const STOPPED_ONE_IN: usize = 10;
/// A stopped process goes on this long after its TTL at the latest.
const STOPPED_LONGER: Duration = Duration::from_secs(4);
/// Between two looks at the cell.
const LOOK: Duration = Duration::from_millis(50);

/// Who contends for what.
#[derive(Debug, Clone)]
pub struct Contest {
    pub addresses: Vec<String>,
    pub lock: String,
    /// The key that is written under the lock.
    pub guarded: String,
    /// The file that is written without it.
    pub cell: PathBuf,
    pub ttl: Duration,
    pub contenders: usize,
    /// So many of them are processes.
    pub processes: usize,
    /// What they run: the crate's `conclave-contender`.
    pub program: PathBuf,
    pub seed: u64,
}

/// Running contenders.
#[derive(Debug)]
pub struct Contenders {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    grants: AtomicUsize,
    stops: AtomicUsize,
    entries: Mutex<Vec<Entry>>,
}

impl Shared {
    fn note(&self, entry: Entry) {
        if entry.what == What::Granted {
            self.grants.fetch_add(1, Ordering::Relaxed);
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push(entry);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Contenders {
    /// Starts them all.
    ///
    /// # Panics
    ///
    /// A process cannot be started.
    #[must_use]
    pub fn start(contest: &Contest) -> Self {
        let shared = Arc::new(Shared::default());
        let tasks = (0..contest.contenders).map(|number| {
            let shared = Arc::clone(&shared);
            if number < contest.processes {
                let child = contest.spawn(number);
                let child = child.unwrap_or_else(|error| panic!("start a contender: {error}"));
                tokio::spawn(follow(child, contest.clone(), number, shared))
            } else {
                let contender = Contender::new(contest, number, Lapse::Sometimes);
                tokio::spawn(async move {
                    contender
                        .run(|| shared.stopped(), |entry| shared.note(entry))
                        .await;
                })
            }
        });
        let tasks = tasks.collect();
        Self { shared, tasks }
    }

    /// Returns the number of grants so far.
    #[must_use]
    pub fn grants(&self) -> usize {
        self.shared.grants.load(Ordering::Relaxed)
    }

    /// Waits until the lock was granted so often in all.
    ///
    /// # Panics
    ///
    /// It was not within `deadline`.
    pub async fn wait_grants(&self, wanted: usize, deadline: Duration) {
        wait_for(&format!("{wanted} grants"), deadline, async || {
            let grants = self.grants();
            if grants >= wanted {
                Ok(())
            } else {
                Err(grants.to_string())
            }
        })
        .await;
    }

    /// Lets everybody end what it does, and returns what happened and how often a process was
    /// stopped.
    ///
    /// # Panics
    ///
    /// Somebody does not end within `deadline`, or has panicked.
    pub async fn finish(mut self, deadline: Duration) -> (Vec<Entry>, usize) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            let ended = timeout(deadline, task).await;
            let ended = ended.expect("a contender ends");
            ended.expect("a contender does not panic");
        }
        let stops = self.shared.stops.load(Ordering::Relaxed);
        let mut entries = self.shared.entries.lock();
        let entries = entries
            .as_mut()
            .map(|entries| std::mem::take(&mut **entries));
        (entries.unwrap_or_default(), stops)
    }
}

impl Drop for Contenders {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Contest {
    fn spawn(&self, number: usize) -> io::Result<Child> {
        Command::new(&self.program)
            .arg(self.addresses.join(","))
            .args([&self.lock, &self.guarded])
            .arg(&self.cell)
            .arg(self.ttl.as_millis().to_string())
            .arg(self.seed.to_string())
            .arg(number.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    /// Reads what `conclave-contender` was started with.
    #[must_use]
    pub fn of_args(args: &[String]) -> Option<(Self, usize)> {
        let [addresses, lock, guarded, cell, ttl, seed, number] = args else {
            return None;
        };
        let contest = Self {
            addresses: addresses.split(',').map(str::to_owned).collect(),
            lock: lock.clone(),
            guarded: guarded.clone(),
            cell: cell.into(),
            ttl: Duration::from_millis(ttl.parse().ok()?),
            contenders: 0,
            processes: 0,
            program: PathBuf::new(),
            seed: seed.parse().ok()?,
        };
        Some((contest, number.parse().ok()?))
    }
}

/// Reads what a process says, and stops it now and then when it has the lock.
async fn follow(mut child: Child, contest: Contest, number: usize, shared: Arc<Shared>) {
    let mut random = Random::new(contest.seed ^ (number as u64 + 1).wrapping_mul(0x9E37));
    let stdin = child.stdin.take();
    let stdout = child.stdout.take().expect("a pipe");
    let mut lines = BufReader::new(stdout).lines();
    let mut stdin = stdin;
    loop {
        if shared.stopped() {
            // Its end asks the process to end.
            stdin = None;
        }
        let line = match timeout(LOOK, lines.next_line()).await {
            Err(_) => continue,
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None) | Err(_)) => break,
        };
        let entry = Entry::parse(&line).unwrap_or_else(|| panic!("a contender says `{line}`"));
        let token = entry.token;
        let granted = entry.what == What::Granted;
        shared.note(entry);
        if granted && !shared.stopped() && random.one_in(STOPPED_ONE_IN) {
            shared.stops.fetch_add(1, Ordering::Relaxed);
            stop_for_a_while(&child, &contest, token).await;
        }
    }
    drop(stdin);
    let ended = child.wait().await;
    assert!(
        ended.as_ref().is_ok_and(std::process::ExitStatus::success),
        "a contender ended with {ended:?}"
    );
}

/// Stops a process until somebody else has the lock.
async fn stop_for_a_while(child: &Child, contest: &Contest, token: u64) {
    let pid = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let Some(pid) = pid else {
        return;
    };
    let stopped = kill_process(pid, Signal::STOP);
    let longest = contest.ttl + STOPPED_LONGER;
    let began = std::time::Instant::now();
    while contender::read_cell(&contest.cell) <= token && began.elapsed() < longest {
        wait::pass(LOOK).await;
    }
    let resumed = kill_process(pid, Signal::CONT);
    assert!(
        stopped.is_ok() && resumed.is_ok(),
        "stop a contender: {stopped:?}, {resumed:?}"
    );
}
