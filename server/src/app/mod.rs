//! The composition root: builds every component, owns the order of starting and stopping. The
//! only place that knows them all.

mod candidates;
mod client;
mod disk;
mod form;
mod gather;
mod join;
mod listen;
mod moving;
mod presence;
mod quorum;
mod start;

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Forming};
use crate::discovery::{Advert, Discovery};
use crate::http::{Edge, HttpOptions, Move, Whoami};
use crate::metrics::Metrics;
use crate::network::PeerServer;
use crate::runtime;
use crate::storage::DataDirectory;
use form::Parts;
use presence::Presence;
use start::Started;

/// Requests under way may finish in this time when the node stops.
const FINISH: Duration = Duration::from_secs(5);
/// And in this time when it cannot go on: a node whose disk has failed is gone within a second.
const FINISH_BROKEN: Duration = Duration::from_millis(100);
/// Longest wait for the cluster to let this node go.
const LEAVE: Duration = Duration::from_secs(10);
/// Time between two looks at whether Raft still runs.
const WATCH: Duration = Duration::from_millis(50);

/// Runs a node until `stop` is cancelled, then stops it cleanly. Clients are served on the runtime
/// `clients`, so that no number of them keeps a node from its heartbeats; all else is on this one.
///
/// # Errors
///
/// The node cannot start, is refused by the cluster it is to join, or cannot go on. The text is
/// for the person who started it.
pub async fn run(config: Config, clients: &Handle, stop: CancellationToken) -> anyhow::Result<()> {
    let directory = match &config.data_dir {
        Some(path) => Some(DataDirectory::open(path)?),
        None => None,
    };
    if let Some(directory) = &directory
        && moving::undo(directory)?
    {
        tracing::warn!("a move to another cluster was cut off: this is the node that it was");
    }
    let metrics = Metrics::default();
    let found = form::find(&config, directory.as_ref(), &metrics).await?;
    let http_listeners = listen::bind("-haddr", &config.http_listen).await?;
    let raft_listeners = listen::bind("-raddr", &config.raft_listen).await?;

    let http_address = config.http.to_string();
    let options = HttpOptions {
        read_only: config.read_only,
        ..HttpOptions::default()
    };
    let edge = Edge::measured(options, http_address, metrics.clone());
    edge.set_whoami(Whoami {
        name: config.name.clone(),
        raft: config.raft.to_string(),
    });
    let http_stop = CancellationToken::new();
    let http_tasks = TaskTracker::new();
    for listener in http_listeners {
        let serve = crate::http::serve(listener, edge.clone(), http_stop.clone());
        http_tasks.spawn_on(serve, clients);
    }
    let peers = PeerServer::start(raft_listeners);
    let presence = Presence::start(form::member(&config), &config.env, &peers);
    let discovery = discover(&config)?;
    let parts = Parts {
        config: &config,
        directory: directory.as_ref(),
        peers: &peers,
        edge: &edge,
        metrics: &metrics,
        presence: &presence,
        discovery: discovery.as_ref(),
    };
    let result = live(&parts, found, &stop).await;

    http_stop.cancel();
    http_tasks.close();
    let leave = async {
        if let Some(discovery) = discovery {
            discovery.stop().await;
        }
        peers.stop().await;
    };
    let finish = if result.is_ok() {
        FINISH
    } else {
        FINISH_BROKEN
    };
    let finished = futures::future::join(http_tasks.wait(), leave);
    if tokio::time::timeout(finish, finished).await.is_err() {
        tracing::warn!("some requests did not finish within {finish:?}");
    }
    tracing::info!("stopped");
    result
}

/// What ends the node, or moves it.
enum Event {
    Stop,
    Fatal(String),
    Move(Move),
}

