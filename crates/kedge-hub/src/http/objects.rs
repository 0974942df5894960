//! Objects in Kubernetes' shape: list, watch, get, create, replace, delete.
//!
//! Administrators see and change everything. Other people see the servers that a policy lets them reach, and change
//! nothing. What they may not see is not there for them: the same answer as for what does not exist.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    response::Response,
};
use http::{HeaderMap, StatusCode};
use kedge_api::{
    AccessPolicy, JoinToken, LabelSelector, NameError, ObjectMeta, Resource, ResourceVersion,
    Server, Status, Time, decode, policy, resources::ServerSpec,
};
use kedge_store::Precondition;
use serde::Deserialize;

use super::{
    auth::Person,
    body,
    reply::{self, Failure},
    watch,
};
use crate::{
    app::App,
    audit::{self, Verb},
    people::{Authenticated, Role},
    policies::Entry,
};

/// What `GET` on a list takes. Unknown parameters are ignored, as Kubernetes does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListQuery {
    watch: Option<String>,
    resource_version: Option<String>,
    label_selector: Option<String>,
    field_selector: Option<String>,
}

/// What `DELETE` takes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeleteQuery {
    resource_version: Option<String>,
}

/// Who may see objects of a kind besides administrators, and what a caller may not choose when making one.
pub(crate) trait Exposed: Resource {
    /// Whether people who are no administrators see some of them.
    const VISIBILITY: Visibility;

    /// Whether a person may see this one.
    fn is_visible(&self, policies: &[Entry], who: &Authenticated, now: Time) -> bool;

    /// What is left of it for somebody who saw it before and may not now: enough to know which it was. `None` for
    /// kinds that nobody sees in part.
    fn tombstone(&self) -> Option<Self>;
}

/// Whether people who are no administrators see objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visibility {
    /// They see none.
    Admins,
    /// They see those that a policy lets them reach.
    Reachable,
}

impl Exposed for Server {
    const VISIBILITY: Visibility = Visibility::Reachable;

    fn is_visible(&self, policies: &[Entry], who: &Authenticated, now: Time) -> bool {
        policy::may_see(
            policies.iter().map(Entry::policy),
            &who.principal,
            self,
            now,
        )
    }

    fn tombstone(&self) -> Option<Self> {
        Some(bare(self, ServerSpec::default()))
    }
}

impl Exposed for AccessPolicy {
    const VISIBILITY: Visibility = Visibility::Admins;

    fn is_visible(&self, _: &[Entry], _: &Authenticated, _: Time) -> bool {
        false
    }

    fn tombstone(&self) -> Option<Self> {
        None
    }
}

impl Exposed for JoinToken {
    const VISIBILITY: Visibility = Visibility::Admins;

    fn is_visible(&self, _: &[Entry], _: &Authenticated, _: Time) -> bool {
        false
    }

    fn tombstone(&self) -> Option<Self> {
        None
    }
}

/// What a caller may see of a kind.
#[derive(Clone, Debug)]
pub(crate) enum View {
    /// Everything.
    All,
    /// What these policies let them reach.
    Reachable(Authenticated, Arc<Vec<Entry>>),
}

impl View {
    /// What `person` may see of `R`.
    ///
    /// # Errors
    /// 403 when they may see nothing of it whatever it holds.
    pub(crate) async fn of<R: Exposed>(app: &App, person: &Person) -> Result<Self, Failure> {
        match (person.who.role, R::VISIBILITY) {
            (Role::Admin, _) => Ok(Self::All),
            (Role::Person, Visibility::Admins) => {
                let words = format!("only administrators of this hub may see {}", R::PLURAL);
                Err(Status::forbidden(words).into())
            }
            (Role::Person, Visibility::Reachable) => Ok(Self::Reachable(
                person.who.clone(),
                app.policies.current(&*app.store).await?,
            )),
        }
    }

    /// Whether it shows `object`.
    pub(crate) fn shows<R: Exposed>(&self, object: &R, now: Time) -> bool {
        match self {
            Self::All => true,
            Self::Reachable(who, policies) => object.is_visible(policies, who, now),
        }
    }
}

/// `GET …/KIND`
pub(super) async fn list<R: Exposed>(
    State(app): State<App>,
    person: Person,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let query = self::query(query)?;
    let epoch = app.epoch.subscribe();
    let view = View::of::<R>(&app, &person).await?;
    if query
        .field_selector
        .as_deref()
        .is_some_and(|selector| !selector.is_empty())
    {
        return Err(Status::bad_request("fieldSelector is not offered; use labelSelector").into());
    }
    let selector = parse::<LabelSelector>(query.label_selector.as_deref())?.unwrap_or_default();
    let version = parse::<ResourceVersion>(query.resource_version.as_deref())?;
    match query.watch.as_deref() {
        None | Some("0" | "false") => {}
        Some("1" | "true" | "") => {
            return watch::open::<R>(app, epoch, person, view, selector, version).await;
        }
        Some(_) => return Err(Status::bad_request("watch is 1 or 0").into()),
    }
    let mut objects = app.store.list::<R>(&selector).await?;
    let now = app.clock.now();
    objects.items.retain(|object| view.shows(object, now));
    Ok(reply::json(StatusCode::OK, &objects))
}

