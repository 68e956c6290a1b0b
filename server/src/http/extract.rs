//! From request parts to the domain: keys, read options, conditions, the frame of a write.
//!
//! Everything here is checked before the node is called. What contradicts itself is refused, never
//! resolved by an order of precedence.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conclave_shared::{ReadLevel, limits};
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName};

use super::error::Failure;
use super::headers;
use super::params::{Params, decode_path, number};
use crate::node::{ReadOptions, Routing, WriteRequest};
use crate::state::{self, Condition, ContentType, Guard, Key, LockName, Op, RequestId};

/// Returns the key of a request: the rest of its path after `prefix`, or `?key=`, but not both.
///
/// # Errors
///
/// 400 for a broken escape, text that is no key, or a key given both ways.
pub(crate) fn key(
    path: &str,
    prefix: &str,
    params: &mut Params<'_>,
) -> Result<Option<Key>, Failure> {
    let rest = path.strip_prefix(prefix).filter(|rest| !rest.is_empty());
    let in_path = rest.map(decode_path).transpose()?;
    let in_query = params.take("key")?;
    match (in_path, in_query) {
        (None, None) => Ok(None),
        (Some(text), None) | (None, Some(text)) => to_key(&text).map(Some),
        (Some(_), Some(_)) => Err(Failure::invalid(
            "the key is given in the path and as `?key=`; give it once",
        )),
    }
}

/// As [`key`], where there must be one.
pub(crate) fn required_key(
    path: &str,
    prefix: &str,
    params: &mut Params<'_>,
) -> Result<Key, Failure> {
    key(path, prefix, params)?
        .ok_or_else(|| Failure::invalid("no key: give it in the path or as `?key=`"))
}

pub(crate) fn to_key(text: &str) -> Result<Key, Failure> {
    Key::try_from(text).map_err(|error| Failure::invalid(error.to_string()))
}

/// Takes the read parameters out.
pub(crate) fn read_options(params: &mut Params<'_>) -> Result<ReadOptions, Failure> {
    let level = read_level(params)?;
    let max_stale = params
        .take("max_stale")?
        .map(|text| duration("max_stale", &text))
        .transpose()?;
    if max_stale.is_some() && level != ReadLevel::Stale {
        return Err(Failure::invalid(
            "`max_stale` bounds a stale read: add `level=stale`",
        ));
    }
    let mut options = ReadOptions::level(level);
    options.max_stale = max_stale;
    options.min_revision = params.take_number("min_revision")?;
    if let Some(text) = params.take("wait")? {
        options.wait = duration("wait", &text)?;
        if options.wait > Duration::from_millis(limits::READ_WAIT_MS) {
            let most = limits::READ_WAIT_MS;
            return Err(Failure::invalid(format!(
                "`wait` is above the limit of {most} ms"
            )));
        }
    }
    options.routing = routing(params)?;
    Ok(options)
}

fn read_level(params: &mut Params<'_>) -> Result<ReadLevel, Failure> {
    let mut level = None;
    let mut want = |wanted: ReadLevel| match level.replace(wanted) {
        Some(other) if other != wanted => Err(Failure::invalid(format!(
            "read levels `{other}` and `{wanted}` contradict"
        ))),
        _ => Ok(()),
    };
    if let Some(word) = params.take("level")? {
        match word.parse() {
            Ok(level) => want(level)?,
            Err(error) => return Err(Failure::invalid(format!("{error}"))),
        }
    }
    for bare in [ReadLevel::Stale, ReadLevel::Consistent] {
        if params.is_on(bare.as_str())? {
            want(bare)?;
        }
    }
    Ok(level.unwrap_or_default())
}

/// Parses `200ms`, `2s`, `1m`, `1h` or `1d`.
pub(crate) fn duration(name: &str, text: &str) -> Result<Duration, Failure> {
    const HOUR_MS: u64 = 60 * 60 * 1_000;
    let units = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", HOUR_MS),
        ("d", 24 * HOUR_MS),
    ];
    let found = units.iter().find_map(|(unit, ms)| {
        let digits = text.strip_suffix(unit)?;
        number(name, digits).ok()?.checked_mul(*ms)
    });
    found.map(Duration::from_millis).ok_or_else(|| {
        Failure::invalid(format!(
            "`{name}` is `{text}`, and not a duration such as 200ms, 2s or 1m"
        ))
    })
}

