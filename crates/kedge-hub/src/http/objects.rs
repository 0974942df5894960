//! Objects in Kubernetes' shape: list, watch, get, create, replace, delete.
//!
//! Who may what is [`Rights`]' word. Somebody who may not list servers sees those that a policy lets them reach; what
//! they may not see is not there for them: the same answer as for what does not exist.

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
    Server, Status, Time, decode,
    resources::{HubResource, ServerSpec, Verb},
};
use kedge_store::{Kind, Precondition, Write};
use serde::Deserialize;

use super::{
    auth::Person,
    body,
    reply::{self, Failure},
    watch,
};
use crate::{
    app::App,
    audit,
    rights::{self, Basis, Rights},
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

/// A kind that the hub shows to people.
pub(crate) trait Exposed: Resource {
    /// What rights call it.
    const RESOURCE: HubResource;

    /// What somebody sees who may not list it.
    const OTHERS: Others;

    /// Whether somebody sees this one who may not list them.
    fn is_reachable(&self, _: &Rights, _: Time) -> bool {
        false
    }

    /// Whether it hands out rights at the hub itself.
    fn hands_out_rights(&self) -> bool {
        false
    }

    /// What is left of it for somebody who saw it before and may not now: enough to know which it was. `None` for
    /// kinds that nobody sees in part.
    fn tombstone(&self) -> Option<Self> {
        None
    }
}

/// What people see of a kind that they may not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// Nothing.
    Nothing,
    /// Those that a policy lets them reach.
    Reachable,
}

impl Exposed for Server {
    const RESOURCE: HubResource = HubResource::Servers;
    const OTHERS: Others = Others::Reachable;

    fn is_reachable(&self, rights: &Rights, now: Time) -> bool {
        rights.reaches(self, now)
    }

    fn tombstone(&self) -> Option<Self> {
        Some(bare(self, ServerSpec::default()))
    }
}

impl Exposed for AccessPolicy {
    const RESOURCE: HubResource = HubResource::AccessPolicies;
    const OTHERS: Others = Others::Nothing;

    fn hands_out_rights(&self) -> bool {
        self.spec.hub.is_some()
    }
}

impl Exposed for JoinToken {
    const RESOURCE: HubResource = HubResource::JoinTokens;
    const OTHERS: Others = Others::Nothing;
}

/// What a caller may see of a kind.
#[derive(Clone, Debug)]
pub(crate) enum View {
    /// Everything, by this.
    All(Basis),
    /// What policies let them reach.
    Reachable(Rights),
}

impl View {
    /// What somebody with `rights` may see of `R` when they do this.
    ///
    /// # Errors
    /// 403 when they may see nothing of it whatever it holds.
    pub(crate) fn of<R: Exposed>(
        rights: Rights,
        verb: Verb,
        name: Option<&str>,
    ) -> Result<Self, Failure> {
        match (rights.basis(verb, R::RESOURCE, name), R::OTHERS) {
            (Some(basis), _) => Ok(Self::All(basis)),
            (None, Others::Reachable) => Ok(Self::Reachable(rights)),
            (None, Others::Nothing) => {
                let words = format!(
                    "you may not {verb} {} of this hub; ask an administrator",
                    R::PLURAL
                );
                Err(Status::forbidden(words).into())
            }
        }
    }

    /// Whether it shows `object`.
    pub(crate) fn shows<R: Exposed>(&self, object: &R, now: Time) -> bool {
        match self {
            Self::All(_) => true,
            Self::Reachable(rights) => object.is_reachable(rights, now),
        }
    }
}

impl Person {
    /// What they may do.
    ///
    /// # Errors
    /// When the policies cannot be read.
    pub(crate) async fn rights(&self, app: &App) -> Result<Rights, Failure> {
        Ok(Rights::of(app, &self.who, self.from).await?)
    }

