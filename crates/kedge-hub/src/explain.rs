//! Why somebody may open a session, or may not: the answer of the very evaluator, and what it took to be true.
//!
//! What is known of a person, the first of these that has it:
//!
//! 1. the question itself;
//! 2. for somebody who asks about themselves, the token they ask with;
//! 3. for people of the configuration, the configuration as it is now;
//! 4. the person's last attempt at a session.

use std::sync::Arc;

use kedge_api::{
    AuthMethod, Issuer, Principal, Server, Standing, Subject, Time,
    login::AboutAnother,
    policy::PolicyReason,
    rest::{AssumedFact, Explanation, ExplanationRequest, FactOrigin, HistoryRecord, Verdict},
};
use kedge_service::report::chain;
use kedge_store::StoreError;
use serde_json::Value;

use crate::{app::App, decision::Question, history, policies::Entry};

/// Somebody, and what of it is known from where.
#[derive(Clone, Debug)]
pub struct Assumed {
    principal: Principal,
    whose: Whose,
    source: Option<std::net::IpAddr>,
    facts: Vec<AssumedFact>,
}

/// Whose identity it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// Somebody else's.
    Another,
    /// The one of the person who asks.
    Asker,
}

/// How much of the reasoning somebody may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Every policy.
    All,
    /// The policies that are about the person.
    Own,
}

/// What is known of the person whom a question is about.
///
/// # Errors
/// When the store fails.
///
/// # Cancel safety
/// Cancel safe: it only reads.
pub async fn assume(
    app: &App,
    request: &ExplanationRequest,
    person: &Subject,
) -> Result<Assumed, StoreError> {
    let issuers = match &request.issuer {
        Some(issuer) => vec![issuer.clone()],
        None => vec![app.people.home(), Issuer::of_configuration()],
    };
    let meant = |principal: &Principal| {
        issuers.contains(&principal.issuer)
            && request
                .user
                .as_ref()
                .is_none_or(|user| *user == principal.user)
            && request
                .subject
                .as_ref()
                .is_none_or(|subject| *subject == principal.subject)
    };
    let seen = history::last_seen(app, &issuers, person.as_str(), meant).await?;
    let configured = app
        .people
        .configured(person)
        .filter(|principal| meant(principal));
    let assumed = match (seen, configured) {
        (Some(seen), configured) => match configured {
            Some(now) if now.issuer == seen.principal.issuer => {
                Assumed::new(now, FactOrigin::Configuration, None)
            }
            _ => Assumed::last_seen(app, seen),
        },
        (None, Some(configured)) => Assumed::new(configured, FactOrigin::Configuration, None),
        (None, None) => Assumed::stranger(app, request, person),
    };
    Ok(assumed.with(request))
}

/// The same for somebody who asks about themselves.
#[must_use]
pub fn assume_oneself(
    principal: &Arc<Principal>,
    from: std::net::IpAddr,
    request: &ExplanationRequest,
) -> Assumed {
    let mut assumed = Assumed::new(Principal::clone(principal), FactOrigin::Token, None);
    assumed.whose = Whose::Asker;
    assumed.source = Some(from);
    assumed.fact(
        "source",
        Value::from(from.to_string()),
        FactOrigin::Token,
        None,
    );
    assumed.with(request)
}

/// Asks the policies.
#[must_use]
pub fn explain(
    app: &App,
    policies: &[Entry],
    server: &Server,
    request: &ExplanationRequest,
    assumed: Assumed,
    detail: Detail,
) -> Explanation {
    let now = app.clock.now();
    let principal = &assumed.principal;
    let at = request.at.unwrap_or(now);
    let question = Question {
        principal,
        server,
        login: request.login.as_ref(),
        permission: &request.permission,
        source: assumed.source,
        now: at,
        opened: None,
        // How many there are now says nothing about another time.
        sessions: request.at.map_or_else(|| app.sessions.of(principal), |_| 0),
    };
    let policies = policies.iter().map(Entry::policy);
    let answer = match app.people.mapping(&principal.issuer) {
        Some(mapping) => question
            .put(&mapping, policies)
            .map_err(|error| match assumed.whose {
                Whose::Another => chain(&AboutAnother(error)),
                Whose::Asker => chain(&error),
            }),
        None => Err(format!(
            "the hub does not trust the issuer {}",
            principal.issuer
        )),
    };
    let mut explanation = match answer {
        Ok(answer) => Explanation {
            login: Some(answer.login.login),
            login_origin: Some(answer.login.origin),
            ..Explanation::of(answer.decision, at)
        },
        Err(cause) => without_login(at, cause),
    };
    if detail == Detail::Own {
        explanation.trace.retain(|trace| {
            !matches!(
                trace.reason,
                PolicyReason::Subject | PolicyReason::Issuer | PolicyReason::Claim { .. }
            )
        });
    }
    explanation.assumed = assumed.facts;
    explanation
}

