//! One agent of a fleet: it joins as `kedge-agent join` does, and then keeps its tunnel as `kedge-agent run` does.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use http::StatusCode;
use kedge_agent::agent::Shared;
use kedge_agent::config::AgentConfig;
use kedge_agent::hub::{self, HubClient, HubError};
use kedge_agent::identity::StateDir;
use kedge_agent::machine;
use kedge_agent::metrics::AgentMetrics;
use kedge_agent::standing::Standing;
use kedge_agent::tunnel::Tunnel;
use kedge_api::rest::Enrollment;
use kedge_api::{AgentKey, HostKeys, JoinTokenSecret, Labels, ServerName, StatusReason, random};
use kedge_proto::backoff::Backoff;
use kedge_service::{Notifier, Shutdown};
use kedge_tunnel::Dialer;
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use super::roll::Member;
use crate::defaults;

/// The state folder of an agent that keeps its key to itself.
const NOWHERE: &str = "/nonexistent";

/// What all of a fleet share.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) dialer: Dialer,
    pub(super) token: JoinTokenSecret,
    pub(super) host_keys: HostKeys,
    pub(super) settings: watch::Receiver<Arc<AgentConfig>>,
    pub(super) metrics: AgentMetrics,
    pub(super) notifier: Notifier,
    /// Those who join at once: people type that, and do not wait in line for longer than a hub waits for them.
    pub(super) joining: Semaphore,
}

/// Joins, and stays.
pub(super) async fn live(
    plan: &Plan,
    name: String,
    address: Ipv4Addr,
    member: Member,
) -> Result<Infallible> {
    let failed = || format!("{name} cannot join");
    let server: ServerName = name.parse().with_context(failed)?;
    let dialer = plan.dialer.with_local_address(address.into());
    let client = {
        let _turn = plan.joining.acquire().await?;
        // On the heap, and gone when it is over: what is left of an agent is its tunnel.
        Box::pin(join(plan, server, dialer))
            .await
            .with_context(failed)?
    };
    member.enrolled.fetch_add(1, Ordering::Relaxed);
    let shutdown = Shutdown::new();
    let shared = Shared {
        // Only who joins by itself looks there.
        state: StateDir::new(Path::new(NOWHERE)),
        settings: plan.settings.clone(),
        metrics: plan.metrics.clone(),
        standing: Standing::new(plan.notifier.clone(), member.readiness, shutdown.clone()),
        nudge: Arc::default(),
        shutdown,
    };
    let tunnel = Tunnel {
        shared,
        client: Arc::new(client),
    };
    Box::pin(tunnel.keep()).await;
    // It only ends when its shutdown begins, which nobody has.
    std::future::pending().await
}

async fn join(plan: &Plan, server: ServerName, dialer: Dialer) -> Result<HubClient> {
    let key = AgentKey::from_seed(&random::bytes()?)?;
    let mut backoff = Backoff::default();
    let begun = Instant::now();
    let mut asked = Asked::Never;
    loop {
        let error = match enrol(plan, &server, &dialer, &key, asked).await {
            Ok(hub) => return Ok(HubClient::new(dialer, server, hub, key)),
            Err(error) => error,
        };
        // A lost answer leaves the next try a server that is there already.
        asked = Asked::Before;
        let Some(pause) = pause(&error, &mut backoff)? else {
            return Err(error.into());
        };
        if begun.elapsed() > defaults::JOIN_TIME {
            return Err(error.into());
        }
        sleep(pause).await;
    }
}

/// Whether the hub may have enrolled this key already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    Before,
    Never,
}

async fn enrol(
    plan: &Plan,
    server: &ServerName,
    dialer: &Dialer,
    key: &AgentKey,
    asked: Asked,
) -> Result<kedge_api::HubId, HubError> {
    let hub = hub::discover(dialer).await?.id;
    let enrollment = Enrollment {
        name: server.clone(),
        public_key: key.public_key(),
        labels: Labels::default(),
        host_keys: plan.host_keys.clone(),
        os: machine::operating_system(),
        arch: machine::architecture(),
        version: hub::version(),
        proof: hub::enrolment_proof(key, server, &hub, &plan.token)?,
    };
    match hub::enrol(dialer, &plan.token, &enrollment).await {
        Ok(_) => Ok(hub),
        Err(HubError::Refused {
            reason: Some(status),
            ..
        }) if asked == Asked::Before && status.reason == StatusReason::AlreadyExists => Ok(hub),
        Err(error) => Err(error),
    }
}

/// When to try again, as somebody who types the command again would; never after an answer that will not change.
fn pause(error: &HubError, backoff: &mut Backoff) -> Result<Option<Duration>> {
    let random = || Ok::<_, random::RandomError>(u64::from_le_bytes(random::bytes()?));
    let usual = backoff.next(Instant::now(), random()?);
    Ok(match error {
        HubError::Refused {
            status: StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE,
            retry_after,
            ..
        } => {
            let asked = retry_after.unwrap_or_default();
            Some(Backoff::after_goaway(asked, random()?).max(usual))
        }
        // Others use the same token at the same moment, and were quicker.
        HubError::Refused {
            reason: Some(status),
            ..
        } if status.reason == StatusReason::Conflict => Some(usual),
        HubError::Dial(_) => Some(usual),
        _ => None,
    })
}
