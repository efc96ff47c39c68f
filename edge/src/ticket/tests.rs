use freshet_cluster::token::{Bound, Grant, Rooms};

use super::*;
use crate::bearer::Access;
use crate::call::Verifier;

const NOW: UnixMillis = UnixMillis(1_790_000_000_000);
const PATH: &str = "/whep/r1?wait=1";

fn secret() -> Secret {
    Secret::new("a secret of the whole cluster")
}

fn node() -> (NodeId, Incarnation) {
    ("n1".parse().unwrap(), Incarnation::from_bits(7))
}

fn tickets() -> Tickets {
    let (node, incarnation) = node();
    Tickets::new(&secret(), node, incarnation)
}

fn ticket() -> Ticket {
    let access = Access {
        rooms: Rooms::One("r1".parse().unwrap()),
        grants: [Grant::Subscribe].into_iter().collect(),
        streams: vec!["cam".to_owned()],
        bound: Bound::of(None),
        ..Access::holder("ann".parse().unwrap())
    };
    let (node, incarnation) = node();
    let mut call = Call::new(&Method::POST, PATH, b"v=0", &access, NOW, 0xabc);
    call.client_ip = Some("192.0.2.7".parse().unwrap());
    call.public_url = Some("https://n1.example".to_owned());
    Ticket { node, incarnation, call }
}

fn after(ms: u64) -> UnixMillis {
    UnixMillis(NOW.0 + ms)
}

fn verify(at: &Tickets, text: &str, now: UnixMillis) -> Result<Call, TicketError> {
    at.verify(text, &Method::POST, PATH, b"v=0", now)
}

#[test]
fn a_ticket_says_who_may_what_once() {
    let (tickets, made) = (tickets(), ticket());
    let text = sign(&secret(), &made);
    assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{text}");
    let call = verify(&tickets, &text, after(100)).unwrap();
    assert_eq!(call.access().identity.as_str(), "ann");
    assert_eq!((call.access(), call.client_ip, call.public_url), {
        let Call { client_ip, public_url, .. } = made.call.clone();
        (made.call.access(), client_ip, public_url)
    });
    assert_eq!(verify(&tickets, &text, after(200)), Err(TicketError::Used));
}

#[test]
fn it_is_for_one_request_at_one_start_of_one_node() {
    let tickets = tickets();
    let text = sign(&secret(), &ticket());
    let ask = |method: &Method, path: &str, body: &[u8]| tickets.verify(&text, method, path, body, NOW);
    assert_eq!(ask(&Method::PATCH, PATH, b"v=0"), Err(TicketError::Mismatch("method")));
    assert_eq!(ask(&Method::POST, "/whep/r2?wait=1", b"v=0"), Err(TicketError::Mismatch("path")));
    assert_eq!(ask(&Method::POST, "/whip/r1?wait=1", b"v=0"), Err(TicketError::Mismatch("path")));
    assert_eq!(ask(&Method::POST, PATH, b"v=0 another"), Err(TicketError::Mismatch("body")));
    let (node, incarnation) = node();
    let elsewhere = Tickets::new(&secret(), "n2".parse().unwrap(), incarnation);
    assert_eq!(verify(&elsewhere, &text, NOW), Err(TicketError::Node));
    let restarted = Tickets::new(&secret(), node, Incarnation::from_bits(8));
    assert_eq!(verify(&restarted, &text, NOW), Err(TicketError::Node));
    verify(&tickets, &text, NOW).expect("none of these used it up");
}

#[test]
fn it_is_good_for_thirty_seconds() {
    let text = sign(&secret(), &ticket());
    for (now, good) in [
        (after(30_000), true),
        (after(30_001), false),
        (UnixMillis(NOW.0 - 60_000), true),
        (UnixMillis(NOW.0 - 60_001), false),
    ] {
        let found = verify(&tickets(), &text, now);
        assert_eq!(found.is_ok(), good, "{now:?}");
        assert!(good || found == Err(TicketError::Time));
    }
}

#[test]
fn what_was_not_signed_as_a_ticket_is_none() {
    let (tickets, made) = (tickets(), ticket());
    let text = sign(&secret(), &made);
    assert_eq!(
        verify(&tickets, &sign(&Secret::new("another secret"), &made), NOW),
        Err(TicketError::Signature)
    );
    let (payload, tag) = text.split_once('.').unwrap();
    let other = URL_SAFE_NO_PAD
        .encode(serde_json::to_vec(&Ticket { node: "n2".parse().unwrap(), ..made.clone() }).unwrap());
    assert_eq!(verify(&tickets, &format!("{other}.{tag}"), NOW), Err(TicketError::Signature));
    for bad in ["", ".", "x", payload, &format!("{payload}."), &"x".repeat(TICKET_MAX + 1)] {
        assert!(verify(&tickets, bad, NOW).is_err(), "{bad}");
    }
    // The same secret signs calls: neither passes for the other.
    let call = crate::call::sign(&secret(), &made.call);
    assert_eq!(verify(&tickets, call.to_str().unwrap(), NOW), Err(TicketError::Signature));
    let mut headers = http::HeaderMap::new();
    headers.insert(crate::call::CALL, text.parse().unwrap());
    assert!(Verifier::new(&secret()).signed(&headers).is_err());
    let newer = Ticket { call: Call { min_v: VERSION + 1, ..made.call }, ..made };
    let found = verify(&tickets, &sign(&secret(), &newer), NOW);
    assert_eq!(found, Err(TicketError::Version { min_v: VERSION + 1 }));
}

#[test]
fn it_is_the_last_of_a_query() {
    for path in ["/whip/r", "/whip/r?a=1", "/whip/r?ticket=old"] {
        let joined = join(path, "abc.def");
        assert_eq!(split(&joined), Some((path, "abc.def")), "{joined}");
    }
    for without in ["/whip/r", "/whip/ticket=x", "/whip/r?myticket=x", "/whip/r?ticket=x&y=1"] {
        assert_eq!(split(without), None, "{without}");
    }
}

#[test]
fn a_refusal_says_what_to_do_and_nothing_of_the_ticket() {
    let problem = Problem::from(TicketError::Used);
    assert_eq!((problem.status().as_u16(), problem.why()), (401, Some("ticket-refused")));
    assert!(problem.detail().contains("again") && problem.headers().contains_key("www-authenticate"));
    assert_eq!(Problem::from(TicketError::Full).status(), 503);
}
