//! Values of `COPY … FROM STDIN` in the binary format, as arrays.
//!
//! Each is read as a parameter of the type that clients are told its column has. The bytes come from the network: whatever
//! they are, they become a value or an error.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, ListArray, new_empty_array};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::scalar::ScalarValue;
use lacus_query::postgres_type;
use pgwire::api::Type;
use postgres_types::Kind;

use crate::postgres::numeric;
use crate::postgres::parameters::{arrow, binary, elements};

/// An array of a column's values. Decimals and UUIDs are texts in it, with all their digits.
///
/// # Errors
/// Which value is the first that is not of the column's type.
pub(crate) fn decode(field: &Field, values: &[Option<&[u8]>]) -> Result<ArrayRef, usize> {
    let kind = postgres_type(field);
    match kind.kind() {
        Kind::Array(element) => lists(element, values),
        _ => scalars(&kind, values),
    }
}

fn lists(element: &Type, values: &[Option<&[u8]>]) -> Result<ArrayRef, usize> {
    let mut all = Vec::new();
    // Where each list ends in them.
    let mut ends = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        if let Some(bytes) = value {
            let (oid, more) = elements(bytes).ok_or(index)?;
            if !may_be_called(element, oid) {
                return Err(index);
            }
            all.extend(more);
        }
        ends.push(all.len());
    }
    let all = scalars(element, &all).map_err(|at| ends.partition_point(|end| *end <= at))?;
    let begins = std::iter::once(0).chain(ends.iter().copied());
    let lengths = ends.iter().zip(begins).map(|(end, begin)| end - begin);
    let nulls: Vec<bool> = values.iter().map(Option::is_some).collect();
    let field = Arc::new(Field::new_list_field(all.data_type().clone(), true));
    let lists = ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), all, Some(NullBuffer::from(nulls)));
    // There is a place for each value.
    lists.map(|lists| Arc::new(lists) as ArrayRef).map_err(|_| 0)
}

/// Whether an array may state this OID as its element type.
fn may_be_called(element: &Type, oid: u32) -> bool {
    let is_small = *element == Type::INT4 && oid == Type::INT2.oid();
    oid == element.oid() || is_small || *element == Type::TEXT
}

fn scalars(kind: &Type, values: &[Option<&[u8]>]) -> Result<ArrayRef, usize> {
    let arrow = if *kind == Type::NUMERIC { DataType::Utf8 } else { arrow(kind) };
    if values.is_empty() {
        return Ok(new_empty_array(&arrow));
    }
    // Every type that columns are announced with has a null.
    let null = ScalarValue::try_new_null(&arrow).map_err(|_| 0_usize)?;
    let mut wrong = None;
    let scalars = values.iter().enumerate().map(|(index, value)| {
        let Some(bytes) = value else { return null.clone() };
        scalar(kind, bytes).unwrap_or_else(|| {
            wrong.get_or_insert(index);
            null.clone()
        })
    });
    let array = ScalarValue::iter_to_array(scalars);
    match (wrong, array) {
        (None, Ok(array)) => Ok(array),
        // Scalars of one type are an array.
        (wrong, _) => Err(wrong.unwrap_or(0)),
    }
}

