//! What a client may ask for.

use super::*;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn what_is_not_offered_is_not_asked_for() {
    let wanted = texts(&["openid", "profile", "groups", "profile", "offline_access"]);
    assert_eq!(
        scopes(
            &wanted,
            Some(&texts(&["openid", "offline_access", "profile"]))
        ),
        ["openid", "profile", "offline_access"]
    );
    assert_eq!(
        scopes(&wanted, None),
        ["openid", "profile", "groups", "offline_access"]
    );
    assert_eq!(scopes(&[], Some(&[])), ["openid"]);
}
