//! `POST /api/txn`: from the wire to a transaction, and its results back.

use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use conclave_shared::limits;
use conclave_shared::txn::{self, Operation, OperationResult, TransactionResult};
use http::StatusCode;
use http::request::Parts;

use crate::http::error::Failure;
use crate::http::extract::{self, WriteFrame};
use crate::http::params::Params;
use crate::http::state::Edge;
use crate::http::wire::{BINARY, PLAIN};
use crate::http::{body, wire};
use crate::node::{Answer, AnswerMeta};
use crate::state::{Condition, Op, Outcome, Put, Transaction, TxnCondition, TxnOp, TxnResult};

/// `POST /api/txn`.
pub(crate) async fn transact(
    State(edge): State<Edge>,
    request: Request,
) -> Result<Response, Failure> {
    let (Parts { uri, headers, .. }, body) = request.into_parts();
    let mut params = Params::parse(uri.query())?;
    let frame = WriteFrame::parse(&headers, &mut params)?;
    let is_dry_run = params.is_on("dry_run")?;
    extract::no_condition(&headers, &mut params)?;
    extract::no_ttl(&headers)?;
    params.finish()?;
    let wanted: txn::Transaction = body::read_json(body, edge.options().body_idle_timeout).await?;
    let op = Op::Transaction(transaction(&wanted)?);
    let request = frame.request(op);
    let answer = match is_dry_run {
        true => edge.node()?.try_out(request).await?,
        false => edge.node_for_write()?.write(request).await?,
    };
    let Answer { value, meta } = wire::applied("", answer)?;
    let Outcome::Transaction {
        succeeded,
        revision,
        results,
    } = value
    else {
        return Err(wire::unexpected(&value));
    };
    let ops = match (succeeded, &wanted.or_else) {
        (false, Some(ops)) => ops,
        (true, _) | (false, None) => &wanted.then,
    };
    let shown = TransactionResult {
        succeeded,
        revision,
        results: ops
            .iter()
            .zip(&results)
            .map(|(op, result)| show(op, result, &meta))
            .collect(),
        dry_run: is_dry_run.then_some(true),
    };
    wire::json_with_meta(StatusCode::OK, &shown, &meta)
}

fn transaction(wanted: &txn::Transaction) -> Result<Transaction, Failure> {
    let or_else = wanted.or_else.as_deref();
    let ops = wanted.then.len() + or_else.map_or(0, <[_]>::len);
    bounded("conditions", wanted.conditions.len())?;
    bounded("operations", ops)?;
    let conditions = wanted.conditions.iter().map(condition);
    Ok(Transaction {
        conditions: conditions.collect::<Result<_, _>>()?,
        then: operations(&wanted.then)?,
        or_else: or_else.map(operations).transpose()?,
    })
}

fn bounded(what: &str, count: usize) -> Result<(), Failure> {
    if count <= limits::OPS_PER_REQUEST {
        return Ok(());
    }
    let detail = format!("{count} {what} in one transaction are above the limit");
    let failure = Failure::too_large(detail, limits::OPS_PER_REQUEST);
    Err(failure.with_count(count as u64))
}

fn condition(wanted: &txn::Condition) -> Result<TxnCondition, Failure> {
    let txn::Condition {
        key,
        exists,
        revision,
        value,
        value_base64,
        lock,
        token,
    } = wanted;
    let of_key =
        exists.is_some() || revision.is_some() || value.is_some() || value_base64.is_some();
    match (key, lock, token) {
        (Some(key), None, None) if of_key => {
            let (exists, mod_revision) = match (exists, revision) {
                (None | Some(false), Some(0)) => (Some(false), None),
                (Some(true), Some(0)) => return Err(contradiction(key)),
                (exists, revision) => (*exists, *revision),
            };
            let value = bytes(value.as_deref(), value_base64.as_deref())?;
            if exists == Some(false) && (mod_revision.is_some() || value.is_some()) {
                return Err(contradiction(key));
            }
            Ok(TxnCondition::Key {
                key: extract::to_key(key)?,
                condition: Condition {
                    exists,
                    mod_revision,
                    value,
                },
            })
        }
        (None, Some(lock), Some(token)) if !of_key => Ok(TxnCondition::Lock {
            lock: extract::to_lock_name(lock)?,
            token: *token,
        }),
        _ => Err(Failure::invalid(
            "a condition names a `key` with `exists`, `revision` or `value`, or a `lock` with its \
             `token`",
        )),
    }
}

