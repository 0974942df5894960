//! An export is whole or it is refused, and an import begins with nothing.

#![cfg(test)]

use std::io::Cursor;

use kedge_api::resources::ServerSpec;
use kedge_api::{Resource, Server};
use kedge_store::transfer::{Export, ImportError, Imported, Package, unfinished_import};
use kedge_store::{EmbeddedStore, MetaKey, Precondition, SharedStore};
use proptest::prelude::*;
use tempfile::TempDir;

const HUB: &str = "h-aaaaaaaaaaaaaaaaaaaaaaaaaa";

fn store(folder: &TempDir, name: &str) -> SharedStore {
    let path = folder.path().join(name);
    EmbeddedStore::open(path).unwrap().shared()
}

async fn filled(folder: &TempDir) -> SharedStore {
    let store = store(folder, "old.db");
    store
        .init_meta(MetaKey::HubId, HUB.to_owned())
        .await
        .unwrap();
    for name in ["web01", "web02"] {
        let server = Server::new(name.parse().unwrap(), ServerSpec::default());
        store.create(&server).await.unwrap();
    }
    store
}

async fn exported(store: &SharedStore) -> Vec<String> {
    Export::of(&**store).await.unwrap().lines().collect()
}

fn refusal(lines: &[String]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    Package::read(Cursor::new(text)).unwrap_err().to_string()
}

#[tokio::test]
async fn whatever_is_wrong_is_named_with_its_line_before_anything_is_written() {
    let folder = TempDir::new().unwrap();
    let whole = exported(&filled(&folder).await).await;
    assert_eq!(whole.len(), 5, "{whole:#?}");
    let text = whole.join("\n") + "\n";
    Package::read(Cursor::new(&text)).unwrap();

    let with = |line: usize, text: &str| {
        let mut lines = whole.clone();
        lines[line] = text.to_owned();
        refusal(&lines)
    };
    for (line, text, said) in [
        (0, "garbage", "line 1 of the export: expected value"),
        (0, "", "line 1 of the export: EOF"),
        (
            0,
            whole[2].as_str(),
            "line 1 of the export: not the first line of an export",
        ),
        (
            1,
            r#"{"line":"meta","key":"colour","value":"red"}"#,
            "line 2 of the export: unknown text `colour`",
        ),
        (
            1,
            r#"{"line":"meta","key":"hub-id","value":"../x"}"#,
            "line 2 of the export: ",
        ),
        (2, "[]", "line 3 of the export: "),
        (
            2,
            r#"{"line":"object","object":{"kind":"Pod"}}"#,
            "line 3 of the export: unknown kind `Pod`",
        ),
        (
            2,
            r#"{"line":"object","object":{"kind":"Server"}}"#,
            "line 3 of the export: server cannot be read: ",
        ),
        (
            2,
            r#"{"line":"object","object":{},"more":1}"#,
            "line 3 of the export: unknown field `more`",
        ),
        (
            3,
            whole[2].as_str(),
            "line 4 of the export: server `web01` is on line 3 already",
        ),
        (
            3,
            whole[0].as_str(),
            "line 4 of the export: a second first line",
        ),
        (
            3,
            whole[4].as_str(),
            "line 4 of the export: it says that there are 5 lines",
        ),
        (
            3,
            whole[1].as_str(),
            "line 4 of the export: a second `hub-id`",
        ),
    ] {
        let found = with(line, text);
        assert!(found.starts_with(said), "{found}\nand not\n{said}");
    }
    let newer = whole[0].replace("\"format\":1", "\"format\":2");
    assert!(with(0, &newer).contains("format 2, and this kedge-hub knows format 1"));
    let hostile = r#"{"line":"object","object":{"kind":"\u001b[2J\u202e"}}"#;
    let found = with(2, hostile);
    assert!(!found.contains(['\u{1b}', '\u{202e}']), "{found}");

    let mut fewer = whole.clone();
    fewer.remove(3);
    assert!(refusal(&fewer).contains("it says that there are 5 lines"));
    fewer[3] = fewer[3].replace("\"lines\":5", "\"lines\":4");
    assert_eq!(
        refusal(&fewer),
        "the export has 1 servers, and its first line says 2"
    );
    let mut more = whole.clone();
    more.push(whole[2].clone());
    assert_eq!(
        refusal(&more),
        "line 6 of the export: something after the end"
    );
    let mut long = whole.clone();
    long[2] = "x".repeat(5 << 20);
    assert_eq!(
        refusal(&long),
        "line 3 of the export: more than 4194304 bytes"
    );
    assert!(refusal(&[]).starts_with("the export is cut: it ends after line 0"));
}

