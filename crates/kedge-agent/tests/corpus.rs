//! The corpus of the fuzz target `config`, as an ordinary test.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use std::path::Path;

use proptest::prelude::*;

#[path = "../../../fuzz/checks/config.rs"]
mod checks;

#[test]
fn the_corpus_of_configurations_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/config");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        // The file's name is in the output of a failing run, just above its panic.
        println!("{}", path.display());
        checks::config(&text);
        count += 1;
    }
    assert!(count >= 20, "only {count} files");
}

proptest! {
    #[test]
    fn any_text_holds(text in "\\PC{0,200}") {
        checks::config(&text);
    }

    #[test]
    fn anything_that_looks_like_toml_holds(
        lines in prop::collection::vec(
            ("(hub|pin|ca-file|state-dir|target|host-keys|limits|admin|log|tagret|[a-z.]{1,9})",
             "(\"[^\"\\\\]{0,30}\"|[0-9]{1,20}|\\[\"[^\"\\\\]{0,9}\"\\]|true|\\{\\}|\"(tcp|unix):[0-9.:/a-z\\[\\]]{0,24}\")"),
            0..6,
        ),
        table in "(|\\[log\\]\n|\\[limits\\]\n|\\[\\[people\\]\\]\n)",
    ) {
        let mut text = table;
        for (key, value) in lines {
            text.push_str(&format!("{key} = {value}\n"));
        }
        checks::config(&text);
    }
}
