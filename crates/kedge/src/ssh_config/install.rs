//! The configuration put where `ssh` finds it: a file of ours, and one line in the person's.
//!
//! `~/.ssh/config` is the person's. It gets one `Include` line, in front of everything, since a line
//! below a `Host` or `Match` counts for that block only. Nothing else of it changes, neither its mode
//! nor, when it is a link into a folder of dotfiles, that.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kedge_service::files::{self, FileError};

use crate::defaults;

/// One file as it is and as it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Where.
    pub path: PathBuf,
    /// Its text now; empty when it is not there.
    pub old: String,
    /// Its text then.
    pub new: String,
    mode: u32,
}

impl Change {
    /// Whether there is anything to do.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.old != self.new
    }

    /// Does it, all or nothing.
    ///
    /// # Errors
    ///
    /// [`FileError`]; the file is as it was then.
    pub fn write(&self) -> Result<(), FileError> {
        if !self.is_needed() {
            return Ok(());
        }
        if let Some(folder) = self.path.parent() {
            files::create_private_folder(folder)?;
        }
        files::write_whole(&self.path, self.mode, self.new.as_bytes())
    }
}

/// The change to our own file.
///
/// # Errors
///
/// [`FileError`] when the file is there and cannot be read.
pub fn own(path: &Path, text: &str) -> Result<Change, FileError> {
    let (old, mode) = read(path)?;
    let mode = mode.unwrap_or(defaults::PRIVATE_FILE);
    Ok(Change {
        path: path.to_owned(),
        old,
        new: text.to_owned(),
        mode,
    })
}

/// The change to the person's file that makes it include `ours`.
///
/// # Errors
///
/// [`FileError`] when the file is there and cannot be read.
pub fn person(path: &Path, ours: &Path, home: &Path) -> Result<Change, FileError> {
    let path = follow(path)?;
    let (old, mode) = read(&path)?;
    let mode = mode.unwrap_or(defaults::PRIVATE_FILE);
    let new = match includes(&old, ours, home) {
        true => old.clone(),
        false => {
            let gap = if old.is_empty() { "" } else { "\n" };
            format!("{}\n{gap}{old}", include_line(ours))
        }
    };
    Ok(Change {
        path,
        old,
        new,
        mode,
    })
}

/// The line that includes our file.
#[must_use]
pub fn include_line(ours: &Path) -> String {
    let text = ours.display().to_string();
    if text.contains(' ') {
        format!("Include \"{text}\"")
    } else {
        format!("Include {text}")
    }
}

/// Whether the text includes our file for every host: before any `Host` or `Match`.
fn includes(text: &str, ours: &Path, home: &Path) -> bool {
    let folder = home.join(".ssh");
    for line in text.lines() {
        let line = line.trim();
        let end = line
            .find(|c: char| c.is_whitespace() || c == '=')
            .unwrap_or(line.len());
        let (keyword, rest) = line.split_at(end);
        match keyword.to_ascii_lowercase().as_str() {
            "host" | "match" => return false,
            "include" => {
                let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '=');
                let mut paths = words(rest)
                    .into_iter()
                    .map(|word| match word.strip_prefix("~/") {
                        Some(below) => home.join(below),
                        // As `ssh` has it: relative paths are below ~/.ssh.
                        None => folder.join(word),
                    });
                if paths.any(|path| path == ours) {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

/// Words of a configuration line; double quotes hold one together.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted && word.is_empty() => break,
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn read(path: &Path) -> Result<(String, Option<u32>), FileError> {
    match files::read_text(path, defaults::SSH_CONFIG_BYTES) {
        Ok(text) => {
            let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o7777);
            Ok((text, mode.ok()))
        }
        Err(error) if error.is_not_found() => Ok((String::new(), None)),
        Err(error) => Err(error),
    }
}

/// The file behind a link, so that the link stays one.
fn follow(path: &Path) -> Result<PathBuf, FileError> {
    match fs::canonicalize(path) {
        Ok(real) => Ok(real),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        Err(source) => Err(FileError::Io {
            operation: "find",
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "/home/a/.config/kedge/ssh_config";

    fn included(text: &str) -> bool {
        includes(text, Path::new(OURS), Path::new("/home/a"))
    }

    #[test]
    fn an_include_counts_only_before_any_block() {
        assert!(included("Include /home/a/.config/kedge/ssh_config\n"));
        assert!(included(
            "# x\n\n  include = \"~/.config/kedge/ssh_config\" other\nHost *\n"
        ));
        assert!(included(
            "User x\nInclude a ../.config/kedge/ssh_config /home/a/.config/kedge/ssh_config"
        ));
        assert!(!included(
            "Host *\nInclude /home/a/.config/kedge/ssh_config\n"
        ));
        assert!(!included(
            "match all\nInclude /home/a/.config/kedge/ssh_config\n"
        ));
        assert!(!included("# Include /home/a/.config/kedge/ssh_config\n"));
        assert!(!included(
            "Include other # /home/a/.config/kedge/ssh_config\n"
        ));
        assert!(!included("Include /home/b/.config/kedge/ssh_config\n"));
        assert!(!included(""));
    }

    #[test]
    fn the_line_goes_in_front_once_and_nothing_else_changes() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".ssh/config");
        let ours = home.path().join(".config/kedge/ssh_config");
        let old = "Host *\r\n\tUser bob\nHost x"; // odd line ends stay odd
        fs::create_dir(home.path().join(".ssh")).unwrap();
        fs::write(&path, old).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let change = person(&path, &ours, home.path()).unwrap();
        change.write().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("Include {}\n\n{old}", ours.display()));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert!(!person(&path, &ours, home.path()).unwrap().is_needed());
        let leftovers = fs::read_dir(home.path().join(".ssh")).unwrap().count();
        assert_eq!(leftovers, 1);
    }

    #[test]
    fn a_link_stays_a_link() {
        let home = tempfile::tempdir().unwrap();
        let dotfiles = home.path().join("dotfiles");
        fs::write(&dotfiles, "Host *\n").unwrap();
        fs::create_dir(home.path().join(".ssh")).unwrap();
        let path = home.path().join(".ssh/config");
        std::os::unix::fs::symlink(&dotfiles, &path).unwrap();
        person(&path, Path::new(OURS), home.path())
            .unwrap()
            .write()
            .unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert!(
            fs::read_to_string(&dotfiles)
                .unwrap()
                .starts_with("Include ")
        );
    }

    #[test]
    fn a_new_file_is_private() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".ssh/config");
        person(&path, Path::new(OURS), home.path())
            .unwrap()
            .write()
            .unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("Include {OURS}\n")
        );
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let folder = fs::metadata(home.path().join(".ssh")).unwrap();
        assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    }
}
