//! Keys that are always written together: a node that shows only some of them, or those of two
//! writes, has a state that never was one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};
use tokio::task::JoinHandle;

use crate::Request;
use crate::cluster::Node;
use crate::http::Client;
use crate::wait::before_retry;

/// Keys of one write.
const MARKS: usize = 100;

/// A client that writes the marks again and again.
#[derive(Debug)]
pub struct Marks {
    stop: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Marks {
    /// Starts the client; it turns to the next address when a node fails.
    #[must_use]
    pub fn start(addresses: &[String]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(run(addresses.to_vec(), Arc::clone(&stop)));
        Self { stop, task }
    }

    /// Stops the client and returns the number of its acknowledged writes.
    ///
    /// # Panics
    ///
    /// The client has panicked.
    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the writer of marks does not panic")
    }
}

async fn run(mut addresses: Vec<String>, stop: Arc<AtomicBool>) -> u64 {
    let mut acknowledged = 0;
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let mut client = Client::new(addresses.first().cloned().unwrap_or_default());
        loop {
            number += 1;
            let marks =
                (0..MARKS).map(|mark| (format!("mark/{mark:03}"), number.to_string().into()));
            let body = Value::Object(marks.collect::<Map<_, _>>()).to_string();
            let answer = client.send(&Request::post("/key", body)).await;
            before_retry().await;
            if stop.load(Ordering::Relaxed) {
                return acknowledged;
            }
            match answer {
                Ok(response) if response.status == 200 => acknowledged += 1,
                _ => break,
            }
        }
        addresses.rotate_left(1);
    }
    acknowledged
}

/// Looks at the marks of one node, whatever its age. Returns false when it does not answer.
///
/// # Panics
///
/// They are not those of one write.
pub async fn are_whole_at(node: &Node) -> bool {
    let target = format!("/api/keys?prefix=mark/&limit={}&level=stale", 2 * MARKS);
    let Ok(response) = node.try_get(&target).await else {
        return false;
    };
    if response.status != 200 {
        return false;
    }
    let page = response.json();
    let marks = page["keys"].as_array().cloned().unwrap_or_default();
    let first = marks.first().map(|mark| mark["value"].clone());
    let is_one_write = marks
        .iter()
        .all(|mark| Some(&mark["value"]) == first.as_ref());
    assert!(
        marks.len() == MARKS && is_one_write,
        "{} shows {} of {MARKS} marks: {page}",
        node.name(),
        marks.len()
    );
    true
}
