//! Reading what a document holds where it has the expected type, and nothing where it has another.
//!
//! An optional field of a wrong type, from a newer or unusual runtime or a newer porthole, must not cost the container its
//! registration. Broken JSON remains an error. Everything is read in one pass, and unknown values are not kept.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A type that knows what to take from each kind of JSON value; by default nothing.
pub(crate) trait Lenient: Default {
    fn from_bool(_: bool) -> Self {
        Self::default()
    }
    fn from_integer(_: i64) -> Self {
        Self::default()
    }
    fn from_unsigned(value: u64) -> Self {
        i64::try_from(value).map_or_else(|_| Self::default(), Self::from_integer)
    }
    fn from_text(_: &str) -> Self {
        Self::default()
    }
    fn from_object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
    fn from_array<'de, A: SeqAccess<'de>>(mut array: A) -> Result<Self, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

/// For `#[serde(deserialize_with = "lenient")]`.
pub(crate) fn lenient<'de, D: Deserializer<'de>, T: Lenient>(from: D) -> Result<T, D::Error> {
    from.deserialize_any(Any(PhantomData))
}

/// The same for a required field.
pub(crate) fn required<'de, D: Deserializer<'de>, T>(from: D) -> Result<T, D::Error>
where
    Option<T>: Lenient,
{
    lenient(from)
        .and_then(|read: Option<T>| read.ok_or_else(|| D::Error::custom("a value of the wrong type")))
}

/// An object by the fields of a type that derives `Deserialize`.
pub(crate) fn fields<'de, T: Deserialize<'de>, A: MapAccess<'de>>(object: A) -> Result<T, A::Error> {
    T::deserialize(MapAccessDeserializer::new(object))
}

/// One element of an array or object, read the lenient way.
pub(crate) struct Item<T>(pub(crate) T);

impl<'de, T: Lenient> Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        lenient(from).map(Self)
    }
}

/// A whole document, which can be nothing but an object: serde would take an array for a struct as well.
pub(crate) struct Document<T>(pub(crate) T);

impl<'de, T: Lenient> Deserialize<'de> for Document<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);
        impl<'de, T: Lenient> Visitor<'de> for Object<T> {
            type Value = Document<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
                T::from_object(object).map(Document)
            }
        }
        from.deserialize_map(Object(PhantomData))
    }
}

struct Any<T>(PhantomData<T>);

impl<'de, T: Lenient> Visitor<'de> for Any<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<T, E> {
        Ok(T::from_bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<T, E> {
        Ok(T::from_integer(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<T, E> {
        Ok(T::from_unsigned(value))
    }
    fn visit_f64<E>(self, _: f64) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_str<E>(self, value: &str) -> Result<T, E> {
        Ok(T::from_text(value))
    }
    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }
    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<T, A::Error> {
        T::from_object(object)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<T, A::Error> {
        T::from_array(array)
    }
}

impl Lenient for bool {
    fn from_bool(value: bool) -> Self {
        value
    }
}

impl Lenient for String {
    fn from_text(value: &str) -> Self {
        value.to_owned()
    }
}

impl Lenient for Option<String> {
    fn from_text(value: &str) -> Self {
        (!value.is_empty()).then(|| value.to_owned())
    }
}

impl Lenient for Option<i32> {
    fn from_integer(value: i64) -> Self {
        i32::try_from(value).ok()
    }
}

impl Lenient for Option<u32> {
    fn from_integer(value: i64) -> Self {
        u32::try_from(value).ok()
    }
}

impl Lenient for Option<u64> {
    fn from_unsigned(value: u64) -> Self {
        Some(value)
    }
}

impl Lenient for u64 {
    fn from_unsigned(value: u64) -> Self {
        value
    }
}

impl Lenient for u32 {
    fn from_integer(value: i64) -> Self {
        Self::try_from(value).unwrap_or_default()
    }
}

impl Lenient for PathBuf {
    fn from_text(value: &str) -> Self {
        value.into()
    }
}

impl Lenient for Option<PathBuf> {
    fn from_text(value: &str) -> Self {
        (!value.is_empty()).then(|| value.into())
    }
}

/// No list a hook is interested in is longer; what follows is read over.
const LONGEST_LIST: usize = 128;

impl<T: Lenient + Wanted> Lenient for Vec<T> {
    fn from_array<'de, A: SeqAccess<'de>>(mut array: A) -> Result<Self, A::Error> {
        let mut list = Self::new();
        while let Some(Item(item)) = array.next_element::<Item<T>>()? {
            if list.len() < LONGEST_LIST && T::is_wanted(&item) {
                list.push(item);
            }
        }
        Ok(list)
    }
}

/// Which elements of a list are kept.
pub(crate) trait Wanted {
    fn is_wanted(&self) -> bool;
}

impl Wanted for String {
    fn is_wanted(&self) -> bool {
        !self.is_empty()
    }
}
