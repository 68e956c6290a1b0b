//! What of a request body is the value: the body itself, or a form's `value=` field.
//!
//! `curl -d` labels every body as a form. So a form body is looked into, and when it has no
//! `value=` field it is the value, bytes unchanged. A form with `value=` may carry the same
//! conditions as the query; any other field is refused, because storing only a part of what
//! was sent would lose data.

use bytes::Bytes;
use conclave_shared::limits;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use percent_encoding::percent_decode;

use crate::http::error::Failure;
use crate::http::extract;
use crate::http::params::Params;
use crate::http::wire::{BINARY, PLAIN};
use crate::state::{self, ContentType};

/// Form fields that mean the same as the query parameters of their name.
const FIELDS: [&str; 5] = ["cas", "prevExist", "prevIndex", "prevValue", "ttl"];

/// A value to be stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Submitted {
    pub(crate) value: Bytes,
    pub(crate) content_type: ContentType,
}

/// Finds the value in a body, and adds a form's other fields to the parameters.
///
/// # Errors
///
/// 400 for an unusable content type or an unknown field beside `value=`; 413 above the limit.
pub(crate) fn submitted(
    headers: &HeaderMap,
    body: Bytes,
    params: &mut Params<'_>,
) -> Result<Submitted, Failure> {
    let content_type = stored_content_type(headers)?;
    let submitted = match content_type {
        Some(content_type) if is_form(&content_type) => match form_value(&body, params)? {
            Some(value) => Submitted {
                value,
                content_type: state::shared(PLAIN),
            },
            // The label says form, the body is none: what it is can only be told from its bytes.
            None => Submitted {
                content_type: guess(&body),
                value: body,
            },
        },
        Some(content_type) => Submitted {
            value: body,
            content_type,
        },
        None => Submitted {
            content_type: guess(&body),
            value: body,
        },
    };
    check_size(&submitted.value)?;
    Ok(submitted)
}

/// Finds the value in a body that is the value whatever its label: `curl -d` calls it a form.
pub(crate) fn raw(headers: &HeaderMap, body: Bytes) -> Result<Submitted, Failure> {
    check_size(&body)?;
    let labelled = stored_content_type(headers)?.filter(|label| !is_form(label));
    let content_type = labelled.unwrap_or_else(|| guess(&body));
    Ok(Submitted {
        value: body,
        content_type,
    })
}

fn check_size(value: &Bytes) -> Result<(), Failure> {
    if value.len() > limits::VALUE_BYTES {
        let detail = format!("a value of {} bytes is above the limit", value.len());
        return Err(Failure::too_large(detail, limits::VALUE_BYTES).with_count(value.len() as u64));
    }
    Ok(())
}

fn stored_content_type(headers: &HeaderMap) -> Result<Option<ContentType>, Failure> {
    let Some(text) = extract::header(headers, &CONTENT_TYPE)?.filter(|text| !text.is_empty())
    else {
        return Ok(None);
    };
    extract::to_content_type(&text).map(Some)
}

