//! Tables of expectations: what policies must say, checked before anybody lives by them.
//!
//! A table lists policies, servers, people, and what is expected for them. It is checked with the evaluator that the
//! hub decides by, and with nothing else: no hub is asked, no file is read.
//!
//! ```text
//!  text ──parse──▶ Table ──files to read──▶ the caller
//!                    └───check(policies of the files, now)──▶ Report { checked, untested }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decode;
use crate::login::{AboutAnother, LoginMapping, MappedLogin};
use crate::meta::{FieldError, Resource};
use crate::names::{Group, Issuer, Labels, Login, ObjectName, ServerName, Subject};
use crate::policy::{AccessRequest, Action, PolicyTrace, evaluate};
use crate::principal::{AuthMethod, Principal, Standing};
use crate::resources::{AccessPolicy, HubResource, Permission, Server, ServerSpec, Verb};
use crate::rest::Verdict;
use crate::span::Span;
use crate::status::{Status, StatusReason};
use crate::text::Printable;
use crate::time::Time;
use crate::wire_enum::closed_enum;

/// A table of expectations, as its file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Table {
    /// The policies: files with them, and policies in place.
    pub policies: Vec<PolicySource>,
    /// The issuer that policies mean when they name none. Absent means the hub's configuration alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_issuer: Option<Issuer>,
    /// How claims become logins.
    #[serde(default)]
    #[schemars(with = "Value")]
    pub login: LoginMapping,
    /// The servers.
    #[serde(default)]
    pub servers: Vec<TableServer>,
    /// The people.
    pub people: Vec<TablePerson>,
    /// What is expected.
    pub expect: Vec<Expectation>,
}

/// Where policies come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PolicySource {
    /// A file with objects.
    File(String),
    /// A policy as a whole object.
    Inline(Value),
}

/// A server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TableServer {
    /// Its name.
    pub name: ServerName,
    /// Its labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// The login that everybody gets there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_user: Option<Login>,
}

/// A person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TablePerson {
    /// What policies call them.
    pub user: Subject,
    /// Who vouches for them; the home issuer when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Issuer>,
    /// The groups they are in.
    #[serde(default)]
    pub groups: BTreeSet<Group>,
    /// What else their issuer says.
    #[serde(default)]
    pub claims: BTreeMap<String, Value>,
}

/// What is expected for one person: about a session at a `server`, or about a right (`verb` and `resource`) at the hub.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expectation {
    /// Who.
    pub user: Subject,
    /// Whose `user` is meant, where several issuers have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Issuer>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// The login that is asked for; what the mapping gives when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// To do what; `ssh` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<Permission>,
    /// What is done at the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<Verb>,
    /// With which kind of thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<HubResource>,
    /// With which one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When; now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// How long ago the person logged in at the issuer. Absent means that nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_age: Option<Span>,
    /// How many sessions they have already.
    #[serde(default)]
    pub sessions: u32,
    /// What must come out.
    pub result: Expected,
    /// The policy that must be the one that allows or denies it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<ObjectName>,
}

closed_enum! {
    /// What must come out.
    Expected, "result" {
        /// It is allowed.
        Allow = "allow",
        /// It is not, whether a policy denies it, or none allows it, or there is no login.
        Deny = "deny",
    }
}

/// What came of a table.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Each expectation, in the order of the table.
    pub checked: Vec<Checked>,
    /// Policies that matched in none of them: nothing here tests them.
    pub untested: Vec<ObjectName>,
}

/// What came of one expectation.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// The question in words: `alice ssh deploy@web01`.
    pub question: String,
    /// Whether it came out as expected.
    pub passed: bool,
    /// What was expected.
    pub expected: Expected,
    /// The policy that was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_policy: Option<ObjectName>,
    /// What came out.
    pub found: Verdict,
    /// The policy that allows or denies it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<ObjectName>,
    /// Why there is no login to decide about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_error: Option<String>,
    /// Every policy and its verdict.
    pub trace: Vec<PolicyTrace>,
}

impl Report {
    /// Whether everything came out as expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checked.iter().all(|checked| checked.passed)
    }
}

impl Table {
    /// Reads a table from JSON, and checks that what it speaks of is in it.
    ///
    /// # Errors
    /// A [`Status`] that names each field that is wrong.
    pub fn parse(json: &[u8]) -> Result<Self, Status> {
        let table: Self = decode::named(json, "the table")?;
        let mut errors = Vec::new();
        table.check_names(&mut errors);
        if errors.is_empty() {
            Ok(table)
        } else {
            Err(decode::invalid(&errors))
        }
    }

