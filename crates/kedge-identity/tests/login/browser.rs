//! The authorization code flow, from the question to what the person sees in the end.

use std::time::Duration;

use kedge_identity::VerifyError;
use kedge_identity::login::{BrowserOptions, LoginClient, LoginFlowError, Provider};
use kedge_testkit::issuer::Misbehaviour;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::sync::mpsc;
use url::Url;

use crate::common::{
    Meddled, between, chain, claims, client, impatient, issuer, log_in, now, parameter, provider,
    replace, visit, visiting,
};

#[tokio::test]
async fn a_login_brings_tokens_that_are_believed() {
    let issuer = issuer();
    let (result, page) = log_in(&provider(&issuer).await, "alice").await;
    let tokens = result.unwrap();
    assert_eq!(page.status, 200);
    // Whether the hub takes the login is not known yet.
    let next = "You may close this page and go back to the terminal.";
    assert!(page.body.contains(next), "{}", page.body);
    assert!(!page.body.contains("logged in"), "{}", page.body);
    assert_eq!(tokens.subject.as_str(), "alice");
    assert!(tokens.expires_at > now() && tokens.issued_at <= now());
    assert!(tokens.refresh_token.is_some());
    assert_eq!(tokens.id_token.expose_secret().split('.').count(), 3);
    assert_eq!(issuer.requests_to("/token"), 1);
    // The page is for nobody to keep, frame, script or tell about.
    let header = |name: &str| {
        let mut found = page.headers.iter().filter(|(key, _)| key == name);
        found.next().unwrap().1.clone()
    };
    assert!(header("content-security-policy").contains("default-src 'none'"));
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("referrer-policy"), "no-referrer");
}

#[tokio::test]
async fn the_question_has_all_that_protects_the_answer() {
    let issuer = issuer();
    let mut client = client(&issuer);
    client.scopes = ["openid", "groups", "unheard-of", "offline_access"]
        .map(str::to_owned)
        .to_vec();
    let parameters = [("prompt", "consent"), ("access_type", "offline")];
    client.authorization_parameters = parameters
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let provider = client.discover().await.unwrap();
    let mut asked = Vec::new();
    for reauthenticate in [false, true] {
        let options = BrowserOptions {
            reauthenticate,
            deadline: Duration::from_millis(1),
        };
        let result = provider
            .with_browser(options, |url| asked.push(url.clone()))
            .await;
        assert!(matches!(result, Err(LoginFlowError::Deadline { .. })));
    }
    for url in &asked {
        let parameter = |name| parameter(url, name).unwrap();
        assert!(
            url.as_str()
                .starts_with(&format!("{}/authorize?", issuer.url()))
        );
        assert_eq!(parameter("response_type"), "code");
        assert_eq!(parameter("client_id"), "kedge");
        assert_eq!(parameter("code_challenge_method"), "S256");
        assert_eq!(parameter("code_challenge").len(), 43);
        assert_eq!(parameter("scope"), "openid groups offline_access");
        assert_eq!(parameter("access_type"), "offline");
        assert!(parameter("state").len() >= 22 && parameter("nonce").len() >= 22);
        let redirect: Url = parameter("redirect_uri").parse().unwrap();
        assert_eq!(
            (redirect.scheme(), redirect.host_str(), redirect.path()),
            ("http", Some("127.0.0.1"), "/callback")
        );
    }
    let [plain, anew] = asked.try_into().unwrap();
    for name in ["state", "nonce", "code_challenge", "redirect_uri"] {
        assert_ne!(parameter(&plain, name), parameter(&anew, name), "{name}");
    }
    assert_eq!(parameter(&plain, "prompt").unwrap(), "consent");
    assert_eq!(parameter(&plain, "max_age"), None);
    assert_eq!(parameter(&anew, "prompt").unwrap(), "login consent");
    assert_eq!(parameter(&anew, "max_age").unwrap(), "0");
}

#[tokio::test]
async fn a_hub_cannot_choose_what_makes_a_login_this_one() {
    let issuer = issuer();
    for name in [
        "state",
        "redirect_uri",
        "nonce",
        "code_challenge",
        "scope",
        "request",
    ] {
        let mut client = client(&issuer);
        client
            .authorization_parameters
            .insert(name.to_owned(), "x".to_owned());
        let error = client.discover().await.unwrap_err().to_string();
        assert_eq!(
            error,
            format!("the hub may not choose the parameter `{name}`")
        );
    }
    for scope in ["", "a b", "a\"b", "a\nb", "é"] {
        let mut client = client(&issuer);
        client.scopes.push(scope.to_owned());
        let error = client.discover().await.unwrap_err();
        assert!(matches!(
            error,
            LoginFlowError::Parameter { what: "scope", .. }
        ));
    }
    assert_eq!(issuer.requests().values().sum::<u64>(), 0);
}

