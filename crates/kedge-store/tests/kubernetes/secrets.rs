//! Secrets, one field of one at a time.

use kedge_api::SecretRef;
use kedge_store::{SECRET_FIELD_BYTES, SecretError, Secrets};
use serde_json::{Value, json};

use crate::site::{Site, eventually};

fn secret(site: &Site, name: &str) -> SecretRef {
    SecretRef {
        name: name.parse().unwrap(),
        namespace: site.namespace.clone(),
    }
}

fn manifest(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_is_what_is_there_now_and_what_is_not_there_is_named() {
    let site = Site::new().await;
    let store = site.store().await;
    let (it, key) = (secret(&site, "ssh"), "ssh-privatekey".parse().unwrap());
    let error = store.field(&it, &key).await.unwrap_err();
    assert_eq!(error, SecretError::NotFound { secret: it.clone() });

    site.apply(manifest(
        "ssh",
        &json!({"ssh-privatekey": "one\r\n", "other": "x"}),
    ))
    .await;
    let field = store.field(&it, &key).await.unwrap();
    assert_eq!((&field.bytes[..], field.servers), (&b"one\r\n"[..], None));

    let annotate = [
        "annotate",
        "secret",
        "ssh",
        "kedge.dev/servers=web01, web02",
    ];
    site.kubectl(&annotate).await.success().unwrap();
    let rotated = r#"{"stringData":{"ssh-privatekey":"two"}}"#;
    let rotate = ["patch", "secret", "ssh", "--type=merge", "--patch", rotated];
    site.kubectl(&rotate).await.success().unwrap();
    let field = store.field(&it, &key).await.unwrap();
    assert_eq!(&field.bytes[..], b"two", "no restart, and nothing is kept");
    assert_eq!(field.servers.as_deref(), Some("web01, web02"));

    let missing = "ssh-publickey".parse().unwrap();
    let error = store.field(&it, &missing).await.unwrap_err();
    assert!(matches!(error, SecretError::FieldMissing { .. }), "{error}");
    let (namespace, said) = (site.namespace.as_str(), error.to_string());
    assert!(
        said.contains(&format!("{namespace}/ssh")) && said.contains("ssh-publickey"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_is_bounded() {
    let site = Site::new().await;
    let store = site.store().await;
    let most = "x".repeat(SECRET_FIELD_BYTES);
    let more = "x".repeat(SECRET_FIELD_BYTES + 1);
    let large = "x".repeat(900_000);
    let data = json!({"most": most, "more": more, "empty": "", "large": large});
    let path = site.folder().join("secret.json");
    std::fs::write(&path, manifest("ssh", &data).to_string()).unwrap();
    // Too large for what `kubectl apply` remembers.
    let create = ["create", "--filename", path.to_str().unwrap()];
    site.kubectl(&create).await.success().unwrap();
    let it = secret(&site, "ssh");
    let field = async |key: &str| store.field(&it, &key.parse().unwrap()).await;
    assert_eq!(field("most").await.unwrap().bytes.len(), SECRET_FIELD_BYTES);
    assert!(field("empty").await.unwrap().bytes.is_empty());
    for key in ["more", "large"] {
        let error = field(key).await.unwrap_err();
        let limit = SECRET_FIELD_BYTES;
        assert!(
            matches!(error, SecretError::TooLarge { limit: l, .. } if l == limit),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_the_error_says_which_role_is_missing() {
    let site = Site::new().await;
    let kinds = json!({
        "apiGroups": ["kedge.dev"],
        "resources": ["servers", "jointokens", "accesspolicies"],
        "verbs": ["get", "list", "watch"],
    });
    let one = json!({
        "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"], "verbs": ["get"],
    });
    for name in ["mine", "theirs"] {
        site.apply(manifest(name, &json!({"ssh-privatekey": "x"})))
            .await;
    }
    let store = site
        .store_by(site.account("one", json!([kinds, one])).await)
        .await;
    let key = "ssh-privatekey".parse().unwrap();
    let mine = secret(&site, "mine");
    eventually("the right is known", || async {
        store.field(&mine, &key).await.is_ok()
    })
    .await;
    let theirs = secret(&site, "theirs");
    let error = store.field(&theirs, &key).await.unwrap_err();
    assert!(matches!(error, SecretError::Forbidden { .. }), "{error}");
    let said = error.to_string();
    let namespace = site.namespace.as_str();
    assert!(said.contains(&format!("{namespace}/theirs")), "{said}");
    assert!(
        said.contains(&format!(
            "`get` on secrets by a Role in namespace {namespace}"
        )),
        "{said}"
    );
    // What is not there and what may not be read look the same to whoever may not read.
    let error = store
        .field(&secret(&site, "nothing"), &key)
        .await
        .unwrap_err();
    assert!(matches!(error, SecretError::Forbidden { .. }), "{error}");
}
