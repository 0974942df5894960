//! Showing a page to the person: `$BROWSER`, or what the desktop opens links with.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command, Stdio};

use crate::environment::Desktop;

/// Opens a URL in the first browser that can. Nobody waits for it: the URL is printed anyway, and a
/// browser may run for days.
///
/// Each try is one command; the next is tried when one cannot be run or says that it failed.
pub(super) fn open(desktop: &Desktop, url: &str) {
    let commands = commands(desktop.browser.as_deref(), url);
    // The thread reaps what it started. It is not waited for: what it starts outlives kedge, as it
    // should.
    let opening = std::thread::Builder::new().name("browser".to_owned());
    drop(opening.spawn(move || {
        for words in commands {
            let Some((program, arguments)) = words.split_first() else {
                continue;
            };
            // A browser in the terminal would take what is typed for `ssh`, and a graphical one writes
            // warnings that are nobody's business.
            let done = Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if done.is_ok_and(|status| status.success()) {
                return;
            }
        }
    }));
}

/// The commands to try, as words. `$BROWSER` is a list separated by `:`, each a command in which `%s`
/// stands for the URL; without one the URL follows (as xdg-open and `man 1 sensible-browser` have it).
/// No shell reads it.
fn commands(browser: Option<&OsStr>, url: &str) -> Vec<Vec<OsString>> {
    let Some(list) = browser else {
        let usual: &[&str] = if cfg!(target_os = "macos") {
            &["open"]
        } else {
            &["xdg-open", "wslview"]
        };
        let usual = usual.iter();
        return usual
            .map(|program| vec![program.into(), url.into()])
            .collect();
    };
    list.as_bytes()
        .split(|&byte| byte == b':')
        .filter_map(|entry| command(entry, url))
        .collect()
}

fn command(entry: &[u8], url: &str) -> Option<Vec<OsString>> {
    let words: Vec<&[u8]> = entry
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .collect();
    if words.is_empty() {
        return None;
    }
    let mut named = false;
    let mut filled: Vec<OsString> = words
        .into_iter()
        .map(|word| {
            let (word, has_url) = fill(word, url);
            named |= has_url;
            OsString::from_vec(word)
        })
        .collect();
    if !named {
        filled.push(url.into());
    }
    Some(filled)
}

/// Puts the URL where `%s` stands, and `%` where `%%` does.
fn fill(word: &[u8], url: &str) -> (Vec<u8>, bool) {
    let mut filled = Vec::with_capacity(word.len());
    let mut has_url = false;
    let mut bytes = word.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'%', Some(b's')) => {
                bytes.next();
                filled.extend_from_slice(url.as_bytes());
                has_url = true;
            }
            (b'%', Some(b'%')) => {
                bytes.next();
                filled.push(b'%');
            }
            _ => filled.push(byte),
        }
    }
    (filled, has_url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(browser: &str) -> Vec<String> {
        commands(Some(OsStr::new(browser)), "https://id/?a=1&b=%20;x")
            .into_iter()
            .map(|words| {
                let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
                words.join("|")
            })
            .collect()
    }

    #[test]
    fn the_list_is_tried_in_order_and_the_url_stays_one_word() {
        let url = "https://id/?a=1&b=%20;x";
        assert_eq!(lines("firefox"), [format!("firefox|{url}")]);
        assert_eq!(
            lines("firefox --new-window %s:w3m::  lynx  "),
            [
                format!("firefox|--new-window|{url}"),
                format!("w3m|{url}"),
                format!("lynx|{url}")
            ]
        );
        assert_eq!(lines("a --url=%s 100%%"), [format!("a|--url={url}|100%")]);
        // Nothing in it is for a shell.
        assert_eq!(lines("x; rm %s"), [format!("x;|rm|{url}")]);
        assert!(lines(":  :").is_empty());
    }

    #[test]
    fn without_a_list_it_is_the_desktops_choice() {
        assert!(!commands(None, "https://id").is_empty());
    }
}
