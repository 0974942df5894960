//! Whose login is what, and never a default.

#![cfg(test)]

use kedge_api::login::{AboutAnother, LoginError, LoginOrigin};
use kedge_api::resources::ServerSpec;
use kedge_api::{AuthMethod, LocalPartTrust, Login, LoginMapping, Principal, Standing};
use serde_json::{Value, json};

#[test]
fn the_claim_gives_the_login() {
    let mapping = LoginMapping::default();
    for login in ["alice", "_apt", "root"] {
        let mapped = mapping
            .map(&person(json!(login)), &ServerSpec::default(), None)
            .unwrap();
        assert_eq!(
            (mapped.login.as_str(), mapped.origin),
            (login, LoginOrigin::Claim)
        );
    }
}

#[test]
fn nothing_is_rewritten_to_fit() {
    let mapping = LoginMapping::default();
    for (claim, why) in [
        (json!("Alice"), "names no legal login"),
        (json!("alice "), "names no legal login"),
        (json!(" alice"), "names no legal login"),
        (json!("alice\n"), "names no legal login"),
        (json!("alice\0"), "names no legal login"),
        (json!(""), "names no legal login"),
        (json!("../x"), "names no legal login"),
        (json!("-oProxyCommand=x"), "names no legal login"),
        (json!("%h"), "names no legal login"),
        (json!("alice,bob"), "names no legal login"),
        (json!("a\u{202e}b"), "names no legal login"),
        (json!("ａlice"), "names no legal login"),
        (json!("аlice"), "names no legal login"),
        (json!("x".repeat(64 * 1024)), "names no legal login"),
        (
            json!("alice@corp.example"),
            "logins of that domain are not accepted",
        ),
        (json!("@"), "logins of that domain are not accepted"),
        (json!(["alice"]), "is not a text"),
        (json!({"name": "alice"}), "is not a text"),
        (json!(7), "is not a text"),
        (json!(true), "is not a text"),
        (json!(null), "has no claim `preferred_username`"),
    ] {
        let error = mapping
            .map(&person(claim.clone()), &ServerSpec::default(), None)
            .unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains(why), "{claim}: {shown}");
        assert!(
            !shown.chars().any(char::is_control) && shown.len() < 400,
            "{shown:?}"
        );
    }
    let nobody = Principal {
        claims: Default::default(),
        ..person(json!("alice"))
    };
    let error = mapping
        .map(&nobody, &ServerSpec::default(), None)
        .unwrap_err();
    assert_eq!(
        error,
        LoginError::ClaimMissing {
            claim: "preferred_username".into()
        }
    );
}

#[test]
fn local_parts_count_for_listed_domains_only() {
    let domains = vec!["corp.example".to_owned()];
    let mapping = LoginMapping {
        local_part_domains: domains,
        ..LoginMapping::default()
    };
    let login = |claim: &str| {
        // Whatever it is, the issuer has verified it.
        let person = with_email(person(json!(claim)), json!(claim), json!(true));
        let login = mapping.from_claims(&person);
        let trusting = LoginMapping {
            local_part_trust: LocalPartTrust::Issuer,
            ..mapping.clone()
        };
        assert_eq!(trusting.from_claims(&person), login, "{claim}");
        login.map(|login| login.to_string())
    };
    assert_eq!(login("alice@corp.example"), Ok("alice".to_owned()));
    assert_eq!(login("alice@CORP.example"), Ok("alice".to_owned()));
    assert_eq!(login("alice"), Ok("alice".to_owned()));
    for refused in [
        "alice@evil.example",
        "alice@corp.example.evil.example",
        "alice@evil.corp.example",
        "alice@corp.example@evil.example",
        "alice@corp.example ",
        "alice@",
        "@corp.example",
        "Alice@corp.example",
        "a@b@corp.example",
        "../x@corp.example",
    ] {
        assert!(login(refused).is_err(), "{refused}");
    }
}

