//! What goes into an image: a program without its symbols, what it links, authorities, a user.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::libraries::{Library, libraries};
use super::{DATA, Layer, PROGRAM};
use crate::builder::Step;
use crate::defaults;

/// A program of this machine.
#[derive(Debug)]
pub(crate) struct Program {
    file: PathBuf,
    /// What it is built for.
    pub(crate) architecture: Architecture,
    libraries: Vec<Library>,
}

/// What programs are built for, by Go's name for it, which images use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Architecture {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        })
    }
}

impl Architecture {
    /// This machine's, if kedge is built for it.
    fn here() -> Option<Self> {
        match std::env::consts::ARCH {
            "aarch64" => Some(Self::Arm64),
            "x86_64" => Some(Self::Amd64),
            _ => None,
        }
    }

    /// By the header of a program (elf(5)).
    fn of(program: &[u8]) -> Result<Self> {
        /// 64 bits, little end first.
        const MAGIC: &[u8] = b"\x7fELF\x02\x01";
        const MACHINE: std::ops::Range<usize> = 18..20;
        ensure!(program.starts_with(MAGIC), "it is no program for 64 bits");
        match program.get(MACHINE) {
            Some([62, 0]) => Ok(Self::Amd64),
            Some([183, 0]) => Ok(Self::Arm64),
            _ => bail!("it is for a processor that kedge is not built for"),
        }
    }
}

/// Looks at a program and finds what it links.
///
/// # Errors
///
/// When it is no program, or one that does not run here.
pub(crate) fn program(file: &Path) -> Result<Program> {
    let content = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let architecture = Architecture::of(&content)?;
    ensure!(
        Some(architecture) == Architecture::here(),
        "it is for {architecture}: only a machine of that kind has the libraries that it links"
    );
    Ok(Program {
        file: file.to_owned(),
        architecture,
        libraries: libraries(file)?,
    })
}

impl Program {
    /// It, without symbols and lines, which nobody reads where it runs.
    ///
    /// # Errors
    ///
    /// When `strip` fails.
    pub(crate) fn stripped(&self) -> Result<Vec<u8>> {
        let into = tempfile::NamedTempFile::new()?;
        let mut command = Command::new("strip");
        command
            .arg("--strip-all")
            .arg("-o")
            .arg(into.path())
            .arg(&self.file);
        Step::new(command).quietly(defaults::PRINT)?;
        Ok(fs::read(into.path())?)
    }
}

/// Puts the libraries of a program where it looks for them.
///
/// # Errors
///
/// When one cannot be read.
pub(crate) fn add_libraries(layer: &mut Layer, program: &Program) -> Result<()> {
    for library in &program.libraries {
        // What the name links to, under the name.
        let content = fs::read(&library.file)
            .with_context(|| format!("read the library {}", library.file.display()))?;
        layer.add_file(&library.place, PROGRAM, content)?;
    }
    Ok(())
}

/// Puts a user in, who owns nothing and cannot log in.
///
/// # Errors
///
/// When there are users already.
pub(crate) fn add_user(layer: &mut Layer, name: &str) -> Result<()> {
    let id = defaults::IMAGE_USER;
    let passwd = format!("{name}:x:{id}:{id}:{name}:/:/sbin/nologin\n");
    layer.add_file("/etc/passwd", DATA, passwd.into_bytes())?;
    layer.add_file("/etc/group", DATA, format!("{name}:x:{id}:\n").into_bytes())
}

/// Puts the authorities in, where TLS libraries look: those in `file`, or those of Debian's package.
///
/// # Errors
///
/// When there are none.
pub(crate) fn add_authorities(layer: &mut Layer, file: Option<&Path>) -> Result<()> {
    let authorities = match file {
        Some(file) => {
            fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?
        }
        None => shipped(Path::new(SHIPPED))
            .context("find the authorities; name a file: --authorities")?,
    };
    ensure!(
        authorities.contains("-----BEGIN CERTIFICATE-----"),
        "there is no certificate among the authorities"
    );
    layer.add_file(AUTHORITIES, DATA, authorities.into_bytes())
}

/// The certificates of a folder, in the order of their names. Not the list that the machine made of them: what its
/// administrators added to that is nobody else's to believe.
fn shipped(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        files.push(entry?.path());
    }
    files.sort_unstable();
    let mut all = String::new();
    for file in files {
        let one = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        all.push_str(one.trim_end());
        all.push('\n');
    }
    Ok(all)
}

/// Where Debian's package ca-certificates has them, each in a file of its own.
const SHIPPED: &str = "/usr/share/ca-certificates/mozilla";

/// Where programs look for all of them.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_read_from_the_program() {
        let me = fs::read("/proc/self/exe").unwrap();
        assert_eq!(Some(Architecture::of(&me).unwrap()), Architecture::here());
        let mut other = me.get(..64).unwrap().to_vec();
        other[18] = 243;
        for wrong in [
            &other[..],
            &other[..19],
            b"#!/bin/sh\n",
            b"\x7fELF\x01\x01",
            b"",
        ] {
            assert!(Architecture::of(wrong).is_err());
        }
    }

    #[test]
    fn a_program_loses_its_symbols_and_stays_the_program() {
        let me = std::env::current_exe().unwrap();
        let found = program(&me).unwrap();
        assert!(!found.libraries.is_empty());
        let stripped = found.stripped().unwrap();
        assert!(stripped.len() < fs::metadata(&me).unwrap().len().try_into().unwrap());
        assert_eq!(Architecture::of(&stripped).unwrap(), found.architecture);
        assert_eq!(stripped, found.stripped().unwrap(), "twice the same");
    }

    #[test]
    fn certificates_of_a_folder_are_joined_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [("b.crt", "two\n\n"), ("a.crt", "one")] {
            fs::write(folder.path().join(name), content).unwrap();
        }
        assert_eq!(shipped(folder.path()).unwrap(), "one\ntwo\n");
        assert!(shipped(&folder.path().join("none")).is_err());
    }

    #[test]
    fn authorities_must_be_certificates() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        for (content, taken) in [
            ("", false),
            ("-----BEGIN PRIVATE KEY-----\n", false),
            ("-----BEGIN CERTIFICATE-----\n", true),
        ] {
            fs::write(&file, content).unwrap();
            let mut layer = Layer::default();
            let said = add_authorities(&mut layer, Some(&file));
            assert_eq!(said.is_ok(), taken, "{content}");
        }
    }
}
