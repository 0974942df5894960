//! The public keys of an issuer: its JWKS (RFC 7517 §5), and which of them fits a token.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use kedge_api::Time;
use serde_json::{Map, Value};

use crate::defaults::{JWKS_MAX_KEYS, KEY_ID_MAX_BYTES, RSA_MAX_BITS, RSA_MIN_BITS};
use crate::rules::Algorithm;

/// One public key that is fit for signatures.
pub(crate) struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
    fingerprint: Fingerprint,
}

/// SHA-256 over all that the JWKS says about a key and that matters.
pub(crate) type Fingerprint = [u8; 32];

impl Key {
    /// What it is remembered by: another key, or the same for another use, has another.
    pub(crate) fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Whether it made this signature (base64url) over this text, by this algorithm.
    pub(crate) fn verify(&self, algorithm: Algorithm, signed: &str, signature: &str) -> bool {
        let fits = self.algorithms.contains(&algorithm);
        let verdict = || {
            let algorithm = library_name(algorithm);
            jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &self.decoding, algorithm)
        };
        fits && verdict().unwrap_or(false)
    }

    /// The key in an entry of a JWKS, if it can verify what this crate lets be signed.
    fn read(entry: &Value) -> Option<Self> {
        let entry = entry.as_object()?;
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        // A private key that everybody can read proves nothing.
        let published = entry.contains_key("d") || entry.contains_key("k");
        let other_use = entry.contains_key("use") && text("use") != Some("sig");
        if published || other_use || !may_verify(entry.get("key_ops")) {
            return None;
        }
        let id = match entry.get("kid") {
            None => None,
            Some(Value::String(id)) if id.len() <= KEY_ID_MAX_BYTES => Some(id.clone()),
            Some(_) => return None,
        };
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let (material, decoding, mut algorithms) = match text("kty")? {
            "RSA" => rsa(bytes("n")?, bytes("e")?)?,
            "EC" => elliptic(text("crv")?, &bytes("x")?, &bytes("y")?)?,
            "OKP" => edwards(text("crv")?, bytes("x")?)?,
            _ => return None,
        };
        if let Some(named) = entry.get("alg") {
            let named: Algorithm = named.as_str()?.parse().ok()?;
            algorithms.retain(|algorithm| *algorithm == named);
        }
        if algorithms.is_empty() {
            return None;
        }
        let fingerprint = fingerprint(id.as_deref(), &algorithms, &material);
        Some(Self {
            id,
            algorithms,
            decoding,
            fingerprint,
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, {:?})", self.id, self.algorithms)
    }
}

/// All keys of one issuer, as of one fetch.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Vec<Arc<Key>>,
    fingerprints: BTreeSet<Fingerprint>,
    skipped: usize,
    document: Map<String, Value>,
    fetched_at: Time,
}

/// Which key fits a token.
#[derive(Debug)]
pub(crate) enum Fit {
    /// This one.
    Key(Arc<Key>),
    /// Keys are there that the token could mean, but none that it certainly means: asking again helps nobody.
    Never,
    /// None; the issuer may have a new one.
    NotYet,
}

impl KeySet {
    /// The keys in a JWKS. One that is of no use here is skipped, as RFC 7517 §5 wants it.
    ///
    /// # Errors
    /// What is wrong with the document, as the end of a sentence that begins with it.
    pub(crate) fn read(document: Map<String, Value>, fetched_at: Time) -> Result<Self, String> {
        let Some(Value::Array(entries)) = document.get("keys") else {
            return Err("has no list `keys`".to_owned());
        };
        if entries.len() > JWKS_MAX_KEYS {
            let found = entries.len();
            return Err(format!(
                "has {found} keys, at most {JWKS_MAX_KEYS} are taken"
            ));
        }
        let keys: Vec<_> = entries.iter().filter_map(Key::read).map(Arc::new).collect();
        if keys.is_empty() {
            let found = entries.len();
            return Err(format!(
                "has {found} keys, and none for signatures that kedge knows"
            ));
        }
        Ok(Self {
            fingerprints: keys.iter().map(|key| key.fingerprint).collect(),
            skipped: entries.len() - keys.len(),
            keys,
            document,
            fetched_at,
        })
    }

