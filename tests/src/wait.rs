//! Waiting on conditions.
//!
//! Level-triggered: the condition is asked again and again, so that a state which came and stayed
//! is always seen. A wait that ends without success says what it last saw. This is the only file
//! of the tests that sleeps, but for the delays that `links` makes.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// Time between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

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
    mut condition: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let end = Instant::now() + deadline;
    let mut last_seen = String::from("nothing: the first look did not return");
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match timeout(left.max(POLL), condition()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(seen)) => last_seen = seen,
            // The last look hung; what the one before it saw is the better report.
            Err(_) => {}
        }
        assert!(
            Instant::now() < end,
            "{what}: not within {deadline:?}; last seen: {last_seen}"
        );
        sleep(POLL).await;
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
