//! Who somebody is, by OpenID Connect.
//!
//! It is: the one judge of ID tokens ([`Verifier`]), with the keys of the issuers that it believes; and, behind the
//! feature `login`, the ways to get such a token (`login`).
//!
//! It is not: a policy, a mapping to unix users, a place where tokens are kept, or an HTTP client: requests go
//! through a function that the caller brings ([`HttpClient`]).
//!
//! ```text
//!  token ──▶ seen lately? ──yes──────────────────────────────────────────▶ Verified
//!                │ no                                                         ▲
//!                ▼                                                            │
//!      parts ──▶ issuer's rules ──▶ claims: kind, audience, times ──▶ key ──▶ signature
//!      (strict)  (by exact `iss`)                                      ▲
//!                                                                      │ kept per issuer, fetched
//!                       discovery ──▶ JWKS ────────────────────────────┘ by one request at a time
//! ```
//!
//! Nothing that a token says about keys or algorithms is believed: the configuration lists the algorithms, and the
//! issuer's own documents the keys.

mod claims;
pub mod defaults;
mod error;
mod fetch;
mod health;
mod http;
mod json;
mod keys;
#[cfg(feature = "login")]
pub mod login;
mod rules;
mod snapshot;
mod source;
mod token;
mod unverified;
mod verdicts;
mod verified;
mod verifier;

pub use error::VerifyError;
pub use health::{IssuerHealth, IssuerState};
pub use http::{HttpClient, HttpError};
pub use rules::{Algorithm, AlgorithmError, IssuerRules};
pub use snapshot::{KeySnapshot, SavedKeys};
pub use unverified::{looks_like_jwt, unverified_expiry, unverified_issuer};
pub use verified::Verified;
pub use verifier::Verifier;
