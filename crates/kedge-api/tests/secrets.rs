//! Where a server's key is, and whom the owner of a Secret offers it to.

#![cfg(test)]

use kedge_api::resources::ServerSpec;
use kedge_api::{Labels, SecretRef, ServerName, ServerOffer};
use proptest::prelude::*;
use serde_json::json;

#[test]
fn a_reference_says_where_the_key_is() {
    let spec = |value| serde_json::from_value::<ServerSpec>(value).unwrap();
    assert_eq!(spec(json!({})).ssh_key(), None);
    let reference = json!({"name": "web01", "namespace": "keys"});
    let usual = spec(json!({"sshKeySecretRef": reference}))
        .ssh_key()
        .unwrap();
    assert_eq!(usual.to_string(), "keys/web01 key ssh-privatekey");
    let other = spec(json!({"sshKeySecretRef": reference, "sshKeySecretDataKey": "id_rsa"}))
        .ssh_key()
        .unwrap();
    assert_eq!(other.to_string(), "keys/web01 key id_rsa");
    assert_eq!(other.secret, usual.secret);
    assert_eq!(other.secret.to_string(), "keys/web01");
    assert!(
        serde_json::from_value::<SecretRef>(json!({"name": "a", "namespace": "b", "uid": "c"}))
            .is_err()
    );
}

#[test]
fn an_offer_covers_the_servers_it_names_or_selects() {
    for (text, covered) in [
        ("", false),
        (" \n", false),
        (",", false),
        ("web01", true),
        ("web01\n", true),
        ("\tweb01\r\n", true),
        ("web01,db01", true),
        ("db01, web01", true),
        ("db01 web01", true),
        ("db01\nweb01\n", true),
        ("db01,,web01,", true),
        ("db01", false),
        ("web0", false),
        ("web012", false),
        ("web01.corp.example", false),
        // A word alone is a name, also where a label is called so.
        ("env", false),
        ("env=prod", true),
        (" env=prod \n", true),
        ("env == prod", true),
        ("env=dev", false),
        ("env=", false),
        ("env!=dev", true),
        ("!env", false),
        ("!other", true),
        ("env in (dev, prod)", true),
        ("env notin (prod)", false),
        ("env,tier=web", true),
        ("env=prod,tier=db", false),
        // A name is no label.
        ("web01,env=prod", false),
    ] {
        let offer: ServerOffer = text.parse().unwrap();
        assert_eq!(offer.covers(&web01(), &labels()), covered, "{text:?}");
        let again: ServerOffer = offer.to_string().parse().unwrap();
        assert_eq!(again, offer, "{text:?} is written as {offer}");
    }
}

#[test]
fn what_is_no_offer_is_refused() {
    for text in [
        "*",
        "Web01",
        "web01;db01",
        "web01/db01",
        "-web01",
        "../x",
        "web01,db_01",
        "web01\0",
        "web01\u{202e}",
        "web01\u{a0}db01",
        "=",
        "!",
        "(",
        "env=prod,",
        "env in (prod",
        "env=prod\ntier=web",
        "env>1",
        &"web01,".repeat(64 * 1024),
        &format!("a={}", "a".repeat(8192)),
    ] {
        let Err(error) = text.parse::<ServerOffer>() else {
            panic!("{text:?} was accepted")
        };
        let shown = error.to_string();
        assert!(shown.starts_with("offer to servers `"), "{shown}");
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert!(shown.len() < 1024, "{} bytes", shown.len());
    }
}

proptest! {
    #[test]
    fn no_text_panics_and_names_cover_nobody_else(text in prop_oneof![
        any::<String>(),
        "[a-z0-9, \n!=()]{0,40}",
        "(web0[0-9][, ]){0,4}",
    ]) {
        if let Ok(offer) = text.parse::<ServerOffer>() {
            prop_assert_eq!(&offer.to_string().parse::<ServerOffer>().unwrap(), &offer);
            if let ServerOffer::Names(names) = &offer {
                prop_assert_eq!(offer.covers(&web01(), &labels()), names.contains("web01"));
                prop_assert_eq!(names.contains("web01"), text.split([',', ' ', '\n', '\t', '\r', '\u{c}']).any(|w| w == "web01"));
            }
        }
    }
}

fn web01() -> ServerName {
    "web01".parse().unwrap()
}

fn labels() -> Labels {
    [("env", "prod"), ("tier", "web")]
        .map(|(key, value)| (key.parse().unwrap(), value.parse().unwrap()))
        .into_iter()
        .collect()
}
