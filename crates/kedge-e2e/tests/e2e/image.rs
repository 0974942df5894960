//! The hub's image: what is in it and nothing else, and that the hub runs from that alone.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use kedge_testkit::kube::manifests;
use kedge_testkit::peers::Certificate;
use kedge_testkit::run::Ran;

use crate::prelude::*;

const SKIP: &str = "`cargo xtask test e2e` names the xtask to run; this was started without it";

/// What is in it. Folders end with `/`; where libraries are is each kind of machine's own.
const CONTENT: &[&str] = &[
    "etc/",
    "etc/group 644",
    "etc/passwd 644",
    "etc/ssl/",
    "etc/ssl/certs/",
    "etc/ssl/certs/ca-certificates.crt 644",
    "usr/",
    "usr/bin/",
    "usr/bin/kedge-hub 755",
    "libc.so.6 755",
    "libgcc_s.so.1 755",
    "libm.so.6 755",
    "the loader 755",
];

/// `cargo xtask image` with the programs of the tests.
fn image(t: &Case, bins: &Path, out: &Path) -> Option<Command> {
    let mut command = Command::new(std::env::var_os("KEDGE_XTASK")?);
    command.args(["image", "--bins"]).arg(bins);
    command.arg("--out").arg(out).current_dir(t.dir());
    Some(command)
}

#[test]
fn two_builds_of_the_same_programs_are_one_digest() -> Result<()> {
    case(|t| {
        let (one, two) = (t.dir().join("one.tar"), t.dir().join("two.tar"));
        let Some(command) = image(t, t.bins(), &one) else {
            return skip(SKIP);
        };
        let first = run(command)?.success()?;
        // By somebody else, elsewhere, later, with other rights on their files.
        let copied = t.subdir("bins")?;
        let program = copied.join("kedge-hub");
        fs::copy(t.bins().join("kedge-hub"), &program)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?;
        let mut command = Command::new("sh");
        command
            .args(["-c", "umask 077; exec \"$@\"", "sh"])
            .arg(std::env::var_os("KEDGE_XTASK").context("xtask")?)
            .args(["image", "--bins"])
            .arg(&copied)
            .arg("--out")
            .arg(&two)
            .env("TZ", "Asia/Kathmandu");
        let second = run(command)?.success()?;
        let digest = |ran: &Ran| ran.out().lines().last().map(str::trim).map(str::to_owned);
        ensure!(
            digest(&first).is_some_and(|digest| digest.starts_with("sha256:")),
            "{first}"
        );
        ensure!(digest(&first) == digest(&second), "{first}\n{second}");
        ensure!(fs::read(&one)? == fs::read(&two)?, "the files differ");
        ensure!(fs::metadata(&two)?.mode() & 0o777 == 0o644);
        Ok(())
    })
}

#[test]
fn the_image_holds_what_the_hub_needs_and_nothing_else() -> Result<()> {
    case(|t| {
        let Some(image) = Unpacked::new(t)? else {
            return skip(SKIP);
        };
        let content = image.content()?;
        ensure!(content == CONTENT, "{content:#?}");
        let read = |name: &str| fs::read_to_string(image.root.join(name));
        ensure!(read("etc/passwd")? == "kedge-hub:x:65532:65532:kedge-hub:/:/sbin/nologin\n");
        ensure!(read("etc/group")? == "kedge-hub:x:65532:\n");
        // What the machine's administrators believe is in its own list, and not in an image.
        let certificates = read("etc/ssl/certs/ca-certificates.crt")?;
        ensure!(certificates.matches("-----BEGIN CERTIFICATE-----").count() > 50);

        // It says how it is run, and by whom: as the Deployment does.
        let config = &image.config;
        ensure!(config["config"]["Entrypoint"] == json!(["kedge-hub"]));
        ensure!(config["config"]["User"] == "65532:65532");
        let deployment = fs::read_to_string(manifests().join("base/deployment.yaml"))?;
        for line in ["runAsUser: 65532", "runAsGroup: 65532"] {
            ensure!(deployment.contains(line), "no {line}");
        }
        ensure!(config.get("created").is_none() && config["os"] == "linux");
        Ok(())
    })
}

