//! Explanations: they are the decision itself, they say what they rest on, and nobody learns from them what is not
//! theirs to know.

use http::StatusCode;
use serde_json::{Value, json};

use kedge_testkit::issuer::{Issuer, IssuerOptions, IssuerPerson};

use crate::harness::{Hub, PEOPLE, configuration, policy};
use crate::history::{path_with, records, session};
use crate::issuers::{hub_with, table};

async fn ask(hub: &Hub, who: &str, question: Value) -> Value {
    hub.post(who, "/explanations", question)
        .await
        .expect(StatusCode::OK)
        .json()
}

/// The fact's value and origin.
fn fact(explanation: &Value, name: &str) -> Option<(Value, String)> {
    let facts = explanation["assumed"].as_array().unwrap();
    let mut found = facts.iter().filter(|fact| fact["fact"] == name);
    let fact = found.next()?;
    assert!(found.next().is_none(), "{name} twice in {explanation}");
    Some((
        fact["value"].clone(),
        fact["origin"].as_str().unwrap().to_owned(),
    ))
}

/// A generator of the same choices every time.
struct Choice(u64);

impl Choice {
    fn of<T: Clone>(&mut self, from: &[T]) -> T {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        from[usize::try_from(self.0 >> 33).unwrap() % from.len()].clone()
    }

    fn policy(&mut self) -> Value {
        let effect = self.of(&["Allow", "Allow", "Allow", "Deny"]);
        let subjects = self.of(&[
            json!({ "users": ["alice"] }),
            json!({ "users": ["*"] }),
            json!({ "users": ["bob"] }),
            json!({ "groups": ["dev"] }),
            json!({ "groups": ["ops"] }),
            json!({ "claims": [{"key": "preferred_username", "operator": "In", "values": ["alice"]}] }),
            json!({ "users": ["*"], "claims": [{"key": "department", "operator": "Exists"}] }),
        ]);
        let servers = self.of(&[
            json!({ "names": ["web01"] }),
            json!({ "names": ["*"] }),
            json!({ "names": ["db01"] }),
            json!({ "matchLabels": {"env": "prod"} }),
            json!({ "matchLabels": {"env": "dev"} }),
        ]);
        let logins = self.of(&[
            json!(["{login}"]),
            json!(["deploy"]),
            json!(["root"]),
            json!(["alice"]),
        ]);
        let constraints = self.of(&[
            json!({}),
            json!({ "sourceRanges": ["127.0.0.0/8"] }),
            json!({ "sourceRanges": ["192.0.2.0/24"] }),
            json!({ "notAfter": "2020-01-01T00:00:00Z" }),
            json!({ "requiredClaims": [{"key": "amr", "operator": "In", "values": ["mfa"]}] }),
        ]);
        json!({
            "effect": effect, "subjects": subjects, "servers": servers, "logins": logins, "permissions": ["ssh"],
            "constraints": constraints,
        })
    }
}

#[tokio::test]
async fn an_explanation_is_the_decision() {
    let (hub, _serving) = path_with("").await;
    let mut server = hub.get("admin", "/servers/web01").await.json();
    server["metadata"]["labels"] = json!({ "env": "prod" });
    hub.put("admin", "/servers/web01", server)
        .await
        .expect(StatusCode::OK);
    hub.delete("admin", "/accesspolicies/alice-everywhere")
        .await
        .expect(StatusCode::OK);
    let mut choice = Choice(7);
    let (mut allowed, mut refused) = (0, 0);
    for round in 0..60 {
        let policies: Vec<_> = (0..3).map(|_| choice.policy()).collect();
        for (index, spec) in policies.iter().enumerate() {
            hub.policy(&format!("p{index}"), spec.clone()).await;
        }
        let login = choice.of(&[None, None, Some("deploy"), Some("root"), Some("alice")]);
        let question = json!({
            "user": "alice", "server": "web01", "login": login, "source": "127.0.0.1",
        });
        let said = ask(&hub, "admin", question.clone()).await;
        let own = hub.post("alice", "/explanations", question).await;
        let opened = session(&hub, "alice", "web01", login).await;
        let what = format!("round {round}, {login:?}: {policies:#?}\n{said:#?}");
        assert_eq!(said["allowed"], json!(opened), "{what}");
        // To whom no policy shows the server there is none.
        match own.status {
            StatusCode::NOT_FOUND => assert!(!opened, "{what}"),
            _ => assert_eq!(own.json()["allowed"], json!(opened), "{what}"),
        }
        if opened {
            let event = hub.audit.events("session.opened").pop().unwrap();
            assert_eq!(said["policy"], event["policy"].as_str(), "{what}");
            assert_eq!(said["login"], event["login"].as_str(), "{what}");
            allowed += 1;
        } else {
            refused += 1;
        }
        assert_eq!(said["trace"].as_array().unwrap().len(), 3, "{what}");
        for index in 0..policies.len() {
            hub.delete("admin", &format!("/accesspolicies/p{index}"))
                .await
                .expect(StatusCode::OK);
        }
    }
    assert!(
        allowed > 5 && refused > 5,
        "{allowed} allowed, {refused} refused"
    );
}

