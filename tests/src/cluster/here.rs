//! What a node says of itself before it has a cluster.

use std::time::Duration;

use serde_json::Value;

use crate::cluster::Node;
use crate::wait::wait_for;

/// Longest time until a node says what it waits for.
const SAID_WITHIN: Duration = Duration::from_secs(30);

impl Node {
    /// Returns `/api/cluster/here`, which a node answers also while it starts.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub async fn here(&self) -> Result<Value, String> {
        let response = self.try_get("/api/cluster/here").await;
        response
            .map(|response| response.json())
            .map_err(|failure| failure.to_string())
    }

    /// Waits until the node says that it waits, in words that hold all of `words`.
    ///
    /// # Panics
    ///
    /// It does not.
    pub async fn wait_says(&self, words: &[&str]) {
        let what = format!("{} waits: {words:?}", self.name());
        wait_for(&what, SAID_WITHIN, async || {
            let here = self.here().await?;
            let said = here["waiting_for"].as_str().unwrap_or_default();
            match words.iter().all(|word| said.contains(word)) {
                true => Ok(()),
                false => Err(here.to_string()),
            }
        })
        .await;
    }
}
