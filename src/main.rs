//! The `freshet` command: assembly of a node, a coordinator or both.
fn main() {}
