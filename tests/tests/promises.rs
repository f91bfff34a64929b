//! docs/reliability.md makes no promise without a test: every row of its tables of promises names tests that are there.

use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The rows of every table whose last column is headed `test`.
fn rows(text: &str) -> Vec<&str> {
    let (mut rows, mut inside) = (Vec::new(), false);
    for line in text.lines() {
        match line {
            _ if !line.starts_with('|') => inside = false,
            _ if line.ends_with("| test |") => inside = true,
            _ if inside && !line.starts_with("|---") => rows.push(line),
            _ => {}
        }
    }
    rows
}

/// The source of a file of tests, which lies below `cli/tests/program` where no other folder is named.
fn source(file: &str) -> String {
    let root = Path::new(ROOT);
    let paths = [root.join("cli/tests/program").join(file), root.join(file)];
    let found = paths.iter().find_map(|path| std::fs::read_to_string(path).ok());
    found.unwrap_or_else(|| panic!("there is no {file}"))
}

#[test]
fn every_promise_names_its_tests() {
    let text = std::fs::read_to_string(Path::new(ROOT).join("docs/reliability.md")).unwrap();
    let rows = rows(&text);
    assert!(rows.len() > 60, "{} rows", rows.len());
    for row in rows {
        let column = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let (mut file, mut tests) = (String::new(), 0);
        // What stands between backquotes.
        for name in column.split('`').skip(1).step_by(2) {
            if name.strip_suffix(".rs").is_some() {
                file = source(name);
                continue;
            }
            let place = file.find(&format!("fn {name}()")).unwrap_or_else(|| panic!("there is no {name}: {row}"));
            let before = &file[..place];
            assert!(before[before.rfind("#[test]").unwrap_or(0)..].lines().count() < 6, "{name} is no test: {row}");
            tests += 1;
        }
        assert!(tests > 0, "no test is named: {row}");
    }
}