fn contradiction(key: &str) -> Failure {
    Failure::invalid(format!("the condition on `{key}` can never hold"))
}

fn bytes(text: Option<&str>, base64: Option<&str>) -> Result<Option<Bytes>, Failure> {
    let bytes = match (text, base64) {
        (None, None) => return Ok(None),
        (Some(text), None) => Bytes::copy_from_slice(text.as_bytes()),
        (None, Some(base64)) => match BASE64_STANDARD.decode(base64) {
            Ok(bytes) => bytes.into(),
            Err(error) => {
                return Err(Failure::invalid(format!(
                    "`value_base64` is not base64: {error}"
                )));
            }
        },
        (Some(_), Some(_)) => {
            return Err(Failure::invalid(
                "`value` and `value_base64` contradict each other; give one",
            ));
        }
    };
    if bytes.len() > limits::VALUE_BYTES {
        let failure = Failure::too_large("a value is above the limit", limits::VALUE_BYTES);
        return Err(failure.with_count(bytes.len() as u64));
    }
    Ok(Some(bytes))
}

fn operations(wanted: &[Operation]) -> Result<Vec<TxnOp>, Failure> {
    let ops: Vec<TxnOp> = wanted.iter().map(operation).collect::<Result<_, _>>()?;
    // Each key has at most one change in a revision.
    for (at, op) in ops.iter().enumerate() {
        let TxnOp::Put { put, .. } = op else { continue };
        let clash = |other: &TxnOp| match other {
            TxnOp::Get { .. } => false,
            TxnOp::Put { put: other, .. } => other.key == put.key,
            TxnOp::Delete { key, .. } => *key == put.key,
            TxnOp::DeletePrefix { prefix } => put.key.starts_with(prefix.as_str()),
        };
        let others = ops.iter().enumerate().filter(|(place, _)| *place != at);
        if others.map(|(_, other)| other).any(clash) {
            let key = &put.key;
            return Err(Failure::invalid(format!(
                "`{key}` is changed twice in one list of operations"
            )));
        }
    }
    Ok(ops)
}

fn operation(wanted: &Operation) -> Result<TxnOp, Failure> {
    Ok(match wanted {
        Operation::Get { key } => TxnOp::Get {
            key: extract::to_key(key)?,
        },
        Operation::Put {
            key,
            value,
            value_base64,
            content_type,
            ttl_ms,
            prev,
        } => {
            let Some(value) = bytes(value.as_deref(), value_base64.as_deref())? else {
                return Err(Failure::invalid(format!(
                    "the put of `{key}` has no `value` and no `value_base64`"
                )));
            };
            let by_kind = if value_base64.is_some() {
                BINARY
            } else {
                PLAIN
            };
            let content_type = content_type.as_deref().unwrap_or(by_kind);
            TxnOp::Put {
                put: Put {
                    key: extract::to_key(key)?,
                    value,
                    content_type: extract::to_content_type(content_type)?,
                    ttl_ms: ttl_ms.map(extract::checked_ttl).transpose()?,
                },
                return_previous: *prev,
            }
        }
        Operation::Delete { key, prev } => TxnOp::Delete {
            key: extract::to_key(key)?,
            return_previous: *prev,
        },
        Operation::DeletePrefix { prefix } => TxnOp::DeletePrefix {
            // A prefix is as long as a key may be, and is not empty: that would be everything.
            prefix: extract::to_key(prefix)?.to_string(),
        },
    })
}

