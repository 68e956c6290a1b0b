//! One event stream over any number of connections: when to connect, and which changes are new.
//!
//! A machine without a clock or a network: inputs come with their time, and what is to be done is
//! asked for afterwards. Its promise: each change comes out once and in the order of revisions, or a
//! [`News::Gap`] says that changes are missing. It holds because all changes of a revision come
//! together and only the last of them has an id: they are kept back until the id is there, and the
//! next connection asks for what comes after the last id.

use conclave_shared::stream::{Heartbeat, Lagged, Progress};
use serde::de::DeserializeOwned;

use super::sse::Message;
use crate::model::order::sort;
use crate::model::{
    address::escape,
    connection::Connection,
    news::{Interest, KeyEvent, News},
};

/// Waits between attempts, milliseconds; the last one is for all further.
const BACKOFF_MS: [f64; 6] = [500.0, 1_000.0, 2_000.0, 4_000.0, 8_000.0, 15_000.0];
/// Age of a connection above which its end does not count as a failed attempt, milliseconds.
const STEADY_MS: f64 = 2_000.0;
/// Silence after which a connection counts as broken, milliseconds; a heartbeat is due every second.
pub const SILENT_MS: f64 = 5_000.0;
/// A break that heals within this is not shown, milliseconds.
pub const UNSEEN_MS: f64 = 1_000.0;
/// Silence after which the node counts as offline, milliseconds.
pub const OFFLINE_MS: f64 = 30_000.0;
/// How long a hidden tab still listens, milliseconds.
pub const HIDDEN_MS: f64 = 5_000.0;

/// What the stream does now. `since` is the time of the last change.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// Nothing is open, until this time.
    Waiting(f64),
    /// Asked for; nothing heard yet.
    Opening {
        since: f64,
    },
    /// The node said hello.
    Open {
        since: f64,
    },
    Paused,
}

/// How a connection attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It broke, ended, or never came to be.
    Broken,
    /// The answer had this status, or was no event stream.
    Refused(u16),
    /// What it was to resume from is no longer kept; the first revision that is, if it was said.
    Gone(Option<u64>),
}

/// What to do with the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ends the connection that there is, and opens one with this number at this target.
    Open {
        number: u64,
        target: String,
    },
    Close,
}

/// What the stream brought.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Brought {
    pub news: Vec<News>,
    pub heartbeat: Option<Box<Heartbeat>>,
}

/// The stream of one tab.
#[derive(Debug)]
pub struct Resume {
    stage: Stage,
    /// Number of the last connection; what others bring is late and means nothing.
    number: u64,
    /// Revision up to which everything was told; none before the first hello.
    told: Option<u64>,
    /// A gap is to be said at the next hello: what follows this revision is lost.
    lost_after: Option<u64>,
    /// Changes of the revision that has no id yet.
    held: Vec<News>,
    interest: Interest,
    cluster_id: String,
    attempts: u32,
    heard_ms: f64,
    /// When the present trouble began; none while all is well.
    trouble_ms: Option<f64>,
    hidden_ms: Option<f64>,
    is_online: bool,
    shown: Connection,
    refused: Option<u16>,
    action: Option<Action>,
}

impl Resume {
    /// Begins; the first connection starts at the present.
    #[must_use]
    pub fn new(now_ms: f64) -> Self {
        let mut resume = Self {
            stage: Stage::Waiting(now_ms),
            number: 0,
            told: None,
            lost_after: None,
            held: Vec::new(),
            interest: Interest::default(),
            cluster_id: String::new(),
            attempts: 0,
            heard_ms: now_ms,
            trouble_ms: Some(now_ms),
            hidden_ms: None,
            is_online: true,
            shown: Connection::Reconnecting(0),
            refused: None,
            action: None,
        };
        resume.open(now_ms);
        resume
    }

    /// Takes what is to be done now. Only the last decision matters.
    pub const fn take_action(&mut self) -> Option<Action> {
        self.action.take()
    }

    /// How the page hears its node, for the reader.
    #[must_use]
    pub const fn connection(&self) -> Connection {
        self.shown
    }

    /// When the node was last heard.
    #[must_use]
    pub const fn heard_ms(&self) -> f64 {
        self.heard_ms
    }

    /// Status of the node's last refusal to open a stream; none since one was opened.
    #[must_use]
    pub const fn refused(&self) -> Option<u16> {
        self.refused
    }

    /// Revision up to which everything wanted was told; none before the first connection.
    #[must_use]
    pub const fn told(&self) -> Option<u64> {
        self.told
    }

    /// Looks at the clock; to be called a few times a second.
    pub fn tick(&mut self, now_ms: f64, chance: f64) {
        if self
            .hidden_ms
            .is_some_and(|since| now_ms - since >= HIDDEN_MS)
        {
            self.pause();
        }
        match self.stage {
            Stage::Waiting(until) if now_ms >= until => self.open(now_ms),
            Stage::Opening { since } if now_ms - since >= SILENT_MS => {
                self.fail(now_ms, chance, End::Broken);
            }
            Stage::Open { .. } if now_ms - self.heard_ms >= SILENT_MS => {
                // Nobody waits another second to say what is old already.
                self.trouble_ms = Some(self.heard_ms);
                self.fail(now_ms, chance, End::Broken);
            }
            _ => {}
        }
        self.show(now_ms);
    }

