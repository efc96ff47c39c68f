//! The workspace as a graph of modules: files read, names resolved through `use` and re-exports.

use std::collections::{BTreeMap, BTreeSet};

use crate::module::{Import, Mention, Scope, parse};
use crate::table::Package;

type Path = Vec<String>;

/// A module of a crate: a file's, or an inline one, which belongs to its file.
#[derive(Debug, Default)]
pub struct Module {
    pub file: String,
    /// The module of the file that it stands in.
    pub home: Path,
    pub scope: Scope,
}

/// A library or a binary.
pub struct Unit {
    pub package: &'static Package,
    /// Its name in paths: `freshet_node`; a binary has one that nobody can write.
    pub name: String,
    pub modules: BTreeMap<Path, Module>,
}

/// What a path turned out to name.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    Inside { unit: usize, module: Path },
    Outside(Path),
}

/// One file's module naming another.
#[derive(Debug, Clone)]
pub struct Edge {
    pub from: (usize, Path),
    pub to: (usize, Path),
    pub place: String,
}

pub struct House {
    pub files: BTreeMap<String, String>,
    pub units: Vec<Unit>,
    /// Files that no `mod` leads to, and `mod` lines that lead to no file.
    pub loose: Vec<String>,
}

impl House {
    /// Builds the graph from file names (relative, with `/`) and their text.
    pub fn new(files: BTreeMap<String, String>, table: &'static [Package]) -> Self {
        let mut house = House { files, units: Vec::new(), loose: Vec::new() };
        for package in table {
            house.read_package(package);
        }
        house
    }

    fn read_package(&mut self, package: &'static Package) {
        let src = if package.dir.is_empty() { "src/".to_owned() } else { format!("{}/src/", package.dir) };
        let lib_name = package.name.replace('-', "_");
        let mut roots = vec![
            (format!("{src}lib.rs"), lib_name.clone()),
            (format!("{src}main.rs"), format!("{lib_name}!main")),
        ];
        for file in self.files.keys().filter(|f| f.starts_with(&format!("{src}bin/")) && f.ends_with(".rs")) {
            roots.push((file.clone(), format!("{lib_name}!{file}")));
        }
        let mut seen = BTreeSet::new();
        for (root, name) in roots {
            if self.files.contains_key(&root) {
                let mut unit = Unit { package, name, modules: BTreeMap::new() };
                self.read_file(&mut unit, &root, &src, Path::new(), &mut seen);
                self.units.push(unit);
            }
        }
        for file in self.files.keys().filter(|f| f.starts_with(&src) && f.ends_with(".rs")) {
            if !seen.contains(file) && !file.ends_with("tests.rs") {
                self.loose.push(format!("{file}: no `mod` leads to this file"));
            }
        }
    }

    fn read_file(
        &mut self,
        unit: &mut Unit,
        file: &str,
        folder: &str,
        home: Path,
        seen: &mut BTreeSet<String>,
    ) {
        seen.insert(file.to_owned());
        let text = self.files.get(file).cloned().unwrap_or_default();
        for scope in parse(&text) {
            let mut path = home.clone();
            path.extend(scope.inside.iter().cloned());
            let base =
                format!("{folder}{}", scope.inside.iter().map(|part| format!("{part}/")).collect::<String>());
            for (child, is_test) in children(&scope) {
                let candidates = [format!("{base}{child}.rs"), format!("{base}{child}/mod.rs")];
                // A test may stand in a file that a `#[path]` names.
                let Some(found) = candidates.iter().find(|c| self.files.contains_key(*c)).cloned() else {
                    if !is_test {
                        self.loose.push(format!("{file}: `mod {child};` leads to no file"));
                    }
                    continue;
                };
                let below = format!("{base}{child}/");
                if is_test {
                    self.read_test_file(&found, &below, seen);
                } else {
                    let mut child_path = path.clone();
                    child_path.push(child);
                    self.read_file(unit, &found, &below, child_path, seen);
                }
            }
            unit.modules.insert(path, Module { file: file.to_owned(), home: home.clone(), scope });
        }
    }

    /// A test's files count as reached, and no more.
    fn read_test_file(&self, file: &str, folder: &str, seen: &mut BTreeSet<String>) {
        seen.insert(file.to_owned());
        for scope in parse(self.files.get(file).map_or("", String::as_str)) {
            for (child, _) in children(&scope) {
                for found in [format!("{folder}{child}.rs"), format!("{folder}{child}/mod.rs")] {
                    if self.files.contains_key(&found) {
                        self.read_test_file(&found, &format!("{folder}{child}/"), seen);
                    }
                }
            }
        }
    }

