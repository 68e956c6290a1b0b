//! The listener of the peer protocol, from before a node has an identity until it stops.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::form::{self, AnswerForming};
use super::sessions::Sessions;
use super::wire::{
    Connection, HANDSHAKE, Hello, HelloAck, Invite, InviteReply, JoinFrame, JoinReply, LocalNode,
    PROTOCOL, Purpose, framed, receive, send, within,
};
use super::{calls, raft_sessions, snapshot_transfer};
use crate::node::Contact;
use crate::node::{Invitation, PeerHandler, Stranger};
use crate::raft::{Member, NodeId};
use crate::storage::{DiskSpace, Raft, Snapshots};

/// Connections at once; a cluster of 7 needs about 5 per peer.
const CONNECTIONS: usize = 512;
/// Refusals remembered so that each is logged once.
const REFUSALS: usize = 256;
/// Pause after a failed accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes an invitation: makes the identity durable and starts Raft; answers when it runs.
pub type Adopt = Arc<dyn Fn(Invitation) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What a started node answers its peers with.
#[derive(Clone)]
pub struct Running {
    pub local: LocalNode,
    /// Who this node is called, if it was invited and had not seen itself added when it started.
    pub invited: Option<Member>,
    pub raft: Raft,
    pub snapshots: Snapshots,
    pub disk: DiskSpace,
    pub contact: Contact,
    pub handler: Arc<dyn PeerHandler>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

/// What the listener can do at the moment.
#[derive(Clone)]
enum Phase {
    /// No identity yet, or Raft must stay silent; the text says which.
    Starting(&'static str),
    /// Empty, and waits for a leader's invitation.
    Waiting {
        member: Member,
        adopt: Adopt,
    },
    Running(Box<Running>),
}

impl Phase {
    /// Returns who this node is, for a refusal.
    fn name(&self) -> String {
        match self {
            Self::Starting(_) => "this node".to_owned(),
            Self::Waiting { member, .. } => format!("`{}`", member.name),
            Self::Running(running) => format!("`{}`", running.local.name),
        }
    }
}

/// The listener; clones share it.
#[derive(Clone)]
pub struct PeerServer {
    phase: Arc<ArcSwap<Phase>>,
    forming: Arc<ArcSwapOption<AnswerForming>>,
    /// Refusals of each node id: it tries again all the time, and a person wants to read of each once.
    refusals: Arc<Mutex<BTreeSet<(NodeId, String)>>>,
    sessions: Sessions,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl std::fmt::Debug for PeerServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerServer").finish_non_exhaustive()
    }
}

impl PeerServer {
    /// Serves the listeners, refusing everything until it is told otherwise.
    #[must_use]
    pub fn start(listeners: Vec<TcpListener>) -> Self {
        let server = Self {
            phase: Arc::new(ArcSwap::from_pointee(Phase::Starting("it is starting"))),
            forming: Arc::default(),
            refusals: Arc::default(),
            sessions: Sessions::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        for listener in listeners {
            server
                .tasks
                .spawn(accept(server.clone(), listener, places.clone()));
        }
        server
    }

    /// Answers what others ask who look for a cluster, in every phase from now on.
    pub fn answer_forming(&self, answer: AnswerForming) {
        self.forming.store(Some(Arc::new(answer)));
    }

    /// Refuses everything again but questions about forming; the text says why.
    pub fn wait(&self, why: &'static str) {
        self.phase.store(Arc::new(Phase::Starting(why)));
    }

    /// Lets a leader invite this node.
    pub fn wait_for_invitation(&self, member: Member, adopt: Adopt) {
        self.phase.store(Arc::new(Phase::Waiting { member, adopt }));
    }

    /// Answers peers from now on.
    pub fn run(&self, running: Running) {
        self.phase
            .store(Arc::new(Phase::Running(Box::new(running))));
    }

    /// Closes the listeners and all connections, and waits for them.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.phase
            .store(Arc::new(Phase::Starting("it is stopping")));
    }
}

async fn accept(server: PeerServer, listener: TcpListener, places: Arc<Semaphore>) {
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, from)) => {
                let session = session(server.clone(), stream, from);
                let stop = server.stop.clone();
                server.tasks.spawn(async move {
                    let ended = stop.run_until_cancelled(session).await;
                    if let Some(Err(error)) = ended {
                        tracing::debug!(%from, %error, "peer connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn session(server: PeerServer, stream: TcpStream, from: SocketAddr) -> io::Result<()> {
    let mut connection = framed(stream)?;
    let hello: Hello = within(HANDSHAKE, receive(&mut connection)).await?;
    if !hello.has_magic() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not the peer protocol",
        ));
    }
    let phase = server.phase.load_full();
    if hello.protocol != PROTOCOL {
        let (theirs, peer) = (hello.protocol, shown_name(&hello.from_name));
        let me = phase.name();
        let reason = format!(
            "{me} speaks peer protocol {PROTOCOL}, and `{peer}` speaks {theirs}: both must have the \
             same version of Conclave"
        );
        return server.refuse(connection, from, &hello, reason).await;
    }
    if hello.purpose == Purpose::Form
        && let Some(answer) = server.forming.load_full()
    {
        return form::answer(connection, &answer).await;
    }
    match &*phase {
        Phase::Starting(why) => {
            // Peers try again; this is no error.
            send(&mut connection, &HelloAck::NotYet((*why).to_owned())).await
        }
        Phase::Waiting { member, adopt } => match hello.purpose {
            Purpose::Invite => invited(connection, member, adopt).await,
            _ => {
                let reason = format!("`{}` is empty and waits to be joined", member.name);
                send(&mut connection, &HelloAck::NotYet(reason)).await
            }
        },
        Phase::Running(running) => run(&server, connection, from, hello, running).await,
    }
}

impl PeerServer {
    /// Tells the peer why, and the log on this side as well: a refusal means a wrong address.
    async fn refuse(
        &self,
        mut connection: Connection,
        from: SocketAddr,
        hello: &Hello,
        reason: String,
    ) -> io::Result<()> {
        if self.is_news(hello.from, &reason) {
            tracing::error!(
                %from, peer = %shown_name(&hello.from_name), %reason,
                "refused the node `{}` at {from}: {reason}", shown_name(&hello.from_name)
            );
        }
        send(&mut connection, &HelloAck::Refused(reason)).await
    }

    fn is_news(&self, from: NodeId, reason: &str) -> bool {
        let mut refusals = self.refusals.lock();
        if refusals.len() >= REFUSALS {
            refusals.clear();
        }
        refusals.insert((from, reason.to_owned()))
    }
}

async fn run(
    server: &PeerServer,
    mut connection: Connection,
    from: SocketAddr,
    hello: Hello,
    running: &Running,
) -> io::Result<()> {
    if hello.purpose == Purpose::Invite
        && hello.cluster == running.local.cluster
        && let Some(member) = &running.invited
        && running.handler.waits_to_be_added()
    {
        let (id, leader) = (running.local.id, shown_name(&hello.from_name));
        tracing::info!(%leader, "an earlier leader has not added this node: `{leader}` does, as {id}");
        return send(&mut connection, &HelloAck::Invited(member.clone(), id)).await;
    }
    if let Some(reason) = mismatch(&hello, &running.local) {
        if hello.cluster != running.local.cluster && hello.purpose != Purpose::Invite {
            running.handler.refused(Stranger {
                name: shown_name(&hello.from_name),
                id: hello.from,
                cluster: hello.cluster,
                address: from,
            });
        }
        return server.refuse(connection, from, &hello, reason).await;
    }
    send(&mut connection, &HelloAck::Welcome).await?;
    // On the heap: it would be part of every future around it, several times.
    let session = Box::pin(serve(connection, from, &hello, running));
    match hello.purpose {
        // Those who have no id yet are many, and are answered once.
        Purpose::Join => session.await,
        purpose => server.sessions.run(hello.from, purpose, session).await,
    }
}

/// Serves a connection by its purpose until the peer ends it.
async fn serve(
    mut connection: Connection,
    from: SocketAddr,
    hello: &Hello,
    running: &Running,
) -> io::Result<()> {
    match hello.purpose {
        Purpose::Append => {
            raft_sessions::append_session(connection, &running.raft, &running.disk).await
        }
        Purpose::Control => raft_sessions::control_session(connection, hello.from, running).await,
        Purpose::Forward => {
            calls::serve_calls(connection, hello.from, running.handler.clone()).await
        }
        Purpose::Snapshot => {
            let Running {
                raft,
                snapshots,
                disk,
                ..
            } = running;
            snapshot_transfer::receive_snapshot(connection, raft, snapshots, disk).await
        }
        Purpose::Join => {
            let request: JoinFrame = within(HANDSHAKE, receive(&mut connection)).await?;
            let reply: JoinReply = running.handler.join(from, request).await;
            send(&mut connection, &reply).await
        }
        Purpose::Invite | Purpose::Form => Ok(()), // refused by `mismatch`, answered before
    }
}

/// Returns a peer's name as far as it is shown: anybody can send anything.
fn shown_name(name: &str) -> String {
    const MOST: usize = 128;
    let plain = name.chars().filter(|c| !c.is_control());
    match plain.take(MOST).collect::<String>() {
        none if none.is_empty() => "(no name yet)".to_owned(),
        name => name,
    }
}

/// Returns why a connection is not for this node; both sides are named.
fn mismatch(hello: &Hello, local: &LocalNode) -> Option<String> {
    let (me, cluster) = (&local.name, local.cluster);
    match hello.purpose {
        Purpose::Join | Purpose::Form => None,
        Purpose::Invite if hello.cluster == cluster => {
            Some(format!("`{me}` is a member of this cluster already"))
        }
        Purpose::Invite => Some(format!("`{me}` is a member of cluster {cluster}")),
        _ if hello.cluster != cluster => {
            let (theirs, peer) = (hello.cluster, shown_name(&hello.from_name));
            Some(format!(
                "`{me}` is a member of cluster {cluster}, and not of {theirs} as `{peer}` is"
            ))
        }
        _ if hello.to != local.id => {
            let (actual, meant) = (local.id, hello.to);
            let peer = shown_name(&hello.from_name);
            Some(format!(
                "`{me}` has id {actual}, and not {meant} as `{peer}` thinks"
            ))
        }
        _ if hello.from == local.id => Some(format!("`{me}` has this id itself")),
        _ => None,
    }
}

async fn invited(mut connection: Connection, member: &Member, adopt: &Adopt) -> io::Result<()> {
    send(&mut connection, &HelloAck::Waiting(member.clone())).await?;
    // The leader first commits an id for this node.
    let Invite(invitation) = within(Duration::from_secs(30), receive(&mut connection)).await?;
    let reply = match adopt(invitation).await {
        Ok(()) => InviteReply::Adopted,
        Err(reason) => InviteReply::Refused(reason),
    };
    send(&mut connection, &reply).await
}
