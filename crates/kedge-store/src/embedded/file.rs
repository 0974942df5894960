//! The file: opening it, refusing it, and its tables.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kedge_api::ResourceVersion;
use kedge_api::defaults::SPAN_MAX;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::Options;
use super::history::History;
use crate::apply::version_of;
use crate::defaults::WAL_BYTES;
use crate::raw::Snapshot;
use crate::view::{Meta, Objects};

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its contents are not what was written.
    #[error("store {} is damaged: {cause}; restore it from a backup", path.display())]
    Damaged {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// SQLite refused.
    #[error("cannot open store {}: {cause}", path.display())]
    Engine {
        /// Where it is.
        path: PathBuf,
        /// What it said.
        cause: String,
    },
    /// No room for it.
    #[error("no room left to open the store {}", path.display())]
    Full {
        /// Where it is.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error("store {} is in use by another process; one hub at a time may have it", path.display())]
    InUse {
        /// Where it is.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("cannot {action} store {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A newer kedge-hub wrote it.
    #[error(
        "store {} has schema version {found}, and this kedge-hub knows versions up to {known}; \
         upgrade kedge-hub",
        path.display()
    )]
    Newer {
        /// Where it is.
        path: PathBuf,
        /// The version it has.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// It is some other file.
    #[error("{} is not a store of kedge-hub; nothing was changed in it", path.display())]
    NotAStore {
        /// Where it is.
        path: PathBuf,
    },
}

/// The open file, and the lock that goes with it.
pub(super) struct Opened {
    pub(super) file: StoreFile,
    pub(super) objects: Objects,
    pub(super) meta: Meta,
    pub(super) version: ResourceVersion,
    pub(super) history: History,
}

/// The connection; the lock is given back after it is closed.
pub(super) struct StoreFile {
    pub(super) connection: Connection,
    _lock: File,
}

/// Opens the store, or makes it.
pub(super) fn open(path: &Path, options: &Options) -> Result<Opened, OpenError> {
    let failed = |action| {
        move |source| OpenError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed("make the folder of"))?;
    }
    let lock = lock(path)?;
    let file = private(path).map_err(failed("open"))?;
    if file
        .metadata()
        .map_err(failed("look at"))?
        .permissions()
        .mode()
        & 0o077
        != 0
    {
        file.set_permissions(Permissions::from_mode(0o600))
            .map_err(failed("make private the"))?;
    }
    // A file whose name is not on disk is no place for an acknowledged write.
    let folder =
        File::open(folder.unwrap_or(Path::new("."))).map_err(failed("open the folder of"))?;
    folder.sync_all().map_err(failed("sync the folder of"))?;
    drop(file);

    let connection = connect(path).map_err(|error| refusal(path, &error))?;
    check(path, &connection, options.check_bytes)?;
    prepare(&connection, options.max_pages).map_err(|error| refusal(path, &error))?;
    let (objects, meta, version) = load(path, &connection)?;
    let history = History::load(&connection).map_err(|error| refusal(path, &error))?;
    Ok(Opened {
        file: StoreFile {
            connection,
            _lock: lock,
        },
        objects,
        meta,
        version,
        history,
    })
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let failed = |source| OpenError::Io {
        action: "lock",
        path: path.to_owned(),
        source,
    };
    let lock = private(Path::new(&name)).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // Alone with the file: no shared-memory file beside it, which could not grow on a full disk.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    Ok(connection)
}

/// Refuses what is not ours to write, before anything is written.
fn check(path: &Path, connection: &Connection, whole_bytes: u64) -> Result<(), OpenError> {
    let path = || path.to_owned();
    let number = |query: &str| {
        connection
            .query_row(query, [], |row| row.get::<_, i64>(0))
            .map_err(|error| refusal(&path(), &error))
    };
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    match (application, version) {
        (0, 0) if tables == 0 => {}
        (APPLICATION_ID, found) if found > i64::from(SCHEMA_VERSION) => {
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            return Err(OpenError::Newer {
                path: path(),
                found,
                known: SCHEMA_VERSION,
            });
        }
        (APPLICATION_ID, 1..) => {}
        _ => return Err(OpenError::NotAStore { path: path() }),
    }
    let bytes = number("PRAGMA page_count")?.saturating_mul(number("PRAGMA page_size")?);
    // A table that is not there yet is no damage; a whole check is one of every table.
    let checks: &[&str] = if u64::try_from(bytes).is_ok_and(|bytes| bytes <= whole_bytes) {
        &["PRAGMA quick_check(1)"]
    } else {
        &[
            "PRAGMA quick_check(sqlite_schema)",
            "PRAGMA quick_check(meta)",
            "PRAGMA quick_check(objects)",
        ]
    };
    for check in checks {
        let verdict: String = connection
            .query_row(check, [], |row| row.get(0))
            .map_err(|error| refusal(&path(), &error))?;
        if verdict != "ok" {
            return Err(OpenError::Damaged {
                path: path(),
                cause: verdict,
            });
        }
    }
    Ok(())
}

