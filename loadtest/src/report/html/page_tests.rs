use super::*;
use crate::report::well_formed::{all_between, check};
use crate::report::{
    ChatReport, ChatSecond, Happening, HlsReport, HlsSecond, Percentiles, Second, Verdict, sample,
};

const HOSTILE: &str = "\"><script>alert(1)</script>\n<img src=x onerror='y'>&copy;\u{0}\u{202e}]]>";

/// Well-formed, with nothing to fetch or run, whatever it shows.
fn assert_safe(page: &str) {
    check(page).unwrap();
    // In text a `<` is written otherwise, so these are all the tags there are.
    for tag in page.split('<').skip(1).filter_map(|tag| tag.split('>').next()) {
        let name = tag.split(' ').next().unwrap();
        assert!(!["script", "img", "link", "iframe", "object", "a", "base"].contains(&name), "{tag}");
        for attribute in [" href=", " src=", " onerror=", " onload=", " style="] {
            assert!(!tag.contains(attribute), "{tag}");
        }
    }
    assert!(!page.contains("@import") && !page.contains("url("), "{page:.3000}");
    assert!(!page.contains("NaN") && !page.contains(">inf"), "{page:.3000}");
}

#[test]
fn a_full_run_has_its_verdict_every_plot_and_every_table() {
    let page = html(&sample::full());
    assert_safe(&page);
    assert_eq!(page.matches("<svg class=\"plot").count(), 7 + 4, "plots over time and spreads");
    // The kill is marked in every plot of the time, and told in words.
    assert_eq!(page.matches("<line class=\"mark\" x1=\"50.417%\"").count(), 7);
    for part in [
        "<section class=\"verdict broken\">",
        "<h2>Broken: 1 of 2 bounds</h2>",
        "<dd class=\"value\">1,000 of 1,000</dd>",
        "<td>loss&gt;0.1%</td><td>0.240 %</td><td class=\"is-broken\">✗ broken</td>",
        "<h3>1. kill -9 4711, at 60.5 s</h3>",
        "<th scope=\"row\">Longest gap before</th><td class=\"number\">40.0 ms</td>",
        "<th scope=\"row\">Longest gap after</th><td class=\"number\">1.40 s</td>",
        "<th scope=\"row\">Viewers lost after</th><td class=\"number\">12</td>",
        "2026-11-21 12:00:00 UTC",
        "61 s to 62 s; p50: 4.00 ms; p99: 18.0 ms; longest: 1.42 s",
        "ended: ICE",
        "coordinated omission",
        "<tr><td class=\"number\">417</td>",
        "<td class=\"number\">1.65 s in 2</td><td class=\"number\">4.20 ms</td><td class=\"number\">1.42 s</td><td class=\"became\">ICE</td>",
        "width=device-width",
    ] {
        assert!(page.contains(part), "{part}: {page:.6000}");
    }
    assert!(page.len() < 400_000, "{}", page.len());
}

#[test]
fn a_run_without_media_is_a_page_too() {
    let page = html(&RunReport::default());
    assert_safe(&page);
    assert!(page.contains("no viewer connected") && page.contains("nothing measured"), "{page}");
    assert!(!page.contains("<svg") && !page.contains("Over time") && !page.contains("Bounds</h2>"), "{page}");
    assert!(page.len() < 30_000, "{}", page.len());
}

#[test]
fn an_invalid_run_says_so_first() {
    let report = RunReport { invalid: vec!["this host dropped 7 datagrams".to_owned()], ..sample::full() };
    let page = html(&report);
    let verdict = all_between(&page, "<section class=\"verdict invalid\">", "</section>")[0];
    assert!(verdict.contains("INVALID") && verdict.contains("dropped 7 datagrams"), "{verdict}");
    assert!(!page.contains("class=\"verdict broken\""));
}

#[test]
fn hostile_names_stay_text() {
    let mut report = sample::full();
    report.name = HOSTILE.to_owned();
    report.target.whep = HOSTILE.to_owned();
    report.target.whip = Some(HOSTILE.to_owned());
    report.invalid = vec![HOSTILE.to_owned()];
    report.viewers.reasons.insert(HOSTILE.to_owned(), 1);
    report.happenings[0].what = HOSTILE.to_owned();
    report.happenings[0].said = HOSTILE.to_owned();
    report.bounds[0].bound = HOSTILE.to_owned();
    report.worst[0].ended = HOSTILE.to_owned();
    let page = html(&report);
    assert_safe(&page);
    assert!(page.contains("&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"), "{page:.3000}");
}

