//! Read-index rounds shared by all reads that wait at the same time.
//!
//! A read may use only a round that started after the read arrived (etcd #20418 shows what a
//! reused one does). So while one round is on its way, newcomers gather for the next: under any
//! load there is one round at a time, and each serves everybody who waited for it.

use tokio::sync::{mpsc, oneshot};

use crate::runtime::{self, Task};

/// Reads that may wait for the next round; further ones are refused at once.
const WAITING: usize = 8_192;

type Waiter<T> = oneshot::Sender<T>;

/// Shares rounds of one kind. The rounds stop with this value.
#[derive(Debug)]
pub(super) struct Rounds<T> {
    waiters: mpsc::Sender<Waiter<T>>,
    _task: Task,
}

/// There is no room to wait, or the node is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused;

impl<T: Clone + Send + 'static> Rounds<T> {
    /// Shares the rounds that `round` makes.
    pub(super) fn new<F>(round: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = T> + Send,
    {
        let (waiters, mut arrivals) = mpsc::channel::<Waiter<T>>(WAITING);
        let task = async move {
            let mut gathered = Vec::new();
            while let Some(first) = arrivals.recv().await {
                gathered.push(first);
                while let Ok(waiter) = arrivals.try_recv() {
                    gathered.push(waiter);
                }
                let result = round().await;
                for waiter in gathered.drain(..) {
                    // A reader that gave up needs no answer.
                    drop(waiter.send(result.clone()));
                }
            }
        };
        Self {
            waiters,
            _task: runtime::spawn(task),
        }
    }

    /// Waits for the result of a round that starts after this call.
    pub(super) async fn next(&self) -> Result<T, Refused> {
        let (waiter, result) = oneshot::channel();
        self.waiters
            .try_send(waiter)
            .map_err(|_full_or_closed| Refused)?;
        result
            .await
            .map_err(|oneshot::error::RecvError { .. }| Refused)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_reader_never_gets_a_round_that_started_before_it_came() {
        let started = Arc::new(AtomicU64::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let rounds = Arc::new(Rounds::new({
            let (started, gate) = (started.clone(), gate.clone());
            move || {
                let (started, gate) = (started.clone(), gate.clone());
                async move {
                    let number = started.fetch_add(1, Ordering::SeqCst) + 1;
                    gate.acquire().await.unwrap().forget();
                    number
                }
            }
        }));
        let reader = |rounds: &Arc<Rounds<u64>>| {
            let rounds = rounds.clone();
            tokio::spawn(async move { rounds.next().await.unwrap() })
        };
        let first = reader(&rounds);
        while started.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let later: Vec<_> = (0..100).map(|_| reader(&rounds)).collect();
        for _ in 0..200 {
            tokio::task::yield_now().await; // all have arrived while round 1 is on its way
        }
        gate.add_permits(2);
        assert_eq!(first.await.unwrap(), 1);
        for reader in later {
            assert_eq!(reader.await.unwrap(), 2, "one round serves all who waited");
        }
        assert_eq!(started.load(Ordering::SeqCst), 2);
    }
}