    /// Which key a token with this `kid` and `alg` is signed with.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Fit {
        let named = |key: &&Arc<Key>| id.is_none() || key.id.as_deref() == id;
        let fits = |key: &&Arc<Key>| key.algorithms.contains(&algorithm);
        let mut fitting = self.keys.iter().filter(named).filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Fit::Key(Arc::clone(key)),
            (Some(_), Some(_)) => Fit::Never,
            (None, _) if id.is_some() && self.keys.iter().any(|key| named(&key)) => Fit::Never,
            (None, _) => Fit::NotYet,
        }
    }

    /// Whether this very key is among them.
    pub(crate) fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.fingerprints.contains(fingerprint)
    }

    /// Whether both have the same keys.
    pub(crate) fn same_keys(&self, other: &Self) -> bool {
        self.fingerprints == other.fingerprints
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// How many entries of the document were of no use.
    pub(crate) fn skipped(&self) -> usize {
        self.skipped
    }

    /// The JWKS as it came.
    pub(crate) fn document(&self) -> &Map<String, Value> {
        &self.document
    }

    /// When it came.
    pub(crate) fn fetched_at(&self) -> Time {
        self.fetched_at
    }
}

/// RFC 7517 §4.3: a key that lists its operations must list this one.
fn may_verify(operations: Option<&Value>) -> bool {
    match operations {
        None => true,
        Some(Value::Array(list)) => list.iter().any(|operation| operation == "verify"),
        Some(_) => false,
    }
}

type Material = (Vec<u8>, DecodingKey, Vec<Algorithm>);

fn rsa(modulus: Vec<u8>, exponent: Vec<u8>) -> Option<Material> {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let modulus = modulus.get(zeros..)?;
    let first = modulus.first()?;
    let bits = modulus.len().checked_mul(8)? - first.leading_zeros() as usize;
    let sound_exponent = exponent.len() <= RSA_EXPONENT_MAX_BYTES
        && exponent.last().is_some_and(|last| last % 2 == 1)
        && exponent.as_slice() != [1];
    if !(RSA_MIN_BITS..=RSA_MAX_BITS).contains(&bits) || !sound_exponent {
        return None;
    }
    let decoding = DecodingKey::from_rsa_raw_components(modulus, &exponent);
    let algorithms = vec![
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
    ];
    Some(([modulus, &exponent].concat(), decoding, algorithms))
}

fn elliptic(curve: &str, x: &[u8], y: &[u8]) -> Option<Material> {
    let (width, algorithm, parser): (_, _, &'static dyn VerificationAlgorithm) = match curve {
        "P-256" => (32, Algorithm::Es256, &ECDSA_P256_SHA256_FIXED),
        "P-384" => (48, Algorithm::Es384, &ECDSA_P384_SHA384_FIXED),
        _ => return None,
    };
    if x.len() != width || y.len() != width {
        return None;
    }
    let point = [&[UNCOMPRESSED_POINT], x, y].concat();
    // A point that is not on the curve is no key.
    ParsedPublicKey::new(parser, &point).ok()?;
    let decoding = DecodingKey::from_ec_der(&point);
    Some((point, decoding, vec![algorithm]))
}

fn edwards(curve: &str, x: Vec<u8>) -> Option<Material> {
    if curve != "Ed25519" || x.len() != ED25519_KEY_BYTES {
        return None;
    }
    let decoding = DecodingKey::from_ed_der(&x);
    Some((x, decoding, vec![Algorithm::EdDsa]))
}

