//! What OPEN asks for, before anything of it is believed.

use kedge_api::{Login, Permission, SessionId, text::Printable};
use kedge_tunnel::{AttributeId, OpenFrame, RefuseCode};

use super::{authorize::Ask, refusal::Refusal};
use crate::audit::Asked;

/// What OPEN said, as hostile as it came.
pub(super) struct Raw {
    server: String,
    login: String,
    target: String,
    problem: Option<&'static str>,
}

impl Raw {
    pub(super) fn read(open: &OpenFrame) -> Self {
        let mut problem = None;
        let mut text =
            |id, missing, broken| match (open.attributes.value(id), open.attributes.text(id)) {
                (_, Some(text)) => text.to_owned(),
                (Some(bytes), None) => {
                    problem = Some(broken);
                    String::from_utf8_lossy(bytes).into_owned()
                }
                (None, None) => {
                    problem = problem.or(missing);
                    String::new()
                }
            };
        let server = text(
            AttributeId::SERVER,
            Some("the stream names no server"),
            "the server's name is no text",
        );
        let login = text(AttributeId::LOGIN, None, "the login is no text");
        Self {
            server,
            login,
            target: open.target.as_str().to_owned(),
            problem,
        }
    }

    pub(super) fn asked<'a>(&'a self, id: Option<&'a SessionId>) -> Asked<'a> {
        Asked {
            id,
            server: &self.server,
            login: &self.login,
            permission: &self.target,
        }
    }

    pub(super) fn ask(&self) -> Result<Ask, Refusal> {
        let bad = |message: String| Refusal::new(RefuseCode::BadRequest, message);
        if let Some(problem) = self.problem {
            return Err(bad(problem.to_owned()));
        }
        if self.target != kedge_tunnel::Target::ssh().as_str() {
            return Err(bad(format!(
                "there is no target `{}`",
                Printable::new(&self.target)
            )));
        }
        let login = match self.login.as_str() {
            "" => None,
            login => Some(
                login
                    .parse::<Login>()
                    .map_err(|error| bad(error.to_string()))?,
            ),
        };
        let server = self
            .server
            .parse()
            .map_err(|error: kedge_api::NameError| bad(error.to_string()))?;
        Ok(Ask {
            server,
            login,
            permission: Permission::Ssh,
        })
    }
}
