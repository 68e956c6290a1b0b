//! The sessions of each peer. One that vanished without a word leaves connections behind that look
//! healthy from here; they must not take the places of those that it makes when it is back.

use std::future::Future;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::wire::Purpose;
use crate::raft::NodeId;

/// Sessions of one peer for one purpose at once. It needs one, or for control one of its heartbeats
/// and one of its votes.
const SESSIONS: usize = 4;

#[derive(Debug)]
struct Session {
    from: NodeId,
    purpose: Purpose,
    end: CancellationToken,
}

/// The sessions that run, oldest first; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions(Arc<Mutex<Vec<Arc<Session>>>>);

impl Sessions {
    /// Runs a session to its end. It is ended before when four newer ones of the same peer and purpose
    /// have begun, with an error of kind `ConnectionAborted`. Cancel safe.
    pub(super) async fn run(
        &self,
        from: NodeId,
        purpose: Purpose,
        session: impl Future<Output = io::Result<()>>,
    ) -> io::Result<()> {
        let place = self.enter(from, purpose);
        let ended = place.session.end.run_until_cancelled(session).await;
        ended.unwrap_or_else(|| {
            let why = "the peer has newer connections";
            Err(io::Error::new(io::ErrorKind::ConnectionAborted, why))
        })
    }

    fn enter(&self, from: NodeId, purpose: Purpose) -> Place {
        let session = Arc::new(Session {
            from,
            purpose,
            end: CancellationToken::new(),
        });
        let mut all = self.0.lock();
        let same = |other: &&Arc<Session>| other.from == from && other.purpose == purpose;
        // One that was told to end may not have left yet.
        let others: Vec<_> = all.iter().filter(same).collect();
        let surplus = (others.len() + 1).saturating_sub(SESSIONS);
        for oldest in others.into_iter().take(surplus) {
            oldest.end.cancel();
        }
        all.push(session.clone());
        drop(all);
        Place {
            sessions: self.clone(),
            session,
        }
    }
}

/// A session's place, left when it is dropped.
struct Place {
    sessions: Sessions,
    session: Arc<Session>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.sessions.0.lock();
        all.retain(|other| !Arc::ptr_eq(other, &self.session));
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn the_oldest_of_a_peer_and_purpose_makes_room() {
        let sessions = Sessions::default();
        let begin = |from, purpose| {
            let sessions = sessions.clone();
            async move { sessions.run(from, purpose, pending()).await }
        };
        let oldest = tokio::spawn(begin(1, Purpose::Append));
        tokio::task::yield_now().await;
        let mut others = vec![tokio::spawn(begin(2, Purpose::Append))];
        others.push(tokio::spawn(begin(1, Purpose::Control)));
        for _ in 1..SESSIONS {
            others.push(tokio::spawn(begin(1, Purpose::Append)));
        }
        tokio::task::yield_now().await;
        assert!(!oldest.is_finished());
        others.push(tokio::spawn(begin(1, Purpose::Append)));
        let ended = oldest.await.unwrap().unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionAborted);
        assert!(others.iter().all(|other| !other.is_finished()));
        for other in others {
            other.abort();
            assert!(other.await.unwrap_err().is_cancelled());
        }
        assert!(sessions.0.lock().is_empty(), "they have left");
    }
}
