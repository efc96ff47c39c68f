//! What docs/api.md promises of problem details: every one that any test is answered is held against its table, both ways.
//! A problem has the headers of its row, and no others.

const API: &str = include_str!("../../../docs/api.md");
/// What all answers have, and all problems.
const ALWAYS: [&str; 4] =
    ["access-control-allow-origin", "access-control-expose-headers", "cache-control", "content-type"];
/// What HTTP and proxies write.
const WIRE: [&str; 6] = ["connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"];

/// A row of the table of problems.
pub struct Row {
    statuses: Vec<u16>,
    /// The reasons that it names; none where a problem has none.
    pub reasons: Vec<String>,
    /// Headers that such an answer has, in small letters, and what their values begin with.
    headers: Vec<(String, String)>,
    /// Headers that it has at times: the table leaves their values open.
    at_times: Vec<String>,
    /// One of the headers is enough.
    either: bool,
}

/// What stands between backticks, but for what stands in brackets.
fn quoted(cell: &str) -> Vec<String> {
    let mut depth = 0_i32;
    let outside = cell.chars().filter(|c| {
        depth += i32::from(*c == '(') - i32::from(*c == ')');
        depth == 0
    });
    outside.collect::<String>().split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// All rows.
pub fn rows() -> Vec<Row> {
    let table = API.split("| status | `reason` |").nth(1).expect("the table of problems");
    let read = |line: &str| {
        let cell = |n: usize| line.split('|').nth(n).unwrap_or_default();
        let statuses = cell(1).split(',').map(|status| status.trim().parse().expect("a status")).collect();
        let reasons = quoted(cell(2)).into_iter().filter(|word| !word.contains(':')).collect();
        // What begins with a small letter is a member of the body.
        let named = quoted(cell(3)).into_iter().filter(|word| word.starts_with(char::is_uppercase));
        let named = named.map(|header| {
            let (name, value) = header.split_once(": ").unwrap_or((&header, ""));
            (name.to_ascii_lowercase(), value.to_owned())
        });
        let (open, headers): (Vec<_>, Vec<_>) = named.partition(|(_, value)| value.contains('<'));
        let at_times = open.into_iter().map(|(name, _)| name).collect();
        Row { statuses, reasons, headers, at_times, either: cell(3).contains(" or ") }
    };
    table.lines().skip(2).take_while(|line| line.starts_with('|')).map(read).collect()
}

impl Row {
    /// What is wrong with the headers of a problem by this row.
    fn faults(&self, found: &[(String, String)]) -> Vec<String> {
        let has = |(name, start): &(String, String)| {
            found.iter().any(|(found, value)| found == name && value.starts_with(start.as_str()))
        };
        let missing: Vec<_> = self.headers.iter().filter(|&header| !has(header)).collect();
        let kept = missing.is_empty() || (self.either && missing.len() < self.headers.len());
        let named = |name: &str| {
            let mut rows = self.headers.iter().map(|(known, _)| known).chain(&self.at_times);
            rows.any(|known| known == name) || ALWAYS.contains(&name) || WIRE.contains(&name)
        };
        let strange = found.iter().filter(|(name, _)| !named(name));
        let missing = missing.into_iter().filter(|_| !kept);
        let missing = missing.map(|(name, start)| format!("it lacks {name}: {start}"));
        missing.chain(strange.map(|(name, value)| format!("it has {name}: {value}"))).collect()
    }
}

/// Fails unless the table has this problem, and the answer the headers (in small letters) that it promises and no others.
#[allow(dead_code, reason = "one of those who use it only reads the table")]
pub fn check(status: u16, body: &serde_json::Value, found: &[(String, String)]) {
    let reason = body["reason"].as_str();
    let is_it = |row: &&Row| {
        let named =
            reason.map_or(row.reasons.is_empty(), |reason| row.reasons.iter().any(|known| known == reason));
        named && row.statuses.contains(&status)
    };
    let rows = rows();
    let of: Vec<&Row> = rows.iter().filter(is_it).collect();
    assert!(!of.is_empty(), "docs/api.md has no such problem: {status} {body}");
    let faults: Vec<Vec<String>> = of.iter().map(|row| row.faults(found)).collect();
    let kept = faults.iter().any(Vec::is_empty);
    assert!(kept, "docs/api.md says otherwise of {status} {body}: {faults:?}");
}
