//! `cargo xtask image`: a container image in a file, made without a container engine.
//!
//! ```text
//!  kedge-hub ── strip ──► layer "program" ─┐
//!  ldd ─► libraries ┐                      ├─► config ─► manifest ─► index ─► one tar (OCI image layout)
//!  authorities ─────┼──► layer "system" ───┘
//!  passwd, group ───┘
//! ```
//!
//! The image has no shell and no package manager: what is in it is what the program links, the authorities whose
//! certificates it believes, and the user it runs as. Nothing in it tells when or by whom it was made, so the same
//! program and the same libraries are the same digest.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::builder::Workspace;
use crate::{defaults, packages};

mod archive;
mod contents;
mod layer;
mod libraries;
mod reference;

pub(crate) use archive::{Image, Settings};
pub(crate) use contents::{Architecture, add_libraries, program};
pub(crate) use layer::Layer;
pub(crate) use reference::Reference;

/// What the image is made of.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Take kedge-hub from this folder instead of building the release programs.
    #[arg(long, value_name = "FOLDER")]
    bins: Option<PathBuf>,
    /// Write the image here instead of target/kedge-hub-image.tar.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What the image is called where it is imported.
    #[arg(long, value_name = "REFERENCE", default_value_t = Reference::of_the_hub())]
    name: Reference,
    /// Believe the authorities in this PEM file, instead of those that Debian's package ca-certificates ships.
    #[arg(long, value_name = "FILE")]
    authorities: Option<PathBuf>,
}

/// Makes the image and says where it is.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    packages::ensure_for_image()?;
    let bins = match &arguments.bins {
        Some(bins) => std::path::absolute(bins)?,
        None => {
            println!("Building the release programs.");
            Workspace::find()?.release()?
        }
    };
    let out = match &arguments.out {
        Some(out) => std::path::absolute(out)?,
        None => Workspace::find()?.target.join(defaults::IMAGE),
    };
    let written = hub(&bins, &arguments.name, arguments.authorities.as_deref())?.write(&out)?;
    println!(
        "{}\n  {} for {}, {:.1} MB\n  {}",
        out.display(),
        arguments.name,
        written.architecture,
        megabytes(written.size),
        written.digest
    );
    Ok(ExitCode::SUCCESS)
}

/// The image of the hub, from the program in a folder.
///
/// # Errors
///
/// When the program, a library or the authorities cannot be read.
pub(crate) fn hub(bins: &Path, name: &Reference, authorities: Option<&Path>) -> Result<Image> {
    const USER: &str = "kedge-hub";
    let file = bins.join(USER);
    if !file.is_file() {
        bail!("there is no {}", file.display());
    }
    let program = program(&file).with_context(|| format!("put {} in", file.display()))?;
    let mut system = Layer::default();
    contents::add_user(&mut system, USER)?;
    contents::add_authorities(&mut system, authorities)?;
    contents::add_libraries(&mut system, &program)?;
    let mut own = Layer::default();
    own.add_file(&format!("/usr/bin/{USER}"), PROGRAM, program.stripped()?)?;
    Ok(Image {
        name: name.clone(),
        architecture: program.architecture,
        settings: Settings {
            entrypoint: vec![USER.to_owned()],
            user: Some(format!("{0}:{0}", defaults::IMAGE_USER)),
            labels: labels(),
        },
        // What changes seldom first: whoever has an older hub has that layer.
        layers: vec![system, own],
    })
}

/// The mode of programs, libraries and folders.
pub(crate) const PROGRAM: u32 = 0o755;

/// The mode of everything else.
pub(crate) const DATA: u32 = 0o644;

/// By the keys of the OCI image specification, "Annotations".
fn labels() -> Vec<(&'static str, String)> {
    vec![
        (
            "org.opencontainers.image.description",
            "The hub of kedge: it relays ciphertext, decides who may connect, and keeps the books."
                .to_owned(),
        ),
        ("org.opencontainers.image.licenses", "Apache-2.0".to_owned()),
        ("org.opencontainers.image.title", "kedge-hub".to_owned()),
        (
            "org.opencontainers.image.version",
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
    ]
}

#[expect(
    clippy::cast_precision_loss,
    reason = "it is shown with one digit after the point"
)]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