#[test]
fn a_mail_address_counts_only_when_verified() {
    let mapping = LoginMapping {
        claim: "email".into(),
        local_part_domains: vec!["corp.example".into()],
        ..LoginMapping::default()
    };
    for (verified, expected) in [
        (json!(true), Ok("alice".to_owned())),
        (json!(false), Err(LoginError::EmailNotVerified)),
        (json!("true"), Err(LoginError::EmailNotVerified)),
        (json!(null), Err(LoginError::EmailNotVerified)),
    ] {
        let mut person = person(json!("ignored"));
        person
            .claims
            .insert("email".into(), json!("alice@corp.example"));
        person.claims.insert("email_verified".into(), verified);
        assert_eq!(
            mapping.from_claims(&person).map(|login| login.to_string()),
            expected
        );
    }
}

/// Only `email` is ever verified, so an address elsewhere counts if it is the same.
#[test]
fn an_address_in_another_claim_counts_only_if_it_is_the_verified_mail_address() {
    let mapping = LoginMapping {
        local_part_domains: vec!["corp.example".into()],
        ..LoginMapping::default()
    };
    let address = || person(json!("alice@corp.example"));
    let claim = || "preferred_username".to_owned();
    let missing = || Err(LoginError::EmailMissing { claim: claim() });
    let other = || Err(LoginError::EmailOther { claim: claim() });
    let not_text = || {
        Err(LoginError::ClaimNotText {
            claim: "email".into(),
        })
    };
    for (email, verified, expected) in [
        (
            json!("alice@corp.example"),
            json!(true),
            Ok("alice".to_owned()),
        ),
        (
            json!("alice@CORP.Example"),
            json!(true),
            Ok("alice".to_owned()),
        ),
        (
            json!("alice@corp.example"),
            json!(false),
            Err(LoginError::EmailNotVerified),
        ),
        (
            json!("alice@corp.example"),
            json!("true"),
            Err(LoginError::EmailNotVerified),
        ),
        (
            json!("alice@corp.example"),
            json!(1),
            Err(LoginError::EmailNotVerified),
        ),
        (
            json!("alice@corp.example"),
            json!(null),
            Err(LoginError::EmailNotVerified),
        ),
        (json!("mallory@corp.example"), json!(true), other()),
        (json!("Alice@corp.example"), json!(true), other()),
        (json!("alice@evil.example"), json!(true), other()),
        (json!("alice@corp.example "), json!(true), other()),
        (json!("x@alice@corp.example"), json!(true), other()),
        (json!("alice"), json!(true), other()),
        (json!(""), json!(true), other()),
        (json!(null), json!(true), missing()),
        (json!(["alice@corp.example"]), json!(true), not_text()),
    ] {
        let person = with_email(address(), email.clone(), verified.clone());
        let login = mapping.from_claims(&person).map(|login| login.to_string());
        assert_eq!(login, expected, "{email} {verified}");
    }
    assert_eq!(
        mapping.from_claims(&address()).map(|l| l.to_string()),
        missing()
    );
    // What is no address needs no mail address at all.
    assert_eq!(
        mapping.from_claims(&person(json!("alice"))).unwrap(),
        "alice"
    );
}

#[test]
fn an_issuer_may_be_trusted_with_addresses_but_never_with_the_claim_email() {
    let mapping: LoginMapping = serde_json::from_value(json!({
        "claim": "upn", "local-part-domains": ["corp.example"], "local-part-trust": "issuer",
    }))
    .unwrap();
    let named = |upn: &str| {
        let mut person = person(json!("ignored"));
        person.claims.insert("upn".into(), json!(upn));
        person
    };
    for claims in [
        named("alice@corp.example"),
        with_email(
            named("alice@corp.example"),
            json!("mallory@evil.example"),
            json!(false),
        ),
    ] {
        assert_eq!(mapping.from_claims(&claims).unwrap(), "alice");
    }
    assert!(matches!(
        mapping.from_claims(&named("alice@evil.example")),
        Err(LoginError::DomainNotListed { .. })
    ));
    let mapping = LoginMapping {
        claim: "email".into(),
        ..mapping
    };
    let typed = with_email(
        person(json!("ignored")),
        json!("alice@corp.example"),
        json!(false),
    );
    assert_eq!(
        mapping.from_claims(&typed),
        Err(LoginError::EmailNotVerified)
    );
    let unknown = json!({"local-part-trust": "everybody"});
    assert!(serde_json::from_value::<LoginMapping>(unknown).is_err());
}

