//! Many publishers and viewers at once.
