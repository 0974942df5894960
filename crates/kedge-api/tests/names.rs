//! No name can hold what its place cannot bear.

#![cfg(test)]

use std::fmt::Debug;
use std::str::FromStr;

use kedge_api::{
    Group, HubId, HubName, HubUrl, LabelKey, LabelValue, Line, Login, NameError, Namespace,
    ObjectName, SecretDataKey, SecretName, ServerName, SessionId, Subject, Suffix, Uid,
};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What no name of any kind may be.
const HOSTILE: &[&str] = &[
    "",
    " ",
    " web01",
    "web01 ",
    "web01\t",
    "web01\n",
    "\nweb01",
    "web\r\n01",
    "web01\0",
    "\0",
    "web\u{1b}[2J01",
    "web\u{202e}01",
    "web\u{2066}01",
    "web\u{200b}01",
    "web\u{feff}01",
    "web\u{2028}01",
    "web\u{7f}",
    "web\u{9b}01",
];

/// What no name of a machine, a login or a label may be.
const HOSTILE_TO_A_SHELL: &[&str] = &[
    "-oProxyCommand=x",
    "-l",
    "--",
    "-",
    "../x",
    "..",
    ".",
    "/etc/passwd",
    "a/../b",
    "a\\b",
    "%h",
    "%C",
    "web01,db01",
    "web01:22",
    "alice@web01",
    "[::1]",
    "~root",
    "$HOME",
    "$(id)",
    "`id`",
    "a;b",
    "a|b",
    "a&b",
    "a>b",
    "a'b",
    "a\"b",
    "a*b",
    "*",
    "?",
    "!x",
    "{login}",
    "#x",
    "ｗｅｂ01",
    "wéb",
    "веб",
    "web01\u{301}",
];

#[test]
fn server_names() {
    let max = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    assert_eq!(max.len(), 253);
    let longer = format!("{max}c");
    check::<ServerName>(
        &[
            "a",
            "0",
            "web01",
            "web-01",
            "web01.corp.example",
            "1.2.3.4",
            "a--b",
            "xn--bcher-kva",
            &max,
        ],
        &[
            "Web01",
            "WEB01",
            "web_01",
            "-web",
            "web-",
            "a..b",
            ".a",
            "a.",
            "a.-b",
            "a-.b",
            &longer,
            &"a".repeat(64),
        ],
    );
    check_all::<ServerName>(HOSTILE_TO_A_SHELL);
    check_all::<ObjectName>(HOSTILE_TO_A_SHELL);
    check_all::<Suffix>(HOSTILE_TO_A_SHELL);
    check::<HubName>(
        &["main", "hub-2"],
        &["a.b", "Main", "-a", "a-", &"a".repeat(64)],
    );
    check_all::<HubName>(HOSTILE_TO_A_SHELL);
}

#[test]
fn secrets() {
    let label = "a".repeat(63);
    check::<Namespace>(
        &["kedge", "ssh-keys", "0", &label],
        &["a.b", "Kedge", "-a", "a-", "a/b", &"a".repeat(64)],
    );
    check_all::<Namespace>(HOSTILE_TO_A_SHELL);
    let name = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    check::<SecretName>(
        &["web01", "web01.corp.example", "a--b", &name],
        &["Web01", "web_01", "a..b", ".a", "a.", &format!("{name}c")],
    );
    check_all::<SecretName>(HOSTILE_TO_A_SHELL);
    check::<SecretDataKey>(
        &[
            "ssh-privatekey",
            "id_ed25519",
            ".hidden",
            "a..b",
            "-",
            "A.B",
            &"k".repeat(253),
        ],
        &[
            ".",
            "..",
            "..data",
            "..annotations",
            "...",
            "a/b",
            "../x",
            "a b",
            "a\\b",
            "%h",
            "größe",
            &"k".repeat(254),
        ],
    );
    assert_eq!(SecretDataKey::default(), "ssh-privatekey");
    assert!(
        SecretDataKey::default()
            .as_str()
            .parse::<SecretDataKey>()
            .is_ok()
    );
}

#[test]
fn logins() {
    check::<Login>(
        &[
            "a",
            "_",
            "alice",
            "_apt",
            "systemd-network",
            "a1",
            "x_y-z",
            "root",
            &"a".repeat(32),
        ],
        &[
            "Alice",
            "1a",
            "-a",
            "a.b",
            "a$",
            "alice@corp",
            &"a".repeat(33),
        ],
    );
    check_all::<Login>(HOSTILE_TO_A_SHELL);
    assert!("root".parse::<Login>().unwrap().is_root());
    assert!(!"root2".parse::<Login>().unwrap().is_root());
}

#[test]
fn subjects_groups_and_lines() {
    let long = "x".repeat(256);
    let longer = "x".repeat(257);
    check::<Subject>(
        &["alice", "a b", "größe", "google-oauth2|1", "*", &long],
        &[&longer],
    );
    check::<Group>(&["dev", "CN=Dev,OU=People", "/realm/dev"], &[&longer]);
    check::<Line>(&["Debian GNU/Linux 12", "0.1.0"], &[&"x".repeat(129)]);
}

