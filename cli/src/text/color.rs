//! Colours: on a terminal only, unless said otherwise; the same for one container in every call.

use std::io::IsTerminal;

use xxhash_rust::xxh3::xxh3_64;

use crate::args::ColorWhen;

/// Of the 256 colours of a terminal, those that are read on black and on white, and told apart.
const PALETTE: [u8; 12] = [33, 37, 64, 71, 97, 130, 132, 136, 161, 166, 173, 29];

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Colors(bool);

impl Colors {
    pub fn of_stdout(when: ColorWhen) -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        Self::decide(when, std::io::stdout().is_terminal(), &variable("NO_COLOR"), &variable("TERM"))
    }

    /// `NO_COLOR` (<https://no-color.org>) decides where `--color` does not.
    fn decide(when: ColorWhen, is_terminal: bool, no_color: &str, term: &str) -> Self {
        Self(match when {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => is_terminal && no_color.is_empty() && term != "dumb",
        })
    }

    /// `text` in the colour of `name`.
    pub fn of_name(self, name: &str, text: &str) -> String {
        if !self.0 {
            return text.to_owned();
        }
        let color = PALETTE[(xxh3_64(name.as_bytes()) % PALETTE.len() as u64) as usize];
        format!("\x1b[38;5;{color}m{text}\x1b[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_only_where_they_are_wanted() {
        let check = |when, is_terminal, no_color, term, expected| {
            assert_eq!(Colors::decide(when, is_terminal, no_color, term), Colors(expected), "{when:?} {is_terminal} {no_color}");
        };
        check(ColorWhen::Auto, true, "", "xterm", true);
        check(ColorWhen::Auto, false, "", "xterm", false);
        check(ColorWhen::Auto, true, "1", "xterm", false);
        check(ColorWhen::Auto, true, "", "dumb", false);
        check(ColorWhen::Always, false, "1", "dumb", true);
        check(ColorWhen::Never, true, "", "xterm", false);
    }

    #[test]
    fn a_name_has_one_colour() {
        let on = Colors(true);
        assert_eq!(on.of_name("shop/web", "x"), on.of_name("shop/web", "x"));
        assert_eq!(Colors(false).of_name("shop/web", "x"), "x");
        let names: Vec<String> = (0..40).map(|number| on.of_name(&format!("pod-{number}"), "x")).collect();
        let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
        assert!(distinct.len() > 8, "{distinct:?}");
        assert!(names.iter().all(|text| text.starts_with("\x1b[38;5;") && text.ends_with("mx\x1b[0m")), "{names:?}");
    }
}
