//! How protobuf stands in JSON: bytes are base64, 64-bit numbers are strings, and what has its default
//! value is left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Returns bytes as the gateway wants them.
pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Returns the text of bytes; empty when they were left out.
///
/// # Errors
///
/// They are not base64.
pub(super) fn text(value: &Value) -> Result<String, String> {
    let coded = value.as_str().unwrap_or_default();
    let bytes = STANDARD.decode(coded);
    let bytes = bytes.map_err(|error| format!("`{coded}` is not base64: {error}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns a number of whatever size; nothing when it was left out or is none.
pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(digits) => digits.parse().ok(),
        _ => value.as_u64(),
    }
}
