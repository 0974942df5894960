//! Secrets as files: what is there is read as it is now, and nothing outside, nothing endless, nothing that everybody
//! can read.

#![cfg(test)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kedge_api::{SecretDataKey, SecretRef};
use kedge_store::{FolderSecrets, SECRET_FIELD_BYTES, SecretError, SecretField, Secrets};
use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

#[tokio::test]
async fn a_field_is_read_as_it_is_now() {
    let place = Place::new();
    place.write("keys/web01/ssh-privatekey", b"first\n");
    assert_eq!(*place.field().await.unwrap().bytes, b"first\n");
    place.write("keys/web01/ssh-privatekey", b"second, and longer");
    assert_eq!(*place.field().await.unwrap().bytes, b"second, and longer");
    place.write("keys/web01/ssh-privatekey", b"");
    assert_eq!(*place.field().await.unwrap().bytes, b"");
    fs::remove_file(place.path("keys/web01/ssh-privatekey")).unwrap();
    assert!(matches!(
        place.refused().await,
        SecretError::FieldMissing { .. }
    ));
    place.write("keys/web01/other", b"another key of its data");
    let other = place.read("keys", "web01", "other").await.unwrap();
    assert_eq!(*other.bytes, b"another key of its data");
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let place = Place::new();
    let shown = |error: SecretError| (error.reason(), error.to_string());
    assert_eq!(
        shown(place.refused().await),
        ("SecretNotFound", "secret keys/web01 not found".to_owned())
    );
    fs::create_dir_all(place.path("keys")).unwrap();
    assert_eq!(shown(place.refused().await).0, "SecretNotFound");
    fs::create_dir_all(place.path("keys/web01")).unwrap();
    assert_eq!(
        shown(place.refused().await),
        (
            "SecretKeyMissing",
            "secret keys/web01 has no key `ssh-privatekey`".to_owned()
        )
    );
    symlink("nowhere", place.path("keys/web01/ssh-privatekey")).unwrap();
    assert_eq!(shown(place.refused().await).0, "SecretKeyMissing");
    let nowhere = FolderSecrets::new(place.path("no/such/folder"));
    let error = nowhere.field(&web01(), &key()).await.unwrap_err();
    assert_eq!(
        shown(error),
        (
            "SecretUnavailable",
            "secret keys/web01 cannot be read now: the folder of secrets: not there".to_owned()
        )
    );
}

#[tokio::test]
async fn the_size_is_bounded() {
    let place = Place::new();
    place.write("keys/web01/ssh-privatekey", &vec![b'k'; SECRET_FIELD_BYTES]);
    assert_eq!(place.field().await.unwrap().bytes.len(), SECRET_FIELD_BYTES);
    place.write(
        "keys/web01/ssh-privatekey",
        &vec![b'k'; SECRET_FIELD_BYTES + 1],
    );
    let error = place.refused().await;
    assert_eq!(
        error.to_string(),
        "key `ssh-privatekey` of secret keys/web01 has more than 65536 bytes"
    );
    // A hole is not read to its end.
    let file = fs::File::create(place.path("keys/web01/ssh-privatekey")).unwrap();
    file.set_len(1 << 40).unwrap();
    place.protect("keys/web01/ssh-privatekey", 0o600);
    assert!(matches!(
        place.refused().await,
        SecretError::TooLarge { .. }
    ));
}

#[tokio::test]
async fn links_are_followed_as_far_as_they_stay_inside() {
    let place = Place::new();
    place.write("keys/web01/..2026_01_01/ssh-privatekey", b"by the kubelet");
    symlink("..2026_01_01", place.path("keys/web01/..data")).unwrap();
    symlink(
        "..data/ssh-privatekey",
        place.path("keys/web01/ssh-privatekey"),
    )
    .unwrap();
    assert_eq!(*place.field().await.unwrap().bytes, b"by the kubelet");
    // Up and down again, and a whole Secret that is a link to another.
    symlink("../keys/./web01//", place.path("keys/web02")).unwrap();
    let linked = place.read("keys", "web02", "ssh-privatekey").await.unwrap();
    assert_eq!(*linked.bytes, b"by the kubelet");
    symlink("keys", place.path("more")).unwrap();
    assert!(place.read("more", "web02", "ssh-privatekey").await.is_ok());

    place.write("../outside/ssh-privatekey", b"not to be read");
    let absolute = place.path("keys/web01/..2026_01_01/ssh-privatekey");
    for target in [
        "../../../outside/ssh-privatekey",
        "../../../../../../../../../../etc/passwd",
        "../../../root/keys/web01/..data/ssh-privatekey",
        "/etc/passwd",
        "/proc/self/environ",
        "..data/../../../../outside/ssh-privatekey",
        absolute.to_str().unwrap(),
    ] {
        let link = place.path("keys/web01/ssh-privatekey");
        fs::remove_file(&link).unwrap();
        symlink(target, &link).unwrap();
        let error = place.refused().await.to_string();
        assert!(
            error.ends_with("a link leads out of the folder of secrets"),
            "{target}: {error}"
        );
    }
    fs::remove_file(place.path("keys/web01/ssh-privatekey")).unwrap();
    symlink("ssh-privatekey", place.path("keys/web01/ssh-privatekey")).unwrap();
    let error = place.refused().await.to_string();
    assert!(error.contains("too many links"), "{error}");
}

