//! What the claims of an ID token must be (OpenID Connect Core §3.1.3.7), and what is taken from them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use kedge_api::text::Printable;
use kedge_api::{Group, Subject, Time};
use serde_json::{Map, Value};

use crate::defaults::{CLAIMS_MAX, CLAIMS_MAX_BYTES, FUTURE_LEEWAY, GROUPS_MAX, LEEWAY};
use crate::error::VerifyError;
use crate::rules::IssuerRules;
use crate::verified::Verified;

/// Judges claims whose `iss` is these rules' issuer: all that can be said without a key.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn judge(
    claims: &Map<String, Value>,
    rules: &IssuerRules,
    now: Time,
) -> Result<Verified, VerifyError> {
    check_kind(claims)?;
    check_audience(claims, rules)?;
    let (issued_at, expires_at) = check_times(claims, now)?;
    let authenticated_at = optional_moment(claims, "auth_time")?;
    if let Some(at) = authenticated_at {
        check_not_ahead("auth_time", at, now)?;
    }
    let subject = named(claims, "sub")?;
    if rules.user_claim == EMAIL && claims.get(EMAIL_VERIFIED) != Some(&Value::Bool(true)) {
        return Err(VerifyError::EmailNotVerified);
    }
    Ok(Verified {
        issuer: rules.url.clone(),
        subject,
        user: named(claims, &rules.user_claim)?,
        groups: groups(claims, &rules.groups_claim)?,
        claims: kept(claims)?,
        issued_at,
        expires_at,
        authenticated_at,
    })
}

/// A moment as JWTs write it: seconds since 1970, perhaps with a fraction (RFC 7519 §2).
pub(crate) fn moment(value: &Value) -> Option<Time> {
    let seconds = match (value.as_i64(), value.as_f64()) {
        (Some(seconds), _) => seconds,
        // Far outside of these numbers `as` would be wrong by little, and the year by much.
        (None, Some(seconds)) if seconds.abs() < SECONDS_MAX => seconds.floor() as i64,
        _ => return None,
    };
    Timestamp::from_second(seconds).ok().map(Time::from)
}

/// Other tokens that issuers sign with the same keys.
fn check_kind(claims: &Map<String, Value>) -> Result<(), VerifyError> {
    let kind = |found: String| Err(VerifyError::Kind { found });
    // OpenID Connect Back-Channel Logout §2.4, and security events in general (RFC 8417 §2.2).
    if claims.contains_key("events") {
        return kind("it has `events`, as logout tokens have".to_owned());
    }
    // Keycloak writes into the claims which of its tokens it is; Cognito does so under another name.
    for (claim, id_token) in [("typ", ["ID", "JWT"]), ("token_use", ["id", "id"])] {
        match claims.get(claim) {
            None => {}
            Some(Value::String(text)) if id_token.contains(&text.as_str()) => {}
            Some(Value::String(text)) => {
                return kind(format!("its `{claim}` is `{}`", Printable::new(text)));
            }
            Some(_) => return kind(format!("its `{claim}` is no text")),
        }
    }
    // RFC 9068 §2.2.3, and `scp` at Entra ID and Okta: what access tokens are for, and ID tokens never say.
    for claim in ["scope", "scp"] {
        if claims.contains_key(claim) {
            return kind(format!("it has `{claim}`, as access tokens have"));
        }
    }
    Ok(())
}

fn check_audience(claims: &Map<String, Value>, rules: &IssuerRules) -> Result<(), VerifyError> {
    let audiences: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(list)) => list
            .iter()
            .map(|item| item.as_str())
            .collect::<Option<_>>()
            .ok_or_else(|| claim("aud", "is neither a text nor a list of texts"))?,
        Some(_) => return Err(claim("aud", "is neither a text nor a list of texts")),
        None => return Err(claim("aud", ABSENT)),
    };
    let ours = |name: &&str| rules.audiences.contains(*name);
    let trusted = |name: &&str| ours(name) || rules.authorized_parties.contains(*name);
    // Who else is meant could show the token to us as its owner; so they must all be trusted.
    if !audiences.iter().any(ours) || !audiences.iter().all(trusted) {
        let found = match audiences.as_slice() {
            [] => "nobody".to_owned(),
            names => format!("`{}`", Printable::new(&names.join("`, `"))),
        };
        return Err(VerifyError::Audience { found });
    }
    match claims.get("azp") {
        Some(Value::String(party)) if rules.authorized_parties.contains(party) => Ok(()),
        Some(Value::String(party)) => Err(VerifyError::AuthorizedParty {
            found: format!("`{}`", Printable::new(party)),
        }),
        Some(_) => Err(claim("azp", "is no text")),
        None if audiences.len() > 1 => Err(VerifyError::AuthorizedParty {
            found: "nobody in particular (it has several audiences and no `azp`)".to_owned(),
        }),
        None => Ok(()),
    }
}

