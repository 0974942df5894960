//! Why a session is refused: the words for the person, the code for programs, the truth for the audit log.

use kedge_api::{
    AuthMethod, Login, Principal, ServerName,
    policy::{Decision, Outcome, PolicyReason},
    resources::Effect,
};
use kedge_store::StoreError;
use kedge_tunnel::RefuseCode;

use crate::keyring::KeyUnavailable;

/// Why something is refused: the words for the person, and for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: RefuseCode,
    /// For the person.
    pub public: String,
    /// For the audit log, when it says more.
    pub internal: Option<String>,
    /// For the audit log, when the person may not know.
    pub truth: Option<RefuseCode>,
}

impl Refusal {
    pub(crate) fn new(code: RefuseCode, public: impl Into<String>) -> Self {
        Self {
            code,
            public: public.into(),
            internal: None,
            truth: None,
        }
    }

    /// There is no such server, or nobody is told of it.
    pub(super) fn unknown(server: &ServerName) -> Self {
        Self::new(
            RefuseCode::NotFound,
            format!("there is no server {server} that you may reach"),
        )
    }

    /// What they showed does not say any more who they are.
    pub(super) fn not_accepted() -> Self {
        Self::new(
            RefuseCode::Unauthenticated,
            "your login is no longer accepted; log in again",
        )
    }

    /// What they showed is over.
    pub(super) fn expired() -> Self {
        Self::new(
            RefuseCode::Unauthenticated,
            "your login has expired; log in again",
        )
    }

    /// The policies' answer, when it is no. The person learns what they can do about it, and no policy's name.
    pub(super) fn by_policy(
        decision: &Decision,
        principal: &Principal,
        server: &ServerName,
        login: &Login,
    ) -> Self {
        let (code, public) = match (&decision.outcome, obstacle(decision)) {
            (Outcome::Denied { .. }, _) => (
                RefuseCode::Denied,
                format!("you may not reach {server} as {login}: a policy denies it"),
            ),
            (_, Some(PolicyReason::AuthenticationAge)) => {
                (RefuseCode::Denied, too_old(principal, server, login))
            }
            (_, Some(PolicyReason::RequiredClaim { .. })) => (
                RefuseCode::Denied,
                format!(
                    "to reach {server} as {login} your login must be a stronger one than it was, such as with a second \
                     factor; log in again: kedge login HUB --reauthenticate"
                ),
            ),
            (_, Some(PolicyReason::Sessions)) => (
                RefuseCode::TooManyStreams,
                format!(
                    "you have as many sessions as you may have for {server} as {login}; end one of them first"
                ),
            ),
            (_, Some(PolicyReason::TimeWindow | PolicyReason::NotYet)) => (
                RefuseCode::Denied,
                format!("no policy allows you to reach {server} as {login} at this time"),
            ),
            (_, Some(PolicyReason::Source)) => (
                RefuseCode::Denied,
                format!("no policy allows you to reach {server} as {login} from your address"),
            ),
            _ => (
                RefuseCode::Denied,
                format!("no policy allows you to reach {server} as {login}"),
            ),
        };
        Self {
            code,
            public,
            internal: Some(trace(decision)),
            truth: None,
        }
    }

    /// The same, as it looks to somebody who may not know that there is such a server.
    pub(super) fn hidden(self, server: &ServerName) -> Self {
        Self {
            internal: Some(self.reason().to_owned()),
            truth: Some(self.code),
            ..Self::unknown(server)
        }
    }

    /// Its code as the audit log and the metrics say it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        word(self.truth.unwrap_or(self.code))
    }

    /// What the audit log is told.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.internal.as_deref().unwrap_or(&self.public)
    }
}

impl From<KeyUnavailable> for Refusal {
    /// The person may reach the server, so they may know which reference fails, and why.
    fn from(error: KeyUnavailable) -> Self {
        Self::new(RefuseCode::CredentialsUnavailable, error.words())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self {
            code: RefuseCode::Internal,
            public: "the hub cannot read its store".to_owned(),
            internal: Some(error.to_string()),
            truth: None,
        }
    }
}

/// What alone keeps some policy from allowing it: first what the person can do something about at once.
fn obstacle(decision: &Decision) -> Option<PolicyReason> {
    let rank = |reason: &PolicyReason| match reason {
        PolicyReason::AuthenticationAge => Some(0),
        PolicyReason::Sessions => Some(1),
        PolicyReason::RequiredClaim { .. } => Some(2),
        PolicyReason::TimeWindow => Some(3),
        PolicyReason::NotYet => Some(4),
        PolicyReason::Source => Some(5),
        _ => None,
    };
    decision
        .trace
        .iter()
        .filter(|policy| policy.effect == Effect::Allow)
        .filter_map(|policy| Some((rank(&policy.reason)?, policy.reason)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, reason)| reason)
}