/// Takes the time that a key lives, milliseconds: header `ttl` in seconds, or `?ttl=10s`.
pub(crate) fn ttl(headers: &HeaderMap, params: &mut Params<'_>) -> Result<Option<u64>, Failure> {
    let seconds = header(headers, &headers::TTL)?;
    let in_header = seconds.map(|text| lifetime(text.trim())).transpose()?;
    let in_query = params
        .take("ttl")?
        .map(|text| lifetime(&text))
        .transpose()?;
    match (in_header, in_query) {
        (Some(one), Some(other)) if one != other => Err(Failure::invalid(
            "the header `ttl` and the parameter `ttl` contradict each other",
        )),
        (one, other) => Ok(one.or(other)),
    }
}

/// Parses a key's TTL: a duration, or a number of seconds.
pub(crate) fn lifetime(text: &str) -> Result<u64, Failure> {
    let is_bare = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let ttl = match is_bare {
        true => duration("ttl", &format!("{text}s"))?,
        false => duration("ttl", text)?,
    };
    checked_ttl(crate::clock::millis(ttl))
}

/// Checks a key's TTL, milliseconds.
pub(crate) fn checked_ttl(ttl_ms: u64) -> Result<u64, Failure> {
    match limits::KEY_TTL_MS.contains(&ttl_ms) {
        true => Ok(ttl_ms),
        false => Err(Failure::invalid(format!(
            "a `ttl` of {ttl_ms} ms is not within 1 second and 365 days"
        ))),
    }
}

/// Refuses a TTL where there is nothing that could expire.
pub(crate) fn no_ttl(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.contains_key(&headers::TTL) {
        true => Err(Failure::invalid("this request takes no `ttl`")),
        false => Ok(()),
    }
}

/// Parses `<name>;token=<n>`, the name escaped as in an address.
fn guard(text: &str) -> Result<Guard, Failure> {
    let parts = text.rsplit_once(";token=");
    let Some((name, token)) = parts else {
        return Err(Failure::invalid(format!(
            "`Conclave-Lock` is `{text}`, and not `<name>;token=<n>`"
        )));
    };
    Ok(Guard {
        lock: to_lock_name(&decode_path(name.trim())?)?,
        token: number("token", token.trim())?,
    })
}

/// Checks a content type that is to be stored.
pub(crate) fn to_content_type(text: &str) -> Result<ContentType, Failure> {
    let most = limits::CONTENT_TYPE_BYTES;
    let is_visible = text.bytes().all(|b| (32..127).contains(&b));
    if is_visible && (1..=most).contains(&text.len()) {
        return Ok(state::shared(text));
    }
    Err(Failure::invalid(format!(
        "the content type is not ASCII of 1 to {most} bytes"
    )))
}

pub(crate) fn to_lock_name(text: &str) -> Result<LockName, Failure> {
    LockName::try_from(text).map_err(|error| Failure::invalid(error.to_string()))
}

/// Checks the id of a request. The quotes of a structured header field are not part of it.
pub(crate) fn request_id(text: &str) -> Result<RequestId, Failure> {
    let bare = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text);
    RequestId::new(bare).ok_or_else(|| {
        let most = limits::REQUEST_ID_BYTES;
        Failure::invalid(format!(
            "the request id is not 1 to {most} visible ASCII characters"
        ))
    })
}

/// Takes the most entries that a page may have out.
pub(crate) fn limit(params: &mut Params<'_>) -> Result<Option<usize>, Failure> {
    let Some(limit) = params.take_number("limit")? else {
        return Ok(None);
    };
    match usize::try_from(limit) {
        Ok(limit) if (1..=limits::PAGE_ENTRIES).contains(&limit) => Ok(Some(limit)),
        Ok(_) | Err(_) => {
            let most = limits::PAGE_ENTRIES;
            Err(Failure::invalid(format!(
                "`limit` is `{limit}`, and not 1 to {most}"
            )))
        }
    }
}

