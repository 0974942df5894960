//! What an issuer knows: people, keys, and what it has given out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::keys::{Keys, random_text};
use super::options::{IssuerOptions, IssuerPerson, Misbehaviour, Refresh};

/// Shared by the handle and the threads that serve.
#[derive(Debug)]
pub(super) struct State {
    options: IssuerOptions,
    address: SocketAddr,
    url: String,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    people: BTreeMap<String, IssuerPerson>,
    keys: Arc<Keys>,
    misbehaviours: Vec<Misbehaviour>,
    skew: i64,
    requests: BTreeMap<String, u64>,
    grants: BTreeMap<String, u64>,
    codes: BTreeMap<String, Code>,
    devices: BTreeMap<String, Device>,
    refresh: BTreeMap<String, RefreshToken>,
    /// Logins whose refresh tokens are good no more.
    ended: BTreeSet<String>,
}

/// An authorization code.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) login: Login,
    pub(super) redirect_uri: String,
    pub(super) challenge: String,
    pub(super) nonce: Option<String>,
    pub(super) used: bool,
}

/// Somebody logged in once; refresh tokens that come of it share its id.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) id: String,
    pub(super) person: String,
    pub(super) at: i64,
    pub(super) scope: String,
}

/// A device that asks to be let in.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) user_code: String,
    pub(super) scope: String,
    pub(super) answer: DeviceAnswer,
    pub(super) expires: i64,
}

/// What the person said about a device.
#[derive(Clone, Debug)]
pub(super) enum DeviceAnswer {
    Approved(Login),
    Denied,
    Pending,
}

#[derive(Clone, Debug)]
struct RefreshToken {
    login: Login,
    used: bool,
}

impl State {
    pub(super) fn new(options: IssuerOptions, address: SocketAddr) -> Result<Self> {
        let people = options
            .people
            .iter()
            .map(|person| (person.name.clone(), person.clone()))
            .collect();
        let scheme = if options.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let url = format!("{scheme}://{address}{}", options.path);
        Ok(Self {
            options,
            address,
            url,
            inner: Mutex::new(Inner {
                people,
                keys: Arc::new(Keys::generate()?),
                misbehaviours: Vec::new(),
                skew: 0,
                requests: BTreeMap::new(),
                grants: BTreeMap::new(),
                codes: BTreeMap::new(),
                devices: BTreeMap::new(),
                refresh: BTreeMap::new(),
                ended: BTreeSet::new(),
            }),
        })
    }

    pub(super) fn options(&self) -> &IssuerOptions {
        &self.options
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn path(&self) -> &str {
        &self.options.path
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.lock().keys)
    }

    /// Seconds since 1970 by the issuer's own clock.
    pub(super) fn now(&self) -> i64 {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        i64::try_from(seconds)
            .unwrap_or(i64::MAX)
            .saturating_add(self.lock().skew)
    }

    pub(super) fn rotate(&self) -> Result<()> {
        let keys = Arc::new(Keys::generate()?);
        self.lock().keys = keys;
        Ok(())
    }

    pub(super) fn misbehave(&self, how: Misbehaviour) {
        self.lock().misbehaviours.push(how);
    }

    pub(super) fn behave(&self) {
        self.lock().misbehaviours.clear();
    }

    /// The first misbehaviour that `wanted` picks something from.
    pub(super) fn wrong<T>(&self, wanted: impl Fn(&Misbehaviour) -> Option<T>) -> Option<T> {
        self.lock().misbehaviours.iter().find_map(wanted)
    }

    /// Whether this misbehaviour holds.
    pub(super) fn does(&self, how: &Misbehaviour) -> bool {
        self.wrong(|known| (known == how).then_some(())).is_some()
    }

    pub(super) fn skew(&self, seconds: i64) {
        self.lock().skew = seconds;
    }