fn is_form(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn guess(body: &[u8]) -> ContentType {
    if std::str::from_utf8(body).is_ok() {
        state::shared(PLAIN)
    } else {
        state::shared(BINARY)
    }
}

fn form_value(body: &[u8], params: &mut Params<'_>) -> Result<Option<Bytes>, Failure> {
    let fields = || {
        body.split(|b| *b == b'&')
            .filter(|field| !field.is_empty())
            .map(split_field)
    };
    if !fields().any(|(name, _)| name == b"value") {
        return Ok(None);
    }
    let mut value = None;
    for (name, text) in fields() {
        if name == b"value" {
            if value.replace(Bytes::from(decode(text))).is_some() {
                return Err(Failure::invalid("the form has two fields `value`"));
            }
            continue;
        }
        let Some(known) = FIELDS.iter().find(|known| known.as_bytes() == name) else {
            let name = String::from_utf8_lossy(name)
                .chars()
                .take(40)
                .collect::<String>();
            return Err(Failure::invalid(format!(
                "the form has a field `{name}` beside `value`; to store a body as it is, send it \
                 with a Content-Type of its own"
            )));
        };
        let Ok(text) = String::from_utf8(decode(text)) else {
            return Err(Failure::invalid(format!(
                "form field `{known}` is not UTF-8"
            )));
        };
        params.add((*known).to_owned(), text);
    }
    Ok(value)
}

fn split_field(field: &[u8]) -> (&[u8], &[u8]) {
    match field.iter().position(|b| *b == b'=') {
        Some(at) => (&field[..at], &field[at + 1..]),
        // A name without `=` carries no value: it is some other text.
        None => (b"", field),
    }
}

/// Decodes as browsers do: a broken escape stands for itself.
fn decode(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text
        .iter()
        .map(|b| if *b == b'+' { b' ' } else { *b })
        .collect();
    percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    fn submit(label: Option<&str>, body: &[u8]) -> Result<(Vec<u8>, String), Failure> {
        let mut headers = HeaderMap::new();
        if let Some(label) = label {
            headers.insert(CONTENT_TYPE, label.parse().unwrap());
        }
        let mut params = Params::default();
        let found = submitted(&headers, Bytes::copy_from_slice(body), &mut params)?;
        Ok((found.value.to_vec(), found.content_type.to_string()))
    }

    #[test]
    fn the_seeds_curl_commands_store_what_they_mean() {
        let plain = |value: &str| (value.as_bytes().to_vec(), "text/plain".to_owned());
        assert_eq!(submit(Some(FORM), b"value=world").unwrap(), plain("world"));
        assert_eq!(submit(Some(FORM), b"mydata").unwrap(), plain("mydata"));
        assert_eq!(
            submit(Some(FORM), b"value=a+b%20%zz=1").unwrap(),
            plain("a b %zz=1")
        );
        assert_eq!(submit(Some(FORM), b"value=").unwrap(), plain(""));
        assert_eq!(submit(Some(FORM), b"a=1&b=2").unwrap(), plain("a=1&b=2"));
        assert_eq!(submit(Some(FORM), b"value").unwrap(), plain("value"));
        assert_eq!(submit(None, b"").unwrap(), plain(""));
        let json = submit(Some("application/json"), b"value=1").unwrap();
        assert_eq!(json, (b"value=1".to_vec(), "application/json".to_owned()));
    }

    #[test]
    fn bytes_that_are_no_text_keep_their_bytes() {
        let binary = (b"\xff\x00".to_vec(), "application/octet-stream".to_owned());
        assert_eq!(submit(Some(FORM), b"\xff\x00").unwrap(), binary);
        assert_eq!(submit(None, b"\xff\x00").unwrap(), binary);
        assert_eq!(submit(Some(FORM), b"value=%FF%00").unwrap().0, b"\xff\x00");
    }

    #[test]
    fn a_form_is_stored_whole_or_refused() {
        for body in [
            "value=a&b=c",
            "b=c&value=a",
            "value=a&value=b",
            "value=a&stray",
        ] {
            assert!(submit(Some(FORM), body.as_bytes()).is_err(), "{body}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, FORM.parse().unwrap());
        let mut params = Params::default();
        submitted(
            &headers,
            Bytes::from_static(b"prevExist=false&value=a"),
            &mut params,
        )
        .unwrap();
        assert_eq!(params.take("prevExist").unwrap().as_deref(), Some("false"));
    }

    #[test]
    fn values_have_a_limit_of_their_own() {
        let (most, above) = (
            vec![b'x'; limits::VALUE_BYTES],
            vec![b'x'; limits::VALUE_BYTES + 1],
        );
        assert!(submit(None, &most).is_ok());
        assert!(submit(None, &above).is_err());
        assert!(submit(Some(FORM), &[b"value=", &most[..]].concat()).is_ok());
        assert!(submit(Some(FORM), &[b"value=", &above[..]].concat()).is_err());
    }
}