#[tokio::test]
async fn facts_come_from_the_question_or_are_said_to_come_from_elsewhere() {
    let (hub, _serving) = path_with("").await;
    let said = ask(&hub, "admin", json!({ "user": "alice", "server": "web01" })).await;
    assert_eq!(said["allowed"], true, "{said}");
    let configured = |value: Value| Some((value, "configuration".to_owned()));
    assert_eq!(fact(&said, "groups"), configured(json!(["dev"])));
    assert_eq!(
        fact(&said, "claims.preferred_username"),
        configured(json!("alice"))
    );
    assert_eq!(
        fact(&said, "user"),
        Some((json!("alice"), "given".to_owned()))
    );
    assert_eq!(fact(&said, "source"), None);

    let said = ask(
        &hub,
        "admin",
        json!({
            "user": "alice", "server": "web01", "groups": ["guests"], "claims": {"preferred_username": "al"},
            "source": "192.0.2.7", "at": "2030-01-01T00:00:00Z",
        }),
    )
    .await;
    assert_eq!(
        (&said["login"], &said["loginOrigin"]),
        (&json!("al"), &json!("claim"))
    );
    assert_eq!(said["at"], "2030-01-01T00:00:00Z");
    for (name, value) in [
        ("groups", json!(["guests"])),
        ("claims.preferred_username", json!("al")),
        ("source", json!("192.0.2.7")),
    ] {
        assert_eq!(fact(&said, name), Some((value, "given".to_owned())));
    }

    // About oneself, the token says it.
    let said = ask(&hub, "alice", json!({ "user": "alice", "server": "web01" })).await;
    let token = |value: Value| Some((value, "token".to_owned()));
    assert_eq!(fact(&said, "groups"), token(json!(["dev"])));
    assert_eq!(fact(&said, "source"), token(json!("127.0.0.1")));
}

/// `kedge whoami` asks about every server that somebody sees.
#[tokio::test]
async fn a_question_about_oneself_is_no_attempt_that_was_refused() {
    let (hub, _serving) = path_with("").await;
    hub.policy(
        "viewers",
        json!({ "subjects": {"users": ["bob"]}, "hub": {"roles": ["viewer"]} }),
    )
    .await;
    for (who, allowed) in [("bob", false), ("admin", false), ("alice", true)] {
        let said = ask(&hub, who, json!({ "user": who, "server": "web01" })).await;
        assert_eq!(said["allowed"], allowed, "{said}");
    }
    let question = json!({ "user": "alice", "server": "ghost" });
    hub.post("alice", "/explanations", question)
        .await
        .error("NotFound");
    // What comes after them is the first that there is to remember.
    assert!(session(&hub, "alice", "web01", None).await);
    let records = records(&hub, 1).await;
    assert_eq!(records[0]["event"], "opened", "{records:?}");
    assert!(hub.audit.events("session.refused").is_empty());
}

#[tokio::test]
async fn who_is_gone_is_as_they_were_last_seen() {
    let (hub, _serving) = path_with("").await;
    let question = json!({ "user": "alice", "server": "web01" });
    assert!(session(&hub, "alice", "web01", None).await);
    let seen = records(&hub, 1).await[0]["at"].clone();
    let left: Vec<_> = PEOPLE
        .into_iter()
        .filter(|(name, _)| *name != "alice")
        .collect();
    hub.reload(&configuration(
        std::path::Path::new("/nonexistent"),
        &left,
        "",
    ));
    let said = ask(&hub, "admin", question).await;
    assert_eq!(said["allowed"], true, "{said}");
    let facts = said["assumed"].as_array().unwrap();
    for name in ["groups", "claims.preferred_username", "source"] {
        let fact = facts.iter().find(|fact| fact["fact"] == name).unwrap();
        assert_eq!(
            (&fact["origin"], &fact["seen"]),
            (&json!("last-seen"), &seen),
            "{fact}"
        );
    }
    // Nobody knows anything of a stranger.
    let said = ask(&hub, "admin", json!({ "user": "zoe", "server": "web01" })).await;
    assert_eq!(
        (&said["allowed"], &said["outcome"]),
        (&json!(false), &json!("no-login"))
    );
    assert!(
        said["loginError"]
            .as_str()
            .unwrap()
            .starts_with("their identity has no claim `preferred_username`"),
        "{said}"
    );
    assert_eq!(fact(&said, "groups"), None);
    let question = json!({ "user": "zoe", "server": "web01", "issuer": "https://id.example" });
    let said = ask(&hub, "admin", question).await;
    assert!(
        said["loginError"]
            .as_str()
            .unwrap()
            .contains("does not trust"),
        "{said}"
    );
}

