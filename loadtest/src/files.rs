//! The files of a report.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use freshet_loadtest::report::{RunReport, SCHEMA, csv, html, markdown};

/// Largest report that is read, in bytes.
const READ_MAX: u64 = 64 << 20;

/// What [`write`] writes.
const NAMES: [&str; 4] = ["report.json", "summary.md", "viewers.csv", "report.html"];

/// Makes the folder, and sees that it can be written to. A report of before is taken away.
pub fn prepare(folder: &Path) -> anyhow::Result<&Path> {
    let cannot = || format!("cannot write into {}", folder.display());
    fs::create_dir_all(folder).with_context(cannot)?;
    let probe = folder.join(".freshet-loadtest");
    fs::write(&probe, "").and_then(|()| fs::remove_file(&probe)).with_context(cannot)?;
    // A run that comes to nothing writes none, and must not be taken for the one before.
    for name in NAMES {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(cannot);
            }
            _ => {}
        }
    }
    Ok(folder)
}

/// Writes all four; gives the page's path.
pub fn write(folder: &Path, report: &RunReport) -> anyhow::Result<PathBuf> {
    let page = folder.join("report.html");
    for (path, text) in [
        (folder.join("report.json"), serde_json::to_string_pretty(report)?),
        (folder.join("summary.md"), markdown(report)),
        (folder.join("viewers.csv"), csv(&report.rows)),
        (page.clone(), html(report)),
    ] {
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(page)
}

/// Reads what [`write`] wrote.
pub fn read(path: &Path) -> anyhow::Result<RunReport> {
    let name = path.display();
    let size = fs::metadata(path).with_context(|| format!("cannot read {name}"))?.len();
    if size > READ_MAX {
        bail!("{name} is too large for a report: {size} bytes");
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let schema: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{name} is no JSON"))?;
    let found = schema.get("schema").unwrap_or(&serde_json::Value::Null);
    if *found != SCHEMA {
        bail!("{name} is no report.json of this version: its schema is {found}, and {SCHEMA} is understood");
    }
    serde_json::from_value(schema).with_context(|| format!("{name} is no report.json"))
}
