//! What docs/api.md promises of answers that succeed: every one that any test gets is held against its table, both ways.
//! An answer has the headers of its row, and no others.

const API: &str = include_str!("../../../docs/api.md");
/// The path below which the tests' proxies serve.
const PREFIX: &str = "/cast";
/// What all answers have, and what HTTP and proxies write.
const ALWAYS: [&str; 2] = ["access-control-allow-origin", "access-control-expose-headers"];
const WIRE: [&str; 6] = ["connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"];
/// What nginx takes for itself.
const TAKEN: &str = "x-accel-buffering";

/// A row of the table of answers.
pub struct Row {
    pub methods: Vec<String>,
    /// Patterns of paths.
    pub paths: Vec<String>,
    pub statuses: Vec<u16>,
    /// Headers in small letters, and what their values begin with.
    pub headers: Vec<(String, String)>,
    /// Headers that it has at times.
    pub at_times: Vec<(String, String)>,
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

fn headers(cell: &str) -> Vec<(String, String)> {
    let header = |text: String| {
        let (name, value) = text.split_once(": ").unwrap_or((&text, ""));
        (name.to_ascii_lowercase(), value.to_owned())
    };
    quoted(cell).map(header).collect()
}

/// All rows.
pub fn rows() -> Vec<Row> {
    let table =
        API.split("| method | path | status | headers | at times |").nth(1).expect("the table of answers");
    let read = |line: &str| {
        let cell = |n: usize| line.split('|').nth(n).unwrap_or_default();
        Row {
            methods: quoted(cell(1)).collect(),
            paths: quoted(cell(2)).collect(),
            statuses: cell(3).split(',').map(|status| status.trim().parse().expect("a status")).collect(),
            headers: headers(cell(4)),
            at_times: headers(cell(5)),
        }
    };
    table.lines().skip(2).take_while(|line| line.starts_with('|')).map(read).collect()
}

/// Whether a path is one of a pattern: a name between braces is anything but a slash.
fn fits(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut found) = (pattern.split('/'), path.split('/'));
    pattern == "*"
        || loop {
            match (wanted.next(), found.next()) {
                (None, None) => break true,
                (Some(name), Some(text)) if name.starts_with('{') && !text.is_empty() => {}
                (Some(name), Some(text)) if name == text => {}
                _ => break false,
            }
        }
}

impl Row {
    fn is_of(&self, method: &str, path: &str, status: u16) -> bool {
        let known = |names: &[String]| names.iter().any(|name| name == method);
        self.statuses.contains(&status)
            && known(&self.methods)
            && self.paths.iter().any(|pattern| fits(pattern, path))
    }

    /// What is wrong with an answer by this row.
    fn faults(&self, found: &[(String, String)]) -> Vec<String> {
        let proxied = found.iter().any(|(name, _)| name == "server");
        let has = |name: &str, start: &str| {
            found.iter().any(|(found, value)| found == name && value.starts_with(start))
        };
        let always = ALWAYS.iter().map(|name| ((*name).to_owned(), String::new()));
        let missing = self.headers.iter().cloned().chain(always).filter(|(name, start)| !has(name, start));
        let missing = missing.filter(|(name, _)| !(proxied && name == TAKEN));
        let named = |name: &str| {
            let rows = self.headers.iter().chain(&self.at_times).any(|(known, _)| known == name);
            rows || ALWAYS.contains(&name) || WIRE.contains(&name)
        };
        let strange = found.iter().filter(|(name, _)| !named(name));
        let missing = missing.map(|(name, start)| format!("it lacks {name}: {start}"));
        missing.chain(strange.map(|(name, value)| format!("it has {name}: {value}"))).collect()
    }
}

/// Fails unless the table has an answer of this kind, with these headers (in small letters) and no others. What is refused is
/// left to the table of problems.
#[allow(dead_code, reason = "one of those who use it only reads the table")]
pub fn check(method: &str, path: &str, status: u16, found: &[(String, String)]) {
    if !(200..400).contains(&status) {
        return;
    }
    let path = path.split('?').next().unwrap_or_default();
    let path = path.strip_prefix(PREFIX).filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let rows = rows();
    let of: Vec<&Row> = rows.iter().filter(|row| row.is_of(method, path, status)).collect();
    assert!(!of.is_empty(), "docs/api.md has no such answer: {method} {path}: {status}");
    let faults: Vec<Vec<String>> = of.iter().map(|row| row.faults(found)).collect();
    let kept = faults.iter().any(Vec::is_empty);
    assert!(kept, "{method} {path}: {status} is not what docs/api.md says: {faults:?}");
}