/// The table is compared with the claim as it is: what is in it is meant, whatever it looks like.
#[test]
fn exceptions_name_the_login_of_single_values() {
    let mapping: LoginMapping = serde_json::from_value(json!({
        "exceptions": {"Alice.Smith": "asmith", "alice@evil.example": "guest", "../x": "dots", "alice": "alice2"},
    }))
    .unwrap();
    for (claim, expected) in [
        ("Alice.Smith", Some("asmith")),
        ("alice@evil.example", Some("guest")),
        ("../x", Some("dots")),
        ("alice", Some("alice2")),
        ("bob", Some("bob")),
        ("alice.smith", None),
        ("Alice.Smith ", None),
        ("bob@evil.example", None),
    ] {
        let login = mapping.from_claims(&person(json!(claim))).ok();
        assert_eq!(login.as_ref().map(Login::as_str), expected, "{claim}");
    }
    assert!(
        mapping
            .from_claims(&person(json!(["Alice.Smith"])))
            .is_err()
    );
    let to_nobody = json!({"exceptions": {"x": "-oProxyCommand"}});
    assert!(serde_json::from_value::<LoginMapping>(to_nobody).is_err());
}

#[test]
fn an_exception_for_a_mail_address_needs_it_verified_too() {
    let mapping: LoginMapping = serde_json::from_value(json!({
        "claim": "email", "exceptions": {"alice.smith@corp.example": "asmith"},
    }))
    .unwrap();
    let mut person = person(json!("ignored"));
    person
        .claims
        .insert("email".into(), json!("alice.smith@corp.example"));
    for verified in [
        None,
        Some(json!(false)),
        Some(json!("true")),
        Some(json!(1)),
    ] {
        match verified {
            Some(verified) => person.claims.insert("email_verified".into(), verified),
            None => person.claims.remove("email_verified"),
        };
        assert_eq!(
            mapping.from_claims(&person),
            Err(LoginError::EmailNotVerified)
        );
    }
    person.claims.insert("email_verified".into(), json!(true));
    assert_eq!(mapping.from_claims(&person).unwrap(), "asmith");
}

#[test]
fn hostile_claims_name_nobody() {
    let mapping = LoginMapping {
        local_part_domains: vec!["corp.example".into()],
        ..LoginMapping::default()
    };
    for hostile in [
        json!("../x"),
        json!("-oProxyCommand=id"),
        json!("Alice"),
        json!("name@evil.example"),
        json!("-l@corp.example"),
        json!("аlice"),  // Cyrillic а
        json!("ａlice"), // full width
        json!("alice\u{200b}"),
        json!("alice\n"),
        json!("alice\0root"),
        json!("alice;id"),
        json!("alice root"),
        json!(""),
        json!("@"),
        json!("a".repeat(33)),
        json!("a".repeat(64 * 1024)),
        json!(["alice"]),
        json!(["alice", "root"]),
        json!({"0": "alice"}),
        json!(0),
        json!(1000),
        json!(true),
        json!(null),
    ] {
        let refused = mapping.from_claims(&person(hostile.clone())).unwrap_err();
        let shown = refused.to_string();
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert!(shown.len() < 1024, "{} bytes", shown.len());
    }
    // Root is a legal login: whether somebody may be it is the policy's business.
    assert!(
        mapping
            .from_claims(&person(json!("root")))
            .unwrap()
            .is_root()
    );
}

