//! A layer: files in a tar that is the same whoever packs it, and whenever.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use tar::{Builder, EntryType, Header};

use super::PROGRAM;

/// Files by their place in the image, and the folders above them. Everything belongs to root.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    /// By path, without the first slash: a folder sorts before what is in it.
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
enum Entry {
    File { mode: u32, content: Vec<u8> },
    Folder,
}

impl Layer {
    /// Puts a file at an absolute path, and makes the folders above it.
    ///
    /// # Errors
    ///
    /// When the path is not a plain absolute one, or something is there already.
    pub(crate) fn add_file(&mut self, path: &str, mode: u32, content: Vec<u8>) -> Result<()> {
        let bare = path
            .strip_prefix('/')
            .with_context(|| format!("`{path}` is not absolute"))?;
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        ensure!(bare.split('/').all(plain), "`{path}` is not a plain path");
        for (end, _) in bare.match_indices('/') {
            let above = bare.get(..end).unwrap_or_default();
            let there = self.entries.entry(above.to_owned());
            let folder = there.or_insert(Entry::Folder);
            ensure!(
                matches!(folder, Entry::Folder),
                "`/{above}` is a file, and cannot hold `{path}`"
            );
        }
        let before = self
            .entries
            .insert(bare.to_owned(), Entry::File { mode, content });
        ensure!(before.is_none(), "`{path}` is there already");
        Ok(())
    }

    /// The tar: sorted, of root, made at the beginning of time.
    ///
    /// # Errors
    ///
    /// When a path cannot be in one.
    pub(crate) fn tar(&self) -> Result<Vec<u8>> {
        let mut builder = Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            let (kind, mode, content) = match entry {
                Entry::File { mode, content } => (EntryType::Regular, *mode, content.as_slice()),
                Entry::Folder => (EntryType::Directory, PROGRAM, [].as_slice()),
            };
            append(&mut builder, path, kind, mode, content)?;
        }
        Ok(builder.into_inner()?)
    }
}

/// Adds an entry of which the path, the mode and the content are all that anybody can see.
///
/// # Errors
///
/// When the path cannot be in one, or it cannot be written.
pub(super) fn append(
    builder: &mut Builder<impl std::io::Write>,
    path: &str,
    kind: EntryType,
    mode: u32,
    content: &[u8],
) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(u64::try_from(content.len())?);
    builder
        .append_data(&mut header, path, content)
        .with_context(|| format!("pack {path}"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn layer(files: &[(&str, u32, &str)]) -> Result<Layer> {
        let mut layer = Layer::default();
        for (path, mode, content) in files {
            layer.add_file(path, *mode, content.as_bytes().to_vec())?;
        }
        Ok(layer)
    }

    #[test]
    fn the_order_in_which_files_come_does_not_matter() {
        let (one, other) = (
            ("/usr/bin/hub", 0o755, "program"),
            ("/etc/passwd", 0o644, "x"),
        );
        let tar = |files: &[_]| layer(files).unwrap().tar().unwrap();
        assert_eq!(tar(&[one, other]), tar(&[other, one]));
    }

    #[test]
    fn folders_come_before_what_is_in_them_and_nothing_tells_who_packed() {
        let files = [
            ("/lib64/ld.so", 0o755, "loader"),
            ("/lib-of/a", 0o644, ""),
            ("/lib/x/libc.so", 0o755, "libc"),
        ];
        let tar = layer(&files).unwrap().tar().unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header().clone();
            assert_eq!(
                (
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    header.mtime().unwrap()
                ),
                (0, 0, 0)
            );
            assert_eq!(header.username().unwrap(), Some(""));
            let path = entry.path().unwrap().display().to_string();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            seen.push(format!("{path} {:o} {content}", header.mode().unwrap()));
        }
        assert_eq!(
            seen,
            [
                "lib 755 ",
                "lib-of 755 ",
                "lib-of/a 644 ",
                "lib/x 755 ",
                "lib/x/libc.so 755 libc",
                "lib64 755 ",
                "lib64/ld.so 755 loader"
            ]
        );
    }

    #[test]
    fn paths_that_would_lead_elsewhere_are_refused() {
        for path in [
            "",
            "/",
            "etc/passwd",
            "/etc/",
            "//etc",
            "/etc//x",
            "/../x",
            "/a/./b",
            "/a/..",
        ] {
            assert!(layer(&[(path, 0o644, "")]).is_err(), "{path}");
        }
        let twice = [("/a", 0o644, "1"), ("/a", 0o644, "2")];
        assert!(layer(&twice).is_err());
        let below_a_file = [("/a", 0o644, ""), ("/a/b", 0o644, "")];
        assert!(layer(&below_a_file).is_err());
        let over_a_folder = [("/a/b", 0o644, ""), ("/a", 0o644, "")];
        assert!(layer(&over_a_folder).is_err());
    }
}