    /// A connection ended by itself, or was never one. `chance` is a random number from 0 to 1.
    pub fn ended(&mut self, now_ms: f64, chance: f64, number: u64, end: End) -> Brought {
        let mut brought = Brought::default();
        if number != self.number {
            return brought;
        }
        match (end, self.told) {
            (End::Gone(Some(oldest)), Some(told)) if oldest > told + 1 => {
                self.skip(told, oldest, &mut brought);
                self.open(now_ms);
            }
            (End::Gone(_), told) => {
                // It does not say from where on: from the present on, then.
                self.lost_after = self.lost_after.or(told);
                self.told = None;
                self.fail(now_ms, chance, end);
            }
            _ => self.fail(now_ms, chance, end),
        }
        self.show(now_ms);
        brought
    }

    /// The tab is hidden now.
    pub fn hide(&mut self, now_ms: f64) {
        self.hidden_ms.get_or_insert(now_ms);
    }

    /// The page is left, and perhaps kept for a return: a page that listens cannot be kept.
    pub fn leave(&mut self, now_ms: f64) {
        self.hide(now_ms);
        self.pause();
        self.show(now_ms);
    }

    /// The tab is seen again, also after a sleep and out of the back/forward cache.
    pub fn see(&mut self, now_ms: f64) {
        self.hidden_ms = None;
        // After a sleep the browser may still take a dead connection for an open one.
        self.hurry(now_ms, SILENT_MS);
    }

    /// The browser's network came or went.
    pub fn network(&mut self, now_ms: f64, is_online: bool) {
        self.is_online = is_online;
        if is_online {
            self.hurry(now_ms, UNSEEN_MS);
        }
        self.show(now_ms);
    }

    /// Somebody does not want to wait.
    pub fn retry(&mut self, now_ms: f64) {
        self.hurry(now_ms, 0.0);
        self.show(now_ms);
    }

    /// Other news are wanted from now on.
    pub fn want(&mut self, now_ms: f64, interest: Interest) {
        if self.interest == interest {
            return;
        }
        self.interest = interest;
        if matches!(self.stage, Stage::Opening { .. } | Stage::Open { .. }) {
            self.open(now_ms);
        }
    }

    /// Reads what a connection brought.
    pub fn receive(&mut self, now_ms: f64, number: u64, messages: Vec<Message>) -> Brought {
        let mut brought = Brought::default();
        for message in messages {
            // A message may end the connection: what it brought behind that is not wanted.
            if number != self.number
                || !matches!(self.stage, Stage::Opening { .. } | Stage::Open { .. })
            {
                break;
            }
            self.heard_ms = now_ms;
            self.read(now_ms, &message, &mut brought);
        }
        self.show(now_ms);
        brought
    }

    fn read(&mut self, now_ms: f64, message: &Message, brought: &mut Brought) {
        let data = message.data.as_str();
        let id = message.id.as_ref().and_then(|id| id.parse::<u64>().ok());
        match message.event.as_str() {
            "hello" => self.hello(now_ms, data, brought),
            "hb" => self.heartbeat(now_ms, data, brought),
            "leader" => brought.news.extend(parse(data).map(News::Leader)),
            "lagged" | "reset" => {
                if let Some(Lagged { revision, oldest }) = parse(data) {
                    let told = self.told.unwrap_or_default();
                    // A reset's revision is that of a state, which this page loads by itself.
                    let is_told = message.event == "lagged";
                    let told = if is_told { told.max(revision) } else { told };
                    self.skip(told, oldest, brought);
                    self.open(now_ms);
                }
            }
            _ => self.hold(change(message)),
        }
        if let Some(revision) = id {
            self.complete(revision, brought);
        }
    }

    fn hello(&mut self, now_ms: f64, data: &str, brought: &mut Brought) {
        let Some(Progress { revision }) = parse(data) else {
            return;
        };
        self.stage = Stage::Open { since: now_ms };
        self.trouble_ms = None;
        self.refused = None;
        if self.told.is_none() {
            self.told = Some(revision);
            if let Some(after) = self.lost_after.take() {
                let oldest = revision + 1;
                brought.news.push(News::Gap { after, oldest });
            }
        }
    }

    /// Another cluster at the same address: nothing told so far says anything about it.
    fn heartbeat(&mut self, now_ms: f64, data: &str, brought: &mut Brought) {
        let Some(heartbeat) = parse::<Heartbeat>(data) else {
            return;
        };
        let cluster_id = &heartbeat.status.cluster_id;
        if !self.cluster_id.is_empty() && self.cluster_id != *cluster_id {
            self.told = None;
            self.lost_after = Some(0);
            self.open(now_ms);
        }
        self.cluster_id.clone_from(cluster_id);
        brought.heartbeat = Some(Box::new(heartbeat));
    }

