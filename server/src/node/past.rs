//! Looking back: a key's older versions, and its value as it was.
//!
//! What a node keeps of the past is its own (`history`): which state an answer is held against is a
//! matter of the read level, how far back it reaches is a matter of the node.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Answer, Node, ReadOptions, ServiceError};
use crate::history::{History, HistoryError, Versions};
use crate::runtime;
use crate::state::{Key, Record, View};

/// Longest wait for the history to take what is applied already.
const CATCH_UP: Duration = Duration::from_secs(2);

/// Looks at the history at a time: each reads and decodes pages.
const AT_ONCE: usize = 8;
/// Longest wait for one of these places.
const PLACE_WAIT: Duration = Duration::from_secs(2);

/// Where a node has its history once it is attached, and who may look at it.
#[derive(Debug)]
pub(super) struct Kept {
    history: OnceLock<History>,
    places: Arc<Semaphore>,
}

impl Kept {
    pub(super) fn new() -> Self {
        Self {
            history: OnceLock::new(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Waits for a place to look from; it is free again when the result is dropped.
    ///
    /// # Errors
    ///
    /// `Overloaded` when there is none in time.
    async fn place(&self) -> Result<OwnedSemaphorePermit, ServiceError> {
        let place = self.places.clone().acquire_owned();
        match runtime::timeout(PLACE_WAIT, place).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(runtime::Elapsed) => Err(ServiceError::Overloaded),
        }
    }
}

/// A moment of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// After this revision.
    Revision(u64),
    /// After the newest revision whose wall time, milliseconds since 1970, is not later.
    WallTime(u64),
}

impl Node {
    /// Puts the history of this node behind its answers. Once; a second one is ignored.
    pub fn attach_history(&self, history: History) {
        drop(self.0.history.history.set(history));
    }

    /// Returns a key's changes, newest first, those before revision `before` if it is given; none for
    /// a key that does not exist and of which nothing is kept.
    ///
    /// # Errors
    ///
    /// As [`Self::get`]; `RevisionGone` when nothing is kept here; `Overloaded`; `TooFarBack`. Cancel
    /// safe.
    pub async fn versions(
        &self,
        options: &ReadOptions,
        key: &Key,
        before: Option<u64>,
        most: usize,
    ) -> Result<Answer<Option<Versions>>, ServiceError> {
        let answer = self.view(options).await?;
        let exists = answer.value.state.get(key).is_some();
        let asked = key.clone();
        let look = move |history: &History, current: Option<&Arc<Record>>| {
            history.versions(&asked, current.map(AsRef::as_ref), before, most)
        };
        let found = self.look_back(key, &answer.value, 0, look).await?;
        let is_known = exists || before.is_some() || !found.versions.is_empty();
        Ok(Answer {
            value: is_known.then_some(found),
            meta: answer.meta,
        })
    }

    /// Returns a key's record as it was.
    ///
    /// # Errors
    ///
    /// As [`Self::get`]; `RevisionGone` when that is no longer kept here; `NotCaughtUp` for a
    /// revision that is still to come; `Overloaded`; `TooFarBack`. Cancel safe.
    pub async fn get_past(
        &self,
        options: &ReadOptions,
        key: &Key,
        past: Past,
    ) -> Result<Answer<Option<Arc<Record>>>, ServiceError> {
        let mut options = options.clone();
        if let Past::Revision(revision) = past {
            options.min_revision = options.min_revision.max(Some(revision));
        }
        let answer = self.view(&options).await?;
        let wanted = match past {
            Past::Revision(revision) => revision,
            Past::WallTime(_) => 0,
        };
        let asked = key.clone();
        let look = move |history: &History, current: Option<&Arc<Record>>| {
            let revision = match past {
                Past::Revision(revision) => revision,
                Past::WallTime(wall_ms) => history.revision_at(wall_ms)?,
            };
            history.value_at(&asked, current, revision)
        };
        let value = self.look_back(key, &answer.value, wanted, look).await?;
        Ok(Answer {
            value,
            meta: answer.meta,
        })
    }

    /// Asks the history about a key, once it has taken what the view shows of it.
    async fn look_back<T: Send + 'static>(
        &self,
        key: &Key,
        view: &Arc<View>,
        wanted: u64,
        look: impl FnOnce(&History, Option<&Arc<Record>>) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let events = self.0.consensus.published().events().clone();
        let current = view.state.revision();
        let gone = move |oldest| ServiceError::RevisionGone {
            wanted,
            oldest,
            current,
        };
        let Some(history) = self.0.history.history.get().cloned() else {
            return Err(gone(events.oldest()));
        };
        if runtime::timeout(CATCH_UP, history.reached(current))
            .await
            .is_err()
        {
            return Err(ServiceError::NotCaughtUp {
                wanted: current,
                applied: current,
            });
        }
        let record = view.state.get(key).cloned();
        let place = self.0.history.place().await?;
        let looked = runtime::blocking(move || {
            // Also when nobody waits for the answer any more.
            let _place = place;
            look(&history, record.as_ref())
        })
        .await;
        match looked.map_err(|error| ServiceError::Internal(error.to_string()))? {
            Ok(value) => Ok(value),
            Err(HistoryError::Gone { oldest }) => Err(gone(oldest)),
            Err(HistoryError::Behind { taken }) => Err(ServiceError::NotCaughtUp {
                wanted: current,
                applied: taken,
            }),
            Err(HistoryError::TooFar { pages }) => Err(ServiceError::TooFarBack { pages }),
            Err(HistoryError::Failed(error)) => {
                tracing::warn!(%error, "history cannot be read: {error}");
                Err(gone(events.oldest()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_so_many_look_back_at_a_time_and_the_next_waits_for_a_stated_time() {
        let kept = Kept::new();
        let mut places = Vec::new();
        for _ in 0..AT_ONCE {
            places.push(kept.place().await.unwrap());
        }
        let began = crate::clock::now();
        assert_eq!(kept.place().await.unwrap_err(), ServiceError::Overloaded);
        assert!(crate::clock::since(began) >= PLACE_WAIT);
        let (next, ()) = tokio::join!(kept.place(), async {
            runtime::sleep(PLACE_WAIT / 2).await;
            drop(places.pop());
        });
        drop(next.unwrap());
    }
}
