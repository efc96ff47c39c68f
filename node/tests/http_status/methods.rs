//! Each resource takes the methods that it says it takes and no others, and a preflight is always answered.

use std::collections::BTreeSet;

use super::wire::{Reply, SDP, Setup, check_problem, start};

const EVERY: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "OPTIONS", "TRACE", "BREW", "DELETE"];

fn allowed(reply: &Reply) -> BTreeSet<String> {
    let allow = reply.header("allow").unwrap_or_default();
    allow.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn what_allow_names_is_taken_and_nothing_else() {
    let node = start(Setup { open: true, ..Setup::default() }).await;
    let at = node.ask("POST", "/whep/r1?wait=1", &[SDP], "v=0\r\nfine\r\n").await.location();
    let (sse, layer) = (format!("{at}/sse"), format!("{at}/layer"));
    let stream = node.ask("POST", &sse, &[], "").await.location();
    let paths = [
        "/whip/r1",
        "/whip/r1/cam",
        "/whep/r1",
        "/whep/r1/cam",
        "/healthz",
        "/readyz",
        "/metrics",
        stream.as_str(),
        sse.as_str(),
        layer.as_str(),
        at.as_str(),
    ];
    for path in paths {
        let refused = node.ask("BREW", path, &[], "").await;
        check_problem(&refused, 405, None);
        let allow = allowed(&refused);
        assert_eq!(allow.contains("GET"), allow.contains("HEAD"), "GET implies HEAD: {path} {allow:?}");
        for method in EVERY {
            let reply = node.ask(method, path, &[], "").await;
            assert_eq!(reply.status != 405, allow.contains(method), "{method} {path}: {allow:?}");
            if reply.status == 405 || method == "OPTIONS" {
                assert_eq!(allowed(&reply), allow, "{method} {path}");
            }
        }
    }
}

/// A browser hides a refused preflight from its page, which then never learns that the path is wrong.
#[tokio::test]
async fn a_preflight_is_answered_whatever_the_path_names() {
    let node = start(Setup::default()).await;
    let gone = "/sessions/n1/0000000000000abc/00000000000000000000000000000003";
    let beside = format!("{gone}/sse/x");
    for path in [
        gone,
        "/sessions/n1/0000000000000abc/xyz",
        "/sessions/n.1/0000000000000abc/xyz",
        "/sessions/%ff/0000000000000abc/xyz",
        "/sessions/n1",
        "/sessions/n1/0000000000000abc/xyz/sse",
        "/sessions/n1/0000000000000abc/xyz/sse/x",
        "/sessions/n1/0000000000000abc/xyz/layer",
        beside.as_str(),
        "/whip/no%2Fslash",
        "/whep/%00",
        "/whip",
        "/nothing/here",
    ] {
        for method in ["POST", "PATCH", "DELETE", "GET"] {
            let asks = [("Origin", "https://page.example"), ("Access-Control-Request-Method", method)];
            let reply = node.ask("OPTIONS", path, &asks, "").await;
            assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{path} {method}");
            assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "{path}");
            assert!(reply.header("access-control-allow-methods").unwrap().contains(method), "{path}");
            assert!(reply.header("access-control-allow-headers").unwrap().contains("If-Match"), "{path}");
        }
    }
    check_problem(&node.ask("OPTIONS", "/nothing/here", &[], "").await, 404, None);
}
