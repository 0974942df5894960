//! What a policy must be to be written.

use super::{AccessPolicy, AccessPolicySpec, Effect, LoginRule, Permission, PermissionRule};
use crate::defaults::POLICY_LIST_MAX;
use crate::meta::FieldError;

pub(super) fn check_change(_: &AccessPolicy, _: &AccessPolicy, _: &mut Vec<FieldError>) {}

pub(super) fn check(policy: &AccessPolicy, errors: &mut Vec<FieldError>) {
    let spec = &policy.spec;
    let mut wrong = |path: &str, message: &str| errors.push(FieldError::new(path, message));
    check_subjects(spec, &mut wrong);
    let about_servers = !spec.servers.is_empty() || !spec.logins.is_empty() || spec.hub.is_none();
    if about_servers {
        check_sessions(spec, &mut wrong);
    }
    check_lengths(spec, &mut wrong);
    check_entries(spec, &mut wrong);
    if let Some(hub) = &spec.hub {
        hub.check(&mut wrong);
    }
    spec.constraints.check(&mut wrong);
    if spec.effect == Effect::Deny {
        spec.constraints.check_denial(&mut wrong);
    }
}

fn check_subjects(spec: &AccessPolicySpec, wrong: &mut impl FnMut(&str, &str)) {
    let subjects = &spec.subjects;
    if *subjects == super::Subjects::default() {
        wrong(
            "spec.subjects",
            "names nobody; list users, groups, issuers or claims (`users: [\"*\"]` is everybody)",
        );
    }
    for (index, group) in subjects.groups.iter().enumerate() {
        if *group == "*" {
            let message = "`*` means nothing here; `spec.subjects.users: [\"*\"]` is everybody";
            wrong(&format!("spec.subjects.groups[{index}]"), message);
        }
    }
    for (index, claim) in subjects.claims.iter().enumerate() {
        claim.check(&format!("spec.subjects.claims[{index}]"), wrong);
    }
}

fn check_sessions(spec: &AccessPolicySpec, wrong: &mut impl FnMut(&str, &str)) {
    if spec.servers.is_empty() {
        wrong(
            "spec.servers",
            "selects nothing; list names, matchLabels or matchExpressions (`names: [\"*\"]` is every server)",
        );
    }
    if spec.logins.is_empty() {
        wrong(
            "spec.logins",
            "lists no login; `{login}` is the one a person's identity gives",
        );
    }
    if spec.permissions.is_empty() {
        wrong("spec.permissions", "lists no permission");
    }
    for (index, requirement) in spec.servers.match_expressions.iter().enumerate() {
        let path = format!("spec.servers.matchExpressions[{index}]");
        requirement.check(&path, wrong);
    }
}

fn check_lengths(spec: &AccessPolicySpec, wrong: &mut impl FnMut(&str, &str)) {
    let (subjects, servers) = (&spec.subjects, &spec.servers);
    for (path, length) in [
        ("spec.subjects.users", subjects.users.len()),
        ("spec.subjects.groups", subjects.groups.len()),
        ("spec.subjects.issuers", subjects.issuers.len()),
        ("spec.subjects.claims", subjects.claims.len()),
        ("spec.servers.names", servers.names.len()),
        ("spec.servers.matchLabels", servers.match_labels.len()),
        (
            "spec.servers.matchExpressions",
            servers.match_expressions.len(),
        ),
        ("spec.logins", spec.logins.len()),
        ("spec.permissions", spec.permissions.len()),
    ] {
        if length > POLICY_LIST_MAX {
            wrong(
                path,
                &format!("{length} entries, at most {POLICY_LIST_MAX}"),
            );
        }
    }
}

fn check_entries(spec: &AccessPolicySpec, wrong: &mut impl FnMut(&str, &str)) {
    let allows = spec.effect == Effect::Allow;
    for (index, login) in spec.logins.iter().enumerate() {
        if *login == LoginRule::Any && allows {
            let message = "`*` can only be denied; list the logins that are allowed";
            wrong(&format!("spec.logins[{index}]"), message);
        }
    }
    for (index, permission) in spec.permissions.iter().enumerate() {
        let path = format!("spec.permissions[{index}]");
        match permission {
            PermissionRule::Any if allows => {
                wrong(
                    &path,
                    "`*` can only be denied; list the permissions that are allowed",
                );
            }
            PermissionRule::Named(unknown @ Permission::Unknown(_)) => {
                wrong(
                    &path,
                    &format!("`{unknown}` is no permission; there is `ssh`"),
                );
            }
            _ => {}
        }
    }
}