fn check_times(claims: &Map<String, Value>, now: Time) -> Result<(Time, Time), VerifyError> {
    let required = |name| optional_moment(claims, name)?.ok_or_else(|| claim(name, ABSENT));
    let (issued, expires) = (required("iat")?, required("exp")?);
    check_not_ahead("iat", issued, now)?;
    if let Some(begins) = optional_moment(claims, "nbf")? {
        check_not_ahead("nbf", begins, now)?;
    }
    if expires.saturating_add(LEEWAY) <= now {
        return Err(VerifyError::Expired {
            at: expires,
            ago: now.saturating_since(expires),
        });
    }
    Ok((issued, expires))
}

fn check_not_ahead(claim: &'static str, at: Time, now: Time) -> Result<(), VerifyError> {
    let ahead: Duration = at.saturating_since(now);
    if ahead > FUTURE_LEEWAY {
        return Err(VerifyError::FromTheFuture { claim, at, ahead });
    }
    Ok(())
}

fn optional_moment(
    claims: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<Time>, VerifyError> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match moment(value) {
            Some(at) => Ok(Some(at)),
            None => Err(claim(name, "is no time")),
        },
    }
}

/// A claim that names the person.
fn named(claims: &Map<String, Value>, name: &str) -> Result<Subject, VerifyError> {
    match claims.get(name) {
        None | Some(Value::Null) => Err(claim(name, ABSENT)),
        Some(Value::String(text)) => text.parse().map_err(|error: kedge_api::NameError| {
            claim(name, &format!("names nobody: {}", error.problem()))
        }),
        Some(_) => Err(claim(name, "is no text")),
    }
}

fn groups(claims: &Map<String, Value>, name: &str) -> Result<BTreeSet<Group>, VerifyError> {
    if name.is_empty() {
        return Ok(BTreeSet::new());
    }
    let wrong = || claim(name, "is neither a list of texts nor a text");
    // OpenID Connect Core §5.6.2, and Entra ID for people in many groups: they are elsewhere, and not none.
    let elsewhere = claims.get("_claim_names").and_then(|names| names.get(name));
    let texts: Vec<&str> = match claims.get(name) {
        None | Some(Value::Null) if elsewhere.is_some() => {
            return Err(claim(
                name,
                "is left out (`_claim_names`): make the issuer send fewer groups",
            ));
        }
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(list)) => list
            .iter()
            .map(|item| item.as_str())
            .collect::<Option<_>>()
            .ok_or_else(wrong)?,
        Some(_) => return Err(wrong()),
    };
    // Leaving some out could leave out the one that a policy denies.
    if texts.len() > GROUPS_MAX {
        return Err(VerifyError::ClaimsTooMany {
            found: format!("{} groups", texts.len()),
            allowed: GROUPS_MAX,
        });
    }
    // A name that is no legal group stands in no policy, since policies hold legal groups only.
    Ok(texts
        .into_iter()
        .filter_map(|text| text.parse().ok())
        .collect())
}

/// What goes along with the person: everything but what differs from one token of theirs to the next.
fn kept(claims: &Map<String, Value>) -> Result<BTreeMap<String, Value>, VerifyError> {
    let kept: BTreeMap<_, _> = claims
        .iter()
        .filter(|(name, _)| !PER_TOKEN.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if kept.len() > CLAIMS_MAX {
        return Err(VerifyError::ClaimsTooMany {
            found: format!("{} claims", kept.len()),
            allowed: CLAIMS_MAX,
        });
    }
    let bytes: usize = kept
        .iter()
        .map(|(name, value)| name.len() + value.to_string().len())
        .sum();
    if bytes > CLAIMS_MAX_BYTES {
        return Err(VerifyError::ClaimsTooMany {
            found: format!("{bytes} bytes"),
            allowed: CLAIMS_MAX_BYTES,
        });
    }
    Ok(kept)
}

fn claim(name: &str, problem: &str) -> VerifyError {
    VerifyError::Claim {
        claim: Printable::new(name).to_string(),
        problem: problem.to_owned(),
    }
}

const ABSENT: &str = "is absent";
const EMAIL: &str = "email";
const EMAIL_VERIFIED: &str = "email_verified";
const PER_TOKEN: [&str; 9] = [
    "at_hash", "c_hash", "exp", "iat", "jti", "nbf", "nonce", "s_hash", "sid",
];
const SECONDS_MAX: f64 = 1e12;
