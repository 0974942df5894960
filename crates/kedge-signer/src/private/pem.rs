//! The text around a private key (RFC 7468), read as forgivingly as it can be without a doubt about what is meant: blanks
//! and line ends may stand anywhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::KeyError;
use crate::defaults::KEY_FILE_BYTES;

/// What a block says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    OpenSsh,
    Pkcs1,
    Pkcs8,
    Sec1,
}

/// One block, decoded.
pub(super) struct Block {
    pub(super) label: Label,
    pub(super) contents: Zeroizing<Vec<u8>>,
}

/// The only block of a file that is a private key.
pub(super) fn only_block(file: &[u8]) -> Result<Block, KeyError> {
    if file.len() > KEY_FILE_BYTES {
        return Err(KeyError::TooLarge);
    }
    let file = file.trim_ascii();
    if file.is_empty() {
        return Err(KeyError::Empty);
    }
    if file.starts_with(BEGIN) && find(file, b"\\n").is_some() {
        // It went through something that writes strings as programs do.
        return Err(KeyError::Malformed {
            problem: "its line ends are written as a backslash and an n",
        });
    }
    let mut text = split(file)?;
    // `openssl ecparam -genkey` writes the curve before the key, which names it again.
    if text.label == b"EC PARAMETERS" {
        text = split(text.after)?;
    }
    let label = meaning(text.label)?;
    match text.after {
        [] => {}
        more if find(more, BEGIN).is_some() => return Err(KeyError::Several),
        _ => {
            return Err(KeyError::Malformed {
                problem: "something follows its end",
            });
        }
    }
    Ok(Block {
        label,
        contents: decode(text.body)?,
    })
}

/// The block at the beginning of a text, and what follows it.
struct Text<'t> {
    label: &'t [u8],
    body: &'t [u8],
    after: &'t [u8],
}

fn split(text: &[u8]) -> Result<Text<'_>, KeyError> {
    let malformed = |problem| KeyError::Malformed { problem };
    let Some(begun) = text.strip_prefix(BEGIN) else {
        return Err(no_block(text));
    };
    let (label, rest) = cut(begun, DASHES).ok_or(malformed("its first line has no end"))?;
    // The longest label that means anything has fewer; a file without line ends must not be taken for one.
    if label.len() > LABEL_BYTES || label.contains(&b'\n') {
        return Err(malformed("its first line has no end"));
    }
    let (body, ended) = cut(rest, END).ok_or(malformed("it has no end"))?;
    if find(body, BEGIN).is_some() {
        return Err(malformed("it has no end"));
    }
    let after = ended
        .strip_prefix(label)
        .and_then(|rest| rest.strip_prefix(DASHES))
        .ok_or(malformed("its last line does not fit its first"))?;
    Ok(Text {
        label,
        body,
        after: after.trim_ascii(),
    })
}

fn meaning(label: &[u8]) -> Result<Label, KeyError> {
    match label {
        b"OPENSSH PRIVATE KEY" => Ok(Label::OpenSsh),
        b"RSA PRIVATE KEY" => Ok(Label::Pkcs1),
        b"PRIVATE KEY" => Ok(Label::Pkcs8),
        b"EC PRIVATE KEY" => Ok(Label::Sec1),
        b"ENCRYPTED PRIVATE KEY" => Err(KeyError::Encrypted),
        b"DSA PRIVATE KEY" => Err(KeyError::Algorithm { name: "DSA" }),
        b"PUBLIC KEY" | b"RSA PUBLIC KEY" | b"EC PUBLIC KEY" | b"SSH2 PUBLIC KEY" => {
            Err(KeyError::PublicKey)
        }
        b"CERTIFICATE" | b"X509 CERTIFICATE" | b"TRUSTED CERTIFICATE" => Err(KeyError::Certificate),
        _ => Err(KeyError::NotAKey),
    }
}

/// What a text is that does not begin as PEM does.
fn no_block(text: &[u8]) -> KeyError {
    let word = text.split(u8::is_ascii_whitespace).next();
    if text.starts_with(b"PuTTY-User-Key-File-") {
        return KeyError::Foreign { program: "PuTTY" };
    }
    if text.starts_with(b"---- BEGIN SSH2 PUBLIC KEY ----") {
        return KeyError::PublicKey;
    }
    match word {
        Some(name) if name.ends_with(b"-cert-v01@openssh.com") => KeyError::Certificate,
        Some(
            b"ssh-ed25519"
            | b"ssh-rsa"
            | b"ssh-dss"
            | b"ecdsa-sha2-nistp256"
            | b"ecdsa-sha2-nistp384"
            | b"ecdsa-sha2-nistp521"
            | b"sk-ssh-ed25519@openssh.com"
            | b"sk-ecdsa-sha2-nistp256@openssh.com",
        ) => KeyError::PublicKey,
        _ if find(text, BEGIN).is_some() => KeyError::Malformed {
            problem: "something stands before its first line",
        },
        _ => KeyError::NotAKey,
    }
}

fn decode(body: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if body.contains(&b':') {
        // RFC 1421 headers: OpenSSL's old way to say how it is encrypted.
        return Err(match find(body, b"ENCRYPTED") {
            Some(_) => KeyError::Encrypted,
            None => KeyError::Malformed {
                problem: "it has headers",
            },
        });
    }
    // Both at their final size, so that no copy is left where they grew.
    let mut base64 = Zeroizing::new(Vec::with_capacity(body.len()));
    base64.extend(body.iter().filter(|byte| !byte.is_ascii_whitespace()));
    let mut contents = Zeroizing::new(vec![0; base64::decoded_len_estimate(base64.len())]);
    match STANDARD.decode_slice(base64.as_slice(), &mut contents) {
        Ok(length) if length > 0 => {
            contents.truncate(length);
            Ok(contents)
        }
        Ok(_) => Err(KeyError::Malformed {
            problem: "nothing is in it",
        }),
        Err(_) => Err(KeyError::Malformed {
            problem: "it is not base64",
        }),
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window == wanted)
}

/// What is before and after the first such text.
fn cut<'t>(text: &'t [u8], wanted: &[u8]) -> Option<(&'t [u8], &'t [u8])> {
    let at = find(text, wanted)?;
    Some((text.get(..at)?, text.get(at + wanted.len()..)?))
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
/// Bytes of the longest label that is looked at.
const LABEL_BYTES: usize = 64;
