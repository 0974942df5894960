//! Names and contents that mean harm.

use kedge_api::Server;

use super::{server, version};
use crate::{MetaKey, Precondition, SharedStore, StoreError};

/// A name that cannot be is one that is not there, for every operation.
pub async fn hostile_names_are_not_found(store: SharedStore) {
    store.create(&server("web01")).await.unwrap();
    let long = "x".repeat(64 * 1024);
    for hostile in [
        "",
        "../web01",
        "web01/",
        "/web01",
        "WEB01",
        "web01 ",
        "web01\0",
        "web01\n",
        "web%",
        "web0_",
        "*",
        "'; DROP TABLE objects; --",
        "-oProxyCommand=x",
        "web01?watch=1",
        "web01/status",
        "\u{202e}10bew",
        "ｗｅｂ01",
        long.as_str(),
    ] {
        let read = store.get::<Server>(hostile).await.unwrap_err();
        assert!(
            matches!(read, StoreError::NotFound { .. }),
            "{hostile:?}: {read}"
        );
        assert!(read.to_string().len() < 1024);
        assert!(!read.to_string().contains(['\n', '\0', '\u{202e}']));
        let deleted = store
            .delete::<Server>(hostile, Precondition::None)
            .await
            .unwrap_err();
        assert!(
            matches!(deleted, StoreError::NotFound { .. }),
            "{hostile:?}: {deleted}"
        );
    }
    store.get::<Server>("web01").await.unwrap();
}

/// What people write into annotations is stored as it is, byte for byte.
pub async fn hostile_contents_come_back_as_they_were(store: SharedStore) {
    let mut wanted = server("web01");
    for (index, text) in [
        "'; DROP TABLE objects; --",
        "nul \0 and \u{7f} and \u{202e}",
        "\"quotes\" \\ {} [] \n\r\t",
        "größe 🦀 \u{10ffff}",
        &"x".repeat(32 * 1024),
    ]
    .iter()
    .enumerate()
    {
        wanted
            .metadata
            .annotations
            .insert(format!("a{index}").parse().unwrap(), (*text).to_owned());
    }
    let made = store.create(&wanted).await.unwrap();
    assert_eq!(made.metadata.annotations, wanted.metadata.annotations);
    assert_eq!(
        store.get::<Server>("web01").await.unwrap().metadata,
        made.metadata
    );
    let gone = store
        .delete::<Server>("web01", Precondition::Version(version(&made)))
        .await;
    assert_eq!(
        gone.unwrap().metadata.annotations,
        wanted.metadata.annotations
    );
}

/// Who sets a text of the hub first, sets it; everybody sees the same.
pub async fn a_text_of_the_hub_is_set_once(store: SharedStore) {
    assert_eq!(store.meta(MetaKey::HubId).await.unwrap(), None);
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            store
                .init_meta(MetaKey::HubId, format!("hub-{index}"))
                .await
        });
    }
    let answers = tasks.join_all().await;
    let first = answers[0].clone().unwrap();
    for answer in answers {
        assert_eq!(answer.unwrap(), first);
    }
    assert_eq!(store.meta(MetaKey::HubId).await.unwrap(), Some(first));
}
