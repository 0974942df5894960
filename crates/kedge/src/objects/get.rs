//! `kedge get`.

use kedge_api::API_VERSION;
use kedge_service::Failure;
use serde_json::{Value, json};

use super::columns::Shown;
use super::kinds::{self, Kind, KindAccess, Selection, encode, list_path};
use super::{print, table};
use crate::app::{App, block_on};
use crate::cli::{GetArgs, OutputFormat};
use crate::defaults;
use crate::failure::{IntoFailure, usage};
use crate::hub::{Hub, HubError};

/// Runs the command.
///
/// # Errors
///
/// Objects that are not there, and whatever the hub refuses.
pub fn run(app: &mut App<'_>, arguments: &GetArgs) -> Result<(), Failure> {
    let selection = kinds::selection(&arguments.objects, arguments.selector.as_ref())?;
    let hub = app.default_client()?;
    let form = Form {
        output: arguments.output,
        headings: !arguments.no_headers,
    };
    if arguments.watch {
        return block_on(watch(app, &hub, &selection, form));
    }
    let found = block_on(fetch(&hub, &selection))?;
    show(app, &hub, &found, form)?;
    found.into_missing()
}

/// How the objects are printed.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// The format.
    pub output: Option<OutputFormat>,
    /// Whether a table has headings.
    pub headings: bool,
}

/// What a selection found.
#[derive(Debug)]
pub struct Found {
    /// The objects with their kinds.
    pub objects: Vec<(&'static Kind, Value)>,
    /// The answer as it came, when it was one list or one object.
    pub whole: Option<Value>,
    /// What was not found, the first of it.
    missing: Option<Failure>,
}

impl Found {
    /// The failure for what was named and is not there.
    ///
    /// # Errors
    ///
    /// That failure.
    pub fn into_missing(self) -> Result<(), Failure> {
        self.missing.map_or(Ok(()), Err)
    }
}

/// Reads the objects. One that is missing does not hide the others.
///
/// # Errors
///
/// Whatever the hub refuses but a missing object.
///
/// # Cancel safety
///
/// The request is dropped.
pub async fn fetch(hub: &Hub, selection: &Selection) -> Result<Found, Failure> {
    match selection {
        Selection::All(kind, selector) => {
            let list = hub
                .fetch(&list_path(kind, selector.as_ref()))
                .await
                .map_err(IntoFailure::into_failure)?;
            let objects = items(&list)
                .iter()
                .map(|item| (*kind, item.clone()))
                .collect();
            Ok(Found {
                objects,
                whole: Some(with_kinds(kind, list)),
                missing: None,
            })
        }
        Selection::Named(names) => {
            let mut found = Found {
                objects: Vec::new(),
                whole: None,
                missing: None,
            };
            for (kind, name) in names {
                match hub.fetch(&format!("{}/{name}", kind.plural)).await {
                    Ok(object) => found.objects.push((kind, object)),
                    Err(error) if is_not_found(&error) => {
                        found.missing.get_or_insert(error.into_failure());
                    }
                    Err(error) => return Err(error.into_failure()),
                }
            }
            if let (1, [(_, only)]) = (names.len(), found.objects.as_slice()) {
                found.whole = Some(only.clone());
            }
            Ok(found)
        }
    }
}

/// A list as every other is. What is no stored object comes without version and kind from the hub, and
/// a reader of JSON should not have to know which kinds those are.
pub(crate) fn with_kinds(kind: &Kind, mut list: Value) -> Value {
    if kind.access != KindAccess::ListOnly {
        return list;
    }
    let complete = |object: &mut Value, kind: String| {
        if let Some(fields) = object.as_object_mut() {
            fields.entry("apiVersion").or_insert(json!(API_VERSION));
            fields.entry("kind").or_insert(json!(kind));
        }
    };
    complete(&mut list, format!("{}List", kind.kind));
    if let Some(items) = list.get_mut("items").and_then(Value::as_array_mut) {
        for item in items {
            complete(item, kind.kind.to_owned());
        }
    }
    list
}

/// Whether the hub has no such object.
#[must_use]
pub fn is_not_found(error: &HubError) -> bool {
    error.reason() == Some(&kedge_api::StatusReason::NotFound)
}

/// An object's name.
#[must_use]
pub fn name_of(object: &Value) -> &str {
    let name = object
        .pointer("/metadata/name")
        .or_else(|| object.get("id"));
    name.and_then(Value::as_str).unwrap_or("<none>")
}

/// The items of a list.
#[must_use]
pub fn items(list: &Value) -> &[Value] {
    list.get("items")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn show(app: &mut App<'_>, hub: &Hub, found: &Found, form: Form) -> Result<(), Failure> {
    match form.output {
        Some(OutputFormat::Json) => app.print(&print::json(&whole(found))),
        Some(OutputFormat::Yaml) => {
            let text = print::yaml(&whole(found))?;
            app.print(&text)
        }
        Some(OutputFormat::Name) => {
            for (kind, object) in &found.objects {
                app.say(&kind.qualified(&printable(name_of(object))))?;
            }
            Ok(())
        }
        Some(OutputFormat::Wide) | None => {
            if found.objects.is_empty() {
                if found.missing.is_none() {
                    app.note(&format!("Nothing found at hub `{}`.", hub.name()));
                }
                return Ok(());
            }
            let mut text = String::new();
            for (index, group) in by_kind(&found.objects).into_iter().enumerate() {
                if index > 0 {
                    text.push('\n');
                }
                text.push_str(&render(app, group, form));
            }
            app.print(&text)
        }
    }
}

fn whole(found: &Found) -> Value {
    found.whole.clone().unwrap_or_else(|| {
        let items: Vec<_> = found
            .objects
            .iter()
            .map(|(_, object)| object.clone())
            .collect();
        json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items })
    })
}

