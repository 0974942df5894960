//! A unified diff of two texts.

use std::path::Path;

use similar::TextDiff;

use crate::defaults;

/// The diff in `diff -u`'s form; empty when there is no difference.
#[must_use]
pub fn unified(path: &Path, old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    let name = path.display().to_string();
    TextDiff::from_lines(old, new)
        .unified_diff()
        .context_radius(defaults::DIFF_CONTEXT)
        .header(&name, &name)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_differ_in_nothing() {
        assert_eq!(unified(Path::new("/x"), "a\n", "a\n"), "");
    }

    #[test]
    fn golden() {
        insta::assert_snapshot!(unified(Path::new("/x"), "a\nb\nc\nd\ne\n", "a\nb\nC\nd\ne\n"), @r"
        --- /x
        +++ /x
        @@ -1,5 +1,5 @@
         a
         b
        -c
        +C
         d
         e
        ");
    }
}
