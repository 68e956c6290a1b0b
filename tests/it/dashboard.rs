//! What a node tells the browser that runs a dashboard: which members its page may ask, and to which
//! pages the members answer.

use std::time::Duration;

use conclave_tests::http::assert_problem;
use conclave_tests::{Cluster, Request, Response, wait_for};

/// Longest wait for a node to know what the cluster has decided.
const SOON: Duration = Duration::from_secs(15);
const ALLOWED: &str = "access-control-allow-origin";
/// What a page reads of the members, here with what it needs.
const READS: [&str; 8] = [
    "/api/status",
    "/api/cluster",
    "/api/keys",
    "/api/keys/a?level=stale",
    "/api/keys/absent?level=stale",
    "/api/metrics/series?range=1m",
    "/livez",
    "/readyz",
];

/// What a browser would send from a page of `origin`.
fn from(origin: &str, method: &str, target: &str) -> Request {
    Request::new(method, target).header("Origin", origin)
}

fn assert_untold(answer: &Response) {
    let told = answer.headers.iter().find(|(name, _)| {
        let name = name.to_ascii_lowercase();
        name.starts_with("access-control-") || name.starts_with("timing-allow")
    });
    assert_eq!(told, None, "{answer:?}");
}

#[tokio::test]
async fn a_page_of_a_member_reads_from_every_other_member_and_nobody_else_does() {
    let cluster = Cluster::start().await;
    cluster[0].put("/api/keys/a", "1").await.expect_status(201);
    let page = format!("http://{}", cluster[0].http_address());
    let (_, port) = page.rsplit_once(':').expect("an address has a port");
    let aliases = [page.clone(), format!("http://127.0.0.1:{port}")];
    let node = &cluster[1];
    // It knows all members, and so do the ones that it asks below.
    cluster.wait_voters(3).await;
    for target in READS {
        for (method, origin) in [
            ("GET", &aliases[0]),
            ("HEAD", &aliases[0]),
            ("GET", &aliases[1]),
        ] {
            let read = node.send(&from(origin, method, target)).await;
            assert_eq!(read.expect_header(ALLOWED), origin, "{target}");
            assert_eq!(read.expect_header("timing-allow-origin"), origin);
            assert_eq!(read.expect_header("vary"), "origin");
            let shown = read.expect_header("access-control-expose-headers");
            assert!(shown.contains("conclave-served-by") && shown.contains("server-timing"));
        }
        for origin in ["http://evil.example", "null", "http://localhost:1"] {
            assert_untold(&node.send(&from(origin, "GET", target)).await);
        }
        assert_untold(&node.get(target).await);
    }
    for target in ["/api/locks", "/metrics", "/api/info", "/a", "/ui/"] {
        assert_untold(&node.send(&from(&page, "GET", target)).await);
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_never_told_that_it_may_write() {
    let cluster = Cluster::single().await;
    let node = &cluster[0];
    let page = format!("http://{}", node.http_address());
    let asks = |method: &str| {
        from(&page, "OPTIONS", "/api/keys/a").header("Access-Control-Request-Method", method)
    };
    let may = node.send(&asks("GET")).await.expect_status(204);
    assert_eq!(may.expect_header(ALLOWED), page);
    assert_eq!(
        may.expect_header("access-control-allow-methods"),
        "GET, HEAD"
    );
    let with = may.expect_header("access-control-allow-headers");
    assert!(with.contains("conclave-client"), "{with}");
    assert_eq!(may.body, b"");
    for method in ["PUT", "POST", "DELETE"] {
        let refused = node.send(&asks(method)).await;
        assert_problem(&refused, 405, "method_not_allowed");
        assert_untold(&refused);
        let target = format!("/api/keys/{method}");
        assert_untold(&node.send(&from(&page, method, &target).body("1")).await);
    }
    let foreign = from("http://evil.example", "OPTIONS", "/api/keys/a")
        .header("Access-Control-Request-Method", "GET");
    assert_untold(&node.send(&foreign).await);
}

#[tokio::test]
async fn the_policy_of_a_page_names_the_members_that_the_node_knows() {
    let mut cluster = Cluster::single().await;
    let sources = |answer: &Response| -> Vec<String> {
        let policy = answer.expect_header("content-security-policy");
        let mut directives = policy.split("; ");
        let connect = directives.find(|directive| directive.starts_with("connect-src "));
        let sources = connect.expect("a directive for connections").split(' ');
        sources.skip(1).map(str::to_owned).collect()
    };
    let wanted = |cluster: &Cluster| {
        let members = cluster.nodes().iter().map(|node| node.http_address());
        let mut wanted = vec!["'self'".to_owned()];
        wanted.extend(members.map(|address| format!("http://{address}")));
        wanted
    };
    let alone = cluster[0].get("/ui/").await;
    assert_eq!(sources(&alone), wanted(&cluster));

    let joined = cluster.add_node();
    let first = cluster[0].http_address();
    cluster[joined].add_args(["-join", &first]);
    cluster[joined].start().await;
    cluster.wait_voters(2).await;
    for target in ["/ui/", "/ui/nodes"] {
        wait_for("both members in the policy", SOON, async || {
            let named = sources(&cluster[joined].get(target).await);
            let is_all = named == wanted(&cluster);
            is_all.then_some(()).ok_or_else(|| format!("{named:?}"))
        })
        .await;
    }
    // What the browser has is not taken for good: it came with the old policy.
    if let Some(known) = alone.header("etag") {
        let again = Request::get("/ui/").header("If-None-Match", known);
        cluster[0].send(&again).await.expect_status(200);
    }
}