    /// The files with policies that it names, in their order.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().filter_map(|source| match source {
            PolicySource::File(path) => Some(path.as_str()),
            PolicySource::Inline(_) => None,
        })
    }

    /// The policies that stand in it.
    ///
    /// # Errors
    /// A [`Status`] that names each field that is wrong.
    pub fn inline(&self) -> Result<Vec<AccessPolicy>, Status> {
        let mut policies = Vec::new();
        for (index, source) in self.policies.iter().enumerate() {
            if let PolicySource::Inline(object) = source {
                let policy = decode::object(object.to_string().as_bytes(), None)
                    .map_err(|status| below(&format!("policies[{index}]"), &status))?;
                policies.push(policy);
            }
        }
        Ok(policies)
    }

    /// Checks every expectation. `policies` are all there are: those of [`Table::inline`] and of the files.
    #[must_use]
    pub fn check(&self, policies: &[AccessPolicy], now: Time) -> Report {
        let checked: Vec<_> = self
            .expect
            .iter()
            .map(|expectation| self.check_one(expectation, policies, now))
            .collect();
        let matched: BTreeSet<_> = checked
            .iter()
            .flat_map(|checked| &checked.trace)
            .filter(|trace| trace.matched)
            .map(|trace| &trace.policy)
            .collect();
        let names: BTreeSet<_> = policies
            .iter()
            .map(|policy| &policy.metadata.name)
            .collect();
        let untested = names.difference(&matched).copied().cloned().collect();
        Report { checked, untested }
    }

    fn check_one(&self, wanted: &Expectation, policies: &[AccessPolicy], now: Time) -> Checked {
        let mut checked = Checked {
            question: wanted.question(),
            passed: false,
            expected: wanted.result,
            expected_policy: wanted.policy.clone(),
            found: Verdict::NoLogin,
            policy: None,
            login_error: None,
            trace: Vec::new(),
        };
        match self.decide(wanted, policies, now) {
            Ok((verdict, policy, trace)) => {
                checked.found = verdict;
                checked.policy = policy;
                checked.trace = trace;
            }
            Err(error) => checked.login_error = Some(error),
        }
        let allowed = checked.found == Verdict::Allowed;
        checked.passed = allowed == (wanted.result == Expected::Allow)
            && (wanted.policy.is_none() || wanted.policy == checked.policy);
        checked
    }

    fn decide(
        &self,
        wanted: &Expectation,
        policies: &[AccessPolicy],
        now: Time,
    ) -> Result<(Verdict, Option<ObjectName>, Vec<PolicyTrace>), String> {
        let at = wanted.at.unwrap_or(now);
        // Both were looked for when the table was read.
        let person = self.person(wanted).ok_or("no such person")?;
        let principal = self.principal(person, wanted, at);
        let target = match &wanted.server {
            Some(name) => {
                let server = self.server(name).ok_or("no such server")?;
                let login = self
                    .login
                    .map(&principal, &server.spec, wanted.login.as_ref())
                    .map_err(|error| AboutAnother(error).to_string())?;
                Some((server, login))
            }
            None => None,
        };
        let request = AccessRequest {
            principal: &principal,
            action: wanted.action(target.as_ref()),
            source: wanted.source,
            now: at,
            opened: None,
            sessions: wanted.sessions,
        };
        let decision = evaluate(policies, &request);
        let verdict = Verdict::from(&decision.outcome);
        Ok((verdict, decision.outcome.policy().cloned(), decision.trace))
    }

    fn person(&self, wanted: &Expectation) -> Option<&TablePerson> {
        self.people.iter().find(|person| {
            person.user == wanted.user
                && (wanted.issuer.is_none() || person.issuer == wanted.issuer)
        })
    }

    fn server(&self, name: &ServerName) -> Option<Server> {
        let found = self.servers.iter().find(|server| server.name == *name)?;
        let spec = ServerSpec {
            ssh_user: found.ssh_user.clone(),
            ..ServerSpec::default()
        };
        let mut server = Server::new(name.clone().into(), spec);
        server.metadata.labels = found.labels.clone();
        Some(server)
    }

    fn principal(&self, person: &TablePerson, wanted: &Expectation, at: Time) -> Principal {
        let fixed = Issuer::of_configuration();
        let home = self.home_issuer.as_ref().unwrap_or(&fixed);
        let issuer = person.issuer.as_ref().unwrap_or(home);
        let standing = match *issuer == *home || *issuer == fixed {
            true => Standing::Home,
            false => Standing::Foreign,
        };
        let method = match issuer.url() {
            Some(_) => AuthMethod::Oidc,
            None => AuthMethod::StaticToken,
        };
        Principal {
            issuer: issuer.clone(),
            subject: person.user.clone(),
            user: person.user.clone(),
            claims: person.claims.clone(),
            groups: person.groups.clone(),
            method,
            standing,
            authenticated_at: wanted.auth_age.map(|age| at.saturating_sub(age.duration())),
            expires_at: None,
        }
    }

    fn check_names(&self, errors: &mut Vec<FieldError>) {
        let mut wrong = |path: String, message: String| errors.push(FieldError::new(path, message));
        for (index, server) in self.servers.iter().enumerate() {
            if self
                .servers
                .iter()
                .take(index)
                .any(|s| s.name == server.name)
            {
                let message = format!("`{}` is there twice", server.name);
                wrong(format!("servers[{index}].name"), message);
            }
        }
        for (index, person) in self.people.iter().enumerate() {
            let same =
                |other: &&TablePerson| other.user == person.user && other.issuer == person.issuer;
            if self.people.iter().take(index).any(|other| same(&other)) {
                let message = format!("`{}` is there twice", Printable::new(person.user.as_str()));
                wrong(format!("people[{index}].user"), message);
            }
        }
        for (index, wanted) in self.expect.iter().enumerate() {
            if self.person(wanted).is_none() {
                let message = format!(
                    "`{}` is not among the people",
                    Printable::new(wanted.user.as_str())
                );
                wrong(format!("expect[{index}].user"), message);
            }
            if let Some(server) = &wanted.server
                && self.server(server).is_none()
            {
                let message = format!("`{server}` is not among the servers");
                wrong(format!("expect[{index}].server"), message);
            }
            if let Some(problem) = wanted.problem() {
                wrong(format!("expect[{index}]"), problem.to_owned());
            }
        }
    }
}