fn without_login(at: Time, cause: String) -> Explanation {
    Explanation {
        allowed: false,
        outcome: Verdict::NoLogin,
        policy: None,
        at,
        login: None,
        login_origin: None,
        login_error: Some(cause),
        max_session: None,
        review_at: None,
        trace: Vec::new(),
        assumed: Vec::new(),
    }
}

impl Assumed {
    fn new(principal: Principal, origin: FactOrigin, seen: Option<Time>) -> Self {
        let mut assumed = Self {
            principal,
            whose: Whose::Another,
            source: None,
            facts: Vec::new(),
        };
        let known = assumed.principal.clone();
        let mut fact = |name: &str, value: Value| {
            assumed.fact(name, value, origin.clone(), seen);
        };
        fact("issuer", Value::from(known.issuer.as_str()));
        fact("subject", Value::from(known.subject.as_str()));
        fact("user", Value::from(known.user.as_str()));
        let groups = known.groups.iter().map(|group| Value::from(group.as_str()));
        fact("groups", Value::Array(groups.collect()));
        for (claim, value) in known.claims {
            fact(&format!("claims.{claim}"), value);
        }
        if let Some(at) = known.authenticated_at {
            fact("authenticatedAt", Value::from(at.to_string()));
        }
        assumed
    }

    fn last_seen(app: &App, record: HistoryRecord) -> Self {
        let (at, source) = (record.at, record.source);
        let mut principal = record.principal;
        // Whether policies mean an issuer's people is the configuration's word of today.
        if let Some(standing) = app.people.standing(&principal.issuer) {
            principal.standing = standing;
        }
        let mut assumed = Self::new(principal, FactOrigin::LastSeen, Some(at));
        assumed.source = Some(source);
        assumed.fact(
            "source",
            Value::from(source.to_string()),
            FactOrigin::LastSeen,
            Some(at),
        );
        assumed
    }

    /// Somebody of whom the hub knows no more than the question says.
    fn stranger(app: &App, request: &ExplanationRequest, person: &Subject) -> Self {
        let issuer = request.issuer.clone().unwrap_or_else(|| app.people.home());
        let standing = app.people.standing(&issuer).unwrap_or(Standing::Foreign);
        let method = if issuer == Issuer::of_configuration() {
            AuthMethod::StaticToken
        } else {
            AuthMethod::Oidc
        };
        let name = |given: &Option<Subject>| given.clone().unwrap_or_else(|| person.clone());
        let principal = Principal {
            issuer,
            subject: name(&request.subject),
            user: name(&request.user),
            claims: Default::default(),
            groups: Default::default(),
            method,
            standing,
            authenticated_at: None,
            expires_at: None,
        };
        let mut assumed = Self::new(principal, FactOrigin::Given, None);
        // What is not given is not known either.
        assumed.facts.retain(|fact| match fact.fact.as_str() {
            "issuer" => true,
            "subject" => request.subject.is_some(),
            "user" => request.user.is_some(),
            _ => false,
        });
        if request.issuer.is_none() {
            let origin = FactOrigin::Configuration;
            let issuer = Value::from(assumed.principal.issuer.as_str());
            assumed.fact("issuer", issuer, origin, None);
        }
        assumed
    }

    /// With what the question says, which goes before everything else.
    fn with(mut self, request: &ExplanationRequest) -> Self {
        let mut given = Vec::new();
        if let Some(issuer) = &request.issuer {
            given.push(("issuer".to_owned(), Value::from(issuer.as_str())));
        }
        if let Some(user) = &request.user {
            given.push(("user".to_owned(), Value::from(user.as_str())));
        }
        if let Some(subject) = &request.subject {
            given.push(("subject".to_owned(), Value::from(subject.as_str())));
        }
        if let Some(groups) = &request.groups {
            self.principal.groups.clone_from(groups);
            let groups = groups.iter().map(|group| Value::from(group.as_str()));
            given.push(("groups".to_owned(), Value::Array(groups.collect())));
        }
        for (claim, value) in &request.claims {
            self.principal.claims.insert(claim.clone(), value.clone());
            given.push((format!("claims.{claim}"), value.clone()));
        }
        if let Some(at) = request.authenticated_at {
            self.principal.authenticated_at = Some(at);
            given.push(("authenticatedAt".to_owned(), Value::from(at.to_string())));
        }
        if let Some(source) = request.source {
            self.source = Some(source);
            given.push(("source".to_owned(), Value::from(source.to_string())));
        }
        for (fact, value) in given {
            self.fact(&fact, value, FactOrigin::Given, None);
        }
        self
    }

    /// Notes a fact in the place of what was known before.
    fn fact(&mut self, fact: &str, value: Value, origin: FactOrigin, seen: Option<Time>) {
        let fact = AssumedFact {
            fact: fact.to_owned(),
            value,
            origin,
            seen,
        };
        match self.facts.iter_mut().find(|known| known.fact == fact.fact) {
            Some(known) => *known = fact,
            None => self.facts.push(fact),
        }
    }
}