#[tokio::test]
async fn what_a_hub_says_of_ports_and_audiences_has_bounds() {
    type Say = fn(&mut LoginClient);
    let issuer = issuer();
    let cases: [(Say, &str, &str); 6] = [
        (
            |it| it.redirect_ports = vec![8400, 1023],
            "redirect port",
            "1023",
        ),
        (|it| it.redirect_ports = vec![0], "redirect port", "0"),
        (
            |it| it.redirect_ports = (2001..=2009).collect(),
            "redirect port",
            "2009",
        ),
        (
            |it| it.audiences = (10..=42).map(|n| n.to_string()).collect(),
            "audience",
            "42",
        ),
        (
            |it| it.authorized_parties = (10..=42).map(|n| n.to_string()).collect(),
            "authorized party",
            "42",
        ),
        (
            |it| it.audiences = ["x".repeat(513)].into(),
            "audience",
            "xxx",
        ),
    ];
    for (say, expected, which) in cases {
        let mut client = client(&issuer);
        say(&mut client);
        let error = client.discover().await.unwrap_err();
        let LoginFlowError::Parameter { what, name } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(*what, expected);
        assert!(name.starts_with(which), "{name}");
        assert!(error.to_string().len() < 500, "{error}");
    }
    assert_eq!(issuer.requests().values().sum::<u64>(), 0);
    let mut client = client(&issuer);
    client.redirect_ports = vec![1024, 2002, 2003, 2004, 2005, 2006, 2007, u16::MAX];
    client.audiences = (10..=41).map(|n| n.to_string()).collect();
    assert!(client.discover().await.is_ok());
}

#[tokio::test]
async fn a_token_for_others_too_is_believed_where_the_hub_believes_it() {
    let issuer = issuer();
    let ours = issuer.client_id().to_owned();
    for (aud, azp, believed) in [
        (json!([ours, "https://hub.example"]), json!(ours), true),
        (json!("https://hub.example"), json!(ours), true),
        (json!([ours]), json!("gateway"), true),
        (json!([ours, "gateway"]), json!("gateway"), true),
        (
            json!([ours, "https://hub.example", "x"]),
            json!(ours),
            false,
        ),
        (json!([ours]), json!("https://hub.example"), false),
        (json!("gateway"), json!("gateway"), false),
    ] {
        issuer.misbehave(Misbehaviour::TokensWith(claims(
            json!({ "aud": aud, "azp": azp }),
        )));
        let (result, _) = log_in(&provider(&issuer).await, "alice").await;
        let plain = result.unwrap_err();
        assert!(
            matches!(plain, LoginFlowError::Token { .. }),
            "{aud} {azp}: {plain:?}"
        );
        let mut client = client(&issuer);
        client.audiences = ["https://hub.example".to_owned()].into();
        client.authorized_parties = ["gateway".to_owned()].into();
        let (result, _) = log_in(&client.discover().await.unwrap(), "alice").await;
        assert_eq!(result.is_ok(), believed, "{aud} {azp}: {result:?}");
        issuer.behave();
    }
}

#[tokio::test]
async fn an_answer_of_another_issuer_ends_the_login() {
    let issuer = issuer();
    let provider = provider(&issuer).await;
    for (how, cause) in [
        (
            Misbehaviour::WrongIss("https://evil.example/<script>".to_owned()),
            "it is from `https://evil.example/<script>`",
        ),
        (
            Misbehaviour::WrongIss(format!("{}/", issuer.url())),
            "it is from",
        ),
        (Misbehaviour::MissingIss, "it does not say whose it is"),
    ] {
        issuer.misbehave(how);
        let (result, page) = log_in(&provider, "alice").await;
        let error = result.unwrap_err();
        assert!(matches!(error, LoginFlowError::MixUp { .. }), "{error:?}");
        assert!(error.to_string().contains(cause), "{error}");
        assert_eq!(page.status, 400);
        assert!(page.body.contains("is not from"), "{}", page.body);
        assert!(!page.body.contains("<script"), "{}", page.body);
        issuer.behave();
    }
    assert_eq!(issuer.requests_to("/token"), 0, "no code left this machine");
}