#[test]
fn labels() {
    let part = "a".repeat(63);
    check::<LabelKey>(
        &["env", "a", "A-b_c.d", "kedge.dev/role", &part],
        &[
            "-a",
            "a-",
            "a/b/c",
            "/a",
            "a/",
            "Kedge.dev/a",
            "a..b/c",
            &"a".repeat(64),
        ],
    );
    check_all::<LabelKey>(&[
        "-oProxyCommand=x",
        "../x",
        "%h",
        "a,b",
        "a=b",
        "!a",
        "ｅｎｖ",
    ]);
    assert!("".parse::<LabelValue>().is_ok());
    for legal in ["prod", "1.2.3", "A_b-c", &part] {
        accepted::<LabelValue>(legal);
    }
    for illegal in [
        "-a",
        "a-",
        ".a",
        "a b",
        "a/b",
        "a,b",
        "größe",
        "a\n",
        &"a".repeat(64),
    ] {
        refused::<LabelValue>(illegal);
    }
}

#[test]
fn ids() {
    let bytes = [0xff; 16];
    let id = SessionId::from_bytes(bytes);
    assert_eq!(id.as_str(), "s-77777777777777777777777774");
    assert_eq!(
        SessionId::from_bytes([0; 16]).as_str(),
        "s-aaaaaaaaaaaaaaaaaaaaaaaaaa"
    );
    assert_eq!(
        HubId::from_bytes(bytes).as_str(),
        "h-77777777777777777777777774"
    );
    // RFC 4648 §10: base32("foobar") is MZXW6YTBOI.
    let mut foobar = [0; 16];
    foobar[..6].copy_from_slice(b"foobar");
    assert!(
        SessionId::from_bytes(foobar)
            .as_str()
            .starts_with("s-mzxw6ytboi")
    );
    check::<SessionId>(
        &[id.as_str()],
        &[
            "s-",
            "h-77777777777777777777777774",
            "s-7777777777777777777777777",
            "s-1aaaaaaaaaaaaaaaaaaaaaaaaa",
            "S-aaaaaaaaaaaaaaaaaaaaaaaaaa",
        ],
    );
    assert_eq!(
        Uid::from_bytes([0xff; 16]).as_str(),
        "ffffffff-ffff-4fff-bfff-ffffffffffff"
    );
    assert_eq!(
        Uid::from_bytes([0; 16]).as_str(),
        "00000000-0000-4000-8000-000000000000"
    );
    check::<Uid>(
        &["00000000-0000-4000-8000-000000000000"],
        &[
            "00000000-0000-4000-8000-00000000000",
            "00000000-0000-4000-8000-000000000000-",
            "FFFFFFFF-0000-4000-8000-000000000000",
            "00000000000040008000000000000000",
        ],
    );
}

