//! Files with objects: YAML documents or JSON, lists taken apart.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kedge_api::text::Printable;
use kedge_api::{API_VERSION, AccessPolicy, ObjectName, Resource, decode};
use kedge_service::Failure;
use kedge_service::files::{self, FileError};
use serde::Deserialize;
use serde_json::Value;

use super::kinds::{KINDS, Kind, KindAccess};
use crate::app::App;
use crate::defaults;
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure, usage};

/// An object as a file has it.
#[derive(Debug)]
pub struct Manifest {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its name.
    pub name: ObjectName,
    /// All of it.
    pub object: Value,
}

/// Reads the objects of a file, or of the files in a folder; `-` is standard input.
///
/// # Errors
///
/// A file that cannot be read, or holds something else than objects of known kinds.
pub fn read(app: &mut App<'_>, path: &Path) -> Result<Vec<Manifest>, Failure> {
    if path.is_dir() {
        let mut manifests = Vec::new();
        for file in files_in(path)? {
            manifests.extend(read(app, &file)?);
        }
        return Ok(manifests);
    }
    let (name, text) = text(app, path)?;
    parse(&name, &text)
}

/// The text of a file, and what errors call it; `-` is standard input.
///
/// # Errors
///
/// A file that cannot be read, or is too long.
pub fn text(app: &mut App<'_>, path: &Path) -> Result<(String, String), Failure> {
    if path == Path::new("-") {
        let mut text = String::new();
        app.terminal
            .input
            .take(defaults::MANIFEST_BYTES)
            .read_to_string(&mut text)
            .map_err(|e| failure(Exit::Failure, format!("cannot read standard input: {e}")))?;
        return Ok(("standard input".to_owned(), text));
    }
    let text =
        files::read_text(path, defaults::MANIFEST_BYTES).map_err(IntoFailure::into_failure)?;
    Ok((path.display().to_string(), text))
}

/// The policies of a file, or of the files in a folder, checked as the hub would.
///
/// # Errors
///
/// As [`read`]; another kind, and a policy that is not valid.
pub fn policies(app: &mut App<'_>, path: &Path) -> Result<Vec<AccessPolicy>, Failure> {
    let manifests = read(app, path)?;
    let policies = manifests.into_iter().map(|manifest| {
        let wrong = |what: String| {
            let object = manifest.kind.qualified(manifest.name.as_str());
            usage(format!("{}: {object}: {what}", path.display()))
        };
        if manifest.kind.kind != AccessPolicy::KIND {
            return Err(wrong(format!("is no {}", AccessPolicy::KIND)));
        }
        decode::object(manifest.object.to_string().as_bytes(), None)
            .map_err(|status| wrong(Printable::new(&status.message).to_string()))
    });
    policies.collect()
}

/// The files of a folder that are named as manifests, in the order of their names. As with `kubectl`,
/// folders in it are not entered.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unlisted = |source: io::Error| {
        let path = folder.to_owned();
        let operation = "list";
        FileError::Io {
            operation,
            path,
            source,
        }
        .into_failure()
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unlisted)? {
        let path = entry.map_err(unlisted)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) && !path.is_dir() {
            files.push(path);
        }
    }
    if files.is_empty() {
        let folder = folder.display();
        return Err(usage(format!(
            "{folder} holds no .json, .yaml or .yml file"
        )));
    }
    files.sort();
    Ok(files)
}

/// What the names of manifests in a folder end with.
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];

/// Takes the text of a file apart; `source` is what errors call it.
///
/// # Errors
///
/// As [`read`].
pub fn parse(source: &str, text: &str) -> Result<Vec<Manifest>, Failure> {
    let mut manifests = Vec::new();
    for document in serde_norway::Deserializer::from_str(text) {
        let value = Value::deserialize(document)
            .map_err(|error| usage(format!("{source}: not YAML or JSON: {error}")))?;
        collect(source, value, &mut manifests)?;
    }
    if manifests.is_empty() {
        return Err(usage(format!("{source} holds no object")));
    }
    Ok(manifests)
}

