use super::*;
use crate::report::well_formed::{all_between, check};

fn rectangles(svg: &str) -> Vec<(f64, f64)> {
    let group = all_between(svg, "<g class=\"column s0\">", "</g>")[0];
    let number = |text: &str, name: &str| all_between(text, name, "\"")[0].parse::<f64>().unwrap();
    all_between(group, "<rect", "/>")
        .into_iter()
        .map(|text| (number(text, " x=\""), number(text, " height=\"")))
        .collect()
}

fn svg(upper_ms: &[f64], counts: &[u64]) -> Option<String> {
    let bars = Bars { upper_ms: upper_ms.to_vec(), counts: counts.to_vec() };
    Spread { about: "spread", bars: &bars, marks: &[] }.svg()
}

/// Per cent of a height of the view box, by the highest number beside the axis.
fn percent(svg: &str, height: f64) -> f64 {
    let ticks = all_between(svg, "<text class=\"y\"", "</text>");
    let top = ticks.last().unwrap().split_once('>').unwrap().1;
    top.parse::<f64>().unwrap() * height / BOX
}

#[test]
fn bars_hold_all_values_at_their_place() {
    let svg = svg(&[10.0, 20.0, 30.0, 40.0], &[0, 25, 0, 75]).unwrap();
    check(&svg).unwrap();
    assert!(!svg.contains("log scale"), "{svg}");
    let found = rectangles(&svg);
    let sum: f64 = found.iter().map(|(_, height)| percent(&svg, *height)).sum();
    assert!((sum - 100.0).abs() < 0.1, "{sum}: {svg}");
    // The axis runs from 10 to 40 ms.
    let within = |from: f64, to: f64| -> f64 {
        let those = found.iter().filter(|(x, _)| *x > from - 0.1 && *x < to - 0.1);
        those.map(|(_, height)| percent(&svg, *height)).sum()
    };
    assert!((within(0.0, 333.3) - 25.0).abs() < 0.1, "{svg}");
    assert!((within(666.7, 1_000.0) - 75.0).abs() < 0.1, "{svg}");
    assert!(within(333.3, 666.7).abs() < 0.1, "{svg}");
}

#[test]
fn values_far_apart_have_an_axis_of_factors() {
    let svg = svg(&[1.0, 2.0, 1_000.0, 2_000.0], &[0, 99, 0, 1]).unwrap();
    check(&svg).unwrap();
    assert!(svg.contains("ms, log scale"), "{svg}");
    let found = rectangles(&svg);
    let sum: f64 = found.iter().map(|(_, height)| percent(&svg, *height)).sum();
    assert!((sum - 100.0).abs() < 0.1, "{sum}: {svg}");
    let (first, last) = (found[0].0, found[found.len() - 1].0);
    assert!(first < 1.0 && last > 900.0, "{first} {last}");
    assert_eq!(all_between(&svg, "<rect class=\"hint\"", "</title>").len(), found.len());
}

#[test]
fn what_makes_no_sense_is_left_out() {
    assert_eq!(svg(&[], &[]), None);
    assert_eq!(svg(&[1.0, 2.0], &[0, 0]), None);
    assert_eq!(svg(&[f64::NAN, f64::INFINITY, -1.0], &[1, 1, 1]), None);
    let falling = svg(&[5.0, 3.0, f64::NAN, 6.0], &[2, 7, 7, 2]).unwrap();
    assert!(
        (rectangles(&falling).iter().map(|(_, height)| percent(&falling, *height)).sum::<f64>() - 100.0)
            .abs()
            < 0.1
    );
    for upper in [vec![1e-12], vec![f64::MAX], vec![1e300, f64::MAX], vec![1e-300, f64::MAX]] {
        let svg = svg(&upper, &vec![u64::MAX; upper.len()]).unwrap();
        check(&svg).unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.len() < 60_000, "{}", svg.len());
    }
    let many: Vec<f64> = (1..5_000u32).map(f64::from).collect();
    let svg = svg(&many, &vec![3; many.len()]).unwrap();
    assert!(rectangles(&svg).len() <= 48 && svg.len() < 60_000, "{}", svg.len());
}
