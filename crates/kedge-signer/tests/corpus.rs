//! Everything that fuzzing the signer has found, and the requests it began with; also cut, changed and put together in
//! other ways.

#![cfg(test)]

use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;

#[path = "../../../fuzz/checks/agent_request.rs"]
mod check;

#[test]
fn the_corpus_of_agent_requests() {
    assert!(CORPUS.len() > 10, "only {} inputs", CORPUS.len());
    for input in &*CORPUS {
        check::agent_request(input);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn the_corpus_in_other_orders(
        allowed in 0_u8..2,
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..5),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut input = vec![allowed];
        for pick in picks {
            // Without their first byte, which says what is allowed.
            input.extend(CORPUS[pick.index(CORPUS.len())].iter().skip(1));
        }
        for (at, byte) in changes {
            let at = at.index(input.len());
            input[at] = byte;
        }
        check::agent_request(&input);
    }
}

static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/agent_request");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
});