#[tokio::test]
async fn the_root_may_be_a_link_that_is_set_anew() {
    let place = Place::new();
    place.write("1/keys/web01/ssh-privatekey", b"first");
    place.write("2/keys/web01/ssh-privatekey", b"second");
    let current = place.path("current");
    let secrets = FolderSecrets::new(&current);
    for (generation, expected) in [("1", b"first".as_slice()), ("2", b"second")] {
        let _ = fs::remove_file(&current);
        symlink(place.path(generation), &current).unwrap();
        let field = secrets.field(&web01(), &key()).await.unwrap();
        assert_eq!(*field.bytes, expected);
    }
}

#[tokio::test]
async fn what_is_no_file_is_refused_without_waiting() {
    let place = Place::new();
    fs::create_dir_all(place.path("keys/web01")).unwrap();
    let path = place.path("keys/web01/ssh-privatekey");
    let refused = async |what: &str| {
        let begun = Instant::now();
        let error = place.refused().await.to_string();
        assert!(error.contains("not a regular file"), "{what}: {error}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{what}");
    };
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
    refused("a pipe").await;
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused("a folder").await;
    fs::remove_dir(&path).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    refused("a socket").await;
    fs::remove_file(&path).unwrap();
    // Only root makes devices, and not everywhere.
    let zero = rustix::fs::makedev(1, 5);
    if mknodat(CWD, &path, FileType::CharacterDevice, Mode::RUSR, zero).is_ok() {
        refused("a device").await;
        fs::remove_file(&path).unwrap();
    }
    fs::remove_dir(place.path("keys/web01")).unwrap();
    place.write("keys/web01", b"a file in place of the folder");
    let error = place.refused().await;
    assert_eq!(error.reason(), "SecretUnreadable");
    assert!(error.to_string().contains("other than a folder"), "{error}");
}

#[tokio::test]
async fn what_everybody_can_reach_is_no_secret() {
    let place = Place::new();
    place.write("keys/web01/ssh-privatekey", b"key");
    for mode in [0o400, 0o440, 0o600, 0o640, 0o660, 0o770] {
        place.protect("keys/web01/ssh-privatekey", mode);
        assert!(place.field().await.is_ok(), "{mode:o}");
    }
    for mode in [0o644, 0o604, 0o602, 0o666, 0o601, 0o777] {
        place.protect("keys/web01/ssh-privatekey", mode);
        let error = place.refused().await.to_string();
        let expected = format!(
            "key `ssh-privatekey` of secret keys/web01 cannot be used: its file has mode {mode:04o}, which lets everybody \
             on the machine at it; `chmod o= keys/web01/ssh-privatekey` in the folder of secrets"
        );
        assert_eq!(error, expected);
    }
}

#[tokio::test]
async fn the_owners_word_is_read_beside_it() {
    let place = Place::new();
    place.write("keys/web01/ssh-privatekey", b"key");
    assert_eq!(place.field().await.unwrap().servers, None);
    fs::create_dir_all(place.path("keys/web01/..annotations/kedge.dev")).unwrap();
    assert_eq!(place.field().await.unwrap().servers, None);
    for text in ["", "web01\n", "env in (prod),!old"] {
        place.write(ANNOTATION, text.as_bytes());
        let field = place.field().await.unwrap();
        assert_eq!(field.servers.as_deref(), Some(text));
    }
    // It is no secret, but it must not be everybody's to write.
    place.protect(ANNOTATION, 0o644);
    assert!(place.field().await.is_ok());
    place.protect(ANNOTATION, 0o646);
    assert!(place.refused().await.to_string().contains("may write it"));
}