#[test]
fn odd_numbers_and_huge_lengths_make_a_page_of_bounded_size() {
    let odd =
        |value: f64| Percentiles { count: 0, p50: value, p90: value, p99: value, p999: value, max: value };
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, -1.0];
    let mut report = sample::full();
    report.seconds = f64::NAN;
    report.frozen_ms = f64::INFINITY;
    report.latency_ms = Some(odd(f64::NAN));
    report.longest_gap_ms = Some(odd(f64::MAX));
    report.name = "n".repeat(1_000_000);
    report.happenings = vec![Happening { at_s: f64::NAN, ..report.happenings[0].clone() }; 3_000];
    report.bounds =
        vec![
            Verdict { bound: "b".repeat(5_000), value: Some(f64::NAN), broken: true, not_measured: false };
            3_000
        ];
    report.invalid = vec!["i".repeat(5_000); 3_000];
    report.viewers.reasons = (0..3_000u64).map(|number| (format!("{number}{HOSTILE}"), number)).collect();
    report.timeline = (1..=20_000u32)
        .zip(values.into_iter().cycle())
        .map(|(at, value)| Second {
            at_s: f64::from(at),
            seconds: 1.0,
            watching: u64::MAX,
            bits_per_second: u64::MAX,
            longest_gap_ms: value,
            latency_ms: Some(odd(value)),
            client_cores: Some(value),
            ..Second::default()
        })
        .collect();
    let page = html(&report);
    assert_safe(&page);
    assert!(page.contains("Each point stands for about 50 s"), "{page:.6000}");
    assert!(page.len() < 2_000_000, "{}", page.len());
}

#[test]
fn those_beside_have_tables_of_their_own_and_nothing_else_is_shown_where_they_are_alone() {
    let mut report = sample::full();
    report.hls = Some(HlsReport { url: HOSTILE.to_owned(), stalls: 7, ..HlsReport::default() });
    report.chat = Some(ChatReport { lost: 3, ..ChatReport::default() });
    report.chat.as_mut().unwrap().reasons.insert(HOSTILE.to_owned(), 1);
    let both = html(&report);
    assert_safe(&both);
    for part in
        ["<caption>HLS</caption>", "<caption>Chat</caption>", "<caption>Packets of all viewers</caption>"]
    {
        assert!(both.contains(part), "{part}");
    }
    report.viewers.wanted = 0;
    let alone = html(&report);
    assert_safe(&alone);
    assert!(alone.contains("<caption>HLS</caption>") && alone.contains("HLS stalls"), "{alone:.3000}");
    assert!(!alone.contains("Packets of all viewers") && !alone.contains("Viewers connected"));
    assert!(!alone.contains("no viewer connected"));
}

#[test]
fn those_beside_have_plots_of_their_own_beside_those_of_viewers_and_alone() {
    let mut report = sample::full();
    report.hls = Some(HlsReport::default());
    report.chat = Some(ChatReport::default());
    for second in &mut report.timeline {
        let late = second.at_s == 62.0;
        let set = sample::set(2_000.0, 2_500.0, if late { 9_000.0 } else { 3_000.0 });
        let stalls = if late { 7 } else { 0 };
        second.hls = Some(HlsSecond { playing: 40, stalls, latency_ms: Some(set), ..HlsSecond::default() });
        let delay_ms = Some(sample::set(3.0, if late { 810.0 } else { 9.0 }, 900.0));
        second.chat = Some(ChatSecond { connected: 30, received: 60, delay_ms, ..ChatSecond::default() });
    }
    let page = html(&report);
    assert_safe(&page);
    assert_eq!(page.matches("<svg class=\"plot").count(), 7 + 4 + 4, "four more over time");
    assert_eq!(page.matches("<line class=\"mark\" x1=\"50.417%\"").count(), 7 + 4, "the kill is in them");
    let shown = |page: &str, title: &str| page.contains(&format!("<h3>{title}</h3>"));
    for title in ["HLS viewers", "HLS latency", "Chat clients", "Chat delay", "Viewers", "CPU and memory"] {
        assert!(shown(&page, title), "{title}");
    }
    assert!(page.contains("61 s to 62 s; p50: 2.00 s; p99: 2.50 s"), "each second of HLS has its latency");
    assert!(page.contains("61 s to 62 s; p50: 3.00 ms; p99: 810 ms"), "each second of chat has its delay");
    report.viewers.wanted = 0;
    report.chat = None;
    report.timeline.iter_mut().for_each(|second| second.chat = None);
    let alone = html(&report);
    assert_safe(&alone);
    assert!(shown(&alone, "HLS latency") && shown(&alone, "CPU and memory"), "{alone:.6000}");
    for title in ["Viewers", "Latency", "Bits received", "Chat clients", "Chat delay"] {
        assert!(!shown(&alone, title), "{title} is of somebody who was not there");
    }
}