/// Runs of objects of one kind: a table has the columns of one.
fn by_kind<'o>(objects: &'o [(&'static Kind, Value)]) -> Vec<&'o [(&'static Kind, Value)]> {
    objects
        .chunk_by(|left, right| std::ptr::eq(left.0, right.0))
        .collect()
}

fn render(app: &App<'_>, group: &[(&'static Kind, Value)], form: Form) -> String {
    let Some((kind, _)) = group.first() else {
        return String::new();
    };
    let rows: Vec<_> = group
        .iter()
        .map(|(kind, object)| row(app, kind, object, form))
        .collect();
    let headings = headings(kind, form);
    table::table(form.headings.then_some(&headings), &rows)
}

fn headings(kind: &Kind, form: Form) -> Vec<&'static str> {
    columns(kind, form).map(|column| column.heading).collect()
}

fn row(app: &App<'_>, kind: &'static Kind, object: &Value, form: Form) -> Vec<String> {
    columns(kind, form)
        .map(|column| column.cell(object, app.now()))
        .collect()
}

fn columns(
    kind: &Kind,
    form: Form,
) -> impl Iterator<Item = &'static super::columns::Column> + use<> {
    let wide = form.output == Some(OutputFormat::Wide);
    kind.columns
        .iter()
        .filter(move |column| wide || column.shown == Shown::Always)
}

fn printable(text: &str) -> String {
    kedge_api::text::Printable::new(text).to_string()
}

async fn watch(
    app: &mut App<'_>,
    hub: &Hub,
    selection: &Selection,
    form: Form,
) -> Result<(), Failure> {
    let (kind, only, selector) = match selection {
        Selection::All(kind, selector) => (*kind, None, selector.clone()),
        Selection::Named(names) => match names.as_slice() {
            [(kind, name)] => (*kind, Some(name.as_str()), None),
            _ => return Err(usage("--watch takes a kind, or one object")),
        },
    };
    if kind.access == KindAccess::ListOnly {
        return Err(usage(format!("{} cannot be watched", kind.plural)));
    }
    let list_path = list_path(kind, selector.as_ref());
    let mut widths = Vec::new();
    let mut first = true;
    loop {
        let list = hub
            .fetch(&list_path)
            .await
            .map_err(IntoFailure::into_failure)?;
        let wanted = |object: &Value| only.is_none_or(|only| name_of(object) == only);
        let objects: Vec<_> = items(&list).iter().filter(|o| wanted(o)).cloned().collect();
        if first && only.is_some() && objects.is_empty() {
            let error = hub
                .fetch(&format!("{}/{}", kind.plural, only.unwrap_or_default()))
                .await;
            error.map_err(IntoFailure::into_failure)?;
        }
        // After the history ran out the list is shown once more: something may have been missed.
        show_watched(app, kind, &objects, form, &mut widths, first)?;
        first = false;
        let version = list
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str);
        let mut version = version.unwrap_or("0").to_owned();
        while let Followed::On(next) = follow(
            app,
            hub,
            (kind, &list_path, &version),
            &wanted,
            form,
            &mut widths,
        )
        .await?
        {
            version = next;
            tokio::time::sleep(defaults::WATCH_RETRY).await;
        }
    }
}

