//! What several tests of the embedded store begin with.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "helpers of tests, of which each file uses its own part"
)]

use std::path::Path;

use kedge_api::resources::ServerSpec;
use kedge_api::{Resource, Server};
use kedge_store::{EmbeddedStore, HistoryLine, HistoryQuery, Options, SharedStore};

/// A file that may have no more pages than this.
pub fn limited(max_pages: u32) -> Options {
    Options {
        max_pages,
        ..Options::default()
    }
}

/// Makes a store with `web01` in it, and closes it.
pub async fn with_one_server(path: &Path) -> Server {
    let store = EmbeddedStore::open(path).unwrap().shared();
    let server = Server::new("web01".parse().unwrap(), ServerSpec::default());
    store.create(&server).await.unwrap()
}

/// A server that takes room.
pub fn large(name: &str, bytes: usize) -> Server {
    let mut server = Server::new(name.parse().unwrap(), ServerSpec::default());
    let annotations = &mut server.metadata.annotations;
    annotations.insert("ballast".parse().unwrap(), "x".repeat(bytes));
    server
}

/// The whole history.
pub async fn history(store: &SharedStore) -> Vec<HistoryLine> {
    let mut query = HistoryQuery {
        limit: 1000,
        ..HistoryQuery::default()
    };
    let mut lines = Vec::new();
    loop {
        let page = store.history(query).await.unwrap();
        lines.extend(page.lines.into_iter().map(|stored| stored.line));
        match page.next {
            None => return lines,
            next => query.after = next,
        }
    }
}
