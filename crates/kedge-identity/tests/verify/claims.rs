//! What the claims must be, and what is taken from them.

use kedge_identity::VerifyError;
use serde_json::{Value, json};

use crate::world::{Clock, Issuer, SigningKey, World, judge, refused};
use kedge_identity::Algorithm;

const MINUTE: i64 = 60;

#[tokio::test]
async fn another_audience_is_refused() {
    let world = World::new();
    for (audience, reason) in [
        (json!("other"), "audience"),
        (json!("Kedge"), "audience"),
        (json!("kedge "), "audience"),
        (json!([]), "audience"),
        (json!(["other"]), "audience"),
        (json!(["kedge", "other"]), "audience"),
        (json!(["kedge", "\u{202e}other\n"]), "audience"),
        (json!(["kedge", 1]), "claim"),
        (json!(1), "claim"),
        (json!({"kedge": 1}), "claim"),
        (Value::Null, "claim"),
    ] {
        world
            .refused(&world.with_claim("aud", audience), reason)
            .await;
    }
    world
        .verify(&world.with_claim("aud", json!(["kedge"])))
        .await
        .unwrap();
}

#[tokio::test]
async fn several_audiences_must_all_be_trusted_and_name_who_got_the_token() {
    let world = World::new();
    let mut rules = world.issuer.rules();
    rules.authorized_parties.insert("web".to_owned());
    world.verifier.replace(vec![rules]);
    let token = |audience: Value, party: Value| {
        let mut claims = world.issuer.claims();
        claims["aud"] = audience;
        if !party.is_null() {
            claims["azp"] = party;
        }
        world.token(&claims)
    };
    for (audience, party) in [
        (json!(["kedge", "web"]), json!("web")),
        (json!(["kedge", "web"]), json!("kedge")),
        (json!("kedge"), json!("web")),
        (json!("kedge"), json!(null)),
    ] {
        world.verify(&token(audience, party)).await.unwrap();
    }
    for (audience, party, reason) in [
        (json!(["kedge", "web"]), json!(null), "authorized-party"),
        (json!(["kedge", "web"]), json!("other"), "authorized-party"),
        (json!("kedge"), json!("other"), "authorized-party"),
        (json!("kedge"), json!(7), "claim"),
        (json!("web"), json!("web"), "audience"),
        (json!(["kedge", "web", "other"]), json!("kedge"), "audience"),
    ] {
        world.refused(&token(audience, party), reason).await;
    }
}

#[tokio::test]
async fn another_issuer_is_refused_and_a_slash_at_the_end_makes_another() {
    let world = World::new();
    let url = world.issuer.url.clone();
    for issuer in [
        "https://id.example",
        "https://ID.example/realms/main",
        "static",
        "",
    ] {
        world
            .refused(&world.with_claim("iss", json!(issuer)), "unknown-issuer")
            .await;
    }
    let words = world
        .refused(
            &world.with_claim("iss", json!(format!("{url}/"))),
            "unknown-issuer",
        )
        .await;
    assert!(words.contains("slash"), "{words}");
    for issuer in [json!(null), json!([url]), json!(1)] {
        world
            .refused(&world.with_claim("iss", issuer), "claim")
            .await;
    }
    assert_eq!(
        world.issuer.urls().len(),
        0,
        "nobody is asked for an issuer's sake"
    );

    let key = SigningKey::new(Algorithm::Es256, "k1");
    let slashed = Issuer::new("https://id.example/", &world.clock, &[&key]);
    let verifier = slashed.verifier();
    let token = key.token(
        r#"{"alg":"ES256","kid":"k1"}"#,
        &world
            .issuer
            .claims()
            .to_string()
            .replace(&url, "https://id.example"),
    );
    let words = refused(&verifier, &token, "unknown-issuer").await;
    assert!(words.contains("slash"), "{words}");
}

