use super::*;
use crate::report::{ChatReport, Happening, HlsReport, sample};

fn row_of<'a>(comparison: &'a Comparison, figure: &str) -> &'a Row {
    comparison.rows.iter().find(|row| row.figure == figure).unwrap()
}

#[test]
fn a_run_is_the_same_as_itself_and_of_its_own_shape() {
    let comparison = compare(&sample::full(), &sample::full()).unwrap();
    assert!(comparison.notes.is_empty(), "{:?}", comparison.notes);
    assert!(comparison.rows.iter().all(|row| row.change == Change::Same), "{comparison:?}");
    assert!(comparison.rows.len() > 20);
}

#[test]
fn better_worse_and_same_go_the_way_of_the_figure() {
    let (a, mut b) = (sample::full(), sample::full());
    b.viewers.seated = 900;
    b.viewers.failed = 100;
    b.latency_ms = Some(sample::set(2.0, 18.2, 710.0));
    b.packets.bits_per_second = 1_000_000_000;
    b.server.as_mut().unwrap().cores = Some(3.0);
    b.join.connected_ms = None;
    let comparison = compare(&a, &b).unwrap();
    for (figure, ratio, change) in [
        ("viewers connected", Some(0.9), Change::Worse),
        ("viewers failed", None, Change::Worse),
        ("latency p50", Some(0.5), Change::Better),
        ("latency longest", Some(0.5), Change::Better),
        ("received", Some(0.5), Change::Other),
        ("server CPU", Some(2.0), Change::Worse),
        ("connected after p50", None, Change::Unknown),
        ("freezes", Some(1.0), Change::Same),
    ] {
        let row = row_of(&comparison, figure);
        assert_eq!((row.ratio, row.change), (ratio, change), "{figure}");
    }
    // 18 and 18.2 ms are too near to tell two servers apart.
    assert_eq!(row_of(&comparison, "latency p99").change, Change::Same);
    assert!(comparison.rows.iter().all(|row| row.figure != "video loss"), "nobody measured it");
}

#[test]
fn those_beside_are_compared_where_they_were() {
    let with = |stalls: u64, lost: u64, late: f64| {
        let (latency_ms, delay_ms) =
            (Some(sample::set(2_000.0, late, 9_000.0)), Some(sample::set(3.0, late, 90.0)));
        let mut run = sample::full();
        run.hls =
            Some(HlsReport { wanted: 9, played: 9 - stalls, stalls, latency_ms, ..HlsReport::default() });
        run.chat = Some(ChatReport {
            wanted: 6,
            connected: 6,
            lost,
            repeated: 2,
            delay_ms,
            ..ChatReport::default()
        });
        run
    };
    let (a, b) = (with(1, 4, 40.0), with(3, 0, 20.0));
    let comparison = compare(&a, &b).unwrap();
    for (figure, ratio, change) in [
        ("HLS viewers that played", Some(0.75), Change::Worse),
        ("HLS latency p50", Some(1.0), Change::Same),
        ("HLS latency p99", Some(0.5), Change::Better),
        ("HLS stalls", Some(3.0), Change::Worse),
        ("chat clients connected", Some(1.0), Change::Same),
        ("chat messages lost", Some(0.0), Change::Better),
        ("chat messages repeated", Some(1.0), Change::Same),
        ("chat delay p50", Some(1.0), Change::Same),
        ("chat delay p99", Some(0.5), Change::Better),
    ] {
        let row = row_of(&comparison, figure);
        assert_eq!((row.ratio, row.change), (ratio, change), "{figure}");
    }
    assert!(comparison.notes.is_empty(), "{:?}", comparison.notes);
    let nobody = compare(&sample::full(), &sample::full()).unwrap();
    assert!(nobody.rows.iter().all(|row| !row.figure.starts_with("HLS") && !row.figure.starts_with("chat")));
    let other = compare(&a, &sample::full()).unwrap();
    assert_eq!(row_of(&other, "HLS stalls").change, Change::Unknown);
    assert_eq!(other.notes.len(), 2, "viewers of HLS and chat clients: {:?}", other.notes);
}

#[test]
fn another_schema_is_refused_by_name() {
    let old = RunReport { schema: 1, ..sample::full() };
    assert_eq!(compare(&sample::full(), &old).unwrap_err(), OtherSchema { which: "b", found: 1 });
    let error = compare(&old, &sample::full()).unwrap_err().to_string();
    assert!(error.contains("report a has schema 1") && error.contains("make it again"), "{error}");
}

/// The one note that a change of the second run makes.
fn told(change: fn(&mut RunReport), expected: &str) {
    let mut b = sample::full();
    change(&mut b);
    let notes = compare(&sample::full(), &b).unwrap().notes;
    assert!(notes.len() == 1 && notes[0].contains(expected), "{expected}: {notes:?}");
}

#[test]
fn runs_of_another_shape_and_doubtful_ones_are_told() {
    told(|run| run.viewers.wanted = 500, "viewers 1,000 in a and 500 in b");
    told(|run| run.publishers.bytes *= 2, "each publisher sent 2.00 Mbit/s in a and 4.00 Mbit/s in b");
    told(|run| run.target.whep.push('2'), "watched http://127.0.0.1:8080/whep/demo in a");
    told(|run| run.happenings.push(Happening::default()), "events kill -9 4711 in a");
    told(|run| run.invalid.push("it dropped 7\nof them".to_owned()), "b is INVALID: it dropped 7 of them");
    told(|run| run.interrupted = true, "b was stopped by hand");
    told(|run| run.packets.injected_loss = 9, "loss on purpose none in a and some in b");
    told(|run| run.client.host_cores = 2, "cores of the client’s host 8 in a and 2 in b");
}

#[test]
fn it_can_be_read_in_a_terminal_in_markdown_and_by_machines() {
    let (mut a, mut b) = (sample::full(), sample::full());
    a.name = "one | <b>\n@all".to_owned();
    b.longest_gap_ms = Some(sample::set(40.0, 900.0, 2_800.0));
    b.frozen_ms = f64::NAN;
    let comparison = compare(&a, &b).unwrap();
    let table = comparison.table();
    let gap = table.lines().find(|line| line.starts_with("longest gap  ")).unwrap();
    let words: Vec<&str> = gap.split_whitespace().collect();
    assert_eq!(words, ["longest", "gap", "1.40", "s", "2.80", "s", "×2.00", "worse"]);
    assert!(table.contains("a: one | <b> @all, 2026-11-21 12:00:00 UTC\n"), "{table}");
    let markdown = comparison.markdown();
    assert!(markdown.starts_with("- a: one \\| &lt;b&gt; &#64;all, 2026"), "{markdown}");
    assert!(markdown.contains("| longest gap | 1.40 s | 2.80 s | ×2.00 | **worse** |"), "{markdown}");
    for row in markdown.lines().filter(|line| line.starts_with('|')) {
        assert_eq!(row.matches('|').count(), 6, "{row}");
    }
    let json = serde_json::to_value(&comparison).unwrap();
    let rows = json["rows"].as_array().unwrap();
    let gap = rows.iter().find(|row| row["figure"] == "longest gap").unwrap();
    assert_eq!((&gap["a"], &gap["ratio"], &gap["change"]), (&1_400.0.into(), &2.0.into(), &"worse".into()));
    let still = rows.iter().find(|row| row["figure"] == "video stood still").unwrap();
    assert!(still["b"].is_null() && still["change"] == "unknown", "{still}");
}
