//! The rules themselves. Each returns what breaks it, as lines that name the file and say what to do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::house::{Edge, House, Target};
use crate::module::parse;
use crate::table::{FORBIDDEN, FORBIDDEN_WORDS, LONGEST_FILE, Package, UNSAFE_HOME};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Machine,
    Shell,
}

/// Kind of a module by the longest entry that is a prefix of its path. A crate's root is assembly, unless the
/// crate is all machine.
fn layer(package: &Package, module: &[String]) -> Option<Layer> {
    if module.is_empty() {
        return Some(if package.shells.is_empty() { Layer::Machine } else { Layer::Shell });
    }
    let path = module.join("::");
    let fits = |entry: &&&str| path == **entry || path.starts_with(&format!("{entry}::"));
    let longest = |list: &[&str]| list.iter().filter(fits).map(|entry| entry.len()).max();
    match (longest(package.machines), longest(package.shells)) {
        (None, None) => None,
        (machine, shell) if machine > shell => Some(Layer::Machine),
        _ => Some(Layer::Shell),
    }
}

/// Packages that the table does not know, and entries of it that name nothing.
pub fn unlisted(house: &House, table: &[Package]) -> Vec<String> {
    let mut broken = Vec::new();
    for unit in &house.units {
        for (path, module) in &unit.modules {
            if path.len() == 1 && layer(unit.package, path).is_none() {
                broken.push(format!(
                    "{}: module `{}` of {} is neither machine nor shell; say which in tests/layering/table.rs",
                    module.file,
                    path.join("::"),
                    unit.package.name
                ));
            }
        }
    }
    for package in table {
        let exists = |entry: &str| {
            let path: Vec<String> = entry.split("::").map(str::to_owned).collect();
            house.units.iter().any(|u| u.package.name == package.name && u.modules.contains_key(&path))
        };
        for entry in package.machines.iter().chain(package.shells).filter(|entry| !exists(entry)) {
            broken.push(format!(
                "tests/layering/table.rs: {} has no module `{entry}`; remove it",
                package.name
            ));
        }
    }
    for member in members(house.files.get("Cargo.toml").map_or("", String::as_str)) {
        if !table.iter().any(|package| package.dir == member) {
            broken.push(format!("Cargo.toml: `{member}` is not in tests/layering/table.rs"));
        }
    }
    broken.extend(house.loose.iter().cloned());
    broken
}

/// The workspace's `members`, on however many lines.
fn members(manifest: &str) -> Vec<String> {
    let Some((_, after)) = manifest.split_once("\nmembers") else { return Vec::new() };
    let list = after.split(']').next().unwrap_or_default();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Dependencies in manifests and paths in sources that go against the table.
pub fn direction(house: &House, table: &[Package]) -> Vec<String> {
    let mut broken = Vec::new();
    for package in table {
        let manifest = if package.dir.is_empty() {
            "Cargo.toml".to_owned()
        } else {
            format!("{}/Cargo.toml", package.dir)
        };
        let text = house.files.get(&manifest).map_or("", String::as_str);
        for (line, name) in workspace_dependencies(text) {
            if name != package.name && !package.may_import.contains(&name.as_str()) {
                broken.push(format!("{manifest}:{line}: {} may not depend on {name}", package.name));
            }
        }
    }
    for (index, unit) in house.units.iter().enumerate() {
        for (path, module) in &unit.modules {
            for (target, written, line, _) in house.references(index, path) {
                let Target::Inside { unit: to, .. } = target else { continue };
                let to = house.units[to].package.name;
                if to != unit.package.name && !unit.package.may_import.contains(&to) {
                    let written = written.join("::");
                    broken.push(format!(
                        "{}:{line}: `{written}`: {} may not import {to}",
                        module.file, unit.package.name
                    ));
                }
            }
        }
    }
    broken
}

/// `freshet-*` names under every dependency table of a manifest, with their lines.
pub fn workspace_dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (index, line) in manifest.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).replace('"', "");
        }
        let is_table = section.ends_with("dependencies") && section != "workspace.dependencies";
        let is_one = section.contains("dependencies.") && !section.starts_with("workspace.");
        if is_table || is_one {
            let words = line.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'));
            found.extend(
                words.filter(|word| word.starts_with("freshet-")).map(|word| (index + 1, word.to_owned())),
            );
        }
    }
    found.dedup();
    found
}

/// Machines that import a shell, of their own crate or of another.
pub fn machines_import_shells(house: &House) -> Vec<String> {
    let layer_of = |(unit, path): &(usize, Vec<String>)| layer(house.units[*unit].package, path);
    let name_of = |(unit, path): &(usize, Vec<String>)| {
        let name = &house.units[*unit].name;
        if path.is_empty() { name.clone() } else { format!("{name}::{}", path.join("::")) }
    };
    let mut told = BTreeSet::new();
    let crossings = house.edges().into_iter().filter(|edge| {
        layer_of(&edge.from) == Some(Layer::Machine)
            && layer_of(&edge.to) == Some(Layer::Shell)
            && told.insert((edge.from.clone(), edge.to.clone()))
    });
    crossings
        .map(|edge| {
            format!(
                "{}: the machine {} imports the shell {}",
                edge.place,
                name_of(&edge.from),
                name_of(&edge.to)
            )
        })
        .collect()
}