#[tokio::test]
async fn the_second_issuer_speaks_for_its_own_people_only() {
    let clock = Clock::new();
    let keys = ["k1", "k2"].map(|kid| SigningKey::new(Algorithm::Es256, kid));
    let first = Issuer::new("https://one.example", &clock, &[&keys[0]]);
    let second = Issuer::new("https://two.example", &clock, &[&keys[1]]);
    let verifier = judge(&clock, vec![first.rules(), second.rules()]);
    let header = |kid: &str| json!({"alg": "ES256", "kid": kid}).to_string();

    let alice = keys[0].token(&header("k1"), &first.claims().to_string());
    let namesake = keys[1].token(&header("k2"), &second.claims().to_string());
    let (alice, namesake) = (
        verifier.verify(&alice).await.unwrap(),
        verifier.verify(&namesake).await.unwrap(),
    );
    assert_eq!(alice.subject, namesake.subject);
    assert_eq!(alice.issuer, "https://one.example");
    assert_eq!(namesake.issuer, "https://two.example");

    // Signed by the second in the first one's name, under either key's id.
    for kid in ["k1", "k2"] {
        let forged = keys[1].token(&header(kid), &first.claims().to_string());
        let error = verifier.verify(&forged).await.unwrap_err();
        assert!(
            matches!(error, VerifyError::Signature | VerifyError::Key { .. }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_expired_token_is_refused_a_minute_late() {
    let world = World::new();
    let now = world.clock.seconds();
    for (end, good) in [
        (now + 1, true),
        (now - 59, true),
        (now - 60, false),
        (0, false),
        (-1, false),
    ] {
        let token = world.with_claim("exp", json!(end));
        assert_eq!(world.verify(&token).await.is_ok(), good, "{}", end - now);
        if !good {
            world.refused(&token, "expired").await;
        }
    }
}

#[tokio::test]
async fn a_remembered_token_expires_too() {
    let world = World::new();
    let token = world.good();
    world.verify(&token).await.unwrap();
    world.clock.forward(5 * MINUTE + 59);
    world.verify(&token).await.unwrap();
    world.clock.forward(1);
    world.refused(&token, "expired").await;
}

#[tokio::test]
async fn a_token_from_the_future_is_refused_beyond_five_minutes() {
    let world = World::new();
    let now = world.clock.seconds();
    for claim in ["iat", "nbf", "auth_time"] {
        world
            .verify(&world.with_claim(claim, json!(now + 5 * MINUTE)))
            .await
            .unwrap();
        let words = world
            .refused(
                &world.with_claim(claim, json!(now + 5 * MINUTE + 1)),
                "from-the-future",
            )
            .await;
        assert!(words.contains(claim), "{words}");
    }
}

#[tokio::test]
async fn a_clock_that_is_ten_minutes_off_is_said_to_be() {
    let world = World::new();
    let token = world.good();
    world.clock.forward(-10 * MINUTE);
    let words = world.refused(&token, "from-the-future").await;
    assert!(
        words.contains("10 min ahead") && words.contains("clock"),
        "{words}"
    );
    world.clock.forward(20 * MINUTE);
    let words = world.refused(&token, "expired").await;
    assert!(
        words.contains("5 min ago") && words.contains("clock"),
        "{words}"
    );
}

#[tokio::test]
async fn times_are_numbers_and_the_necessary_ones_are_there() {
    let world = World::new();
    let now = world.clock.seconds();
    for claim in ["iat", "exp"] {
        world
            .refused(&world.with_claim(claim, Value::Null), "claim")
            .await;
    }
    for claim in ["iat", "exp", "nbf", "auth_time"] {
        for value in [
            json!("1800000000"),
            json!([now]),
            json!(true),
            json!(1e300),
            json!(-1e300),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(999_999_999_999_i64),
        ] {
            world
                .refused(&world.with_claim(claim, value), "claim")
                .await;
        }
    }
    // RFC 7519 §2 allows fractions.
    let token = world.with_claim("exp", json!(now as f64 + 10.75));
    let verified = world.verify(&token).await.unwrap();
    assert_eq!(verified.expires_at.as_second(), now + 10);
    // The last second of the year 9999, as some write "never".
    let token = world.with_claim("exp", json!(253_402_207_200_i64));
    world.verify(&token).await.unwrap();
}

#[tokio::test]
async fn a_subject_is_a_line_of_text() {
    let world = World::new();
    for subject in [
        Value::Null,
        json!(""),
        json!(7),
        json!(["alice"]),
        json!("a\nb"),
        json!("a\u{1b}[2J"),
        json!("a\u{202e}b"),
        json!("a\0"),
        json!(" alice"),
        json!("x".repeat(257)),
    ] {
        world
            .refused(&world.with_claim("sub", subject), "claim")
            .await;
    }
    for subject in [
        "alice",
        "größe",
        "auth0|123",
        "-oProxyCommand=x",
        "../x",
        &"x".repeat(256),
    ] {
        let verified = world
            .verify(&world.with_claim("sub", json!(subject)))
            .await
            .unwrap();
        assert_eq!(verified.subject, subject);
    }
}

#[tokio::test]
async fn people_may_be_called_by_another_claim() {
    let world = World::new();
    let mut rules = world.issuer.rules();
    rules.user_claim = "preferred_username".to_owned();
    world.verifier.replace(vec![rules]);
    let verified = world
        .verify(&world.with_claim("sub", json!("1234")))
        .await
        .unwrap();
    assert_eq!(verified.subject, "1234");
    assert_eq!(verified.user, "alice");
    for value in [Value::Null, json!(7), json!("a\nb"), json!(["alice"])] {
        world
            .refused(&world.with_claim("preferred_username", value), "claim")
            .await;
    }
}

#[tokio::test]
async fn people_are_called_by_mail_only_if_it_is_verified() {
    let world = World::new();
    let mut rules = world.issuer.rules();
    rules.user_claim = "email".to_owned();
    world.verifier.replace(vec![rules]);
    let token = |verified: Value| {
        let mut claims = world.issuer.claims();
        claims["email"] = json!("alice@corp.example");
        claims["email_verified"] = verified;
        world.token(&claims)
    };
    let verified = world.verify(&token(json!(true))).await.unwrap();
    assert_eq!(verified.user, "alice@corp.example");
    for not in [json!(false), json!(null), json!("true"), json!(1)] {
        world.refused(&token(not), "email-not-verified").await;
    }
}

#[tokio::test]
async fn groups_are_a_list_or_a_text() {
    let world = World::new();
    for (claim, meant) in [
        (json!(["dev", "ops", "dev"]), vec!["dev", "ops"]),
        (json!("dev"), vec!["dev"]),
        (json!("dev ops"), vec!["dev ops"]),
        (json!([]), vec![]),
        (Value::Null, vec![]),
        // What can stand in no policy is no group.
        (json!(["dev", "", "a\nb", "x".repeat(257)]), vec!["dev"]),
    ] {
        let verified = world
            .verify(&world.with_claim("groups", claim))
            .await
            .unwrap();
        let groups: Vec<&str> = verified.groups.iter().map(|group| group.as_str()).collect();
        assert_eq!(groups, meant);
    }
    for wrong in [
        json!([{"name": "dev"}]),
        json!(["dev", 7]),
        json!({"dev": true}),
        json!(7),
    ] {
        world
            .refused(&world.with_claim("groups", wrong), "claim")
            .await;
    }
}

#[tokio::test]
async fn groups_that_the_issuer_left_out_are_not_none() {
    let world = World::new();
    let token = |names: Value| {
        let mut claims = world.issuer.claims();
        claims.as_object_mut().unwrap().remove("groups");
        claims["_claim_names"] = names;
        world.token(&claims)
    };
    let words = world
        .refused(&token(json!({"groups": "src1"})), "claim")
        .await;
    assert!(
        words.contains("`groups`") && words.contains("_claim_names"),
        "{words}"
    );
    let verified = world
        .verify(&token(json!({"address": "src1"})))
        .await
        .unwrap();
    assert!(verified.groups.is_empty());

    // Who does not ask for groups does not miss them.
    let mut rules = world.issuer.rules();
    rules.groups_claim.clear();
    world.verifier.replace(vec![rules]);
    let left_out = token(json!({"groups": "src1", "": "src1"}));
    let verified = world.verify(&left_out).await.unwrap();
    assert!(verified.groups.is_empty());
}

#[tokio::test]
async fn more_than_a_session_may_carry_is_refused_and_not_cut() {
    let world = World::new();
    let groups = |count: usize| (0..count).map(|n| format!("g{n}")).collect::<Vec<_>>();
    let words = world
        .refused(
            &world.with_claim("groups", json!(groups(513))),
            "claims-too-many",
        )
        .await;
    assert!(words.contains("513 groups"), "{words}");
    let verified = world
        .verify(&world.with_claim("groups", json!(groups(512))))
        .await
        .unwrap();
    assert_eq!(verified.groups.len(), 512);

    let long = "x".repeat(32 * 1024);
    world
        .refused(&world.with_claim("long", json!(long)), "claims-too-many")
        .await;

    let mut claims = world.issuer.claims();
    for number in 0..130 {
        claims[format!("c{number}")] = json!(1);
    }
    world
        .refused(&world.token(&claims), "claims-too-many")
        .await;
}

#[tokio::test]
async fn claims_are_kept_but_for_what_is_of_one_token_only() {
    let world = World::new();
    let mut claims = world.issuer.claims();
    for name in ["nonce", "jti", "sid", "at_hash", "department"] {
        claims[name] = json!("x");
    }
    claims["amr"] = json!(["pwd", "mfa"]);
    claims["auth_time"] = json!(world.clock.seconds() - 30);
    let verified = world.verify(&world.token(&claims)).await.unwrap();
    let names: Vec<&str> = verified.claims.keys().map(String::as_str).collect();
    let kept = "amr aud auth_time department groups iss preferred_username sub";
    assert_eq!(names.join(" "), kept);
    let since = world
        .clock
        .now()
        .saturating_since(verified.authenticated_at.unwrap());
    assert_eq!(since.as_secs(), 30);
}

#[tokio::test]
async fn the_answer_to_a_login_repeats_its_nonce() {
    let world = World::new();
    let token = world.with_claim("nonce", json!("n-0S6_WzA2Mj"));
    world
        .verifier
        .verify_answer(&token, "n-0S6_WzA2Mj")
        .await
        .unwrap();
    for (token, nonce) in [
        (&token, "n-other"),
        (&token, ""),
        (&world.good(), "n-0S6_WzA2Mj"),
        (
            &world.with_claim("nonce", json!(["n-0S6_WzA2Mj"])),
            "n-0S6_WzA2Mj",
        ),
    ] {
        let error = world
            .verifier
            .verify_answer(token, nonce)
            .await
            .unwrap_err();
        assert_eq!(error, VerifyError::Nonce);
        // Not even if the token is known to be good otherwise.
        world.verify(token).await.unwrap();
        assert!(world.verifier.verify_answer(token, nonce).await.is_err());
    }
}
