//! The shape of the whole workspace, read from its source: no circle of files inside a crate, no arrow between crates
//! that the design does not draw, no `unwrap` outside of tests, no long function, no long file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which crates of the workspace each may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("backends", &["core"]),
    ("models", &["core"]),
    ("losses", &["core"]),
    ("metrics", &["core"]),
    ("data", &["core", "backends", "models", "losses", "metrics"]),
    ("train", &["core", "backends", "models", "losses", "metrics", "data"]),
    ("evaluate", &["core", "backends", "models", "losses", "metrics", "data"]),
    ("cli", &["core", "backends", "models", "losses", "metrics", "data", "train", "evaluate"]),
    ("c", &["core", "backends", "metrics", "data", "train", "evaluate"]),
    ("python", &["core", "backends", "models", "losses", "metrics", "data", "train", "evaluate", "cli"]),
];

/// Files that import each other by nature: a tensor holds what its gradient is made of, tensors; the derivative in a
/// row of the opcode table is an expression, whose steps are opcodes.
const KNOTS: &[(&str, &[&str])] =
    &[("core", &["tensor", "grad", "saved", "ops"]), ("core", &["opcode", "program", "program/expr"])];

/// The longest function and the longest file, in lines.
const LONGEST_FUNCTION: usize = 60;
const LONGEST_FILE: usize = 400;
/// What a function gives that is a list, and grows with it.
const LIST: &str = "-> Vec<Theorem<B>>";

/// A source file of a crate, without its tests.
struct File {
    path: PathBuf,
    /// The path of the module, from the crate's root: `["cpu", "conv"]`.
    module: Vec<String>,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The crates that are there.
fn crates() -> impl Iterator<Item = &'static str> {
    ARROWS.iter().map(|(name, _)| *name).filter(|name| root().join(name).join("src").is_dir())
}

fn files(name: &str) -> Vec<File> {
    let source = root().join(name).join("src");
    let mut files = Vec::new();
    let mut folders = vec![source.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the source") {
            let path = entry.expect("an entry of the folder").path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && path.file_stem().is_some_and(|s| s != "tests")
            {
                let text = std::fs::read_to_string(&path).expect("a source file");
                files.push(File { module: module(&source, &path), text: without_tests(&text), path });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn module(source: &Path, path: &Path) -> Vec<String> {
    let relative = path.strip_prefix(source).expect("a file of the source").with_extension("");
    let mut module: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod" || last == "lib" || last == "main") {
        module.pop();
    }
    module
}

/// The text without `#[cfg(test)]` items, which reach to the next line that closes at their indent.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept += line;
            kept.push('\n');
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let first = lines.by_ref().find(|line| !line.trim().starts_with('#')).unwrap_or_default();
        if !first.trim_end().ends_with(';') && !first.trim_end().ends_with('}') {
            let _ = lines.by_ref().find(|line| line.trim_end() == format!("{:indent$}}}", ""));
        }
    }
    kept
}

/// The paths that the `use` lines of a file name, each as its parts; those that pass on what is imported are marked.
/// Lines of modules inside the file are not looked at.
fn uses(text: &str) -> Vec<(bool, Vec<String>)> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let public = line.starts_with("pub");
        let head = if public { line.split_once(' ').unwrap_or_default().1 } else { line };
        if head.starts_with("use ") {
            let statement = text[start + line.len() - head.len() + 4..].split(';').next().unwrap_or_default();
            found.extend(unfolded(statement).into_iter().map(|path| (public, path)));
        }
        start += line.len();
    }
    found
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn unfolded(statement: &str) -> Vec<Vec<String>> {
    let statement = statement.trim();
    let Some((head, group)) = statement.split_once('{') else {
        let path = statement.split(" as ").next().unwrap_or_default();
        return vec![path.split("::").map(|part| part.trim().to_owned()).collect()];
    };
    let head: Vec<String> =
        head.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
    let (mut depth, mut start, mut paths) = (0, 0, Vec::new());
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    for (at, letter) in group.char_indices().chain([(group.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let parts = unfolded(&group[start..at]);
                paths.extend(parts.into_iter().filter(|p| p != &[""]).map(|part| [head.clone(), part].concat()));
                start = at + 1;
            }
            _ => {}
        }
    }
    paths
}

