//! A token is worth what its issuer signed, for this hub, now: nothing else gets in, and nobody learns why not.

use crate::prelude::*;
use crate::trusting::*;

/// Every bad token: what is wrong with it, and the token.
fn bad_tokens(issuer: &Issuer, attacker: &Issuer) -> Result<Vec<(String, String)>> {
    let claims = || issuer.claims("alice");
    let now = claims()?["iat"].as_i64().context("a time")?;
    let mut bad: Vec<(String, String)> = Vec::new();
    let mut push = |what: &str, token: String| bad.push((what.to_owned(), token));

    // Signatures.
    for none in ["none", "None", "NONE", "nOnE"] {
        push(none, issuer.sign(json!({"alg": none}), claims()?)?);
    }
    for mac in ["HS256", "HS384", "HS512"] {
        push(mac, issuer.sign(json!({"alg": mac}), claims()?)?);
        let kid = issuer.kid("RS256");
        push(
            "HMAC under the id of the RSA key",
            issuer.sign(json!({"alg": mac, "kid": kid}), claims()?)?,
        );
    }
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let kid = issuer.kid(algorithm);
        push(
            "somebody else's key under the right id",
            attacker.sign(json!({"alg": algorithm, "kid": kid}), claims()?)?,
        );
        push(
            "an unknown id",
            attacker.sign(json!({"alg": algorithm}), claims()?)?,
        );
        push(
            "somebody else's key and no id",
            attacker.sign(json!({"alg": algorithm, "kid": null}), claims()?)?,
        );
        let jwk = attacker.jwk(algorithm)?;
        for kid in [json!(null), json!(kid), json!(attacker.kid(algorithm))] {
            push(
                "jwk in the header",
                attacker.sign(json!({"alg": algorithm, "kid": kid, "jwk": jwk}), claims()?)?,
            );
        }
        for link in ["jku", "x5u"] {
            let url = format!("{}/jwks", attacker.url());
            push(
                link,
                attacker.sign(json!({"alg": algorithm, link: url}), claims()?)?,
            );
        }
    }
    for other in ["PS256", "ES384", "RS512"] {
        push(
            "an algorithm that is not configured",
            issuer.sign(json!({"alg": other}), claims()?)?,
        );
    }
    push(
        "the key of another algorithm",
        issuer.sign(
            json!({"alg": "RS256", "kid": issuer.kid("ES256")}),
            claims()?,
        )?,
    );
    push("crit", issuer.sign(json!({"crit": ["exp"]}), claims()?)?);
    let good = issuer.id_token("alice")?;
    let (message, signature) = good.rsplit_once('.').context("a signature")?;
    let (header, payload) = message.split_once('.').context("a payload")?;
    push("no signature", format!("{message}."));
    push("two parts", message.to_owned());
    push("four parts", format!("{good}.{signature}"));
    push("half a signature", {
        let half = signature.len() / 2;
        format!("{message}.{}", &signature[..half])
    });
    push("padding", format!("{good}="));
    let other = issuer.id_token("bob")?;
    let bobs = other.split('.').nth(1).context("a payload")?;
    push(
        "somebody else's claims",
        format!("{header}.{bobs}.{signature}"),
    );
    push("an empty header", format!(".{payload}.{signature}"));
    push("an empty payload", format!("{header}..{signature}"));

    // Claims.
    let url = issuer.url();
    for (what, change) in [
        ("iss with a slash", json!({"iss": format!("{url}/")})),
        ("iss in capitals", json!({"iss": url.to_uppercase()})),
        ("another iss", json!({"iss": attacker.url()})),
        ("no iss", json!({"iss": null})),
        ("a list as iss", json!({"iss": [url]})),
        ("another aud", json!({"aud": "somebody"})),
        ("no aud", json!({"aud": null})),
        ("an empty aud", json!({"aud": []})),
        (
            "aud and an untrusted one",
            json!({"aud": ["kedge", "somebody"]}),
        ),
        (
            "aud and an untrusted one, azp ours",
            json!({"aud": ["kedge", "somebody"], "azp": "kedge"}),
        ),
        ("another azp", json!({"azp": "somebody"})),
        ("expired", json!({"exp": now - 120, "iat": now - 3600})),
        ("no exp", json!({"exp": null})),
        ("exp as text", json!({"exp": (now + 600).to_string()})),
        ("exp without end", json!({"exp": 1e300})),
        ("exp below zero", json!({"exp": -1})),
        ("not yet valid", json!({"nbf": now + 900})),
        (
            "from the future",
            json!({"iat": now + 900, "exp": now + 4500}),
        ),
        ("no iat", json!({"iat": null})),
        ("no sub", json!({"sub": null})),
        ("an empty sub", json!({"sub": ""})),
        ("a number as sub", json!({"sub": 1})),
        ("a sub without end", json!({"sub": "a".repeat(5000)})),
        (
            "typ Bearer, as Keycloak's access tokens",
            json!({"typ": "Bearer"}),
        ),
    ] {
        push(what, issuer.id_token_with("alice", &change)?);
    }
    push("an access token", issuer.access_token("alice")?);
    push("a logout token", issuer.logout_token("alice")?);
    let events = json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}});
    push(
        "a logout token that hides its type",
        issuer.id_token_with("alice", &events)?,
    );

    // Shapes.
    let kid = issuer.kid("RS256");
    let plain = format!("{{\"alg\":\"RS256\",\"kid\":\"{kid}\"}}");
    let text = claims()?.to_string();
    let twice = text.replacen('{', "{\"sub\":\"admin\",", 1);
    push("sub twice", issuer.sign_text("RS256", &plain, &twice)?);
    let header_twice = plain.replacen('{', "{\"alg\":\"none\",", 1);
    push(
        "alg twice",
        issuer.sign_text("RS256", &header_twice, &text)?,
    );
    let deep = format!(
        "{{\"deep\":{}{},{}",
        "[".repeat(10_000),
        "]".repeat(10_000),
        text.trim_start_matches('{')
    );
    push("nested", issuer.sign_text("RS256", &plain, &deep)?);
    for shape in ["", "[]", "null", "\"text\"", "{", "\u{feff}{}"] {
        push(
            "claims that are none",
            issuer.sign_text("RS256", &plain, shape)?,
        );
        push(
            "a header that is none",
            issuer.sign_text("RS256", shape, &text)?,
        );
    }
    push(
        "claims of 64 KiB",
        issuer.id_token_with("alice", &json!({"padding": "x".repeat(64 * 1024)}))?,
    );
    Ok(bad)
}

