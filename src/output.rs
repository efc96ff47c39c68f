//! Standard output: results alone; everything else goes to the log.

use std::io::Write;

/// Writes a line to standard output, at once.
pub fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