#[test]
fn the_server_wins_over_the_claim_and_a_request_is_taken_as_one() {
    let mapping = LoginMapping::default();
    let fixed = ServerSpec {
        ssh_user: Some(login("ubuntu")),
        ..ServerSpec::default()
    };
    let free = ServerSpec::default();
    let alice = person(json!("alice"));
    let nobody = person(json!(null));
    for (who, server, requested, expected) in [
        (
            &alice,
            &fixed,
            None,
            Some(("ubuntu", LoginOrigin::ServerUser)),
        ),
        (
            &nobody,
            &fixed,
            None,
            Some(("ubuntu", LoginOrigin::ServerUser)),
        ),
        (
            &alice,
            &fixed,
            Some("ubuntu"),
            Some(("ubuntu", LoginOrigin::ServerUser)),
        ),
        (
            &alice,
            &fixed,
            Some("alice"),
            Some(("alice", LoginOrigin::Requested)),
        ),
        (
            &alice,
            &free,
            Some("alice"),
            Some(("alice", LoginOrigin::Claim)),
        ),
        (
            &alice,
            &free,
            Some("root"),
            Some(("root", LoginOrigin::Requested)),
        ),
        (
            &nobody,
            &free,
            Some("deploy"),
            Some(("deploy", LoginOrigin::Requested)),
        ),
        (&nobody, &free, None, None),
    ] {
        let mapped = mapping.map(who, server, requested.map(login).as_ref()).ok();
        let mapped = mapped
            .as_ref()
            .map(|mapped| (mapped.login.as_str(), mapped.origin));
        assert_eq!(mapped, expected);
    }
}

#[test]
fn the_mapping_reads_as_configuration() {
    let mapping: LoginMapping =
        serde_json::from_value(json!({"claim": "upn", "local-part-domains": ["x"]})).unwrap();
    assert_eq!(mapping.claim, "upn");
    assert_eq!(
        serde_json::from_value::<LoginMapping>(json!({})).unwrap(),
        LoginMapping::default()
    );
    assert!(serde_json::from_value::<LoginMapping>(json!({"clame": "x"})).is_err());
}

fn person(preferred_username: Value) -> Principal {
    Principal {
        issuer: "static".parse().unwrap(),
        subject: "alice".parse().unwrap(),
        user: "alice".parse().unwrap(),
        claims: [("preferred_username".to_owned(), preferred_username)].into(),
        groups: Default::default(),
        method: AuthMethod::StaticToken,
        standing: Standing::Home,
        authenticated_at: None,
        expires_at: None,
    }
}

fn with_email(mut person: Principal, email: Value, verified: Value) -> Principal {
    person.claims.insert("email".into(), email);
    person.claims.insert("email_verified".into(), verified);
    person
}

fn login(text: &str) -> Login {
    text.parse().unwrap()
}

#[test]
fn an_identity_is_that_of_the_person_it_is_told_of() {
    let claim = || "upn".to_owned();
    for error in [
        LoginError::ClaimMissing { claim: claim() },
        LoginError::ClaimNotText { claim: claim() },
        LoginError::EmailMissing { claim: claim() },
        LoginError::EmailNotVerified,
        LoginError::EmailOther { claim: claim() },
        LoginError::DomainNotListed {
            claim: claim(),
            value: "a@b.example".to_owned(),
        },
        LoginError::Illegal {
            claim: claim(),
            source: "A".parse::<Login>().unwrap_err(),
        },
    ] {
        let own = error.to_string();
        let another = AboutAnother(error);
        let source = std::error::Error::source(&another).is_some();
        assert_eq!(source, matches!(another.0, LoginError::Illegal { .. }));
        assert_eq!(
            another.to_string(),
            own.replace("your identity", "their identity")
        );
    }
}
