//! Reading an export, and checking all of it before anything is written.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};

use kedge_api::HubId;
use kedge_api::text::Printable;
use serde_json::Value;

use super::CARRIED;
use super::format::{FORMAT, Line};
use crate::defaults::{EXPORT_LINE_BYTES, EXPORT_OBJECTS_MAX};
use crate::kind::Kind;
use crate::raw::MetaKey;

/// An export that was read and found whole.
#[derive(Debug)]
pub struct Package {
    pub(super) id: String,
    pub(super) meta: Vec<(MetaKey, String)>,
    /// In the order of [`Kind::ALL`], and by their names.
    pub(super) objects: Vec<(Kind, BTreeMap<String, Value>)>,
}

/// Why an export cannot be imported. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// It ends before its end.
    #[error("the export is cut: it ends after line {lines} without its last line; export again")]
    Cut {
        /// How many lines there are.
        lines: usize,
    },
    /// It cannot be read.
    #[error("cannot read line {line} of the export")]
    Io {
        /// Which line could not be read.
        line: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is not one of an export.
    #[error("line {line} of the export: {problem}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Another number of objects than the first line says.
    #[error("the export has {found} {}, and its first line says {said}", kind.plural)]
    Miscounted {
        /// Of which kind.
        kind: Kind,
        /// How many there are.
        found: usize,
        /// How many it says.
        said: usize,
    },
}

impl Package {
    /// Reads an export to its end, and checks all of it. Blocks while the reader does.
    ///
    /// # Errors
    /// [`PackageError`], with the line.
    pub fn read(mut input: impl BufRead) -> Result<Self, PackageError> {
        let mut reading = None;
        for number in 1.. {
            let Some(text) = line(&mut input, number)? else {
                return Err(PackageError::Cut { lines: number - 1 });
            };
            let wrong = |problem: String| PackageError::Line {
                line: number,
                problem,
            };
            let parsed = serde_json::from_slice(&text).map_err(|error| wrong(shown(&error)))?;
            match (&mut reading, parsed) {
                (None, line) => reading = Some(Reading::begin(line).map_err(wrong)?),
                (Some(reading), Line::End { export, lines }) => {
                    if export != reading.id {
                        return Err(wrong("the end of another export".to_owned()));
                    }
                    if lines != number {
                        let problem = format!("it says that there are {lines} lines");
                        return Err(wrong(problem));
                    }
                    if line(&mut input, number + 1)?.is_some() {
                        return Err(PackageError::Line {
                            line: number + 1,
                            problem: "something after the end".to_owned(),
                        });
                    }
                    break;
                }
                (Some(reading), line) => reading.take(number, line).map_err(wrong)?,
            }
        }
        // Without a first line there is no last one.
        reading.map_or(Err(PackageError::Cut { lines: 0 }), Reading::end)
    }

    /// How many objects of each kind there are.
    pub fn counts(&self) -> impl Iterator<Item = (Kind, usize)> {
        self.objects.iter().map(|(kind, all)| (*kind, all.len()))
    }
}

/// An export that is read so far.
struct Reading {
    id: String,
    said: BTreeMap<String, usize>,
    meta: BTreeMap<&'static str, (MetaKey, String)>,
    objects: BTreeMap<Kind, BTreeMap<String, (usize, Value)>>,
    count: usize,
}

impl Reading {
    fn begin(line: Line) -> Result<Self, String> {
        let Line::Header {
            format,
            export,
            objects,
        } = line
        else {
            return Err("not the first line of an export".to_owned());
        };
        if format != FORMAT {
            return Err(format!(
                "format {format}, and this kedge-hub knows format {FORMAT}; export and import with the same version"
            ));
        }
        if let Some(kind) = objects.keys().find(|kind| kind_of_plural(kind).is_none()) {
            return Err(format!("unknown kind `{}`", Printable::new(kind)));
        }
        Ok(Self {
            id: export,
            said: objects,
            meta: BTreeMap::new(),
            objects: BTreeMap::new(),
            count: 0,
        })
    }

