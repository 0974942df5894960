//! Text from outside, made fit for a terminal or a log line.

use std::fmt::{self, Display, Write};

use crate::defaults::QUOTED_MAX_CHARS;

/// Shows text that somebody else chose, so that it can neither move the cursor nor lie about its
/// direction nor fill the screen.
///
/// Control characters, line separators, invisible and direction-changing characters (U+202A–U+202E,
/// U+2066–U+2069 and their kin) and the backslash come out escaped (`\u{202e}`, `\\`). After 200
/// characters of output follows `…`. Everything else is shown as it is.
///
/// ```
/// use kedge_api::text::Printable;
/// assert_eq!(Printable::new("web\n01\u{202e}").to_string(), r"web\u{a}01\u{202e}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printable<'a>(&'a str);

impl<'a> Printable<'a> {
    /// Wraps the text; the work is done when it is displayed.
    #[must_use]
    pub const fn new(text: &'a str) -> Self {
        Self(text)
    }
}

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = 0;
        for c in self.0.chars() {
            let width = match c {
                '\\' => 2,
                c if needs_escape(c) => c.escape_unicode().count(),
                _ => 1,
            };
            if shown + width > QUOTED_MAX_CHARS {
                return f.write_char('…');
            }
            shown += width;
            match c {
                '\\' => f.write_str("\\\\")?,
                c if needs_escape(c) => Display::fmt(&c.escape_unicode(), f)?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Whether a character has no place in a line of text: it is invisible, breaks the line, or changes
/// how its neighbours look.
pub(crate) fn needs_escape(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_text_stays_on_its_line() {
        for (raw, shown) in [
            ("web01", "web01"),
            ("a\r\nb", r"a\u{d}\u{a}b"),
            ("\u{1b}[2J", r"\u{1b}[2J"),
            ("x\u{202e}y", r"x\u{202e}y"),
            ("a\u{2066}b\u{2069}", r"a\u{2066}b\u{2069}"),
            ("nul\0", r"nul\u{0}"),
            ("\u{9b}31m", r"\u{9b}31m"),
            (r"\u{a}", r"\\u{a}"),
            ("größe", "größe"),
        ] {
            assert_eq!(Printable::new(raw).to_string(), shown);
        }
    }

    #[test]
    fn long_text_ends_in_an_ellipsis() {
        let shown = Printable::new(&"x".repeat(64 * 1024)).to_string();
        assert_eq!(shown.chars().count(), QUOTED_MAX_CHARS + 1);
        assert!(shown.ends_with('…'));
        assert_eq!(
            Printable::new(&"x".repeat(200)).to_string().chars().count(),
            200
        );
    }

    proptest! {
        #[test]
        fn nothing_dangerous_ever_comes_out(raw in any::<String>()) {
            let shown = Printable::new(&raw).to_string();
            prop_assert!(!shown.chars().any(needs_escape));
            prop_assert!(shown.chars().count() <= QUOTED_MAX_CHARS + 1);
        }
    }
}
