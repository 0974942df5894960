//! The history: appended, read in pages, pruned from its old end.

use kedge_api::Time;

use crate::{
    HistoryCursor, HistoryLine, HistoryPage, HistoryQuery, MetaKey, SharedStore, StoreError,
};

/// What was appended comes back as it was, in the order of time, and within a second as it was appended.
pub async fn history_comes_back_in_order(store: SharedStore) {
    assert_eq!(
        store.history(everything(9)).await.unwrap(),
        HistoryPage::default()
    );
    let hostile = "{\"a\":\"\\u0000'; DROP TABLE history; --\u{202e}\"}";
    let late = vec![line(20, "bob", hostile), line(20, "alice", "2")];
    store.append(late.clone()).await.unwrap();
    store.append(Vec::new()).await.unwrap();
    let early = vec![line(10, "alice", "1"), line(30, "alice", "3")];
    store.append(early.clone()).await.unwrap();
    let expected = [&early[0], &late[0], &late[1], &early[1]];
    let page = store.history(everything(9)).await.unwrap();
    assert_eq!(
        page.lines.iter().map(|s| &s.line).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(page.next, None);
    assert!(page.lines.is_sorted_by(|a, b| a.cursor < b.cursor));
    assert!(
        page.lines
            .iter()
            .all(|stored| stored.cursor.to_string().parse() == Ok(stored.cursor))
    );
}

/// Pages follow each other without a gap or a repetition, whatever their size, also within one second.
pub async fn history_is_read_in_pages(store: SharedStore) {
    let lines: Vec<_> = (0..50).map(|n| line(n / 7, "x", &n.to_string())).collect();
    store.append(lines.clone()).await.unwrap();
    for limit in [1, 2, 7, 49, 50, 51, usize::MAX] {
        let mut query = everything(limit);
        let mut read = Vec::new();
        loop {
            let page = store.history(query).await.unwrap();
            assert!(page.lines.len() <= limit);
            assert!(!page.lines.is_empty(), "an empty page after {read:?}");
            read.extend(page.lines.into_iter().map(|stored| stored.line));
            match page.next {
                None => break,
                next => query.after = next,
            }
        }
        assert_eq!(read, lines, "in pages of {limit}");
    }
    // No page is a page of nothing.
    assert_eq!(store.history(everything(0)).await.unwrap().lines.len(), 1);
    let since = HistoryQuery {
        since: Some(at(5)),
        ..everything(100)
    };
    let page = store.history(since).await.unwrap();
    assert_eq!(page.lines.len(), 50 - 35);
    assert_eq!(page.lines[0].line, lines[35]);
    let none = HistoryQuery {
        since: Some(at(99)),
        ..everything(100)
    };
    assert_eq!(store.history(none).await.unwrap(), HistoryPage::default());
    // A cursor of a line that is gone, or was never there, is a place all the same.
    let query = HistoryQuery {
        after: Some(HistoryCursor {
            at: at(6),
            id: i64::MAX,
        }),
        ..everything(100)
    };
    let page = store.history(query).await.unwrap();
    assert_eq!(page.lines.len(), 1);
}

/// Large lines make short pages, and no line is too large for a page.
pub async fn history_pages_are_bounded_in_bytes(store: SharedStore) {
    let large = "x".repeat(64 * 1024);
    let lines: Vec<_> = (0..40).map(|n| line(n, "x", &large)).collect();
    store.append(lines).await.unwrap();
    let page = store.history(everything(1000)).await.unwrap();
    assert!(page.lines.len() < 40 && page.next.is_some());
    let error = store
        .append(vec![line(1, "x", "y"), line(1, "x", &"x".repeat(1 << 20))])
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    let error = store
        .append(vec![line(1, "x", "y"); 10_000])
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    // Of what is refused, nothing is there.
    assert_eq!(count(&store).await, 40);
}

/// The newest about somebody are found without reading everything.
pub async fn history_knows_whom_it_is_about(store: SharedStore) {
    let lines = (0..30).map(|n| line(n, ["alice", "bob", ""][n as usize % 3], &n.to_string()));
    store.append(lines.collect()).await.unwrap();
    let about = async |name: &str, limit| {
        let lines = store.history_about(name.to_owned(), limit).await.unwrap();
        lines
            .into_iter()
            .map(|stored| stored.line.body)
            .collect::<Vec<_>>()
    };
    assert_eq!(about("bob", 2).await, ["28", "25"]);
    assert_eq!(about("bob", 1000).await.len(), 10);
    assert_eq!(about("", 1).await, ["29"]);
    assert!(about("b", 9).await.is_empty() && about("bob\0", 9).await.is_empty());
}

/// Age and number prune, the oldest first, and nothing else goes.
pub async fn history_is_pruned_from_its_old_end(store: SharedStore) {
    for batch in 0..12 {
        let lines = (0..100).map(|n| line(batch * 100 + n, "x", "{}"));
        store.append(lines.collect()).await.unwrap();
    }
    let server = store.create(&super::server("web01")).await.unwrap();
    assert_eq!(store.prune(at(0), u64::MAX).await.unwrap(), 0);
    assert_eq!(store.prune(at(100), 10_000).await.unwrap(), 100);
    assert_eq!(first(&store).await, Some(at(100)));
    assert_eq!(store.prune(at(0), 300).await.unwrap(), 800);
    assert_eq!(first(&store).await, Some(at(900)));
    assert_eq!(store.prune(at(1000), 299).await.unwrap(), 100);
    assert_eq!(first(&store).await, Some(at(1000)));
    store.append(vec![line(1, "x", "{}")]).await.unwrap();
    assert_eq!(store.prune(at(2), 300).await.unwrap(), 1);
    assert_eq!(count(&store).await, 200);
    assert_eq!(store.prune(at(0), 0).await.unwrap(), 200);
    assert_eq!(count(&store).await, 0);
    store.append(vec![line(5, "x", "{}")]).await.unwrap();
    assert_eq!(count(&store).await, 1);
    assert_eq!(
        store.get::<kedge_api::Server>("web01").await.unwrap(),
        server
    );
}

/// Objects and history know nothing of each other: an append is no version, and wakes no watcher.
pub async fn history_is_no_object(store: SharedStore) {
    let before = store
        .list::<kedge_api::Server>(&super::everything())
        .await
        .unwrap();
    store.append(vec![line(1, "x", "{}")]).await.unwrap();
    let after = store
        .list::<kedge_api::Server>(&super::everything())
        .await
        .unwrap();
    assert_eq!(before.metadata, after.metadata);
}

/// A text that may change is what it was set to last.
pub async fn a_text_of_the_hub_may_be_replaced(store: SharedStore) {
    for text in ["one", "", "two\0\u{7f}"] {
        store
            .set_meta(MetaKey::IssuerKeys, text.to_owned())
            .await
            .unwrap();
        assert_eq!(
            store.meta(MetaKey::IssuerKeys).await.unwrap().as_deref(),
            Some(text)
        );
    }
    assert_eq!(store.meta(MetaKey::HubId).await.unwrap(), None);
}

fn line(seconds: i64, about: &str, body: &str) -> HistoryLine {
    HistoryLine {
        at: at(seconds),
        about: about.to_owned(),
        body: body.to_owned(),
    }
}

fn at(seconds: i64) -> Time {
    let start: Time = "2026-01-31T12:00:00Z".parse().unwrap();
    start.saturating_add(std::time::Duration::from_secs(seconds.unsigned_abs()))
}

fn everything(limit: usize) -> HistoryQuery {
    HistoryQuery {
        limit,
        ..HistoryQuery::default()
    }
}

async fn first(store: &SharedStore) -> Option<Time> {
    let page = store.history(everything(1)).await.unwrap();
    page.lines.first().map(|stored| stored.line.at)
}

async fn count(store: &SharedStore) -> usize {
    let (mut query, mut count) = (everything(1000), 0);
    loop {
        let page = store.history(query).await.unwrap();
        count += page.lines.len();
        match page.next {
            None => return count,
            next => query.after = next,
        }
    }
}
