//! What every implementation of [`Store`](crate::Store) must do: one suite, run against each of them.
//!
//! An implementation's test says how to make an empty store, and gets one test per promise:
//!
//! ```text
//! async fn fresh() -> (SharedStore, TempDir) { … }
//! kedge_store::conformance_suite!(fresh);
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a suite of tests: each of them ends by panicking when its promise is broken"
)]

mod changes;
mod history;
mod hostile;
mod races;
mod watches;

use kedge_api::meta::Changed;
use kedge_api::resources::{AccessPolicySpec, ServerSpec};
use kedge_api::{
    AccessPolicy, LabelSelector, ObjectName, Resource, ResourceVersion, Server, ServerPhase,
    WatchEvent,
};

pub use changes::*;
pub use history::*;
pub use hostile::*;
pub use races::*;
pub use watches::*;

/// Makes a test of each promise. The argument is the path of an `async fn() -> (SharedStore, impl
/// Drop)` that makes an empty store, and whatever must live as long as it.
#[macro_export]
macro_rules! conformance_suite {
    ($fresh:path) => {
        $crate::conformance_suite!(@each $fresh;
            a_dropped_watch_hinders_nobody
            a_text_of_the_hub_is_set_once
            a_text_of_the_hub_may_be_replaced
            a_version_from_the_future_has_expired
            a_watch_from_a_list_misses_nothing
            a_watch_from_the_start_begins_with_what_is_there
            a_watch_tells_in_order
            an_update_changes_all_but_the_status
            an_update_needs_the_version
            creation_stamps_what_the_store_owns
            deletion_gives_the_last_state
            history_comes_back_in_order
            history_is_no_object
            history_is_pruned_from_its_old_end
            history_is_read_in_pages
            history_knows_whom_it_is_about
            history_pages_are_bounded_in_bytes
            hostile_contents_come_back_as_they_were
            hostile_names_are_not_found
            kinds_do_not_mix
            lists_are_sorted_and_selected
            no_change_is_no_write
            raced_creations_have_one_winner
            raced_modifications_lose_nothing
            raced_updates_have_one_winner
            selection_is_left_and_entered
            status_updates_change_nothing_else
            versions_only_grow
            what_is_not_there_is_not_found
            what_is_there_already_exists
        );
    };
    (@each $fresh:path; $($promise:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                let (store, guard) = $fresh().await;
                $crate::conformance::$promise(store).await;
                drop(guard);
            }
        )+
    };
}

fn name(text: &str) -> ObjectName {
    text.parse().expect("a legal name")
}

fn server(text: &str) -> Server {
    Server::new(name(text), ServerSpec::default())
}

fn labelled(text: &str, labels: &[(&str, &str)]) -> Server {
    let mut server = server(text);
    for (key, value) in labels {
        server
            .metadata
            .labels
            .insert(key.parse().unwrap(), value.parse().unwrap());
    }
    server
}

fn policy(text: &str) -> AccessPolicy {
    let spec: AccessPolicySpec = serde_json::from_value(serde_json::json!({
        "subjects": {"users": ["alice"]},
        "servers": {"names": ["*"]},
        "logins": ["{login}"],
    }))
    .unwrap();
    AccessPolicy::new(name(text), spec)
}

fn everything() -> LabelSelector {
    LabelSelector::default()
}

fn selector(text: &str) -> LabelSelector {
    text.parse().expect("a legal selector")
}

fn version<R: Resource>(object: &R) -> ResourceVersion {
    object
        .metadata()
        .resource_version
        .expect("a stored object has a version")
}

fn online(server: &mut Server) -> Changed {
    server.status.phase = ServerPhase::Online;
    Changed::Yes
}

/// `+web01`, `~web01`, `-web01`, `=` for a bookmark.
fn short(event: &WatchEvent<Server>) -> String {
    match event {
        WatchEvent::Added(server) => format!("+{}", server.metadata.name),
        WatchEvent::Modified(server) => format!("~{}", server.metadata.name),
        WatchEvent::Deleted(server) => format!("-{}", server.metadata.name),
        WatchEvent::Bookmark(_) => "=".to_owned(),
        other => panic!("unexpected {other:?}"),
    }
}
