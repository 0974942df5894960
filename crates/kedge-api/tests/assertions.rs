//! An agent's assertion is good for one hub, one minute, one key; everything else is refused.

#![cfg(test)]

use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kedge_api::assertion::{
    AssertionError, Claims, EnrolmentBinding, claimed_server, sign, verify, verify_enrolment,
};
use kedge_api::{AgentKey, AgentPublicKey, HubId, Nonce, ServerName, Time, TokenHash};
use proptest::prelude::*;
use serde_json::{Value, json};
use zeroize::Zeroizing;

#[test]
fn what_an_agent_signs_the_hub_verifies() {
    let token = sign(&key(), &claims(), now());
    assert_eq!(claimed_server(&token).unwrap(), name());
    let verified = verify(&token, &key().public_key(), &hub(), now()).unwrap();
    assert_eq!(verified.server, name());
    assert_eq!(verified.nonce, nonce());
    assert_eq!(
        verified.expires,
        now().saturating_add(Duration::from_secs(120))
    );
    let (header, body) = parts(&token);
    assert_eq!(header, json!({"alg": "EdDSA", "typ": "JWT"}));
    let at = now().as_second();
    assert_eq!(body["iss"], "web01");
    assert_eq!(
        (&body["sub"], &body["aud"]),
        (&json!("web01"), &json!(hub()))
    );
    assert_eq!((&body["iat"], &body["exp"]), (&json!(at), &json!(at + 60)));
}

#[test]
fn time_is_bounded_on_both_sides() {
    let token = sign(&key(), &claims(), now());
    let at = |offset: i64| {
        let seconds = now().as_second() + offset;
        let moment = jiff::Timestamp::from_second(seconds).unwrap().into();
        verify(&token, &key().public_key(), &hub(), moment)
    };
    for good in [-60, 0, 60, 119] {
        at(good).unwrap();
    }
    assert!(matches!(at(120), Err(AssertionError::Expired { .. })));
    assert!(matches!(at(86_400), Err(AssertionError::Expired { .. })));
    assert!(matches!(at(-61), Err(AssertionError::NotYetValid { .. })));
    assert_eq!(
        at(-61).unwrap_err().to_string(),
        "the assertion was made at 2026-01-01T12:00:00Z, which is in the future; check both clocks"
    );
}

