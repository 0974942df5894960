//! Who somebody is, by OpenID Connect.
//!
//! It is: the one judge of ID tokens ([`Verifier`]), with the keys of the issuers that it believes; and, behind the
//! feature `login`, the ways to get such a token (`login`).
//!
//! It is not: a policy, a mapping to unix users, a place where tokens are kept, or an HTTP client: requests go
//! through a function that the caller brings ([`HttpClient`]).

mod error;
mod health;
mod http;
#[cfg(feature = "login")]
pub mod login;
mod rules;
mod verifier;

pub use error::VerifyError;
pub use health::{IssuerHealth, IssuerState};
pub use http::{HttpClient, HttpError};
pub use rules::{Algorithm, AlgorithmError, IssuerRules};
pub use verifier::{Verified, Verifier};