/// Where a watch ended.
enum Followed {
    /// The hub's history does not reach back so far: list again.
    Expired,
    /// At this version, to go on from.
    On(String),
}

async fn follow(
    app: &mut App<'_>,
    hub: &Hub,
    (kind, list_path, version): (&'static Kind, &str, &str),
    wanted: &impl Fn(&Value) -> bool,
    form: Form,
    widths: &mut Vec<usize>,
) -> Result<Followed, Failure> {
    let joint = if list_path.contains('?') { '&' } else { '?' };
    let path = format!(
        "{list_path}{joint}watch=1&resourceVersion={}",
        encode(version)
    );
    let mut version = version.to_owned();
    let mut watch = match hub.watch(&path).await {
        Ok(watch) => watch,
        Err(error) => return lost(error, version),
    };
    loop {
        let event = match watch.next().await {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(Followed::On(version)),
            Err(error) => return lost(error, version),
        };
        let object = event.get("object").cloned().unwrap_or_default();
        let what = event
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if what == "ERROR" {
            let error = hub.refused(http::StatusCode::GONE, object.to_string().as_bytes());
            return lost(error, version);
        }
        if let Some(seen) = object
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str)
        {
            seen.clone_into(&mut version);
        }
        match what {
            "ADDED" | "MODIFIED" if wanted(&object) => {
                show_watched(app, kind, &[object], form, widths, false)?;
            }
            "DELETED" if wanted(&object) => match form.output {
                None | Some(OutputFormat::Wide) => {
                    app.note(&format!(
                        "{} deleted",
                        kind.qualified(&printable(name_of(&object)))
                    ));
                }
                Some(_) => show_watched(app, kind, &[object], form, widths, false)?,
            },
            _ => {}
        }
    }
}

/// A watch that ended badly: what can be cured by asking again is.
fn lost(error: HubError, version: String) -> Result<Followed, Failure> {
    match error.reason() {
        Some(kedge_api::StatusReason::Expired | kedge_api::StatusReason::Gone) => {
            Ok(Followed::Expired)
        }
        Some(kedge_api::StatusReason::ServiceUnavailable) => Ok(Followed::On(version)),
        Some(_) => Err(error.into_failure()),
        None => match error {
            HubError::Broken { .. } | HubError::Dial { .. } => Ok(Followed::On(version)),
            other => Err(other.into_failure()),
        },
    }
}

/// Prints what a watch came upon; the `first` rows say how wide the columns are.
///
/// # Errors
///
/// When standard output is closed or full.
pub(crate) fn show_watched(
    app: &mut App<'_>,
    kind: &'static Kind,
    objects: &[Value],
    form: Form,
    widths: &mut Vec<usize>,
    first: bool,
) -> Result<(), Failure> {
    let mut text = String::new();
    match form.output {
        Some(OutputFormat::Json) => text.extend(objects.iter().map(print::json)),
        Some(OutputFormat::Yaml) => {
            for object in objects {
                text.push_str("---\n");
                text.push_str(&print::yaml(object)?);
            }
        }
        Some(OutputFormat::Name) => {
            for object in objects {
                text.push_str(&kind.qualified(&printable(name_of(object))));
                text.push('\n');
            }
        }
        Some(OutputFormat::Wide) | None => {
            let rows: Vec<_> = objects
                .iter()
                .map(|object| row(app, kind, object, form))
                .collect();
            let headings = headings(kind, form);
            if first {
                *widths = table::widths(Some(&headings), &rows);
                if form.headings {
                    let cells: Vec<_> = headings.iter().map(ToString::to_string).collect();
                    table::line(&mut text, &cells, widths);
                }
            }
            for row in &rows {
                table::line(&mut text, row, widths);
            }
        }
    }
    app.print(&text)
}
