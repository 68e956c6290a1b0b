//! From a data directory to a running node: resume, join, gather with others, or form alone.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot};

use super::presence::Presence;
use super::start::{Started, start_node};
use super::{gather, join};
use crate::clock;
use crate::config::{Config, HostPort};
use crate::discovery::Discovery;
use crate::formation::{DirectoryId, Seeking};
use crate::http::Edge;
use crate::metrics::Metrics;
use crate::network::{Adopt, PeerServer};
use crate::node::Invitation;
use crate::raft::{ClusterId, Member};
use crate::storage::{DataDirectory, DirectoryError, Formation, Identity, Storage};

/// A node that was added sees it within this time.
const SHOWN: Duration = Duration::from_secs(5);

/// Tasks of a node that was stopped have let go of its log in this time.
const LET_GO: Duration = Duration::from_secs(5);
const LET_GO_PAUSE: Duration = Duration::from_millis(10);

/// What a node is put together from, before it has an identity.
pub(super) struct Parts<'a> {
    pub(super) config: &'a Config,
    pub(super) directory: Option<&'a DataDirectory>,
    pub(super) peers: &'a PeerServer,
    pub(super) edge: &'a Edge,
    pub(super) metrics: &'a Metrics,
    pub(super) presence: &'a Presence,
    pub(super) discovery: Option<&'a Discovery>,
}

/// An invitation, and where to say what came of it.
struct Invited {
    invitation: Invitation,
    reply: oneshot::Sender<Result<(), String>>,
}

/// What the data directory says at start.
pub(super) struct Found {
    /// Who this node is; `None` when it is nobody yet.
    pub(super) identity: Option<Identity>,
    /// Which directory it was before a join that came to nothing.
    directory: Option<DirectoryId>,
    pub(super) storage: Storage,
}

/// Opens the storage and finds out who this node is.
pub(super) async fn find(
    config: &Config,
    directory: Option<&DataDirectory>,
    metrics: &Metrics,
) -> anyhow::Result<Found> {
    let Some(directory) = directory else {
        return Ok(Found {
            identity: None,
            directory: None,
            storage: Storage::in_memory(),
        });
    };
    let name = config.name_given.then_some(config.name.as_str());
    let mut identity = directory.identity(name)?;
    let mut known = None;
    if let Some(removed) = identity.take_if(|it| it.formation == Formation::Removed) {
        if config.join.is_empty() || !was_never_added(directory, &removed, metrics).await? {
            return Err(DirectoryError::Removed {
                path: directory.path().to_owned(),
                name: removed.name,
                cluster: removed.cluster,
            }
            .into());
        }
        // Until it has another id, the next start goes back to this.
        let left = directory
            .set_aside()
            .context("cannot set the join aside that was never finished")?;
        tracing::warn!(
            "the cluster {} has never added this node, whose files are now in `{}`: it joins anew",
            removed.cluster,
            left.display()
        );
        known = removed.directory;
    }
    let storage = open(directory, metrics).await?;
    // A join that was cut off before the first entry: the id has never voted nor acknowledged
    // anything, so nobody misses it, and the next join brings another one.
    let unused =
        |identity: &Identity| identity.formation == Formation::Joined && storage.log.is_unused();
    if identity.is_none() && !storage.log.is_unused() {
        return Err(DirectoryError::IdentityLost(directory.path().to_owned()).into());
    }
    if identity.as_ref().is_some_and(unused) {
        if let Some(invited) = &identity
            && config.join.is_empty()
            && gather::group(config).is_none()
        {
            anyhow::bail!(
                "data directory `{}` was invited to cluster {} as `{}`, and the join was never \
                 finished: start it with -join and a member's address, or as it was started before; \
                 it holds nothing, and may be emptied as well",
                directory.path().display(),
                invited.cluster,
                invited.name
            );
        }
        return Ok(Found {
            directory: identity.and_then(|identity| identity.directory),
            identity: None,
            storage,
        });
    }
    Ok(Found {
        identity,
        directory: known,
        storage,
    })
}

