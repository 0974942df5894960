//! JSON from outside, read strictly: no key twice, no nesting that means trouble, and not more of it than somebody may
//! mean: a digit and a comma become thirty bytes here.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::defaults::{JSON_MAX_DEPTH, JSON_MAX_VALUES};

/// Reads an object.
///
/// Where a key stands twice, two readers may see two different objects; so that is an error, as is anything after
/// the object.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with what was read.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, &'static str> {
    let flaw = Cell::new(None);
    let left = Cell::new(JSON_MAX_VALUES);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let seed = Strict {
        depth: 1,
        flaw: &flaw,
        left: &left,
    };
    let read = seed.deserialize(&mut reader);
    let read = read.and_then(|value| reader.end().map(|()| value));
    match read {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("is no JSON object"),
        Err(_) => Err(flaw.get().unwrap_or("is no JSON")),
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    flaw: &'a Cell<Option<&'static str>>,
    /// How many values there may still be.
    left: &'a Cell<usize>,
}

impl Strict<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth > JSON_MAX_DEPTH {
            return Err(self.wrong(DEEP));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }

    fn wrong<E: Error>(self, flaw: &'static str) -> E {
        self.flaw.set(Some(flaw));
        E::custom(flaw)
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => return Err(self.wrong(MANY)),
        }
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inside = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inside)? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inside = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inside)?;
            if object.insert(key, value).is_some() {
                return Err(self.wrong(TWICE));
            }
        }
        Ok(object.into())
    }
}

/// The flaw of too many levels.
pub(crate) const DEEP: &str = "nests too deep";
/// The flaw of too many values.
pub(crate) const MANY: &str = "has too many values";
/// The flaw of two equal keys.
pub(crate) const TWICE: &str = "has a key twice";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sound_is_read_as_it_is() {
        let text = r#"{"a":[1,-2,2.5,"x",null,true,{"b":{}}],"c":"\u00e9"}"#;
        let read = object(text.as_bytes()).unwrap();
        assert_eq!(Value::Object(read), text.parse::<Value>().unwrap());
    }

    #[test]
    fn a_key_twice_is_refused_on_every_level_and_however_it_is_written() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":2,"\u0061":1}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
        ] {
            assert_eq!(object(text.as_bytes()), Err(TWICE), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["[]", "1", "null", "\"{}\""] {
            assert_eq!(object(text.as_bytes()), Err("is no JSON object"), "{text}");
        }
        for text in [
            "",
            "{",
            "{}{}",
            "{} x",
            "{a:1}",
            "{\"a\":\"\n\"}",
            "\u{feff}{}",
        ] {
            assert_eq!(object(text.as_bytes()), Err("is no JSON"), "{text}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err("is no JSON"));
    }

    #[test]
    fn values_are_counted_wherever_they_are() {
        let list = |count: usize| format!("{{\"a\":[{}]}}", vec!["1"; count].join(","));
        let object_of = |count: usize| {
            let entries: Vec<_> = (0..count).map(|at| format!("\"{at}\":{{}}")).collect();
            format!("{{{}}}", entries.join(","))
        };
        // The object itself is one, and so is the list.
        assert!(object(list(JSON_MAX_VALUES - 2).as_bytes()).is_ok());
        assert!(object(object_of(JSON_MAX_VALUES - 1).as_bytes()).is_ok());
        for text in [list(JSON_MAX_VALUES - 1), object_of(JSON_MAX_VALUES)] {
            assert_eq!(object(text.as_bytes()), Err(MANY));
        }
    }

    #[test]
    fn nesting_ends_at_the_limit() {
        let nested = |depth: usize| {
            let inner = depth - 1;
            format!("{{\"a\":{}{}}}", "[".repeat(inner), "]".repeat(inner))
        };
        assert!(object(nested(JSON_MAX_DEPTH).as_bytes()).is_ok());
        for depth in [JSON_MAX_DEPTH + 1, 10_000, 100_000] {
            assert_eq!(object(nested(depth).as_bytes()), Err(DEEP));
        }
    }
}
