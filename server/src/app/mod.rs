//! The composition root: builds every component, owns the order of starting and stopping. The
//! only place that knows them all.

mod join;
mod listen;
mod start;

use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::config::Config;
use crate::http::{Edge, HttpOptions};
use crate::metrics::Metrics;
use crate::network::PeerServer;
use crate::node::Invitation;
use crate::raft::{ClusterId, Member};
use crate::storage::{DataDirectory, DirectoryError, Formation, Identity, Storage};
use start::{Started, start_node};

/// Requests under way may finish in this time when the node stops.
const FINISH: Duration = Duration::from_secs(5);
/// Longest wait for the cluster to let this node go.
const LEAVE: Duration = Duration::from_secs(10);
/// A node that was invited sees itself in the membership within this time.
const SHOWN: Duration = Duration::from_secs(5);
/// Time between two looks at whether Raft still runs.
const WATCH: Duration = Duration::from_millis(250);

/// An invitation on its way to the task that starts the node.
type Invited = (Invitation, oneshot::Sender<Result<(), String>>);

/// Runs a node until `stop` is cancelled, then stops it cleanly.
///
/// # Errors
///
/// The node cannot start, is refused by the cluster it is to join, or cannot go on. The text is
/// for the person who started it.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let directory = match &config.data_dir {
        Some(path) => Some(DataDirectory::open(path)?),
        None => None,
    };
    let metrics = Metrics::default();
    let found = find(&config, directory.as_ref(), &metrics)?;
    let http_listeners = listen::bind("-haddr", &config.http_listen).await?;
    let raft_listeners = listen::bind("-raddr", &config.raft_listen).await?;

    let http_address = config.http.to_string();
    let edge = Edge::measured(HttpOptions::default(), http_address, metrics.clone());
    let http_stop = CancellationToken::new();
    let http_tasks = TaskTracker::new();
    for listener in http_listeners {
        http_tasks.spawn(crate::http::serve(
            listener,
            edge.clone(),
            http_stop.clone(),
        ));
    }
    let peers = PeerServer::start(raft_listeners);

    let started = tokio::select! {
        started = form(&config, directory.as_ref(), found, &peers, &edge, &metrics) => started?,
        () = stop.cancelled() => return Ok(()),
    };
    edge.attach(started.node.clone());
    let url = &config.http;
    tracing::info!(
        "node `{}` is up: dashboard at http://{url}/ui/",
        started.node.name()
    );

    let result = tokio::select! {
        () = stop.cancelled() => Ok(()),
        reason = watch(&started, directory.as_ref()) => Err(anyhow::anyhow!("this node cannot go on: {reason}")),
    };
    edge.drain();
    if result.is_ok() && config.leave_on_stop && !started.node.is_removed() {
        leave(&started).await;
    }
    if started.node.is_removed() {
        note_removed(directory.as_ref());
    }
    started.stop(result.is_ok()).await;
    http_stop.cancel();
    http_tasks.close();
    if tokio::time::timeout(FINISH, http_tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!("some requests did not finish within {FINISH:?}");
    }
    peers.stop().await;
    tracing::info!("stopped");
    result
}

/// Ends when Raft has stopped by itself, with the reason. Meanwhile it notes when the node is
/// removed.
async fn watch(started: &Started, directory: Option<&DataDirectory>) -> String {
    let mut noted = false;
    loop {
        if let Some(reason) = started.node.fatal() {
            return reason;
        }
        if !noted && started.node.is_removed() {
            noted = true;
            note_removed(directory);
        }
        tokio::time::sleep(WATCH).await;
    }
}

/// Leaves the cluster before a clean stop, where that is possible.
async fn leave(started: &Started) {
    match tokio::time::timeout(LEAVE, started.node.leave()).await {
        Ok(Ok(plan)) => {
            tracing::info!("has left the cluster: {}", plan.text);
        }
        Ok(Err(error)) => tracing::warn!(%error, "stops without leaving: {error}"),
        Err(_elapsed) => tracing::warn!("stops without leaving: no answer within {LEAVE:?}"),
    }
}

/// Keeps the directory from being started again.
fn note_removed(directory: Option<&DataDirectory>) {
    if let Some(Err(error)) = directory.map(DataDirectory::mark_removed) {
        tracing::warn!(%error, "cannot note in the data directory that it was removed: {error}");
    }
}

/// What the data directory says at start.
struct Found {
    /// Who this node is; `None` when it is nobody yet.
    identity: Option<Identity>,
    storage: Storage,
}

