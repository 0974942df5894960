//! The mapped logins that plain `ssh` reads: `User` lines, one server after the other, and what goes with a key that the
//! hub signs with.
//!
//! `ssh` takes its `User` from configuration only, and can include only files whose names it knows
//! beforehand. So `Match exec` has kedge bring one file up to date before `ssh` reads it. The file is
//! the union of what many `ssh` learned: whoever rewrites it keeps the others' lines, and a server
//! whose line is right costs no write at all.

use std::fmt::Write as _;

use kedge_api::{ServerName, Suffix};

use crate::access::Mapped;
use crate::defaults;
use crate::ssh::options::INJECTED;

/// The logins of one hub, oldest first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Logins {
    entries: Vec<(String, Mapped)>,
}

impl Logins {
    /// Reads what [`Self::render`] wrote. What does not look like it is dropped.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut entries: Vec<(String, Mapped)> = Vec::new();
        let mut host = None;
        let injected = INJECTED
            .first()
            .map(|(key, value)| format!("    {key} {value}"));
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("Match host ") {
                host = name.parse::<ServerName>().ok().map(|name| name.to_string());
            } else if let Some(login) = line.strip_prefix("    User ")
                && let (Some(host), Ok(login)) = (host.take(), login.parse())
            {
                let injected = false;
                entries.push((host, Mapped { login, injected }));
            } else if Some(line) == injected.as_deref()
                && let Some((_, last)) = entries.last_mut()
            {
                last.injected = true;
            }
        }
        Self { entries }
    }

    /// The login of a server, if it is known.
    #[must_use]
    pub fn login(&self, server: &ServerName, suffix: &Suffix) -> Option<&Mapped> {
        let host = format!("{server}.{suffix}");
        self.entries
            .iter()
            .find(|(name, _)| *name == host)
            .map(|(_, login)| login)
    }

    /// Notes a login; says whether that changed anything. The oldest goes when there are too many.
    pub fn note(&mut self, server: &ServerName, suffix: &Suffix, login: &Mapped) -> bool {
        if self.login(server, suffix) == Some(login) {
            return false;
        }
        let host = format!("{server}.{suffix}");
        self.entries.retain(|(name, _)| *name != host);
        self.entries.push((host, login.clone()));
        let surplus = self
            .entries
            .len()
            .saturating_sub(defaults::LOGINS_REMEMBERED);
        self.entries.drain(..surplus);
        true
    }

    /// Forgets a server's login; says whether it was there.
    pub fn forget(&mut self, server: &ServerName, suffix: &Suffix) -> bool {
        let host = format!("{server}.{suffix}");
        let before = self.entries.len();
        self.entries.retain(|(name, _)| *name != host);
        self.entries.len() != before
    }

    /// The text for `ssh`. Names and logins hold no character that means anything to it.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::from("# What the hub said last: kept by kedge for plain ssh.\n");
        for (host, Mapped { login, injected }) in &self.entries {
            let _ = write!(text, "Match host {host}\n    User {login}\n");
            for (keyword, value) in INJECTED.iter().filter(|_| *injected) {
                let _ = writeln!(text, "    {keyword} {value}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str) -> ServerName {
        name.parse().unwrap()
    }

    fn own(login: &str) -> Mapped {
        Mapped {
            login: login.parse().unwrap(),
            injected: false,
        }
    }

    #[test]
    fn what_is_noted_is_read_again() {
        let suffix: Suffix = "kedge".parse().unwrap();
        let mut logins = Logins::default();
        assert!(logins.note(&server("web01"), &suffix, &own("alice")));
        assert!(logins.note(&server("db"), &suffix, &own("postgres")));
        assert!(!logins.note(&server("web01"), &suffix, &own("alice")));
        assert!(logins.note(&server("web01"), &suffix, &own("bob")));
        insta::assert_snapshot!(logins.render(), @r"
        # What the hub said last: kept by kedge for plain ssh.
        Match host db.kedge
            User postgres
        Match host web01.kedge
            User bob
        ");
        let injected = Mapped {
            injected: true,
            ..own("deploy")
        };
        assert!(logins.note(&server("web02"), &suffix, &injected));
        assert!(logins.render().ends_with(
            "Match host web02.kedge\n    User deploy\n    IdentitiesOnly no\n    IdentityFile none\n    \
             PreferredAuthentications publickey\n"
        ));
        let mut read = Logins::parse(&logins.render());
        assert_eq!(read, logins);
        assert!(read.forget(&server("db"), &suffix));
        assert!(!read.forget(&server("db"), &suffix));
    }

    #[test]
    fn a_damaged_file_loses_only_what_is_damaged() {
        let text = "Match host a.kedge\n    User -oX\nMatch host ../x\n    User y\n    User z\n\
                    Match host b.kedge\n    User bob\n\u{0}";
        let logins = Logins::parse(text);
        assert_eq!(logins.entries, [("b.kedge".to_owned(), own("bob"))]);
    }

    #[test]
    fn the_file_is_bounded_and_the_oldest_goes() {
        let suffix: Suffix = "kedge".parse().unwrap();
        let mut logins = Logins::default();
        for n in 0..defaults::LOGINS_REMEMBERED + 5 {
            logins.note(&server(&format!("s{n}")), &suffix, &own("a"));
        }
        assert_eq!(logins.entries.len(), defaults::LOGINS_REMEMBERED);
        assert!(logins.login(&server("s0"), &suffix).is_none());
        assert!(logins.login(&server("s5"), &suffix).is_some());
    }
}
