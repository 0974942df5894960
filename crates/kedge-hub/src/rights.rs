//! What somebody may do at the hub itself: one place that every route asks.
//!
//! - The administrators of the configuration may do everything, whatever policies say: they are the way back in when
//!   a policy went wrong.
//!   So they can remove one that this version cannot read, without which nothing is decided for anybody else.
//! - Everybody else may do what [`policy::evaluate`] says of [`Action::Hub`]; a denial wins there as everywhere.
//! - Whoever may not list servers sees those that a policy lets them reach.
//! - Rights themselves are handed out only by those who have all of them: a policy with a `hub` section is written and
//!   removed by administrators alone, or else a right to write policies would be every right.

use std::net::IpAddr;
use std::sync::Arc;

use kedge_api::{
    AccessPolicy, Server, Status, Time,
    policy::{self, AccessRequest, Action, Decision, HubRights},
    resources::{HubResource, HubRole, Verb},
};
use kedge_store::StoreError;

use crate::{
    app::App,
    audit,
    http::{Failure, Person},
    people::{Authenticated, Role},
    policies::Entry,
};

/// The rights of one person at one moment.
#[derive(Clone, Debug)]
pub struct Rights {
    who: Authenticated,
    from: IpAddr,
    now: Time,
    policies: Result<Arc<Vec<Entry>>, StoreError>,
    /// Those of them that are about this person: few, and asked about every server of a list.
    about: Arc<Vec<Entry>>,
}

/// By what somebody may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The configuration: it holds until that changes.
    Configuration,
    /// Policies: it holds until one of them changes, or until this moment.
    Policies(Option<Time>),
}

impl Rights {
    /// What `who`, who asks from this address, may do now.
    ///
    /// # Errors
    /// When the policies cannot be read; nothing is allowed without them, but what administrators of the
    /// configuration may do whatever they say.
    ///
    /// # Cancel safety
    /// Cancel safe: it only reads.
    pub async fn of(app: &App, who: &Authenticated, from: IpAddr) -> Result<Self, StoreError> {
        let policies = app.policies.current(&*app.store).await;
        if let (Err(error), Role::Person) = (&policies, who.role) {
            return Err(error.clone());
        }
        let about = |entry: &&Entry| policy::is_about(entry.policy(), &who.principal);
        let known = policies.as_deref().map(Vec::as_slice).unwrap_or_default();
        let about = known.iter().filter(about).cloned().collect();
        Ok(Self {
            who: who.clone(),
            from,
            now: app.clock.now(),
            policies,
            about: Arc::new(about),
        })
    }

    /// Whether they may, and by what.
    #[must_use]
    pub fn basis(&self, verb: Verb, resource: HubResource, name: Option<&str>) -> Option<Basis> {
        if self.who.role == Role::Admin {
            return Some(Basis::Configuration);
        }
        let decision = self.decide(verb, resource, name);
        decision
            .is_allowed()
            .then_some(Basis::Policies(decision.review_at))
    }

    /// Whether they may.
    #[must_use]
    pub fn may(&self, verb: Verb, resource: HubResource, name: Option<&str>) -> bool {
        self.basis(verb, resource, name).is_some()
    }

    /// Lets them pass who may.
    ///
    /// # Errors
    /// 403 for everybody else.
    pub fn require(
        &self,
        verb: Verb,
        resource: HubResource,
        name: Option<&str>,
    ) -> Result<(), Failure> {
        if self.may(verb, resource, name) {
            return Ok(());
        }
        let words = format!("you may not {verb} {resource} of this hub; ask an administrator");
        Err(Status::forbidden(words).into())
    }

    /// Lets those pass who may hand out rights.
    ///
    /// # Errors
    /// 403 for everybody else.
    pub fn require_admin(&self) -> Result<(), Failure> {
        if self.is_admin() {
            return Ok(());
        }
        let words = "only an administrator of this hub may write a policy with `spec.hub`: it hands out rights";
        Err(Status::forbidden(words).into())
    }

    /// Whether they have every right, by configuration or by role.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        if self.who.role == Role::Admin {
            return true;
        }
        let rights = self.by_policies();
        rights.roles.contains(&HubRole::Admin)
            && rights.denied_roles.is_empty()
            && rights.denied_rules.is_empty()
    }

    /// Whether a policy lets them reach the server, so that they may know of it.
    #[must_use]
    pub fn reaches(&self, server: &Server, now: Time) -> bool {
        let about = self.about.iter().map(Entry::policy);
        policy::may_see(about, &self.who.principal, server, now)
    }

    /// Whether they may know that there is such a server.
    #[must_use]
    pub fn see(&self, server: &Server, now: Time) -> bool {
        let name = server.metadata.name.as_str();
        self.reaches(server, now) || self.may(Verb::Get, HubResource::Servers, Some(name))
    }

    /// The policies that this rests on.
    ///
    /// # Errors
    /// When they cannot be read, which administrators learn here.
    pub fn policies(&self) -> Result<Arc<Vec<Entry>>, StoreError> {
        self.policies.clone()
    }

    /// All of it in short, for the person.
    #[must_use]
    pub fn summary(&self) -> HubRights {
        let mut rights = self.by_policies();
        if self.who.role == Role::Admin {
            rights = HubRights::default();
            rights.roles.insert(HubRole::Admin);
        }
        rights
    }

    fn by_policies(&self) -> HubRights {
        policy::hub_rights(self.known(), &self.who.principal, self.now, Some(self.from))
    }

    fn decide(&self, verb: Verb, resource: HubResource, name: Option<&str>) -> Decision {
        let request = AccessRequest {
            principal: &self.who.principal,
            action: Action::Hub {
                verb,
                resource,
                name,
            },
            source: Some(self.from),
            now: self.now,
            opened: None,
            sessions: 0,
        };
        policy::evaluate(self.known(), &request)
    }

    /// Those that can be read: all, or none.
    fn known(&self) -> impl Iterator<Item = &AccessPolicy> {
        self.policies
            .iter()
            .flat_map(|policies| policies.iter().map(Entry::policy))
    }
}

/// Writes down that somebody tried to change what they may not.
pub(crate) fn note_refused_write(
    app: &App,
    person: &Person,
    verb: Verb,
    kind: &'static str,
    name: &str,
    failure: &Failure,
) {
    if person.may_be_noted(app) {
        audit::write_refused(person.actor(), verb, kind, name, failure.message());
    }
}
