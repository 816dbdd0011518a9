//! Arrow values as text: scalars as CSV would show them, lists, maps and structs as JSON.
use std::fmt::Write as _;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, Time64MicrosecondType, Time64NanosecondType,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrowPrimitiveType};
use arrow_schema::{DataType, TimeUnit};

/// True when `render` knows the type, at every depth. Checked once, when a file is opened.
pub(crate) fn supported(kind: &DataType) -> bool {
    use DataType as T;
    match kind {
        T::List(field) => supported(field.data_type()),
        T::Struct(fields) => fields.iter().all(|field| supported(field.data_type())),
        T::Map(entries, _) => supported(entries.data_type()),
        T::Null | T::Boolean | T::Utf8 | T::Binary | T::FixedSizeBinary(_) | T::Date32 => true,
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => true,
        T::Float16 | T::Float32 | T::Float64 | T::Decimal128(..) | T::Decimal256(..) => true,
        T::Time32(TimeUnit::Millisecond) | T::Time64(TimeUnit::Microsecond | TimeUnit::Nanosecond) => true,
        T::Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond, _) => true,
        _ => false,
    }
}

/// Appends the value at `at`, which is not null. `json`: as a JSON value, else as the text of a cell.
pub(crate) fn render(array: &dyn Array, at: usize, json: bool, out: &mut String) {
    use DataType as T;
    match array.data_type() {
        T::Utf8 => text(array.as_string::<i32>().value(at), json, out),
        T::Binary => bytes(array.as_binary::<i32>().value(at), json, out),
        T::FixedSizeBinary(_) => bytes(array.as_fixed_size_binary().value(at), json, out),
        T::Boolean => out.push_str(if array.as_boolean().value(at) { "true" } else { "false" }),
        T::Int8 => integer(value::<Int8Type>(array, at), out),
        T::Int16 => integer(value::<Int16Type>(array, at), out),
        T::Int32 => integer(value::<Int32Type>(array, at), out),
        T::Int64 => integer(value::<Int64Type>(array, at), out),
        T::UInt8 => integer(value::<UInt8Type>(array, at), out),
        T::UInt16 => integer(value::<UInt16Type>(array, at), out),
        T::UInt32 => integer(value::<UInt32Type>(array, at), out),
        T::UInt64 => integer(value::<UInt64Type>(array, at), out),
        T::Float16 => float(value::<Float16Type>(array, at).to_f32(), json, out),
        T::Float32 => float(value::<Float32Type>(array, at), json, out),
        T::Float64 => float(value::<Float64Type>(array, at), json, out),
        T::Decimal128(..) => out.push_str(&array.as_primitive::<Decimal128Type>().value_as_string(at)),
        T::Decimal256(..) => out.push_str(&array.as_primitive::<Decimal256Type>().value_as_string(at)),
        T::List(_) => list(array.as_list::<i32>().value(at).as_ref(), out),
        T::Struct(_) => object(array, at, out),
        T::Map(..) => map(array, at, out),
        // A column of this type has no null marks of its own: every value is one.
        T::Null => out.push_str(if json { "null" } else { "" }),
        _ => quoted(json, out, |out| moment(array, at, out)),
    }
}

fn value<T: ArrowPrimitiveType>(array: &dyn Array, at: usize) -> T::Native {
    array.as_primitive::<T>().value(at)
}

fn text(text: &str, json: bool, out: &mut String) {
    if json { push_json_string(text, out) } else { out.push_str(text) }
}

pub(crate) fn push_json_string(text: &str, out: &mut String) {
    // Writing a string to memory cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

fn quoted(json: bool, out: &mut String, inside: impl FnOnce(&mut String)) {
    if json {
        out.push('"');
    }
    inside(out);
    if json {
        out.push('"');
    }
}

fn integer(number: impl itoa::Integer, out: &mut String) {
    out.push_str(itoa::Buffer::new().format(number));
}

/// The shortest text that reads back as the same number; JSON has no NaN.
fn float(number: impl Into<f64> + std::fmt::Debug + Copy, json: bool, out: &mut String) {
    let finite = number.into().is_finite();
    // Writing to a string cannot fail, here and below.
    let _ = if json && !finite { write!(out, "null") } else { write!(out, "{number:?}") };
}

/// Old writers store text without saying so: text where it is UTF-8, else base64.
fn bytes(bytes: &[u8], json: bool, out: &mut String) {
    match std::str::from_utf8(bytes) {
        Ok(valid) => text(valid, json, out),
        Err(_) => quoted(json, out, |out| base64(bytes, out)),
    }
}

fn base64(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let six = (bits >> (18 - 6 * digit)) & 63;
            out.push(if digit <= group.len() { char::from(DIGITS[six as usize]) } else { '=' });
        }
    }
}

