//! Label selectors mean what `kubectl -l` means by them.

#![cfg(test)]

use kedge_api::{LabelSelector, Labels};
use proptest::prelude::*;

#[test]
fn selectors_select() {
    let labels = labels(&[
        ("env", "prod"),
        ("tier", "web"),
        ("kedge.dev/role", "edge"),
        ("empty", ""),
    ]);
    for (text, selected) in [
        ("", true),
        ("  ", true),
        ("env", true),
        ("!env", false),
        ("other", false),
        ("!other", true),
        ("env=prod", true),
        ("env==prod", true),
        ("env = prod", true),
        ("env=dev", false),
        ("env!=dev", true),
        ("env!=prod", false),
        ("other!=x", true),
        ("other=x", false),
        ("empty=", true),
        ("env=", false),
        ("env in (prod)", true),
        ("env in (dev, prod)", true),
        ("env in (dev,test)", false),
        ("env notin (dev,test)", true),
        ("env notin (prod)", false),
        ("other notin (x)", true),
        ("kedge.dev/role=edge", true),
        ("env=prod,tier=web", true),
        ("env=prod,tier=db", false),
        ("env in (dev,prod),tier notin (db,cache),!other,tier", true),
        ("in", false),
        ("env in (prod),env!=prod", false),
    ] {
        let selector: LabelSelector = text.parse().unwrap();
        assert_eq!(selector.matches(&labels), selected, "{text}");
        let again: LabelSelector = selector.to_string().parse().unwrap();
        assert_eq!(again, selector, "{text} is written as {selector}");
    }
}

#[test]
fn what_is_no_selector_is_refused() {
    for text in [
        ",",
        "a,",
        ",a",
        "a,,b",
        "=a",
        "!",
        "!=a",
        "a=b=c",
        "a=b c",
        "a in",
        "a in b",
        "a in (b",
        "a in b)",
        "a in (b) c",
        "a in (b)(c)",
        "a within (b)",
        "in (b)",
        "a in (-b)",
        "a=-oProxyCommand=x",
        "a=../x",
        "a>1",
        "a\n=b",
        "a=b\0",
        "a=\u{202e}",
        &"a,".repeat(64 * 1024),
    ] {
        let Err(error) = text.parse::<LabelSelector>() else {
            panic!("{text:?} was accepted")
        };
        assert!(error.to_string().starts_with("label selector `"), "{error}");
        assert!(
            !error.to_string().chars().any(char::is_control),
            "{error:?}"
        );
    }
}

proptest! {
    #[test]
    fn no_text_panics_and_what_is_accepted_is_written_as_it_was_meant(text in prop_oneof![
        any::<String>(),
        "[a-z!=(), ]{0,40}",
        "[ab](=|!=|==)[ab](,[ab] (in|notin) \\([ab](,[ab])?\\))?(,!?[ab])?",
    ]) {
        if let Ok(selector) = text.parse::<LabelSelector>() {
            prop_assert_eq!(selector.to_string().parse::<LabelSelector>().unwrap(), selector);
        }
    }

    #[test]
    fn a_selector_and_its_opposite_divide_the_world(
        key in "[abc]", value in "[xy]", a in prop::option::of("[xy]"), b in prop::option::of("[xy]"),
    ) {
        let mut pairs = Vec::new();
        if let Some(a) = &a { pairs.push(("a", a.as_str())); }
        if let Some(b) = &b { pairs.push(("b", b.as_str())); }
        let labels = labels(&pairs);
        let matches = |text: String| text.parse::<LabelSelector>().unwrap().matches(&labels);
        prop_assert_ne!(matches(format!("{key}={value}")), matches(format!("{key}!={value}")));
        prop_assert_ne!(matches(key.clone()), matches(format!("!{key}")));
        prop_assert_ne!(matches(format!("{key} in (x,y)")), matches(format!("{key} notin (x,y)")));
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap()))
        .collect()
}
