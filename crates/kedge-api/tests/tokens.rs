//! Tokens: strict forms, hashes anybody can compute, and no way for a secret to be printed.

#![cfg(test)]

use kedge_api::resources::{IssuedJoinToken, JoinTokenSpec};
use kedge_api::{JoinToken, JoinTokenName, JoinTokenSecret, PersonToken, Resource, TokenHash};
use proptest::prelude::*;

#[test]
fn a_join_token_goes_through_text() {
    let token = secret();
    assert_eq!(
        token.reveal(),
        "kjt_abcdefghij_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"
    );
    let read: JoinTokenSecret = token.reveal().parse().unwrap();
    assert_eq!(read.name().as_str(), "abcdefghij");
    assert_eq!(read.hash(), token.hash());
    assert!(token.verify(&read.hash()));
    let other = JoinTokenSecret::from_parts(token.name().clone(), &[2; 32]);
    assert!(!other.verify(&token.hash()));
    let renamed = JoinTokenSecret::from_parts("abcdefghik".parse().unwrap(), &[1; 32]);
    assert!(
        !renamed.verify(&token.hash()),
        "the name is a part of the secret"
    );
}

#[test]
fn the_hash_is_what_sha256sum_says() {
    // printf %s kpt_AQEB… | sha256sum
    let token = PersonToken::from_bytes(&[1; 32]);
    assert_eq!(
        token.reveal(),
        "kpt_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"
    );
    let sum = "b0abdb52bb4c2aceec0441e67c5419f9e812baa78ebedc1c36b26cc10fdb1171";
    assert_eq!(token.hash().to_string(), sum);
    assert!(token.verify(&sum.parse().unwrap()));
    assert!(!PersonToken::from_bytes(&[2; 32]).verify(&sum.parse().unwrap()));
}

#[test]
fn what_is_no_token_is_refused_and_not_repeated() {
    let good = secret().reveal().to_owned();
    let person = PersonToken::from_bytes(&[1; 32]).reveal().to_owned();
    for wrong in [
        String::new(),
        "kjt_".into(),
        good.replace("kjt_", "kpt_"),
        good.replace("kjt_", "KJT_"),
        format!("{good}A"),
        format!("{good}\n"),
        format!(" {good}"),
        good[..good.len() - 1].to_owned(),
        good.replace("abcdefghij", "ABCDEFGHIJ"),
        good.replace("abcdefghij", "abcdefghi-"),
        good.replace("abcdefghij_", "abcdefghijA"),
        good.replace("AQE", "AQ="),
        good.replace("AQE", "A/+"),
        format!("{}F", &good[..good.len() - 1]),
        "kjt_../../../x_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE".into(),
        "x".repeat(64 * 1024),
    ] {
        let error = wrong.parse::<JoinTokenSecret>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "not a join token: expected `kjt_<name>_<43 characters>`"
        );
    }
    for wrong in [
        "",
        "kpt_",
        &good,
        &format!("{person}A"),
        &person[..46],
        "kpt_\u{202e}",
    ] {
        let error = wrong.parse::<PersonToken>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "not a person's token: expected `kpt_<43 characters>`"
        );
    }
}

#[test]
fn secrets_are_not_debugged_or_stored() {
    let token = secret();
    let shown = format!("{token:?} {:?}", PersonToken::from_bytes(&[1; 32]));
    assert_eq!(shown, "JoinTokenSecret(abcdefghij, …) PersonToken(…)");
    let object = JoinToken::new(token.name().clone().into(), JoinTokenSpec::default());
    let issued = IssuedJoinToken {
        object,
        secret: token,
    };
    assert!(!format!("{issued:?}").contains("AQEB"));
    let answer = issued.to_json().unwrap();
    assert_eq!(answer["status"]["token"], issued.secret.reveal());
    let read = IssuedJoinToken::from_json(answer.to_string().as_bytes()).unwrap();
    assert_eq!(read.secret.reveal(), issued.secret.reveal());
    // Whoever sends it back as an object sends no secret.
    let object: JoinToken = serde_json::from_value(answer).unwrap();
    assert!(!serde_json::to_string(&object).unwrap().contains("AQEB"));
}

#[test]
fn hashes_are_strict() {
    let hash = secret().hash();
    assert_eq!(hash.to_string().parse::<TokenHash>().unwrap(), hash);
    for wrong in [
        "",
        "00",
        &"0".repeat(63),
        &"0".repeat(65),
        &"G".repeat(64),
        &"A".repeat(64),
        &"é".repeat(32),
    ] {
        assert!(wrong.parse::<TokenHash>().is_err(), "{wrong}");
    }
    assert!(
        JoinTokenSecret::from_parts("abcdefghij".parse().unwrap(), &[1; 32])
            .hash()
            .matches(&hash)
    );
}

#[test]
fn token_names_come_from_their_whole_alphabet() {
    let name = JoinTokenName::from_bytes([0, 1, 25, 26, 31, 32, 255, 7, 8, 9]);
    assert_eq!(name.as_str(), "abz27a7hij");
    for wrong in [
        "",
        "abcdefghi",
        "abcdefghijk",
        "ABCDEFGHIJ",
        "abcde fghi",
        "abcde-fghi",
    ] {
        assert!(wrong.parse::<JoinTokenName>().is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn every_secret_comes_back(name in any::<[u8; 10]>(), secret in any::<[u8; 32]>()) {
        let token = JoinTokenSecret::from_parts(JoinTokenName::from_bytes(name), &secret);
        let read: JoinTokenSecret = token.reveal().parse().unwrap();
        prop_assert!(read.verify(&token.hash()));
        let token = PersonToken::from_bytes(&secret);
        prop_assert!(token.reveal().parse::<PersonToken>().unwrap().verify(&token.hash()));
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = text.parse::<JoinTokenSecret>();
        let _ = text.parse::<PersonToken>();
        let _ = text.parse::<TokenHash>();
    }
}

fn secret() -> JoinTokenSecret {
    JoinTokenSecret::from_parts("abcdefghij".parse().unwrap(), &[1; 32])
}
