//! Reads of one key. Listings are `list`'s.

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;

use super::{KEYS, list, past};
use crate::http::dialects::tansu;
use crate::http::error::Failure;
use crate::http::extract;
use crate::http::params::Params;
use crate::http::state::Edge;
use crate::http::wire::{self, EnvelopeRef, Show};
use crate::state::Key;

/// `GET|HEAD /api/keys/{key}`, or `?key=`; without either a listing.
pub(crate) async fn read(State(edge): State<Edge>, request: Request) -> Result<Response, Failure> {
    let uri = request.uri();
    let mut params = Params::parse(uri.query())?;
    match extract::key(uri.path(), KEYS, &mut params)? {
        Some(key) if params.is_on("stream")? => {
            tansu::stream(&edge, request.headers(), &key, params).await
        }
        Some(key) => read_key(&edge, &key, params).await,
        None => list::list(&edge, request.headers(), params).await,
    }
}

async fn read_key(edge: &Edge, key: &Key, mut params: Params<'_>) -> Result<Response, Failure> {
    if params.is_on("history")? {
        return past::history(edge, key, params).await;
    }
    let moment = past::moment(&mut params)?;
    let shape = Shape::parse(&mut params)?;
    if shape == Shape::Children {
        if moment.is_some() {
            return Err(Failure::invalid(
                "the children of a key are only listed as they are",
            ));
        }
        return list::children(edge, key, params).await;
    }
    let options = extract::read_options(&mut params)?;
    let answer = match moment {
        None => edge.node()?.get(&options, key).await?,
        Some(past) => edge.node()?.get_past(&options, key, past).await?,
    };
    let Some(record) = answer.value else {
        return Err(wire::key_not_found(key, answer.meta));
    };
    if shape == Shape::Raw {
        return Ok(wire::raw_value(&record, &answer.meta));
    }
    let envelope = EnvelopeRef::new(key, &record, Show::Values, answer.meta.log_time_ms);
    wire::json_with_stamps(StatusCode::OK, &envelope, &answer.meta, record.stamps())
}

/// What a read of one key answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Raw,
    Envelope,
    Children,
}

impl Shape {
    fn parse(params: &mut Params<'_>) -> Result<Self, Failure> {
        let format = params.take("format")?;
        let is_children = params.is_on("children")?;
        match (format.as_deref(), is_children) {
            (None | Some("raw"), false) => Ok(Self::Raw),
            (Some("json"), false) => Ok(Self::Envelope),
            (None | Some("json"), true) => Ok(Self::Children),
            (Some("raw"), true) => Err(Failure::invalid("`children=true` answers JSON only")),
            (Some(other), _) => Err(Failure::invalid(format!(
                "`format` is `{other}`, and not raw or json"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_of_an_answer_is_asked_for_by_name() {
        let shape = |query| Shape::parse(&mut Params::parse(Some(query)).unwrap());
        assert_eq!(shape("").unwrap(), Shape::Raw);
        assert_eq!(shape("format=json").unwrap(), Shape::Envelope);
        assert_eq!(shape("children").unwrap(), Shape::Children);
        for query in ["format=xml", "format=raw&children=true"] {
            assert!(shape(query).is_err(), "{query}");
        }
    }
}