#[test]
fn claims_that_are_not_an_agents_are_refused() {
    let at = now().as_second();
    let good = json!({
        "iss": "web01", "sub": "web01", "aud": hub(), "iat": at, "exp": at + 60, "jti": nonce(),
    });
    let check = |patch: Value| {
        let mut body = good.clone();
        for (key, value) in patch.as_object().unwrap() {
            match value {
                Value::Null => drop(body.as_object_mut().unwrap().remove(key)),
                value => body[key] = value.clone(),
            }
        }
        verify(
            &signed(&json!({"alg": "EdDSA"}), &body.to_string()),
            &key().public_key(),
            &hub(),
            now(),
        )
    };
    check(json!({})).unwrap();
    check(json!({"extra": [1, 2]})).unwrap();
    let other_hub = HubId::from_bytes([9; 16]);
    assert!(matches!(
        check(json!({"aud": other_hub})),
        Err(AssertionError::Audience)
    ));
    assert!(matches!(
        check(json!({"sub": "web02"})),
        Err(AssertionError::Malformed { .. })
    ));
    assert!(matches!(
        check(json!({"exp": at + 61})),
        Err(AssertionError::Lifetime)
    ));
    assert!(matches!(
        check(json!({"exp": at - 1})),
        Err(AssertionError::Lifetime)
    ));
    assert!(matches!(
        check(json!({"exp": at + 1_000_000})),
        Err(AssertionError::Lifetime)
    ));
    assert!(matches!(
        check(json!({"enrol": "x"})),
        Err(AssertionError::Binding)
    ));
    for patch in [
        json!({"iss": null}),
        json!({"sub": null}),
        json!({"aud": null}),
        json!({"iat": null}),
        json!({"exp": null}),
        json!({"jti": null}),
        json!({"iss": "../x", "sub": "../x"}),
        json!({"iss": "-oProxyCommand=x", "sub": "-oProxyCommand=x"}),
        json!({"iss": "WEB01", "sub": "WEB01"}),
        json!({"aud": [hub()]}),
        json!({"aud": "*"}),
        json!({"jti": "1"}),
        json!({"iat": "now"}),
        json!({"iat": 1.5}),
        json!({"exp": i64::MAX, "iat": i64::MAX}),
    ] {
        assert!(check(patch.clone()).is_err(), "{patch}");
    }
    // The same claim twice: whose is it?
    let twice = good.to_string().replacen('{', r#"{"iss":"db01","#, 1);
    let token = signed(&json!({"alg": "EdDSA"}), &twice);
    assert!(verify(&token, &key().public_key(), &hub(), now()).is_err());
}

#[test]
fn the_header_decides_nothing() {
    let (_, body) = parts(&sign(&key(), &claims(), now()));
    let body = body.to_string();
    let attacker = AgentKey::from_seed(&[9; 32]).unwrap();
    let public = key().public_key();
    let signing = |header: &Value| format!("{}.{}", encode(&header.to_string()), encode(&body));

    // No signature at all.
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "None"}),
        json!({"alg": ""}),
        json!({}),
    ] {
        refused(&format!("{}.", signing(&header)), &public);
        refused(&format!("{}.{}", signing(&header), encode("x")), &public);
    }
    // HMAC keyed with the public key, in each form an attacker may have it.
    let raw = base64::engine::general_purpose::STANDARD
        .decode(public.to_string())
        .unwrap();
    for secret in [raw.clone(), public.to_string().into_bytes()] {
        let input = signing(&json!({"alg": "HS256"}));
        let tag = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, &secret),
            input.as_bytes(),
        );
        refused(&format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag)), &public);
    }
    // The attacker's own key, brought along.
    let theirs = URL_SAFE_NO_PAD.encode(
        base64::engine::general_purpose::STANDARD
            .decode(attacker.public_key().to_string())
            .unwrap(),
    );
    for header in [
        json!({"alg": "EdDSA"}),
        json!({"alg": "EdDSA", "jwk": {"kty": "OKP", "crv": "Ed25519", "x": theirs}}),
        json!({"alg": "EdDSA", "jku": "https://evil.example/jwks"}),
        json!({"alg": "EdDSA", "x5u": "https://evil.example/cert"}),
        json!({"alg": "EdDSA", "kid": "../../dev/null"}),
    ] {
        refused(&signed_by(&[9; 32], &header, &body), &public);
    }
    // Our own key under another algorithm's name.
    for algorithm in ["RS256", "ES256", "PS512", "HS512", "eddsa", "Ed25519"] {
        refused(&signed(&json!({"alg": algorithm}), &body), &public);
    }
}

#[test]
fn malformed_tokens_are_refused() {
    let good = sign(&key(), &claims(), now());
    let (head, signature) = good.rsplit_once('.').unwrap();
    let public = key().public_key();
    for token in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        "a.b.c".into(),
        head.to_owned(),
        format!("{head}."),
        format!("{good}."),
        format!("{good}.x"),
        format!("{good}="),
        format!("{good}\n"),
        format!(" {good}"),
        format!("{head}.{}", &signature[..signature.len() - 4]),
        format!("{head}.{}", signature.to_uppercase()),
        good.replace('.', " "),
        "x".repeat(64 * 1024),
        format!("{}.{}", "x".repeat(4096), good),
        format!("{}.{}.{signature}", encode("{}"), encode(&"[".repeat(1400))),
    ] {
        refused(&token, &public);
        let _ = claimed_server(&token);
    }
    assert!(claimed_server("a.b").is_err());
    assert!(claimed_server(&"x".repeat(64 * 1024)).is_err());
}

