//! Finds floats that are not finite in a value.

use std::fmt::Display;

use serde::ser::{self, Error as _, Serialize};
use serde_json::{Error, Result};

/// A serializer that writes nothing and refuses NaN and the infinities, which JSON does not have.
///
/// It accepts everything else, so run it only on a value that `serde_json` has already written.
pub(super) struct Finite;

fn check(is_finite: bool) -> Result<()> {
    if is_finite {
        return Ok(());
    }
    Err(Error::custom("a float that is not finite"))
}

/// Methods for values with nothing inside.
macro_rules! accept {
    ($($method:ident($($value:ty),*))*) => {
        $(fn $method(self $(, _: $value)*) -> Result<()> {
            Ok(())
        })*
    };
}

/// Methods for values with others inside.
macro_rules! look_inside {
    ($($method:ident($($value:ty),*))*) => {
        $(fn $method(self $(, _: $value)*) -> Result<Self> {
            Ok(self)
        })*
    };
}

impl ser::Serializer for Finite {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn serialize_f32(self, value: f32) -> Result<()> {
        check(value.is_finite())
    }

    fn serialize_f64(self, value: f64) -> Result<()> {
        check(value.is_finite())
    }

    accept! {
        serialize_bool(bool)
        serialize_i8(i8)
        serialize_i16(i16)
        serialize_i32(i32)
        serialize_i64(i64)
        serialize_i128(i128)
        serialize_u8(u8)
        serialize_u16(u16)
        serialize_u32(u32)
        serialize_u64(u64)
        serialize_u128(u128)
        serialize_char(char)
        serialize_str(&str)
        serialize_bytes(&[u8])
        serialize_none()
        serialize_unit()
        serialize_unit_struct(&'static str)
        serialize_unit_variant(&'static str, u32, &'static str)
    }

    fn collect_str<T: ?Sized + Display>(self, _: &T) -> Result<()> {
        Ok(())
    }

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self)
    }

    look_inside! {
        serialize_seq(Option<usize>)
        serialize_tuple(usize)
        serialize_tuple_struct(&'static str, usize)
        serialize_tuple_variant(&'static str, u32, &'static str, usize)
        serialize_map(Option<usize>)
        serialize_struct(&'static str, usize)
        serialize_struct_variant(&'static str, u32, &'static str, usize)
    }
}

/// The traits for the inside of values, which differ in the names of their methods.
macro_rules! inside {
    ($($trait:ident::$method:ident($($name:ty)?))*) => {
        $(impl ser::$trait for Finite {
            type Ok = ();
            type Error = Error;

            fn $method<T: ?Sized + Serialize>(&mut self $(, _: $name)?, value: &T) -> Result<()> {
                value.serialize(Finite)
            }

            fn end(self) -> Result<()> {
                Ok(())
            }
        })*
    };
}

inside! {
    SerializeSeq::serialize_element()
    SerializeTuple::serialize_element()
    SerializeTupleStruct::serialize_field()
    SerializeTupleVariant::serialize_field()
    SerializeStruct::serialize_field(&'static str)
    SerializeStructVariant::serialize_field(&'static str)
}

impl ser::SerializeMap for Finite {
    type Ok = ();
    type Error = Error;

    /// Accepts every key. `serde_json` has refused those that are not finite.
    fn serialize_key<T: ?Sized + Serialize>(&mut self, _: &T) -> Result<()> {
        Ok(())
    }

    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<()> {
        value.serialize(Finite)
    }

    fn end(self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::ser::{
        Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
        SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
    };
    use serde_json::value::RawValue;

    use crate::record::json::to_text;

    /// A float inside a value of each kind that serde knows, between values that are nothing.
    struct Inside {
        kind: usize,
        float: f64,
    }

    const KINDS: usize = 10;

    impl Serialize for Inside {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Self { kind, float } = self;
            match kind {
                0 => serializer.serialize_some(float),
                1 => serializer.serialize_newtype_struct("Name", float),
                2 => serializer.serialize_newtype_variant("Name", 0, "a", float),
                3 => {
                    let mut list = serializer.serialize_seq(None)?;
                    list.serialize_element(&None::<u8>)?;
                    list.serialize_element(float)?;
                    list.end()
                }
                4 => {
                    let mut tuple = serializer.serialize_tuple(2)?;
                    tuple.serialize_element(&())?;
                    tuple.serialize_element(float)?;
                    tuple.end()
                }
                5 => {
                    let mut tuple = serializer.serialize_tuple_struct("Name", 1)?;
                    tuple.serialize_field(float)?;
                    tuple.end()
                }
                6 => {
                    let mut tuple = serializer.serialize_tuple_variant("Name", 0, "a", 1)?;
                    tuple.serialize_field(float)?;
                    tuple.end()
                }
                7 => {
                    let mut map = serializer.serialize_map(None)?;
                    map.serialize_entry("nothing", &None::<u8>)?;
                    map.serialize_entry("a", float)?;
                    map.end()
                }
                8 => {
                    let mut members = serializer.serialize_struct("Name", 1)?;
                    members.serialize_field("a", float)?;
                    members.end()
                }
                _ => {
                    let mut members = serializer.serialize_struct_variant("Name", 0, "a", 1)?;
                    members.serialize_field("b", float)?;
                    members.end()
                }
            }
        }
    }

    fn kinds(float: f64) -> impl Iterator<Item = Inside> {
        (0..KINDS).map(move |kind| Inside { kind, float })
    }

    #[test]
    fn a_float_that_is_not_finite_is_an_error_anywhere() {
        for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            #[expect(clippy::cast_possible_truncation, reason = "it stays not finite")]
            let short = float as f32;
            assert!(to_text(&float).is_err());
            assert!(to_text(&short).is_err());
            for inside in kinds(float) {
                let kind = inside.kind;
                assert!(to_text(&inside).is_err(), "{kind}");
                assert!(to_text(&[Some((1, inside))]).is_err(), "{kind} in others");
            }
        }
    }

    #[test]
    fn null_is_written_for_what_is_missing() {
        assert_eq!(to_text(&None::<f64>).unwrap(), "null");
        assert_eq!(to_text(&()).unwrap(), "null");
        assert_eq!(to_text("null").unwrap(), "\"null\"");
        let texts: Vec<String> = kinds(1.5).map(|inside| to_text(&inside).unwrap()).collect();
        assert_eq!(
            texts,
            [
                "1.5",
                "1.5",
                "{\"a\": 1.5}",
                "[null, 1.5]",
                "[null, 1.5]",
                "[1.5]",
                "{\"a\": [1.5]}",
                "{\"nothing\": null, \"a\": 1.5}",
                "{\"a\": 1.5}",
                "{\"a\": {\"b\": 1.5}}",
            ]
        );
    }

    #[test]
    fn every_other_value_is_accepted_beside_null() {
        let all = (
            None::<u8>,
            (true, 'x', "x", b"x"),
            (1_i8, 1_i16, 1_i32, 1_i64, 1_i128),
            (1_u8, 1_u16, 1_u32, 1_u64, u128::MAX),
            (1.5_f32, f64::MAX, std::net::Ipv4Addr::LOCALHOST),
            BTreeMap::from([(1, 1), (2, 2)]),
            Ok::<u8, ()>(1),
            std::time::Duration::from_secs(1),
        );
        let text = to_text(&all).unwrap();
        assert!(text.starts_with("[null, [true, \"x\", \"x\", [120]], [1, 1, 1, 1, 1], "));
        let value = serde_json::json!({"a": null, "b": [1, null]});
        assert_eq!(to_text(&value).unwrap(), "{\"a\": null, \"b\": [1, null]}");
        // JSON that is passed through is not looked into.
        let raw = RawValue::from_string("[null, 1e999]".into()).unwrap();
        let text = to_text(&(None::<u8>, raw)).unwrap();
        assert_eq!(text, "[null, [null, 1e999]]");
    }
}
