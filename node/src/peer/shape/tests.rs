use proptest::prelude::*;

use super::*;

const OFFER: &str = include_str!("../../../../tests/data/offer-view.sdp");

fn key(offer: &str) -> Option<String> {
    Shape::of(offer).map(|shape| shape.key)
}

#[test]
fn what_is_a_clients_own_is_taken_out() {
    let shape = Shape::of(OFFER).unwrap();
    assert_eq!((shape.own.ufrag, shape.own.pwd), ("k9Xf", "pQ7uZ2mRb4cW8sYt1vLnE6hA"));
    assert_eq!((shape.own.fingerprint.first(), shape.own.fingerprint.len()), (Some(&0x3b), 32));
    assert_eq!(shape.own.mids, ["0", "1"]);
    let candidate = "a=candidate:1 1 udp 2122260223 192.0.2.7 61764 typ host generation 0";
    let changes = [
        ("k9Xf", "zzzz"),
        ("pQ7uZ2mRb4cW8sYt1vLnE6hA", "aaaaaaaaaaaaaaaaaaaaaaaa"),
        (":84:47", ":84:48"),
        ("o=- 4611731400430051336", "o=mozilla 7"),
        ("m=audio 9 ", "m=audio 61764 "),
        ("c=IN IP4 0.0.0.0", "c=IN IP6 2001:db8::1"),
        ("a=rtcp:9 IN IP4 0.0.0.0", "a=rtcp:61765 IN IP4 192.0.2.7"),
        ("a=mid:1\n", &format!("a=mid:1\n{candidate}\n")),
        ("a=mid:1\n", "a=mid:1\na=candidate:1 1 udp 2122260223 an-mdns-name.local 61764 typ host\n"),
    ];
    let mut offer = OFFER.to_owned();
    for (from, to) in changes {
        let changed = OFFER.replace(from, to);
        assert_ne!(changed, OFFER, "{from}");
        assert_eq!(key(&changed), Some(shape.key.clone()), "{from} → {to}");
        offer = offer.replace(from, to);
    }
    assert_eq!(key(&offer).as_ref(), Some(&shape.key), "all at once");
    let named = OFFER.replace("a=mid:1", "a=mid:x9").replace("BUNDLE 0 1", "BUNDLE 0 x9");
    assert_eq!(key(&named), Some(shape.key), "the same m-lines by another name");
    let with = OFFER.replace("a=mid:1\n", &format!("a=mid:1\n{candidate}\n"));
    assert_eq!(Shape::of(&with).unwrap().own.candidates.len(), 1);
}

#[test]
fn what_changes_the_answer_changes_the_key() {
    for (from, to) in [
        ("a=recvonly", "a=sendrecv"),
        ("a=setup:actpass", "a=setup:active"),
        ("a=setup:actpass", "a=setup:passive"),
        ("a=rtpmap:96 VP8", "a=rtpmap:96 VP9"),
        ("a=extmap:4 ", "a=extmap:6 "),
        ("m=audio 9 ", "m=audio 0 "),
        ("BUNDLE 0 1", "BUNDLE 1 0"),
        ("BUNDLE 0 1", "BUNDLE 0"),
        ("a=rtcp-mux\n", ""),
        ("a=ice-options:trickle\n", "a=ice-lite\n"),
        ("a=mid:0\n", "a=mid:0\na=ssrc:7 cname:x\n"),
        ("a=msid-semantic: WMS\n", "a=msid-semantic: WMS x\n"),
        ("profile-level-id=42e01f", "profile-level-id=640c1f"),
    ] {
        let changed = OFFER.replace(from, to);
        assert_ne!(changed, OFFER, "{from}");
        assert_ne!(key(&changed).unwrap(), key(OFFER).unwrap(), "{from} → {to}");
    }
}

#[test]
fn ssrcs_are_known_by_their_order() {
    let with = |lines: &str| key(&OFFER.replace("a=mid:1\n", &format!("a=mid:1\n{lines}")));
    let of = |main: u32, rtx: u32| {
        with(&format!(
            "a=ssrc:{main} cname:c{main}\na=ssrc:{rtx} msid:s t{rtx}\na=ssrc-group:FID {main} {rtx}\n"
        ))
    };
    assert!(of(1, 2).is_some());
    assert_eq!(of(1, 2), of(4_294_967_295, 7));
    assert_ne!(of(1, 2), of(1, 1));
    assert_ne!(with("a=ssrc:1 cname:x\n"), with("a=ssrc:1 label:x\n"));
    let many: String = (0..=SSRCS_MAX).map(|ssrc| format!("a=ssrc:{ssrc} cname:x\n")).collect();
    assert_eq!(with(&many), None);
}

#[test]
fn an_offer_that_is_not_of_the_plainest_form_has_no_shape() {
    let many = "a=mid:1\n".to_owned() + &"a=candidate:1 1 udp 1 192.0.2.7 9 typ host\n".repeat(65);
    for (from, to) in [
        ("a=ice-ufrag:k9Xf\na=ice-pwd:pQ7uZ2mRb4cW8sYt1vLnE6hA\n", ""),
        ("a=mid:1\n", "a=mid:1\na=ice-ufrag:other\n"),
        ("a=mid:1\n", "a=mid:1\na=fingerprint:sha-256 00:11\n"),
        ("k9Xf", "k9 Xf"),
        ("k9Xf", "k9X"),
        ("sha-256", "sha-1"),
        ("3B:0E", "3B0E"),
        ("3B:0E", "+B:0E"),
        ("a=mid:1", "a=mid:0"),
        ("a=mid:1", "a=mid:a_b"),
        ("a=mid:1", "a=mid:"),
        ("BUNDLE 0 1", "BUNDLE 0 2"),
        ("BUNDLE 0 1", "LS 0 1"),
        ("a=mid:1\n", "a=mid:1\na=ssrc:x cname:y\n"),
        ("a=mid:1\n", "a=mid:1\na=ssrc:4294967296 cname:y\n"),
        ("a=mid:1\n", "a=mid:1\na=ssrc:1\n"),
        ("a=mid:1\n", "a=mid:1\na=ssrc:1 other:y\n"),
        ("a=mid:1\n", "a=mid:1\na=ssrc-group:SIM 1 2\n"),
        ("a=mid:1\n", "a=mid:1\na=ssrc-group:FID 1\n"),
        ("a=mid:1\n", "a=mid:1\na=ssrc-group:FID 1 2 3\n"),
        ("a=mid:1\n", "a=mid:1\na=rid:h send\n"),
        ("a=mid:1\n", "a=mid:1\na=msid:one\n"),
        ("a=mid:1\n", &many),
        ("m=video", "m=application"),
        ("o=- 4611731400430051336", "o=- four"),
        ("s=-\n", "s=-\n\n"),
        ("s=-\n", "s=\u{1}\n"),
    ] {
        let changed = OFFER.replace(from, to);
        assert_ne!(changed, OFFER, "{from}");
        assert_eq!(key(&changed), None, "{from} → {to}");
    }
    let long = OFFER.replace("s=-", &format!("s={}", "x".repeat(OFFER_MAX)));
    assert_eq!(key(&long), None);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(a=|m=|o=|c=|[a-z-]{1,9}:|mid:|ssrc:|group:|[ -~]{0,9}|\\n|\u{e9}){0,40}") {
        let _any = Shape::of(&text);
    }
}
