//! The OCI image layout in one tar (image-spec `image-layout.md`): blobs by their digest, and an index that names one
//! image. Layers are not compressed: what takes them compresses them as it likes, and a digest must not hang on a
//! compressor's version.

use std::fmt;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType};

use super::layer::append;
use super::{Architecture, DATA, Layer, PROGRAM, Reference};

/// An image that is about to be written.
#[derive(Debug)]
pub(crate) struct Image {
    /// What it is called where it is imported.
    pub(crate) name: Reference,
    /// What its programs are built for.
    pub(crate) architecture: Architecture,
    /// How it is run.
    pub(crate) settings: Settings,
    /// Its files, the lowest layer first.
    pub(crate) layers: Vec<Layer>,
}

/// How an image is run, unless whoever runs it says otherwise.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// The command.
    pub(crate) entrypoint: Vec<String>,
    /// `UID:GID`; root when none is named.
    pub(crate) user: Option<String>,
    /// What it is, by the keys of image-spec `annotations.md`.
    pub(crate) labels: Vec<(&'static str, String)>,
}

/// What was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// The digest of the image's manifest, by which everybody knows the image.
    pub(crate) digest: Digest,
    /// The size of the file, in bytes.
    pub(crate) size: u64,
    /// Whose programs are in it.
    pub(crate) architecture: Architecture,
}

/// A SHA-256 digest, shown as `sha256:HEX`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Digest(String);

impl Digest {
    fn of(content: &[u8]) -> Self {
        let hash = Sha256::digest(content);
        Self(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl Image {
    /// Writes it as one tar. Another file of that name stays whole until this one is.
    ///
    /// # Errors
    ///
    /// When a layer cannot be packed or the file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<Written> {
        let parts = self.parts()?;
        let folder = path.parent().context("a file has a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let mut making = tempfile::NamedTempFile::new_in(folder)
            .with_context(|| format!("write into {}", folder.display()))?;
        pack(&parts, making.as_file_mut()).with_context(|| format!("write {}", path.display()))?;
        // Whoever imports it may be somebody else.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(DATA);
        making.as_file().set_permissions(mode)?;
        let file = making
            .persist(path)
            .with_context(|| format!("write {}", path.display()))?;
        Ok(Written {
            digest: parts.manifest,
            size: file.metadata()?.len(),
            architecture: self.architecture,
        })
    }

    fn parts(&self) -> Result<Parts> {
        let mut parts = Parts {
            blobs: Vec::new(),
            index: Vec::new(),
            manifest: Digest(String::new()),
        };
        let mut layers = Vec::new();
        let mut digests = Vec::new();
        for layer in &self.layers {
            let described = parts.add(LAYER, layer.tar()?);
            digests.push(described.get("digest").cloned().unwrap_or_default());
            layers.push(described);
        }
        let config = json!({
            "architecture": self.architecture.to_string(),
            "os": OS,
            "config": self.settings.to_json(),
            // Not compressed, so each is its own digest twice.
            "rootfs": { "type": "layers", "diff_ids": digests },
        });
        let config = parts.add(CONFIG, config.to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": layers,
        });
        let manifest = manifest.to_string().into_bytes();
        parts.manifest = Digest::of(&manifest);
        let mut manifest = parts.add(MANIFEST, manifest);
        let name = self.name.to_string();
        if let Some(manifest) = manifest.as_object_mut() {
            let platform = json!({ "architecture": self.architecture.to_string(), "os": OS });
            manifest.insert("platform".to_owned(), platform);
            manifest.insert(
                "annotations".to_owned(),
                // The second is for a containerd that takes the first for a tag.
                json!({ "org.opencontainers.image.ref.name": name, "io.containerd.image.name": name }),
            );
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
        parts.index = index.to_string().into_bytes();
        Ok(parts)
    }
}

impl Settings {
    fn to_json(&self) -> Value {
        let labels: serde_json::Map<String, Value> = self
            .labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(value.as_str())))
            .collect();
        let mut config = json!({
            // Manifests may name the program without its folder.
            "Env": ["PATH=/usr/bin"],
            "Entrypoint": self.entrypoint,
            "Labels": labels,
            "WorkingDir": "/",
        });
        if let (Some(config), Some(user)) = (config.as_object_mut(), &self.user) {
            config.insert("User".to_owned(), Value::from(user.as_str()));
        }
        config
    }
}

/// What the tar holds.
struct Parts {
    blobs: Vec<(Digest, Vec<u8>)>,
    index: Vec<u8>,
    manifest: Digest,
}

impl Parts {
    /// Takes a blob in, and answers its descriptor (image-spec `descriptor.md`).
    fn add(&mut self, kind: &str, content: Vec<u8>) -> Value {
        let digest = Digest::of(&content);
        let described =
            json!({ "mediaType": kind, "digest": digest.to_string(), "size": content.len() });
        // Two layers may be the same.
        if !self.blobs.iter().any(|(there, _)| *there == digest) {
            self.blobs.push((digest, content));
        }
        described
    }
}

fn pack(parts: &Parts, file: &mut File) -> Result<()> {
    let mut builder = Builder::new(BufWriter::new(file));
    let layout = json!({ "imageLayoutVersion": "1.0.0" }).to_string();
    let files = [
        ("oci-layout", layout.as_bytes()),
        ("index.json", parts.index.as_slice()),
    ];
    for (name, content) in files {
        append(&mut builder, name, EntryType::Regular, DATA, content)?;
    }
    for folder in ["blobs", "blobs/sha256"] {
        append(&mut builder, folder, EntryType::Directory, PROGRAM, &[])?;
    }
    let mut blobs: Vec<_> = parts.blobs.iter().collect();
    blobs.sort_unstable();
    for (digest, content) in blobs {
        let name = format!("blobs/sha256/{}", digest.0);
        append(&mut builder, &name, EntryType::Regular, DATA, content)?;
    }
    let written = builder.into_inner()?;
    written
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    Ok(())
}

const OS: &str = "linux";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    fn image(content: &str) -> Image {
        let mut system = Layer::default();
        system.add_file("/etc/passwd", DATA, b"x".to_vec()).unwrap();
        let mut own = Layer::default();
        own.add_file("/usr/bin/program", PROGRAM, content.as_bytes().to_vec())
            .unwrap();
        Image {
            name: "localhost/program:1".parse().unwrap(),
            architecture: Architecture::Amd64,
            settings: Settings {
                entrypoint: vec!["program".to_owned()],
                user: Some("65532:65532".to_owned()),
                labels: vec![("org.opencontainers.image.title", "program".to_owned())],
            },
            layers: vec![system, own],
        }
    }

