//! Issuers that are down, slow, huge or somebody else.

use std::sync::Arc;
use std::time::Duration;

use kedge_identity::{Algorithm, IssuerState, KeySnapshot, VerifyError};
use serde_json::json;
use tokio::time::{Instant, advance};

use crate::world::{Mood, SigningKey, World};

const HOUR: i64 = 3600;

/// That a good token cannot be judged; why, in words.
async fn unavailable(world: &World, token: &str) -> String {
    let error = world.verify(token).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    error.to_string()
}

fn state(world: &World) -> IssuerState {
    world.verifier.health().remove(0).state
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_is_said_to_be_and_believed_when_it_is_back() {
    let world = World::new();
    world.issuer.feels(Mood::Down);
    let words = unavailable(&world, &world.good()).await;
    assert!(
        words.contains("connection refused") && words.contains(&world.issuer.url),
        "{words}"
    );
    assert!(matches!(state(&world), IssuerState::Unreachable { .. }));
    world.issuer.feels(Mood::Fine);
    // Not asked again for every token …
    unavailable(&world, &world.good()).await;
    // … but soon.
    advance(Duration::from_secs(5)).await;
    world.verify(&world.good()).await.unwrap();
    assert!(matches!(state(&world), IssuerState::Working { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_tokens_of_an_issuer_that_is_down_ask_it_once_in_five_seconds() {
    let world = World::new();
    world.issuer.feels(Mood::Down);
    for _ in 0..1000 {
        unavailable(&world, &world.good()).await;
    }
    let discovery = format!("{}/.well-known/openid-configuration", world.issuer.url);
    assert_eq!(world.issuer.asked_for(&discovery), 1);
}

#[tokio::test(start_paused = true)]
async fn people_with_valid_tokens_go_on_while_the_issuer_is_down() {
    let world = World::new();
    let token = world.good();
    world.verify(&token).await.unwrap();
    world.issuer.feels(Mood::Down);
    world.verify(&token).await.unwrap();
    world
        .verify(&world.with_claim("sub", json!("bob")))
        .await
        .unwrap();
    // Whether there is a new key, nobody can say now.
    let unknown = world.with_header("kid", json!("k2"));
    let words = unavailable(&world, &unknown).await;
    assert!(words.contains("connection refused"), "{words}");
    unavailable(&world, &unknown).await;
    assert!(matches!(state(&world), IssuerState::Stale { .. }));
    world.verify(&token).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn old_keys_are_kept_for_a_day_and_a_half_and_no_longer() {
    let world = World::new();
    world.verify(&world.good()).await.unwrap();
    world.issuer.feels(Mood::Down);
    world.clock.forward(36 * HOUR);
    let token = world.good();
    world.verify(&token).await.unwrap();
    world.clock.forward(1);
    unavailable(&world, &token).await;
    assert!(matches!(state(&world), IssuerState::Unreachable { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_says_nothing_is_given_up_after_ten_seconds() {
    let world = World::new();
    world.issuer.feels(Mood::Silent);
    let started = Instant::now();
    let words = unavailable(&world, &world.good()).await;
    assert_eq!(started.elapsed().as_secs(), 10);
    assert!(words.contains("within 10 s"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn slow_keys_delay_nobody_whose_key_is_known() {
    let world = World::new();
    world.verify(&world.good()).await.unwrap();
    world.issuer.feels(Mood::Silent);
    let started = Instant::now();
    let bob = world.with_claim("sub", json!("bob"));
    let unknown = world.with_header("kid", json!("k2"));
    let quick = async {
        tokio::task::yield_now().await;
        world.verify(&bob).await.unwrap();
        started.elapsed()
    };
    let (slow, quick) = tokio::join!(world.verify(&unknown), quick);
    assert!(slow.unwrap_err().is_unavailable());
    assert_eq!(quick, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_no_documents_leave_the_old_keys() {
    let world = World::new();
    let token = world.good();
    world.verify(&token).await.unwrap();
    let unknown = world.with_header("kid", json!("k2"));
    for (mood, words) in [
        (Mood::Answers(500, String::new()), "500"),
        (Mood::Answers(302, "{}".into()), "302"),
        (Mood::Answers(404, "{}".into()), "404"),
        (Mood::Answers(200, "<html>".into()), "is no JSON"),
        (Mood::Answers(200, "[]".into()), "is no JSON object"),
        (Mood::Answers(200, "[".repeat(10_000)), "nests too deep"),
        (
            Mood::Answers(200, r#"{"issuer":"x","issuer":"y"}"#.into()),
            "has a key twice",
        ),
        (
            Mood::Answers(200, " ".repeat(65 * 1024)),
            "more than 65536 bytes",
        ),
        (Mood::Huge, "more than 262144 bytes"),
        (Mood::Down, "connection refused"),
    ] {
        world.issuer.feels(mood);
        advance(Duration::from_secs(30)).await;
        let found = unavailable(&world, &unknown).await;
        assert!(found.contains(words), "{found}");
        world.verify(&token).await.unwrap();
        let IssuerState::Stale { cause, .. } = state(&world) else {
            panic!("{:?}", state(&world));
        };
        assert!(cause.contains(words), "{cause}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_discovery_document_of_another_issuer_is_not_believed() {
    let world = World::new();
    let url = world.issuer.url.clone();
    for other in [
        json!("https://mallory.example"),
        json!(format!("{url}/")),
        json!(url.to_uppercase()),
        json!(null),
        json!([url]),
        json!("a\nb"),
    ] {
        *world.issuer.discovery.lock().unwrap() = json!({ "issuer": other });
        let words = unavailable(&world, &world.good()).await;
        assert!(words.contains("is of the issuer"), "{words}");
        assert!(!words.chars().any(char::is_control), "{words:?}");
        assert_eq!(world.issuer.asked(), 0, "its keys are not even asked for");
        advance(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_over_https_only() {
    let world = World::new();
    for place in [
        json!("http://id.example/jwks"),
        json!("file:///etc/passwd"),
        json!("https://user:secret@id.example/jwks"),
        json!("jwks"),
        json!(7),
        json!(null),
    ] {
        *world.issuer.discovery.lock().unwrap() = json!({ "jwks_uri": place });
        let words = unavailable(&world, &world.good()).await;
        assert!(words.contains("jwks_uri"), "{words}");
        advance(Duration::from_secs(5)).await;
    }
    assert_eq!(world.issuer.urls().len(), 1, "{:?}", world.issuer.urls());
    *world.issuer.discovery.lock().unwrap() = json!({ "jwks_uri": "https://keys.example/jwks" });
    world.verify(&world.good()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn too_many_keys_are_none() {
    let world = World::new();
    let jwk = world.key.jwk();
    for (keys, words) in [
        (json!(vec![jwk.clone(); 65]), "65 keys"),
        (json!([]), "0 keys"),
        (json!({}), "no list `keys`"),
        (json!(null), "no list `keys`"),
    ] {
        *world.issuer.jwks.lock().unwrap() = json!({ "keys": keys });
        let found = unavailable(&world, &world.good()).await;
        assert!(found.contains(words), "{found}");
        advance(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn retries_slow_down_and_the_issuer_is_found_when_it_is_back() {
    let world = World::new();
    world.issuer.feels(Mood::Down);
    let verifier = Arc::clone(&world.verifier);
    let mut changes = verifier.changes();
    let stop = tokio::sync::Notify::new();
    let discovery = format!("{}/.well-known/openid-configuration", world.issuer.url);
    let watch = async {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(600) {
            changes.changed().await.unwrap();
        }
        // 1, 2, 4, …, 60 s, each between half and whole.
        let asked = world.issuer.asked_for(&discovery);
        assert!((14..=32).contains(&asked), "{asked}");
        world.issuer.feels(Mood::Fine);
        let back = Instant::now();
        changes.changed().await.unwrap();
        assert!(back.elapsed() <= Duration::from_secs(60));
        assert!(matches!(state(&world), IssuerState::Working { .. }));
        stop.notify_one();
    };
    tokio::join!(verifier.run(stop.notified()), watch);
}

#[tokio::test(start_paused = true)]
async fn keys_from_before_a_restart_stand_in_while_the_issuer_is_down() {
    let world = World::new();
    let token = world.good();
    world.verify(&token).await.unwrap();
    let saved = serde_json::to_string(&world.verifier.snapshot()).unwrap();
    let saved: KeySnapshot = serde_json::from_str(&saved).unwrap();

    world.issuer.feels(Mood::Down);
    let restarted = World {
        verifier: world.issuer.verifier(),
        ..world
    };
    assert_eq!(restarted.verifier.restore(saved.clone()), 1);
    restarted.verify(&token).await.unwrap();
    assert_eq!(restarted.issuer.asked(), 1);
    assert!(matches!(state(&restarted), IssuerState::Stale { .. }));
    // Whoever has keys keeps them.
    assert_eq!(restarted.verifier.restore(saved), 0);
}

#[tokio::test(start_paused = true)]
async fn restored_keys_give_way_to_the_issuers_own() {
    let world = World::new();
    let token = world.good();
    world.verify(&token).await.unwrap();
    let saved = world.verifier.snapshot();
    let new = SigningKey::new(Algorithm::Es256, "k2");
    world.issuer.publish(&[&new]);

    let verifier = world.issuer.verifier();
    assert_eq!(verifier.restore(saved), 1);
    verifier.verify(&token).await.unwrap();
    let mut changes = verifier.changes();
    let stop = tokio::sync::Notify::new();
    let watch = async {
        changes.changed().await.unwrap();
        stop.notify_one();
    };
    tokio::join!(verifier.run(stop.notified()), watch);
    let error = verifier.verify(&token).await.unwrap_err();
    assert!(matches!(error, VerifyError::Key { .. }), "{error}");
}

#[tokio::test]
async fn saved_keys_that_are_old_strange_or_of_another_issuer_are_left_out() {
    let world = World::new();
    world.verify(&world.good()).await.unwrap();
    let saved = world.verifier.snapshot();
    let restored = |change: &dyn Fn(&mut KeySnapshot)| {
        let mut saved = saved.clone();
        change(&mut saved);
        world.issuer.verifier().restore(saved)
    };
    assert_eq!(restored(&|_| {}), 1);
    let later = |seconds: i64| {
        let at = jiff::Timestamp::from_second(world.clock.seconds() + seconds);
        at.unwrap().into()
    };
    assert_eq!(
        restored(&|saved| saved.issuers[0].fetched_at = later(-24 * HOUR)),
        1
    );
    assert_eq!(
        restored(&|saved| saved.issuers[0].fetched_at = later(-24 * HOUR - 1)),
        0
    );
    assert_eq!(
        restored(&|saved| saved.issuers[0].fetched_at = later(HOUR)),
        0
    );
    assert_eq!(
        restored(&|saved| saved.issuers[0].issuer = "https://two.example".parse().unwrap()),
        0
    );
    assert_eq!(restored(&|saved| saved.issuers[0].jwks.clear()), 0);
    assert_eq!(restored(&|saved| saved.issuers.clear()), 0);
    let twice = |saved: &mut KeySnapshot| saved.issuers.push(saved.issuers[0].clone());
    assert_eq!(restored(&twice), 1);
}