#[test]
fn each_bad_token_is_refused_without_a_reason() -> Result<()> {
    case(|t| {
        let attacker = Issuer::start(IssuerOptions::default())?;
        // Each token comes from an address of its own, or those who fail so often would soon be told to wait.
        let trusting = Trusting::with(t, IssuerOptions::default(), |options| {
            options.first = "trusted-proxies = [\"127.0.0.0/8\"]\n".to_owned();
        })?;
        let garbage = trusting.servers("garbage")?;
        ensure!(garbage.status == 401);
        let bad = bad_tokens(&trusting.issuer, &attacker)?;
        for (number, (what, token)) in bad.iter().enumerate() {
            let from = format!("198.51.100.{number}");
            let send = |request: Request| {
                request
                    .bearer(token)
                    .header("X-Forwarded-For", &from)
                    .send(trusting.cheap.endpoint())
            };
            let refused = |reply: &kedge_testkit::peers::Reply| {
                let said = reply.text();
                ensure!(reply.status == 401, "{what}: {} {said}", reply.status);
                Ok(())
            };
            let reply = send(Request::new("GET", "/apis/kedge.dev/v1alpha1/servers"))?;
            // A token that is longer than any header may be is not even read.
            if reply.status == 431 || (reply.status == 400 && token.len() > 64 * 1024) {
                continue;
            }
            refused(&reply)?;
            ensure!(
                reply.text() == garbage.text(),
                "{what}: the answer tells more than it should: {}",
                reply.text()
            );
            refused(&send(
                Request::new("GET", "/kedge/v1/connect").upgrade("kedge.v1"),
            )?)?;
        }
        ensure!(
            attacker.requests().is_empty(),
            "the hub asked the attacker: {:?}",
            attacker.requests()
        );
        ensure!(trusting.cheap.target.accepted() == 0);
        // And it still knows a good one.
        ensure!(trusting.status(&trusting.issuer.id_token("alice")?)? == 200);
        Ok(())
    })
}

