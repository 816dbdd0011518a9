//! Filters of user templates that can make much of little: no number in them, and no text that they make, is beyond reason.
//!
//! What a rendering executes is bounded by its fuel, and what it writes by a cap; one filter alone may fill the memory.

use minijinja::value::{Kwargs, Rest, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};

/// The largest width, count or indentation.
const NUMBER_MAX: usize = 100_000;
/// The longest text that one replacement makes.
const TEXT_BYTES_MAX: usize = 32 << 20;

/// Puts the bounded filters in the place of the usual ones.
pub(super) fn bound(environment: &mut Environment<'static>) {
    let numbered = [
        ("indent", Value::from_function(filters::indent)),
        ("batch", Value::from_function(filters::batch)),
        ("slice", Value::from_function(filters::slice)),
        ("tojson", Value::from_function(filters::tojson)),
        ("round", Value::from_function(filters::round)),
    ];
    for (name, usual) in numbered {
        environment.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
            let args = args.into_values();
            numbers(args.get(1..).unwrap_or_default())?;
            within(usual.call(state, &args)?)
        });
    }
    let usual = Value::from_function(filters::format);
    environment.add_filter("format", move |state: &mut State, args: Rest<ValueOrKwargs>| {
        let args = args.into_values();
        widths(args.first().and_then(Value::as_str).unwrap_or_default())?;
        usual.call(state, &args)
    });
    let usual = Value::from_function(filters::replace);
    environment.add_filter("replace", move |state: &mut State, args: Rest<ValueOrKwargs>| {
        let args = args.into_values();
        if let [text, from, to, ..] = args.as_slice() {
            replaced(&text.to_string(), &from.to_string(), &to.to_string())?;
        }
        usual.call(state, &args)
    });
    let usual = Value::from_function(filters::join);
    environment.add_filter("join", move |state: &mut State, args: Rest<ValueOrKwargs>| {
        let args = args.into_values();
        if let (Some(items), Some(between)) = (args.first().and_then(Value::len), args.get(1)) {
            fits(items, between.to_string().len())?;
        }
        usual.call(state, &args)
    });
}

fn too_large(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{what} is too large"))
}

fn numbers(args: &[Value]) -> Result<(), Error> {
    for arg in args {
        if arg.is_kwargs() {
            let named = Kwargs::try_from(arg.clone())?;
            for name in named.args() {
                numbers(&[named.peek::<Value>(name)?])?;
            }
        } else if arg.is_number() && arg.as_usize().is_some_and(|number| number > NUMBER_MAX) {
            return Err(too_large("a number in a filter"));
        }
    }
    Ok(())
}

fn within(made: Value) -> Result<Value, Error> {
    if made.as_str().is_some_and(|text| text.len() > TEXT_BYTES_MAX) {
        return Err(too_large("a text that a filter makes"));
    }
    Ok(made)
}

/// `%9999999d`: the width is in the conversion, or, as `%*d`, anywhere. What stands around conversions is text.
fn widths(format: &str) -> Result<(), Error> {
    let is_large = |conversion: &str| {
        let rest = match conversion.strip_prefix('(').map(|name| name.split_once(')')) {
            None => conversion,
            Some(Some((_, rest))) => rest,
            // A name with a `%` in it: what follows cannot be told from text.
            Some(None) => return true,
        };
        let end = rest.find(|char| !"-+ #.*0123456789".contains(char)).unwrap_or(rest.len());
        let width = &rest[..end];
        width.contains('*') || width.split(|char: char| !char.is_ascii_digit()).any(|digits| digits.len() > 5)
    };
    let large = format.replace("%%", "").split('%').skip(1).any(is_large);
    if large { Err(too_large("a width in a format")) } else { Ok(()) }
}

fn replaced(text: &str, from: &str, to: &str) -> Result<(), Error> {
    let found = if from.is_empty() { text.len() + 1 } else { text.matches(from).count() };
    fits(found, to.len())
}

fn fits(times: usize, bytes: usize) -> Result<(), Error> {
    match times.checked_mul(bytes) {
        Some(all) if all <= TEXT_BYTES_MAX => Ok(()),
        _ => Err(too_large("a text that a filter makes")),
    }
}