fn show(op: &Operation, result: &TxnResult, meta: &AnswerMeta) -> OperationResult {
    let name = match op {
        Operation::Get { key } | Operation::Put { key, .. } | Operation::Delete { key, .. } => key,
        Operation::DeletePrefix { prefix } => prefix,
    };
    let envelope = |record: &std::sync::Arc<crate::state::Record>| {
        wire::envelope(name, record, meta.log_time_ms)
    };
    match result {
        TxnResult::Got(record) => OperationResult::Get {
            key: name.clone(),
            record: record.as_ref().map(envelope),
        },
        TxnResult::Put { stamps, previous } => OperationResult::Put {
            key: name.clone(),
            revision: stamps.mod_revision,
            create_revision: stamps.create_revision,
            version: stamps.version,
            created: stamps.version == 1,
            previous: previous.as_ref().map(envelope),
        },
        TxnResult::Deleted { keys, previous } => match op {
            Operation::DeletePrefix { prefix } => OperationResult::DeletePrefix {
                prefix: prefix.clone(),
                count: *keys,
            },
            Operation::Get { .. } | Operation::Put { .. } | Operation::Delete { .. } => {
                OperationResult::Delete {
                    key: name.clone(),
                    deleted: *keys > 0,
                    previous: previous.as_ref().map(envelope),
                }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Transaction, Failure> {
        transaction(&body::parse_json(json.as_bytes())?)
    }

    #[test]
    fn a_transaction_has_conditions_and_two_lists() {
        let parsed = parse(
            r#"{"if":[{"key":"a","revision":0},{"key":"b","value":"x"},{"lock":"l","token":7}],
                "then":[{"op":"put","key":"a","value":"1","ttl_ms":5000},{"op":"get","key":"a"}],
                "else":[{"op":"delete","key":"b","prev":true},{"op":"delete_prefix","prefix":"c/"}]}"#,
        )
        .unwrap();
        let absent = Condition {
            exists: Some(false),
            ..Condition::default()
        };
        assert!(
            matches!(&parsed.conditions[0], TxnCondition::Key { condition, .. } if *condition == absent)
        );
        assert!(matches!(
            &parsed.conditions[2],
            TxnCondition::Lock { token: 7, .. }
        ));
        assert!(matches!(&parsed.then[0], TxnOp::Put { put, .. } if put.ttl_ms == Some(5_000)));
        assert_eq!(parsed.or_else.unwrap().len(), 2);
        assert!(parse("{}").unwrap().then.is_empty());
    }

    #[test]
    fn doubtful_transactions_are_refused() {
        for json in [
            r#"{"if":[{"key":"a"}]}"#,
            r#"{"if":[{"key":"a","lock":"l","token":1}]}"#,
            r#"{"if":[{"lock":"l"}]}"#,
            r#"{"if":[{"key":"a","exists":true,"revision":0}]}"#,
            r#"{"if":[{"key":"a","exists":false,"value":"x"}]}"#,
            r#"{"if":[{"key":"a","version":1}]}"#,
            r#"{"then":[{"op":"put","key":"a"}]}"#,
            r#"{"then":[{"op":"put","key":"a","value":"1","value_base64":"MQ=="}]}"#,
            r#"{"then":[{"op":"put","key":"a","value_base64":"%"}]}"#,
            r#"{"then":[{"op":"put","key":"a","value":"1","ttl_ms":0}]}"#,
            r#"{"then":[{"op":"put","key":"a","value":"1"},{"op":"put","key":"a","value":"2"}]}"#,
            r#"{"then":[{"op":"put","key":"a","value":"1"},{"op":"delete","key":"a"}]}"#,
            r#"{"then":[{"op":"delete_prefix","prefix":"a"},{"op":"put","key":"ab","value":"1"}]}"#,
            r#"{"then":[{"op":"delete_prefix","prefix":""}]}"#,
            r#"{"then":[{"op":"get","key":"/a"}]}"#,
            r#"{"then":[{"op":"incr","key":"a"}]}"#,
            r#"{"then":[{"op":"get","key":"a","prev":true}]}"#,
            r#"{"ehlse":[]}"#,
        ] {
            assert!(parse(json).is_err(), "{json}");
        }
    }

    #[test]
    fn at_most_128_operations_and_conditions() {
        let ops = |count: usize| vec![r#"{"op":"get","key":"a"}"#; count].join(",");
        let both = |then, other| {
            let (then, other) = (ops(then), ops(other));
            parse(&format!(r#"{{"then":[{then}],"else":[{other}]}}"#))
        };
        assert!(both(64, 64).is_ok());
        let failure = both(64, 65).unwrap_err();
        assert_eq!(failure.code(), conclave_shared::ErrorCode::TooLarge);
        let conditions = vec![r#"{"key":"a","exists":true}"#; 129].join(",");
        assert!(parse(&format!(r#"{{"if":[{conditions}]}}"#)).is_err());
    }
}