    pub(super) fn count(&self, path: &str) {
        let mut inner = self.lock();
        let count = inner.requests.entry(path.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn requests(&self) -> BTreeMap<String, u64> {
        self.lock().requests.clone()
    }

    pub(super) fn count_grant(&self, grant: &str) {
        let mut inner = self.lock();
        let count = inner.grants.entry(grant.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn grants(&self, grant: &str) -> u64 {
        self.lock().grants.get(grant).copied().unwrap_or_default()
    }

    pub(super) fn know(&self, person: IssuerPerson) {
        self.lock().people.insert(person.name.clone(), person);
    }

    pub(super) fn knows(&self, person: &str) -> bool {
        self.lock().people.contains_key(person)
    }

    /// The claims of an ID token.
    pub(super) fn id_claims(
        &self,
        person: &str,
        nonce: Option<&str>,
        logged_in: i64,
    ) -> Result<Map<String, Value>> {
        let now = self.now();
        let mut claims = self
            .lock()
            .people
            .get(person)
            .with_context(|| format!("the issuer knows no {person}"))?
            .claims
            .clone();
        let life = i64::try_from(self.options.token_life.as_secs()).unwrap_or(i64::MAX);
        let standard = json!({
            "iss": self.url,
            "aud": self.options.client_id,
            "iat": now,
            "exp": now.saturating_add(life),
            "auth_time": logged_in,
        });
        change(&mut claims, standard.as_object().unwrap_or(&Map::new()));
        if let Some(nonce) = nonce {
            claims.insert("nonce".to_owned(), json!(nonce));
        }
        Ok(claims)
    }

    /// Signs an ID token as the issuer does now, misbehaviours included.
    pub(super) fn sign_id_token(&self, mut claims: Map<String, Value>) -> Result<String> {
        let changes = self.wrong(|how| match how {
            Misbehaviour::TokensWith(changes) => Some(changes.clone()),
            _ => None,
        });
        change(&mut claims, &changes.unwrap_or_default());
        let algorithm = self.wrong(|how| match how {
            Misbehaviour::TokensSignedWith(algorithm) => Some(algorithm.clone()),
            _ => None,
        });
        let algorithm = algorithm.unwrap_or_else(|| self.options.algorithm.clone());
        self.sign(
            json!({ "alg": algorithm, "typ": "JWT" }),
            Value::Object(claims),
        )
    }

    pub(super) fn access_token(&self, person: &str) -> Result<String> {
        let mut claims = self.id_claims(person, None, self.now())?;
        let more = json!({ "jti": random_text()?, "client_id": self.options.client_id, "scope": "openid" });
        change(&mut claims, more.as_object().unwrap_or(&Map::new()));
        self.sign(json!({ "typ": "at+jwt" }), Value::Object(claims))
    }

    pub(super) fn sign(&self, mut header: Value, claims: Value) -> Result<String> {
        let keys = self.keys();
        if header.is_null() {
            header = json!({});
        }
        let fields = header
            .as_object_mut()
            .context("a header is a JSON object")?;
        let algorithm = fields
            .entry("alg")
            .or_insert_with(|| json!(self.options.algorithm))
            .as_str()
            .context("`alg` is a text")?
            .to_owned();
        match fields.get("kid") {
            Some(Value::Null) => {
                fields.remove("kid");
            }
            Some(_) => {}
            None => {
                fields.insert("kid".to_owned(), json!(keys.kid(&algorithm)));
            }
        }
        keys.sign(&algorithm, &header.to_string(), &claims.to_string())
    }

    /// A login just now.
    pub(super) fn login(&self, person: &str, scope: &str) -> Result<Login> {
        Ok(Login {
            id: random_text()?,
            person: person.to_owned(),
            at: self.now(),
            scope: scope.to_owned(),
        })
    }

    pub(super) fn keep_code(&self, code: Code) -> Result<String> {
        let text = random_text()?;
        self.lock().codes.insert(text.clone(), code);
        Ok(text)
    }

    /// Uses a code. The second use of one ends what came of the first (RFC 6749, 4.1.2).
    pub(super) fn take_code(&self, text: &str) -> Option<Code> {
        let mut inner = self.lock();
        let code = inner.codes.get_mut(text)?;
        let (before, login) = (code.clone(), code.login.id.clone());
        code.used = true;
        if before.used {
            inner.ended.insert(login);
            return None;
        }
        Some(before)
    }

    pub(super) fn keep_device(&self, device: Device) -> Result<String> {
        let text = random_text()?;
        self.lock().devices.insert(text.clone(), device);
        Ok(text)
    }

    pub(super) fn device(&self, text: &str) -> Option<Device> {
        self.lock().devices.get(text).cloned()
    }

    pub(super) fn forget_device(&self, text: &str) {
        self.lock().devices.remove(text);
    }

    /// What the person said about the device that shows this code; `false` when none does.
    pub(super) fn answer_device(&self, user_code: &str, answer: DeviceAnswer) -> bool {
        let wanted = plain(user_code);
        let mut inner = self.lock();
        let device = inner
            .devices
            .values_mut()
            .find(|device| plain(&device.user_code) == wanted);
        let Some(device) = device else { return false };
        device.answer = answer;
        true
    }

    /// The scope that the device with this code asked for.
    pub(super) fn device_scope(&self, user_code: &str) -> Option<String> {
        let wanted = plain(user_code);
        let inner = self.lock();
        let mut devices = inner.devices.values();
        devices
            .find(|device| plain(&device.user_code) == wanted)
            .map(|device| device.scope.clone())
    }

    /// A new refresh token of a login, when there are any.
    pub(super) fn new_refresh(&self, login: &Login) -> Result<Option<String>> {
        if self.options.refresh == Refresh::Absent {
            return Ok(None);
        }
        let text = random_text()?;
        let token = RefreshToken {
            login: login.clone(),
            used: false,
        };
        self.lock().refresh.insert(text.clone(), token);
        Ok(Some(text))
    }

    /// Uses a refresh token. With rotation, the second use of one ends its login.
    pub(super) fn use_refresh(&self, text: &str) -> Option<Login> {
        let mut inner = self.lock();
        let token = inner.refresh.get_mut(text)?;
        let (login, used) = (token.login.clone(), token.used);
        if self.options.refresh == Refresh::Rotating {
            token.used = true;
            if used {
                inner.ended.insert(login.id);
                return None;
            }
        }
        (!inner.ended.contains(&login.id)).then_some(login)
    }

    pub(super) fn revoke(&self, text: &str) -> bool {
        let mut inner = self.lock();
        let Some(token) = inner.refresh.remove(text) else {
            return false;
        };
        inner.ended.insert(token.login.id)
    }

    pub(super) fn revoke_all(&self, person: &str) {
        let mut inner = self.lock();
        let ended: Vec<String> = inner
            .refresh
            .values()
            .filter(|token| token.login.person == person)
            .map(|token| token.login.id.clone())
            .collect();
        inner.ended.extend(ended);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets claims; `null` leaves one out.
pub(super) fn change(claims: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (name, value) in changes {
        if value.is_null() {
            claims.remove(name);
        } else {
            claims.insert(name.clone(), value.clone());
        }
    }
}

/// A user code as people may type it: without dashes, in any case.
fn plain(code: &str) -> String {
    code.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_uppercase())
        .collect()
}