#[tokio::test]
async fn people_of_an_issuer_are_as_they_were_last_seen_and_nobody_else_is_taken_for_them() {
    let home = Issuer::start(IssuerOptions {
        people: vec![IssuerPerson::new("carol").groups(&["dev"])],
        ..IssuerOptions::default()
    })
    .unwrap();
    let other = Issuer::start(IssuerOptions {
        people: vec![IssuerPerson::new("carol").groups(&["ops"])],
        ..IssuerOptions::default()
    })
    .unwrap();
    let issuers = table(&home, "corp", "home = true") + &table(&other, "partner", "home = false");
    let (hub, _serving) = hub_with(&issuers).await;
    let group = |group: &str| json!({ "subjects": {"groups": [group]}, "servers": {"names": ["*"]}, "logins": ["{login}"] });
    hub.policy("developers", group("dev")).await;
    hub.policy("operators", group("ops")).await;
    let question = json!({ "user": "carol", "server": "web01" });
    let said = ask(&hub, "admin", question.clone()).await;
    assert_eq!(said["outcome"], "no-login", "{said}");
    assert_eq!(
        fact(&said, "issuer"),
        Some((json!(home.url()), "configuration".to_owned()))
    );
    for issuer in [&home, &other] {
        let token = issuer.id_token("carol").unwrap();
        let person = hub.try_connect(&token).await.unwrap();
        let opened = person.open("web01", None).opened().await.is_ok();
        assert_eq!(opened, issuer.url() == home.url());
    }
    records(&hub, 2).await;
    let said = ask(&hub, "admin", question.clone()).await;
    assert_eq!(said["policy"], "developers", "{said}");
    assert_eq!(
        fact(&said, "groups"),
        Some((json!(["dev"]), "last-seen".to_owned()))
    );
    let mut question = question;
    question["issuer"] = json!(other.url());
    let said = ask(&hub, "admin", question).await;
    assert_eq!(said["outcome"], "no-policy", "{said}");
    let facts = said["assumed"].as_array().unwrap();
    let groups = facts.iter().find(|fact| fact["fact"] == "groups").unwrap();
    assert_eq!(
        (&groups["value"], &groups["origin"]),
        (&json!(["ops"]), &json!("last-seen"))
    );
    assert_eq!(said["trace"][0]["reason"]["code"], "issuer", "{said}");
}

#[tokio::test]
async fn people_ask_about_themselves_and_learn_what_is_theirs() {
    let (hub, _serving) = path_with("").await;
    hub.agent("db01").await;
    let only = |user: &str, server: &str| json!({ "subjects": {"users": [user]}, "servers": {"names": [server]}, "logins": ["{login}"] });
    hub.policy("bob-web", only("bob", "web01")).await;
    hub.policy("secret-project", only("carol", "*")).await;
    let about = |user: &str, server: &str| json!({ "user": user, "server": server });
    for question in [
        about("alice", "web01"),
        json!({ "user": "bob", "issuer": "https://id.example", "server": "web01" }),
        json!({ "user": "bob", "subject": "alice", "server": "web01" }),
        json!({ "user": "bob", "server": "web01", "groups": ["ops"] }),
        json!({ "user": "bob", "server": "web01", "claims": {"a": 1} }),
    ] {
        hub.post("bob", "/explanations", question)
            .await
            .error("Forbidden");
    }
    let said = ask(&hub, "bob", about("bob", "web01")).await;
    assert_eq!(said["policy"], "bob-web", "{said}");
    let text = said.to_string();
    assert!(
        !text.contains("secret-project") && !text.contains("alice-everywhere"),
        "{text}"
    );
    let hidden = hub.post("bob", "/explanations", about("bob", "db01")).await;
    let absent = hub
        .post("bob", "/explanations", about("bob", "ghost"))
        .await;
    let (hidden, absent) = (hidden.error("NotFound"), absent.error("NotFound"));
    assert_eq!(hidden.message.replace("db01", "ghost"), absent.message);

    for bad in [
        json!({ "server": "web01" }),
        json!({ "user": "alice", "server": "web\u{1b}" }),
        json!({ "user": "alice", "server": "web01", "wish": 1 }),
        json!({ "user": "a\nb", "server": "web01" }),
        json!([]),
    ] {
        let reply = hub.post("admin", "/explanations", bad).await;
        assert!(
            matches!(reply.status.as_u16(), 400 | 422),
            "{}",
            reply.status
        );
    }
    let reply = hub
        .post("admin", "/explanations", about("alice", "ghost"))
        .await;
    reply.error("NotFound");

    // Viewers ask about everybody.
    let viewers = json!({ "subjects": {"users": ["bob"]}, "hub": {"roles": ["viewer"]} });
    hub.post("admin", "/accesspolicies", policy("viewers", viewers))
        .await
        .expect(StatusCode::CREATED);
    let said = ask(&hub, "bob", about("alice", "db01")).await;
    assert_eq!(said["policy"], "alice-everywhere", "{said}");
    assert!(said.to_string().contains("secret-project"));
}
