//! The shape of every error answer (RFC 9457).

use crate::Response;

/// Checks that an answer is `application/problem+json` with the status and the stable code.
///
/// # Panics
///
/// It is not, or a member that every error has is missing.
pub fn assert_problem(response: &Response, status: u16, code: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_is_problem(response);
    assert_eq!(response.json()["code"], code, "{response:?}");
}

/// Checks the shape of an error answer, whatever its status and code.
///
/// # Panics
///
/// It is no error answer, or a member that every one has is missing.
pub fn assert_is_problem(response: &Response) {
    let content_type = response.header("content-type").unwrap_or_default();
    assert!(
        content_type.starts_with("application/problem+json"),
        "{response:?}"
    );
    let body = response.json();
    for member in ["type", "title", "detail", "code", "applied"] {
        let text = body[member].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "no `{member}` in {response:?}");
    }
    assert_eq!(body["status"], response.status, "{response:?}");
    let applied = body["applied"].as_str().unwrap_or_default();
    assert!(matches!(applied, "no" | "unknown" | "yes"), "{response:?}");
    if matches!(response.status, 429 | 503) {
        let after = response.expect_number("retry-after");
        assert!((1..=60).contains(&after), "{response:?}");
    }
}