    /// Passes a failure on, and writes down that a change was refused.
    pub(crate) fn refused_write(
        &self,
        app: &App,
        verb: Verb,
        kind: &'static str,
        name: &str,
    ) -> impl Fn(Failure) -> Failure {
        let (app, person, name) = (app.clone(), self.clone(), name.to_owned());
        move |failure| {
            rights::note_refused_write(&app, &person, verb, kind, &name, &failure);
            failure
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
    // Before the rights are looked at, so that no change of them falls between.
    let epoch = app.epoch.subscribe();
    let rights = person.rights(&app).await?;
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
            let view = View::of::<R>(rights, Verb::Watch, None)?;
            return watch::open::<R>(app, epoch, person, view, selector, version).await;
        }
        Some(_) => return Err(Status::bad_request("watch is 1 or 0").into()),
    }
    let view = View::of::<R>(rights, Verb::List, None)?;
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
    let view = View::of::<R>(person.rights(&app).await?, Verb::Get, Some(&name))?;
    let found = app.store.find::<R>(&name).await?;
    match found.filter(|object| view.shows(object, app.clock.now())) {
        Some(object) => Ok(reply::json(StatusCode::OK, &object)),
        None => Err(match view {
            View::All(_) => Status::not_found::<R>(&name),
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
    let bytes = body::read(&headers, raw).await?;
    // After the body, which may take its time: rights are those of the moment of the change.
    let rights = person.rights(&app).await?;
    let decoded = decode::object::<R>(&bytes, None);
    // Whoever may not create it is told that, and not what is wrong with it.
    let name = match &decoded {
        Ok(object) => Some(object.metadata().name.as_str().to_owned()),
        Err(_) => None,
    };
    let shown = name.as_deref().unwrap_or_default();
    let refused = person.refused_write(&app, Verb::Create, R::SINGULAR, shown);
    rights
        .require(Verb::Create, R::RESOURCE, name.as_deref())
        .map_err(&refused)?;
    let mut object = decoded?;
    if object.hands_out_rights() {
        rights.require_admin().map_err(&refused)?;
    }
    // The status is what the hub saw, and it has seen nothing yet.
    *object.status_mut() = R::Status::default();
    forget_store_fields(object.metadata_mut());
    let stored = app.store.create(&object).await?;
    audit::object_changed(
        person.actor(),
        audit::Verb::Created,
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
    let name = name(path)?;
    let bytes = body::read(&headers, raw).await?;
    let rights = person.rights(&app).await?;
    let refused = person.refused_write(&app, Verb::Update, R::SINGULAR, &name);
    rights
        .require(Verb::Update, R::RESOURCE, Some(&name))
        .map_err(&refused)?;
    let old = app.store.get::<R>(&name).await?;
    if old.hands_out_rights() {
        rights.require_admin().map_err(&refused)?;
    }
    let object: R = decode::object(&bytes, Some(&old))?;
    if object.metadata().name.as_str() != name {
        return Err(Status::bad_request("metadata.name is not the name in the path").into());
    }
    if object.hands_out_rights() {
        rights.require_admin().map_err(&refused)?;
    }
    // What was looked at must be what is replaced: a version from the future would hit another one.
    let version = object.metadata().resource_version;
    if version.is_some() && version != old.metadata().resource_version {
        return Err(Status::conflict::<R>(&name).into());
    }
    let stored = app.store.update(&object).await?;
    audit::object_changed(person.actor(), audit::Verb::Updated, R::SINGULAR, &name);
    Ok(reply::json(StatusCode::OK, &stored))
}

/// `DELETE …/KIND/NAME`
pub(super) async fn delete<R: Exposed>(
    State(app): State<App>,
    person: Person,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<DeleteQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let query = self::query(query)?;
    let name = name(path)?;
    let rights = person.rights(&app).await?;
    let refused = person.refused_write(&app, Verb::Delete, R::SINGULAR, &name);
    rights
        .require(Verb::Delete, R::RESOURCE, Some(&name))
        .map_err(&refused)?;
    let mut precondition = parse::<ResourceVersion>(query.resource_version.as_deref())?
        .map_or(Precondition::None, Precondition::Version);
    if !rights.is_admin() {
        // What was looked at must be what is removed.
        let old = app.store.get::<R>(&name).await?;
        if old.hands_out_rights() {
            rights.require_admin().map_err(&refused)?;
        }
        precondition = match (precondition, old.metadata().resource_version) {
            (Precondition::None, Some(version)) => Precondition::Version(version),
            // A version from the future would hit another one.
            (Precondition::Version(asked), held) if Some(asked) != held => {
                return Err(Status::conflict::<R>(&name).into());
            }
            (precondition, _) => precondition,
        };
    }
    // As it stands there: what this version cannot read must be removable all the same.
    let write = Write::Delete(Kind::of::<R>(), name.clone(), precondition);
    let last = app.store.write(write).await?;
    audit::object_changed(person.actor(), audit::Verb::Deleted, R::SINGULAR, &name);
    Ok(reply::json(StatusCode::OK, &last.tree()))
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
