//! What must hold for any text as a token or a body. Shared by the fuzz target and the test that runs
//! its corpus.

use kedge_api::assertion::{claimed_server, verify, verify_enrolment};
use kedge_api::rest::{AgentReport, Enrollment};
use kedge_api::{
    AccessPolicy, AgentKey, HubId, JoinToken, JoinTokenSecret, PersonToken, Server, TokenHash,
    decode,
};

/// Reads the text as every token and every body: nothing panics, no assertion verifies that our key
/// did not sign, and no error repeats a secret.
pub(crate) fn tokens(text: &str) {
    match text.parse::<JoinTokenSecret>() {
        Ok(token) => {
            assert_eq!(token.reveal(), text);
            assert!(token.verify(&TokenHash::of(text)));
            assert!(!format!("{token:?}").contains(&text[16..]));
        }
        Err(error) => assert_eq!(
            error.to_string(),
            "not a join token: expected `kjt_<name>_<43 characters>`"
        ),
    }
    if let Ok(token) = text.parse::<PersonToken>() {
        assert_eq!(token.reveal(), text);
        assert!(token.verify(&TokenHash::of(text)));
    }
    if let Ok(hash) = text.parse::<TokenHash>() {
        assert_eq!(hash.to_string(), text);
    }

    // Nobody has this key, so nothing may verify.
    let seed = kedge_api::random::bytes().expect("randomness");
    let key = AgentKey::from_seed(&seed).expect("a key").public_key();
    let (hub, now) = (
        HubId::from_bytes([0; 16]),
        "2026-01-01T12:00:00Z".parse().expect("a time"),
    );
    assert!(verify(text, &key, &hub, now).is_err());
    if let Ok(server) = claimed_server(text) {
        assert!(verify_enrolment(text, &key, &hub, &server, &TokenHash::of(""), now).is_err());
    }

    let bytes = text.as_bytes();
    harmless(decode::object::<Server>(bytes, None));
    harmless(decode::object::<AccessPolicy>(bytes, None));
    harmless(decode::object::<JoinToken>(bytes, None));
    harmless(decode::body::<Enrollment>(bytes));
    harmless(decode::body::<AgentReport>(bytes));
}

fn harmless<T>(result: Result<T, kedge_api::Status>) {
    if let Err(status) = result {
        assert!(
            !status.message.chars().any(char::is_control),
            "{:?}",
            status.message
        );
        assert!(matches!(status.code, 400 | 413 | 422), "{}", status.code);
    }
}