fn too_old(principal: &Principal, server: &ServerName, login: &Login) -> String {
    let fresh = format!("to reach {server} as {login} you must have logged in more recently");
    match principal.method {
        AuthMethod::StaticToken => {
            format!("{fresh}, and a static token does not say when that was")
        }
        _ => format!("{fresh}; log in again: kedge login HUB --reauthenticate"),
    }
}

fn trace(decision: &Decision) -> String {
    let verdicts: Vec<_> = decision
        .trace
        .iter()
        .map(|verdict| format!("{}: {}", verdict.policy, verdict.reason))
        .collect();
    match &decision.outcome {
        Outcome::Denied { policy } => format!("{policy} denies it"),
        _ if verdicts.is_empty() => "there is no policy".to_owned(),
        _ => format!("no policy allows it ({})", verdicts.join("; ")),
    }
}

/// A refuse code as a word for logs and labels.
#[must_use]
pub(super) fn word(code: RefuseCode) -> &'static str {
    match code {
        RefuseCode::BadRequest => "bad-request",
        RefuseCode::CredentialsUnavailable => "credentials-unavailable",
        RefuseCode::Denied => "denied",
        RefuseCode::Draining => "draining",
        RefuseCode::HostKeyChanged => "host-key-changed",
        RefuseCode::Internal => "internal",
        RefuseCode::NotFound => "not-found",
        RefuseCode::Offline => "offline",
        RefuseCode::ResumeRejected => "resume-rejected",
        RefuseCode::TargetUnreachable => "target-unreachable",
        RefuseCode::TooManyStreams => "too-many-streams",
        RefuseCode::Unauthenticated => "unauthenticated",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use kedge_api::policy::PolicyTrace;

    use super::*;

    fn decision(reasons: &[PolicyReason]) -> Decision {
        Decision {
            outcome: Outcome::NoPolicy,
            trace: reasons
                .iter()
                .map(|reason| PolicyTrace {
                    policy: "secret-name".parse().unwrap(),
                    effect: Effect::Allow,
                    matched: false,
                    reason: *reason,
                })
                .collect(),
            review_at: None,
        }
    }

    fn refusal(decision: &Decision, method: AuthMethod) -> Refusal {
        let principal = Principal {
            method,
            ..crate::people::tests::principal("alice")
        };
        let (server, login) = ("web01".parse().unwrap(), "deploy".parse().unwrap());
        Refusal::by_policy(decision, &principal, &server, &login)
    }

    #[test]
    fn a_refusal_says_what_can_be_done_and_names_no_policy() {
        use PolicyReason as R;
        for (reasons, wanted) in [
            (&[][..], "no policy allows you to reach web01 as deploy"),
            (&[R::Subject, R::Server, R::Login], "no policy allows you"),
            (&[R::Subject, R::AuthenticationAge], "--reauthenticate"),
            (&[R::TimeWindow, R::Sessions], "as many sessions"),
            (&[R::RequiredClaim { index: 0 }], "second factor"),
            (&[R::Source, R::TimeWindow], "at this time"),
            (&[R::Source], "from your address"),
            (&[R::Ended], "no policy allows you to reach web01 as deploy"),
        ] {
            let refusal = refusal(&decision(reasons), AuthMethod::Oidc);
            assert!(refusal.public.contains(wanted), "{}", refusal.public);
            assert!(!refusal.public.contains("secret-name"));
            assert_eq!(
                refusal.reason().contains("secret-name"),
                !reasons.is_empty()
            );
        }
    }

    #[test]
    fn nobody_with_a_static_token_is_sent_to_log_in() {
        let old = decision(&[PolicyReason::AuthenticationAge]);
        let refusal = refusal(&old, AuthMethod::StaticToken);
        assert!(
            !refusal.public.contains("kedge login"),
            "{}",
            refusal.public
        );
    }

    #[test]
    fn a_denial_is_said_whatever_else_is_in_the_way() {
        let mut denied = decision(&[PolicyReason::AuthenticationAge]);
        denied.outcome = Outcome::Denied {
            policy: "secret-name".parse().unwrap(),
        };
        let refusal = refusal(&denied, AuthMethod::Oidc);
        assert_eq!(
            refusal.public,
            "you may not reach web01 as deploy: a policy denies it"
        );
        assert_eq!(refusal.reason(), "secret-name denies it");
    }
}
