//! Names that are no identifiers in the text formats, as the parameter `escaping` of `Accept` asks for them: in quotes, or as an identifier
//! made of them. Pure. Source: model/metric.go of prometheus/common.

use weir_model::label::{is_label_name, is_metric_name};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escaping {
    /// As they are, in quotes.
    AllowUtf8,
    /// `_` for each letter that may not be there.
    Underscores,
    /// `_dot_` for each point, `__` for `_` and all others.
    Dots,
    /// `U__`, then `__` for `_`, and the number of each other letter that may not be there.
    Values,
}

impl Escaping {
    const ALL: [Self; 4] = [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values];

    pub fn of(parameter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.parameter() == parameter)
    }

    pub fn parameter(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// A metric's name. One that is plain stays as it is, as in Prometheus.
    pub fn metric(self, name: &str) -> String {
        if is_metric_name(name) { name.to_owned() } else { self.spell(name, |letter| letter == ':') }
    }

    /// A label's name, where a colon is no letter.
    pub fn label(self, name: &str) -> String {
        if is_label_name(name) { name.to_owned() } else { self.spell(name, |_| false) }
    }

    fn spell(self, name: &str, also: impl Fn(char) -> bool) -> String {
        let mut out = String::with_capacity(name.len() + 8);
        match self {
            Self::AllowUtf8 => return format!("\"{}\"", escaped(name)),
            Self::Values => out.push_str("U__"),
            Self::Underscores | Self::Dots => {}
        }
        for (at, letter) in name.char_indices() {
            let fits = letter.is_ascii_alphabetic() || also(letter) || (at > 0 && letter.is_ascii_digit());
            match (self, letter) {
                (_, letter) if fits => out.push(letter),
                (Self::Dots, '.') => out.push_str("_dot_"),
                (Self::Dots, _) | (Self::Values, '_') => out.push_str("__"),
                (Self::Values, letter) => out.push_str(&format!("_{:x}_", u32::from(letter))),
                _ => out.push('_'),
            }
        }
        out
    }
}

/// A text within quotes.
pub(super) fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_the_client_takes_them() {
        let check = |name: &str, expected: [&str; 4]| {
            let spelled = Escaping::ALL.map(|own| own.metric(name));
            assert_eq!(spelled.each_ref().map(String::as_str), expected, "{name}");
        };
        check("a:b_c", ["a:b_c"; 4]);
        check("a.b_c", ["\"a.b_c\"", "a_b_c", "a_dot_b__c", "U__a_2e_b__c"]);
        // Those of Prometheus' own tests.
        check(
            "mysystem.prod.west.cpu.load_total",
            [
                "\"mysystem.prod.west.cpu.load_total\"",
                "mysystem_prod_west_cpu_load_total",
                "mysystem_dot_prod_dot_west_dot_cpu_dot_load__total",
                "U__mysystem_2e_prod_2e_west_2e_cpu_2e_load__total",
            ],
        );
        check("http.status:sum", ["\"http.status:sum\"", "http_status:sum", "http_dot_status:sum", "U__http_2e_status:sum"]);
        assert_eq!(Escaping::Values.label("a:b_c"), "U__a_3a_b__c");
        assert_eq!(Escaping::Dots.label("a_b"), "a_b");
        check("花火", ["\"花火\"", "__", "____", "U___82b1__706b_"]);
        check("9\"", ["\"9\\\"\"", "__", "____", "U___39__22_"]);
    }

    #[test]
    fn parameters_are_read_and_said_alike() {
        assert!(Escaping::ALL.into_iter().all(|own| Escaping::of(own.parameter()) == Some(own)));
        assert_eq!(Escaping::of("runes"), None);
    }
}