#[test]
fn a_proof_of_enrolment_is_bound_to_token_key_and_name() {
    let join = TokenHash::of("kjt_one");
    let public = key().public_key();
    let bound = Claims {
        enrol: Some(EnrolmentBinding::new(&join, &public)),
        ..claims()
    };
    let proof = sign(&key(), &bound, now());
    let check = |key: &AgentPublicKey, name: &ServerName, join: &TokenHash, proof: &str| {
        verify_enrolment(proof, key, &hub(), name, join, now())
    };
    assert_eq!(
        check(&public, &name(), &join, &proof).unwrap().server,
        name()
    );
    let other_join = TokenHash::of("kjt_two");
    assert!(matches!(
        check(&public, &name(), &other_join, &proof),
        Err(AssertionError::Binding)
    ));
    let other_name = "web02".parse().unwrap();
    assert!(matches!(
        check(&public, &other_name, &join, &proof),
        Err(AssertionError::Server { .. })
    ));
    let other_key = AgentKey::from_seed(&[9; 32]).unwrap().public_key();
    assert!(matches!(
        check(&other_key, &name(), &join, &proof),
        Err(AssertionError::Signature(_))
    ));
    // An assertion is no proof, and a proof no assertion.
    let plain = sign(&key(), &claims(), now());
    assert!(matches!(
        check(&public, &name(), &join, &plain),
        Err(AssertionError::Binding)
    ));
    assert!(matches!(
        verify(&proof, &public, &hub(), now()),
        Err(AssertionError::Binding)
    ));
    // A binding of somebody else's key.
    let foreign = Claims {
        enrol: Some(EnrolmentBinding::new(&join, &other_key)),
        ..claims()
    };
    let proof = sign(&key(), &foreign, now());
    assert!(matches!(
        check(&public, &name(), &join, &proof),
        Err(AssertionError::Binding)
    ));
}

#[test]
fn keys_go_through_files_and_show_nothing() {
    let key = key();
    let again = AgentKey::from_pkcs8(Zeroizing::new(key.pkcs8().to_vec())).unwrap();
    assert_eq!(again.public_key(), key.public_key());
    let text = key.public_key().to_string();
    assert_eq!(text.parse::<AgentPublicKey>().unwrap(), key.public_key());
    assert_eq!(format!("{key:?}"), format!("AgentKey({text}, …)"));
    // RFC 8032 §7.1, test 1.
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let seed: [u8; 32] = hex(seed).try_into().unwrap();
    let key = AgentKey::from_seed(&seed).unwrap();
    let shown = base64::engine::general_purpose::STANDARD.encode(hex(public));
    assert_eq!(key.public_key().to_string(), shown);
    for wrong in [
        vec![],
        vec![0; 48],
        key.pkcs8()[..47].to_vec(),
        [key.pkcs8(), &[0]].concat(),
    ] {
        assert!(AgentKey::from_pkcs8(Zeroizing::new(wrong)).is_err());
    }
    for wrong in [
        "",
        "AAAA",
        &"A".repeat(44),
        &format!("{shown}="),
        &shown[1..],
        "\u{202e}",
    ] {
        assert!(wrong.parse::<AgentPublicKey>().is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn no_other_bytes_verify(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let good = sign(&key(), &claims(), now());
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        if let Ok(token) = String::from_utf8(bytes) {
            prop_assert!(verify(&token, &key().public_key(), &hub(), now()).is_err(), "{token}");
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = claimed_server(&text);
        prop_assert!(verify(&text, &key().public_key(), &hub(), now()).is_err());
    }
}

fn refused(token: &str, key: &AgentPublicKey) {
    let verdict = verify(token, key, &hub(), now());
    assert!(verdict.is_err(), "{token:?} was accepted");
}

fn signed(header: &Value, body: &str) -> String {
    signed_by(&SEED, header, body)
}

fn signed_by(seed: &[u8; 32], header: &Value, body: &str) -> String {
    let input = format!("{}.{}", encode(&header.to_string()), encode(body));
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).unwrap();
    format!(
        "{input}.{}",
        URL_SAFE_NO_PAD.encode(pair.sign(input.as_bytes()))
    )
}

fn parts(token: &str) -> (Value, Value) {
    let mut parts = token
        .split('.')
        .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    let mut next = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (next(), next())
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn key() -> AgentKey {
    AgentKey::from_seed(&SEED).unwrap()
}

fn claims() -> Claims {
    Claims {
        server: name(),
        audience: hub(),
        nonce: nonce(),
        enrol: None,
    }
}

fn name() -> ServerName {
    "web01".parse().unwrap()
}

fn hub() -> HubId {
    HubId::from_bytes([3; 16])
}

fn nonce() -> Nonce {
    Nonce::from_bytes([4; 16])
}

fn now() -> Time {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

const SEED: [u8; 32] = [7; 32];
