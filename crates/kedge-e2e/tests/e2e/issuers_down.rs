//! An issuer that is away or ill: who has a good token goes on, others get a clear answer, and the hub says so.

use crate::prelude::*;
use crate::trusting::*;

fn ready(hub: &Hub) -> Result<kedge_testkit::peers::Reply> {
    let endpoint = Endpoint {
        address: hub.admin_address(),
        tls: false,
    };
    Request::new("GET", "/ready").send(endpoint)
}

/// Waits until `/ready` says a thing about the issuer or does not.
fn readiness(hub: &Hub, issuer: &str, wanted: bool) -> Result<()> {
    wait::until_true("/ready to tell of the issuer", defaults::SOON, || {
        let reply = ready(hub)?;
        ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
        Ok(reply.text().contains(issuer) == wanted)
    })
}

#[test]
fn a_hub_starts_without_its_issuer_and_says_so() -> Result<()> {
    case(|t| {
        let mut issuer = Issuer::start(IssuerOptions::default())?;
        let url = issuer.url();
        let token = issuer.id_token("alice")?;
        issuer.down();
        let mut options = t.hub_options()?;
        options.issuers = vec![TrustedIssuer::new(&url)];
        let hub = Hub::start(options)?;
        readiness(&hub, &url, true)?;
        let get = Request::new("GET", "/apis/kedge.dev/v1alpha1/servers");
        let reply = get.clone().bearer(&token).send(Endpoint::of(&hub))?;
        ensure!(
            reply.status == 503,
            "not a word about the issuer: {} {}",
            reply.status,
            reply.text()
        );
        ensure!(
            !reply.text().contains(&url),
            "a stranger learns whom the hub trusts: {}",
            reply.text()
        );
        // Static people need no issuer.
        let reply = get
            .clone()
            .bearer(hub.token("alice")?)
            .send(Endpoint::of(&hub))?;
        ensure!(reply.status == 200, "{}", reply.text());
        issuer.up()?;
        wait::until_true("the issuer to be found again", defaults::STOP, || {
            let reply = get.clone().bearer(&token).send(Endpoint::of(&hub))?;
            Ok(reply.status == 200)
        })?;
        readiness(&hub, &url, false)
    })
}

#[test]
fn people_with_good_tokens_go_on_while_the_issuer_is_down() -> Result<()> {
    case(|t| {
        let mut trusting = Trusting::start(t)?;
        let (alice, bob) = (
            trusting.issuer.id_token("alice")?,
            trusting.issuer.id_token("bob")?,
        );
        let mut client = trusting
            .open(&alice, None)?
            .map_err(|(code, said)| anyhow::anyhow!("{code:?} {said}"))?;
        ensure!(client.read(BANNER.len())? == BANNER);
        trusting.issuer.down();
        // Somebody known, somebody whose token was never seen, and a session that was there before.
        for token in [&alice, &bob] {
            trusting
                .open(token, None)?
                .map_err(|(code, said)| anyhow::anyhow!("{code:?} {said}"))?;
        }
        client.write(b"still here")?;
        ensure!(client.read(10)? == b"still here");
        Ok(())
    })
}

#[test]
fn a_key_set_that_is_slow_huge_or_broken_lets_nobody_in_and_hurts_nobody() -> Result<()> {
    case(|t| {
        let keys: Vec<Value> = {
            let key = Issuer::start(IssuerOptions::default())?.jwk("ES256")?;
            (0..65)
                .map(|number| {
                    let mut key = key.clone();
                    key["kid"] = json!(format!("key-{number}"));
                    key
                })
                .collect()
        };
        for how in [
            Misbehaviour::JwksError,
            Misbehaviour::JwksHuge,
            Misbehaviour::JwksSlow,
            Misbehaviour::Jwks("[]".to_owned()),
            Misbehaviour::Jwks("{\"keys\":{}}".to_owned()),
            Misbehaviour::Jwks("<html>".to_owned()),
            Misbehaviour::Jwks(json!({ "keys": keys }).to_string()),
            Misbehaviour::DiscoveryError,
            Misbehaviour::DiscoverySlow,
            Misbehaviour::Discovery("{}".to_owned()),
            Misbehaviour::WrongIssuer("http://127.0.0.1:1".to_owned()),
        ] {
            let issuer = Issuer::start(IssuerOptions::default())?;
            issuer.misbehave(how.clone());
            let mut options = t.hub_options()?;
            options.issuers = vec![TrustedIssuer::new(&issuer.url())];
            let mut hub = Hub::start(options)?;
            let token = issuer.id_token("alice")?;
            let start = std::time::Instant::now();
            let reply = Request::new("GET", "/apis/kedge.dev/v1alpha1/servers")
                .bearer(&token)
                .send(Endpoint::of(&hub))?;
            ensure!(
                matches!(reply.status, 401 | 503),
                "{how:?}: {} {}",
                reply.status,
                reply.text()
            );
            ensure!(
                start.elapsed() < defaults::SOON,
                "{how:?}: {:?}",
                start.elapsed()
            );
            let reply = Request::new("GET", "/apis/kedge.dev/v1alpha1/servers")
                .bearer(hub.token("alice")?)
                .send(Endpoint::of(&hub))?;
            ensure!(reply.status == 200, "{how:?} hurt a static person");
            readiness(&hub, &issuer.url(), true).with_context(|| format!("{how:?}"))?;
            hub.stop()?;
        }
        Ok(())
    })
}

