//! Standard output: results alone; everything else goes to the log.

use std::io::{ErrorKind, Write};

/// Writes lines to standard output, at once. A reader that has gone, as behind `| head -1`, wants no more: no error.
pub fn say(lines: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{lines}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        said => said,
    }
}