fn element(array: &dyn Array, at: usize, out: &mut String) {
    if array.is_null(at) { out.push_str("null") } else { render(array, at, true, out) }
}

fn list(items: &dyn Array, out: &mut String) {
    for at in 0..items.len() {
        out.push(if at == 0 { '[' } else { ',' });
        element(items, at, out);
    }
    out.push_str(if items.is_empty() { "[]" } else { "]" });
}

fn object(array: &dyn Array, at: usize, out: &mut String) {
    let fields = array.as_struct();
    out.push('{');
    for (index, (name, column)) in fields.column_names().iter().zip(fields.columns()).enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_json_string(name, out);
        out.push(':');
        element(column.as_ref(), at, out);
    }
    out.push('}');
}

fn map(array: &dyn Array, at: usize, out: &mut String) {
    let entries = array.as_map().value(at);
    out.push('{');
    for at in 0..entries.len() {
        if at > 0 {
            out.push(',');
        }
        let mut key = String::new();
        render(entries.column(0).as_ref(), at, false, &mut key);
        push_json_string(&key, out);
        out.push(':');
        element(entries.column(1).as_ref(), at, out);
    }
    out.push('}');
}

/// Dates, times and timestamps in ISO 8601; `Z` where the column is in UTC.
fn moment(array: &dyn Array, at: usize, out: &mut String) {
    use DataType as T;
    const DAY: i64 = 86_400;
    let (units, per_second, digits) = match array.data_type() {
        T::Date32 => return date(i64::from(value::<Date32Type>(array, at)), out),
        T::Time32(_) => (i64::from(value::<Time32MillisecondType>(array, at)), 1_000, 3),
        T::Time64(TimeUnit::Microsecond) => (value::<Time64MicrosecondType>(array, at), 1_000_000, 6),
        T::Time64(_) => (value::<Time64NanosecondType>(array, at), 1_000_000_000, 9),
        T::Timestamp(TimeUnit::Millisecond, _) => (value::<TimestampMillisecondType>(array, at), 1_000, 3),
        T::Timestamp(TimeUnit::Microsecond, _) => {
            (value::<TimestampMicrosecondType>(array, at), 1_000_000, 6)
        }
        T::Timestamp(..) => (value::<TimestampNanosecondType>(array, at), 1_000_000_000, 9),
        _ => return,
    };
    let (seconds, fraction) = (units.div_euclid(per_second), units.rem_euclid(per_second));
    let zone = matches!(array.data_type(), T::Timestamp(_, Some(_)));
    if matches!(array.data_type(), T::Timestamp(..)) {
        date(seconds.div_euclid(DAY), out);
        out.push('T');
    }
    let second = seconds.rem_euclid(DAY);
    let _ = write!(out, "{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60);
    if fraction > 0 {
        let _ = write!(out, ".{fraction:0digits$}");
    }
    if zone {
        out.push('Z');
    }
}

/// Days since 1970-01-01 as a date of the Gregorian calendar, counted in years that begin in March and eras of 400.
fn date(days: i64, out: &mut String) {
    const ERA_DAYS: i64 = 146_097;
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let _ = write!(out, "{year:04}-{month:02}-{day:02}");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, BinaryArray, Date32Array, Float64Array, NullArray, StringArray, StructArray,
    };
    use arrow_schema::Field;

    use super::*;

    fn shown(array: &dyn Array, at: usize, json: bool) -> String {
        let mut out = String::new();
        render(array, at, json, &mut out);
        out
    }

    #[test]
    fn dates_at_the_edges() {
        for (days, want) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (19_723, "2024-01-01"),
            (-719_162, "0001-01-01"),
            (2_932_896, "9999-12-31"),
        ] {
            assert_eq!(shown(&Date32Array::from(vec![days]), 0, false), want);
        }
    }

    #[test]
    fn base64_pads() {
        for (bytes, want) in
            [(&b"\xff"[..], "/w=="), (b"\xff\xfe", "//4="), (b"\xff\xfe\xfd", "//79"), (b"ok", "ok")]
        {
            assert_eq!(shown(&BinaryArray::from(vec![bytes]), 0, false), want);
        }
    }

    #[test]
    fn nested_values_are_json() {
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a\"b"), None]));
        let scores: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, 1.0]));
        let none: ArrayRef = Arc::new(NullArray::new(2));
        let array = StructArray::from(vec![
            (Arc::new(Field::new("name", DataType::Utf8, true)), names),
            (Arc::new(Field::new("score", DataType::Float64, true)), scores),
            (Arc::new(Field::new("none", DataType::Null, true)), none),
        ]);
        assert_eq!(shown(&array, 0, false), r#"{"name":"a\"b","score":null,"none":null}"#);
        assert_eq!(shown(&array, 1, false), r#"{"name":null,"score":1.0,"none":null}"#);
    }
}
