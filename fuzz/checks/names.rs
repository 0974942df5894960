//! What must hold for any text as a name. Shared by the fuzz target and the test that runs its corpus.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use kedge_api::{
    Fingerprint, Group, HostKey, HubId, HubName, HubUrl, LabelKey, LabelSelector, LabelValue, Line,
    Login, Namespace, ObjectName, ResourceVersion, SecretDataKey, SecretName, ServerName,
    ServerOffer, SessionId, Subject, Suffix, Time, Uid,
};

/// Parses the text as everything: nothing panics, what is accepted is written as it was meant, and no
/// error can hurt a terminal.
pub(crate) fn names(text: &str) {
    harmless(check::<ServerName>(text));
    harmless(check::<ObjectName>(text));
    harmless(check::<Suffix>(text));
    harmless(check::<HubName>(text));
    harmless(check::<Namespace>(text));
    harmless(check::<SecretName>(text));
    harmless(check::<Login>(text));
    harmless(check::<SessionId>(text));
    harmless(check::<HubId>(text));
    harmless(check::<Uid>(text));
    harmless(check::<ResourceVersion>(text));
    one_line(check::<LabelKey>(text));
    one_line(check::<LabelValue>(text));
    one_line(check::<LabelSelector>(text));
    one_line(check::<SecretDataKey>(text));
    one_line(check::<ServerOffer>(text));
    one_line(check::<Subject>(text));
    one_line(check::<Group>(text));
    one_line(check::<Line>(text));
    one_line(check::<HubUrl>(text));
    one_line(check::<HostKey>(text));
    one_line(check::<Fingerprint>(text));
    one_line(check::<Time>(text));
}

fn check<T>(text: &str) -> Option<T>
where
    T: FromStr + Display + Debug + PartialEq,
    T::Err: Display + Debug,
{
    match text.parse::<T>() {
        Ok(value) => {
            assert_eq!(
                value
                    .to_string()
                    .parse::<T>()
                    .expect("what is shown is legal"),
                value
            );
            Some(value)
        }
        Err(error) => {
            // Time is of another crate's making, and so are its errors.
            let ours = std::any::type_name::<T::Err>().starts_with("kedge");
            let shown = error.to_string();
            assert!(!ours || !shown.chars().any(char::is_control), "{shown:?}");
            assert!(
                !ours || shown.len() < 2048,
                "{} bytes of error",
                shown.len()
            );
            None
        }
    }
}

/// No option, no path, no blank, nothing a shell or ssh would read anything into.
fn harmless(value: Option<impl Display>) {
    let Some(value) = value else { return };
    let text = value.to_string();
    assert!(
        !text.starts_with('-') && !text.starts_with('.') && !text.is_empty(),
        "{text:?}"
    );
    let plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
    assert!(text.chars().all(plain), "{text:?}");
}

fn one_line(value: Option<impl Display>) {
    if let Some(value) = value {
        let text = value.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}