fn prepare(connection: &Connection, max_pages: u32) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    // An acknowledged write is on the disk, not on its way there.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.query_row(
        &format!("PRAGMA journal_size_limit = {WAL_BYTES}"),
        [],
        |_| Ok(()),
    )?;
    if max_pages > 0 {
        connection.query_row(&format!("PRAGMA max_page_count = {max_pages}"), [], |_| {
            Ok(())
        })?;
    }
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    migrate(connection, version)
}

/// Takes the file from the version it has to the newest, in one transaction.
fn migrate(connection: &Connection, from: u32) -> rusqlite::Result<()> {
    if from >= SCHEMA_VERSION {
        return Ok(());
    }
    let transaction = connection.unchecked_transaction()?;
    if from < 1 {
        transaction.execute_batch(&format!(
            "CREATE TABLE objects (
                 kind TEXT NOT NULL,
                 name TEXT NOT NULL,
                 version INTEGER NOT NULL,
                 body TEXT NOT NULL,
                 PRIMARY KEY (kind, name)
             ) STRICT;
             CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT;
             INSERT INTO meta (key, value) VALUES ('{VERSION_KEY}', '1');
             PRAGMA application_id = {APPLICATION_ID};"
        ))?;
    }
    if from < 2 {
        // The id ends each index, so that both are in the order in which they are read.
        transaction.execute_batch(
            "CREATE TABLE history (
                 id INTEGER PRIMARY KEY,
                 at INTEGER NOT NULL,
                 about TEXT NOT NULL,
                 body TEXT NOT NULL
             ) STRICT;
             CREATE INDEX history_at ON history (at);
             CREATE INDEX history_about ON history (about, at);",
        )?;
        // Policies of that time said `maxSessionSeconds: 60` for what is `maxSession: 60s` now. A field that nobody
        // knows makes a policy unreadable, and without one of them nobody is let in.
        transaction.execute_batch(&format!(
            "UPDATE objects SET body = json_remove(
                 json_set(body, '$.spec.constraints.maxSession',
                     min(max(body ->> '$.spec.constraints.maxSessionSeconds', 1), {SPAN_MAX}) || 's'),
                 '$.spec.constraints.maxSessionSeconds')
             WHERE kind = 'accesspolicies'
                 AND json_type(body, '$.spec.constraints.maxSessionSeconds') = 'integer';",
            SPAN_MAX = SPAN_MAX.as_secs(),
        ))?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()
}

fn load(
    path: &Path,
    connection: &Connection,
) -> Result<(Objects, Meta, ResourceVersion), OpenError> {
    let failed = |error| refusal(path, &error);
    let damaged = |cause| OpenError::Damaged {
        path: path.to_owned(),
        cause,
    };

    let mut meta = Meta::new();
    let mut query = connection
        .prepare("SELECT key, value FROM meta")
        .map_err(failed)?;
    let pairs = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(failed)?;
    for pair in pairs {
        let (key, value): (String, String) = pair.map_err(failed)?;
        meta.insert(key, value);
    }
    let version: ResourceVersion = meta
        .remove(VERSION_KEY)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| damaged("it has no resource version".to_owned()))?;

    let mut objects = Objects::new();
    let mut query = connection
        .prepare("SELECT kind, name, body FROM objects")
        .map_err(failed)?;
    let rows = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .map_err(failed)?;
    for row in rows {
        let (kind, name, body): (String, String, String) = row.map_err(failed)?;
        let unreadable = |cause: &str| damaged(format!("{kind} {name:?} {cause}"));
        let object: serde_json::Value =
            serde_json::from_str(&body).map_err(|_| unreadable("is not JSON"))?;
        if version_of(&object).is_none_or(|own| own > version) {
            return Err(unreadable(
                "has no resource version, or one from the future",
            ));
        }
        objects
            .entry(kind)
            .or_default()
            .insert(name, Snapshot::of(&object));
    }
    Ok((objects, meta, version))
}

/// What an error of the engine means for somebody who opens a store.
fn refusal(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::InUse { path },
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged {
            path,
            cause: error.to_string(),
        },
        Some(ErrorCode::DiskFull) => OpenError::Full { path },
        Some(ErrorCode::NotADatabase) => OpenError::NotAStore { path },
        _ => OpenError::Engine {
            path,
            cause: error.to_string(),
        },
    }
}

/// The row of `meta` that counts writes.
pub(super) const VERSION_KEY: &str = "resource-version";
/// The tables as they are below. A change of them is a new version and a migration.
const SCHEMA_VERSION: u32 = 2;
/// `kedg`, in the header of every file of ours.
const APPLICATION_ID: i64 = 0x6b65_6467;

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_commit_is_on_the_disk_before_it_is_acknowledged() {
        let folder = TempDir::new().unwrap();
        let opened = open(&folder.path().join("store.db"), &Options::default()).unwrap();
        let pragma = |name: &str| {
            let query = format!("PRAGMA {name}");
            let read = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
            opened.file.connection.query_row(&query, [], read).unwrap()
        };
        assert_eq!(pragma("journal_mode"), "wal".to_owned().into());
        assert_eq!(pragma("synchronous"), 2.into());
        assert_eq!(pragma("locking_mode"), "exclusive".to_owned().into());
    }
}
