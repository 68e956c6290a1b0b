//! Waiting on conditions.
//!
//! Level-triggered: the condition is asked again and again, so that a state which came and stayed
//! is always seen. A wait that ends without success says what it last saw. This is the only file
//! of the tests that sleeps, but for the delays that `links` makes.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// Time between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);
/// Time between two looks for a moment that is over soon.
const CLOSE_POLL: Duration = Duration::from_millis(1);

/// Waits until `condition` gives a value, and returns it.
///
/// The condition's error says what it saw instead. It is dropped at the deadline wherever it is.
///
/// # Panics
///
/// The condition does not hold within `deadline`.
pub async fn wait_for<T>(
    what: &str,
    deadline: Duration,
    condition: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    look_for(what, deadline, POLL, condition).await
}

/// Waits as [`wait_for`] does for a moment that is over soon, and looks every millisecond.
///
/// # Panics
///
/// The condition does not hold within `deadline`.
pub async fn wait_closely_for<T>(
    what: &str,
    deadline: Duration,
    condition: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    look_for(what, deadline, CLOSE_POLL, condition).await
}

async fn look_for<T>(
    what: &str,
    deadline: Duration,
    poll: Duration,
    mut condition: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let end = Instant::now() + deadline;
    let mut last_seen = String::from("nothing: the first look did not return");
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match timeout(left.max(poll), condition()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(seen)) => last_seen = seen,
            // The last look hung; what the one before it saw is the better report.
            Err(_) => {}
        }
        assert!(
            Instant::now() < end,
            "{what}: not within {deadline:?}; last seen: {last_seen}"
        );
        sleep(poll).await;
    }
}

/// Pauses a client before it tries or asks again.
pub async fn before_retry() {
    sleep(POLL).await;
}

/// Lets a fault last: the one place where time itself is waited for.
pub(crate) async fn pass(time: Duration) {
    sleep(time).await;
}
