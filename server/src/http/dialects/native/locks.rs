//! `/api/locks`: claims by request, and Tansu's lock, which an open connection holds.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::{Bytes, BytesMut};
use conclave_shared::lock::DEFAULT_TTL_MS;
use conclave_shared::{
    AcquireLock, LockGrant, LockInfo, LockList, LockReleased, LockWaiter, RenewLock, limits,
};
use futures::stream;
use http::header::{ACCEPT, HeaderName, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use serde::Serialize;

use crate::http::error::Failure;
use crate::http::extract::{self, WriteFrame};
use crate::http::params::{Params, decode_path, number};
use crate::http::state::Edge;
use crate::http::stream::Wishes;
use crate::http::{body, cross_site, headers, sse, wire};
use crate::node::Answer;
use crate::node::locks::{ClaimRequest, Hold, Standing};
use crate::state::{HeldBy, Lock, LockName, Op, Outcome, Release, SessionId};

const LOCKS: &str = "/api/locks/";
const RENEW: &str = "/renew";
/// Time between two signs of life on the connection that holds a lock.
const PING: Duration = Duration::from_secs(5);

pub(super) fn router() -> Router<Edge> {
    let lock = || get(read).post(acquire).delete(release);
    Router::new()
        // Without a name in the path: `?name=`, or for GET a list.
        .route("/api/locks", lock())
        .route("/api/locks/", lock())
        .route("/api/locks/{name}", lock())
        .route("/api/locks/{name}/renew", post(renew))
}

/// Returns the lock of a request: in the path, `/` as `%2F`, or as `?name=`, but not both.
fn name(uri: &Uri, suffix: &str, params: &mut Params<'_>) -> Result<Option<LockName>, Failure> {
    let rest = uri.path().strip_prefix(LOCKS).unwrap_or_default();
    let rest = rest.strip_suffix(suffix).unwrap_or(rest);
    let in_query = params.take("name")?;
    match (rest, in_query) {
        ("", None) => Ok(None),
        ("", Some(text)) => extract::to_lock_name(&text).map(Some),
        (text, None) => extract::to_lock_name(&decode_path(text)?).map(Some),
        (_, Some(_)) => Err(Failure::invalid(
            "the lock is given in the path and as `?name=`; give it once",
        )),
    }
}

fn required_name(uri: &Uri, suffix: &str, params: &mut Params<'_>) -> Result<LockName, Failure> {
    name(uri, suffix, params)?
        .ok_or_else(|| Failure::invalid("no lock: give it in the path or as `?name=`"))
}

fn session(text: &str) -> Result<SessionId, Failure> {
    number("session", text).map(SessionId)
}

/// `GET /api/locks`, `GET|HEAD /api/locks/{name}`, and Tansu's lock.
async fn read(State(edge): State<Edge>, request: Request) -> Result<Response, Failure> {
    let (parts, _) = request.into_parts();
    let mut params = Params::parse(parts.uri.query())?;
    let Some(name) = name(&parts.uri, "", &mut params)? else {
        return list(&edge, params).await;
    };
    if parts.method == Method::GET && is_claim(&parts.headers) {
        return hold(&edge, name, &parts, params).await;
    }
    let options = extract::read_options(&mut params)?;
    params.finish()?;
    let answer = edge.node()?.view(&options).await?;
    let state = &answer.value.state;
    let shown = match state.locks().get(&name) {
        Some(lock) => info(&name, lock, state.log_time_ms()),
        None => LockInfo {
            name: name.to_string(),
            token: None,
            holder: None,
            held_ms: None,
            ttl_ms: None,
            next: Vec::new(),
        },
    };
    wire::json_with_meta(StatusCode::OK, &shown, &answer.meta)
}

/// Tells a lock client from somebody who looks: a page's `fetch`, an image or a prefetched link of a
/// browser must not take a lock (Fetch Metadata); an `EventSource` asks for a stream by name.
fn is_claim(headers: &HeaderMap) -> bool {
    let accepted: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .map(|value| value.to_str().unwrap_or_default())
        .collect();
    let kinds = accepted.iter().flat_map(|line| line.split(','));
    let mut essences = kinds.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    if essences.any(|kind| kind.eq_ignore_ascii_case("text/event-stream")) {
        return true;
    }
    matches!(&accepted[..], [] | ["*/*"]) && !is_from_a_browser(headers)
}

/// Browsers send Fetch Metadata only to `localhost` and over TLS; elsewhere other headers give them
/// away, which tools such as curl do not send by themselves.
fn is_from_a_browser(headers: &HeaderMap) -> bool {
    let is_telling = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("sec-") || matches!(name, "referer" | "origin" | "accept-language")
    };
    let agent = headers.get(USER_AGENT).map(HeaderValue::as_bytes);
    headers.keys().any(is_telling) || agent.is_some_and(|name| name.starts_with(b"Mozilla/"))
}

