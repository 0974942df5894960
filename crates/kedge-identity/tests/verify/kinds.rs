//! Other tokens of the same issuer, signed with the same keys.

use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn a_header_that_names_another_type_is_refused() {
    let world = World::new();
    for kind in [
        "at+jwt",
        "application/at+jwt",
        "AT+JWT",
        "logout+jwt",
        "secevent+jwt",
        "dpop+jwt",
        "JOSE",
        "",
    ] {
        world
            .refused(&world.with_header("typ", json!(kind)), "kind")
            .await;
    }
    world
        .refused(&world.with_header("typ", json!(7)), "malformed")
        .await;
    world
        .refused(&world.with_header("cty", json!("JWT")), "kind")
        .await;
    for kind in ["JWT", "jwt"] {
        world
            .verify(&world.with_header("typ", json!(kind)))
            .await
            .unwrap();
    }
    // GitHub and Kubernetes leave it out.
    let bare = world.key.token(
        &json!({"alg": "ES256", "kid": "k1"}).to_string(),
        &world.issuer.claims().to_string(),
    );
    world.verify(&bare).await.unwrap();
}

#[tokio::test]
async fn a_logout_token_is_refused() {
    let world = World::new();
    let events = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    let words = world
        .refused(&world.with_claim("events", events), "kind")
        .await;
    assert!(words.contains("logout"), "{words}");
}

#[tokio::test]
async fn an_access_token_is_refused() {
    let world = World::new();
    for (claim, value) in [
        ("typ", json!("Bearer")),
        ("typ", json!("Refresh")),
        ("typ", json!("Offline")),
        ("typ", json!("Logout")),
        ("typ", json!(null)),
        ("typ", json!(["ID"])),
        ("token_use", json!("access")),
        ("scope", json!("openid profile")),
        ("scp", json!(["openid"])),
    ] {
        let mut claims = world.issuer.claims();
        claims[claim] = value;
        let words = world.refused(&world.token(&claims), "kind").await;
        assert!(words.contains(claim), "{words}");
    }
}

#[tokio::test]
async fn an_id_token_that_says_so_is_believed() {
    let world = World::new();
    for (claim, value) in [("typ", "ID"), ("token_use", "id")] {
        world
            .verify(&world.with_claim(claim, json!(value)))
            .await
            .unwrap();
    }
}
