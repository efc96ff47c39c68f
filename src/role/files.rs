//! How many files this process may have open: each connection, media socket and link is one.

use rustix::process::{Resource, getrlimit, setrlimit};

/// With fewer the bounds of the HTTP server are reached by the system's, and clients hear nothing.
const ENOUGH: u64 = 16_384;

/// Takes as many as the system lets it have; many systems give 1,024 to who does not ask.
pub fn take_all() {
    let mut limit = getrlimit(Resource::Nofile);
    let asked = limit.current;
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
        limit.current = asked;
    }
    match limit.current {
        Some(files) if files < ENOUGH => tracing::warn!(
            files,
            "few files may be open, and each connection is one: raise the limit to {ENOUGH} or more (LimitNOFILE of \
             systemd, ulimit -n, --ulimit of a container)"
        ),
        files => tracing::debug!(?files, "limit of open files"),
    }
}
