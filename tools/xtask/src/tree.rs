//! The files of the tree, read from the file system and not from git: the gate also works on an
//! unpacked archive, and sees a new file before it is added.

use std::fs;
use std::path::Path;

/// A file of the tree.
#[derive(Debug)]
pub(crate) struct File {
    /// Path from the top, with `/` between parts.
    pub(crate) path: String,
    /// Size in bytes.
    pub(crate) bytes: usize,
    /// Its text; empty when it is not UTF-8.
    pub(crate) text: String,
}

/// Reads every file below `root` but those that the anchored lines of `.gitignore` name.
///
/// # Errors
/// Which file or directory cannot be read.
pub(crate) fn read(root: &Path) -> Result<Vec<File>, String> {
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    let mut skipped: Vec<&str> =
        ignored.lines().filter_map(|line| line.strip_prefix('/')).map(str::trim_end).collect();
    skipped.push(".git");
    let mut files = Vec::new();
    walk(root, "", &skipped, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn walk(root: &Path, below: &str, skipped: &[&str], files: &mut Vec<File>) -> Result<(), String> {
    let explain = |error: std::io::Error| format!("{below}: {error}");
    for entry in fs::read_dir(root.join(below)).map_err(explain)? {
        let entry = entry.map_err(explain)?;
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| format!("{below}: a file name is not UTF-8"))?;
        let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        if skipped.iter().any(|skip| skip.trim_end_matches('/') == path) {
            continue;
        }
        if entry.file_type().map_err(explain)?.is_dir() {
            walk(root, &path, skipped, files)?;
            continue;
        }
        let content = fs::read(entry.path()).map_err(|error| format!("{path}: {error}"))?;
        let bytes = content.len();
        files.push(File { path, bytes, text: String::from_utf8(content).unwrap_or_default() });
    }
    Ok(())
}
