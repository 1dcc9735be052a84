//! The questions of a project: the files in its folder `queries`, in order of their names.

use std::fs;
use std::path::Path;

use lacus_core::{Context, Result};

/// A question and how it is asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// The question in words: the comment that the file begins with.
    pub(crate) title: String,
    /// The SQL.
    pub(crate) sql: String,
}

/// Reads all questions of a project; none when it has no folder for them.
///
/// # Errors
/// If the files can't be read.
pub(crate) fn of_project(root: &Path) -> Result<Vec<Question>> {
    let folder = root.join("queries");
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(format_args!("read {}", folder.display()))?,
    };
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let sql = fs::read_to_string(path).context(format_args!("read {}", path.display()))?;
        Ok(Question { title: title(&sql, path), sql })
    };
    paths.iter().map(read).collect()
}

fn title(sql: &str, path: &Path) -> String {
    match sql.lines().next().and_then(|line| line.strip_prefix("--")) {
        Some(comment) => comment.trim().to_owned(),
        None => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_come_in_order_with_their_first_comment() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(of_project(folder.path()).unwrap(), []);
        fs::create_dir(folder.path().join("queries")).unwrap();
        fs::write(folder.path().join("queries/2-b.sql"), "SELECT 2").unwrap();
        fs::write(folder.path().join("queries/1-a.sql"), "-- How many?\nSELECT 1").unwrap();
        fs::write(folder.path().join("queries/notes.txt"), "no question").unwrap();
        let questions = of_project(folder.path()).unwrap();
        let titles: Vec<_> = questions.iter().map(|question| question.title.as_str()).collect();
        assert_eq!(titles, ["How many?", "2-b"]);
    }
}
