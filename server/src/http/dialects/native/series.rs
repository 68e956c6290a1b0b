//! This node's figures over the last minutes, for the dashboard's charts.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use conclave_shared::metrics::{RANGE_S, STEP_S};
use http::{StatusCode, Uri};

use crate::http::error::Failure;
use crate::http::params::Params;
use crate::http::state::Edge;
use crate::http::{extract, wire};

/// `GET /api/metrics/series?range=15m&step=1s`.
pub(crate) async fn series(State(edge): State<Edge>, uri: Uri) -> Result<Response, Failure> {
    let mut params = Params::parse(uri.query())?;
    let (range_s, step_s) = window(&mut params)?;
    let status = edge.node()?.status();
    let series = edge.metrics().series(&status, range_s, step_s);
    wire::json(StatusCode::OK, &series)
}

fn window(params: &mut Params<'_>) -> Result<(u64, u64), Failure> {
    let range_s = seconds(params, "range", RANGE_S)?.unwrap_or(RANGE_S);
    let step_s = seconds(params, "step", STEP_S)?.unwrap_or(1);
    if step_s > range_s {
        return Err(Failure::invalid(format!(
            "`step` is {step_s} s and longer than `range`, {range_s} s"
        )));
    }
    Ok((range_s, step_s))
}

fn seconds(params: &mut Params<'_>, name: &str, most: u64) -> Result<Option<u64>, Failure> {
    let Some(text) = params.take(name)? else {
        return Ok(None);
    };
    let duration = extract::duration(name, &text)?;
    let seconds = duration.as_secs();
    if duration != Duration::from_secs(seconds) || !(1..=most).contains(&seconds) {
        return Err(Failure::invalid(format!(
            "`{name}` is `{text}`, and not whole seconds from 1s to {most}s"
        )));
    }
    Ok(Some(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<(u64, u64), Failure> {
        window(&mut Params::parse(Some(query)).unwrap())
    }

    #[test]
    fn range_and_step_have_defaults_and_limits() {
        for (query, wanted) in [
            ("", (900, 1)),
            ("range=15m&step=1m", (900, 60)),
            ("range=1s", (1, 1)),
            ("step=60s", (900, 60)),
            ("range=2000ms&step=2s", (2, 2)),
        ] {
            assert_eq!(parse(query).ok(), Some(wanted), "{query}");
        }
        for query in [
            "range=0s",
            "range=901s",
            "range=16m",
            "range=1500ms",
            "range=",
            "range=15",
            "range=-1s",
            "range=1h",
            "range=1s&range=1s",
            "step=0s",
            "step=61s",
            "step=500ms",
            "range=5s&step=6s",
            "range=99999999999999999999s",
            "range=18446744073709551m",
        ] {
            assert!(parse(query).is_err(), "{query}");
        }
    }
}