/// The files of a crate by module, and what each imports of the others, through whatever passes it on.
struct Crate {
    name: &'static str,
    files: BTreeMap<Vec<String>, File>,
}

impl Crate {
    fn read(name: &'static str) -> Self {
        Self { name, files: files(name).into_iter().map(|file| (file.module.clone(), file)).collect() }
    }

    /// The module in which a path ends that is written in `from`; `None` outside of the crate.
    fn target(&self, from: &[String], path: &[String]) -> Option<Vec<String>> {
        let (mut at, rest): (Vec<String>, &[String]) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (from.to_vec(), &path[1..]),
            "super" => (from[..from.len().saturating_sub(1)].to_vec(), &path[1..]),
            first if self.files.contains_key(&[from, &[first.to_owned()]].concat()) => (from.to_vec(), path),
            _ => return None,
        };
        let mut rest = rest.iter().peekable();
        while rest.next_if(|part| *part == "super").is_some() {
            at.pop();
        }
        while let Some(part) = rest.next_if(|part| self.files.contains_key(&[&at[..], &[(*part).clone()]].concat())) {
            at.push(part.clone());
        }
        match rest.next() {
            Some(name) => Some(self.definition(&at, name).unwrap_or(at)),
            None => Some(at),
        }
    }

    /// The module from which another passes on a name.
    fn definition(&self, module: &[String], name: &str) -> Option<Vec<String>> {
        let file = self.files.get(module)?;
        let passed = |(public, path): &(bool, Vec<String>)| *public && path.last().is_some_and(|last| last == name);
        let (_, path) = uses(&file.text).into_iter().find(passed)?;
        self.target(module, &path).filter(|target| target != module)
    }

    fn imports(&self, module: &[String]) -> BTreeSet<Vec<String>> {
        let own = uses(&self.files[module].text).into_iter().filter(|(public, _)| !public);
        own.filter_map(|(_, path)| self.target(module, &path)).filter(|target| target != module).collect()
    }

    /// Modules that import each other, directly or through others.
    fn circles(&self) -> Vec<String> {
        let imports: BTreeMap<_, _> = self.files.keys().map(|module| (module, self.imports(module))).collect();
        let reach = |from: &Vec<String>| {
            let (mut seen, mut left) = (BTreeSet::new(), vec![from]);
            while let Some(module) = left.pop() {
                for next in imports.get(module).into_iter().flatten() {
                    if seen.insert(next) {
                        left.push(next);
                    }
                }
            }
            seen
        };
        let reached: BTreeMap<_, _> = self.files.keys().map(|module| (module, reach(module))).collect();
        let circle = |module: &Vec<String>| -> Vec<String> {
            let back = |other: &&Vec<String>| reached[module].contains(*other) && reached[*other].contains(module);
            self.files.keys().filter(back).map(|other| other.join("/")).collect()
        };
        let known = |circle: &[String]| {
            let holds = |names: &&[&str]| circle.iter().all(|name| names.contains(&name.as_str()));
            KNOTS.iter().filter(|(name, _)| *name == self.name).map(|(_, names)| names).any(holds)
        };
        let in_circle = self.files.keys().filter(|module| reached[module].contains(module) && !known(&circle(module)));
        let described = in_circle.map(|module| {
            let of = |other: &&&Vec<String>| imports[module].contains(**other) && reached[**other].contains(module);
            let others: Vec<String> =
                self.files.keys().filter(|other| of(&other)).map(|other| other.join("/")).collect();
            format!("{}: {} imports {}, which leads back", self.name, module.join("/"), others.join(", "))
        });
        described.collect()
    }
}

