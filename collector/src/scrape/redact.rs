//! A Prometheus configuration as it may be shown: no secret in it, as YAML again.

use serde_json::Value;

/// As Prometheus writes it.
const SECRET: &str = "<secret>";

/// What is secret in any part of a configuration, those included that weir passes over.
const SECRET_KEYS: [&str; 16] = [
    "password",
    "credentials",
    "bearer_token",
    "token",
    "secret",
    "secret_key",
    "client_secret",
    "api_key",
    "api_token",
    "auth_token",
    "access_key",
    "account_key",
    "application_credential_secret",
    "application_secret",
    "consumer_key",
    "key",
];

/// Secrets, values of headers and passwords of URLs are replaced.
pub(super) fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, own)| match name.as_str() {
            name if SECRET_KEYS.contains(&name) => hide(own),
            "headers" | "http_headers" | "proxy_connect_header" => hide(own),
            _ => redact(own),
        }),
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::String(text) => {
            if let Some(hidden) = without_password(text) {
                *text = hidden;
            }
        }
        _ => {}
    }
}

/// Every text below.
fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(hide),
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Null => {}
        _ => *value = SECRET.into(),
    }
}

/// `https://user:password@host`; `None` where there is none.
fn without_password(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let (user_info, _) = authority.rsplit_once('@')?;
    let (user, _) = user_info.split_once(':')?;
    Some(format!("{scheme}://{user}:{SECRET}{}", &rest[user_info.len()..]))
}

/// In blocks, two blanks a level.
pub(super) fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Null => {}
        Value::Object(_) | Value::Array(_) => block(value, 0, &mut out),
        scalar => out = format!("{}\n", flow(scalar)),
    }
    out
}

fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(fields) => {
            for (i, (name, own)) in fields.iter().enumerate() {
                if i > 0 {
                    out.push_str(&" ".repeat(indent));
                }
                out.push_str(&format!("{}:", text(name)));
                below(own, indent, out);
            }
        }
        Value::Array(items) => {
            for (i, own) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(&" ".repeat(indent));
                }
                out.push_str("- ");
                if is_block(own) { block(own, indent + 2, out) } else { out.push_str(&format!("{}\n", flow(own))) }
            }
        }
        _ => {}
    }
}

fn below(value: &Value, indent: usize, out: &mut String) {
    if !is_block(value) {
        return out.push_str(&format!(" {}\n", flow(value)));
    }
    let indent = if value.is_array() { indent } else { indent + 2 };
    out.push_str(&format!("\n{}", " ".repeat(indent)));
    block(value, indent, out);
}

fn is_block(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| !fields.is_empty()) || value.as_array().is_some_and(|items| !items.is_empty())
}

/// JSON is YAML.
fn flow(value: &Value) -> String {
    match value {
        Value::String(own) => text(own),
        other => other.to_string(),
    }
}

/// Words that mean something else without quotes.
const NOT_PLAIN: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan"];

fn text(text: &str) -> String {
    let is_word = text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if is_word && !NOT_PLAIN.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_replaced_wherever_they_stand() {
        let mut config = json!({"scrape_configs": [{
            "basic_auth": {"username": "u", "password": "hush"},
            "authorization": {"type": "Bearer", "credentials": "hush"},
            "http_headers": {"X-Key": {"values": ["hush"], "files": ["hush"]}},
            "proxy_url": "http://u:hush@proxy:3128/x@y",
            "static_configs": [{"targets": ["a:1"], "labels": {"zone": "http://b/c@d"}}],
            "oauth2": {"client_secret": "hush", "token_url": "https://u:hu:sh@issuer"},
        }]});
        redact(&mut config);
        let text = config.to_string();
        assert!(!text.contains("hush") && !text.contains("hu:sh"), "{text}");
        let job = &config["scrape_configs"][0];
        assert_eq!(job["proxy_url"], "http://u:<secret>@proxy:3128/x@y");
        assert_eq!(
            (&job["basic_auth"]["username"], &job["static_configs"][0]["labels"]["zone"]),
            (&json!("u"), &json!("http://b/c@d"))
        );
    }

    #[test]
    fn what_is_written_is_read_back() {
        let value = json!({"a": {"b": [1, {"c": "x: y", "d": []}, ["e", {}]], "f": "yes"}, "g": "10s", "h": null, "i": [{"j": {"k": "l"}, "m": true}]});
        let text = to_yaml(&value);
        let read: Value = weir_model::yaml::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(read["a"]["b"], value["a"]["b"], "{text}");
        assert_eq!((&read["a"]["f"], &read["g"], &read["i"]), (&value["a"]["f"], &value["g"], &value["i"]), "{text}");
    }
}
