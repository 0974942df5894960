//! The kinds of audit events, each with the id by which the journal finds all of its kind (`MESSAGE_ID`,
//! `systemd.journal-fields(7)`). An id never changes, and never comes to mean anything else.

/// A kind of event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kind {
    /// What happened, for programs.
    pub name: &'static str,
    /// 128 bits in hexadecimal digits, as `systemd-id128 new` makes them.
    pub id: &'static str,
}

/// Defines each kind, and the list of all.
macro_rules! kinds {
    ($($(#[$meaning:meta])* $constant:ident = $name:literal, $id:literal;)*) => {
        $(
            $(#[$meaning])*
            pub const $constant: Kind = Kind { name: $name, id: $id };
        )*

        /// Every kind.
        pub const KINDS: &[Kind] = &[$($constant),*];
    };
}

kinds! {
    /// A person or an agent did not prove who they are.
    AUTHENTICATION_REFUSED = "authentication.refused", "d6daa651594d4805a6e70552f56662a8";
    /// An agent became a server.
    ENROLMENT_ACCEPTED = "enrolment.accepted", "8495e004eb30493e8b2e4dc177073726";
    /// An agent did not become a server.
    ENROLMENT_REFUSED = "enrolment.refused", "0675ecd8af5e4de4ae20575945f5f948";
    /// An operator accepted host keys.
    HOST_KEYS_ACCEPTED = "hostkeys.accepted", "eca98beef827499aa9ca27107f0cbafa";
    /// An agent reported host keys that nobody accepted.
    HOST_KEYS_CHANGED = "hostkeys.changed", "52a383c02b084da5a93bd5b4c4df9055";
    /// Somebody made an object.
    OBJECT_CREATED = "object.created", "fb8e302c32cf471d879e2b934a1cae55";
    /// Somebody took an object away.
    OBJECT_DELETED = "object.deleted", "1c9b9f4cb9154c0b873ff2a04cf3a466";
    /// Somebody tried to change what they may not.
    OBJECT_REFUSED = "object.refused", "7d9d43c5368e4b06982f70d57dcf0e07";
    /// Somebody changed an object.
    OBJECT_UPDATED = "object.updated", "a55f66950857497882661aa9ce6bbf87";
    /// A session ended.
    SESSION_CLOSED = "session.closed", "a47553cc6c614698b6a7d73b24cf6b84";
    /// Somebody ended a session.
    SESSION_KILLED = "session.killed", "9db95e73ecc64b318b1f8a956e9fe3f8";
    /// A session began.
    SESSION_OPENED = "session.opened", "178b589622f44bf090273ac5c8a08376";
    /// A session was refused.
    SESSION_REFUSED = "session.refused", "4b399567cfc74fc5abdf7ff297c8132f";
    /// The hub signed with a server's key.
    SIGNATURE_MADE = "signature.made", "ab84211071c0421fbfbb8abc02706bd6";
    /// The hub was asked for a signature, or for the key, and did not give it.
    SIGNATURE_REFUSED = "signature.refused", "b2fde731b9bd4778861d1f00238de0a8";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_kind_has_an_id_of_its_own() {
        let ids: BTreeSet<_> = KINDS.iter().map(|kind| kind.id).collect();
        let names: BTreeSet<_> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!((ids.len(), names.len()), (KINDS.len(), KINDS.len()));
        for id in ids {
            let plain = id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            assert!(id.len() == 32 && plain, "{id}");
        }
    }
}
