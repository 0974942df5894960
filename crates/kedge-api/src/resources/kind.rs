//! `apiVersion` and `kind`: fields of one legal value each.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

use crate::API_VERSION;
use crate::meta::Resource;
use crate::text::Printable;

/// `kedge.dev/v1alpha1`, the only version there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiVersion;

impl Serialize for ApiVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(API_VERSION)
    }
}

impl<'de> Deserialize<'de> for ApiVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        expect(deserializer, API_VERSION).map(|()| Self)
    }
}

impl JsonSchema for ApiVersion {
    fn schema_name() -> Cow<'static, str> {
        "ApiVersion".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "const": API_VERSION })
    }
}

/// The name of the kind `R`, and no other.
pub struct KindTag<R>(PhantomData<fn() -> R>);

impl<R> Default for KindTag<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<R> Clone for KindTag<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for KindTag<R> {}

impl<R> PartialEq for KindTag<R> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<R> Eq for KindTag<R> {}

impl<R: Resource> fmt::Debug for KindTag<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(R::KIND)
    }
}

impl<R: Resource> Serialize for KindTag<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(R::KIND)
    }
}

impl<'de, R: Resource> Deserialize<'de> for KindTag<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        expect(deserializer, R::KIND).map(|()| Self::default())
    }
}

impl<R: Resource> JsonSchema for KindTag<R> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}Kind", R::KIND).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "const": R::KIND })
    }
}

fn expect<'de, D: Deserializer<'de>>(
    deserializer: D,
    wanted: &'static str,
) -> Result<(), D::Error> {
    let found = Cow::<'de, str>::deserialize(deserializer)?;
    if found == wanted {
        Ok(())
    } else {
        let found = Printable::new(&found);
        Err(de::Error::custom(format_args!(
            "expected `{wanted}`, found `{found}`"
        )))
    }
}

/// Makes the struct of a kind and what is alike in every implementation of [`Resource`].
macro_rules! resource {
    (
        $(#[$doc:meta])* $name:ident { spec: $spec:ty, status: $status:ty }
        plural $plural:literal, singular $singular:literal, short $short:expr,
        validate $validate:path, change $change:path,
        columns $columns:path, rules $rules:path
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            /// Always `kedge.dev/v1alpha1`.
            pub api_version: $crate::resources::ApiVersion,
            /// The kind's name.
            pub kind: $crate::resources::KindTag<$name>,
            /// Name, labels, version and so on.
            pub metadata: $crate::meta::ObjectMeta,
            /// What is asked for.
            pub spec: $spec,
            /// What the hub has seen; written by the hub alone.
            #[serde(default)]
            pub status: $status,
        }

        impl $crate::meta::Resource for $name {
            const KIND: &'static str = stringify!($name);
            const PLURAL: &'static str = $plural;
            const SINGULAR: &'static str = $singular;
            const SHORT_NAMES: &'static [&'static str] = $short;
            const COLUMNS: &'static [$crate::crd::Column] = $columns;
            const RULES: &'static [$crate::crd::Rule] = $rules;

            type Spec = $spec;
            type Status = $status;

            fn new(name: $crate::names::ObjectName, spec: $spec) -> Self {
                Self {
                    api_version: $crate::resources::ApiVersion,
                    kind: $crate::resources::KindTag::default(),
                    metadata: $crate::meta::ObjectMeta::new(name),
                    spec,
                    status: <$status>::default(),
                }
            }

            fn metadata(&self) -> &$crate::meta::ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut $crate::meta::ObjectMeta {
                &mut self.metadata
            }

            fn spec(&self) -> &$spec {
                &self.spec
            }

            fn spec_mut(&mut self) -> &mut $spec {
                &mut self.spec
            }

            fn status(&self) -> &$status {
                &self.status
            }

            fn status_mut(&mut self) -> &mut $status {
                &mut self.status
            }

            fn validate(&self) -> Result<(), Vec<$crate::meta::FieldError>> {
                let mut errors = Vec::new();
                self.metadata.check(&mut errors);
                $validate(self, &mut errors);
                if errors.is_empty() { Ok(()) } else { Err(errors) }
            }

            fn validate_change(&self, old: &Self) -> Result<(), Vec<$crate::meta::FieldError>> {
                let mut errors = Vec::new();
                self.metadata.check(&mut errors);
                $validate(self, &mut errors);
                $change(self, old, &mut errors);
                if errors.is_empty() { Ok(()) } else { Err(errors) }
            }
        }
    };
}

pub(crate) use resource;
