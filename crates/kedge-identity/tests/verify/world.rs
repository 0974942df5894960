//! An issuer inside the process: real keys, and documents that can be made wrong in every way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use kedge_api::Time;
use kedge_identity::{
    Algorithm, HttpClient, HttpError, IssuerRules, Verified, Verifier, VerifyError,
};
use serde_json::{Value, json};

/// The hub's client id.
pub(crate) const CLIENT: &str = "kedge";

/// A clock that stands still until it is set.
#[derive(Clone)]
pub(crate) struct Clock(Arc<AtomicI64>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_800_000_000)))
    }

    pub(crate) fn seconds(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn now(&self) -> Time {
        jiff::Timestamp::from_second(self.seconds()).unwrap().into()
    }

    pub(crate) fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

/// What an issuer signs with.
pub(crate) struct SigningKey {
    pub(crate) kid: String,
    kind: Kind,
}

enum Kind {
    Ed(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(&'static RsaKeyPair, &'static dyn RsaEncoding),
}

/// Making RSA keys takes long, and no test needs to tell two apart.
static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

impl SigningKey {
    pub(crate) fn new(algorithm: Algorithm, kid: &str) -> Self {
        let rsa = |encoding| Kind::Rsa(&RSA, encoding);
        let kind = match algorithm {
            Algorithm::EdDsa => Kind::Ed(Ed25519KeyPair::generate().unwrap()),
            Algorithm::Es256 => {
                Kind::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
            }
            Algorithm::Es384 => {
                Kind::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
            }
            Algorithm::Ps256 => rsa(&RSA_PSS_SHA256),
            Algorithm::Ps384 => rsa(&RSA_PSS_SHA384),
            Algorithm::Ps512 => rsa(&RSA_PSS_SHA512),
            Algorithm::Rs256 => rsa(&RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&RSA_PKCS1_SHA512),
            other => panic!("{other}"),
        };
        Self {
            kid: kid.to_owned(),
            kind,
        }
    }

    /// The public half, as a JWK.
    pub(crate) fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = |curve: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
        };
        let mut jwk = match &self.kind {
            Kind::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())})
            }
            Kind::P256(pair) => point("P-256", pair.public_key().as_ref()),
            Kind::P384(pair) => point("P-384", pair.public_key().as_ref()),
            Kind::Rsa(pair, _) => {
                let numbers = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "n": encode(&numbers.n), "e": encode(&numbers.e)})
            }
        };
        jwk["kid"] = self.kid.clone().into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// The public half, as OpenSSL writes it.
    pub(crate) fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match &self.kind {
            Kind::Ed(pair) => pair.public_key().as_der().unwrap(),
            Kind::P256(pair) | Kind::P384(pair) => pair.public_key().as_der().unwrap(),
            Kind::Rsa(pair, _) => pair.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }

    /// The signature over a text.
    pub(crate) fn sign(&self, text: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.kind {
            Kind::Ed(pair) => pair.sign(text.as_bytes()).as_ref().to_vec(),
            Kind::P256(pair) | Kind::P384(pair) => pair
                .sign(&random, text.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
            Kind::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, text.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
        }
    }

    /// A token with any header and any claims, as texts.
    pub(crate) fn token(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(&signed));
        format!("{signed}.{signature}")
    }
}

/// A text in base64url.
pub(crate) fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// How an issuer answers.
#[derive(Clone, Debug)]
pub(crate) enum Mood {
    /// With this status and text, whatever is asked.
    Answers(u16, String),
    /// Not at all: nobody listens.
    Down,
    /// As it should.
    Fine,
    /// Properly, but only when somebody opens the gate.
    Gated,
    /// With endless keys.
    Huge,
    /// Never.
    Silent,
}

/// An issuer inside the process.
pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) clock: Clock,
    pub(crate) mood: Mutex<Mood>,
    pub(crate) gate: tokio::sync::Semaphore,
    /// What is in the discovery document beside, or instead of, what should be.
    pub(crate) discovery: Mutex<Value>,
    /// What stands in the JWKS.
    pub(crate) jwks: Mutex<Value>,
    pub(crate) cache_control: Mutex<Option<String>>,
    requests: Mutex<BTreeMap<String, usize>>,
}

impl Issuer {
    /// An issuer with the public halves of these keys.
    pub(crate) fn new(url: &str, clock: &Clock, keys: &[&SigningKey]) -> Arc<Self> {
        let issuer = Self {
            url: url.to_owned(),
            clock: clock.clone(),
            mood: Mutex::new(Mood::Fine),
            gate: tokio::sync::Semaphore::new(0),
            discovery: Mutex::new(json!({})),
            jwks: Mutex::default(),
            cache_control: Mutex::default(),
            requests: Mutex::default(),
        };
        issuer.publish(keys);
        Arc::new(issuer)
    }