/// Takes `redirect=true` out.
pub(crate) fn routing(params: &mut Params<'_>) -> Result<Routing, Failure> {
    Ok(if params.is_on("redirect")? {
        Routing::Redirect
    } else {
        Routing::Forward
    })
}

/// Who asks for a write, and how it travels.
#[derive(Debug, Clone)]
pub(crate) struct WriteFrame {
    request_id: Option<RequestId>,
    client: Option<Arc<str>>,
    guard: Option<Guard>,
    routing: Routing,
}

impl WriteFrame {
    /// Reads the headers and parameters that every write understands.
    pub(crate) fn parse(headers: &HeaderMap, params: &mut Params<'_>) -> Result<Self, Failure> {
        let guard = header(headers, &headers::LOCK)?
            .map(|text| guard(&text))
            .transpose()?;
        let request_id = header(headers, &headers::IDEMPOTENCY_KEY)?
            .map(|text| request_id(&text))
            .transpose()?;
        let client = header(headers, &headers::CLIENT)?;
        if client
            .as_ref()
            .is_some_and(|label| label.len() > limits::CLIENT_LABEL_BYTES)
        {
            let most = limits::CLIENT_LABEL_BYTES;
            return Err(Failure::invalid(format!(
                "`Conclave-Client` is above {most} bytes"
            )));
        }
        let routing = routing(params)?;
        Ok(Self {
            request_id,
            client: client.map(|label| (*label).into()),
            guard,
            routing,
        })
    }

    /// Returns the client's own label.
    pub(crate) fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    pub(crate) fn request(&self, op: Op) -> WriteRequest {
        WriteRequest {
            op,
            request_id: self.request_id.clone(),
            client: self.client.clone(),
            guard: self.guard.clone(),
            routing: self.routing,
        }
    }
}

/// Returns a header that may stand once, as text.
pub(crate) fn header<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<Cow<'h, str>>, Failure> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Failure::invalid(format!("header `{name}` is given twice")));
    }
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Ok(Some(Cow::Borrowed(text))),
        Err(error) => Err(Failure::invalid(format!(
            "header `{name}` is not UTF-8: {error}"
        ))),
    }
}

/// Takes the condition of a write from its headers (RFC 9110 §13.1) and parameters.
///
/// # Errors
///
/// 400 when two of them contradict each other or one can never be met.
pub(crate) fn condition(
    headers: &HeaderMap,
    params: &mut Params<'_>,
) -> Result<Condition, Failure> {
    let mut wanted = Wanted::default();
    if let Some(tag) = header(headers, &IF_MATCH)? {
        match tag.trim() {
            "*" => wanted.exists(true)?,
            tag => wanted.revision(entity_tag(tag)?)?,
        }
    }
    if let Some(tag) = header(headers, &IF_NONE_MATCH)? {
        if tag.trim() != "*" {
            return Err(Failure::invalid(
                "`If-None-Match` of a write can only be `*`",
            ));
        }
        wanted.exists(false)?;
    }
    match params.take_number("cas")? {
        None => {}
        Some(0) => wanted.exists(false)?,
        Some(revision) => wanted.revision(revision)?,
    }
    if let Some(exists) = params.take("prevExist")? {
        match &*exists {
            "true" => wanted.exists(true)?,
            "false" => wanted.exists(false)?,
            other => {
                let detail = format!("`prevExist` is `{other}`, and not true or false");
                return Err(Failure::invalid(detail));
            }
        }
    }
    if let Some(revision) = params.take_number("prevIndex")? {
        wanted.revision(revision)?;
    }
    if let Some(value) = params.take("prevValue")? {
        wanted.0.value = Some(Bytes::from(value.into_owned()));
    }
    wanted.finish()
}

/// Refuses conditions where a route cannot honour them: ignoring one could overwrite data.
pub(crate) fn no_condition(headers: &HeaderMap, params: &mut Params<'_>) -> Result<(), Failure> {
    if condition(headers, params)?.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid("this request takes no condition"))
}

#[derive(Default)]
struct Wanted(Condition);

impl Wanted {
    fn exists(&mut self, exists: bool) -> Result<(), Failure> {
        match self.0.exists.replace(exists) {
            Some(other) if other != exists => Err(contradiction()),
            _ => Ok(()),
        }
    }

