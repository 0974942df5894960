//! The issuer's keys: which are taken, how they change, and how often the issuer is asked.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use futures_util::future::join_all;
use kedge_identity::{Algorithm, IssuerState};
use serde_json::{Value, json};
use tokio::time::advance;

use crate::world::{Issuer, Mood, SigningKey, World, refused};

#[tokio::test]
async fn a_second_token_asks_nobody() {
    let world = World::new();
    world.verify(&world.good()).await.unwrap();
    for subject in ["bob", "carol"] {
        let token = world.with_claim("sub", json!(subject));
        for _ in 0..10 {
            world.verify(&token).await.unwrap();
        }
    }
    assert_eq!(world.issuer.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rotated_key_is_found_without_a_restart() {
    let world = World::new();
    world.verify(&world.good()).await.unwrap();
    let new = SigningKey::new(Algorithm::EdDsa, "k2");
    world.issuer.publish(&[&world.key, &new]);
    let header = json!({"alg": "EdDSA", "kid": "k2"}).to_string();
    let token = new.token(&header, &world.issuer.claims().to_string());
    world.verify(&token).await.unwrap();
    assert_eq!(world.issuer.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_leaves_takes_its_verdicts_along() {
    let world = World::new();
    let old = world.good();
    world.verify(&old).await.unwrap();
    let new = SigningKey::new(Algorithm::Es256, "k2");
    world.issuer.publish(&[&new]);
    world.verify(&old).await.unwrap();
    let header = json!({"alg": "ES256", "kid": "k2"}).to_string();
    let token = new.token(&header, &world.issuer.claims().to_string());
    world.verify(&token).await.unwrap();
    world.refused(&old, "key").await;

    // Another key under the same id is another key.
    let impostor = SigningKey::new(Algorithm::Es256, "k2");
    world.issuer.publish(&[&impostor]);
    advance(Duration::from_secs(30)).await;
    world
        .refused(&world.with_header("kid", json!("k3")), "key")
        .await;
    world.refused(&token, "signature").await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_unknown_keys_ask_the_issuer_once_in_thirty_seconds() {
    let world = World::new();
    world.verify(&world.good()).await.unwrap();
    let unknown = |number: usize| world.with_header("kid", json!(format!("unknown-{number}")));
    for number in 0..1000 {
        world.refused(&unknown(number), "key").await;
    }
    assert_eq!(world.issuer.asked(), 2);
    advance(Duration::from_millis(29_900)).await;
    world.refused(&unknown(1), "key").await;
    assert_eq!(world.issuer.asked(), 2);
    advance(Duration::from_millis(100)).await;
    for number in 0..1000 {
        world.refused(&unknown(number), "key").await;
    }
    assert_eq!(world.issuer.asked(), 3);
    world.verify(&world.good()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reload_does_not_lift_the_limit_on_asking() {
    let world = World::new();
    world.verify(&world.good()).await.unwrap();
    world
        .refused(&world.with_header("kid", json!("x")), "key")
        .await;
    world.verifier.replace(vec![world.issuer.rules()]);
    world
        .refused(&world.with_header("kid", json!("y")), "key")
        .await;
    assert_eq!(world.issuer.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_at_once_make_one_request() {
    let world = World::new();
    world.issuer.feels(Mood::Gated);
    let tokens: Vec<_> = (0..200)
        .map(|number| world.with_claim("sub", json!(format!("user-{number}"))))
        .collect();
    let all = join_all(tokens.iter().map(|token| world.verify(token)));
    let open = async {
        tokio::task::yield_now().await;
        world.issuer.gate.add_permits(100);
    };
    let (verdicts, ()) = tokio::join!(all, open);
    assert!(verdicts.iter().all(Result::is_ok));
    assert_eq!(world.issuer.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn more_than_may_wait_are_told_to_come_again() {
    let world = World::new();
    world.issuer.feels(Mood::Gated);
    let most = kedge_identity::defaults::WAITING_MAX;
    let tokens: Vec<_> = (0..most + 10)
        .map(|number| world.with_claim("sub", json!(format!("user-{number}"))))
        .collect();
    let all = join_all(tokens.iter().map(|token| world.verify(token)));
    let open = async {
        tokio::task::yield_now().await;
        world.issuer.gate.add_permits(100);
    };
    let (verdicts, ()) = tokio::join!(all, open);
    let (good, bad): (Vec<_>, Vec<_>) = verdicts.into_iter().partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (most, 10));
    for error in bad.into_iter().map(Result::unwrap_err) {
        assert!(error.is_unavailable(), "{error}");
    }
    // They do, and nothing of it stays.
    for token in &tokens {
        world.verify(token).await.unwrap();
    }
    assert_eq!(world.issuer.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_who_leaves_does_not_end_it_for_the_others() {
    let world = World::new();
    world.issuer.feels(Mood::Gated);
    let token = world.good();
    let mut first = Box::pin(world.verify(&token));
    assert!(first.as_mut().now_or_never().is_none());
    let mut second = Box::pin(world.verify(&token));
    assert!(second.as_mut().now_or_never().is_none());
    drop(first);
    world.issuer.gate.add_permits(1);
    second.await.unwrap();
    assert_eq!(world.issuer.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_without_a_key_id_is_believed_only_if_one_key_fits() {
    let world = World::new();
    let header = json!({"alg": "ES256"}).to_string();
    let bare = world.key.token(&header, &world.issuer.claims().to_string());
    world.verify(&bare).await.unwrap();

    // A key of another kind does not stand in the way.
    let other = SigningKey::new(Algorithm::EdDsa, "k2");
    world.issuer.publish(&[&world.key, &other]);
    let verifier = world.issuer.verifier();
    verifier.verify(&bare).await.unwrap();

    let second = SigningKey::new(Algorithm::Es256, "k3");
    world.issuer.publish(&[&world.key, &second]);
    let verifier = world.issuer.verifier();
    let words = refused(&verifier, &bare, "key").await;
    assert!(words.contains("no `kid`"), "{words}");
    assert_eq!(world.issuer.asked(), 3, "asking again would not help");
}

#[tokio::test(start_paused = true)]
async fn without_key_ids_a_rotated_key_is_found_too() {
    let world = World::new();
    let header = json!({"alg": "ES256"}).to_string();
    let claims = world.issuer.claims().to_string();
    world
        .verify(&world.key.token(&header, &claims))
        .await
        .unwrap();
    let new = SigningKey::new(Algorithm::Es256, "k1");
    world.issuer.publish(&[&new]);
    world.verify(&new.token(&header, &claims)).await.unwrap();
    world
        .refused(&world.key.token(&header, &claims), "signature")
        .await;
}

#[tokio::test]
async fn two_keys_of_one_id_are_no_key_unless_one_fits() {
    let world = World::new();
    let twin = SigningKey::new(Algorithm::EdDsa, "k1");
    world.issuer.publish(&[&twin, &world.key]);
    world.verify(&world.good()).await.unwrap();

    let twin = SigningKey::new(Algorithm::Es256, "k1");
    world.issuer.publish(&[&world.key, &twin]);
    let verifier = world.issuer.verifier();
    refused(&verifier, &world.good(), "key").await;
}

#[tokio::test]
async fn keys_that_are_of_no_use_are_skipped_and_counted() {
    let world = World::new();
    let es256 = world.key.jwk();
    let rsa = SigningKey::new(Algorithm::Rs256, "rsa").jwk();
    let with = |jwk: &Value, name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        jwk
    };
    let number = |bits: usize| {
        let mut bytes = vec![0xff; bits / 8];
        bytes.insert(0, 0);
        json!(URL_SAFE_NO_PAD.encode(bytes))
    };
    let useless = [
        json!(null),
        json!("key"),
        json!({}),
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "kid": "k1", "pub": "AAAA"}),
        json!({"kty": "OKP", "crv": "Ed448", "kid": "k1", "x": "AAAA"}),
        json!({"kty": "OKP", "crv": "X25519", "kid": "k1", "x": URL_SAFE_NO_PAD.encode([1; 32])}),
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": URL_SAFE_NO_PAD.encode([1; 31])}),
        json!({"kty": "EC", "crv": "P-521", "kid": "k1", "x": "AAAA", "y": "AAAA"}),
        with(&es256, "use", json!("enc")),
        with(&es256, "use", json!(1)),
        with(&es256, "key_ops", json!(["sign"])),
        with(&es256, "key_ops", json!("verify")),
        with(&es256, "alg", json!("HS256")),
        with(&es256, "alg", json!("RS256")),
        with(&es256, "alg", json!("none")),
        with(&es256, "kid", json!(7)),
        with(&es256, "kid", json!("x".repeat(257))),
        with(&es256, "crv", json!("P-384")),
        with(&es256, "x", json!("not base64!")),
        // Not on the curve.
        with(&es256, "y", es256["x"].clone()),
        // Everybody has the private half.
        with(&es256, "d", json!(URL_SAFE_NO_PAD.encode([1; 32]))),
        with(&rsa, "n", number(1024)),
        with(&rsa, "n", number(2040)),
        with(&rsa, "n", number(16_384)),
        with(&rsa, "n", json!("")),
        with(&rsa, "e", json!("AQ")),
        with(&rsa, "e", json!("AQAA")),
        with(&rsa, "e", json!("")),
        with(&rsa, "e", json!("AQAAAAAB")),
    ];
    let mut keys = useless.to_vec();
    keys.push(with(&es256, "key_ops", json!(["verify"])));
    *world.issuer.jwks.lock().unwrap() = json!({ "keys": keys });
    world.verify(&world.good()).await.unwrap();
    let health = world.verifier.health().remove(0);
    assert_eq!((health.keys, health.skipped), (1, useless.len()));

    for jwk in useless {
        let shown = jwk.to_string();
        *world.issuer.jwks.lock().unwrap() = json!({ "keys": [jwk] });
        let verifier = world.issuer.verifier();
        let error = verifier.verify(&world.good()).await.unwrap_err();
        assert!(error.is_unavailable(), "{shown}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_at_the_start_and_again_when_the_issuer_says() {
    let world = World::new();
    *world.issuer.cache_control.lock().unwrap() = Some("max-age=600".to_owned());
    let verifier = Arc::clone(&world.verifier);
    let mut changes = verifier.changes();
    let stop = tokio::sync::Notify::new();
    let keep = verifier.run(stop.notified());
    let watch = async {
        changes.changed().await.unwrap();
        assert_eq!(world.issuer.asked(), 1);
        let started = tokio::time::Instant::now();
        changes.changed().await.unwrap();
        assert_eq!(started.elapsed().as_secs(), 600);
        assert_eq!(world.issuer.asked(), 2);
        assert!(matches!(
            world.verifier.health()[0].state,
            IssuerState::Working { .. }
        ));
        stop.notify_one();
    };
    tokio::join!(keep, watch);
}

#[tokio::test(start_paused = true)]
async fn whoever_keeps_the_keys_fresh_sees_a_fetch_through_that_everybody_left() {
    let world = World::new();
    world.issuer.feels(Mood::Gated);
    let token = world.good();
    let mut only = Box::pin(world.verify(&token));
    assert!(only.as_mut().now_or_never().is_none());
    drop(only);
    let verifier = Arc::clone(&world.verifier);
    let mut changes = verifier.changes();
    let stop = tokio::sync::Notify::new();
    let watch = async {
        world.issuer.gate.add_permits(1);
        changes.changed().await.unwrap();
        stop.notify_one();
    };
    tokio::join!(verifier.run(stop.notified()), watch);
    assert_eq!(world.issuer.asked(), 1);
    world.issuer.feels(Mood::Down);
    world.verify(&token).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_a_token_began_is_seen_through_after_its_owner_left() {
    let world = World::new();
    let verifier = Arc::clone(&world.verifier);
    let mut changes = verifier.changes();
    let stop = tokio::sync::Notify::new();
    let watch = async {
        changes.changed().await.unwrap();
        world.issuer.feels(Mood::Gated);
        let unknown = world.with_header("kid", json!("k2"));
        let mut only = Box::pin(world.verify(&unknown));
        assert!(only.as_mut().now_or_never().is_none());
        drop(only);
        let started = tokio::time::Instant::now();
        world.issuer.gate.add_permits(1);
        changes.changed().await.unwrap();
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert_eq!(world.issuer.asked(), 2);
        stop.notify_one();
    };
    tokio::join!(verifier.run(stop.notified()), watch);
}

#[tokio::test]
async fn an_issuer_that_is_removed_is_not_believed_any_more() {
    let world = World::new();
    let token = world.good();
    world.verify(&token).await.unwrap();
    let changes = world.verifier.changes();
    world.verifier.replace(Vec::new());
    assert!(changes.has_changed().unwrap());
    world.refused(&token, "unknown-issuer").await;
    assert_eq!(world.verifier.health(), []);
}

#[tokio::test]
async fn other_rules_count_at_once_and_need_no_other_keys() {
    let world = World::new();
    let token = world.good();
    world.verify(&token).await.unwrap();
    let mut rules = world.issuer.rules();
    rules.audiences = ["another".to_owned()].into();
    world.verifier.replace(vec![rules]);
    world.refused(&token, "audience").await;
    world.issuer.feels(Mood::Down);
    world.verifier.replace(vec![world.issuer.rules()]);
    world.verify(&token).await.unwrap();
    assert_eq!(world.issuer.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn rules_that_change_while_the_issuer_is_asked_count() {
    let world = World::new();
    world.issuer.feels(Mood::Gated);
    let token = world.good();
    let mut verdict = Box::pin(world.verify(&token));
    assert!(verdict.as_mut().now_or_never().is_none());
    world.verifier.replace(Vec::new());
    world.issuer.gate.add_permits(1);
    assert_eq!(verdict.await.unwrap_err().reason(), "unknown-issuer");
}

#[tokio::test]
async fn another_issuers_trouble_is_its_own() {
    let world = World::new();
    let other = Issuer::new("https://two.example", &world.clock, &[]);
    other.feels(Mood::Silent);
    world
        .verifier
        .replace(vec![world.issuer.rules(), other.rules()]);
    world.verify(&world.good()).await.unwrap();
    assert_eq!(other.urls().len(), 0);
}
