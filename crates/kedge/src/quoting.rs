//! Words of commands that are shown to people, who type or paste them.

/// A word as a shell takes it: as it is, or between single quotes where it must be.
#[must_use]
pub fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@+,%".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_they_must_be() {
        for (word, shown) in [
            ("/run/secrets/token", "/run/secrets/token"),
            ("", "''"),
            ("my token", "'my token'"),
            ("~/token", "'~/token'"),
            ("pass show kedge", "'pass show kedge'"),
            ("it's", r"'it'\''s'"),
            ("$(rm x); `y`", "'$(rm x); `y`'"),
        ] {
            assert_eq!(quoted(word), shown);
        }
    }

    #[test]
    fn a_shell_reads_what_was_meant() {
        for word in ["a b", "it's", "\"$HOME\"", "a\\b", "*", "''", "-n"] {
            let line = format!("printf %s {}", quoted(word));
            let run = std::process::Command::new("sh")
                .args(["-c", &line])
                .output();
            assert_eq!(run.unwrap().stdout, word.as_bytes(), "{line}");
        }
    }
}