async fn list(edge: &Edge, mut params: Params<'_>) -> Result<Response, Failure> {
    let prefix = params.take("prefix")?.unwrap_or_default().into_owned();
    let start = params.take("start")?.unwrap_or_default().into_owned();
    let limit = extract::limit(&mut params)?.unwrap_or(limits::PAGE_ENTRIES_DEFAULT);
    let options = extract::read_options(&mut params)?;
    params.finish()?;
    let answer = edge.node()?.view(&options).await?;
    let state = &answer.value.state;
    let mut list = LockList {
        revision: state.revision(),
        locks: Vec::new(),
        next: None,
    };
    let from = if start > prefix { &start } else { &prefix };
    let locks = state.locks().from(from);
    for (name, lock) in locks.take_while(|(name, _)| name.starts_with(&prefix)) {
        if list.locks.len() == limit {
            list.next = Some(name.to_string());
            break;
        }
        list.locks.push(info(name, lock, state.log_time_ms()));
    }
    wire::json_with_meta(StatusCode::OK, &list, &answer.meta)
}

fn info(name: &LockName, lock: &Lock, now_ms: u64) -> LockInfo {
    let holder = lock.held_by(now_ms);
    let waiter = |(at, claim): (usize, &crate::state::Claim)| LockWaiter {
        owner: claim.owner.to_string(),
        session: claim.session.to_string(),
        node: claim.node.to_string(),
        position: at as u64 + 1,
        waiting_ms: now_ms.saturating_sub(claim.since_ms),
    };
    LockInfo {
        name: name.to_string(),
        token: Some(lock.token),
        held_ms: Some(now_ms.saturating_sub(lock.holder.since_ms)),
        ttl_ms: Some(holder.ttl_ms),
        holder: Some(wire::held_by(&holder)),
        next: lock.waiters.iter().enumerate().map(waiter).collect(),
    }
}

/// `POST /api/locks/{name}`.
async fn acquire(State(edge): State<Edge>, request: Request) -> Result<Response, Failure> {
    let (Parts { uri, headers, .. }, body) = request.into_parts();
    let mut params = Params::parse(uri.query())?;
    let lock = required_name(&uri, "", &mut params)?;
    let frame = WriteFrame::parse(&headers, &mut params)?;
    extract::no_ttl(&headers)?;
    params.finish()?;
    let bytes = body::read(body, edge.options().body_idle_timeout).await?;
    let wanted: AcquireLock = match bytes.is_empty() {
        true => AcquireLock::default(),
        false => body::parse_json(&bytes)?,
    };
    let claim = claim(lock.clone(), &wanted, &frame)?;
    let node = edge.node_for_write()?;
    // A node that stops lets go of those who wait: their claims stay for their TTL.
    let answer = node.acquire(claim, frame.request(Op::Tick)).await?;
    granted(&lock, answer)
}

fn claim(
    lock: LockName,
    wanted: &AcquireLock,
    frame: &WriteFrame,
) -> Result<ClaimRequest, Failure> {
    let ttl_ms = wanted.ttl_ms.unwrap_or(DEFAULT_TTL_MS);
    if !limits::LOCK_TTL_MS.contains(&ttl_ms) {
        return Err(Failure::invalid(format!(
            "`ttl_ms` is {ttl_ms}, and not 500 ms to 1 hour"
        )));
    }
    let wait_ms = wanted.wait_ms.unwrap_or(0);
    if wait_ms > limits::LOCK_WAIT_MS {
        let most = limits::LOCK_WAIT_MS;
        return Err(Failure::invalid(format!(
            "`wait_ms` is {wait_ms}, above the limit of {most}"
        )));
    }
    let owner = wanted.owner.as_deref().or_else(|| frame.client());
    Ok(ClaimRequest {
        lock,
        owner: checked_owner(owner)?,
        ttl_ms,
        session: wanted.session.as_deref().map(session).transpose()?,
        wait: Duration::from_millis(wait_ms),
    })
}

fn checked_owner(owner: Option<&str>) -> Result<Arc<str>, Failure> {
    let owner = owner.unwrap_or("anonymous");
    match (1..=limits::LOCK_OWNER_BYTES).contains(&owner.len()) {
        true => Ok(owner.into()),
        false => {
            let most = limits::LOCK_OWNER_BYTES;
            Err(Failure::invalid(format!(
                "`owner` is not 1 to {most} bytes long"
            )))
        }
    }
}

