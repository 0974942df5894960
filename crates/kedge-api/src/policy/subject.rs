//! Whether a policy is about a person.

use super::{Objection, PolicyReason, unreadable};
use crate::principal::{Principal, Standing};
use crate::resources::{AccessPolicy, IssuerRule, SubjectRule, Subjects};

/// Whether a policy is about a person at all. One that is not says nothing about them, whatever they ask: who asks much
/// about one person may leave it out.
#[must_use]
pub fn is_about(policy: &AccessPolicy, principal: &Principal) -> bool {
    objection(policy, principal).is_ok()
}

pub(super) fn objection(policy: &AccessPolicy, principal: &Principal) -> Objection {
    let subjects = &policy.spec.subjects;
    if *subjects == Subjects::default() {
        return Err(PolicyReason::Subject);
    }
    if !is_issuer(&subjects.issuers, principal) {
        return Err(PolicyReason::Issuer);
    }
    if !is_listed(subjects, principal) {
        return Err(PolicyReason::Subject);
    }
    let unreadable = unreadable(policy.spec.effect);
    for (index, claim) in subjects.claims.iter().enumerate() {
        if !claim.holds(principal.claims.get(claim.key.as_str()), unreadable) {
            return Err(PolicyReason::Claim { index });
        }
    }
    Ok(())
}

fn is_issuer(issuers: &[IssuerRule], principal: &Principal) -> bool {
    if issuers.is_empty() {
        return principal.standing == Standing::Home;
    }
    issuers.iter().any(|rule| match rule {
        IssuerRule::Any => true,
        IssuerRule::Named(issuer) => *issuer == principal.issuer,
    })
}

fn is_listed(subjects: &Subjects, principal: &Principal) -> bool {
    let everybody = subjects.users.is_empty() && subjects.groups.is_empty();
    everybody
        || subjects.users.iter().any(|user| match user {
            SubjectRule::Everybody => true,
            SubjectRule::Named(name) => *name == principal.user,
        })
        || subjects
            .groups
            .iter()
            .any(|group| principal.groups.contains(group))
}
