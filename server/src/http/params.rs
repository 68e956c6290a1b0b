//! Query parameters and form fields: strict where a silent guess could lose data.
//!
//! A parameter is taken at most once by whoever knows it. A duplicate is an error, a broken escape
//! is an error, and on writes a parameter that nobody took is an error too.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::error::Failure;

/// Most parameters of one request.
const MOST: usize = 64;

/// The parameters of one request, in their order.
#[derive(Debug, Default)]
pub(crate) struct Params<'q>(Vec<Param<'q>>);

#[derive(Debug)]
struct Param<'q> {
    name: Cow<'q, str>,
    /// `None` for a bare name, without `=`.
    value: Option<Cow<'q, str>>,
}

impl<'q> Params<'q> {
    /// Parses a query. `+` is a space, as in forms.
    ///
    /// # Errors
    ///
    /// 400 for a broken escape, text that is not UTF-8, or too many parameters.
    pub(crate) fn parse(query: Option<&'q str>) -> Result<Self, Failure> {
        let mut params = Vec::new();
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            if params.len() == MOST {
                return Err(Failure::invalid(format!(
                    "more than {MOST} query parameters"
                )));
            }
            let (name, value) = match pair.split_once('=') {
                Some((name, value)) => (name, Some(decode_query(value)?)),
                None => (pair, None),
            };
            params.push(Param {
                name: decode_query(name)?,
                value,
            });
        }
        Ok(Self(params))
    }

    /// Adds a form field as if it stood in the query.
    pub(crate) fn add(&mut self, name: String, value: String) {
        self.0.push(Param {
            name: Cow::Owned(name),
            value: Some(Cow::Owned(value)),
        });
    }

    /// Takes a parameter with its value out.
    ///
    /// # Errors
    ///
    /// 400 when it is there more than once, or without a value.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<Cow<'q, str>>, Failure> {
        match self.take_bare(name)? {
            None => Ok(None),
            Some(Some(value)) => Ok(Some(value)),
            Some(None) => Err(Failure::invalid(format!(
                "query parameter `{name}` has no value"
            ))),
        }
    }

    /// Takes all values of a parameter out that may stand more than once.
    pub(crate) fn take_all(&mut self, name: &str) -> Result<Vec<Cow<'q, str>>, Failure> {
        let mut values = Vec::new();
        while let Some(at) = self.0.iter().position(|param| param.name == name) {
            match self.0.remove(at).value {
                Some(value) => values.push(value),
                None => {
                    return Err(Failure::invalid(format!(
                        "query parameter `{name}` has no value"
                    )));
                }
            }
        }
        Ok(values)
    }

    /// Takes a switch out: `?name`, `?name=true` or `?name=false`.
    pub(crate) fn take_switch(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        match self.take_bare(name)? {
            None => Ok(None),
            Some(None) => Ok(Some(true)),
            Some(Some(value)) => match &*value {
                "true" => Ok(Some(true)),
                "false" => Ok(Some(false)),
                other => Err(Failure::invalid(format!(
                    "query parameter `{name}` is `{other}`, and not true or false"
                ))),
            },
        }
    }

    /// Returns true when a switch is there and on.
    pub(crate) fn is_on(&mut self, name: &str) -> Result<bool, Failure> {
        Ok(self.take_switch(name)?.unwrap_or(false))
    }

    /// Takes a whole number out.
    pub(crate) fn take_number(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        self.take(name)?.map(|text| number(name, &text)).transpose()
    }

    /// Returns true when the parameter is there; it stays.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|param| param.name == name)
    }

    /// Ends a write's parsing: a parameter that nobody took would be a wish ignored in silence.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self.0.first() {
            None => Ok(()),
            Some(param) => {
                let name = &param.name;
                Err(Failure::invalid(format!(
                    "query parameter `{name}` is not known here"
                )))
            }
        }
    }

    /// Takes a parameter out that may stand there without a value.
    pub(crate) fn take_bare(
        &mut self,
        name: &str,
    ) -> Result<Option<Option<Cow<'q, str>>>, Failure> {
        let Some(at) = self.0.iter().position(|param| param.name == name) else {
            return Ok(None);
        };
        let param = self.0.remove(at);
        if self.has(name) {
            return Err(Failure::invalid(format!(
                "query parameter `{name}` is given twice"
            )));
        }
        Ok(Some(param.value))
    }
}

/// Parses digits only: no sign, no space.
pub(crate) fn number(name: &str, text: &str) -> Result<u64, Failure> {
    let is_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| Failure::invalid(format!("`{name}` is `{text}`, and not a whole number")))
}

/// Decodes the escapes of a path.
///
/// # Errors
///
/// 400 for a `%` without two hexadecimal digits, and for bytes that are not UTF-8.
pub(crate) fn decode_path(text: &str) -> Result<Cow<'_, str>, Failure> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('%') {
        let escape = bytes.get(at + 1..at + 3).unwrap_or_default();
        if escape.len() != 2 || !escape.iter().all(u8::is_ascii_hexdigit) {
            return Err(Failure::invalid(
                "`%` in the address is not followed by two hex digits",
            ));
        }
    }
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text),
        Err(error) => Err(Failure::invalid(format!(
            "the address is not UTF-8: {error}"
        ))),
    }
}

fn decode_query(text: &str) -> Result<Cow<'_, str>, Failure> {
    if !text.contains('+') {
        return decode_path(text);
    }
    decode_path(&text.replace('+', " ")).map(|text| Cow::Owned(text.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_taken_once() {
        let mut params = Params::parse(Some("a=1%2F2+3&stale&b=&&c=true")).unwrap();
        assert_eq!(params.take("a").unwrap().as_deref(), Some("1/2 3"));
        assert_eq!(params.take("a").unwrap(), None);
        assert!(params.is_on("stale").unwrap());
        assert_eq!(params.take("b").unwrap().as_deref(), Some(""));
        assert!(params.has("c"));
        assert!(params.finish().is_err(), "c was not taken");
    }

    #[test]
    fn doubtful_parameters_are_refused() {
        for query in ["a=1&a=1", "a", "a=%f", "a=%zz", "a=%ff"] {
            let taken = Params::parse(Some(query)).and_then(|mut params| params.take("a"));
            assert!(taken.is_err(), "{query}");
        }
        for number in ["", "-1", "+1", " 1", "1e3", "18446744073709551616"] {
            assert!(super::number("n", number).is_err(), "{number}");
        }
        let mut switch = Params::parse(Some("a=yes")).unwrap();
        assert!(switch.is_on("a").is_err());
        assert!(Params::parse(Some(&"a&".repeat(65))).is_err());
    }

    #[test]
    fn paths_keep_plus_and_must_be_utf_8() {
        assert_eq!(decode_path("a+b%2Fc%20%C3%A9").unwrap(), "a+b/c é");
        for bad in ["%", "%4", "%zz", "a%", "%c3%28", "%é"] {
            assert!(decode_path(bad).is_err(), "{bad}");
        }
    }
}
