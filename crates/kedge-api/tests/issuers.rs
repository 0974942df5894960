//! Issuers are what they call themselves, to the letter; spans are what Kubernetes writes.

#![cfg(test)]

use kedge_api::{Issuer, IssuerUrl, Span};

#[test]
fn an_issuer_is_a_url_that_is_safe_to_ask() {
    for legal in [
        "https://id.example",
        "https://id.example/",
        "https://id.example:8443/realms/main",
        "https://login.example/11111111-2222-3333-4444-555555555555/v2.0",
        "https://id.example/realms/a%20b",
        "https://ID.example",
        "http://127.0.0.1:8080",
        "http://localhost:8080/x",
        "http://[::1]:8080",
        "https://10.0.0.1/x",
    ] {
        let url: IssuerUrl = legal.parse().unwrap();
        assert_eq!(url.as_str(), legal);
        assert_eq!(Issuer::from(url.clone()), url);
        assert_eq!(legal.parse::<Issuer>().unwrap().url(), Some(url));
    }
    for illegal in [
        "",
        "id.example",
        "static",
        "http://id.example",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "ftp://id.example",
        "https:id.example",
        "https:/id.example",
        "https:///id.example",
        "https://",
        "https://alice@id.example",
        "https://alice:x@id.example",
        "https://id.example?x",
        "https://id.example#x",
        "https://id.example/a/../b",
        "https://id.example/./b",
        "https://id.example\\x",
        "https://id.example /x",
        " https://id.example",
        "https://id.example\n",
        "https://iԁ.example",
        "javascript:alert(1)",
        "file:///etc/passwd",
    ] {
        assert!(illegal.parse::<IssuerUrl>().is_err(), "{illegal:?}");
    }
    let long = format!("https://id.example/{}", "x".repeat(1024));
    assert!(long.parse::<IssuerUrl>().is_err());
}

#[test]
fn a_slash_at_the_end_makes_another_issuer_with_the_same_document() {
    let (with, without): (IssuerUrl, IssuerUrl) = (
        "https://id.example/a/".parse().unwrap(),
        "https://id.example/a".parse().unwrap(),
    );
    assert_ne!(with, without);
    let document = "https://id.example/a/.well-known/openid-configuration";
    assert_eq!(with.discovery_url(), document);
    assert_eq!(without.discovery_url(), document);
}

#[test]
fn the_host_is_what_people_know_it_by() {
    for (url, host) in [
        ("https://id.example:8443/realms/main", "id.example"),
        ("https://id.example", "id.example"),
        ("http://127.0.0.1:80/", "127.0.0.1"),
        ("http://[::1]:8080/x", "[::1]"),
        ("http://[::1]", "[::1]"),
    ] {
        assert_eq!(url.parse::<IssuerUrl>().unwrap().host(), host);
    }
}

#[test]
fn the_hubs_configuration_is_an_issuer_without_a_url() {
    let fixed = Issuer::of_configuration();
    assert_eq!(fixed.as_str(), "static");
    assert_eq!(fixed.url(), None);
    assert_eq!("static".parse::<Issuer>().unwrap(), fixed);
}

#[test]
fn spans_come_out_as_short_as_they_can() {
    for (text, seconds, shown) in [
        ("1s", 1, "1s"),
        ("90s", 90, "1m30s"),
        ("60m", 3600, "1h"),
        ("8h0m0s", 28_800, "8h"),
        ("1h30m", 5400, "1h30m"),
        ("0h0m5s", 5, "5s"),
        ("87600h", 315_360_000, "87600h"),
    ] {
        let span: Span = text.parse().unwrap();
        assert_eq!(span.duration().as_secs(), seconds, "{text}");
        assert_eq!(span.to_string(), shown);
        assert_eq!(shown.parse::<Span>().unwrap(), span);
    }
    for illegal in [
        "",
        "0s",
        "0h",
        "5",
        "s",
        "1d",
        "1h1h",
        "1m1h",
        "+1s",
        "-1s",
        "1.5h",
        "1 h",
        " 1h",
        "1H",
        "300ms",
        "88000h",
        "99999999999999999999s",
        "18446744073709551615h",
        "١s",
    ] {
        assert!(illegal.parse::<Span>().is_err(), "{illegal:?}");
    }
}
