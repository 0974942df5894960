//! The kinds as CustomResourceDefinitions: what a Kubernetes API server must know to keep them, to refuse what the hub
//! would refuse, and to explain them.
//!
//! Everything comes from the types: fields and their documentation from the JSON schema, names from [`Resource`], and
//! beside each kind's name a list of columns and of rules. The rules are what its `validate` and `validate_change`
//! refuse, said in CEL, with the same words; what CEL cannot say is listed in `docs/kubernetes.md`.
//!
//! ```text
//!  JsonSchema of R ──structural──▶ openAPIV3Schema ┐
//!  R::RULES ─────────────────────▶ x-kubernetes-validations ├──▶ definition::<R>()
//!  R::COLUMNS ───────────────────▶ additionalPrinterColumns ┘
//! ```
//!
//! It asks for Kubernetes 1.31, the first whose CEL knows networks (`cidr`) and URLs.

pub(crate) mod access_policy;
pub(crate) mod join_token;
pub(crate) mod server;
mod structural;

use serde_json::{Value, json};

use crate::meta::Resource;
use crate::{API_GROUP, API_VERSION};

/// The category of every kind: `kubectl get kedge` shows them all.
pub const CATEGORY: &str = "kedge";

/// A column of `kubectl get`. The name is the first in every table, and not listed.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The heading, which `kubectl` shows in capitals.
    pub name: &'static str,
    /// What the cell is.
    pub cell: Cell,
    /// Where the value is, in the notation of `kubectl -o jsonpath`: `.status.phase`.
    pub path: &'static str,
    /// When it is shown.
    pub shown: Shown,
}

/// How a cell is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// A moment that is past, as the time since then.
    Age,
    /// A whole number.
    Number,
    /// A text, or a list as JSON.
    Text,
}

/// When a column is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// In every table.
    Always,
    /// With `-o wide`.
    Wide,
}

/// Something that must hold of a value, in CEL.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The value it is about, `self` in the expression: `spec`, `spec.subjects.groups[]`.
    pub at: &'static str,
    /// The expression. One that speaks of `oldSelf` is only asked when there was such a value before.
    pub holds: &'static str,
    /// What is told to whoever broke it.
    pub message: &'static str,
    /// The field that is to blame, beneath `at`: `.values`. Empty for `at` itself.
    pub field: &'static str,
}

/// The CustomResourceDefinition of a kind (`apiextensions.k8s.io/v1`), with a structural schema.
#[must_use]
pub fn definition<R: Resource>() -> Value {
    let version = API_VERSION
        .strip_prefix(API_GROUP)
        .map_or(API_VERSION, |rest| rest.trim_start_matches('/'));
    let columns: Vec<_> = R::COLUMNS.iter().map(column).collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{}.{API_GROUP}", R::PLURAL) },
        "spec": {
            "group": API_GROUP,
            "names": {
                "categories": [CATEGORY],
                "kind": R::KIND,
                "listKind": format!("{}List", R::KIND),
                "plural": R::PLURAL,
                "shortNames": R::SHORT_NAMES,
                "singular": R::SINGULAR,
            },
            "scope": "Namespaced",
            "versions": [{
                "name": version,
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": columns,
                "schema": { "openAPIV3Schema": structural::schema::<R>() },
            }],
        },
    })
}

fn column(column: &Column) -> Value {
    let mut shown = json!({
        "name": column.name,
        "type": match column.cell {
            Cell::Age => "date",
            Cell::Number => "integer",
            Cell::Text => "string",
        },
        "jsonPath": column.path,
    });
    if let (Shown::Wide, Some(fields)) = (column.shown, shown.as_object_mut()) {
        fields.insert("priority".to_owned(), 1.into());
    }
    shown
}

impl Column {
    pub(crate) const fn new(name: &'static str, cell: Cell, path: &'static str) -> Self {
        Self {
            name,
            cell,
            path,
            shown: Shown::Always,
        }
    }

    pub(crate) const fn wide(name: &'static str, cell: Cell, path: &'static str) -> Self {
        Self {
            name,
            cell,
            path,
            shown: Shown::Wide,
        }
    }
}