    /// Changes the JWKS to these keys.
    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        *self.jwks.lock().unwrap() = json!({ "keys": keys });
    }

    pub(crate) fn feels(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// How often it was asked for its keys.
    pub(crate) fn asked(&self) -> usize {
        self.asked_for(&format!("{}/jwks", self.url))
    }

    /// How often it was asked for that.
    pub(crate) fn asked_for(&self, url: &str) -> usize {
        self.requests.lock().unwrap().get(url).copied().unwrap_or(0)
    }

    /// What it was ever asked for.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.requests.lock().unwrap().keys().cloned().collect()
    }

    pub(crate) fn http(self: &Arc<Self>) -> HttpClient {
        let issuer = Arc::clone(self);
        HttpClient::new(move |request, _limit| {
            let issuer = Arc::clone(&issuer);
            async move { issuer.answer(&request).await }.boxed()
        })
    }

    /// Rules as a hub has them by default.
    pub(crate) fn rules(self: &Arc<Self>) -> IssuerRules {
        IssuerRules {
            url: self.url.parse().unwrap(),
            audiences: [CLIENT.to_owned()].into(),
            authorized_parties: [CLIENT.to_owned()].into(),
            algorithms: Algorithm::DEFAULT.to_vec(),
            user_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            http: self.http(),
        }
    }

    /// A judge of this issuer's tokens alone.
    pub(crate) fn verifier(self: &Arc<Self>) -> Arc<Verifier> {
        judge(&self.clock, vec![self.rules()])
    }

    /// Claims of a good token.
    pub(crate) fn claims(&self) -> Value {
        let now = self.clock.seconds();
        json!({
            "iss": self.url, "sub": "alice", "aud": CLIENT, "iat": now, "exp": now + 300,
            "preferred_username": "alice", "groups": ["dev", "ops"],
        })
    }

    async fn answer(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let url = request.uri().to_string();
        *self
            .requests
            .lock()
            .unwrap()
            .entry(url.clone())
            .or_default() += 1;
        let discovery = url.ends_with("/.well-known/openid-configuration");
        let mood = self.mood.lock().unwrap().clone();
        match mood {
            Mood::Answers(status, text) => {
                return Ok(Response::builder()
                    .status(status)
                    .body(text.into())
                    .unwrap());
            }
            Mood::Down => {
                let cause = "connection refused".to_owned();
                return Err(HttpError { url, cause });
            }
            Mood::Silent => std::future::pending::<()>().await,
            Mood::Gated if discovery => self.gate.acquire().await.unwrap().forget(),
            Mood::Huge if !discovery => {
                return Ok(Response::new(vec![b' '; 64 << 20].into()));
            }
            Mood::Fine | Mood::Gated | Mood::Huge => {}
        }
        let body = if discovery {
            let mut document = json!({
                "issuer": self.url, "jwks_uri": format!("{}/jwks", self.url),
                "authorization_endpoint": format!("{}/authorize", self.url),
            });
            for (name, value) in self.discovery.lock().unwrap().as_object().unwrap() {
                document[name] = value.clone();
            }
            document
        } else {
            self.jwks.lock().unwrap().clone()
        };
        let mut response = Response::new(body.to_string().into());
        if let Some(value) = self.cache_control.lock().unwrap().as_deref() {
            response
                .headers_mut()
                .insert("cache-control", value.parse().unwrap());
        }
        Ok(response)
    }
}

/// A judge of several issuers' tokens.
pub(crate) fn judge(clock: &Clock, rules: Vec<IssuerRules>) -> Arc<Verifier> {
    let clock = clock.clone();
    Arc::new(Verifier::new(rules, move || clock.now()))
}

/// One issuer with one ES256 key, and a judge of its tokens.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) key: SigningKey,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) verifier: Arc<Verifier>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Algorithm::Es256)
    }

    pub(crate) fn with(algorithm: Algorithm) -> Self {
        let clock = Clock::new();
        let key = SigningKey::new(algorithm, "k1");
        let issuer = Issuer::new("https://id.example/realms/main", &clock, &[&key]);
        let verifier = issuer.verifier();
        Self {
            clock,
            key,
            issuer,
            verifier,
        }
    }

    /// A good token.
    pub(crate) fn good(&self) -> String {
        self.token(&self.issuer.claims())
    }

    /// A properly signed token with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.key
            .token(&self.header().to_string(), &claims.to_string())
    }

    /// A good token but for one claim; `null` leaves it out.
    pub(crate) fn with_claim(&self, name: &str, value: Value) -> String {
        let mut claims = self.issuer.claims();
        match value {
            Value::Null => {
                claims.as_object_mut().unwrap().remove(name);
            }
            value => claims[name] = value,
        }
        self.token(&claims)
    }

    /// A properly signed token with this header.
    pub(crate) fn with_header(&self, name: &str, value: Value) -> String {
        let mut header = self.header();
        header[name] = value;
        self.key
            .token(&header.to_string(), &self.issuer.claims().to_string())
    }

    pub(crate) fn header(&self) -> Value {
        let algorithm = match &self.key.kind {
            Kind::Ed(_) => "EdDSA",
            Kind::P256(_) => "ES256",
            Kind::P384(_) => "ES384",
            Kind::Rsa(_, _) => "RS256",
        };
        json!({"alg": algorithm, "kid": self.key.kid, "typ": "JWT"})
    }

    pub(crate) async fn verify(&self, token: &str) -> Result<Arc<Verified>, VerifyError> {
        self.verifier.verify(token).await
    }

    /// That a token is refused for this reason; the error's words.
    pub(crate) async fn refused(&self, token: &str, reason: &str) -> String {
        refused(&self.verifier, token, reason).await
    }
}

/// That a token is refused for this reason, in words that neither repeat it nor could do harm; these words.
pub(crate) async fn refused(verifier: &Verifier, token: &str, reason: &str) -> String {
    let error = verifier.verify(token).await.unwrap_err();
    assert_eq!(error.reason(), reason, "{error}");
    let words = error.to_string();
    assert!(
        words.len() < 1500 && !words.chars().any(char::is_control),
        "{words:?}"
    );
    if let Some((_, signature)) = token.rsplit_once('.').filter(|(_, part)| part.len() > 20) {
        assert!(!words.contains(signature), "{words}");
    }
    words
}
