//! What a program links, as the loader finds it on this machine (ldd(1)).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use kedge_testkit::run;

/// A shared library, or the loader.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Library {
    /// Where the loader looks for it.
    pub(crate) place: String,
    /// Where it is on this machine.
    pub(crate) file: PathBuf,
}

/// The shared libraries of a program and of its libraries, and the loader. None for one that is linked statically.
///
/// # Errors
///
/// When one is missing, or the program is for another machine.
pub(crate) fn libraries(program: &Path) -> Result<Vec<Library>> {
    let mut command = Command::new("ldd");
    command.arg(program).env("LC_ALL", "C");
    let ran = run::run(command)?;
    let said = format!("{}{}", ran.out(), ran.err());
    if STATIC.iter().any(|words| said.contains(words)) {
        return Ok(Vec::new());
    }
    parse(&ran.success()?.out()).with_context(|| format!("read what {} links", program.display()))
}

fn parse(said: &str) -> Result<Vec<Library>> {
    let mut found = Vec::new();
    for line in said.lines().map(str::trim) {
        let words = line.rsplit_once(" (0x").map_or(line, |(words, _)| words);
        let (place, file) = match words.split_once(" => ") {
            Some((name, "not found")) => bail!("the library {name} is missing"),
            // The loader, by the path that is in the program.
            Some((place, file)) if place.starts_with('/') => (place, file),
            Some((_, file)) => (file, file),
            None => (words, words),
        };
        // The kernel brings its own, which is in no file.
        if !place.starts_with('/') {
            continue;
        }
        found.push(Library {
            place: place.to_owned(),
            file: PathBuf::from(file),
        });
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// What ldd says of a program that links nothing at run time; the second with exit status 1.
const STATIC: [&str; 2] = ["statically linked", "not a dynamic executable"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ldd_says_is_read() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd8a5f2000)\n\
                    \tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f6c0a000000)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f6c09e1f000)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f6c09e1f000)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f6c0a3c1000)\n";
        let places: Vec<_> = parse(said)
            .unwrap()
            .into_iter()
            .map(|library| library.place)
            .collect();
        assert_eq!(
            places,
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib/x86_64-linux-gnu/libgcc_s.so.1",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
    }

    #[test]
    fn a_loader_is_where_the_program_says() {
        let said = "\t/lib64/ld.so => /elsewhere/ld.so (0x00007f6c0a3c1000)\n";
        let expected = Library {
            place: "/lib64/ld.so".to_owned(),
            file: "/elsewhere/ld.so".into(),
        };
        assert_eq!(parse(said).unwrap(), [expected]);
    }

    #[test]
    fn a_library_that_is_missing_is_named() {
        let error = parse("\tlibmoon.so.1 => not found\n").unwrap_err();
        assert!(error.to_string().contains("libmoon.so.1"));
    }

    #[test]
    fn what_a_real_program_links_is_there() {
        let found = libraries(&std::env::current_exe().unwrap()).unwrap();
        assert!(found.len() > 1 && found.iter().all(|library| library.file.is_file()));
        assert!(libraries(Path::new("/nowhere/program")).is_err());
    }
}
