//! Tokens that somebody made up or changed.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use kedge_identity::Algorithm;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{SigningKey, World, encode};

#[tokio::test]
async fn good_tokens_of_every_algorithm_are_believed() {
    for algorithm in Algorithm::ALL {
        let world = World::with(algorithm);
        let mut rules = world.issuer.rules();
        rules.algorithms = vec![algorithm];
        world.verifier.replace(vec![rules]);
        let token = world.with_header("alg", algorithm.as_str().into());
        let verified = world.verify(&token).await.unwrap();
        assert_eq!(verified.subject, "alice");
        assert_eq!(verified.issuer, world.issuer.url.as_str());
        assert!(verified.groups.contains("dev"));
        assert_eq!(verified.claims["preferred_username"], "alice");
    }
}

#[tokio::test]
async fn alg_none_is_refused() {
    let world = World::new();
    let claims = encode(world.issuer.claims().to_string());
    for name in ["none", "None", "NONE", "nOnE", ""] {
        let header = encode(json!({"alg": name, "kid": "k1"}).to_string());
        world
            .refused(&format!("{header}.{claims}."), "algorithm")
            .await;
        world
            .refused(&format!("{header}.{claims}.AAAA"), "algorithm")
            .await;
    }
    assert_eq!(world.issuer.asked(), 0, "nobody is asked about it");
}

#[tokio::test]
async fn a_stripped_signature_is_refused() {
    let world = World::new();
    let token = world.good();
    let (signed, _) = token.rsplit_once('.').unwrap();
    world.refused(&format!("{signed}."), "signature").await;
    world
        .refused(&format!("{signed}.{}", encode([0; 64])), "signature")
        .await;
}