/// Answers with the grant, or says who else holds the lock.
fn granted(lock: &LockName, answer: Answer<Outcome>) -> Result<Response, Failure> {
    let Answer { value, meta } = wire::applied(lock, answer)?;
    match value {
        Outcome::LockGranted {
            session,
            token,
            ttl_ms,
        } => {
            let grant = LockGrant {
                name: lock.to_string(),
                session: session.to_string(),
                token,
                ttl_ms,
            };
            wire::json_with_meta(StatusCode::OK, &grant, &meta)
        }
        Outcome::LockQueued {
            session,
            position,
            holder,
        } => {
            let place = (Some(session), position);
            Err(wire::lock_held(lock, holder.as_ref(), place, meta))
        }
        other => Err(wire::unexpected(&other)),
    }
}

/// `POST /api/locks/{name}/renew {"session"}`.
async fn renew(State(edge): State<Edge>, request: Request) -> Result<Response, Failure> {
    let (Parts { uri, headers, .. }, body) = request.into_parts();
    let mut params = Params::parse(uri.query())?;
    let lock = required_name(&uri, RENEW, &mut params)?;
    let frame = WriteFrame::parse(&headers, &mut params)?;
    params.finish()?;
    let wanted: RenewLock = body::read_json(body, edge.options().body_idle_timeout).await?;
    let op = Op::RenewLock {
        lock: lock.clone(),
        session: session(&wanted.session)?,
    };
    let answer = edge.node_for_write()?.write(frame.request(op)).await?;
    granted(&lock, answer)
}

/// `DELETE /api/locks/{name}?session=&token=`, or `?force=true`.
async fn release(State(edge): State<Edge>, request: Request) -> Result<Response, Failure> {
    let (Parts { uri, headers, .. }, _) = request.into_parts();
    let mut params = Params::parse(uri.query())?;
    let lock = required_name(&uri, "", &mut params)?;
    let frame = WriteFrame::parse(&headers, &mut params)?;
    let by_session = params.take("session")?.map(|text| session(&text));
    let by_session = by_session.transpose()?;
    let token = params.take_number("token")?;
    let force = params.is_on("force")?;
    params.finish()?;
    let by = match (by_session, token, force) {
        (None, None, true) => Release::Break,
        (None, None, false) => {
            return Err(Failure::invalid(
                "a release names its `session`, its `token` or both; `force=true` breaks the lock",
            ));
        }
        (_, _, true) => {
            return Err(Failure::invalid(
                "`force=true` breaks the lock whoever holds it; give no `session` and no `token`",
            ));
        }
        (session, token, false) => Release::Claim { session, token },
    };
    let op = Op::ReleaseLock {
        lock: lock.clone(),
        by,
    };
    let answer = edge.node_for_write()?.write(frame.request(op)).await?;
    let Answer { value, meta } = wire::applied(&lock, answer)?;
    let Outcome::LockReleased { revision } = value else {
        return Err(wire::unexpected(&value));
    };
    let released = LockReleased {
        name: lock.to_string(),
        revision,
    };
    wire::json_with_meta(StatusCode::OK, &released, &meta)
}

#[derive(Debug, Serialize)]
struct NotGranted<'a> {
    name: &'a str,
    locked_by: Option<&'a str>,
    session: String,
    position: u64,
}

#[derive(Debug, Serialize)]
struct Granted<'a> {
    name: &'a str,
    session: String,
    token: u64,
}

#[derive(Debug, Serialize)]
struct Lost<'a> {
    name: &'a str,
    session: String,
}

#[derive(Debug, Serialize)]
struct Ping {
    now_ms: u64,
}

/// Claims a lock for as long as the connection is open.
async fn hold(
    edge: &Edge,
    name: LockName,
    request: &Parts,
    mut params: Params<'_>,
) -> Result<Response, Failure> {
    cross_site::check_claim(edge, &request.headers)?;
    let owner = params.take("owner")?;
    params.finish()?;
    let label = extract::header(&request.headers, &headers::CLIENT)?;
    let owner = checked_owner(owner.as_deref().or(label.as_deref()))?;
    if let Some(wishes) = request.extensions.get::<Wishes>() {
        wishes.notice_vanishing();
    }
    edge.node_for_stream().await?;
    let hold = edge.node_for_write()?.hold(name.clone(), owner).await?;
    let connection = Connection {
        edge: edge.clone(),
        name,
        told: Told::Nothing,
        hold,
    };
    Ok(sse::response(stream::unfold(
        connection,
        |mut connection| async move {
            let piece = connection.next().await?;
            Some((piece, connection))
        },
    )))
}

