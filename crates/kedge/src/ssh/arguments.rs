//! What stands on `ssh`'s command line, read as `ssh` itself reads it.
//!
//! ```text
//!  [options] [--] destination [options] [--] [command …]
//! ```
//!
//! `ssh` uses getopt with the letters below, so short flags combine (`-fNT`), values stick or stand
//! apart (`-L8080:…`, `-L 8080:…`), and options may follow the destination until the first word that
//! is none. Everything is kept byte for byte: only the destination is taken out.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use thiserror::Error;

/// The options of `ssh` that take a value (OpenSSH 8.5 to 10.2). `-P` was a flag without meaning
/// before 9.4 and is the tag since.
const WITH_VALUE: &[u8] = b"BDEFIJLOPQRSWbceilmopw";
/// The options of `ssh` that stand alone.
const FLAGS: &[u8] = b"1246ACGKMNTVXYafgknqstvxy";

/// Why `ssh` would not understand its command line.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ArgumentError {
    /// A destination that begins or ends where a part is missing.
    #[error("destination `{0}` is neither [user@]NAME nor ssh://[user@]NAME[:port]")]
    Destination(String),
    /// An option at the end of the line, without what it needs.
    #[error("option -{0} needs a value")]
    MissingValue(char),
    /// An option that `ssh` does not have.
    #[error("ssh has no option -{0}")]
    Unknown(char),
}

/// One option with its letter, as `ssh` saw it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SshOption {
    /// The letter.
    pub letter: char,
    /// Its value; `None` for a flag.
    pub value: Option<OsString>,
}

impl SshOption {
    fn login(&self) -> Option<OsString> {
        match self.letter {
            'l' => self.value.clone(),
            'o' => {
                let (name, value) = keyword(self.value.as_deref()?);
                (name == "user").then(|| value.into())
            }
            _ => None,
        }
    }
}

/// Where to, as the person wrote it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Destination {
    /// The part before the last `@`.
    pub login: Option<OsString>,
    /// The host.
    pub host: OsString,
    /// The port of a `ssh://` destination.
    pub port: Option<OsString>,
}

/// A command line of `ssh`, taken apart.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SshArguments {
    /// Every option, from before and after the destination, in order.
    pub options: Vec<SshOption>,
    /// How many of them stood before the destination.
    pub leading: usize,
    /// Where to; absent in `ssh -V` and `ssh -Q cipher`.
    pub destination: Option<Destination>,
    /// The remote command's words.
    pub command: Vec<OsString>,
}

impl SshArguments {
    /// Reads the words after `ssh`.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] where `ssh` would print its usage.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, ArgumentError> {
        let mut words = words.into_iter().peekable();
        let mut parsed = Self::default();
        let terminated = parsed.take_options(&mut words)?;
        parsed.leading = parsed.options.len();
        if let Some(word) = words.next() {
            parsed.destination = Some(Destination::parse(&word)?);
            if !terminated {
                parsed.take_options(&mut words)?;
            }
        }
        parsed.command = words.collect();
        Ok(parsed)
    }

    /// The options as words for `ssh`, each with its value apart so that nothing can be read twice.
    #[must_use]
    pub fn option_words(&self) -> Vec<OsString> {
        let mut words = Vec::with_capacity(self.options.len() * 2);
        for SshOption { letter, value } in &self.options {
            words.push(OsString::from(format!("-{letter}")));
            words.extend(value.clone());
        }
        words
    }

    /// Whether an option is there.
    #[must_use]
    pub fn has(&self, letter: char) -> bool {
        self.options.iter().any(|option| option.letter == letter)
    }

    /// The first value of an option: the one that counts, as everywhere in `ssh`.
    #[must_use]
    pub fn value(&self, letter: char) -> Option<&OsStr> {
        self.options
            .iter()
            .find(|option| option.letter == letter)
            .and_then(|option| option.value.as_deref())
    }

    /// The keywords given with `-o`, in lower case, with their values.
    pub fn keywords(&self) -> impl Iterator<Item = (String, String)> {
        self.options
            .iter()
            .filter(|option| option.letter == 'o')
            .filter_map(|option| option.value.as_deref())
            .map(keyword)
    }

    /// The login asked for: what stands first of `-l`, `-o User` and `user@`, as in `ssh`.
    #[must_use]
    pub fn login(&self) -> Option<OsString> {
        let (before, after) = self.options.split_at_checked(self.leading)?;
        let in_options = |options: &[SshOption]| options.iter().find_map(SshOption::login);
        in_options(before)
            .or_else(|| self.destination.as_ref()?.login.clone())
            .or_else(|| in_options(after))
    }

    /// Reads options until the first word that is none; says whether `--` ended them.
    fn take_options(
        &mut self,
        words: &mut std::iter::Peekable<impl Iterator<Item = OsString>>,
    ) -> Result<bool, ArgumentError> {
        while let Some(word) = words.next_if(|word| is_option(word)) {
            if word == "--" {
                return Ok(true);
            }
            let bytes = word.as_bytes();
            let mut rest = bytes.get(1..).unwrap_or_default();
            while let Some((&letter, after)) = rest.split_first() {
                rest = after;
                let shown = char::from(letter);
                if FLAGS.contains(&letter) {
                    self.options.push(SshOption {
                        letter: shown,
                        value: None,
                    });
                } else if WITH_VALUE.contains(&letter) {
                    let value = if rest.is_empty() {
                        words.next().ok_or(ArgumentError::MissingValue(shown))?
                    } else {
                        OsString::from_vec(rest.to_vec())
                    };
                    rest = &[];
                    self.options.push(SshOption {
                        letter: shown,
                        value: Some(value),
                    });
                } else {
                    return Err(ArgumentError::Unknown(shown));
                }
            }
        }
        Ok(false)
    }
}

