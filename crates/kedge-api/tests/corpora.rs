//! The fuzz targets' corpora, run as ordinary tests.

#![cfg(test)]

use std::path::Path;

#[path = "../../../fuzz/checks/names.rs"]
mod names;
#[path = "../../../fuzz/checks/policy.rs"]
mod policy;
#[path = "../../../fuzz/checks/tokens.rs"]
mod tokens;

#[test]
fn the_corpus_of_names() {
    each("names", names::names);
}

#[test]
fn the_corpus_of_policies() {
    each("policy", policy::policy);
}

#[test]
fn the_corpus_of_tokens() {
    each("tokens", tokens::tokens);
}

fn each(target: &str, check: fn(&str)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        // As libFuzzer's `&str` does it: other bytes are no input.
        if let Ok(text) = std::str::from_utf8(&bytes) {
            check(text);
            count += 1;
        }
    }
    assert!(count > 10, "only {count} in {}", folder.display());
}
