//! Finding other nodes on the network by multicast DNS. What is found is a suggestion: who is
//! really there, the peer protocol asks.
//!
//! Each node advertises `_conclave._tcp.local.` with the TXT entries `id`, `env`, `cluster`, `haddr`
//! and `raddr`, on every interface, loopback included, so that nodes of one machine find each other
//! as well. A name is made anew at every start: two nodes never dispute one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use parking_lot::Mutex;

const SERVICE: &str = "_conclave._tcp.local.";
/// Adverts of the environment that are remembered at once; more are not looked at.
const ADVERTS: usize = 256;
/// A search is begun again after this time: packets get lost, and the library asks ever more rarely.
const SEARCH_AGAIN: Duration = Duration::from_secs(5);
/// The last packet says that this node is gone; nobody waits longer for it.
const GOODBYE: Duration = Duration::from_millis(500);

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Advert {
    /// Name of the node.
    pub id: String,
    pub env: String,
    /// Its cluster's id, once it has one.
    pub cluster: Option<String>,
    /// Addresses of the client API and of the peer protocol, `host:port`.
    pub haddr: String,
    pub raddr: String,
}

impl Advert {
    fn read(found: &ResolvedService) -> Option<Self> {
        let entry = |name| Some(found.txt_properties.get_property_val_str(name)?.to_owned());
        Some(Self {
            id: entry("id")?,
            env: entry("env")?,
            cluster: entry("cluster").filter(|cluster| !cluster.is_empty()),
            haddr: entry("haddr")?,
            raddr: entry("raddr")?,
        })
    }
}

/// Multicast DNS cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("multicast DNS: {0}")]
pub struct DiscoveryError(#[from] mdns_sd::Error);

/// Advertises this node and searches for others until it is stopped.
pub struct Discovery {
    daemon: ServiceDaemon,
    /// Makes the name of this process on the network.
    instance: String,
    found: Arc<Mutex<BTreeMap<String, Advert>>>,
    search: tokio::task::JoinHandle<()>,
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Discovery")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

impl Discovery {
    /// Begins to advertise and to search.
    ///
    /// # Errors
    ///
    /// This machine has no multicast DNS for us, or the advert does not fit.
    pub fn start(advert: &Advert) -> Result<Self, DiscoveryError> {
        let daemon = ServiceDaemon::new()?;
        let instance = format!("conclave-{:016x}", rand::random::<u64>());
        let found: Arc<Mutex<BTreeMap<String, Advert>>> = Arc::default();
        let search = tokio::spawn(search(
            daemon.clone(),
            (instance.clone(), advert.env.clone()),
            found.clone(),
        ));
        let this = Self {
            daemon,
            instance,
            found,
            search,
        };
        this.advertise(advert)?;
        Ok(this)
    }

    /// Replaces what this node says of itself.
    ///
    /// # Errors
    ///
    /// The advert does not fit, or the library has stopped.
    pub fn advertise(&self, advert: &Advert) -> Result<(), DiscoveryError> {
        let entries = [
            ("id", advert.id.as_str()),
            ("env", &advert.env),
            ("cluster", advert.cluster.as_deref().unwrap_or_default()),
            ("haddr", &advert.haddr),
            ("raddr", &advert.raddr),
        ];
        let port = advert.haddr.rsplit_once(':').map_or("", |(_, port)| port);
        let host = format!("{}.local.", self.instance);
        let port = port.parse().unwrap_or_default();
        let service = ServiceInfo::new(SERVICE, &self.instance, &host, (), port, &entries[..])?;
        let mut service = service.enable_addr_auto();
        // The name is random: there is nobody to ask.
        service.set_requires_probe(false);
        Ok(self.daemon.register(service)?)
    }

    /// Returns the others of the same environment that were found, each once.
    #[must_use]
    pub fn found(&self) -> Vec<Advert> {
        let found = self.found.lock();
        let mut adverts: Vec<_> = found.values().cloned().collect();
        adverts.sort_unstable();
        // One that was killed and started again is there twice for a while.
        adverts.dedup_by(|a, b| a.raddr == b.raddr);
        adverts
    }

    /// Says goodbye and ends.
    pub async fn stop(self) {
        self.search.abort();
        if let Ok(said) = self
            .daemon
            .unregister(&format!("{}.{SERVICE}", self.instance))
        {
            drop(tokio::time::timeout(GOODBYE, said.recv_async()).await);
        }
        if let Ok(ended) = self.daemon.shutdown() {
            drop(tokio::time::timeout(GOODBYE, ended.recv_async()).await);
        }
    }
}

async fn search(
    daemon: ServiceDaemon,
    own: (String, String),
    found: Arc<Mutex<BTreeMap<String, Advert>>>,
) {
    loop {
        let events = match daemon.browse(SERVICE) {
            Ok(events) => events,
            Err(error) => {
                tracing::warn!(%error, "cannot search by multicast DNS: {error}");
                tokio::time::sleep(SEARCH_AGAIN).await;
                continue;
            }
        };
        let again = tokio::time::sleep(SEARCH_AGAIN);
        tokio::pin!(again);
        let ended = loop {
            tokio::select! {
                event = events.recv_async() => match event {
                    Ok(event) => take(event, &own, &mut found.lock()),
                    Err(_ended) => break true,
                },
                () = &mut again => break false,
            }
        };
        if ended {
            again.await;
        }
    }
}

fn take(event: ServiceEvent, (own, env): &(String, String), found: &mut BTreeMap<String, Advert>) {
    match event {
        ServiceEvent::ServiceResolved(service) => {
            let is_own = service.fullname.starts_with(own.as_str());
            let advert = Advert::read(&service).filter(|it| !is_own && it.env == *env);
            let Some(advert) = advert else {
                return;
            };
            let is_known = found.contains_key(&service.fullname);
            if is_known || found.len() < ADVERTS {
                let before = found.insert(service.fullname.clone(), advert.clone());
                if before.as_ref() != Some(&advert) {
                    tracing::debug!(?advert, "found `{}` at {}", advert.id, advert.raddr);
                }
            }
        }
        ServiceEvent::ServiceRemoved(_, name) => {
            found.remove(&name);
        }
        _ => {}
    }
}
