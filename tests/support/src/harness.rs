//! The built load harness.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The harness beside the server. Cargo builds it with the workspace, but not for one test alone.
pub fn harness() -> PathBuf {
    let program = crate::program().with_file_name("freshet-loadtest");
    let build = "run `cargo test --workspace` or `cargo build -p freshet-loadtest` first";
    let built = program.metadata().and_then(|of| of.modified());
    let built = built.unwrap_or_else(|error| panic!("{}: {error}: {build}", program.display()));
    let source = newest(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../loadtest/src"));
    assert!(source <= built, "{} is older than its source: {build}", program.display());
    program
}

fn newest(folder: &Path) -> SystemTime {
    let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let changed = |path: PathBuf| match path.is_dir() {
        true => newest(&path),
        false => path.metadata().unwrap().modified().unwrap(),
    };
    entries.map(changed).max().unwrap_or(SystemTime::UNIX_EPOCH)
}