#[test]
fn keys_that_were_good_stay_good_while_the_set_cannot_be_had() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let token = trusting.issuer.id_token("alice")?;
        ensure!(trusting.status(&token)? == 200);
        for how in [Misbehaviour::JwksError, Misbehaviour::JwksHuge] {
            trusting.issuer.misbehave(how);
            // An unknown key makes the hub ask; what it gets must not cost it what it has.
            let stranger = trusting
                .issuer
                .sign(json!({"kid": "unknown"}), trusting.issuer.claims("bob")?)?;
            ensure!(matches!(trusting.status(&stranger)?, 401 | 503));
            ensure!(trusting.status(&trusting.issuer.id_token("bob")?)? == 200);
        }
        Ok(())
    })
}

#[test]
fn removing_an_issuer_ends_its_peoples_sessions() -> Result<()> {
    case(|t| {
        let mut trusting = Trusting::start(t)?;
        let token = trusting.issuer.id_token("alice")?;
        let mut client = trusting
            .open(&token, None)?
            .map_err(|(code, said)| anyhow::anyhow!("{code:?} {said}"))?;
        ensure!(client.read(BANNER.len())? == BANNER);
        trusting
            .cheap
            .hub
            .reconfigure(|options| options.issuers.clear())?;
        // The whole link goes, not only the stream: nobody is behind it any more.
        let start = std::time::Instant::now();
        let gone = client.read(1);
        ensure!(gone.is_err(), "the session goes on: {gone:?}");
        ensure!(
            start.elapsed() < Duration::from_secs(10),
            "it took {:?}",
            start.elapsed()
        );
        ensure!(trusting.status(&token)? == 401);
        trusting.cheap.hub.audited("the end", |event| {
            text(event, "event") == "session.closed" && text(event, "subject") == "alice"
        })?;
        Ok(())
    })
}

#[test]
fn a_hub_that_comes_back_while_its_issuer_is_down_still_knows_people() -> Result<()> {
    case(|t| {
        let mut trusting = Trusting::start(t)?;
        let token = trusting.issuer.id_token("alice")?;
        ensure!(trusting.status(&token)? == 200);
        trusting.issuer.down();
        trusting.cheap.hub.stop()?;
        trusting.cheap.hub.launch()?;
        wait::until_true("alice to be known", defaults::SOON, || {
            Ok(trusting.status(&token)? == 200)
        })?;
        readiness(&trusting.cheap.hub, &trusting.issuer.url(), true)
    })
}

#[test]
fn an_issuer_with_an_authority_of_its_own() -> Result<()> {
    case(|t| {
        let certificate = kedge_testkit::peers::Certificate::make(&t.subdir("tls")?)?;
        let issuer = Issuer::start(IssuerOptions {
            tls: Some((certificate.certificate.clone(), certificate.key.clone())),
            ..IssuerOptions::default()
        })?;
        let token = issuer.id_token("alice")?;
        let hub = |line: &str| -> Result<Hub> {
            let mut options = t.hub_options()?;
            options.issuers = vec![TrustedIssuer::new(&issuer.url()).with(line)];
            Hub::start(options)
        };
        let status = |hub: &Hub| -> Result<u16> {
            let get = Request::new("GET", "/apis/kedge.dev/v1alpha1/servers").bearer(&token);
            Ok(get.send(Endpoint::of(hub))?.status)
        };
        // An authority that nobody named is nobody's.
        let strict = hub("")?;
        ensure!(status(&strict)? == 503);
        let authority = certificate.authority.display().to_string();
        let trusting = hub(&format!(
            "ca-file = {}",
            kedge_testkit::hub::quoted(&authority)
        ))?;
        ensure!(status(&trusting)? == 200);
        // Command lines learn of the authority from the hub.
        let alice = t.stranger("alice", None)?;
        let mut command = alice.log_in_command(&trusting, "alice", &["--device"])?;
        command.env_remove("BROWSER");
        let live = Live::start(command)?;
        let start = format!("{}/device?user_code=", issuer.url());
        let shown = url_in(&heard(&live, &start)?, &start)?;
        let code = shown.trim_start_matches(&start);
        ensure!(issuer.approve(code, "alice")?, "no device shows {code}");
        live.wait(defaults::COMMAND)?.success()?;
        alice.kedge(&["whoami"])?.success()?;
        Ok(())
    })
}
