//! What is served: discovery, keys, the two forms for people, and the token endpoint.

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::keys::random_hex;
use super::options::Misbehaviour;
use super::server::{Answer, Asked};
use super::state::{Code, Device, DeviceAnswer, Login, State};
use crate::form;

/// How long a device code is good, in seconds.
const DEVICE_LIFE: i64 = 600;

/// Bytes of a key set that is too big.
const HUGE: usize = 4 * 1024 * 1024;

/// The grant type of RFC 8628.
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Answers a request.
pub(super) fn answer(state: &State, asked: &Asked) -> Answer {
    let answered = match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/.well-known/openid-configuration") => Ok(discovery(state)),
        ("GET", "/jwks") => jwks(state),
        ("GET", "/authorize") => Ok(login_form(state, &asked.query)),
        ("POST", "/authorize") => authorize(state, &asked.form),
        ("GET", "/device") => Ok(device_form(&asked.query)),
        ("POST", "/device") => approve_device(state, &asked.form),
        ("POST", "/device_authorization") => device_authorization(state, &asked.form),
        ("POST", "/token") => token(state, asked),
        ("POST", "/revoke") => Ok(revoke(state, asked)),
        _ => Ok(Answer::page(404, "There is no such page.")),
    };
    answered.unwrap_or_else(|error| Answer::page(500, &escaped(&format!("{error:#}"))))
}