/// Opens the storage. The directory is locked for this process: whatever has its log open yet are tasks
/// of a node that was stopped a moment ago.
async fn open(directory: &DataDirectory, metrics: &Metrics) -> io::Result<Storage> {
    let until = clock::now() + LET_GO;
    loop {
        match Storage::open(directory, metrics.clone()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && clock::now() < until => {
                tokio::time::sleep(LET_GO_PAUSE).await;
            }
            opened => return opened,
        }
    }
}

/// Returns whether a removed node certainly was never more than invited: it has seen no committed
/// membership with itself, and its log has none in which it votes. Nobody counts on what it has.
async fn was_never_added(
    directory: &DataDirectory,
    removed: &Identity,
    metrics: &Metrics,
) -> anyhow::Result<bool> {
    if !removed.unconfirmed {
        return Ok(false);
    }
    let storage = open(directory, metrics).await?;
    Ok(storage.log.never_voted(removed.id).await?)
}

/// Resumes, joins or forms a cluster, and starts the node in it.
pub(super) async fn form(parts: &Parts<'_>, found: Found) -> anyhow::Result<Started> {
    let Parts {
        config, directory, ..
    } = parts;
    let group = gather::group(config);
    let storage = found.storage;
    if let Some(identity) = found.identity {
        if !config.join.is_empty() || group.is_some() {
            tracing::info!(
                "the data directory is a member already: -join, -cluster and -discover are ignored"
            );
        }
        parts.presence.member(&identity);
        return start(parts, storage, identity).await;
    }
    let kept = match directory {
        Some(directory) => directory.seeking()?,
        None => None,
    };
    // Who is pledged to this directory must hear of it again.
    let kept = kept.or_else(|| Some(Seeking::again(found.directory?, &member(config))));
    if let Some(pledged) = kept
        .as_ref()
        .filter(|kept| group.is_none() && !kept.leads())
    {
        anyhow::bail!(
            "the data directory is pledged to `{}` at {}, which may count it for a cluster: start \
             with -cluster or -discover as before, or name an empty directory",
            pledged.pledge.name,
            pledged.pledge.raft
        );
    }
    let own = kept.as_ref().map(|kept| kept.directory);
    if !config.join.is_empty() {
        parts.edge.set_starting(format!(
            "waiting to join through {}",
            join::list(&config.join)
        ));
        parts.presence.elsewhere("it waits to join with -join");
        let limit = config.join_timeout;
        let joined = join(parts, storage, &config.join, limit, own).await;
        return joined.map_err(|failed| failed.error);
    }
    if let Some(group) = group {
        return gather::gather(parts, group, kept, storage).await;
    }
    let identity = Identity {
        cluster: ClusterId::random(),
        id: 1,
        name: config.name.clone(),
        formation: Formation::Formed,
        directory: own,
        founding: None,
        unconfirmed: false,
    };
    tracing::info!(cluster = %identity.cluster, "forming a new cluster {}", identity.cluster);
    keep(*directory, &identity)?;
    parts.presence.member(&identity);
    start(parts, storage, identity).await
}

/// Begins again with what the data directory says now.
///
/// # Errors
///
/// As [`form`].
pub(super) async fn again(parts: &Parts<'_>) -> anyhow::Result<Started> {
    let found = find(parts.config, parts.directory, parts.metrics).await?;
    form(parts, found).await
}

/// Makes an identity durable before it is used (invariant 10).
pub(super) fn keep(directory: Option<&DataDirectory>, identity: &Identity) -> anyhow::Result<()> {
    match directory {
        Some(directory) => directory
            .write_identity(identity)
            .context("cannot write the node's identity"),
        None => Ok(()),
    }
}

/// Starts the node that an identity names.
pub(super) async fn start(
    parts: &Parts<'_>,
    storage: Storage,
    identity: Identity,
) -> anyhow::Result<Started> {
    let started = start_node(parts.config, storage, identity, parts.peers, parts.metrics).await?;
    parts.presence.runs(&started.node);
    Ok(started)
}