#[track_caller]
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn no_files_of_a_crate_import_each_other() {
    let found: Vec<String> = crates().flat_map(|name| Crate::read(name).circles()).collect();
    assert_none("circles of files", &found);
}

#[test]
fn crates_use_only_what_lies_below_them() {
    let mut found = Vec::new();
    for (name, allowed) in ARROWS.iter().filter(|(name, _)| crates().any(|there| there == *name)) {
        let manifest = std::fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a manifest");
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        let used = dependencies.lines().filter_map(|line| line.strip_prefix("segcal-")?.split(['.', ' ', '=']).next());
        let wrong = used.filter(|used| !allowed.contains(used));
        found.extend(wrong.map(|used| format!("{name} depends on {used}")));
        let program = dependencies.lines().any(|line| line.starts_with("segcal.") || line.starts_with("segcal "));
        // The Python package carries the command too.
        if program && *name != "python" {
            found.push(format!("{name} depends on the program"));
        }
    }
    assert_none("arrows that the design does not draw", &found);
}

#[test]
fn nothing_is_unwrapped_outside_of_tests() {
    let mut found = Vec::new();
    for file in crates().flat_map(files) {
        let code = |line: &&str| !line.trim_start().starts_with("//");
        let count = file.text.lines().filter(code).filter(|line| line.contains(".unwrap()")).count();
        if count > 0 {
            found.push(format!("{}: {count}", file.path.display()));
        }
    }
    assert_none("unwrap", &found);
}

#[test]
fn functions_and_files_are_short() {
    let mut found = Vec::new();
    for file in crates().flat_map(files) {
        let lines: Vec<&str> = file.text.lines().collect();
        if lines.len() > LONGEST_FILE {
            found.push(format!("{}: {} lines", file.path.display(), lines.len()));
        }
        for (start, line) in lines.iter().enumerate() {
            let head = line.trim_start();
            let is_function = ["fn ", "pub fn ", "pub(", "const fn ", "unsafe fn ", "pub const fn ", "pub unsafe fn "];
            if !(is_function.iter().any(|begin| head.starts_with(begin)) && head.contains("fn ")) {
                continue;
            }
            let end = format!("{:indent$}}}", "", indent = line.len() - head.len());
            let length = lines[start..].iter().position(|line| **line == end).map_or(0, |last| last + 1);
            if length > LONGEST_FUNCTION && !line.contains(LIST) {
                found.push(format!("{}:{}: a function of {length} lines", file.path.display(), start + 1));
            }
        }
    }
    assert_none("too long", &found);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_lines_are_unfolded() {
        let text = "use a::{b, c::{d, e as f}};\npub use g::h;\n// use i;\nlet x = because use j;\n";
        let paths: Vec<(bool, String)> =
            uses(text).into_iter().map(|(public, path)| (public, path.join("::"))).collect();
        let expected = [(false, "a::b"), (false, "a::c::d"), (false, "a::c::e"), (true, "g::h")];
        assert_eq!(paths, expected.map(|(public, path)| (public, path.to_owned())));
    }

    #[test]
    fn tests_are_left_out() {
        let text = "a\n#[cfg(test)]\nmod tests {\n    x.unwrap();\n}\nb\n#[cfg(test)]\nmod tests;\nc\n";
        assert_eq!(without_tests(text), "a\nb\nc\n");
    }

    #[test]
    fn a_circle_is_found_through_what_passes_it_on() {
        let file = |module: &str, text: &str| {
            let module: Vec<String> = module.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
            (module.clone(), File { path: PathBuf::new(), module, text: text.into() })
        };
        let with = |b: &str| Crate {
            name: "crate",
            files: [file("", "mod a;\nmod b;\npub use b::B;\n"), file("a", "use crate::B;\n"), file("b", b)].into(),
        };
        assert_eq!(with("").circles(), [""; 0]);
        assert_eq!(with("use super::a::A;\n").circles().len(), 2);
        assert_eq!(with("pub use super::a::A;\n").circles(), [""; 0]);
    }
}