#[tokio::test]
async fn hs256_keyed_with_the_public_key_is_refused() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        let world = World::with(algorithm);
        let mut rules = world.issuer.rules();
        rules.algorithms = Algorithm::ALL.to_vec();
        world.verifier.replace(vec![rules]);
        let (jwk, spki) = (world.key.jwk(), world.key.spki());
        let pem = pem(&spki);
        let secrets = [
            pem.as_bytes(),
            pem.trim_end().as_bytes(),
            jwk.to_string().as_bytes(),
            &spki,
            b"",
        ]
        .map(<[u8]>::to_vec);
        for secret in secrets {
            for (name, hash) in [
                ("HS256", hmac::HMAC_SHA256),
                ("HS384", hmac::HMAC_SHA384),
                ("HS512", hmac::HMAC_SHA512),
            ] {
                let header = encode(json!({"alg": name, "kid": "k1"}).to_string());
                let signed = format!("{header}.{}", encode(world.issuer.claims().to_string()));
                let tag = hmac::sign(&hmac::Key::new(hash, &secret), signed.as_bytes());
                let token = format!("{signed}.{}", encode(tag));
                let words = world.refused(&token, "algorithm").await;
                assert!(words.contains(name), "{words}");
                // Nor under the name of the algorithm that the key is for.
                let header = encode(world.header().to_string());
                let signed = format!("{header}.{}", encode(world.issuer.claims().to_string()));
                let tag = hmac::sign(&hmac::Key::new(hash, &secret), signed.as_bytes());
                world
                    .refused(&format!("{signed}.{}", encode(tag)), "signature")
                    .await;
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_the_token_brings_is_ignored() {
    let world = World::new();
    let mallory = SigningKey::new(Algorithm::Es256, "k1");
    for (name, value) in [
        ("jwk", mallory.jwk()),
        ("jku", json!("https://mallory.example/jwks")),
        ("x5u", json!("https://mallory.example/chain")),
        ("x5c", json!(["MIIB"])),
    ] {
        let mut header = world.header();
        header[name] = value.clone();
        let forged = mallory.token(&header.to_string(), &world.issuer.claims().to_string());
        world.refused(&forged, "signature").await;
        // Nor does it hurt: the issuer's own key counts as ever.
        world.verify(&world.with_header(name, value)).await.unwrap();
    }
    assert!(
        world
            .issuer
            .urls()
            .iter()
            .all(|url| url.starts_with(&world.issuer.url)),
        "{:?}",
        world.issuer.urls()
    );
}

#[tokio::test]
async fn a_key_that_the_token_brings_under_its_own_id_is_unknown() {
    let world = World::new();
    let mallory = SigningKey::new(Algorithm::Es256, "mallory");
    let header = json!({"alg": "ES256", "kid": "mallory", "jwk": mallory.jwk()});
    let forged = mallory.token(&header.to_string(), &world.issuer.claims().to_string());
    world.refused(&forged, "key").await;
}

#[tokio::test]
async fn an_algorithm_that_is_not_configured_is_refused() {
    let world = World::with(Algorithm::Rs384);
    let words = world
        .refused(&world.with_header("alg", json!("RS384")), "algorithm")
        .await;
    assert!(
        words.contains("`RS384`") && words.contains("`algorithms`"),
        "{words}"
    );
}

#[tokio::test]
async fn the_algorithm_must_fit_the_key() {
    let world = World::new();
    // Configured, but not of this kind of key; and the header's word does not change what a key is.
    for name in ["RS256", "EdDSA"] {
        world
            .refused(&world.with_header("alg", json!(name)), "key")
            .await;
    }
    let mut jwk = world.key.jwk();
    jwk["alg"] = "ES384".into();
    *world.issuer.jwks.lock().unwrap() = json!({ "keys": [jwk] });
    let fresh = world.issuer.verifier();
    let error = fresh.verify(&world.good()).await.unwrap_err();
    assert!(
        error.is_unavailable(),
        "no key of this issuer is usable: {error}"
    );
}

#[tokio::test]
async fn an_rsa_key_that_says_its_algorithm_is_for_no_other() {
    let world = World::with(Algorithm::Ps256);
    let mut jwk = world.key.jwk();
    jwk["alg"] = "RS256".into();
    *world.issuer.jwks.lock().unwrap() = json!({ "keys": [jwk] });
    let mut rules = world.issuer.rules();
    rules.algorithms = Algorithm::ALL.to_vec();
    world.verifier.replace(vec![rules]);
    world
        .refused(&world.with_header("alg", json!("PS256")), "key")
        .await;
}

#[tokio::test]
async fn critical_extensions_are_refused() {
    let world = World::new();
    for value in [json!(["exp"]), json!(["b64"]), json!([]), json!(null)] {
        world
            .refused(&world.with_header("crit", value), "malformed")
            .await;
    }
}

#[tokio::test]
async fn a_key_twice_is_refused() {
    let world = World::new();
    let claims = world.issuer.claims().to_string();
    let header = r#"{"alg":"ES256","alg":"ES256","kid":"k1"}"#;
    let words = world
        .refused(&world.key.token(header, &claims), "malformed")
        .await;
    assert!(words.contains("header has a key twice"), "{words}");
    for twice in [
        claims.replacen('{', r#"{"sub":"root","#, 1),
        claims.replacen('{', r#"{"\u0073ub":"root","#, 1),
        claims.replacen('{', r#"{"x":[{"y":{"a":1,"a":2}}],"#, 1),
    ] {
        let token = world.key.token(&world.header().to_string(), &twice);
        let words = world.refused(&token, "malformed").await;
        assert!(words.contains("claims have a key twice"), "{words}");
    }
}

#[tokio::test]
async fn nesting_of_ten_thousand_is_refused() {
    let world = World::new();
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let depth = 45_000 / open.len() / 2;
        let deep = format!(
            "{}1{}",
            open.repeat(depth.min(10_000)),
            close.repeat(depth.min(10_000))
        );
        let claims = world.issuer.claims().to_string();
        let deep_claims = claims.replacen('{', &format!("{{\"deep\":{deep},"), 1);
        let token = world.key.token(&world.header().to_string(), &deep_claims);
        let words = world.refused(&token, "malformed").await;
        assert!(words.contains("claims nest too deep"), "{words}");
        let header = format!("{{\"alg\":\"ES256\",\"kid\":\"k1\",\"deep\":{deep}}}");
        let words = world
            .refused(&world.key.token(&header, &claims), "malformed")
            .await;
        assert!(words.contains("header nests too deep"), "{words}");
    }
}

#[tokio::test]
async fn sixty_four_kib_of_claims_are_refused_unread() {
    let world = World::new();
    let token = world.with_claim("long", "x".repeat(64 * 1024).into());
    let words = world.refused(&token, "too-long").await;
    assert!(words.contains("65536"), "{words}");
    assert_eq!(world.issuer.urls().len(), 0);
    world.refused(&"x".repeat(10 << 20), "too-long").await;
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let world = World::new();
    let good = world.good();
    let parts: Vec<&str> = good.split('.').collect();
    let padded = |part: &str| URL_SAFE.encode(URL_SAFE_NO_PAD.decode(part).unwrap());
    for text in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        "....".into(),
        "kpt_abc".into(),
        parts[0].into(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}.{}", parts[2]),
        format!("{good}.{}.{}", parts[2], parts[2]),
        format!(" {good}"),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], padded(r"eyJhIjoxfQ"), parts[2]),
        format!("{}\n.{}.{}", parts[0], parts[1], parts[2]),
        format!("é.{}.{}", parts[1], parts[2]),
        format!("{}.{}.{}", encode("[]"), parts[1], parts[2]),
        format!(
            "{}.{}.{}",
            encode("{\"alg\":\"ES256\"}{}"),
            parts[1],
            parts[2]
        ),
        format!("{}.{}.{}", encode("{}"), parts[1], parts[2]),
        format!("{}.{}.{}", encode("{\"alg\":1}"), parts[1], parts[2]),
        format!("{}.{}.{}", encode(b"\xff\xfe"), parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], encode("null"), parts[2]),
    ] {
        world.refused(&text, "malformed").await;
    }
    for text in [format!("{good} "), format!("{good}="), format!("{good}\n")] {
        world.refused(&text, "signature").await;
    }
    assert!(world.verify(&good).await.is_ok());
}