/// Clocks, sockets, files, locks, randomness and waiting in machines.
pub fn impure_machines(house: &House) -> Vec<String> {
    let mut broken = Vec::new();
    for (index, unit) in house.units.iter().enumerate() {
        for (path, module) in &unit.modules {
            if layer(unit.package, &module.home) != Some(Layer::Machine) {
                continue;
            }
            for (target, written, line, _) in house.references(index, path) {
                let reason = match target {
                    Target::Outside(full) => forbidden(&full),
                    // A clock of our own is a clock.
                    Target::Inside { .. } => {
                        written.ends_with(&["now".to_owned()]).then_some("pass `now` in")
                    }
                };
                if let Some(reason) = reason {
                    broken.push(format!("{}:{line}: `{}`: {reason}", module.file, written.join("::")));
                }
            }
            for (word, line) in &module.scope.words {
                if let Some((_, reason)) = FORBIDDEN_WORDS.iter().find(|(name, _)| name == word) {
                    broken.push(format!("{}:{line}: `{word}`: {reason}", module.file));
                }
            }
        }
    }
    broken
}

fn forbidden(path: &[String]) -> Option<&'static str> {
    let full = path.join("::");
    let hit = |entry: &str| full == entry || full.starts_with(&format!("{entry}::"));
    FORBIDDEN.iter().find(|(entry, _)| hit(entry)).map(|(_, reason)| *reason)
}

/// Circles of modules within a crate, one per knot, as short as it can be told.
pub fn circles(house: &House) -> Vec<String> {
    let mut graph: BTreeMap<(usize, Vec<String>), Vec<Edge>> = BTreeMap::new();
    for edge in house.edges().into_iter().filter(|edge| edge.from.0 == edge.to.0) {
        graph.entry(edge.from.clone()).or_default().push(edge);
    }
    let mut told = BTreeSet::new();
    let mut broken = Vec::new();
    for start in graph.keys() {
        if told.contains(start) {
            continue;
        }
        if let Some(circle) = shortest_circle(&graph, start) {
            let steps: Vec<String> = circle
                .iter()
                .map(|edge| format!("\n    {} names `{}`", edge.place, module_name(&edge.to.1)))
                .collect();
            told.extend(circle.iter().map(|edge| edge.from.clone()));
            broken.push(format!(
                "{}: import circle at `{}`; move what both sides need to a module below them{}",
                house.units[start.0].package.name,
                module_name(&start.1),
                steps.concat()
            ));
        }
    }
    broken
}

fn module_name(path: &[String]) -> String {
    if path.is_empty() { "crate".to_owned() } else { path.join("::") }
}

fn shortest_circle(
    graph: &BTreeMap<(usize, Vec<String>), Vec<Edge>>,
    start: &(usize, Vec<String>),
) -> Option<Vec<Edge>> {
    let mut came_by: BTreeMap<&(usize, Vec<String>), &Edge> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for edge in graph.get(at).into_iter().flatten() {
            if edge.to == *start {
                let mut circle = vec![edge.clone()];
                let mut back = at;
                while back != start {
                    let edge = came_by.get(back)?;
                    circle.push((*edge).clone());
                    back = &edge.from;
                }
                circle.reverse();
                return Some(circle);
            }
            if !came_by.contains_key(&edge.to) {
                came_by.insert(&edge.to, edge);
                queue.push_back(&edge.to);
            }
        }
    }
    None
}

/// `unsafe` outside its one home, in the crates' sources.
pub fn stray_unsafe(house: &House) -> Vec<String> {
    let sources = house.files.iter().filter(|(file, _)| is_source(file) && !file.starts_with(UNSAFE_HOME));
    sources
        .flat_map(|(file, text)| {
            let scopes = parse(text);
            let words: Vec<_> = scopes.into_iter().flat_map(|scope| scope.words).collect();
            words
                .into_iter()
                .filter(|(word, _)| word == "unsafe")
                .map(move |(_, line)| format!("{file}:{line}: `unsafe` belongs to {UNSAFE_HOME} alone"))
        })
        .collect()
}

fn is_source(file: &str) -> bool {
    file.ends_with(".rs") && (file.starts_with("src/") || file.contains("/src/"))
}

/// Files that nobody holds in the head.
pub fn long_files(house: &House) -> Vec<String> {
    let rust = house.files.iter().filter(|(file, _)| file.ends_with(".rs"));
    rust.filter(|(_, text)| text.lines().count() > LONGEST_FILE)
        .map(|(file, text)| {
            format!("{file}: {} lines, at most {LONGEST_FILE}; find the seam", text.lines().count())
        })
        .collect()
}

/// Examples in the documentation of code, which nobody would run: no crate has any, so rustdoc is spared.
pub fn doc_examples(house: &House) -> Vec<String> {
    let is_doc = |line: &&str| line.starts_with("///") || line.starts_with("//!");
    let fence = |line: &str| {
        line.get(3..).map(str::trim).and_then(|text| text.strip_prefix("```")).map(str::to_owned)
    };
    let mut broken = Vec::new();
    for (file, text) in house.files.iter().filter(|(file, _)| file.ends_with(".rs")) {
        let mut open = false;
        for (line, said) in text.lines().map(str::trim).enumerate().filter(|(_, line)| is_doc(line)) {
            let Some(language) = fence(said) else { continue };
            if !open
                && (language.is_empty()
                    || language.starts_with("rust")
                    || language.starts_with("should_panic"))
            {
                broken.push(format!(
                    "{file}:{}: an example that nothing runs: make it a test, or ```text",
                    line + 1
                ));
            }
            open = !open;
        }
    }
    broken
}