#[test]
fn the_hub_runs_from_the_image_alone() -> Result<()> {
    case(|t| {
        if !machine::am_root() {
            return skip("only root may change the root of a program");
        }
        let Some(image) = Unpacked::new(t)? else {
            return skip(SKIP);
        };
        let chroot = machine::find_program("chroot").context("there is no chroot")?;
        let inside = |words: &[&str]| {
            let mut command = Command::new(&chroot);
            command
                .arg("--userspec=65532:65532")
                .arg("--groups=")
                .arg(&image.root)
                .args(words)
                .env_clear()
                // What is in the image's configuration.
                .env("PATH", "/usr/bin");
            run(command)
        };
        let said = inside(&["kedge-hub", "--version"])?.success()?.out();
        ensure!(said.starts_with("kedge-hub "), "{said}");

        // A configuration as it is shipped, with the files that the Deployment mounts.
        let folder = |name: &str| -> Result<PathBuf> {
            let folder = image.root.join(name);
            fs::create_dir_all(&folder)?;
            Ok(folder)
        };
        let (config, tls) = (folder("etc/kedge")?, folder("etc/kedge-tls")?);
        folder("var/lib/kedge-hub")?;
        let shipped = manifests().join("overlays/single/hub.toml");
        fs::copy(shipped, config.join("hub.toml"))?;
        let made = Certificate::make(&t.subdir("tls")?)?;
        for (from, to) in [(&made.certificate, "tls.crt"), (&made.key, "tls.key")] {
            let to = tls.join(to);
            fs::copy(from, &to)?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o440))?;
            std::os::unix::fs::chown(&to, None, Some(65532))?;
        }
        let check = [
            "kedge-hub",
            "check-config",
            "--config",
            "/etc/kedge/hub.toml",
        ];
        inside(&check)?.success()?;
        fs::write(config.join("hub.toml"), "no = \"such key\"\n")?;
        let refused = inside(&check)?;
        ensure!(
            refused.code() != Some(0) && refused.err().contains("error: "),
            "{refused}"
        );
        Ok(())
    })
}

/// The image as a machine would lay it out.
struct Unpacked {
    root: PathBuf,
    config: Value,
}

impl Unpacked {
    fn new(t: &Case) -> Result<Option<Self>> {
        let file = t.dir().join("image.tar");
        let Some(command) = image(t, t.bins(), &file) else {
            return Ok(None);
        };
        let ran = run(command)?.success()?;
        let layout = t.subdir("layout")?;
        untar(&file, &layout)?;
        let read = |path: &Path| -> Result<Value> {
            Ok(serde_json::from_slice(
                &fs::read(path).with_context(|| format!("read {}", path.display()))?,
            )?)
        };
        // As its specification says: from the index by digests.
        let blob = |descriptor: &Value| -> Result<PathBuf> {
            let digest = descriptor["digest"].as_str().context("a digest")?;
            let hex = digest.strip_prefix("sha256:").context("a SHA-256")?;
            let path = layout.join("blobs/sha256").join(hex);
            let mut sum = Command::new("sha256sum");
            sum.arg(&path);
            ensure!(run(sum)?.success()?.out().starts_with(hex), "{digest}");
            ensure!(descriptor["size"] == fs::metadata(&path)?.len(), "{digest}");
            Ok(path)
        };
        ensure!(read(&layout.join("oci-layout"))?["imageLayoutVersion"] == "1.0.0");
        let index = read(&layout.join("index.json"))?;
        let described = &index["manifests"][0];
        ensure!(
            described["annotations"]["org.opencontainers.image.ref.name"]
                == format!("localhost/kedge-hub:{}", env!("CARGO_PKG_VERSION")),
            "{index}"
        );
        ensure!(
            ran.out()
                .contains(described["digest"].as_str().unwrap_or("?")),
            "{ran}"
        );
        let manifest = read(&blob(described)?)?;
        let config = read(&blob(&manifest["config"])?)?;
        let root = t.subdir("root")?;
        for layer in manifest["layers"].as_array().context("layers")? {
            untar(&blob(layer)?, &root)?;
        }
        Ok(Some(Self { root, config }))
    }

    /// What is in it, by name, the libraries last.
    fn content(&self) -> Result<Vec<String>> {
        let (mut paths, mut libraries) = (Vec::new(), Vec::new());
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                let found = fs::symlink_metadata(&path)?;
                ensure!((found.uid(), found.mtime()) == (0, 0) || !machine::am_root());
                let mode = found.mode() & 0o7777;
                let inside = path.strip_prefix(&self.root)?.display().to_string();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if found.is_dir() {
                    ensure!(mode == 0o755, "{inside} has the mode {mode:o}");
                    // Folders of libraries are called lib, lib64, lib/x86_64-linux-gnu.
                    if !inside.starts_with("lib") {
                        paths.push(format!("{inside}/"));
                    }
                    folders.push(path);
                } else if name.starts_with("ld-") && inside.starts_with("lib") {
                    libraries.push(format!("the loader {mode:o}"));
                } else if inside.starts_with("lib") {
                    libraries.push(format!("{name} {mode:o}"));
                } else {
                    paths.push(format!("{inside} {mode:o}"));
                }
            }
        }
        paths.sort_unstable();
        libraries.sort_unstable();
        Ok([paths, libraries].concat())
    }
}

fn untar(file: &Path, into: &Path) -> Result<()> {
    let mut command = Command::new("tar");
    command
        .args(["--extract", "--preserve-permissions", "--file"])
        .arg(file)
        .arg("--directory")
        .arg(into);
    run(command)?.success().map(drop)
}