    /// Keeps a change back until its revision is complete.
    fn hold(&mut self, change: Option<News>) {
        self.held.extend(change);
    }

    fn complete(&mut self, revision: u64, brought: &mut Brought) {
        let is_new = self.told.is_none_or(|told| revision > told);
        if is_new {
            brought.news.append(&mut self.held);
            self.told = Some(revision);
        }
        self.held.clear();
    }

    /// Goes on from `oldest`: what was between is kept nowhere.
    fn skip(&mut self, after: u64, oldest: u64, brought: &mut Brought) {
        self.told = Some(after.max(oldest.saturating_sub(1)));
        brought.news.push(News::Gap { after, oldest });
    }

    fn fail(&mut self, now_ms: f64, chance: f64, end: End) {
        if matches!(self.stage, Stage::Open { since } if now_ms - since >= STEADY_MS) {
            self.attempts = 0;
        }
        self.trouble_ms.get_or_insert(now_ms);
        self.refused = match end {
            End::Refused(status) => Some(status),
            End::Broken | End::Gone(_) => None,
        };
        let place = (self.attempts as usize).min(BACKOFF_MS.len() - 1);
        self.attempts += 1;
        // Tabs that lost one node together do not come back together.
        let pause = BACKOFF_MS[place] * (0.75 + 0.25 * chance);
        self.close();
        self.stage = Stage::Waiting(now_ms + pause);
    }

    fn pause(&mut self) {
        if self.stage != Stage::Paused {
            self.close();
            self.stage = Stage::Paused;
            self.trouble_ms = None;
            self.attempts = 0;
        }
    }

    /// Opens at once what is not open, or has been silent for this long.
    fn hurry(&mut self, now_ms: f64, silent_ms: f64) {
        let is_heard = match self.stage {
            Stage::Open { .. } => now_ms - self.heard_ms < silent_ms,
            Stage::Opening { since } => now_ms - since < silent_ms,
            Stage::Waiting(_) | Stage::Paused => false,
        };
        if !is_heard && self.hidden_ms.is_none() {
            self.trouble_ms.get_or_insert(now_ms);
            self.open(now_ms);
        }
    }

    fn open(&mut self, now_ms: f64) {
        self.held.clear();
        self.number += 1;
        self.stage = Stage::Opening { since: now_ms };
        self.action = Some(Action::Open {
            number: self.number,
            target: self.target(),
        });
    }

    fn close(&mut self) {
        self.held.clear();
        self.number += 1;
        self.action = Some(Action::Close);
    }

    fn target(&self) -> String {
        let mut target = String::from("/api/events?values=false&heartbeat=1s");
        if let Some(told) = self.told {
            target.push_str(&format!("&since={told}"));
        }
        for prefix in &self.interest.prefixes {
            target.push_str("&prefix=");
            target.push_str(&escape(prefix));
        }
        if !self.interest.types.is_empty() {
            // The shell itself hears of leaders and members, whatever the screen wants.
            let mut types: Vec<&str> = self.interest.types.iter().map(String::as_str).collect();
            types.extend(["leader", "member"]);
            sort(&mut types, Ord::cmp);
            types.dedup();
            target.push_str("&types=");
            target.push_str(&types.join(","));
        }
        target
    }

    /// Decides what the reader is shown. A short break changes nothing.
    fn show(&mut self, now_ms: f64) {
        let attempts = self.attempts;
        self.shown = match (self.stage, self.trouble_ms) {
            (Stage::Paused, _) => Connection::Paused,
            (Stage::Open { .. }, None) => Connection::Live,
            (_, Some(since)) => {
                let is_old = now_ms - since >= OFFLINE_MS;
                if is_old || !self.is_online {
                    Connection::Offline
                } else if now_ms - since >= UNSEEN_MS {
                    Connection::Reconnecting(attempts)
                } else {
                    self.shown
                }
            }
            // Opened anew for other news: all is well.
            (_, None) => self.shown,
        };
    }
}

/// Reads a change of the cluster; none for what is no change.
#[must_use]
pub fn change(message: &Message) -> Option<News> {
    let data = message.data.as_str();
    let key = |event| parse(data).map(|change| News::Key(event, change));
    match message.event.as_str() {
        "put" => key(KeyEvent::Put),
        "delete" => key(KeyEvent::Delete),
        "expire" => key(KeyEvent::Expire),
        "lock" => parse(data).map(News::Lock),
        "member" => parse(data).map(News::Member),
        _ => None,
    }
}

fn parse<T: DeserializeOwned>(data: &str) -> Option<T> {
    // As all JSON of the page: a second kind of reader would be all of serde's code once more.
    serde_json::from_slice(data.as_bytes()).ok()
}

#[cfg(test)]
#[path = "resume_tests.rs"]
mod tests;