#[test]
fn good_tokens_of_every_configured_algorithm_get_in() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let issuer = &trusting.issuer;
        for algorithm in ["RS256", "ES256", "EdDSA"] {
            let token = issuer.sign(json!({"alg": algorithm}), issuer.claims("alice")?)?;
            ensure!(trusting.status(&token)? == 200, "{algorithm}");
            trusting
                .open(&token, None)?
                .map_err(|(code, said)| anyhow::anyhow!("{algorithm}: {code:?} {said}"))?;
        }
        let now = issuer.claims("alice")?["iat"].as_i64().context("a time")?;
        for (what, change) in [
            ("aud in a list", json!({"aud": ["kedge"]})),
            ("azp is ours", json!({"azp": "kedge"})),
            ("expired within the leeway", json!({"exp": now - 20})),
            ("a nonce", json!({"nonce": "whatever"})),
            (
                "as big as people with many groups have",
                json!({"groups": (0..400).map(|n| format!("group-of-people-{n:04}")).collect::<Vec<_>>()}),
            ),
        ] {
            let token = issuer.id_token_with("alice", &change)?;
            let reply = trusting.servers(&token)?;
            ensure!(
                reply.status == 200,
                "{what}: {} {}",
                reply.status,
                reply.text()
            );
        }
        Ok(())
    })
}

#[test]
fn the_log_says_why_a_token_was_refused_and_never_the_token() -> Result<()> {
    case(|t| {
        let mut trusting = Trusting::start(t)?;
        let expired = json!({"exp": 1_600_000_000, "iat": 1_599_999_000});
        let token = trusting.issuer.id_token_with("alice", &expired)?;
        ensure!(trusting.status(&token)? == 401);
        let event = trusting.cheap.hub.audited("the refusal", |event| {
            text(event, "event").contains("refused") && event.to_string().contains("expired")
        })?;
        let signature = token.rsplit('.').next().context("a signature")?;
        let log = trusting.cheap.hub.daemon()?.log()?;
        ensure!(!log.contains(signature), "the log holds the token");
        ensure!(!event.to_string().contains(&token), "{event}");
        Ok(())
    })
}

#[test]
fn an_unknown_key_is_looked_for_once_in_a_while() -> Result<()> {
    case(|t| {
        let attacker = Issuer::start(IssuerOptions::default())?;
        let trusting = Trusting::start(t)?;
        let before = trusting.issuer.requests_to("/jwks");
        for _ in 0..20 {
            let token = attacker.sign(
                json!({"kid": kedge_testkit::case::SKIPPED}),
                trusting.issuer.claims("alice")?,
            )?;
            ensure!(trusting.status(&token)? == 401);
        }
        let asked = trusting.issuer.requests_to("/jwks") - before;
        ensure!(asked <= 1, "twenty tokens made {asked} requests");
        Ok(())
    })
}

#[test]
fn rotated_keys_count_at_once_and_old_ones_no_more() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let old = trusting.issuer.id_token("alice")?;
        ensure!(trusting.status(&old)? == 200);
        trusting.issuer.rotate()?;
        let new = trusting.issuer.id_token("alice")?;
        ensure!(
            trusting.status(&new)? == 200,
            "the new key is not looked for"
        );
        ensure!(
            trusting.status(&old)? == 401,
            "a key that left the set still counts"
        );
        Ok(())
    })
}

#[test]
fn a_second_issuer_does_not_speak_for_the_people_of_the_first() -> Result<()> {
    case(|t| {
        let second = Issuer::start(IssuerOptions::default())?;
        let mut trusting = Trusting::with(t, IssuerOptions::default(), |options| {
            let first = options.issuers.remove(0).with("home = true");
            options.issuers = vec![
                first,
                TrustedIssuer::new(&second.url()).with("name = \"second\""),
            ];
        })?;
        let alice = trusting.issuer.id_token("alice")?;
        let stranger = second.id_token("alice")?;
        trusting
            .open(&alice, None)?
            .map_err(|(code, said)| anyhow::anyhow!("{code:?} {said}"))?;
        ensure!(
            trusting.status(&stranger)? == 200,
            "the second is trusted too"
        );
        let Err((code, said)) = trusting.open(&stranger, None)? else {
            bail!("the second issuer's alice is taken for the first one's")
        };
        ensure!(matches!(code, RefuseCode::NotFound), "{code:?} {said}");
        let named = json!({"users": ["alice"], "issuers": [second.url()]});
        trusting
            .cheap
            .admin
            .apply(&policy("partners", named, &["{login}"]))?;
        trusting
            .open(&stranger, None)?
            .map_err(|(code, said)| anyhow::anyhow!("named by the policy: {code:?} {said}"))?;
        let opened = trusting
            .cheap
            .hub
            .audited("the partner's session", |event| {
                text(event, "event") == "session.opened" && text(event, "issuer") == second.url()
            })?;
        ensure!(text(&opened, "policy") == "partners", "{opened}");
        // A token of one under the name of the other is nobody's.
        let crossed = second.id_token_with("alice", &json!({"iss": trusting.issuer.url()}))?;
        ensure!(trusting.status(&crossed)? == 401);
        Ok(())
    })
}