    fn revision(&mut self, revision: u64) -> Result<(), Failure> {
        match self.0.mod_revision.replace(revision) {
            Some(other) if other != revision => Err(contradiction()),
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<Condition, Failure> {
        let Self(condition) = self;
        let needs_record = condition.mod_revision.is_some() || condition.value.is_some();
        if condition.exists == Some(false) && needs_record {
            return Err(contradiction());
        }
        Ok(condition)
    }
}

fn contradiction() -> Failure {
    Failure::invalid("the conditions of this request contradict each other")
}

/// Parses `"7"`; a bare `7` is understood too. Weak tags never match strongly.
fn entity_tag(tag: &str) -> Result<u64, Failure> {
    let inner = tag
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(tag);
    match number("If-Match", inner) {
        Ok(revision) => Ok(revision),
        Err(_) => Err(Failure::invalid(format!(
            "`If-Match` is `{tag}`, and not `*` or one revision such as \"7\""
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(query: &str) -> Result<ReadOptions, Failure> {
        read_options(&mut Params::parse(Some(query))?)
    }

    fn condition_of(pairs: &[(&'static str, &str)], query: &str) -> Result<Condition, Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        condition(&headers, &mut Params::parse(Some(query))?)
    }

    #[test]
    fn levels_are_named_or_bare() {
        for (query, level) in [
            ("", ReadLevel::Default),
            ("level=stale", ReadLevel::Stale),
            ("stale", ReadLevel::Stale),
            ("consistent", ReadLevel::Consistent),
            ("level=consistent&consistent=true", ReadLevel::Consistent),
            ("stale=false", ReadLevel::Default),
        ] {
            assert_eq!(options(query).unwrap().level, level, "{query}");
        }
        for query in [
            "level=strong",
            "level",
            "stale&consistent",
            "level=default&stale",
        ] {
            assert!(options(query).is_err(), "{query}");
        }
    }

    #[test]
    fn read_bounds_have_units_and_limits() {
        let parsed = options("stale&max_stale=200ms&min_revision=7&wait=2s&redirect=true").unwrap();
        assert_eq!(parsed.max_stale, Some(Duration::from_millis(200)));
        assert_eq!(
            (parsed.min_revision, parsed.wait),
            (Some(7), Duration::from_secs(2))
        );
        assert_eq!(parsed.routing, Routing::Redirect);
        let wrong = [
            "max_stale=200ms",
            "stale&max_stale=200",
            "stale&max_stale=-1s",
            "wait=31s",
            "wait=ms",
            "wait=1w",
            "min_revision=x",
            "redirect=1",
            "stale&max_stale=99999999999999999999m",
        ];
        for query in wrong {
            assert!(options(query).is_err(), "{query}");
        }
    }

    #[test]
    fn conditions_come_from_headers_and_parameters() {
        let exists = |is| Condition {
            exists: Some(is),
            ..Condition::default()
        };
        let revision = |n| Condition {
            mod_revision: Some(n),
            ..Condition::default()
        };
        assert!(condition_of(&[], "").unwrap().is_empty());
        assert_eq!(
            condition_of(&[("if-match", "\"7\"")], "").unwrap(),
            revision(7)
        );
        assert_eq!(
            condition_of(&[("if-match", "7")], "cas=7&prevIndex=7").unwrap(),
            revision(7)
        );
        assert_eq!(
            condition_of(&[("if-match", "*")], "").unwrap(),
            exists(true)
        );
        assert_eq!(
            condition_of(&[("if-none-match", "*")], "cas=0").unwrap(),
            exists(false)
        );
        assert_eq!(condition_of(&[], "prevExist=true").unwrap(), exists(true));
        let value = condition_of(&[], "prevValue=a%20b").unwrap().value;
        assert_eq!(value.as_deref(), Some(&b"a b"[..]));
    }

    #[test]
    fn contradicting_conditions_are_refused() {
        for query in [
            "cas=0&prevIndex=7",
            "cas=1&prevIndex=2",
            "cas=0&prevValue=",
            "prevExist",
        ] {
            assert!(condition_of(&[], query).is_err(), "{query}");
        }
        let both = [("if-match", "*"), ("if-none-match", "*")];
        assert!(condition_of(&both, "").is_err());
        assert!(condition_of(&[("if-match", "\"1\""), ("if-match", "\"2\"")], "").is_err());
        for tag in ["W/\"7\"", "\"a\"", "\"1\", \"2\"", "", "\""] {
            assert!(condition_of(&[("if-match", tag)], "").is_err(), "{tag}");
        }
        assert!(condition_of(&[("if-none-match", "\"7\"")], "").is_err());
    }

    #[test]
    fn a_key_is_given_once() {
        let find =
            |path: &str, query: &str| key(path, "/api/keys/", &mut Params::parse(Some(query))?);
        assert_eq!(
            &*find("/api/keys/a%2Fb/../c", "").unwrap().unwrap(),
            "a/b/../c"
        );
        assert_eq!(&*find("/api/keys", "key=a/./b").unwrap().unwrap(), "a/./b");
        assert_eq!(find("/api/keys", "").unwrap(), None);
        assert_eq!(find("/api/keys/", "").unwrap(), None);
        assert_eq!(&*find("/api/keys/", "key=a").unwrap().unwrap(), "a");
        for (path, query) in [
            ("/api/keys/a", "key=b"),
            ("/api/keys//a", ""),
            ("/api/keys/%2Fa", ""),
            ("/api/keys/%FF", ""),
            ("/api/keys", "key="),
        ] {
            assert!(find(path, query).is_err(), "{path} {query}");
        }
    }

    #[test]
    fn the_frame_of_a_write_is_checked() {
        let parse = |name: &'static str, value: &str, query: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            WriteFrame::parse(&headers, &mut Params::parse(Some(query)).unwrap())
        };
        for lock in [
            "a",
            "a;token=",
            "a;token=x",
            ";token=1",
            "a;token=1;token=b",
        ] {
            assert!(parse("conclave-lock", lock, "").is_err(), "{lock}");
        }
        let guard = parse("conclave-lock", "a;b%20c;token=7", "").unwrap().guard;
        let guard = guard.unwrap();
        assert_eq!((&*guard.lock, guard.token), ("a;b c", 7));
        assert!(parse("conclave-client", &"x".repeat(65), "").is_err());
        let frame = parse("x-other", "k-1", "redirect").unwrap();
        assert_eq!(frame.routing, Routing::Redirect);
    }

    #[test]
    fn a_ttl_is_1_second_to_a_year_and_given_once() {
        let parse = |header: Option<&str>, query: &str| {
            let mut headers = HeaderMap::new();
            if let Some(text) = header {
                headers.insert("ttl", text.parse().unwrap());
            }
            ttl(&headers, &mut Params::parse(Some(query)).unwrap())
        };
        assert_eq!(parse(None, "").unwrap(), None);
        assert_eq!(parse(Some("10"), "").unwrap(), Some(10_000));
        assert_eq!(parse(Some("10"), "ttl=10s").unwrap(), Some(10_000));
        assert_eq!(parse(None, "ttl=1500ms").unwrap(), Some(1_500));
        assert_eq!(parse(None, "ttl=365d").unwrap(), Some(31_536_000_000));
        for (header, query) in [
            (Some("0"), ""),
            (Some("-1"), ""),
            (Some("10"), "ttl=11s"),
            (None, "ttl=999ms"),
            (None, "ttl=366d"),
            (None, "ttl=10y"),
            (None, "ttl=99999999999999999999"),
            (None, "ttl="),
        ] {
            assert!(parse(header, query).is_err(), "{header:?} {query}");
        }
    }

    #[test]
    fn an_idempotency_key_is_visible_ascii_with_or_without_quotes() {
        for (text, id) in [
            ("k-1", Some("k-1")),
            ("\"k-1\"", Some("k-1")),
            ("\"", Some("\"")),
            ("a b", None),
            ("", None),
            (&"x".repeat(65), None),
        ] {
            let parsed = request_id(text).ok();
            assert_eq!(parsed.as_ref().map(RequestId::as_str), id, "{text}");
        }
    }
}