fn collect(source: &str, value: Value, manifests: &mut Vec<Manifest>) -> Result<(), Failure> {
    if value.is_null() {
        return Ok(()); // an empty document, such as after a last `---`
    }
    let number = manifests.len() + 1;
    let wrong = |what: String| usage(format!("{source}: object {number}: {what}"));
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let kind_name = text("/kind").ok_or_else(|| wrong("no kind".to_owned()))?;
    if kind_name.ends_with("List")
        && let Some(items) = value.get("items").and_then(Value::as_array)
    {
        return items
            .iter()
            .try_for_each(|item| collect(source, item.clone(), manifests));
    }
    match text("/apiVersion") {
        Some(API_VERSION) => {}
        Some(other) => {
            let other = kedge_api::text::Printable::new(other);
            return Err(wrong(format!(
                "apiVersion is `{other}` and not `{API_VERSION}`"
            )));
        }
        None => return Err(wrong(format!("no apiVersion; it must be `{API_VERSION}`"))),
    }
    let writable = |kind: &&Kind| kind.kind == kind_name && kind.access == KindAccess::Full;
    let kind = KINDS.iter().find(writable).ok_or_else(|| {
        wrong(format!(
            "there is no kind `{}`",
            kedge_api::text::Printable::new(kind_name)
        ))
    })?;
    let name = text("/metadata/name").ok_or_else(|| wrong("no metadata.name".to_owned()))?;
    let name = name
        .parse()
        .map_err(|error| wrong(format!("metadata.name: {error}")))?;
    manifests.push(Manifest {
        kind,
        name,
        object: value,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse("x.yaml", text) {
            Ok(manifests) => {
                let names = manifests.iter().map(|m| m.kind.qualified(m.name.as_str()));
                names.collect::<Vec<_>>().join(" ")
            }
            Err(failed) => {
                let mut out = Vec::new();
                failed.write(&mut out).unwrap();
                String::from_utf8(out).unwrap()
            }
        }
    }

    const SERVER: &str = "apiVersion: kedge.dev/v1alpha1\nkind: Server\nmetadata: {name: web01}\n";

    #[test]
    fn documents_and_lists() {
        assert_eq!(shown(SERVER), "server.kedge.dev/web01");
        let two = format!(
            "{SERVER}---\n# nothing\n---\n{}",
            SERVER.replace("web01", "web02")
        );
        assert_eq!(shown(&two), "server.kedge.dev/web01 server.kedge.dev/web02");
        let list = r#"{"kind":"ServerList","items":[{"apiVersion":"kedge.dev/v1alpha1","kind":"AccessPolicy","metadata":{"name":"a"}}]}"#;
        assert_eq!(shown(list), "accesspolicy.kedge.dev/a");
    }

    #[test]
    fn mistakes_name_the_file_and_the_object() {
        let second = format!("{SERVER}---\nkind: Server\n");
        for (text, expected) in [
            ("{", "x.yaml: not YAML or JSON"),
            ("", "x.yaml holds no object"),
            ("a: 1", "x.yaml: object 1: no kind"),
            (
                second.as_str(),
                "x.yaml: object 2: no apiVersion; it must be `kedge.dev/v1alpha1`",
            ),
            (
                &SERVER.replace("v1alpha1", "v2"),
                "apiVersion is `kedge.dev/v2`",
            ),
            (&SERVER.replace("Server", "Pod"), "there is no kind `Pod`"),
            (
                &SERVER.replace("Server", "Session"),
                "there is no kind `Session`",
            ),
            (&SERVER.replace("web01", "../x"), "metadata.name"),
            (&SERVER.replace("name: web01", ""), "no metadata.name"),
        ] {
            assert!(shown(text).contains(expected), "{text}: {}", shown(text));
        }
    }
}