fn discovery(state: &State) -> Answer {
    if state.does(&Misbehaviour::DiscoveryError) {
        return Answer::text(500, "{\"error\":\"server_error\"}");
    }
    if state.does(&Misbehaviour::DiscoverySlow) {
        return Answer::Endless;
    }
    let whole = state.wrong(|how| match how {
        Misbehaviour::Discovery(text) => Some(text.clone()),
        _ => None,
    });
    if let Some(whole) = whole {
        return Answer::text(200, whole);
    }
    let issuer = state.wrong(|how| match how {
        Misbehaviour::WrongIssuer(issuer) => Some(issuer.clone()),
        _ => None,
    });
    let algorithms = state.wrong(|how| match how {
        Misbehaviour::Algorithms(algorithms) => Some(algorithms.clone()),
        _ => None,
    });
    let url = state.url();
    let document = json!({
        "issuer": issuer.as_deref().unwrap_or(url),
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "device_authorization_endpoint": format!("{url}/device_authorization"),
        "revocation_endpoint": format!("{url}/revoke"),
        "jwks_uri": format!("{url}/jwks"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", DEVICE_GRANT],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported":
            algorithms.unwrap_or_else(|| vec![state.options().algorithm.clone()]),
        "scopes_supported": state.options().scopes,
        "token_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    });
    Answer::json(200, &document)
}

fn jwks(state: &State) -> Result<Answer> {
    let whole = state.wrong(|how| match how {
        Misbehaviour::Jwks(text) => Some(text.clone()),
        _ => None,
    });
    if let Some(whole) = whole {
        return Ok(Answer::text(200, whole));
    }
    if state.does(&Misbehaviour::JwksError) {
        return Ok(Answer::text(500, "{}"));
    }
    if state.does(&Misbehaviour::JwksSlow) {
        return Ok(Answer::Endless);
    }
    let keys = state.keys().jwks()?;
    Ok(Answer::json(
        200,
        &if state.does(&Misbehaviour::JwksHuge) {
            json!({ "keys": keys, "padding": "x".repeat(HUGE) })
        } else {
            json!({ "keys": keys })
        },
    ))
}

/// What a request to log in must say.
#[derive(Debug)]
struct Wanted<'a> {
    redirect_uri: &'a str,
    state: Option<&'a str>,
    nonce: Option<&'a str>,
    scope: &'a str,
    challenge: &'a str,
}

impl<'a> Wanted<'a> {
    /// Reads it; what is wrong with it otherwise.
    fn read(issuer: &State, pairs: &'a [(String, String)]) -> Result<Self, String> {
        let value = |name: &str| form::value(pairs, name).filter(|value| !value.is_empty());
        let required = |name: &str| value(name).ok_or_else(|| format!("{name} is missing"));
        let only = |name: &str, wanted: &str| match value(name) {
            Some(found) if found == wanted => Ok(()),
            found => Err(format!("{name} is {found:?} and not {wanted}")),
        };
        only("response_type", "code")?;
        only("client_id", &issuer.options().client_id)?;
        only("code_challenge_method", "S256")?;
        let redirect_uri = required("redirect_uri")?;
        // Native applications: any port of loopback, and nothing else (RFC 8252, 7.3).
        let loopback = ["http://127.0.0.1:", "http://[::1]:"];
        if !loopback.iter().any(|start| redirect_uri.starts_with(start)) {
            return Err(format!("redirect_uri {redirect_uri} is not on loopback"));
        }
        let scope = required("scope")?;
        if !scope.split(' ').any(|one| one == "openid") {
            return Err("scope lacks openid".to_owned());
        }
        let unknown = scope
            .split(' ')
            .find(|one| !issuer.options().scopes.iter().any(|known| known == one));
        if let Some(unknown) = unknown {
            return Err(format!("there is no scope {unknown}"));
        }
        Ok(Self {
            redirect_uri,
            state: value("state"),
            nonce: value("nonce"),
            scope,
            challenge: required("code_challenge")?,
        })
    }
}

fn login_form(state: &State, query: &[(String, String)]) -> Answer {
    if let Err(wrong) = Wanted::read(state, query) {
        return Answer::page(400, &escaped(&wrong));
    }
    let hidden: String = query
        .iter()
        .map(|(name, value)| hidden(name, value))
        .collect();
    let hint = form::value(query, "login_hint").unwrap_or_default();
    Answer::page(
        200,
        &format!(
            "<h1>Log in</h1><form method=\"post\" action=\"{}/authorize\">{hidden}\
             <label>Name <input type=\"text\" name=\"login\" value=\"{}\" autofocus></label>\
             <button type=\"submit\">Log in</button></form>",
            state.path(),
            escaped(hint)
        ),
    )
}

fn authorize(state: &State, pairs: &[(String, String)]) -> Result<Answer> {
    let wanted = match Wanted::read(state, pairs) {
        Ok(wanted) => wanted,
        Err(wrong) => return Ok(Answer::page(400, &escaped(&wrong))),
    };
    let person = form::value(pairs, "login").unwrap_or_default();
    let refusal = state.wrong(|how| match how {
        Misbehaviour::AuthorizationError(code) => Some(code.clone()),
        _ => None,
    });
    let description = description(state);
    let code = match &refusal {
        Some(_) => None,
        None if !state.knows(person) => {
            return Ok(Answer::page(
                403,
                &format!("Nobody here is called {}.", escaped(person)),
            ));
        }
        None => Some(state.keep_code(Code {
            login: state.login(person, wanted.scope)?,
            redirect_uri: wanted.redirect_uri.to_owned(),
            challenge: wanted.challenge.to_owned(),
            nonce: wanted.nonce.map(str::to_owned),
            used: false,
        })?),
    };
    let iss = state.wrong(|how| match how {
        Misbehaviour::MissingIss => Some(None),
        Misbehaviour::WrongIss(other) => Some(Some(other.clone())),
        _ => None,
    });
    let iss = iss.unwrap_or_else(|| Some(state.url().to_owned()));
    let mut answer: Vec<(&str, &str)> = Vec::new();
    answer.extend(code.as_deref().map(|code| ("code", code)));
    answer.extend(refusal.as_deref().map(|code| ("error", code)));
    answer.extend(
        description
            .as_deref()
            .map(|text| ("error_description", text)),
    );
    if state.does(&Misbehaviour::WrongState) {
        answer.push(("state", "somebody-elses"));
    } else {
        answer.extend(wanted.state.map(|text| ("state", text)));
    }
    answer.extend(iss.as_deref().map(|iss| ("iss", iss)));
    let joint = if wanted.redirect_uri.contains('?') {
        '&'
    } else {
        '?'
    };
    Ok(Answer::Redirect(format!(
        "{}{joint}{}",
        wanted.redirect_uri,
        form::encode(answer)
    )))
}

fn device_authorization(state: &State, pairs: &[(String, String)]) -> Result<Answer> {
    if form::value(pairs, "client_id") != Some(&state.options().client_id) {
        return Ok(refused(400, "invalid_client", None));
    }
    let raw = random_hex(4)?.to_ascii_uppercase();
    let (front, back) = raw.split_at(4);
    let user_code = format!("{front}-{back}");
    let device = Device {
        user_code: user_code.clone(),
        scope: form::value(pairs, "scope").unwrap_or("openid").to_owned(),
        answer: DeviceAnswer::Pending,
        expires: state.now().saturating_add(DEVICE_LIFE),
    };
    let device_code = state.keep_device(device)?;
    let page = format!("{}/device", state.url());
    Ok(Answer::json(
        200,
        &json!({
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": page,
            "verification_uri_complete": format!("{page}?user_code={user_code}"),
            "expires_in": DEVICE_LIFE,
            "interval": state.options().device_interval.as_secs(),
        }),
    ))
}

fn device_form(query: &[(String, String)]) -> Answer {
    let code = form::value(query, "user_code").unwrap_or_default();
    Answer::page(
        200,
        &format!(
            "<h1>Let a device in</h1><form method=\"post\">\
             <label>Code <input type=\"text\" name=\"user_code\" value=\"{}\"></label>\
             <label>Name <input type=\"text\" name=\"login\" value=\"\"></label>\
             <button type=\"submit\" name=\"decision\" value=\"allow\">Allow</button>\
             <button type=\"submit\" name=\"decision\" value=\"deny\">Deny</button></form>",
            escaped(code)
        ),
    )
}

fn approve_device(state: &State, pairs: &[(String, String)]) -> Result<Answer> {
    let user_code = form::value(pairs, "user_code").unwrap_or_default();
    let person = form::value(pairs, "login").unwrap_or_default();
    let answer = if form::value(pairs, "decision") == Some("deny") {
        DeviceAnswer::Denied
    } else if state.knows(person) {
        let scope = state.device_scope(user_code).unwrap_or_default();
        DeviceAnswer::Approved(state.login(person, &scope)?)
    } else {
        return Ok(Answer::page(
            403,
            &format!("Nobody here is called {}.", escaped(person)),
        ));
    };
    Ok(if state.answer_device(user_code, answer) {
        Answer::page(200, "The device has been told. This page may be closed.")
    } else {
        Answer::page(404, "No device shows this code.")
    })
}

fn token(state: &State, asked: &Asked) -> Result<Answer> {
    let pairs = &asked.form;
    let value = |name: &str| form::value(pairs, name).unwrap_or_default();
    let grant = value("grant_type");
    state.count_grant(grant);
    if state.does(&Misbehaviour::TokenSlow) {
        return Ok(Answer::Endless);
    }
    let error = state.wrong(|how| match how {
        Misbehaviour::TokenError(code) => Some(code.clone()),
        _ => None,
    });
    if let Some(code) = error {
        let status = if code == "server_error" { 500 } else { 400 };
        return Ok(refused(status, &code, description(state)));
    }
    if !is_the_client(state, asked) {
        return Ok(refused(401, "invalid_client", None));
    }
    match grant {
        "authorization_code" => {
            let Some(code) = state.take_code(value("code")) else {
                return Ok(refused(400, "invalid_grant", None));
            };
            let challenge =
                URL_SAFE_NO_PAD.encode(digest(&SHA256, value("code_verifier").as_bytes()));
            if challenge != code.challenge || code.redirect_uri != value("redirect_uri") {
                return Ok(refused(400, "invalid_grant", None));
            }
            granted(state, &code.login, code.nonce.as_deref(), Kind::First)
        }
        "refresh_token" => match state.use_refresh(value("refresh_token")) {
            Some(login) => granted(state, &login, None, Kind::Refreshed),
            None => Ok(refused(400, "invalid_grant", description(state))),
        },
        DEVICE_GRANT => {
            let device_code = value("device_code");
            let Some(device) = state.device(device_code) else {
                return Ok(refused(400, "invalid_grant", None));
            };
            if device.expires < state.now() {
                return Ok(refused(400, "expired_token", None));
            }
            match device.answer {
                DeviceAnswer::Approved(login) => {
                    state.forget_device(device_code);
                    granted(state, &login, None, Kind::First)
                }
                DeviceAnswer::Denied => Ok(refused(400, "access_denied", None)),
                DeviceAnswer::Pending => Ok(refused(400, "authorization_pending", None)),
            }
        }
        _ => Ok(refused(400, "unsupported_grant_type", None)),
    }
}

/// RFC 7009: a token that is not known is as good as revoked.
fn revoke(state: &State, asked: &Asked) -> Answer {
    if state.does(&Misbehaviour::RevocationSlow) {
        return Answer::Endless;
    }
    let error = state.wrong(|how| match how {
        Misbehaviour::RevocationError(code) => Some(code.clone()),
        _ => None,
    });
    if let Some(code) = error {
        return refused(400, &code, description(state));
    }
    if !is_the_client(state, asked) {
        return refused(401, "invalid_client", None);
    }
    state.revoke(form::value(&asked.form, "token").unwrap_or_default());
    Answer::json(200, &json!({}))
}

/// Whether who asks says to be the client. A public one names itself in the body, or with an empty secret in the header.
fn is_the_client(state: &State, asked: &Asked) -> bool {
    let basic = asked
        .authorization
        .as_deref()
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|text| STANDARD.decode(text).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let client = match &basic {
        Some(text) => text.split(':').next(),
        None => form::value(&asked.form, "client_id"),
    };
    client == Some(&state.options().client_id)
}

/// Which answer of the token endpoint it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    First,
    Refreshed,
}

fn granted(state: &State, login: &Login, nonce: Option<&str>, kind: Kind) -> Result<Answer> {
    let claims = state.id_claims(&login.person, nonce, login.at)?;
    let mut answer = json!({
        "access_token": state.access_token(&login.person)?,
        "token_type": "Bearer",
        "expires_in": state.options().token_life.as_secs(),
        "scope": login.scope,
    });
    let fields = answer.as_object_mut().context("an object")?;
    if kind == Kind::First || !state.does(&Misbehaviour::NoIdTokenOnRefresh) {
        let token = state.sign_id_token(claims)?;
        fields.insert("id_token".to_owned(), Value::from(token));
    }
    if login.scope.split(' ').any(|one| one == "offline_access")
        && let Some(token) = state.new_refresh(login)?
    {
        fields.insert("refresh_token".to_owned(), Value::from(token));
    }
    Ok(Answer::json(200, &answer))
}

fn refused(status: u16, code: &str, description: Option<String>) -> Answer {
    let body = match description {
        Some(description) => json!({ "error": code, "error_description": description }),
        None => json!({ "error": code }),
    };
    Answer::json(status, &body)
}

fn description(state: &State) -> Option<String> {
    state.wrong(|how| match how {
        Misbehaviour::TokenDescription(text) => Some(text.clone()),
        _ => None,
    })
}

fn hidden(name: &str, value: &str) -> String {
    format!(
        "<input type=\"hidden\" name=\"{}\" value=\"{}\">",
        escaped(name),
        escaped(value)
    )
}

/// Text in a page.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
