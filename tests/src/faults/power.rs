//! Power cuts of nodes that keep their data on a [`LoopDisk`](crate::faults::loop_disk::LoopDisk).
//!
//! The kernel shuts the file systems down without a flush of their journals: what was not synced is
//! gone. A sync that is under way at that moment would still return 0, which no process lives to see
//! when the power fails, so the processes are frozen first: threads in the middle of a sync stay in
//! the kernel, are cut there, and never come back to say that it is done. Every acknowledgement that
//! a client has got therefore counts, and all nodes are cut at one moment of their common history.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Node};
use crate::faults::native::CUT_POWER;

/// Longest time until all threads of a process stand still; a thread that syncs counts as such.
const FROZEN_WITHIN: Duration = Duration::from_secs(10);

/// The tool that cuts.
#[derive(Debug)]
pub struct PowerSwitch {
    tool: PathBuf,
}

/// What a cut met.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// When it began.
    pub at: Instant,
    /// Threads that were inside of a disk operation.
    pub in_disk: usize,
}

impl PowerSwitch {
    /// Makes the tool, in `folder`.
    ///
    /// # Panics
    ///
    /// There is no C compiler.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            tool: CUT_POWER.compile(folder),
        }
    }

    /// Cuts the power of some nodes, and of `others` on their disks, at one moment and mounts their
    /// disks again. The nodes are down then.
    ///
    /// # Panics
    ///
    /// One of them is down already or has no disk of its own, or the kernel refuses.
    pub async fn cut(&self, cluster: &mut Cluster, nodes: &[usize], others: Vec<Neighbour>) -> Cut {
        let mut trigger = Trigger::prepare(&self.tool, cluster, nodes);
        for &node in nodes {
            cluster[node].pause();
        }
        let in_disk = nodes.iter().map(|&node| frozen(cluster, node)).sum();
        let at = Instant::now();
        trigger.pull();
        for &node in nodes {
            cluster[node].kill();
        }
        // They hold the disks too.
        drop(others);
        for &node in nodes {
            let disk = cluster[node].disk().expect("a disk of its own");
            disk.remount().await;
        }
        Cut { at, in_disk }
    }
}

/// Another program on the disk of a node: it syncs a file of its own all the time, so that the journal
/// is committed at any moment of what the node does. It ends with the disk.
#[derive(Debug)]
pub struct Neighbour(Option<JoinHandle<()>>, Arc<AtomicBool>);

impl Neighbour {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// The node has no disk of its own.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let disk = node.disk().expect("a disk of its own");
        let path = disk.folder().join("neighbour");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            let sync = || {
                let mut file = File::create(&path)?;
                file.write_all(b"hello")?;
                file.sync_all()
            };
            while !stopped.load(Ordering::Relaxed) && sync().is_ok() {
                std::thread::yield_now();
            }
        };
        Self(Some(std::thread::spawn(run)), stop)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.1.store(true, Ordering::Relaxed);
        if let Some(thread) = self.0.take() {
            drop(thread.join());
        }
    }
}

/// The running tool, with the disks open.
struct Trigger {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Trigger {
    fn prepare(tool: &Path, cluster: &Cluster, nodes: &[usize]) -> Self {
        let disks = nodes.iter().map(|&node| cluster[node].disk());
        let folders = disks.map(|disk| disk.expect("a disk of its own").folder());
        let mut child = Command::new(tool)
            .args(folders)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tool starts");
        let says = BufReader::new(child.stdout.take().expect("its output"));
        let mut trigger = Self { child, says };
        trigger.expect("ready");
        trigger
    }

    fn pull(&mut self) {
        let input = self.child.stdin.as_mut().expect("its input");
        input.write_all(b"!").expect("the tool waits");
        input.flush().expect("the tool waits");
        self.expect("cut");
        let ended = self.child.wait();
        assert!(ended.is_ok_and(|status| status.success()), "the tool fails");
    }

    fn expect(&mut self, wanted: &str) {
        let mut line = String::new();
        let read = self.says.read_line(&mut line);
        assert!(read.is_ok(), "the tool says nothing: {read:?}");
        assert_eq!(line.trim(), wanted, "of the tool that cuts the power");
    }
}

/// Waits until no thread of a paused node runs outside of the kernel, and returns how many are inside
/// of a disk operation. It does not sleep, so that such a thread is met in the middle of it.
fn frozen(cluster: &Cluster, node: usize) -> usize {
    let end = Instant::now() + FROZEN_WITHIN;
    loop {
        let states = cluster[node].thread_states();
        if states.iter().all(|state| matches!(state, 'T' | 'D')) {
            return states.iter().filter(|state| **state == 'D').count();
        }
        assert!(Instant::now() < end, "threads go on: {states:?}");
        std::thread::yield_now();
    }
}