impl Destination {
    /// Reads `[user@]host` or `ssh://[user@]host[:port]`.
    ///
    /// # Errors
    ///
    /// [`ArgumentError::Destination`] when a part is empty or out of place.
    pub fn parse(word: &OsStr) -> Result<Self, ArgumentError> {
        let wrong = || ArgumentError::Destination(word.to_string_lossy().into_owned());
        let bytes = word.as_bytes();
        let uri = bytes.strip_prefix(b"ssh://");
        let text = match uri {
            Some(rest) => rest.strip_suffix(b"/").unwrap_or(rest),
            None => bytes,
        };
        let (login, host) = match text.iter().rposition(|&byte| byte == b'@') {
            Some(at) => (text.get(..at), text.get(at + 1..).unwrap_or_default()),
            None => (None, text),
        };
        let (host, port) = match (uri, host.iter().rposition(|&byte| byte == b':')) {
            (Some(_), Some(at)) => (host.get(..at).unwrap_or_default(), host.get(at + 1..)),
            _ => (host, None),
        };
        if host.is_empty()
            || login.is_some_and(<[u8]>::is_empty)
            || port.is_some_and(<[u8]>::is_empty)
        {
            return Err(wrong());
        }
        let own = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        Ok(Self {
            login: login.map(own),
            host: own(host),
            port: port.map(own),
        })
    }
}

fn is_option(word: &OsStr) -> bool {
    word.len() > 1 && word.as_bytes().first() == Some(&b'-')
}