impl Expectation {
    /// Which of its fields do not go together.
    fn problem(&self) -> Option<&'static str> {
        let session = self.login.is_some() || self.permission.is_some();
        match (&self.server, self.verb, self.resource) {
            (Some(_), None, None) if self.name.is_some() => {
                Some("`name` goes with `verb` and `resource`")
            }
            (Some(_), None, None) => None,
            (None, Some(_), Some(_)) if session => {
                Some("`login` and `permission` go with `server`")
            }
            (None, Some(_), Some(_)) => None,
            _ => Some("needs `server`, or `verb` and `resource`, and not both"),
        }
    }

    fn action<'a>(&'a self, target: Option<&'a (Server, MappedLogin)>) -> Action<'a> {
        match target {
            Some((server, login)) => Action::Session {
                server,
                login,
                permission: self.permission.as_ref().unwrap_or(&Permission::Ssh),
            },
            // Present, or the table had not been read.
            None => Action::Hub {
                verb: self.verb.unwrap_or(Verb::Get),
                resource: self.resource.unwrap_or(HubResource::Servers),
                name: self.name.as_deref(),
            },
        }
    }

    fn question(&self) -> String {
        let mut words = vec![Printable::new(self.user.as_str()).to_string()];
        // Two people may have one name.
        words.extend(self.issuer.as_ref().map(|issuer| format!("of {issuer}")));
        if let Some(server) = &self.server {
            let permission = self.permission.as_ref().unwrap_or(&Permission::Ssh);
            words.push(permission.to_string());
            words.push(match &self.login {
                Some(login) => format!("{login}@{server}"),
                None => server.to_string(),
            });
        }
        words.extend(self.verb.map(|verb| verb.to_string()));
        words.extend(self.resource.map(|resource| resource.to_string()));
        words.extend(
            self.name
                .as_deref()
                .map(|name| Printable::new(name).to_string()),
        );
        words.extend(self.at.map(|at| format!("at {at}")));
        words.extend(self.source.map(|source| format!("from {source}")));
        words.join(" ")
    }
}

/// The same error about an object that stands inside of something larger.
fn below(path: &str, status: &Status) -> Status {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let errors: Vec<_> = causes
        .map(|cause| FieldError::new(format!("{path}.{}", cause.field), cause.message.clone()))
        .collect();
    if errors.is_empty() {
        let message = format!("{path}: {}", status.message);
        return Status::new(StatusReason::Invalid, message);
    }
    decode::invalid(&errors)
}
