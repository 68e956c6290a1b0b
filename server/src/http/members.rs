//! Checks what a join request says before the node is asked; shared by the dialects that join.

use conclave_shared::limits;

use super::error::Failure;
use crate::node::JoinRequest;

/// Checks a join request.
///
/// # Errors
///
/// 400 for an unusable name or an address that is not `host:port`.
pub(crate) fn check(join: &JoinRequest) -> Result<(), Failure> {
    let is_name = (1..=limits::NODE_NAME_BYTES).contains(&join.name.len());
    if !is_name || join.name.chars().any(char::is_control) {
        let most = limits::NODE_NAME_BYTES;
        return Err(Failure::invalid(format!(
            "a node name has 1 to {most} bytes of plain text"
        )));
    }
    // A dialect that knows no HTTP address leaves it empty; the node then learns it by itself.
    let addresses = [
        ("http", &join.http, join.http.is_empty()),
        ("raft", &join.raft, false),
    ];
    for (field, address, is_left_out) in addresses {
        if !is_left_out && !is_address(address) {
            return Err(Failure::invalid(format!(
                "the `{field}` address is not `host:port`"
            )));
        }
    }
    Ok(())
}

/// Returns true for `host:port`.
pub(crate) fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let is_host = !host.is_empty()
        && host.len() <= 255
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._[]:%".contains(&b));
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_has_a_name_and_two_addresses() {
        let join = |name: &str, http: &str, raft: &str| {
            check(&JoinRequest {
                name: name.into(),
                http: http.into(),
                raft: raft.into(),
                replace: false,
            })
            .is_ok()
        };
        assert!(join("node1", "localhost:11001", "[::1]:12001"));
        assert!(join("node1", "", "10.0.0.1:12001"));
        for name in ["", "a\nb", &"n".repeat(129)] {
            assert!(!join(name, "h:1", "h:2"), "{name}");
        }
        for raft in [
            "",
            "h",
            ":1",
            "h:0",
            "h:65536",
            "h:x",
            "a b:1",
            "h:1/x",
            "http://h:1",
        ] {
            assert!(!join("n", "h:1", raft), "{raft}");
        }
    }
}
