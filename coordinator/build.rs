//! The pages are embedded from `web/dist`. Without a build of them there is one page that says how to make them.

use std::path::Path;
use std::{fs, io};

const PLACEHOLDER: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Freshet</title>\n\
<p>The pages are not built: run <code>make web</code> and build again. The API works without them.</p>\n</html>\n";

fn main() -> io::Result<()> {
    let dist = Path::new("../web/dist");
    for page in ["index.html", "watch/index.html"].map(|page| dist.join(page)) {
        if !page.exists() {
            fs::create_dir_all(page.parent().unwrap_or(dist))?;
            fs::write(&page, PLACEHOLDER)?;
        }
    }
    // New files appear only by a new build of the pages, which writes the pages anew.
    for path in ["build.rs", "../web/dist", "../web/dist/index.html", "../web/dist/watch/index.html"] {
        println!("cargo::rerun-if-changed={path}");
    }
    Ok(())
}