/// `GET …/KIND/NAME`
pub(super) async fn read<R: Exposed>(
    State(app): State<App>,
    person: Person,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let name = name(path)?;
    let view = View::of::<R>(&app, &person).await?;
    let found = app.store.find::<R>(&name).await?;
    match found.filter(|object| view.shows(object, app.clock.now())) {
        Some(object) => Ok(reply::json(StatusCode::OK, &object)),
        None => Err(match view {
            View::All => Status::not_found::<R>(&name),
            View::Reachable(..) => Status::not_found_or_hidden::<R>(&name),
        }
        .into()),
    }
}

/// `POST …/KIND`
pub(super) async fn create<R: Exposed>(
    State(app): State<App>,
    person: Person,
    headers: HeaderMap,
    raw: Body,
) -> Result<Response, Failure> {
    person.require_admin()?;
    let mut object: R = decode::object(&body::read(&headers, raw).await?, None)?;
    // The status is what the hub saw, and it has seen nothing yet.
    *object.status_mut() = R::Status::default();
    forget_store_fields(object.metadata_mut());
    let stored = app.store.create(&object).await?;
    audit::object_changed(
        person.actor(),
        Verb::Created,
        R::SINGULAR,
        stored.metadata().name.as_str(),
    );
    Ok(reply::json(StatusCode::CREATED, &stored))
}

/// `PUT …/KIND/NAME`
pub(super) async fn replace<R: Exposed>(
    State(app): State<App>,
    person: Person,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    raw: Body,
) -> Result<Response, Failure> {
    person.require_admin()?;
    let name = name(path)?;
    let bytes = body::read(&headers, raw).await?;
    let old = app.store.get::<R>(&name).await?;
    let object: R = decode::object(&bytes, Some(&old))?;
    if object.metadata().name.as_str() != name {
        return Err(Status::bad_request("metadata.name is not the name in the path").into());
    }
    let stored = app.store.update(&object).await?;
    audit::object_changed(person.actor(), Verb::Updated, R::SINGULAR, &name);
    Ok(reply::json(StatusCode::OK, &stored))
}

/// `DELETE …/KIND/NAME`
pub(super) async fn delete<R: Exposed>(
    State(app): State<App>,
    person: Person,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<DeleteQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    person.require_admin()?;
    let query = self::query(query)?;
    let name = name(path)?;
    let precondition = parse::<ResourceVersion>(query.resource_version.as_deref())?
        .map_or(Precondition::None, Precondition::Version);
    let last = app.store.delete::<R>(&name, precondition).await?;
    audit::object_changed(person.actor(), Verb::Deleted, R::SINGULAR, &name);
    Ok(reply::json(StatusCode::OK, &last))
}

/// The name in a path. What is no name names nothing, and the reader is told what is wrong with it.
pub(super) fn name(path: Result<Path<String>, PathRejection>) -> Result<String, Failure> {
    let Path(name) =
        path.map_err(|_| Failure::from(Status::bad_request("the path is no UTF-8 text")))?;
    match name.parse::<kedge_api::ObjectName>() {
        Ok(_) => Ok(name),
        Err(error) => Err(Status::bad_request(error.to_string()).into()),
    }
}

/// The parameters of a query, or the answer that they cannot be read.
pub(super) fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Failure> {
    let Query(query) = query.map_err(|error| {
        let cause = kedge_api::text::Printable::new(&error.body_text()).to_string();
        Failure::from(Status::bad_request(cause))
    })?;
    Ok(query)
}

fn parse<T: std::str::FromStr<Err = NameError>>(text: Option<&str>) -> Result<Option<T>, Failure> {
    text.filter(|text| !text.is_empty())
        .map(str::parse)
        .transpose()
        .map_err(|error: NameError| Status::bad_request(error.to_string()).into())
}

/// An object's name, uid and version, and nothing else of it.
fn bare<R: Resource>(object: &R, spec: R::Spec) -> R {
    let known = object.metadata();
    let mut bare = R::new(known.name.clone(), spec);
    let metadata = bare.metadata_mut();
    metadata.uid.clone_from(&known.uid);
    metadata
        .resource_version
        .clone_from(&known.resource_version);
    bare
}

/// What only the store may say of an object.
fn forget_store_fields(metadata: &mut ObjectMeta) {
    metadata.uid = None;
    metadata.resource_version = None;
    metadata.generation = None;
    metadata.creation_timestamp = None;
}