/// Wherever a file was cut, be it one byte before its end, it is no export any more.
#[tokio::test]
async fn a_cut_export_is_refused_wherever_it_was_cut() {
    let folder = TempDir::new().unwrap();
    let text = exported(&filled(&folder).await).await.join("\n") + "\n";
    for end in 0..text.len() {
        let error = Package::read(Cursor::new(&text.as_bytes()[..end])).unwrap_err();
        assert!(
            error.to_string().starts_with("the export is cut: "),
            "at {end}: {error}"
        );
    }
}

#[tokio::test]
async fn an_import_begins_with_nothing_and_goes_on_only_where_it_was_cut() {
    let folder = TempDir::new().unwrap();
    let old = filled(&folder).await;
    let text = exported(&old).await.join("\n") + "\n";
    let package = Package::read(Cursor::new(&text)).unwrap();
    assert_eq!(package.counts().map(|(_, count)| count).sum::<usize>(), 2);

    // The id of another hub is something.
    let other = store(&folder, "other.db");
    let id = "h-bbbbbbbbbbbbbbbbbbbbbbbbbb";
    other
        .init_meta(MetaKey::HubId, id.to_owned())
        .await
        .unwrap();
    let error = package.write(&*other).await.unwrap_err();
    assert!(matches!(error, ImportError::NotEmpty { .. }), "{error}");
    assert!(error.to_string().contains(id), "{error}");

    let new = store(&folder, "new.db");
    let written = package.write(&*new).await.unwrap();
    assert_eq!(
        written,
        Imported {
            written: 2,
            there: 0
        }
    );
    assert_eq!(unfinished_import(&*new).await.unwrap(), None);
    assert_eq!(
        new.meta(MetaKey::HubId).await.unwrap().as_deref(),
        Some(HUB)
    );

    // As if it had been cut after the first.
    let again = Package::read(Cursor::new(&text)).unwrap();
    new.delete::<Server>("web02", Precondition::None)
        .await
        .unwrap();
    let error = again.write(&*new).await.unwrap_err();
    assert!(matches!(error, ImportError::NotEmpty { .. }), "{error}");
    let id: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let mark = id["export"].as_str().unwrap().to_owned();
    new.set_meta(MetaKey::Import, mark.clone()).await.unwrap();
    assert_eq!(unfinished_import(&*new).await.unwrap(), Some(mark.clone()));
    let written = again.write(&*new).await.unwrap();
    assert_eq!(
        written,
        Imported {
            written: 1,
            there: 1
        }
    );

    // What somebody changed meanwhile is not overwritten.
    let mut there: Server = new.get("web01").await.unwrap();
    there.spec.ssh_user = Some("root".parse().unwrap());
    new.update(&there).await.unwrap();
    new.set_meta(MetaKey::Import, mark.clone()).await.unwrap();
    let error = again.write(&*new).await.unwrap_err();
    assert!(matches!(error, ImportError::Changed { .. }), "{error}");
    new.delete::<Server>("web01", Precondition::None)
        .await
        .unwrap();
    let stranger = Server::new("stranger".parse().unwrap(), ServerSpec::default());
    new.create(&stranger).await.unwrap();
    let error = again.write(&*new).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("server `stranger`, which is not of this export"),
        "{error}"
    );
    // And an import of something else does not go on where this one was cut.
    let another = Package::read(Cursor::new(exported(&old).await.join("\n") + "\n")).unwrap();
    let error = another.write(&*new).await.unwrap_err();
    assert!(matches!(error, ImportError::Other { .. }), "{error}");
}

proptest! {
    #[test]
    fn no_input_is_more_than_an_error(lines in prop::collection::vec(".{0,80}", 0..8)) {
        let _ = Package::read(Cursor::new(lines.join("\n")));
    }
}