fn scalar(kind: &Type, bytes: &[u8]) -> Option<ScalarValue> {
    if *kind == Type::NUMERIC {
        return Some(ScalarValue::Utf8(Some(numeric::read(bytes)?)));
    }
    // A column created as smallint is an integer here, and clients that created it send two bytes.
    if *kind == Type::INT4
        && let Ok(bytes) = <[u8; 2]>::try_from(bytes)
    {
        return Some(ScalarValue::Int32(Some(i16::from_be_bytes(bytes).into())));
    }
    binary(kind, bytes)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::AsArray;
    use datafusion::arrow::datatypes::{Int32Type, TimeUnit};

    use super::*;

    fn field(kind: DataType) -> Field {
        Field::new("a", kind, true)
    }

    /// An array of one dimension in the binary format.
    fn array_of(element: &Type, items: &[Option<&[u8]>]) -> Vec<u8> {
        let count = i32::try_from(items.len()).unwrap();
        let mut bytes = Vec::new();
        for number in [1, 1, element.oid().cast_signed(), count, 1] {
            bytes.extend(number.to_be_bytes());
        }
        for item in items {
            let length = item.map_or(-1, |item| i32::try_from(item.len()).unwrap());
            bytes.extend(length.to_be_bytes());
            bytes.extend(item.unwrap_or_default());
        }
        bytes
    }

    #[test]
    fn values_are_arrays_of_the_type_that_clients_are_told() {
        let cases: [(DataType, &[u8], ScalarValue); 12] = [
            (DataType::Boolean, &[1], ScalarValue::Boolean(Some(true))),
            (DataType::Int32, &[0xff, 0xff, 0xff, 0xfe], ScalarValue::Int32(Some(-2))),
            (DataType::Int32, &[0xff, 0xfe], ScalarValue::Int32(Some(-2))),
            (DataType::Int64, &[0, 0, 0, 0, 0, 0, 1, 0], ScalarValue::Int64(Some(256))),
            (DataType::Float32, &[0x3f, 0, 0, 0], ScalarValue::Float32(Some(0.5))),
            (DataType::Float64, &[0x3f, 0xe0, 0, 0, 0, 0, 0, 0], ScalarValue::Float64(Some(0.5))),
            (DataType::Decimal128(12, 2), &[0, 2, 0, 0, 0x40, 0, 0, 2, 0, 1, 0x13, 0x88], ScalarValue::from("-1.50")),
            (DataType::Utf8, "é".as_bytes(), ScalarValue::from("é")),
            (DataType::Binary, &[0, 0xff], ScalarValue::Binary(Some(vec![0, 0xff]))),
            (DataType::Date32, &[0, 0, 0, 1], ScalarValue::Date32(Some(10_958))),
            (
                DataType::Time64(TimeUnit::Microsecond),
                &[0, 0, 0, 0, 0, 0, 0, 9],
                ScalarValue::Time64Microsecond(Some(9)),
            ),
            (
                DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
                &[0, 0, 0, 0, 0, 0, 0, 1],
                ScalarValue::TimestampMicrosecond(Some(946_684_800_000_001), Some("+00:00".into())),
            ),
        ];
        for (kind, bytes, expected) in cases {
            let array = decode(&field(kind.clone()), &[None, Some(bytes), None]).unwrap();
            let found: Vec<ScalarValue> =
                (0..array.len()).map(|row| ScalarValue::try_from_array(&array, row).unwrap()).collect();
            let null = ScalarValue::try_new_null(&expected.data_type()).unwrap();
            assert_eq!(found, [null.clone(), expected, null], "{kind}");
            let nothing = decode(&field(kind.clone()), &[]).unwrap();
            assert_eq!(nothing.data_type(), array.data_type(), "{kind}");
        }
    }

    #[test]
    fn the_first_value_that_is_none_is_told() {
        let cases: [(DataType, &[u8], &[u8]); 9] = [
            (DataType::Boolean, &[0], &[0, 1]),
            (DataType::Int32, &[0; 4], &[0; 8]),
            (DataType::Int64, &[0; 8], &[0; 4]),
            (DataType::Float64, &[0; 8], &[]),
            (DataType::Utf8, b"a", &[0xff]),
            (DataType::Date32, &[0; 4], &[0x80, 0, 0, 0]),
            (DataType::Timestamp(TimeUnit::Microsecond, None), &[0; 8], &[0x80, 0, 0, 0, 0, 0, 0, 0]),
            // Not a number, and too few digits.
            (DataType::Decimal128(12, 2), &[0; 8], &[0, 0, 0, 0, 0xc0, 0, 0, 0]),
            (DataType::Decimal128(12, 2), &[0; 8], &[0, 1, 0, 0, 0, 0, 0, 0]),
        ];
        for (kind, good, wrong) in cases {
            let values = [Some(good), None, Some(wrong), Some(wrong)];
            assert_eq!(decode(&field(kind.clone()), &values).err(), Some(2), "{kind}");
        }
    }

    #[test]
    fn arrays_of_one_dimension_are_lists() {
        let ints = field(DataType::List(Arc::new(field(DataType::Int32))));
        let (four, two): (&[u8], &[u8]) = (&[0, 0, 0, 7], &[0, 8]);
        let none = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23];
        let some = array_of(&Type::INT4, &[Some(four), None]);
        let small = array_of(&Type::INT2, &[Some(two)]);
        let lists = decode(&ints, &[Some(&some), None, Some(&none), Some(&small)]).unwrap();
        let lists = lists.as_list::<i32>();
        let found: Vec<Option<Vec<Option<i32>>>> =
            lists.iter().map(|list| list.map(|list| list.as_primitive::<Int32Type>().iter().collect())).collect();
        assert_eq!(found, [Some(vec![Some(7), None]), None, Some(vec![]), Some(vec![Some(8)])]);

        let long = array_of(&Type::INT4, &[Some(four), Some(&[0; 8])]);
        assert_eq!(decode(&ints, &[Some(&some), None, Some(&long)]).err(), Some(2), "an element that is none");
        let floats = array_of(&Type::FLOAT4, &[Some(four)]);
        assert_eq!(decode(&ints, &[Some(&some), Some(&floats)]).err(), Some(1), "elements of another type");
        let more = [some.as_slice(), &[0]].concat();
        assert_eq!(decode(&ints, &[Some(&more)]).err(), Some(0), "more than its elements");
    }
}
