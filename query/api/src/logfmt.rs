//! Tags of trace searches: `name=value name="quoted value"`. Shared by Tempo's, Jaeger's and our own API.

use weir_model::clip;

/// Names and values, in order. A quoted value has JSON's escapes; errors name the parameter and the pair that is wrong.
pub(crate) fn tags(parameter: &str, text: &str) -> Result<Vec<(String, String)>, String> {
    let mut tags = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let wrong = |what: &str| format!("parameter {parameter}: {:?} {what}", clip(rest));
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (name, value) = match rest[..end].find('=') {
            Some(at) if at > 0 => (&rest[..at], &rest[at + 1..]),
            _ => return Err(format!("parameter {parameter}: {:?} reads name=value", clip(&rest[..end]))),
        };
        let (value, more) = if value.starts_with('"') {
            let mut texts = serde_json::Deserializer::from_str(value).into_iter::<String>();
            let text = texts.next().and_then(Result::ok).ok_or_else(|| wrong("is a bad string, or has no closing \""))?;
            let more = &value[texts.byte_offset()..];
            if !more.is_empty() && !more.starts_with(char::is_whitespace) {
                return Err(wrong("has no blank after its closing \""));
            }
            (text, more)
        } else {
            let (text, more) = value.split_at(value.find(char::is_whitespace).unwrap_or(value.len()));
            (text.to_owned(), more)
        };
        tags.push((name.to_owned(), value));
        rest = more.trim_start();
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::tags;

    #[test]
    fn a_quoted_value_may_have_blanks_and_all_else_is_an_error_that_says_where() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let expected: Vec<_> = expected.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            assert_eq!(tags("tags", text), Ok(expected), "{text}");
        };
        check("", &[]);
        check(" a=b  c.d=1\te=", &[("a", "b"), ("c.d", "1"), ("e", "")]);
        check(r#"a="b c" d="e\"=\\é f" g=h"i"#, &[("a", "b c"), ("d", "e\"=\\é f"), ("g", "h\"i")]);
        check(r#"a="" sql=x=y"#, &[("a", ""), ("sql", "x=y")]);
        let wrong = |text: &str, expected: &str| assert_eq!(tags("tags", text), Err(format!("parameter tags: {expected}")));
        wrong("a=b cd e=f", r#""cd" reads name=value"#);
        wrong("=b", r#""=b" reads name=value"#);
        wrong("a=b c=\"d e", r#""c=\"d e" is a bad string, or has no closing ""#);
        wrong("a=\"b\"c", r#""a=\"b\"c" has no blank after its closing ""#);
    }
}