/// Splits `Keyword=value` or `Keyword value` as `ssh -o` does: white space around the `=`, quotes
/// around the value.
fn keyword(text: &OsStr) -> (String, String) {
    let text = text.to_string_lossy();
    let text = text.trim_start();
    let end = text
        .find(|c: char| c.is_whitespace() || c == '=')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim();
    let value = rest
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(rest);
    (name.to_ascii_lowercase(), value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> SshArguments {
        SshArguments::parse(line.iter().map(OsString::from)).unwrap()
    }

    fn shape(line: &[&str]) -> (Vec<String>, String, Vec<String>) {
        let parsed = parse(line);
        let text = |words: &[OsString]| -> Vec<String> {
            words
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect()
        };
        let destination = parsed.destination.as_ref().map_or_else(String::new, |to| {
            let login = to
                .login
                .as_ref()
                .map(|l| format!("{}@", l.to_string_lossy()));
            let port = to
                .port
                .as_ref()
                .map(|p| format!(":{}", p.to_string_lossy()));
            format!(
                "{}{}{}",
                login.unwrap_or_default(),
                to.host.to_string_lossy(),
                port.unwrap_or_default()
            )
        });
        (
            text(&parsed.option_words()),
            destination,
            text(&parsed.command),
        )
    }

    fn owned(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_alone() {
        assert_eq!(shape(&["web01"]), (vec![], "web01".into(), vec![]));
    }

    #[test]
    fn flags_combine_and_values_stick_or_stand_apart() {
        assert_eq!(
            shape(&[
                "-fNT",
                "-L8080:localhost:80",
                "-R",
                "9:x:9",
                "-tt",
                "-D1080",
                "web01"
            ]),
            (
                owned(&[
                    "-f",
                    "-N",
                    "-T",
                    "-L",
                    "8080:localhost:80",
                    "-R",
                    "9:x:9",
                    "-t",
                    "-t",
                    "-D",
                    "1080"
                ]),
                "web01".into(),
                vec![]
            )
        );
        // A flag may lead a cluster that ends in an option with a value.
        assert_eq!(
            shape(&["-Nvoa=b", "web01"]).0,
            owned(&["-N", "-v", "-o", "a=b"])
        );
    }

    #[test]
    fn options_may_follow_the_destination_until_the_command() {
        assert_eq!(
            shape(&["web01", "-v", "uptime", "-p"]),
            (owned(&["-v"]), "web01".into(), owned(&["uptime", "-p"]))
        );
        assert_eq!(
            shape(&["web01", "--", "-v"]),
            (vec![], "web01".into(), owned(&["-v"]))
        );
        // After `--` and the destination everything is the command.
        assert_eq!(
            shape(&["-t", "--", "web01", "-v"]),
            (owned(&["-t"]), "web01".into(), owned(&["-v"]))
        );
    }

    #[test]
    fn a_value_may_look_like_an_option_or_like_the_end() {
        assert_eq!(
            shape(&["-o", "-oProxyCommand=x", "web01"]).0,
            owned(&["-o", "-oProxyCommand=x"])
        );
        assert_eq!(
            shape(&["-l", "--", "web01"]),
            (owned(&["-l", "--"]), "web01".into(), vec![])
        );
    }

    #[test]
    fn a_lone_dash_is_a_word() {
        assert_eq!(shape(&["-"]), (vec![], "-".into(), vec![]));
    }

    #[test]
    fn destinations() {
        let to = |text: &str| Destination::parse(OsStr::new(text));
        let ok = |login: Option<&str>, host: &str, port: Option<&str>| {
            Ok(Destination {
                login: login.map(Into::into),
                host: host.into(),
                port: port.map(Into::into),
            })
        };
        assert_eq!(to("web01"), ok(None, "web01", None));
        assert_eq!(to("alice@web01"), ok(Some("alice"), "web01", None));
        // The last `@` counts, as in ssh.
        assert_eq!(
            to("alice@corp.example@web01"),
            ok(Some("alice@corp.example"), "web01", None)
        );
        assert_eq!(
            to("ssh://alice@web01:22/"),
            ok(Some("alice"), "web01", Some("22"))
        );
        assert_eq!(to("ssh://web01"), ok(None, "web01", None));
        // Outside a URI a colon belongs to the host.
        assert_eq!(to("web01:22"), ok(None, "web01:22", None));
        for wrong in [
            "@web01",
            "alice@",
            "ssh://",
            "ssh://@web01",
            "ssh://web01:",
            "",
        ] {
            assert!(to(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_login_wins() {
        let login = |line: &[&str]| parse(line).login().map(|l| l.into_string().unwrap());
        assert_eq!(login(&["web01"]), None);
        assert_eq!(login(&["bob@web01"]).as_deref(), Some("bob"));
        assert_eq!(
            login(&["-l", "alice", "bob@web01"]).as_deref(),
            Some("alice")
        );
        assert_eq!(
            login(&["-oUser=carol", "-l", "alice", "web01"]).as_deref(),
            Some("carol")
        );
        assert_eq!(
            login(&["-o", "user  \"dave\"", "web01"]).as_deref(),
            Some("dave")
        );
        assert_eq!(
            login(&["-o", "User = erin", "web01"]).as_deref(),
            Some("erin")
        );
        assert_eq!(login(&["bob@web01", "-l", "alice"]).as_deref(), Some("bob"));
        assert_eq!(login(&["web01", "-l", "alice"]).as_deref(), Some("alice"));
    }

    #[test]
    fn what_ssh_would_refuse_is_refused() {
        let error =
            |line: &[&str]| SshArguments::parse(line.iter().map(OsString::from)).unwrap_err();
        assert_eq!(error(&["-z", "web01"]), ArgumentError::Unknown('z'));
        assert_eq!(error(&["web01", "-L"]), ArgumentError::MissingValue('L'));
        assert_eq!(error(&["--version"]), ArgumentError::Unknown('-'));
        assert_eq!(error(&["@"]), ArgumentError::Destination("@".into()));
    }

    #[test]
    fn nothing_is_a_line_too() {
        assert_eq!(parse(&[]), SshArguments::default());
        assert_eq!(shape(&["-V"]), (owned(&["-V"]), String::new(), vec![]));
        assert_eq!(shape(&["-Q", "cipher"]).0, owned(&["-Q", "cipher"]));
    }

    #[test]
    fn bytes_that_are_no_text_pass() {
        let odd = OsString::from_vec(vec![b'e', 0xff]);
        let parsed = SshArguments::parse(["web01".into(), odd.clone()]).unwrap();
        assert_eq!(parsed.command, [odd]);
    }

    /// Our letters are those of the ssh that is installed: whatever it takes, we take.
    #[test]
    fn the_letters_are_those_of_the_installed_ssh() {
        let Ok(output) = std::process::Command::new("ssh").arg("-\u{1}").output() else {
            return; // no ssh here; the end-to-end tests need one and say so
        };
        let usage = String::from_utf8_lossy(&output.stderr).into_owned();
        let flags = usage
            .split("[-")
            .nth(1)
            .and_then(|text| text.split(']').next())
            .unwrap();
        for letter in flags.bytes() {
            assert!(FLAGS.contains(&letter), "-{}", char::from(letter));
        }
        let valued = usage
            .split("[-")
            .skip(2)
            .filter_map(|text| text.split_once(' '));
        for (letter, _) in valued.filter(|(letter, _)| letter.len() == 1) {
            let byte = letter.as_bytes()[0];
            assert!(WITH_VALUE.contains(&byte), "-{letter}");
        }
    }
}
