use super::*;
use crate::report::well_formed::{all_between, check};

const ENDS: [f64; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 10.0];

fn series(name: &'static str, side: Side, values: [Option<f64>; 6]) -> Series {
    Series { name, side, values: values.to_vec() }
}

fn lines(series: Vec<Series>, marks: &[Mark]) -> Lines<'_> {
    Lines {
        about: "a plot",
        ends: &ENDS,
        left: Unit::Count("viewers"),
        right: Some(Unit::Millis),
        fit: false,
        series,
        marks,
    }
}

/// Numbers beside an axis with their place from the top, as shares.
fn ticks(svg: &str, class: &str) -> Vec<(f64, f64)> {
    let mut ticks = Vec::new();
    for text in all_between(svg, &format!("<text class=\"{class}\""), "</text>") {
        let (attributes, label) = text.split_once('>').unwrap();
        let y = all_between(attributes, " y=\"", "%\"")[0].parse::<f64>().unwrap();
        ticks.push((label.replace(',', "").parse::<f64>().unwrap(), y / 100.0));
    }
    ticks
}

/// What a height in the view box means by the first and the last number beside the axis.
fn read(ticks: &[(f64, f64)], y: f64) -> f64 {
    let ((low, bottom), (high, top)) = (ticks[0], ticks[ticks.len() - 1]);
    low + (bottom - y / BOX) / (bottom - top) * (high - low)
}

/// Points of a path, and where it begins anew.
fn points(path: &str) -> Vec<(bool, f64, f64)> {
    let spaced = path.replace('M', "|M ").replace('L', "|L ");
    let steps = spaced.split('|').filter(|step| !step.is_empty());
    steps
        .map(|step| {
            let words: Vec<&str> = step.split(' ').collect();
            (words[0] == "M", words[1].parse().unwrap(), words[2].parse().unwrap())
        })
        .collect()
}

#[test]
fn every_point_lies_where_both_axes_say() {
    let (few, many) = ([0.0, 1.0, 7.0, 3.0, 13.0, 2.0], [0.0, 310.0, 20.0, 75.5, 2.0, 900.0]);
    let plot = lines(
        vec![
            series("watching", Side::Left, few.map(Some)),
            series("gap", Side::Right, many.map(Some)),
            series("joins", Side::Columns, many.map(Some)),
        ],
        &[],
    );
    let svg = plot.svg();
    check(&svg).unwrap();
    let (left, right) = (ticks(&svg, "y"), ticks(&svg, "y2"));
    let path = |look: u32| all_between(&svg, &format!("<path class=\"line s{look}\" d=\""), "\"")[0];
    let paths = [path(0), path(1)];
    for (path, axis, values) in [(paths[0], &left, few), (paths[1], &right, many)] {
        let points = points(path);
        assert_eq!(points.len(), ENDS.len());
        for ((point, end), value) in points.iter().zip(ENDS).zip(values) {
            assert!((read(axis, point.2) - value).abs() < 0.02, "{value} is drawn at {point:?}: {svg}");
            assert!((point.1 / BOX * 10.0 - end).abs() < 0.01, "{end} is drawn at {point:?}: {svg}");
        }
    }
    // A column begins where the one before ends; of a 0 there is nothing to see.
    let columns = all_between(&svg, "<g class=\"column s2\">", "</g>")[0];
    let tops: Vec<f64> = all_between(columns, " y=\"", "\"").iter().map(|y| y.parse().unwrap()).collect();
    assert_eq!(tops.len(), 5, "{columns}");
    for (top, value) in tops.iter().zip(&many[1..]) {
        assert!((read(&right, *top) - value).abs() < 0.02, "{value} is drawn at {top}: {columns}");
    }
    assert!(
        columns.ends_with("<rect x=\"500.00\" y=\"100.00\" width=\"500.00\" height=\"900.00\"/>"),
        "{columns}"
    );
}

