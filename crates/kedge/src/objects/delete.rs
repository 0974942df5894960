//! `kedge delete`.

use kedge_api::ObjectName;
use kedge_service::Failure;

use super::get::{self, is_not_found, name_of};
use super::kinds::{self, Kind, KindAccess, Selection};
use super::manifest;
use crate::app::{App, block_on};
use crate::cli::DeleteArgs;
use crate::failure::{IntoFailure, usage};

/// Runs the command.
///
/// # Errors
///
/// Objects that are not there, and whatever the hub refuses; what was deleted before was said.
pub fn run(app: &mut App<'_>, arguments: &DeleteArgs) -> Result<(), Failure> {
    let hub = app.default_client()?;
    let mut doomed: Vec<(&'static Kind, ObjectName)> = Vec::new();
    for path in &arguments.filename {
        let manifests = manifest::read(app, path)?;
        doomed.extend(
            manifests
                .into_iter()
                .map(|manifest| (manifest.kind, manifest.name)),
        );
    }
    if arguments.filename.is_empty() {
        match kinds::selection(&arguments.objects, arguments.selector.as_ref())? {
            Selection::Named(objects) => doomed = objects,
            Selection::All(kind, _) if kind.access == KindAccess::ListOnly => {
                return Err(usage(format!("{} cannot be deleted", kind.plural)));
            }
            Selection::All(kind, None) => {
                return Err(usage(format!("which {}?", kind.plural)).hint(format!(
                    "kedge delete {} NAME, or -l SELECTOR",
                    kind.singular
                )));
            }
            selection @ Selection::All(..) => {
                let found = block_on(get::fetch(&hub, &selection))?;
                for (kind, object) in &found.objects {
                    doomed.push((
                        kind,
                        name_of(object).parse().map_err(IntoFailure::into_failure)?,
                    ));
                }
            }
        }
    }
    let mut missing = None;
    for (kind, name) in doomed {
        let deleted = block_on(async { Ok(hub.delete(&format!("{}/{name}", kind.plural)).await) })?;
        match deleted {
            Ok(()) => app.say(&format!("{}.kedge.dev \"{name}\" deleted", kind.singular))?,
            Err(error) if is_not_found(&error) => {
                if !arguments.ignore_not_found {
                    missing.get_or_insert(error.into_failure());
                }
            }
            Err(error) => return Err(error.into_failure()),
        }
    }
    missing.map_or(Ok(()), Err)
}