    /// Every import and path of a module with what it names.
    pub fn references(&self, unit: usize, path: &Path) -> Vec<(Target, Path, usize, bool)> {
        let module = &self.units[unit].modules[path];
        let imports =
            module.scope.imports.iter().map(|Import { path, line, public, .. }| (path, *line, *public));
        let mentions = module.scope.mentions.iter().map(|Mention { path, line }| (path, *line, false));
        imports
            .chain(mentions)
            .map(|(written, line, public)| {
                (self.resolve(unit, path, written, 0), written.clone(), line, public)
            })
            .collect()
    }

    /// All edges between files' modules. The `mod x;` of a parent is none, nor is its `pub use x::Y`.
    pub fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        for (index, unit) in self.units.iter().enumerate() {
            for (path, module) in &unit.modules {
                for (target, _, line, public) in self.references(index, path) {
                    let Target::Inside { unit: to_unit, module: to } = target else { continue };
                    let to_home = self.units[to_unit].modules[&to].home.clone();
                    let re_export = public && to_unit == index && to_home.starts_with(&module.home);
                    if re_export || (to_unit == index && to_home == module.home) {
                        continue;
                    }
                    edges.push(Edge {
                        from: (index, module.home.clone()),
                        to: (to_unit, to_home),
                        place: format!("{}:{line}", module.file),
                    });
                }
            }
        }
        edges
    }

    /// What `written` names when it stands in `module` of `unit`.
    pub fn resolve(&self, unit: usize, module: &Path, written: &[String], depth: usize) -> Target {
        let outside = || Target::Outside(written.to_vec());
        let Some(first) = written.first() else { return outside() };
        if depth > 16 {
            return outside();
        }
        let rest = &written[1..];
        match first.as_str() {
            "crate" => return self.walk(unit, Path::new(), rest, depth),
            "self" => return self.walk(unit, module.clone(), rest, depth),
            "super" => {
                let mut parent = module.clone();
                parent.pop();
                return match rest.first().map(String::as_str) {
                    Some("super") => self.resolve(unit, &parent, rest, depth + 1),
                    _ => self.walk(unit, parent, rest, depth),
                };
            }
            _ => {}
        }
        let Some(here) = self.units[unit].modules.get(module) else { return outside() };
        if self.has_module(unit, module, first) {
            return self.walk(unit, module.clone(), written, depth);
        }
        let own_name = |import: &&Import| import.alias == *first && import.path.as_slice() != [first.clone()];
        if let Some(import) = here.scope.imports.iter().find(own_name) {
            let full: Path = import.path.iter().chain(rest).cloned().collect();
            return self.resolve(unit, module, &full, depth + 1);
        }
        if let Some(other) = self.units.iter().position(|u| u.name == *first) {
            return self.walk(other, Path::new(), rest, depth);
        }
        self.through_globs(unit, module, written, depth).unwrap_or_else(outside)
    }

    fn has_module(&self, unit: usize, module: &Path, child: &str) -> bool {
        let mut path = module.clone();
        path.push(child.to_owned());
        self.units[unit].modules.contains_key(&path)
    }

    /// Follows `rest` down from `module`, through re-exports.
    fn walk(&self, unit: usize, mut module: Path, rest: &[String], depth: usize) -> Target {
        for (done, name) in rest.iter().enumerate() {
            if self.has_module(unit, &module, name) {
                module.push(name.clone());
                continue;
            }
            let Some(here) = self.units[unit].modules.get(&module) else { break };
            if here.scope.items.contains(name) {
                break;
            }
            if let Some(import) = here.scope.imports.iter().find(|i| i.alias == *name) {
                let full: Path = import.path.iter().chain(&rest[done + 1..]).cloned().collect();
                return self.resolve(unit, &module, &full, depth + 1);
            }
            return self
                .through_globs(unit, &module, &rest[done..], depth)
                .unwrap_or(Target::Inside { unit, module });
        }
        Target::Inside { unit, module }
    }

    /// A name that only a `use x::*` can have brought.
    fn through_globs(&self, unit: usize, module: &Path, written: &[String], depth: usize) -> Option<Target> {
        let name = written.first()?;
        let here = self.units[unit].modules.get(module)?;
        for import in here.scope.imports.iter().filter(|i| i.alias == "*") {
            if depth > 8 {
                return None;
            }
            let Target::Inside { unit: to, module: from } =
                self.resolve(unit, module, &import.path, depth + 1)
            else {
                continue;
            };
            let source = &self.units[to].modules[&from].scope;
            let known = source.items.contains(name)
                || source.imports.iter().any(|i| i.alias == *name)
                || self.has_module(to, &from, name);
            if known {
                return Some(self.walk(to, from, written, depth + 1));
            }
        }
        None
    }
}

fn children(scope: &Scope) -> Vec<(String, bool)> {
    let real = scope.children.iter().map(|name| (name.clone(), false));
    real.chain(scope.test_children.iter().map(|name| (name.clone(), true))).collect()
}