#[tokio::test]
async fn a_strange_kid_is_refused() {
    let world = World::new();
    for kid in [json!(1), json!(null), json!(["k1"]), json!("x".repeat(257))] {
        world
            .refused(&world.with_header("kid", kid), "malformed")
            .await;
    }
    let words = world
        .refused(&world.with_header("kid", json!("a\nb\u{1b}[2J")), "key")
        .await;
    assert!(words.contains(r"a\u{a}b\u{1b}[2J"), "{words}");
}

#[tokio::test]
async fn another_persons_claims_under_a_good_signature_are_refused() {
    let world = World::new();
    let good = world.good();
    let other = world.with_claim("sub", json!("root"));
    let parts: Vec<&str> = good.split('.').collect();
    let others: Vec<&str> = other.split('.').collect();
    let mixed = format!("{}.{}.{}", parts[0], others[1], parts[2]);
    world.refused(&mixed, "signature").await;
    assert!(world.verify(&good).await.is_ok());
    world.refused(&mixed, "signature").await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No single character can change, in any part, whatever was verified before.
    #[test]
    fn a_changed_token_is_refused(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.=-]") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::with(Algorithm::EdDsa);
            let good = world.good();
            world.verify(&good).await.unwrap();
            let at = at.index(good.len());
            let mut changed = good.clone();
            changed.replace_range(at..=at, &to);
            prop_assert_eq!(world.verify(&changed).await.is_ok(), changed == good);
            Ok(())
        })?;
    }

    /// Claims of any shape are judged without a panic, and never become somebody else's.
    #[test]
    fn claims_of_any_shape_are_judged(name in "sub|aud|azp|exp|iat|nbf|auth_time|typ|groups|iss", value in any_json()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::with(Algorithm::EdDsa);
            let mut claims = world.issuer.claims();
            claims[&name] = value;
            if let Ok(verified) = world.verify(&world.token(&claims)).await {
                prop_assert_eq!(Value::from(verified.subject.as_str()), claims["sub"].clone());
                prop_assert_eq!(verified.issuer.as_str(), world.issuer.url.as_str());
            }
            Ok(())
        })?;
    }
}

/// A public key as files hold it: lines of 64 characters.
fn pem(spki: &[u8]) -> String {
    let text = STANDARD.encode(spki);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    )
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(Value::from("kedge")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,5}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}
