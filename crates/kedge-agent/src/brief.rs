//! Why the hub was not reached, in few words: they stand beside its name in a line of `systemctl status`.

use kedge_service::report;
use kedge_tunnel::DialError;

use crate::hub::HubError;

/// `connection refused`, where [`report::chain`] would name the address three times.
pub(crate) fn cause(error: &HubError) -> String {
    match error {
        HubError::Dial(DialError::Connect { attempts, .. }) => {
            let mut causes: Vec<String> = Vec::new();
            for attempt in attempts {
                let cause = plain(&attempt.cause);
                if !causes.contains(&cause) {
                    causes.push(cause);
                }
            }
            match causes.is_empty() {
                true => report::chain(error),
                false => causes.join(", "),
            }
        }
        _ => report::chain(error),
    }
}

/// `Connection refused (os error 111)` as part of a sentence.
fn plain(cause: &str) -> String {
    let words = cause.split(" (os error").next().unwrap_or(cause);
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => cause.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kedge_tunnel::dial::Attempt;

    #[test]
    fn each_cause_is_said_once() {
        let attempt = |port, cause: &str| Attempt {
            address: ([127, 0, 0, 1], port).into(),
            cause: cause.to_owned(),
        };
        let error = |attempts| {
            HubError::Dial(DialError::Connect {
                to: "hub:8443".to_owned(),
                attempts,
            })
        };
        let refused = "Connection refused (os error 111)";
        let both = error(vec![attempt(1, refused), attempt(2, refused)]);
        assert_eq!(cause(&both), "connection refused");
        let each = error(vec![
            attempt(1, refused),
            attempt(2, "no answer within 5 s"),
        ]);
        assert_eq!(cause(&each), "connection refused, no answer within 5 s");
        assert_eq!(
            cause(&error(Vec::new())),
            "cannot connect to hub:8443: it has no address"
        );
    }
}
