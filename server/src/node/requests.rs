//! What became of a request: the look-up, and the settlement for good.

use conclave_shared::ReadLevel;

use super::{Answer, Node, ReadOptions, Routing, ServiceError, WriteRequest};
use crate::state::{Op, Outcome, RequestId, SettledRequest};

impl Node {
    /// Looks a request id up, at `consistent`.
    ///
    /// `None`: nothing is known of it at this moment. It may still be on its way, or its outcome
    /// may be forgotten; [`Self::settle`] decides that.
    ///
    /// # Errors
    ///
    /// As [`Self::get`]. Cancel safe.
    pub async fn request_outcome(
        &self,
        id: &RequestId,
    ) -> Result<Answer<Option<SettledRequest>>, ServiceError> {
        let options = ReadOptions::level(ReadLevel::Consistent);
        let answer = self.view(&options).await?;
        Ok(Answer {
            value: self.0.consensus.published().settled(id),
            meta: answer.meta,
        })
    }

    /// Settles a request id for good: answers its outcome, or withdraws it, so that no attempt that
    /// any node has taken before can ever be applied. Asked again, it answers the same.
    ///
    /// # Errors
    ///
    /// As [`Self::write`]; nothing is settled then, or it is and another call will say so.
    pub async fn settle(
        &self,
        id: RequestId,
        routing: Routing,
    ) -> Result<Answer<SettledRequest>, ServiceError> {
        let request = WriteRequest {
            routing,
            ..WriteRequest::own(Op::SettleRequest { id })
        };
        let Answer { value, meta } = self.write(request).await?;
        match value {
            Outcome::Settlement(value) => Ok(Answer { value, meta }),
            other => Err(ServiceError::Internal(format!(
                "a settlement came to {other:?}"
            ))),
        }
    }
}