#[tokio::test]
async fn an_offer_that_cannot_be_read_is_no_offer_to_everybody() {
    type Damage = fn(&Place);
    let damages: [(&str, Damage); 7] = [
        ("not UTF-8 text", |place| {
            place.write(ANNOTATION, b"web\xff01");
        }),
        ("more than 65536 bytes", |place| {
            place.write(ANNOTATION, &vec![b'a'; 64 * 1024 + 1]);
        }),
        ("other than a folder", |place| {
            place.write("keys/web01/..annotations", b"");
        }),
        ("other than a folder", |place| {
            place.write("keys/web01/..annotations/kedge.dev", b"web01");
        }),
        ("not a regular file", |place| {
            fs::create_dir_all(place.path(ANNOTATION)).unwrap();
        }),
        ("leads to nothing", |place| {
            symlink("..nothing", place.path("keys/web01/..annotations")).unwrap();
        }),
        ("leads out of", |place| {
            place.write("../outside/kedge.dev/servers", b"web01");
            symlink("../../../outside", place.path("keys/web01/..annotations")).unwrap();
        }),
    ];
    for (why, damage) in damages {
        let place = Place::new();
        place.write("keys/web01/ssh-privatekey", b"key");
        damage(&place);
        let error = place.refused().await;
        assert_eq!(error.reason(), "SecretUnreadable");
        let shown = error.to_string();
        assert!(
            shown.contains("its annotation kedge.dev/servers: "),
            "{shown}"
        );
        assert!(shown.contains(why), "{why}: {shown}");
    }
}

/// All fields are exchanged at once, by the steps the kubelet takes; nobody who reads meanwhile meets nothing.
#[test]
fn a_rotation_is_one_moment() {
    let place = Place::new();
    let secret = place.path("keys/web01");
    let version = |number: u32| {
        place.write(
            &format!("keys/web01/..v{number}/ssh-privatekey"),
            format!("version {number}").as_bytes(),
        );
        format!("..v{number}")
    };
    symlink(version(0), secret.join("..data")).unwrap();
    symlink("..data/ssh-privatekey", secret.join("ssh-privatekey")).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..200 {
                symlink(version(number), secret.join("..data_tmp")).unwrap();
                fs::rename(secret.join("..data_tmp"), secret.join("..data")).unwrap();
                fs::remove_dir_all(secret.join(format!("..v{}", number - 1))).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        runtime().block_on(async {
            while !done.load(Ordering::Relaxed) {
                let field = place.field().await.unwrap();
                assert!(field.bytes.starts_with(b"version "));
            }
        });
    });
}

#[tokio::test]
async fn nothing_shows_what_is_in_it() {
    let place = Place::new();
    place.write("keys/web01/ssh-privatekey", b"open sesame");
    let shown = format!("{:?}", place.field().await.unwrap());
    assert_eq!(shown, "SecretField { servers: None, .. }");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_link_leads_out(target in "(/|)((\\.\\.|\\.|a|root|outside|keys|web01|ssh-privatekey|key|)/){0,7}(key|\\.\\.|a)") {
        let place = Place::new();
        place.write("keys/web01/a/key", b"inside");
        place.write("keys/web01/key", b"inside");
        place.write("key", b"inside");
        place.write("keys/key", b"inside");
        for folder in ["../outside", "..", "../.."] {
            place.write(&format!("{folder}/key"), b"outside");
        }
        symlink(target, place.path("keys/web01/ssh-privatekey")).unwrap();
        if let Ok(field) = runtime().block_on(place.field()) {
            prop_assert_eq!(&*field.bytes, b"inside");
        }
    }
}

const ANNOTATION: &str = "keys/web01/..annotations/kedge.dev/servers";

/// A root of Secrets, two folders below one of its own, so that there is an outside to lead to.
struct Place {
    folder: TempDir,
    secrets: FolderSecrets,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("base/root");
        fs::create_dir_all(&root).unwrap();
        Self {
            folder,
            secrets: FolderSecrets::new(root),
        }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join("base/root").join(below)
    }

    fn write(&self, below: &str, bytes: &[u8]) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        protect(&path, 0o600);
    }

    fn protect(&self, below: &str, mode: u32) {
        protect(&self.path(below), mode);
    }

    async fn read(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<SecretField, SecretError> {
        let secret = SecretRef {
            name: name.parse().unwrap(),
            namespace: namespace.parse().unwrap(),
        };
        self.secrets.field(&secret, &key.parse().unwrap()).await
    }

    async fn field(&self) -> Result<SecretField, SecretError> {
        self.read("keys", "web01", "ssh-privatekey").await
    }

    async fn refused(&self) -> SecretError {
        let error = self.field().await.unwrap_err();
        assert_eq!(error.secret(), &web01());
        assert!(!error.to_string().chars().any(char::is_control));
        error
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().unwrap()
}

fn protect(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn web01() -> SecretRef {
    SecretRef {
        name: "web01".parse().unwrap(),
        namespace: "keys".parse().unwrap(),
    }
}

fn key() -> SecretDataKey {
    SecretDataKey::default()
}
