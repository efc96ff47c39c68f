use proptest::prelude::*;

use super::*;

const TRICKLE: &str = "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:EsAw\r\n\
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n\
a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0\r\n\
a=end-of-candidates\r\n";

fn refused(text: &str) -> FragmentError {
    Fragment::parse(text).unwrap_err()
}

#[test]
fn a_trickle_fragment_is_read() {
    for text in [TRICKLE.to_owned(), TRICKLE.replace("\r\n", "\n")] {
        let read = Fragment::parse(&text).unwrap();
        assert_eq!(read.ufrag.as_deref(), Some("EsAw"));
        assert_eq!(read.pwd.as_deref(), Some("P2uYro0UCOQ4zxjKXaWCBui1"));
        assert_eq!(read.candidates.len(), 2, "the same candidate in two sections counts once");
        assert!(read.candidates[0].starts_with("candidate:1387637174 1 udp"));
        assert!(read.end);
    }
}

#[test]
fn unknown_lines_are_ignored() {
    let read = Fragment::parse("a=ice-lite\na=\nz=x\na=rubbish:1\na=end-of-candidates").unwrap();
    assert_eq!(read, Fragment { end: true, ..Fragment::default() });
}

#[test]
fn what_would_set_a_wrong_state_is_refused() {
    use FragmentError as E;
    let ufrag = |line, min, name| E::Credential { line, name, min };
    for (text, error) in [
        ("", E::Nothing),
        ("\r\n\r\n", E::Nothing),
        ("a=mid:0\r\n", E::Nothing),
        ("hello", E::Line { line: 1 }),
        ("a=mid:0\nice-ufrag:x", E::Line { line: 2 }),
        ("A=mid:0", E::Line { line: 1 }),
        ("a=mid:0\r\r\n", E::Line { line: 1 }),
        ("a=ice-ufrag:abc", ufrag(1, 4, "ice-ufrag")),
        ("a=ice-ufrag:ab cd", ufrag(1, 4, "ice-ufrag")),
        ("a=ice-pwd:short", ufrag(1, 22, "ice-pwd")),
        ("a=ice-ufrag:aaaa\na=ice-ufrag:bbbb", E::Twice { line: 2, name: "ice-ufrag" }),
        ("a=candidate:", E::Candidate { line: 1 }),
        ("a=candidate:1 1 udp 1 192.0.2.1 99999 typ host", E::Candidate { line: 1 }),
        ("a=candidate:1 1 udp 1 192.0.2.1 9 type host", E::Candidate { line: 1 }),
    ] {
        assert_eq!(refused(text), error, "{text:?}");
    }
    assert_eq!(refused(&format!("a={}", "x".repeat(LINE_MAX))), E::TooLong { line: 1 });
    let many: String =
        (0..=CANDIDATES_MAX).map(|i| format!("a=candidate:{i} 1 udp 1 192.0.2.1 9 typ host\n")).collect();
    assert_eq!(refused(&many), E::TooMany);
}

#[test]
fn a_password_is_in_no_message() {
    let read = Fragment::parse(TRICKLE).unwrap();
    assert!(!format!("{read:?}").contains("P2uYro0UCOQ4zxjKXaWCBui1"));
    let twice = "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui2";
    let problem = Problem::from(refused(twice));
    assert!(!format!("{problem} {problem:?}").contains("P2uYro0"));
}

prop_compose! {
    fn candidate()(f in "[a-z0-9]{1,32}", p in any::<u32>(), port in any::<u16>(), more in "( [a-z]{1,5} [0-9]{1,5}){0,3}")
        -> String {
        format!("candidate:{f} 1 udp {p} 192.0.2.7 {port} typ host{more}")
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(a=|m=|ice-ufrag:|ice-pwd:|candidate:|[ -~]{0,9}|\\r|\\n|\u{e9}){0,30}") {
        let _any = Fragment::parse(&text);
    }

    #[test]
    fn any_text_at_all_is_answered(text in "\\PC{0,200}") {
        let _any = Fragment::parse(&text);
    }

    #[test]
    fn what_is_written_is_read_again(
        ufrag in proptest::option::of("[A-Za-z0-9+/]{4,256}"),
        pwd in proptest::option::of("[A-Za-z0-9+/]{22,256}"),
        candidates in proptest::collection::hash_set(candidate(), 0..9),
    ) {
        let fragment = Fragment { ufrag, pwd, candidates: candidates.into_iter().collect(), end: true };
        prop_assert_eq!(Fragment::parse(&fragment.write()), Ok(fragment));
    }
}
