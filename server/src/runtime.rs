//! The async runtime below `raft`, `storage` and `node`, chosen when the crate is compiled.
//!
//! It is tokio, but with the feature `simulation` openraft's deterministic one: then the same state
//! machine, read path and forwarding run on a virtual clock, many cluster lifetimes a second, each
//! reproducible by its seed. Tokio's channels, locks and notifications need no tokio runtime and
//! stay as they are; what needs one, a task, a timer or a thread, is here and nowhere else in those
//! modules.

use std::time::Duration;

use futures::future::{AbortHandle, abortable};
use openraft_rt::AsyncRuntime;

/// The runtime, as openraft wants to know it.
#[cfg(not(feature = "simulation"))]
pub type Runtime = openraft_rt_tokio::TokioRuntime;
/// The runtime, as openraft wants to know it.
#[cfg(feature = "simulation")]
pub type Runtime = openraft_rt_sim::SimRuntime;

/// A running task that is stopped with this value.
#[derive(Debug)]
pub struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a task that its owner stops by dropping the result.
#[must_use]
pub fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Task {
    let (future, handle) = abortable(future);
    // It ends with its own result or by the handle; nobody waits for either.
    drop(Runtime::spawn(future));
    Task(handle)
}

/// Starts a task that ends by itself.
pub fn detach(future: impl Future<Output = ()> + Send + 'static) {
    drop(Runtime::spawn(future));
}

/// Waits.
pub async fn sleep(duration: Duration) {
    Runtime::sleep(duration).await;
}

/// Lets other tasks run first.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// The time was up first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

/// Waits for a future, at most for `limit`. Cancel safe where the future is.
///
/// # Errors
///
/// `Elapsed`; the future is dropped then.
pub async fn timeout<T>(
    limit: Duration,
    future: impl Future<Output = T> + Send,
) -> Result<T, Elapsed> {
    Runtime::timeout(limit, future)
        .await
        .map_err(|_elapsed| Elapsed)
}

/// Runs a function that blocks, on a thread for that; the simulation runs it where it stands.
///
/// # Errors
///
/// The function has panicked.
pub async fn blocking<T: Send + 'static>(
    function: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<T> {
    #[cfg(not(feature = "simulation"))]
    return Ok(tokio::task::spawn_blocking(function).await?);
    #[cfg(feature = "simulation")]
    return std::future::ready(Ok(function())).await;
}

/// Returns a random number; in a simulation it comes from the run's seed.
#[must_use]
pub fn random() -> u64 {
    use rand::RngExt as _;
    Runtime::thread_rng().random()
}