#[tokio::test]
async fn a_refusal_is_told_in_the_issuers_words_made_harmless() {
    let issuer = issuer();
    let provider = provider(&issuer).await;
    issuer.misbehave(Misbehaviour::AuthorizationError("access_denied".to_owned()));
    let words = format!("<b>Not you\u{1b}[2J\u{202e}</b>{}", "x".repeat(10_000));
    issuer.misbehave(Misbehaviour::TokenDescription(words));
    let (result, page) = log_in(&provider, "alice").await;
    let error = result.unwrap_err();
    let LoginFlowError::Refused { refusal, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(refusal.code, "access_denied");
    let text = error.to_string();
    assert!(
        text.contains("<b>Not you") && text.contains("(access_denied)"),
        "{text}"
    );
    assert!(
        !text.contains(['\u{1b}', '\u{202e}']) && text.chars().count() < 400,
        "{text}"
    );
    assert!(page.body.contains("The login failed"), "{}", page.body);
    assert!(
        !page.body.contains("<b>") && page.body.len() < 3000,
        "{}",
        page.body
    );
}

#[tokio::test]
async fn a_token_that_does_not_hold_is_no_login() {
    type Check = fn(&VerifyError) -> bool;
    let issuer = issuer();
    let with = |value| Misbehaviour::TokensWith(claims(value));
    let cases: [(Misbehaviour, Check); 7] = [
        (with(json!({ "nonce": "another" })), |error| {
            matches!(error, VerifyError::Nonce)
        }),
        (with(json!({ "nonce": null })), |error| {
            matches!(error, VerifyError::Nonce)
        }),
        (with(json!({ "aud": "another" })), |error| {
            matches!(error, VerifyError::Audience { .. })
        }),
        (with(json!({ "iss": "https://evil.example" })), |error| {
            matches!(error, VerifyError::UnknownIssuer { .. })
        }),
        (with(json!({ "exp": 1_000_000 })), |error| {
            matches!(error, VerifyError::Expired { .. })
        }),
        (Misbehaviour::TokensSignedWith("none".to_owned()), |error| {
            matches!(error, VerifyError::Algorithm { .. })
        }),
        (
            Misbehaviour::TokensSignedWith("HS256".to_owned()),
            |error| matches!(error, VerifyError::Algorithm { .. }),
        ),
    ];
    for (how, check) in cases {
        let provider = provider(&issuer).await;
        issuer.misbehave(how.clone());
        let (result, page) = log_in(&provider, "alice").await;
        let error = result.unwrap_err();
        let LoginFlowError::Token { source, .. } = &error else {
            panic!("{how:?}: {error:?}")
        };
        assert!(check(source), "{how:?}: {source:?}");
        assert_eq!(page.status, 400, "{how:?}");
        assert!(page.body.contains("cannot be believed"), "{}", page.body);
        issuer.behave();
    }
}

#[tokio::test]
async fn a_wrong_clock_is_named() {
    let issuer = issuer();
    issuer.skew(600);
    let (result, _) = log_in(&provider(&issuer).await, "alice").await;
    let text = chain(&result.unwrap_err());
    assert!(text.contains("is this machine's clock right?"), "{text}");
}

#[tokio::test]
async fn an_issuer_that_fails_at_the_last_step_is_named_on_the_page_too() {
    let issuer = issuer();
    let mut client = client(&issuer);
    client.http = impatient();
    let provider = client.discover().await.unwrap();
    for (how, unavailable, cause) in [
        (
            Misbehaviour::TokenError("invalid_grant".to_owned()),
            false,
            "invalid_grant",
        ),
        (
            Misbehaviour::TokenError("server_error".to_owned()),
            true,
            "500",
        ),
        (
            Misbehaviour::TokenError("temporarily_unavailable".to_owned()),
            true,
            "temporarily_unavailable",
        ),
        (Misbehaviour::TokenSlow, true, "did not"),
    ] {
        issuer.misbehave(how.clone());
        let (result, page) = log_in(&provider, "alice").await;
        let error = result.unwrap_err();
        assert_eq!(error.is_unavailable(), unavailable, "{how:?}: {error:?}");
        assert!(chain(&error).contains(cause), "{how:?}: {}", chain(&error));
        assert!(page.body.contains(cause), "{how:?}: {}", page.body);
        issuer.behave();
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_never_repeated() {
    let issuer = issuer();
    for (body, cause) in [
        (
            json!({ "access_token": "hunter2", "token_type": "Bearer" }),
            "sent no ID token",
        ),
        (
            json!({ "id_token": { "hunter2": "hunter2" } }),
            "`id_token` is not",
        ),
        (json!("hunter2"), "is not what"),
    ] {
        let mut client = client(&issuer);
        client.http = between(move |request| match request.uri().path() {
            "/token" => Meddled::json(200, &body),
            _ => Meddled::Pass(request),
        });
        let (result, page) = log_in(&client.discover().await.unwrap(), "alice").await;
        let error = result.unwrap_err();
        let text = format!("{} {error:?} {}", chain(&error), page.body);
        assert!(text.contains(cause), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn somebody_who_must_prove_it_anew_is_asked_anew() {
    let issuer = issuer();
    let provider = provider(&issuer).await;
    let options = BrowserOptions {
        reauthenticate: true,
        ..BrowserOptions::default()
    };
    for (auth_time, fresh) in [
        (json!(now().as_second() - 3600), false),
        (json!(null), true),
    ] {
        issuer.misbehave(Misbehaviour::TokensWith(claims(
            json!({ "auth_time": auth_time }),
        )));
        let mut visit = None;
        let result = provider
            .with_browser(options, |url| visit = Some(visiting(url, "alice")))
            .await;
        let page = visit.unwrap().join().unwrap();
        assert_eq!(page.status == 200, fresh, "{}", page.body);
        match result {
            Ok(_) => assert!(fresh),
            Err(error) => {
                assert!(!fresh);
                assert!(
                    error.to_string().contains("was told to ask who you are"),
                    "{error}"
                );
            }
        }
        issuer.behave();
    }
}

#[tokio::test]
async fn two_logins_at_once_do_not_take_each_others_answers() {
    let issuer = issuer();
    let (first, second) = (provider(&issuer).await, provider(&issuer).await);
    let (urls, mut asked) = mpsc::channel(2);
    let begin = |provider: Provider| {
        let urls = urls.clone();
        async move {
            provider
                .with_browser(BrowserOptions::default(), |url| {
                    urls.try_send(url.clone()).unwrap();
                })
                .await
        }
    };
    let crossing = async {
        let (one, two) = (asked.recv().await.unwrap(), asked.recv().await.unwrap());
        // The first one's answer is brought to the second one's port, before each goes where it belongs.
        let mut crossed = one.clone();
        let others = parameter(&two, "redirect_uri").unwrap();
        replace(&mut crossed, "redirect_uri", &others);
        let page = visit(&crossed, "alice").await;
        assert_eq!(page.status, 400);
        assert!(
            page.body.contains("This answers another login"),
            "{}",
            page.body
        );
        [
            visit(&one, "alice").await.status,
            visit(&two, "bob").await.status,
        ]
    };
    let (one, two, pages) = tokio::join!(begin(first), begin(second), crossing);
    assert_eq!(pages, [200, 200]);
    assert_eq!(one.unwrap().subject.as_str(), "alice");
    assert_eq!(two.unwrap().subject.as_str(), "bob");
}

#[tokio::test]
async fn nobody_in_time_is_an_error_and_closes_the_port() {
    let issuer = issuer();
    let provider = provider(&issuer).await;
    let options = BrowserOptions {
        deadline: Duration::from_millis(50),
        ..BrowserOptions::default()
    };
    let mut asked = None;
    let result = provider
        .with_browser(options, |url| asked = Some(url.clone()))
        .await;
    let error = result.unwrap_err();
    assert!(
        matches!(error, LoginFlowError::Deadline { .. }),
        "{error:?}"
    );
    let redirect: Url = parameter(&asked.unwrap(), "redirect_uri")
        .unwrap()
        .parse()
        .unwrap();
    let address = ("127.0.0.1", redirect.port().unwrap());
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[tokio::test]
async fn nothing_secret_can_be_printed() {
    let issuer = issuer();
    let mut client = client(&issuer);
    client.public_client_secret = Some("public-anyway".to_owned());
    let provider = client.discover().await.unwrap();
    let (result, _) = log_in(&provider, "alice").await;
    let tokens = result.unwrap();
    let text = format!("{tokens:?} {provider:?}");
    assert!(text.contains("alice"), "{text}");
    for secret in [&tokens.id_token, tokens.refresh_token.as_ref().unwrap()] {
        let secret = secret.expose_secret();
        assert!(!text.contains(secret) && !text.contains(&secret[secret.len() - 10..]));
    }
}
