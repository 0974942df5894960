//! What the manifests become: goldens of `kubectl kustomize`, refreshed with `cargo xtask bless`. Whether a server takes
//! them is tried end to end.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::process::Command;

use kedge_testkit::kube::{manifests, programs};

#[test]
fn golden_of_the_base() {
    insta::assert_snapshot!(rendered("base"));
}

#[test]
fn golden_of_the_overlay_dev() {
    insta::assert_snapshot!(rendered("overlays/dev"));
}

#[test]
fn golden_of_the_overlay_ha() {
    insta::assert_snapshot!(rendered("overlays/ha"));
}

#[test]
fn golden_of_the_overlay_single() {
    insta::assert_snapshot!(rendered("overlays/single"));
}

/// Images are pinned, and nobody's registry is meant.
#[test]
fn images_are_pinned_and_of_no_registry() {
    for folder in ["base", "overlays/dev", "overlays/ha", "overlays/single"] {
        let rendered = rendered(folder);
        let images: Vec<_> = rendered
            .lines()
            .filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix("image: "))
            .collect();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(images, [format!("kedge-hub:{version}")], "{folder}");
    }
}

/// Without the definitions of the kinds: they are files of their own, which `cargo xtask generate` writes.
fn rendered(folder: &str) -> String {
    let output = Command::new(programs().unwrap().join("kubectl"))
        .arg("kustomize")
        .arg(manifests().join(folder))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    // What is deprecated is said here.
    assert_eq!(said, "");
    let rendered = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<_> = rendered
        .split("---\n")
        .filter(|object| !object.contains("\nkind: CustomResourceDefinition\n"))
        .collect();
    objects.join("---\n")
}
