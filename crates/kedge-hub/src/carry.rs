//! `kedge-hub export` and `kedge-hub import`: everything from one store to another, by way of a file.

use std::io::{BufRead, Write};

use kedge_api::text::Printable;
use kedge_service::{Failure, report};
use kedge_store::transfer::{Export, ImportError, Package, unfinished_import};
use kedge_store::{Kind, Store};

use crate::{config::Settings, stores::Stores};

/// Writes everything the configured store holds to `out`, and what to know about it to `said`.
///
/// # Errors
/// When the store cannot be opened or read, or the output not be written.
///
/// # Cancel safety
/// When dropped, a part may be written, which no import takes.
pub async fn export(
    settings: &Settings,
    out: &mut impl Write,
    said: &mut impl Write,
) -> Result<(), Failure> {
    let stores = open(settings).await?;
    let export = Export::of(&*stores.store)
        .await
        .map_err(|error| Failure::from_error(&error))?;
    let unwritten = |error| {
        Failure::new(format!(
            "cannot write the export: {}",
            report::chain(&error)
        ))
    };
    for line in export.lines() {
        writeln!(out, "{line}").map_err(unwritten)?;
    }
    out.flush().map_err(unwritten)?;
    // Whoever does not read this has the export all the same.
    let _ = writeln!(said, "exported {}", counted(export.counts()));
    for object in export.unreadable() {
        let _ = writeln!(
            said,
            "warning: {} `{}` cannot be read, and no import takes it: {}",
            object.kind.singular,
            Printable::new(&object.name),
            Printable::new(&object.cause)
        );
    }
    Ok(())
}

/// Writes an export into the configured store, which must have nothing in it.
///
/// # Errors
/// When the export is not whole, the store cannot be opened or is not empty, or the import is cut; then the same import
/// goes on.
///
/// # Cancel safety
/// When dropped, a part may be written; the same import goes on.
pub async fn import(
    settings: &Settings,
    input: impl BufRead + Send + 'static,
    said: &mut impl Write,
) -> Result<(), Failure> {
    // All of it, before the store is opened.
    let package = tokio::task::spawn_blocking(move || Package::read(input))
        .await
        .map_err(|error| Failure::from_error(&error))?
        .map_err(|error| Failure::from_error(&error))?;
    let stores = open(settings).await?;
    let imported = package.write(&*stores.store).await.map_err(|error| {
        let failure = Failure::from_error(&error);
        match error {
            ImportError::Cut { .. } | ImportError::Other { .. } => failure.hint(AGAIN),
            _ => failure,
        }
    })?;
    let _ = write!(said, "imported {}", counted(package.counts()));
    let _ = match imported.there {
        0 => writeln!(said),
        there => writeln!(said, "; {there} of them were there already"),
    };
    Ok(())
}

/// Refuses a store of which only a part is there: the policy that says no may be the one that is missing.
///
/// # Errors
/// When an import was cut, or the store cannot be asked.
///
/// # Cancel safety
/// Cancel safe: it only reads.
pub async fn whole(store: &dyn Store) -> Result<(), Failure> {
    match unfinished_import(store).await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => {
            let failure = Failure::new("an import into the store was cut: a part of it is missing");
            Err(failure.hint(AGAIN))
        }
        Err(error) => Err(Failure::from_error(&error)),
    }
}

async fn open(settings: &Settings) -> Result<Stores, Failure> {
    let stores = Stores::open(settings).await;
    stores.map_err(|error| Failure::from_error(&error))
}

/// `2 servers, 1 jointokens, 0 accesspolicies`
fn counted(counts: impl Iterator<Item = (Kind, usize)>) -> String {
    let each: Vec<_> = counts
        .map(|(kind, count)| format!("{count} {}", kind.plural))
        .collect();
    each.join(", ")
}

/// How an import goes on.
const AGAIN: &str = "kedge-hub import --config FILE < EXPORT";

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use kedge_api::{Resource, Server, resources::ServerSpec};
    use kedge_store::{EmbeddedStore, MetaKey};

    use super::*;
    use crate::config::Config;

    fn settings(folder: &Path) -> Settings {
        let path = folder.join("hub.toml");
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(&path, format!("state-dir = \"{}\"\n", folder.display())).unwrap();
        Config::load(&path).unwrap()
    }

    fn shown(failure: &Failure) -> String {
        let mut out = Vec::new();
        failure.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn what_one_hub_had_the_other_has_and_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (
            settings(&folder.path().join("old")),
            settings(&folder.path().join("new")),
        );
        let store = EmbeddedStore::open(crate::stores::embedded_path(&old))
            .unwrap()
            .shared();
        let server = Server::new("web01".parse().unwrap(), ServerSpec::default());
        store.create(&server).await.unwrap();
        // A hub that runs has the file to itself.
        let (mut out, mut said) = (Vec::new(), Vec::new());
        let busy = export(&old, &mut out, &mut said).await.unwrap_err();
        assert!(
            shown(&busy).contains("in use by another process"),
            "{}",
            shown(&busy)
        );
        drop(store);

        export(&old, &mut out, &mut said).await.unwrap();
        import(&new, Cursor::new(out.clone()), &mut said)
            .await
            .unwrap();
        assert_eq!(
            String::from_utf8(said).unwrap(),
            "exported 1 servers, 0 jointokens, 0 accesspolicies\n\
             imported 1 servers, 0 jointokens, 0 accesspolicies\n"
        );
        let mut said = Vec::new();
        let full = import(&new, Cursor::new(out.clone()), &mut said)
            .await
            .unwrap_err();
        assert!(
            shown(&full).contains("the store is not empty: it has 1 servers"),
            "{}",
            shown(&full)
        );
        let cut = import(&new, Cursor::new(out[..out.len() - 9].to_vec()), &mut said).await;
        assert!(shown(&cut.unwrap_err()).starts_with("error: the export is cut"));

        let store = EmbeddedStore::open(crate::stores::embedded_path(&new))
            .unwrap()
            .shared();
        store.get::<Server>("web01").await.unwrap();
        whole(&*store).await.unwrap();
        store
            .set_meta(MetaKey::Import, "x".to_owned())
            .await
            .unwrap();
        let failed = shown(&whole(&*store).await.unwrap_err());
        assert!(
            failed.ends_with("hint: kedge-hub import --config FILE < EXPORT\n"),
            "{failed}"
        );
    }
}
