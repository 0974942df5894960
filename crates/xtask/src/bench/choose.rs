//! Which rows are meant by the words of the command line.

use anyhow::{Result, bail};

/// Names shown when a word means nothing.
const SHOWN: usize = 3;

/// How alike two names must be (Jaro-Winkler) for one to be shown in place of the other.
const ALIKE: f64 = 0.75;

/// The names that the words mean, in their own order: a word is a name, or the beginning of one that ends before a
/// dash. No words mean all.
///
/// # Errors
///
/// When a word means nothing, with the names near it.
pub(crate) fn choose(names: &[&'static str], words: &[String]) -> Result<Vec<&'static str>> {
    for word in words {
        if !names.iter().any(|name| means(word, name)) {
            bail!("no row or group `{word}`{}", near(names, word));
        }
    }
    let chosen = names
        .iter()
        .filter(|name| words.is_empty() || words.iter().any(|word| means(word, name)));
    Ok(chosen.copied().collect())
}

fn means(word: &str, name: &str) -> bool {
    let rest = name.strip_prefix(word);
    !word.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn near(names: &[&'static str], word: &str) -> String {
    let mut near: Vec<(f64, &str)> = beginnings(names)
        .into_iter()
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .collect();
    near.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(other.1)));
    let near: Vec<String> = near
        .iter()
        .take(SHOWN)
        .map(|(_, name)| format!("`{name}`"))
        .collect();
    if near.is_empty() {
        return "; `cargo xtask bench --list` shows all".to_owned();
    }
    format!("; did you mean {}?", near.join(" or "))
}

/// Every beginning of a name that [`means`] something, once.
fn beginnings<'a>(names: &[&'a str]) -> std::collections::BTreeSet<&'a str> {
    let parts = names.iter().flat_map(|name| {
        let dashes = name.match_indices('-').map(|(at, _)| at);
        dashes.chain([name.len()]).filter_map(|end| name.get(..end))
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &[
        "bulk-down-1",
        "bulk-down-16",
        "bulk-50ms-down",
        "ssh-cat-down",
        "ssh-cat-down-proxyjump",
        "sshd-x",
    ];

    fn chosen(words: &[&str]) -> Vec<&'static str> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        choose(NAMES, &words).unwrap()
    }

    fn refused(word: &str) -> String {
        choose(NAMES, &[word.to_owned()]).unwrap_err().to_string()
    }

    #[test]
    fn a_word_is_a_name_or_a_beginning_at_a_dash() {
        assert_eq!(chosen(&["bulk-down-1"]), ["bulk-down-1"]);
        assert_eq!(chosen(&["bulk-down"]), ["bulk-down-1", "bulk-down-16"]);
        assert_eq!(
            chosen(&["ssh"]),
            ["ssh-cat-down", "ssh-cat-down-proxyjump"],
            "sshd is another group"
        );
        assert_eq!(chosen(&["ssh-cat-down"]).len(), 2);
        assert_eq!(chosen(&[]).len(), NAMES.len());
    }

    #[test]
    fn order_is_the_reports_and_nothing_comes_twice() {
        assert_eq!(
            chosen(&["ssh-cat-down", "bulk", "bulk-down-1"]),
            [
                "bulk-down-1",
                "bulk-down-16",
                "bulk-50ms-down",
                "ssh-cat-down",
                "ssh-cat-down-proxyjump"
            ]
        );
    }

    #[test]
    fn unknown_words_are_refused_with_what_is_near() {
        assert!(refused("bulk-dwn-1").contains("did you mean `bulk-down-1`"));
        assert!(refused("bulk-").contains("`bulk`"));
        assert!(refused("bul").contains("`bulk`"));
        assert!(refused("zzz").contains("--list"));
        assert!(refused("").contains("no row or group ``"));
    }
}