#[test]
fn hub_urls() {
    for (text, shown) in [
        ("https://hub.example", "https://hub.example"),
        ("https://hub.example/", "https://hub.example"),
        ("https://hub.example:443", "https://hub.example"),
        ("https://hub.example:8443", "https://hub.example:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("hub.example", "https://hub.example"),
        ("hub.example:8443", "https://hub.example:8443"),
        ("HTTPS://HUB.example", "https://hub.example"),
    ] {
        let url: HubUrl = text.parse().unwrap();
        assert_eq!(url.to_string(), shown);
        assert_eq!(shown.parse::<HubUrl>().unwrap(), url);
    }
    for illegal in [
        "ftp://hub.example",
        "file:///etc/passwd",
        "javascript://x",
        "https://",
        "https:///x",
        "https://alice@hub.example",
        "https://alice:secret@hub.example",
        "https://@hub.example",
        "https://hub.example/path",
        "https://hub.example?x=1",
        "https://hub.example#x",
        "https://hub.example:0",
        "https://hub.example:99999",
        "https://hub.example\\@evil.example",
        "https://hub.exa mple",
        "https://hub.example\n",
        "\thttps://hub.example",
        "https://hüb.example",
        "https://-oProxyCommand=x",
        "https://hub,evil",
        "https://%68ub.example\u{0}",
        "-oProxyCommand=x",
    ] {
        refused::<HubUrl>(illegal);
    }
    let url: HubUrl = "https://hub.example".parse().unwrap();
    assert_eq!(
        (url.host(), url.port(), url.is_tls()),
        ("hub.example", 443, true)
    );
    let url: HubUrl = "http://hub.example:81".parse().unwrap();
    assert_eq!(
        (url.host(), url.port(), url.is_tls()),
        ("hub.example", 81, false)
    );
}

#[test]
fn errors_name_the_object_and_stay_on_one_line() {
    let error = "web\n01\u{202e}".parse::<ServerName>().unwrap_err();
    assert_eq!(
        error.to_string(),
        r"server name `web\u{a}01\u{202e}` is not legal: contains \u{a}; only a-z, 0-9 and `-` are allowed"
    );
    let error = "x".repeat(64 * 1024).parse::<ServerName>().unwrap_err();
    assert!(error.to_string().len() < 400, "{error}");
    assert!(
        error
            .to_string()
            .ends_with("65536 bytes, at most 253 allowed"),
        "{error}"
    );
}

/// All of [`HOSTILE`] and 64 KiB are refused, and so is `illegal`; `legal` comes back as it was.
fn check<T: Name>(legal: &[&str], illegal: &[&str]) {
    check_all::<T>(HOSTILE);
    check_all::<T>(illegal);
    check_all::<T>(&["x".repeat(64 * 1024).as_str()]);
    for text in legal {
        accepted::<T>(text);
    }
}

fn check_all<T: Name>(illegal: &[&str]) {
    for text in illegal {
        refused::<T>(text);
    }
}

fn accepted<T: Name>(text: &str) {
    let name: T = text.parse().unwrap();
    assert_eq!(name.to_string(), text);
    let json = serde_json::to_string(&name).unwrap();
    assert_eq!(serde_json::from_str::<T>(&json).unwrap(), name);
}

fn refused<T: Name>(text: &str) {
    let Err(error) = text.parse::<T>() else {
        panic!("{text:?} was accepted")
    };
    let shown = error.to_string();
    assert!(
        !shown.chars().any(|c| c.is_control() || c == '\u{202e}'),
        "{shown:?}"
    );
    let json = serde_json::to_string(text).unwrap();
    assert!(
        serde_json::from_str::<T>(&json).is_err(),
        "{text:?} was accepted from JSON"
    );
}

trait Name:
    FromStr<Err = NameError> + Debug + ToString + PartialEq + Serialize + DeserializeOwned
{
}
impl<T> Name for T where
    T: FromStr<Err = NameError> + Debug + ToString + PartialEq + Serialize + DeserializeOwned
{
}

proptest! {
    #[test]
    fn what_is_accepted_as_a_server_name_is_harmless(text in any_name()) {
        if let Ok(name) = text.parse::<ServerName>() {
            prop_assert_eq!(name.as_str(), &text);
            prop_assert!(!text.is_empty() && text.len() <= 253);
            prop_assert!(text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.')));
            for label in text.split('.') {
                prop_assert!((1..=63).contains(&label.len()));
                prop_assert!(!label.starts_with('-') && !label.ends_with('-'));
            }
        }
    }

    #[test]
    fn what_is_accepted_as_a_login_is_harmless(text in any_name()) {
        if let Ok(login) = text.parse::<Login>() {
            prop_assert_eq!(login.as_str(), &text);
            prop_assert!((1..=32).contains(&text.len()));
            prop_assert!(!text.starts_with('-'));
            prop_assert!(text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-')));
        }
    }

    #[test]
    fn every_login_useradd_would_make_is_accepted(text in "[a-z_][a-z0-9_-]{0,31}") {
        prop_assert!(text.parse::<Login>().is_ok());
    }

    #[test]
    fn every_kubernetes_name_is_accepted(
        text in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?){0,4}"
    ) {
        prop_assert!(text.parse::<ServerName>().is_ok());
        prop_assert!(text.parse::<ObjectName>().is_ok());
    }

    #[test]
    fn what_is_accepted_as_the_key_of_a_secret_is_a_file_in_its_folder(text in any_name()) {
        if let Ok(key) = text.parse::<SecretDataKey>() {
            prop_assert_eq!(key.as_str(), &text);
            prop_assert!((1..=253).contains(&text.len()));
            prop_assert!(text != "." && !text.starts_with(".."));
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
        }
    }

    #[test]
    fn subjects_are_one_visible_line(text in any_name()) {
        if let Ok(subject) = text.parse::<Subject>() {
            prop_assert!(!subject.as_str().chars().any(char::is_control));
            prop_assert_eq!(subject.as_str().trim(), subject.as_str());
            prop_assert!(subject.as_str().len() <= 256);
        }
    }

    #[test]
    fn hub_urls_never_carry_more_than_a_place(text in any_name()) {
        if let Ok(url) = text.parse::<HubUrl>() {
            let shown = url.to_string();
            prop_assert_eq!(&shown.parse::<HubUrl>().unwrap(), &url);
            prop_assert_eq!(url.as_url().path(), "/");
            prop_assert!(!shown.contains(['@', '?', '#', ' ', '\\', '%']));
        }
    }

    #[test]
    fn ids_keep_all_their_bits(a in any::<[u8; 16]>(), b in any::<[u8; 16]>()) {
        prop_assert_eq!(SessionId::from_bytes(a) == SessionId::from_bytes(b), a == b);
        let id = SessionId::from_bytes(a);
        prop_assert_eq!(id.as_str().parse::<SessionId>().unwrap(), id);
        prop_assert!(Uid::from_bytes(a).as_str().parse::<Uid>().is_ok());
    }
}

/// Text near the border of what is legal, and far from it.
fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-zA-Z0-9_.%/@:?#-]{0,40}",
        "https?://[a-z0-9.:@/?#\\[\\]-]{0,30}",
        "[a-z0-9.-]{200,300}",
    ]
}
