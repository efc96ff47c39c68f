use super::*;

const SECOND: u64 = 1_000_000;

fn media(text: &str) -> Media {
    match parse(text).unwrap() {
        Playlist::Media(media) => media,
        Playlist::Master(master) => panic!("{master:?}"),
    }
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

const PLAIN: &str = "#EXTM3U\r\n#EXT-X-VERSION:3\r\n#EXT-X-TARGETDURATION:4\r\n#EXT-X-MEDIA-SEQUENCE:17\r\n\
    #EXT-X-MAP:URI=\"init.mp4\",BYTERANGE=\"100@0\"\r\n\
    #EXTINF:4.004,title\r\n17.m4s\r\n\
    #EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:01:00Z\r\n#EXTINF:4,\r\n18.m4s?x=1\r\n# a comment\r\n\r\n\
    #EXT-X-UNHEARD-OF:1\r\n#EXTINF:3.5\r\n/19.m4s\r\n\
    #EXT-X-DISCONTINUITY\r\n#EXT-X-GAP\r\n#EXTINF:4\r\nhttp://h/20.m4s\r\n#EXT-X-ENDLIST\r\n";

#[test]
fn a_plain_playlist_is_read_with_its_numbers_and_dates() {
    let list = media(PLAIN);
    assert_eq!((list.target, list.first, list.ended, list.low_latency()), (4 * SECOND, 17, true, false));
    let numbers: Vec<u64> = list.segments.iter().map(|segment| segment.number).collect();
    assert_eq!(numbers, [17, 18, 19, 20]);
    let captured: Vec<Option<u64>> = list.segments.iter().map(|segment| segment.captured).collect();
    // The first one's is counted back, the third one's on; behind a discontinuity nothing is known.
    assert_eq!(captured, [Some(55_996_000), Some(60 * SECOND), Some(64 * SECOND), None]);
    assert_eq!(
        list.segments[0].map.as_deref(),
        Some(&Resource { uri: "init.mp4".into(), range: Some((0, Some(100))) })
    );
    assert!(list.segments[3].gap && list.segments[3].discontinuity && !list.segments[2].gap);
    assert_eq!((list.edge(), list.segment(18).unwrap().duration), ((21, 0), 4 * SECOND));
    assert!(list.segment(16).is_none() && list.segment(21).is_none());
}

const LOW: &str = r#"#EXTM3U
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5,HOLD-BACK=6.0
#EXT-X-PART-INF:PART-TARGET=0.5
#EXT-X-MEDIA-SEQUENCE:5
#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:10Z
#EXTINF:2,
5.mp4
#EXT-X-PART:DURATION=1,INDEPENDENT=YES,URI="6.mp4",BYTERANGE="100@0"
#EXT-X-PART:DURATION=1,URI="6.mp4",BYTERANGE="50"
#EXTINF:2,
6.mp4
#EXT-X-PART:DURATION=0.5,INDEPENDENT=YES,URI="7.0.mp4"
#EXT-X-PART:DURATION=0.5,GAP=YES,URI="7.1.mp4"
#EXT-X-PRELOAD-HINT:TYPE=MAP,URI="init.mp4"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="7.2.mp4",BYTERANGE-START=10
"#;

#[test]
fn parts_hints_and_what_the_server_can_do_are_read() {
    let list = media(LOW);
    assert!(list.low_latency() && list.can_block && !list.ended);
    assert_eq!((list.part_hold_back, list.hold_back), (Some(1_500_000), Some(6 * SECOND)));
    assert_eq!(list.edge(), (7, 2), "two parts of the seventh are there");
    let sixth = list.segment(6).unwrap();
    assert_eq!(sixth.parts[1].resource.range, Some((100, Some(50))), "a range goes on where the last ended");
    assert!(sixth.parts[0].independent && !sixth.parts[1].independent);
    let seventh = list.segment(7).unwrap();
    assert!(seventh.resource.is_none() && seventh.parts[1].gap);
    assert_eq!((seventh.duration, seventh.captured), (SECOND, Some(14 * SECOND)));
    assert_eq!(list.hint, Some(Resource { uri: "7.2.mp4".into(), range: Some((10, None)) }));
}

#[test]
fn of_variants_the_best_is_chosen_with_its_sound() {
    let text = r#"#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="Deutsch",URI="de.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English",DEFAULT=YES,URI="en.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="b",NAME="in the variant"
#EXT-X-STREAM-INF:BANDWIDTH=1280000,AVERAGE-BANDWIDTH=1000000
low.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=7680000,AUDIO="a",CODECS="avc1.4d401f,mp4a.40.2"
high.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=7680000
same.m3u8
"#;
    let Playlist::Master(master) = parse(text).unwrap() else { panic!() };
    let (variant, sound) = master.best().unwrap();
    assert_eq!((variant.uri.as_str(), sound.unwrap().uri.as_str()), ("high.m3u8", "en.m3u8"));
    assert_eq!((master.variants.len(), master.sounds.len()), (3, 2));
}

#[test]
fn ranges_go_on_within_one_resource_alone() {
    let list = media(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1\n#EXT-X-BYTERANGE:10@5\na\n#EXTINF:1\n#EXT-X-BYTERANGE:7\na\n\
         #EXTINF:1\n#EXT-X-BYTERANGE:7\nb\n",
    );
    let ranges: Vec<_> =
        list.segments.iter().map(|segment| segment.resource.clone().unwrap().range.unwrap()).collect();
    assert_eq!(ranges, [(5, Some(10)), (15, Some(7)), (0, Some(7))]);
}

#[test]
fn what_is_no_playlist_says_where_and_why() {
    for (text, says) in [
        ("", "line 1 of the playlist: it does not begin with #EXTM3U"),
        ("<html>", "no playlist of HLS"),
        ("#EXTM3U\n", "neither #EXT-X-TARGETDURATION nor a variant"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:x\n", "line 2 of the playlist: #EXT-X-TARGETDURATION wants a time"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:1\na.ts\n", "line 3 of the playlist: a URI without #EXTINF"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:-1,\na.ts\n", "#EXTINF wants a time"),
        ("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:18446744073709551615\n", "below 2^53"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n", "was not asked for"),
        ("#EXTM3U\n#EXT-X-PART:DURATION=1\n", "no URI"),
        ("#EXTM3U\n#EXT-X-PART:URI=\"a\"\n", "wants a time"),
        ("#EXTM3U\n#EXT-X-MAP:X=1\n", "no URI"),
        ("#EXTM3U\n#EXTINF:1\na\n#EXT-X-MEDIA-SEQUENCE:1\n", "behind the first segment"),
        ("#EXTM3U\n#EXTINF:1\na\n#EXT-X-STREAM-INF:BANDWIDTH=1\nb\n", "segments and variants"),
    ] {
        let said = refused(text);
        assert!(said.contains(says) && said.lines().count() == 1, "{text:?}: {said}");
    }
}

#[test]
fn any_cut_and_any_garbage_is_read_or_refused() {
    for whole in [PLAIN, LOW] {
        for end in 0..whole.len() {
            let _either = parse(&whole[..end]);
        }
        for at in 0..whole.len() {
            let mut bytes = whole.as_bytes().to_vec();
            bytes[at] = bytes[at].wrapping_mul(31).wrapping_add(7) & 0x7f;
            let _either = parse(std::str::from_utf8(&bytes).unwrap());
        }
    }
    let endless = format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n{}", "#EXTINF:604800\na\n".repeat(50_000));
    assert_eq!(media(&endless).segments.len(), 50_000);
}
