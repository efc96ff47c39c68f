//! What docs/api.md promises of problem details: every one that any test is answered is held against its table.

const API: &str = include_str!("../../docs/api.md");

/// A row of the table of problems.
pub struct Row {
    statuses: Vec<u16>,
    /// The reasons that it names; none where a problem has none.
    pub reasons: Vec<String>,
    /// Headers that such an answer has, and what their values begin with.
    headers: Vec<(String, String)>,
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
        let headers = quoted(cell(3))
            .into_iter()
            .filter(|word| word.starts_with(char::is_uppercase) && !word.contains('<'));
        let headers = headers.map(|header| {
            let (name, value) = header.split_once(": ").unwrap_or((&header, ""));
            (name.to_owned(), value.to_owned())
        });
        Row { statuses, reasons, headers: headers.collect(), either: cell(3).contains(" or ") }
    };
    table.lines().skip(2).take_while(|line| line.starts_with('|')).map(read).collect()
}

impl Row {
    fn is_kept(&self, header: &dyn Fn(&str) -> Option<String>) -> bool {
        let has = |(name, value): &(String, String)| header(name).is_some_and(|is| is.starts_with(value));
        if self.either { self.headers.iter().any(has) } else { self.headers.iter().all(has) }
    }
}

/// Fails unless the table has this problem, and the answer the headers that it promises.
#[allow(dead_code, reason = "one of those who use it only reads the table")]
pub fn check(status: u16, body: &serde_json::Value, header: impl Fn(&str) -> Option<String>) {
    let reason = body["reason"].as_str();
    let is_it = |row: &&Row| {
        let named =
            reason.map_or(row.reasons.is_empty(), |reason| row.reasons.iter().any(|known| known == reason));
        named && row.statuses.contains(&status)
    };
    let rows = rows();
    let found: Vec<&Row> = rows.iter().filter(is_it).collect();
    assert!(!found.is_empty(), "docs/api.md has no such problem: {status} {body}");
    let kept = found.iter().any(|row| row.is_kept(&header));
    let promised: Vec<_> = found.iter().map(|row| &row.headers).collect();
    assert!(kept, "docs/api.md promises {promised:?}: {status} {body}");
}
