//! Looking back: a key's older versions, and its value as it was.
//!
//! What a node keeps of the past is its own (`history`): which state an answer is held against is a
//! matter of the read level, how far back it reaches is a matter of the node.

use std::sync::Arc;
use std::time::Duration;

use super::{Answer, Node, ReadOptions, ServiceError};
use crate::history::{History, HistoryError, Versions};
use crate::runtime;
use crate::state::{Key, Record, View};

/// Longest wait for the history to take what is applied already.
const CATCH_UP: Duration = Duration::from_secs(2);

/// Where a node has its history once it is attached.
pub(super) type Kept = std::sync::OnceLock<History>;

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
        drop(self.0.history.set(history));
    }

    /// Returns a key's changes, newest first, those before revision `before` if it is given.
    ///
    /// # Errors
    ///
    /// As [`Self::get`], and `RevisionGone` when nothing is kept here. Cancel safe.
    pub async fn versions(
        &self,
        options: &ReadOptions,
        key: &Key,
        before: Option<u64>,
        most: usize,
    ) -> Result<Answer<Versions>, ServiceError> {
        let answer = self.view(options).await?;
        let asked = key.clone();
        let look = move |history: &History, current: Option<&Arc<Record>>| {
            history.versions(&asked, current.map(AsRef::as_ref), before, most)
        };
        let value = self.look_back(key, &answer.value, 0, look).await?;
        Ok(Answer {
            value,
            meta: answer.meta,
        })
    }

    /// Returns a key's record as it was.
    ///
    /// # Errors
    ///
    /// As [`Self::get`]; `RevisionGone` when that is no longer kept here; `NotCaughtUp` for a
    /// revision that is still to come. Cancel safe.
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
        let Some(history) = self.0.history.get().cloned() else {
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
        let looked = runtime::blocking(move || look(&history, record.as_ref())).await;
        match looked.map_err(|error| ServiceError::Internal(error.to_string()))? {
            Ok(value) => Ok(value),
            Err(HistoryError::Gone { oldest }) => Err(gone(oldest)),
            Err(HistoryError::Behind { taken }) => Err(ServiceError::NotCaughtUp {
                wanted: current,
                applied: taken,
            }),
            Err(HistoryError::Failed(error)) => {
                tracing::warn!(%error, "history cannot be read: {error}");
                Err(gone(events.oldest()))
            }
        }
    }
}
