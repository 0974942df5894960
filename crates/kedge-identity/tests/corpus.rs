//! The corpus of the fuzz target `id_token`, as an ordinary test.

#![cfg(test)]

use std::path::Path;

#[path = "../../../fuzz/checks/id_token.rs"]
mod checks;

#[test]
fn the_corpus_of_id_tokens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/id_token");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        // As libFuzzer's `&str` does it: other bytes are no input.
        if let Ok(text) = std::str::from_utf8(&bytes) {
            checks::id_token(text);
            count += 1;
        }
    }
    assert!(count > 20, "only {count} in {}", folder.display());
}
