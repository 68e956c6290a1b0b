//! What this node tells others that look for a cluster, in every state it can be in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::clock;
use crate::formation::{
    DirectoryId, Founding, Group, Ledger, Question, Reply, Seeker, Seeking, Standing, Step,
};
use crate::network::{AnswerForming, PeerServer};
use crate::node::Node;
use crate::raft::{Member, NodeId};
use crate::runtime;
use crate::storage::{Identity, write_seeking};

/// Writes to `DIR/formation.json`; a node without a directory only remembers.
#[derive(Debug)]
struct File(Option<PathBuf>);

impl Ledger for File {
    fn keep(&mut self, seeking: &Seeking) -> std::io::Result<()> {
        match &self.0 {
            Some(directory) => write_seeking(directory, seeking),
            None => Ok(()),
        }
    }
}

/// What this node is at the moment.
enum Here {
    Elsewhere(String),
    Seeking(Box<Seeker<File>>),
    /// With the node, once it runs: it knows who is a member still.
    Member(Box<Identity>, Option<Node>),
}

/// The answers of this node to others that look for a cluster; clones share them.
#[derive(Clone)]
pub(super) struct Presence {
    here: Arc<Mutex<Here>>,
    member: Member,
    environment: String,
}

impl Presence {
    /// Answers through the peer protocol from now on.
    pub(super) fn start(member: Member, environment: &str, peers: &PeerServer) -> Self {
        let this = Self {
            here: Arc::new(Mutex::new(Here::Elsewhere("it is starting".to_owned()))),
            member,
            environment: environment.to_owned(),
        };
        let answering = this.clone();
        let answer: AnswerForming = Arc::new(move |question| {
            let reply = answering.answer(&question);
            Box::pin(std::future::ready(reply))
        });
        peers.answer_forming(answer);
        this
    }

    fn answer(&self, question: &Question) -> Reply {
        match &mut *self.here.lock() {
            Here::Seeking(seeker) => seeker.answer(question, clock::now()),
            Here::Elsewhere(what) => Reply {
                from: None,
                member: self.member.clone(),
                standing: Standing::Elsewhere(what.clone()),
            },
            Here::Member(identity, node) => Reply {
                from: identity.directory,
                member: Member {
                    name: identity.name.clone(),
                    ..self.member.clone()
                },
                standing: Standing::Member {
                    cluster: identity.cluster,
                    environment: self.environment.clone(),
                    founding: founding_for(identity, question.from, |id| {
                        node.as_ref().is_some_and(|node| node.is_nobodys(id))
                    }),
                },
            },
        }
    }

    /// Takes no part; the text says what this node does instead.
    pub(super) fn elsewhere(&self, what: &str) {
        *self.here.lock() = Here::Elsewhere(what.to_owned());
    }

    /// Belongs to a cluster.
    pub(super) fn member(&self, identity: &Identity) {
        *self.here.lock() = Here::Member(Box::new(identity.clone()), None);
    }

    /// Belongs to a cluster, and runs in it.
    pub(super) fn runs(&self, started: &Node) {
        if let Here::Member(_, node) = &mut *self.here.lock() {
            *node = Some(started.clone());
        }
    }

    /// Looks for others of the group. It is durable what this directory is called.
    ///
    /// # Errors
    ///
    /// The disk fails.
    pub(super) async fn seek(
        &self,
        group: Group,
        kept: Option<Seeking>,
        directory: Option<PathBuf>,
    ) -> std::io::Result<()> {
        let (here, member) = (self.here.clone(), self.member.clone());
        runtime::blocking(move || {
            let seeker = Seeker::start(member, group, kept, File(directory))?;
            *here.lock() = Here::Seeking(Box::new(seeker));
            Ok(())
        })
        .await?
    }

    /// Returns what to ask the others, and whom this directory is pledged to.
    pub(super) fn question(&self) -> Option<(Question, Seeking)> {
        match &*self.here.lock() {
            Here::Seeking(seeker) => Some((seeker.question(), seeker.kept().clone())),
            _ => None,
        }
    }

    /// Decides what follows from a round of answers. The disk may be written.
    ///
    /// # Errors
    ///
    /// The disk fails; this node must not go on.
    pub(super) async fn decide(&self, replies: Vec<Reply>) -> std::io::Result<Step> {
        let here = self.here.clone();
        let now: Instant = clock::now();
        runtime::blocking(move || match &mut *here.lock() {
            Here::Seeking(seeker) => seeker.decide(&replies, now),
            _ => Ok(Step::Wait("it is a member".to_owned())),
        })
        .await?
    }

    /// Returns what a member's directory was called before: others may be pledged to it.
    pub(super) fn directory(&self) -> Option<DirectoryId> {
        match &*self.here.lock() {
            Here::Member(identity, _) => identity.directory,
            _ => None,
        }
    }

    /// Goes on seeking after a join that came to nothing.
    pub(super) fn seek_again(&self) {
        if let Here::Seeking(seeker) = &mut *self.here.lock() {
            seeker.seek_again();
        }
    }
}

/// A founder that asks is told its place, unless it was removed since: then the place is nobody's any
/// more. To others it says nothing.
fn founding_for(
    identity: &Identity,
    asking: DirectoryId,
    is_nobodys: impl FnOnce(NodeId) -> bool,
) -> Option<Founding> {
    let founding = identity.founding.as_ref()?;
    let founder = founding.founder(asking)?;
    (!is_nobodys(founder.id)).then(|| founding.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formation::Founder;
    use crate::raft::ClusterId;
    use crate::storage::Formation;

    #[test]
    fn only_a_founder_whose_id_is_a_members_is_told_its_place() {
        let founder = |id: u8| Founder {
            id: NodeId::from(id),
            directory: DirectoryId([id; 16]),
            member: Member::default(),
        };
        let cluster = ClusterId([7; 16]);
        let founding = Founding {
            cluster,
            attempt: 5,
            founders: vec![founder(1), founder(2)],
        };
        let identity = Identity {
            cluster,
            id: 1,
            name: "n".to_owned(),
            formation: Formation::Formed,
            directory: Some(DirectoryId([1; 16])),
            founding: Some(founding.clone()),
            unconfirmed: false,
        };
        let told = |digit, gone: &[NodeId]| {
            founding_for(&identity, DirectoryId([digit; 16]), |id| gone.contains(&id))
        };
        assert_eq!(told(2, &[]), Some(founding.clone()));
        assert_eq!(told(2, &[1]), Some(founding));
        assert_eq!(told(2, &[2]), None, "it was removed");
        assert_eq!(told(3, &[]), None, "it is no founder");
    }
}
