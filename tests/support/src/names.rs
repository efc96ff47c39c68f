//! The rule for names of metrics, asked of what a real process shows at `/metrics`.

use crate::request;

/// No base unit: seconds, bytes and ratios are.
const OTHER_UNITS: [&str; 12] = [
    "microseconds",
    "micros",
    "us",
    "milliseconds",
    "millis",
    "ms",
    "minutes",
    "kilobytes",
    "kb",
    "kbps",
    "megabytes",
    "percent",
];

/// Reads a role's metrics and fails with all that is against the rule.
pub async fn check(url: &str, role: &str) {
    let answer = request("GET", &format!("{url}/metrics"), None, &[], "").await.expect("metrics are shown");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let faults = faults(role, &text);
    assert!(faults.is_empty(), "{url}: {faults:#?}");
}

fn faults(role: &str, text: &str) -> Vec<String> {
    let prefix = format!("freshet_{role}_");
    let helped = |name: &str| {
        text.lines().any(|l| {
            l.strip_prefix("# HELP ")
                .and_then(|l| l.split_once(' '))
                .is_some_and(|(n, help)| n == name && !help.trim().is_empty())
        })
    };
    let mut faults = Vec::new();
    let mut kinds = std::collections::BTreeSet::new();
    for (name, kind) in text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split_once(' ')) {
        kinds.insert(kind);
        let mut must = |holds: bool, what: &str| {
            if !holds {
                faults.push(format!("{kind} {name} {what}"));
            }
        };
        must(name.starts_with(&prefix), "has another prefix");
        must(helped(name), "has no help");
        must((kind == "counter") == name.ends_with("_total"), "ends in _total, or does not, unlike its kind");
        must(kind != "histogram" || name.ends_with("_seconds") || name.ends_with("_bytes"), "has no unit");
        must(!name.split('_').any(|word| OTHER_UNITS.contains(&word)), "is not in base units");
    }
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        if ["room=", "session=", "viewer=", "identity="].iter().any(|label| line.contains(label)) {
            faults.push(format!("{line} has a label without bounds"));
        }
    }
    if !kinds.contains("counter") || !kinds.contains("gauge") {
        faults.push(format!("only {kinds:?} are shown"));
    }
    faults
}
