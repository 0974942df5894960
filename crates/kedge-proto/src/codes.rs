//! Why a stream was refused or reset: small numbers on the wire, unknown ones kept.

use std::fmt;

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal, $words:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// A code of a newer peer.
            Unknown(u64),
        }

        impl $name {
            /// Every code this version knows.
            pub const KNOWN: &[Self] = &[$(Self::$variant,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn value(self) -> u64 {
                match self {
                    $(Self::$variant => $number,)*
                    Self::Unknown(value) => value,
                }
            }

            /// Reads the number on the wire; those of newer peers become `Unknown`.
            #[must_use]
            pub const fn from_value(value: u64) -> Self {
                match value {
                    $($number => Self::$variant,)*
                    value => Self::Unknown(value),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($words),)*
                    Self::Unknown(value) => write!(f, "code {value}"),
                }
            }
        }
    };
}

codes! {
    /// Why OPEN or RESUME was answered with REFUSED.
    RefuseCode {
        /// The request itself is wrong: a name that is none, an attribute that is missing.
        BadRequest = 1, "bad request";
        /// No policy allows it.
        Denied = 2, "denied";
        /// The other end is going away; another one may take it.
        Draining = 3, "draining";
        /// The server's host keys changed and nobody has accepted the new ones.
        HostKeyChanged = 4, "host key changed";
        /// Not the asker's fault.
        Internal = 5, "internal error";
        /// No such server.
        NotFound = 6, "not found";
        /// The server is known but its agent is not connected.
        Offline = 7, "offline";
        /// No such stream to resume, or the proof is wrong; which of both is not said.
        ResumeRejected = 8, "resume rejected";
        /// The agent is there, its target is not.
        TargetUnreachable = 9, "target unreachable";
        /// The link carries as many streams as it may.
        TooManyStreams = 10, "too many streams";
        /// Whoever asks is not known.
        Unauthenticated = 11, "unauthenticated";
        /// The key that the server is reached with cannot be used.
        CredentialsUnavailable = 12, "credentials unavailable";
    }
}

codes! {
    /// Why a stream ended before both directions were finished.
    ResetCode {
        /// The end that had it does not want it any more.
        Cancelled = 1, "cancelled";
        /// Detached or left behind for too long.
        Expired = 2, "expired";
        /// More was sent than the credit allows.
        FlowControl = 3, "flow control violated";
        /// Not the peer's fault.
        Internal = 4, "internal error";
        /// The link to the other end is gone.
        LinkLost = 5, "link lost";
        /// The stream's frames made no sense.
        Protocol = 6, "protocol violated";
        /// What allowed it was taken back.
        Revoked = 7, "revoked";
        /// The end that had it shuts down.
        ShuttingDown = 8, "shutting down";
        /// The target broke its connection.
        TargetReset = 9, "target reset";
        /// The target accepted and said nothing.
        TargetSilent = 10, "target silent";
        /// The session was as long as it may be.
        MaxAge = 11, "maximum age reached";
        /// Somebody who may do so ended the session; the text says who.
        Killed = 12, "ended by somebody";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stable_and_unknown_ones_are_kept() {
        let refuse: Vec<_> = RefuseCode::KNOWN.iter().map(|code| code.value()).collect();
        assert_eq!(refuse, (1..=12).collect::<Vec<_>>());
        let reset: Vec<_> = ResetCode::KNOWN.iter().map(|code| code.value()).collect();
        assert_eq!(reset, (1..=12).collect::<Vec<_>>());
        for value in 0..20 {
            assert_eq!(RefuseCode::from_value(value).value(), value);
            assert_eq!(ResetCode::from_value(value).value(), value);
        }
        assert_eq!(ResetCode::from_value(77), ResetCode::Unknown(77));
    }
}