fn fingerprint(id: Option<&str>, algorithms: &[Algorithm], material: &[u8]) -> Fingerprint {
    let mut context = digest::Context::new(&digest::SHA256);
    let names: Vec<_> = algorithms
        .iter()
        .map(|algorithm| algorithm.as_str())
        .collect();
    // With their lengths, so that no two lists of parts are one text.
    for part in [
        id.unwrap_or_default().as_bytes(),
        names.join(" ").as_bytes(),
        material,
    ] {
        context.update(&part.len().to_le_bytes());
        context.update(part);
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}

fn library_name(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::Es384 => jsonwebtoken::Algorithm::ES384,
        Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::Ps384 => jsonwebtoken::Algorithm::PS384,
        Algorithm::Ps512 => jsonwebtoken::Algorithm::PS512,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::Rs384 => jsonwebtoken::Algorithm::RS384,
        Algorithm::Rs512 => jsonwebtoken::Algorithm::RS512,
    }
}

const UNCOMPRESSED_POINT: u8 = 4;
const ED25519_KEY_BYTES: usize = 32;
/// What the library takes; everybody uses 65537, in three.
const RSA_EXPONENT_MAX_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(jwk: Value) -> Key {
        Key::read(&jwk).unwrap()
    }

    /// That this key made this token's signature, and none that differs in one bit.
    fn check(key: &Key, algorithm: Algorithm, token: &str) {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        assert!(key.verify(algorithm, signed, signature));
        assert!(!key.verify(algorithm, &format!("{signed} "), signature));
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[0] ^= 1;
        assert!(!key.verify(algorithm, signed, &URL_SAFE_NO_PAD.encode(bytes)));
        for other in Algorithm::ALL
            .into_iter()
            .filter(|other| *other != algorithm)
        {
            assert!(!key.verify(other, signed, signature), "{other}");
        }
    }

    #[test]
    fn rfc_7515_appendix_a_2() {
        let key = read(json!({
            "kty": "RSA",
            "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddx\
                  HmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs\
                  D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSH\
                  SXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV\
                  MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8\
                  NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
            "e": "AQAB",
        }));
        let token = "eyJhbGciOiJSUzI1NiJ9.\
             eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
             cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
             cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7\
             AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4\
             BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K\
             0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv\
             hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrB\
             p0igcN_IoypGlUPQGe77Rw";
        check(&key, Algorithm::Rs256, token);
    }

    #[test]
    fn rfc_7515_appendix_a_3() {
        let key = read(json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }));
        let token = "eyJhbGciOiJFUzI1NiJ9.\
             eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
             cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
             DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA\
             pmWQxfKTUJqPP3-Kg6NU1Q";
        check(&key, Algorithm::Es256, token);
    }

    #[test]
    fn rfc_8037_appendix_a_4() {
        let key = read(json!({
            "kty": "OKP", "crv": "Ed25519",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        }));
        let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
             hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5B\
             hVsPt9g7sVvpAr_MuM0KAg";
        check(&key, Algorithm::EdDsa, token);
    }

    #[test]
    fn the_private_keys_of_the_rfcs_are_taken_for_what_they_are() {
        let key = json!({
            "kty": "OKP", "crv": "Ed25519",
            "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        });
        assert!(Key::read(&key).is_none());
    }

    #[test]
    fn a_fingerprint_tells_apart_what_matters() {
        let x = URL_SAFE_NO_PAD.encode([1; 32]);
        let base = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
        let with = |name: &str, value: &str| {
            let mut jwk = base.clone();
            jwk[name] = value.into();
            *read(jwk).fingerprint()
        };
        let same = *read(base.clone()).fingerprint();
        assert_eq!(same, with("alg", "EdDSA"));
        assert_ne!(same, with("kid", "k1"));
        assert_ne!(with("kid", "k2"), with("kid", "k1"));
        assert_ne!(same, with("x", &URL_SAFE_NO_PAD.encode([2; 32])));
    }
}