    fn take(&mut self, number: usize, line: Line) -> Result<(), String> {
        match line {
            Line::Meta { key, value } => self.take_meta(&key, value),
            Line::Object { object } => self.take_object(number, &object),
            Line::End { .. } | Line::Header { .. } => Err("a second first line".to_owned()),
        }
    }

    fn take_meta(&mut self, key: &str, value: String) -> Result<(), String> {
        let known = CARRIED.into_iter().find(|known| known.as_str() == key);
        let known = known.ok_or_else(|| format!("unknown text `{}`", Printable::new(key)))?;
        if known == MetaKey::HubId {
            let id = value.parse::<HubId>();
            id.map_err(|error| error.to_string())?;
        }
        match self.meta.insert(known.as_str(), (known, value)) {
            None => Ok(()),
            Some(_) => Err(format!("a second `{}`", known.as_str())),
        }
    }

    fn take_object(&mut self, number: usize, object: &Value) -> Result<(), String> {
        self.count = self.count.saturating_add(1);
        if self.count > EXPORT_OBJECTS_MAX {
            return Err(format!("more than {EXPORT_OBJECTS_MAX} objects"));
        }
        let named = object.get("kind").and_then(Value::as_str);
        let named = named.ok_or("an object without a kind")?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.name == named);
        let kind = kind.ok_or_else(|| format!("unknown kind `{}`", Printable::new(named)))?;
        let shaped = (kind.shape)(object);
        let shaped = shaped
            .map_err(|error| format!("{} cannot be read: {}", kind.singular, shown(&error)))?;
        let name = shaped.pointer("/metadata/name").and_then(Value::as_str);
        let name = name.unwrap_or_default().to_owned();
        let all = self.objects.entry(kind).or_default();
        if let Some((before, _)) = all.get(&name) {
            let singular = kind.singular;
            return Err(format!("{singular} `{name}` is on line {before} already"));
        }
        all.insert(name, (number, shaped));
        Ok(())
    }

    fn end(mut self) -> Result<Package, PackageError> {
        let mut objects = Vec::new();
        for kind in Kind::ALL {
            let all = self.objects.remove(&kind).unwrap_or_default();
            let said = self.said.get(kind.plural).copied().unwrap_or_default();
            if all.len() != said {
                return Err(PackageError::Miscounted {
                    kind,
                    found: all.len(),
                    said,
                });
            }
            let all = all.into_iter().map(|(name, (_, object))| (name, object));
            objects.push((kind, all.collect()));
        }
        Ok(Package {
            id: self.id,
            meta: self.meta.into_values().collect(),
            objects,
        })
    }
}

/// The next line without its end; `None` when there is no more. A line whose end is missing is half a line.
fn line(input: &mut impl BufRead, number: usize) -> Result<Option<Vec<u8>>, PackageError> {
    let mut text = Vec::new();
    // One more than allowed says that there is more.
    let most = u64::try_from(EXPORT_LINE_BYTES.saturating_add(1)).unwrap_or(u64::MAX);
    let mut bounded = input.take(most);
    bounded
        .read_until(b'\n', &mut text)
        .map_err(|source| PackageError::Io {
            line: number,
            source,
        })?;
    if text.is_empty() {
        return Ok(None);
    }
    if text.pop() == Some(b'\n') {
        return Ok(Some(text));
    }
    if text.len() >= EXPORT_LINE_BYTES {
        return Err(PackageError::Line {
            line: number,
            problem: format!("more than {EXPORT_LINE_BYTES} bytes"),
        });
    }
    Err(PackageError::Cut { lines: number - 1 })
}

fn kind_of_plural(plural: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.plural == plural)
}

fn shown(error: &serde_json::Error) -> String {
    Printable::new(&error.to_string()).to_string()
}
