//! The question about a session, put to the policies in one place: those who open one, those who look at a live one
//! again, and those who only want to know why, ask the same.

use std::net::IpAddr;

use kedge_api::{
    AccessPolicy, Login, LoginMapping, MappedLogin, Permission, Principal, Server, Time,
    login::LoginError,
    policy::{self, AccessRequest, Action, Decision},
};

/// May somebody open a session?
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who.
    pub principal: &'a Principal,
    /// Where.
    pub server: &'a Server,
    /// As whom; `None` leaves it to the mapping.
    pub login: Option<&'a Login>,
    /// To do what.
    pub permission: &'a Permission,
    /// From where, if that is known.
    pub source: Option<IpAddr>,
    /// When.
    pub now: Time,
    /// When the session began, of one that is looked at again.
    pub opened: Option<Time>,
    /// How many other sessions the person has; of a session that is looked at again, older ones.
    pub sessions: u32,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// As whom.
    pub login: MappedLogin,
    /// Whether, and why.
    pub decision: Decision,
}

impl Question<'_> {
    /// Puts it to these policies.
    ///
    /// # Errors
    /// When there is no login to ask for.
    pub fn put<'p>(
        &self,
        mapping: &LoginMapping,
        policies: impl IntoIterator<Item = &'p AccessPolicy>,
    ) -> Result<Answer, LoginError> {
        let login = mapping.map(self.principal, &self.server.spec, self.login)?;
        let request = AccessRequest {
            principal: self.principal,
            action: Action::Session {
                server: self.server,
                login: &login,
                permission: self.permission,
            },
            source: self.source,
            now: self.now,
            opened: self.opened,
            sessions: self.sessions,
        };
        let decision = policy::evaluate(policies, &request);
        Ok(Answer { login, decision })
    }
}