/// An open connection with its claim, which ends with it.
struct Connection {
    edge: Edge,
    name: LockName,
    told: Told,
    hold: Hold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Standing(Standing),
}

impl Connection {
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        let standing = match self.told {
            Told::Nothing => {
                let standing = self.tell_first(&mut out);
                self.told = Told::Standing(standing);
                return Some(out.freeze());
            }
            // The claim is gone, and with it what the connection is for.
            Told::Standing(Standing::Lost) => return None,
            Told::Standing(standing) => standing,
        };
        let news = tokio::select! {
            news = self.hold.changed(standing) => Some(news),
            () = tokio::time::sleep(PING) => None,
            () = self.edge.draining() => return None,
        };
        let session = self.hold.session().to_string();
        let name = &*self.name;
        match news {
            None | Some(Standing::Waiting) => {
                let now_ms = crate::clock::wall_ms();
                sse::event(&mut out, "ping", None, &Ping { now_ms });
            }
            Some(Standing::Holds { token }) => {
                let granted = Granted {
                    name,
                    session,
                    token,
                };
                sse::event(&mut out, "granted", None, &granted);
            }
            Some(Standing::Lost) => {
                sse::event(&mut out, "lost", None, &Lost { name, session });
            }
        }
        if let Some(news) = news {
            self.told = Told::Standing(news);
        }
        Some(out.freeze())
    }

    fn tell_first(&self, out: &mut BytesMut) -> Standing {
        let session = self.hold.session().to_string();
        let name = &*self.name;
        match self.hold.first() {
            Outcome::LockGranted { token, .. } => {
                let token = *token;
                let granted = Granted {
                    name,
                    session,
                    token,
                };
                sse::event(out, "granted", None, &granted);
                Standing::Holds { token }
            }
            Outcome::LockQueued {
                position, holder, ..
            } => {
                let not_granted = NotGranted {
                    name,
                    locked_by: holder.as_ref().map(|HeldBy { owner, .. }| &**owner),
                    session,
                    position: *position,
                };
                sse::event(out, "not_granted", None, &not_granted);
                Standing::Waiting
            }
            // `hold` answers with one of the two.
            _ => Standing::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(pairs: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        is_claim(&headers)
    }

    #[test]
    fn only_lock_clients_claim() {
        assert!(claims(&[]));
        assert!(claims(&[("accept", "*/*"), ("user-agent", "curl/8.5.0")]));
        assert!(claims(&[("accept", "text/event-stream")]));
        assert!(claims(&[("accept", "a/b, text/event-stream;q=1")]));
        let event_source = [("accept", "text/event-stream"), ("sec-fetch-mode", "cors")];
        assert!(claims(&event_source));
        for looking in [
            &[("accept", "application/json")][..],
            &[("accept", "*/*"), ("sec-fetch-mode", "cors")],
            &[("accept", "image/avif,*/*")],
            &[("sec-purpose", "prefetch")],
            &[("accept", "*/*"), ("referer", "http://a/")],
            &[("accept", "*/*"), ("accept-language", "en")],
            &[("accept", "*/*"), ("user-agent", "Mozilla/5.0 (X11)")],
            &[("accept", "text/html,*/*;q=0.8")],
        ] {
            assert!(!claims(looking), "{looking:?}");
        }
    }

    #[test]
    fn a_lock_is_named_once() {
        let find = |uri: &str, suffix| {
            let uri: Uri = uri.parse().unwrap();
            name(&uri, suffix, &mut Params::parse(uri.query())?)
        };
        let found = |uri: &str, suffix| find(uri, suffix).unwrap().map(|name| name.to_string());
        assert_eq!(found("/api/locks/a%2Fb", ""), Some("a/b".to_owned()));
        assert_eq!(found("/api/locks/a/renew", RENEW), Some("a".to_owned()));
        assert_eq!(found("/api/locks?name=a/b", ""), Some("a/b".to_owned()));
        assert_eq!(found("/api/locks", ""), None);
        let long = "x".repeat(257);
        for wrong in [
            "/api/locks/a?name=b".to_owned(),
            "/api/locks?name=".to_owned(),
            format!("/api/locks/{long}"),
            "/api/locks/%FF".to_owned(),
        ] {
            assert!(find(&wrong, "").is_err(), "{wrong}");
        }
    }
}