/// From the data directory to the end of the last node that was started.
async fn live(
    parts: &Parts<'_>,
    found: form::Found,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut started = tokio::select! {
        started = form::form(parts, found) => started?,
        () = stop.cancelled() => return Ok(()),
    };
    let (mover, mut moves) = mpsc::channel(1);
    parts.edge.set_mover(mover);
    loop {
        let event = serve(parts, &started, &mut moves, stop).await;
        let result = match event {
            Event::Move(request) => {
                let moved = moving::carry_out(parts, started, &request.peers);
                let (next, answer) = tokio::select! {
                    moved = moved => moved?,
                    () = stop.cancelled() => return Ok(()),
                };
                parts.edge.attach(next.node.clone());
                drop(request.reply.send(answer));
                started = next;
                continue;
            }
            Event::Stop => Ok(()),
            Event::Fatal(reason) => Err(anyhow::anyhow!("this node cannot go on: {reason}")),
        };
        parts.edge.drain();
        if result.is_ok() && parts.config.leave_on_stop && !started.node.is_removed() {
            leave(&started).await;
        }
        if started.node.is_removed() {
            note_removed(parts.directory);
        }
        if result.is_ok() {
            started.stop().await;
        } else if tokio::time::timeout(FINISH_BROKEN, started.abandon())
            .await
            .is_err()
        {
            // Whatever is not stored, the log brings again.
            tracing::warn!("history was not closed within {FINISH_BROKEN:?}");
        }
        return result;
    }
}

/// Puts the node behind all routes until something happens.
async fn serve(
    parts: &Parts<'_>,
    started: &Started,
    moves: &mut mpsc::Receiver<Move>,
    stop: &CancellationToken,
) -> Event {
    parts.edge.attach(started.node.clone());
    let url = &parts.config.http;
    tracing::info!(
        "node `{}` is up: dashboard at http://{url}/ui/",
        started.node.name()
    );
    let cluster = started.node.status().cluster_id;
    if let Some(discovery) = parts.discovery
        && let Err(error) = discovery.advertise(&advert(parts.config, Some(cluster)))
    {
        tracing::warn!(%error, "this node is not advertised any more: {error}");
    }
    let member = form::member(parts.config);
    let watch = quorum::watch(started.node.clone(), parts.edge.clone(), member);
    let _watch = runtime::spawn(watch);
    tokio::select! {
        () = stop.cancelled() => Event::Stop,
        reason = watch_over(started, parts.directory) => Event::Fatal(reason),
        Some(request) = moves.recv() => Event::Move(request),
    }
}

/// Begins to advertise this node and to search for others, with `-discover`.
fn discover(config: &Config) -> anyhow::Result<Option<Discovery>> {
    let Forming::Discover { .. } = config.forming else {
        return Ok(None);
    };
    if [&config.http, &config.raft]
        .iter()
        .any(|address| address.is_loopback())
    {
        tracing::info!(
            "only nodes of this machine can dial {} and {}: -haddr and -raddr name what others use",
            config.http,
            config.raft
        );
    }
    Ok(Some(Discovery::start(&advert(config, None))?))
}

fn advert(config: &Config, cluster: Option<String>) -> Advert {
    Advert {
        id: config.name.clone(),
        env: config.env.clone(),
        cluster,
        haddr: config.http.to_string(),
        raddr: config.raft.to_string(),
    }
}

/// Ends when Raft has stopped by itself, with the reason. Meanwhile it notes when the node is certainly
/// a member, and when it is removed.
async fn watch_over(started: &Started, directory: Option<&DataDirectory>) -> String {
    let mut noted = false;
    let mut confirmed = false;
    loop {
        if let Some(reason) = started.node.fatal() {
            return reason;
        }
        if !confirmed && started.node.is_added() {
            confirmed = true;
            note_confirmed(directory);
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

/// Keeps the directory's id from being given up.
fn note_confirmed(directory: Option<&DataDirectory>) {
    if let Some(Err(error)) = directory.map(DataDirectory::mark_confirmed) {
        // Its log says so as well before it votes.
        tracing::warn!(%error, "cannot note in the data directory that it is a member: {error}");
    }
}

/// Keeps the directory from being started again.
fn note_removed(directory: Option<&DataDirectory>) {
    if let Some(Err(error)) = directory.map(DataDirectory::mark_removed) {
        tracing::warn!(%error, "cannot note in the data directory that it was removed: {error}");
    }
}