/// Asks members to be added; the invited identity becomes durable, and the node starts with it.
///
/// # Errors
///
/// The cluster refuses this node, or nobody has answered within `limit`.
pub(super) async fn join(
    parts: &Parts<'_>,
    storage: Storage,
    targets: &[HostPort],
    limit: Duration,
    directory: Option<DirectoryId>,
) -> Result<Started, NotJoined> {
    let (invite, mut invitations) = mpsc::channel::<Invited>(1);
    parts
        .peers
        .wait_for_invitation(member(parts.config), take_invitations(invite));
    let until = clock::now() + limit;
    let asking = join::ask(parts.config, targets, limit);
    tokio::pin!(asking);
    let first = tokio::select! {
        biased;
        invited = invitations.recv() => Ok((invited, false)),
        answer = &mut asking => match answer {
            // A cluster that has added this node has invited it before that.
            Ok(()) => Ok((invitations.recv().await, true)),
            Err(error) => Err(error.into()),
        },
    };
    let (invited, has_answered) = match first {
        Ok((Some(invited), has_answered)) => (invited, has_answered),
        Ok((None, _)) => return Err(NotJoined::before(storage, "the listener has stopped")),
        Err(error) => {
            return Err(NotJoined {
                error,
                storage: Some(storage),
            });
        }
    };
    let Invited { invitation, reply } = invited;
    let leader = invitation.leader.clone();
    let adopted = adopt(parts, storage, invitation, directory).await;
    let started = adopted.map_err(NotJoined::after)?;
    // A leader that has gone meanwhile is asked again below, or at the next start.
    drop(reply.send(Ok(())));
    if !has_answered {
        // Somebody else may have had this node added, or the answer may be lost on its way.
        let again = |left| join::ask(parts.config, targets, left);
        let answer = join::ask_on(asking, started.node.added(), again, until).await;
        if let Err(error) = answer
            && tokio::time::timeout(SHOWN, started.node.added())
                .await
                .is_err()
        {
            parts.peers.wait("its join was not finished");
            parts.presence.elsewhere("its join was not finished");
            started.stop().await;
            return Err(NotJoined::after(error.into()));
        }
    }
    tracing::info!(%leader, "joined through `{leader}` and catching up");
    Ok(started)
}

/// A join that came to nothing.
pub(super) struct NotJoined {
    pub(super) error: anyhow::Error,
    /// As it was, when nothing was written.
    pub(super) storage: Option<Storage>,
}

impl NotJoined {
    fn before(storage: Storage, why: &'static str) -> Self {
        Self {
            error: anyhow::anyhow!(why),
            storage: Some(storage),
        }
    }

    const fn after(error: anyhow::Error) -> Self {
        Self {
            error,
            storage: None,
        }
    }
}

fn take_invitations(invite: mpsc::Sender<Invited>) -> Adopt {
    let gone = || "the node has given this join up".to_owned();
    Arc::new(move |invitation| {
        let invite = invite.clone();
        Box::pin(async move {
            let (reply, replied) = oneshot::channel();
            invite
                .send(Invited { invitation, reply })
                .await
                .map_err(|_closed| gone())?;
            replied.await.map_err(|_closed| gone())?
        })
    })
}

async fn adopt(
    parts: &Parts<'_>,
    storage: Storage,
    invitation: Invitation,
    directory: Option<DirectoryId>,
) -> anyhow::Result<Started> {
    let identity = Identity {
        cluster: invitation.cluster,
        id: invitation.id,
        name: parts.config.name.clone(),
        formation: Formation::Joined,
        directory,
        founding: None,
        unconfirmed: true,
    };
    keep(parts.directory, &identity)?;
    if let Some(directory) = parts.directory {
        directory.end_move().context("cannot end a move")?;
    }
    parts.presence.member(&identity);
    start(parts, storage, identity).await
}

/// Who this node is called in a membership.
pub(super) fn member(config: &Config) -> Member {
    Member {
        name: config.name.clone(),
        http: config.http.to_string(),
        raft: config.raft.to_string(),
    }
}