#[test]
fn where_there_is_no_value_there_is_no_line() {
    let values = [Some(1.0), None, Some(f64::NAN), Some(3.0), Some(4.0), Some(f64::INFINITY)];
    let plot = lines(vec![series("watching", Side::Left, values)], &[]);
    let svg = plot.svg();
    check(&svg).unwrap();
    let points = points(all_between(&svg, "<path class=\"line s0\" d=\"", "\"")[0]);
    let begins: Vec<bool> = points.iter().map(|(begins, ..)| *begins).collect();
    assert_eq!(begins, [true, false], "the fourth and the fifth: {svg}");
    // The first stands alone.
    assert!(svg.contains("<path class=\"dot s0\" d=\"M100.00 750.00h0\"/>"), "{svg}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    assert!(plot.has_values());
    assert!(!lines(vec![series("watching", Side::Left, [None; 6])], &[]).has_values());
}

#[test]
fn marks_stand_at_their_time_and_carry_their_words_as_text() {
    let mark = |at: f64, words: &str| Mark { at, short: "1".into(), words: words.into(), bad: false };
    let marks = [mark(2.5, "<b>kill\n&\"'"), mark(f64::NAN, "never"), mark(11.0, "later")];
    let svg = lines(vec![series("watching", Side::Left, [Some(1.0); 6])], &marks).svg();
    check(&svg).unwrap();
    assert_eq!(svg.matches("<line class=\"mark\"").count(), 1, "{svg}");
    assert!(svg.contains("<line class=\"mark\" x1=\"25.000%\" x2=\"25.000%\""), "{svg}");
    assert!(svg.contains("&lt;b&gt;kill &amp;&quot;&#39;"), "{svg}");
    // Those that are close together have no room for words, and the second stands a row lower.
    let marks = [mark(2.5, "one"), mark(2.6, "two")];
    let svg = lines(vec![series("watching", Side::Left, [Some(1.0); 6])], &marks).svg();
    assert!(!svg.contains("class=\"what\""), "{svg}");
    assert_eq!(svg.matches("dy=\"1.1em\"").count(), 1, "{svg}");
}

#[test]
fn names_beside_lines_do_not_cover_each_other() {
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let same = names.map(|name| series(name, Side::Left, [Some(5.0); 6])).to_vec();
    let svg = Lines { right: None, ..lines(same, &[]) }.svg();
    check(&svg).unwrap();
    let mut places = Vec::new();
    for text in all_between(&svg, "<text class=\"name", "</text>") {
        places.push(all_between(text, " y=\"", "%\"")[0].parse::<f64>().unwrap() / 100.0 * HEIGHT);
    }
    places.sort_by(f64::total_cmp);
    assert_eq!(places.len(), names.len());
    assert!(places.windows(2).all(|pair| pair[1] - pair[0] > NAME - 0.01), "{places:?}");
    assert!(places[0] >= -0.01 && places[6] <= HEIGHT + 0.01, "{places:?}");
}

#[test]
fn pointing_at_a_second_tells_its_values() {
    let plot = lines(
        vec![
            series("watching", Side::Left, [Some(4.0); 6]),
            series("gap", Side::Right, [None, None, None, None, None, Some(1_400.0)]),
        ],
        &[],
    );
    let svg = plot.svg();
    let hints = all_between(&svg, "<rect class=\"hint\"", "</title>");
    assert_eq!(hints.len(), ENDS.len());
    assert!(hints[5].contains("x=\"50.000%\"") && hints[5].contains("width=\"50.000%\""), "{}", hints[5]);
    assert!(hints[5].ends_with("5 s to 10 s; watching: 4; gap: 1.40 s"), "{}", hints[5]);
    assert!(hints[0].ends_with("0 s to 1 s; watching: 4"), "{}", hints[0]);
    check(&plot.legend()).unwrap();
    assert!(plot.legend().contains("gap (right)"), "{}", plot.legend());
}
