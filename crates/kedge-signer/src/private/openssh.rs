//! OpenSSH's own format (PROTOCOL.key).
//!
//! ```text
//! "openssh-key-v1\0"
//! string  cipher         string  kdf          string  kdf options
//! uint32  number of keys
//! string  public key     string  private keys, of a multiple of the cipher's block
//!
//! private keys: uint32 check, uint32 the same check, (string type, fields, string comment)*, 1 2 3 …
//! ```

use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use zeroize::Zeroizing;

use super::remainder::remainder;
use super::{KeyError, PrivateKey, check_rsa_size, ecdsa_algorithm};
use crate::public::Curve;
use crate::wire::Fields;

pub(super) fn parse(contents: &[u8]) -> Result<PrivateKey, KeyError> {
    let malformed = |problem| KeyError::Malformed { problem };
    let mut outer = Fields::new(contents);
    outer
        .literal(MAGIC)
        .ok_or(malformed("it does not begin as OpenSSH's format does"))?;
    let (cipher, kdf, options) = (outer.string()?, outer.string()?, outer.string()?);
    if (cipher, kdf) != (NONE, NONE) {
        return Err(KeyError::Encrypted);
    }
    if !options.is_empty() {
        return Err(malformed("it is not encrypted, and says how it is"));
    }
    match outer.number()? {
        0 => return Err(malformed("no key is in it")),
        1 => {}
        _ => return Err(KeyError::Several),
    }
    let (public, private) = (outer.string()?, outer.string()?);
    outer.end()?;

    let mut inner = Fields::new(private);
    if inner.number()? != inner.number()? {
        return Err(malformed("its two checks differ"));
    }
    let key = fields(&mut inner)?;
    let _comment = inner.string()?;
    if !inner
        .rest()
        .iter()
        .zip(1_u8..)
        .all(|(byte, at)| *byte == at)
        || inner.rest().len() >= BLOCK_BYTES_MAX
    {
        return Err(malformed("its padding is not as it should be"));
    }
    match key.public().blob() == public {
        true => Ok(key),
        false => Err(KeyError::Inconsistent),
    }
}

fn fields(inner: &mut Fields<'_>) -> Result<PrivateKey, KeyError> {
    let kind = inner.string()?;
    if kind.starts_with(b"sk-") {
        return Err(KeyError::SecurityKey);
    }
    if kind.ends_with(b"-cert-v01@openssh.com") {
        return Err(KeyError::Certificate);
    }
    match kind {
        b"ssh-ed25519" => ed25519(inner),
        b"ecdsa-sha2-nistp256" => ecdsa(Curve::P256, inner),
        b"ecdsa-sha2-nistp384" => ecdsa(Curve::P384, inner),
        b"ecdsa-sha2-nistp521" => ecdsa(Curve::P521, inner),
        b"ssh-rsa" => rsa(inner),
        b"ssh-dss" => Err(KeyError::Algorithm { name: "DSA" }),
        b"ssh-xmss@openssh.com" => Err(KeyError::Algorithm { name: "XMSS" }),
        // Not its name: what stands there may be anything.
        _ => Err(KeyError::Algorithm { name: "unknown" }),
    }
}

fn ed25519(inner: &mut Fields<'_>) -> Result<PrivateKey, KeyError> {
    let public = inner.string()?;
    let private = inner.string()?;
    let seed_and_public = private.split_at_checked(32);
    let Some((seed, again)) = seed_and_public.filter(|(_, again)| again.len() == 32) else {
        return Err(KeyError::Malformed {
            problem: "an Ed25519 key of another length",
        });
    };
    if again != public {
        return Err(KeyError::Inconsistent);
    }
    let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public)
        .map_err(|_| KeyError::Inconsistent)?;
    Ok(PrivateKey::ed25519(pair))
}

fn ecdsa(curve: Curve, inner: &mut Fields<'_>) -> Result<PrivateKey, KeyError> {
    if inner.string()? != curve.name().as_bytes() {
        return Err(KeyError::Malformed {
            problem: "the curve is another than its kind says",
        });
    }
    let point = inner.string()?;
    let scalar = inner.positive()?;
    let zeros = curve.width().checked_sub(scalar.len());
    let zeros = zeros.ok_or(KeyError::Malformed {
        problem: "a number is too large for its curve",
    })?;
    let mut fixed = Zeroizing::new(Vec::with_capacity(curve.width()));
    fixed.resize(zeros, 0);
    fixed.extend_from_slice(scalar);
    let algorithm = ecdsa_algorithm(curve);
    let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &fixed, point)
        .map_err(|_| KeyError::Inconsistent)?;
    Ok(PrivateKey::ecdsa(curve, pair))
}

fn rsa(inner: &mut Fields<'_>) -> Result<PrivateKey, KeyError> {
    let n = inner.positive()?;
    let e = inner.positive()?;
    let d = inner.positive()?;
    let coefficient = inner.positive()?;
    let p = inner.positive()?;
    let q = inner.positive()?;
    check_rsa_size(n)?;
    // What follows takes time by the lengths.
    if [e, d, coefficient, p, q]
        .iter()
        .any(|number| number.len() > n.len())
    {
        return Err(KeyError::Inconsistent);
    }
    // OpenSSH leaves out the exponents of the two primes; they follow from the others.
    let exponent_p = remainder(d, &before(p));
    let exponent_q = remainder(d, &before(q));
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n, e },
        d,
        p,
        q,
        dP: exponent_p.as_slice(),
        dQ: exponent_q.as_slice(),
        qInv: coefficient,
    };
    let pair = RsaKeyPair::from_components(&components).map_err(|_| KeyError::Inconsistent)?;
    Ok(PrivateKey::rsa(pair, e, n))
}

/// One less than an odd number, as primes of RSA keys are. Of an even one it is the number itself, and the key will not
/// hold.
fn before(prime: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut less = Zeroizing::new(prime.to_vec());
    if let Some(last) = less.last_mut() {
        *last &= !1;
    }
    less
}

const MAGIC: &[u8] = b"openssh-key-v1\0";
const NONE: &[u8] = b"none";
/// Bytes of padding are fewer than a block has; the largest block of any cipher of OpenSSH has 16, and 8 without one.
const BLOCK_BYTES_MAX: usize = 16;
