//! How a failure reaches a person: one `error:` line, at most one `hint:` line, one exit code.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

/// A failure as the person at the terminal sees it.
///
/// ```
/// use kedge_service::Failure;
/// let failure = Failure::new("cannot join https://hub: the token was used already")
///     .hint("kedge token create");
/// let mut out = Vec::new();
/// failure.write(&mut out)?;
/// assert_eq!(
///     String::from_utf8_lossy(&out),
///     "error: cannot join https://hub: the token was used already\nhint: kedge token create\n",
/// );
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    error: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// A failure with exit code 1.
    pub fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            hint: None,
            code: 1,
        }
    }

    /// A failure that prints an error with its causes on one line.
    #[must_use]
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        Self::new(chain(error))
    }

    /// Adds what to do about it: one command, or a few plain words.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Changes the exit code: 1 failure, 2 usage, 4 login needed, 5 denied, 6 not found or offline.
    #[must_use]
    pub fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// Writes the one or two lines. Control characters, which may come from the other side of a
    /// network, are written as escapes.
    ///
    /// # Errors
    ///
    /// Whatever writing fails with.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "error: {}", escape(&self.error))?;
        if let Some(hint) = &self.hint {
            writeln!(out, "hint: {}", escape(hint))?;
        }
        out.flush()
    }

    /// Writes to standard error and returns the exit code: the last line of `main`.
    #[must_use]
    pub fn exit(&self) -> ExitCode {
        // Nobody is left to tell when standard error is closed.
        let _ = self.write(&mut io::stderr().lock());
        self.exit_code()
    }
}

/// An error and its causes on one line, outermost first.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(line, ": {cause}");
        next = cause.source();
    }
    line
}

/// A text on one line that neither moves the cursor nor changes how its neighbours look. One that was
/// escaped already stays as it is.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        let reorders = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || reorders {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot dial hub")]
    struct Outer(#[source] io::Error);

    #[test]
    fn causes_stand_on_one_line_once() {
        let error = Outer(io::Error::new(io::ErrorKind::TimedOut, "no answer"));
        assert_eq!(chain(&error), "cannot dial hub: no answer");
    }

    #[test]
    fn hostile_text_stays_on_its_line() {
        let mut out = Vec::new();
        Failure::new("name \u{1b}[31m\nroot\u{202e}")
            .hint("x\ry")
            .write(&mut out)
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "error: name \\u{1b}[31m\\nroot\\u{202e}\nhint: x\\ry\n"
        );
    }
}