    fn read(path: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(File::open(path).unwrap());
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                (entry.path().unwrap().display().to_string(), content)
            })
            .collect()
    }

    #[test]
    fn golden_of_the_layout() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/image.tar");
        let written = image("program").write(&path).unwrap();
        assert_eq!(written.size, fs::metadata(&path).unwrap().len());
        let parts = read(&path);
        let mut shown = String::new();
        for (name, content) in &parts {
            let text = serde_json::from_slice::<Value>(content)
                .map(|value| serde_json::to_string_pretty(&value).unwrap())
                .unwrap_or_else(|_| format!("({} bytes)", content.len()));
            shown.push_str(&format!("--- {name}\n{text}\n"));
        }
        insta::assert_snapshot!(shown);
        // Each is where its digest says, and everything that is referred to is there.
        for (name, content) in &parts {
            if let Some(hex) = name
                .strip_prefix("blobs/sha256/")
                .filter(|hex| !hex.is_empty())
            {
                assert_eq!(Digest::of(content).0, hex);
            }
        }
        assert!(parts.contains_key(&format!("blobs/sha256/{}", written.digest.0)));
    }

    #[test]
    fn the_same_content_is_the_same_file_and_other_content_another_digest() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = folder.path().join(name);
            let digest = image(content).write(&path).unwrap().digest;
            (digest, fs::read(path).unwrap())
        };
        let (first, again, other) = (write("a", "1"), write("b", "1"), write("c", "2"));
        assert!(first == again);
        assert_ne!(first.0, other.0);
    }

    #[test]
    fn layers_that_are_the_same_are_there_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.tar");
        let mut image = image("1");
        image.layers = vec![Layer::default(), Layer::default()];
        image.write(&path).unwrap();
        let blobs = read(&path).into_keys();
        let blobs = blobs.filter(|name| name.len() > "blobs/sha256/".len());
        assert_eq!(blobs.count(), 3, "a layer, the config and the manifest");
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.tar");
        fs::create_dir(&path).unwrap();
        assert!(image("1").write(&path).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let mut broken = image("1");
        let mut layer = Layer::default();
        layer.add_file("/a\0b", DATA, Vec::new()).unwrap();
        broken.layers.push(layer);
        let path = folder.path().join("other.tar");
        fs::write(&path, "old").unwrap();
        assert!(broken.write(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    }
}
