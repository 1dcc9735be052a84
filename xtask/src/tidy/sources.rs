//! What every source file keeps to: a header, a length, functions one can read, no notes to self, no machine's paths.

use std::path::Path;

use super::output;

/// The most lines of product code in a file: beyond it there is a second idea inside.
const FILE_LINES_MAX: usize = 800;

/// The most lines of a function.
const FUNCTION_LINES_MAX: usize = 100;

/// Functions that were longer when this check came, with the lines they had. An entry may only shrink, or go.
const LONG_FUNCTIONS: [(&str, &str, usize); 0] = [];

/// Words for what is not done yet. That belongs into an issue.
const NOTES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];

pub(super) fn problems(root: &Path) -> Vec<String> {
    let machine = machine_paths(root);
    let mut problems = Vec::new();
    // Files that are not committed yet count; ignored ones do not.
    for path in output(root, "git", &["ls-files", "--cached", "--others", "--exclude-standard"]).lines() {
        let Ok(text) = std::fs::read_to_string(root.join(path)) else { continue }; // gone, or no text
        if path != "Cargo.lock" {
            problems.extend(stray(path, &text, &machine));
        }
        if path.ends_with(".rs") {
            problems.extend(rust(path, &text));
        }
    }
    problems
}

/// Directories of this machine that must not be named in the tree: the user's home, and where the clone lies.
fn machine_paths(root: &Path) -> Vec<String> {
    let home = std::env::home_dir();
    let directories = [home.as_deref(), root.parent()];
    let is_telling = |directory: &&Path| directory.components().count() > 1 && *directory != Path::new("/tmp");
    directories.into_iter().flatten().filter(is_telling).map(|directory| format!("{}/", directory.display())).collect()
}

fn stray(path: &str, text: &str, machine: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(note) = NOTES.iter().find(|note| line.contains(**note)) {
            problems.push(format!("{path}:{number}: {note}: make it an issue"));
        }
        if let Some(directory) = machine.iter().find(|directory| line.contains(directory.as_str())) {
            problems.push(format!("{path}:{number}: {directory} is a path of this machine"));
        }
    }
    problems
}

fn rust(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !text.starts_with("//!") {
        problems.push(format!("{path}: a file starts with //! (what for, what it promises, what it must never do)"));
    }
    if is_test(path) {
        return problems;
    }
    let product = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = product.lines().count();
    if lines > FILE_LINES_MAX {
        problems.push(format!("{path}: {lines} lines, {FILE_LINES_MAX} at most: look for a second idea inside"));
    }
    problems.extend(long_functions(path, product));
    problems
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Functions end where a brace closes at their own indentation: rustfmt sees to that.
fn long_functions(path: &str, product: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut open: Option<(usize, &str, usize)> = None;
    for (number, line) in (1..).zip(product.lines()) {
        let indentation = line.len() - line.trim_start().len();
        match open {
            None => open = function_name(line).map(|name| (indentation, name, number)),
            Some((outer, name, start)) if indentation == outer && is_end(line) => {
                open = None;
                let lines = number - start + 1;
                if lines > lines_allowed(path, name) {
                    problems.push(format!("{path}:{start}: function {name} has {lines} lines: cut it"));
                }
            }
            Some(_) => {}
        }
    }
    problems
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.trim_start();
    while let Some(rest) = ["pub ", "pub(crate) ", "pub(super) ", "async ", "const ", "unsafe ", "extern \"C\" "]
        .iter()
        .find_map(|word| words.strip_prefix(word))
    {
        words = rest;
    }
    let one_line = line.ends_with([';', '}']);
    words.strip_prefix("fn ").filter(|_| !one_line)?.split(['(', '<']).next()
}

fn is_end(line: &str) -> bool {
    // `);` ends the signature of a trait's method without a body that takes several lines.
    let line = line.trim_start();
    line.starts_with('}') || line.starts_with(')') && line.ends_with(';')
}

fn lines_allowed(path: &str, function: &str) -> usize {
    let known = LONG_FUNCTIONS.iter().find(|(file, name, _)| (*file, *name) == (path, function));
    known.map_or(FUNCTION_LINES_MAX, |(_, _, lines)| *lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_and_paths_are_found() {
        let machine = ["/home/someone/".to_owned()];
        assert_eq!(stray("a.md", "all is well\n", &machine), [""; 0]);
        assert_eq!(stray("a.md", concat!("TO", "DO: more"), &machine), [concat!("a.md:1: TO", "DO: make it an issue")]);
        assert_eq!(stray("a.md", "\nsee /home/someone/notes", &machine).len(), 1);
    }

    #[test]
    fn a_missing_header_and_a_long_file_are_found() {
        assert_eq!(rust("src/a.rs", "//! A.\n"), [""; 0]);
        assert_eq!(rust("src/a.rs", "fn a() {}\n").len(), 1);
        let long = format!("//! A.\n{}", "const A: u8 = 1;\n".repeat(FILE_LINES_MAX));
        assert_eq!(rust("src/a.rs", &long).len(), 1);
        assert_eq!(rust("src/a/tests.rs", &long), [""; 0]);
    }

    #[test]
    fn a_long_function_is_found() {
        let function = |lines| {
            format!(
                "//! A.\nimpl A {{\n    pub(crate) async fn long<T>(\n    ) {{\n{}    }}\n}}\n",
                "x();\n".repeat(lines)
            )
        };
        assert_eq!(rust("src/a.rs", &function(FUNCTION_LINES_MAX - 3)), [""; 0]);
        let lines = FUNCTION_LINES_MAX + 1;
        assert_eq!(
            rust("src/a.rs", &function(FUNCTION_LINES_MAX - 2)),
            [format!("src/a.rs:3: function long has {lines} lines: cut it")]
        );
    }
}
