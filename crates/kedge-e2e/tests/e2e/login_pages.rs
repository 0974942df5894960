//! The parts that other tests lean on are good by themselves: a certified provider, gone through without a window.

use kedge_testkit::browser::Browser;
use kedge_testkit::form;
use kedge_testkit::provider::{Provider, ProviderOptions};

use crate::prelude::*;

#[test]
fn the_certified_provider_logs_people_in_and_rotates_its_keys() -> Result<()> {
    case(|t| {
        let mut provider = Provider::start(t, &ProviderOptions::default())?;
        let issuer = provider.url().to_owned();
        let look = |path: &str| -> Result<Value> {
            let page = Browser::new("nobody").look(&format!("{issuer}{path}"))?;
            Ok(serde_json::from_str(&page.success()?.body)?)
        };
        let discovery = look("/.well-known/openid-configuration")?;
        ensure!(discovery["issuer"] == json!(issuer), "{discovery}");
        let before = look("/jwks")?;
        let query = form::encode([
            ("response_type", "code"),
            ("client_id", provider.client_id()),
            // Nobody listens there; the address the browser was sent to is what matters.
            ("redirect_uri", "http://127.0.0.1:9/callback"),
            ("scope", "openid profile offline_access"),
            ("prompt", "consent"),
            ("state", "the-state"),
            (
                "code_challenge",
                "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            ),
            ("code_challenge_method", "S256"),
        ]);
        let page = discovery["authorization_endpoint"]
            .as_str()
            .context("an authorization endpoint")?;
        let failed = provider.log_in("alice", &format!("{page}?{query}"));
        let failed = format!("{:#}", failed.err().context("nobody listens there")?);
        ensure!(
            failed.contains("http://127.0.0.1:9/callback?code=")
                && failed.contains("state=the-state"),
            "the browser ended elsewhere: {failed}"
        );
        provider.rotate()?;
        let after = look("/jwks")?;
        ensure!(before != after, "the keys are the same");
        ensure!(provider.requests()?["/jwks"] == 2);
        Ok(())
    })
}