/// Opens the storage and finds out who this node is.
fn find(
    config: &Config,
    directory: Option<&DataDirectory>,
    metrics: &Metrics,
) -> anyhow::Result<Found> {
    let Some(directory) = directory else {
        return Ok(Found {
            identity: None,
            storage: Storage::in_memory(),
        });
    };
    let name = config.name_given.then_some(config.name.as_str());
    let identity = directory.identity(name)?;
    if let Some(removed) = identity
        .as_ref()
        .filter(|identity| identity.formation == Formation::Removed)
    {
        return Err(DirectoryError::Removed {
            path: directory.path().to_owned(),
            name: removed.name.clone(),
            cluster: removed.cluster,
        }
        .into());
    }
    let storage = Storage::open(directory, metrics.clone())?;
    // A join that was cut off before the first entry: the id has never voted nor acknowledged
    // anything, so nobody misses it, and the next join brings another one.
    let unused =
        |identity: &Identity| identity.formation == Formation::Joined && storage.log.is_unused();
    if identity.is_none() && !storage.log.is_unused() {
        return Err(DirectoryError::IdentityLost(directory.path().to_owned()).into());
    }
    if identity.as_ref().is_some_and(unused) {
        anyhow::ensure!(
            !config.join.is_empty(),
            "data directory `{}` was invited to a cluster but never joined it: start with -join",
            directory.path().display()
        );
        return Ok(Found {
            identity: None,
            storage,
        });
    }
    Ok(Found { identity, storage })
}

/// Resumes, joins or forms a cluster, and starts the node in it.
async fn form(
    config: &Config,
    directory: Option<&DataDirectory>,
    found: Found,
    peers: &PeerServer,
    edge: &Edge,
    metrics: &Metrics,
) -> anyhow::Result<Started> {
    let storage = found.storage;
    if let Some(identity) = found.identity {
        if !config.join.is_empty() {
            tracing::info!("the data directory is a member already: -join is ignored");
        }
        return start_node(config, storage, identity, peers, metrics).await;
    }
    if !config.join.is_empty() {
        edge.set_starting(format!(
            "waiting to join through {}",
            join::list(&config.join)
        ));
        return join_cluster(config, directory, storage, peers, metrics).await;
    }
    let identity = Identity {
        cluster: ClusterId::random(),
        id: 1,
        name: config.name.clone(),
        formation: Formation::Formed,
    };
    tracing::info!(cluster = %identity.cluster, "forming a new cluster {}", identity.cluster);
    keep(directory, &identity)?;
    start_node(config, storage, identity, peers, metrics).await
}

/// Makes an identity durable before it is used (invariant 10).
fn keep(directory: Option<&DataDirectory>, identity: &Identity) -> anyhow::Result<()> {
    match directory {
        Some(directory) => directory
            .write_identity(identity)
            .context("cannot write the node's identity"),
        None => Ok(()),
    }
}

/// Asks to be added and waits for the leader's invitation; starts the node when it comes.
async fn join_cluster(
    config: &Config,
    directory: Option<&DataDirectory>,
    storage: Storage,
    peers: &PeerServer,
    metrics: &Metrics,
) -> anyhow::Result<Started> {
    let (invite, mut invitations) = mpsc::channel::<Invited>(1);
    peers.wait_for_invitation(
        member(config),
        std::sync::Arc::new(move |invitation| {
            let invite = invite.clone();
            Box::pin(async move {
                let (reply, replied) = oneshot::channel();
                let gone = || "the node is stopping".to_owned();
                invite
                    .send((invitation, reply))
                    .await
                    .map_err(|_closed| gone())?;
                replied.await.map_err(|_closed| gone())?
            })
        }),
    );
    let deadline = clock::now() + config.join_timeout;
    let asking = join::ask(config, deadline);
    tokio::pin!(asking);
    let mut asked = false;
    let (invitation, reply) = loop {
        tokio::select! {
            invited = invitations.recv() => {
                break invited.context("the peer listener has stopped")?;
            }
            answer = &mut asking, if !asked => {
                answer?;
                asked = true; // the invitation has come, or is about to
            }
        }
    };
    let leader = invitation.leader.clone();
    let identity = Identity {
        cluster: invitation.cluster,
        id: invitation.id,
        name: config.name.clone(),
        formation: Formation::Joined,
    };
    keep(directory, &identity)?;
    let started = start_node(config, storage, identity, peers, metrics).await?;
    // A leader that has gone meanwhile will be asked again by the operator or at the next start.
    drop(reply.send(Ok(())));
    if !asked {
        // Somebody else may have had this node added, or the answer may be lost on its way.
        tokio::select! {
            () = started.node.added() => {}
            answer = asking => match answer {
                Ok(()) => {}
                Err(refused) => {
                    let added = tokio::time::timeout(SHOWN, started.node.added());
                    added.await.map_err(|_elapsed| refused)?;
                }
            },
        }
    }
    tracing::info!(%leader, "joined through `{leader}` and catching up");
    Ok(started)
}

fn member(config: &Config) -> Member {
    Member {
        name: config.name.clone(),
        http: config.http.to_string(),
        raft: config.raft.to_string(),
    }
}
