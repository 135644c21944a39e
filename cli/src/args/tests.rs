//! What can be typed, what is refused, and that every word of help is there.

use super::*;

fn read(words: &[&str]) -> Result<Arguments, clap::Error> {
    Arguments::read(["weir"].iter().chain(words))
}

/// Refused, and the option is named.
fn refused(words: &[&str], flag: &str) {
    let error = read(words).expect_err(flag).to_string();
    assert!(error.contains(flag), "{words:?}: {error}");
}

#[test]
fn the_commands_are_well_formed() {
    Arguments::command().debug_assert();
}

#[test]
fn a_flag_that_would_do_nothing_is_refused_by_name() {
    let metric = r#"rate({a="b"}[1m])"#;
    refused(&["trace", "1", "--addr", "a", "--profile", "b"], "--addr and --profile");
    refused(&["admin", "seal", "--addr", "a", "--profile", "b"], "--addr and --profile");
    refused(&["login", "a", "--token-file", "b", "--user", "c"], "--user");
    refused(&["login", "a", "--password-file", "b"], "--user");
    refused(&["trace", "1", "--since", "5m"], "--since");
    refused(&["trace", "1", "--to", "5"], "--to");
    refused(&["trace", "1", "--limit", "5"], "--limit");
    refused(&["logs", metric, "--step", "15s", "--limit", "5"], "--limit");
    refused(&["logs", metric, "--limit", "5"], "--limit");
    refused(&["logs", metric, "-f"], "--follow");
    refused(&["logs", metric, "--color", "always"], "--color");
    refused(&["logs", "{}", "--step", "15s"], "--step");
    refused(&["logs", "{}", "-f", "--to", "now"], "--to");
    refused(&["logs", "{}", "--show", "patterns", "-f"], "--follow");
    refused(&["logs", "{}", "--show", "fields", "--limit", "5"], "--limit");
    refused(&["logs", "{}", "-f", "-o", "json"], "ndjson");
    refused(&["logs", "{}", "-o", "ndjson", "--color", "always"], "--color");
    refused(&["logs", "{}", "--since", "5m", "--from", "now-1h"], "--since and --from");
    refused(&["logs", "{}", "--limit", "0"], "above 0");
    refused(&["metrics", "up", "--since", "5m"], "--since");
    refused(&["metrics", "up", "--from", "now-5m"], "--from");
    refused(&["metrics", "up", "--limit", "0"], "above 0");
    refused(&["metrics", "up", "--step", "15s", "--since", "5m", "--from", "now-5m"], "--since and --from");
    refused(&["usage", "--since", "5m", "--from", "now-1h"], "--since and --from");
    refused(&["usage", "--addr", "x", "--ca-file", "x"], "--ca-file");
    refused(&["up", "--no-node", "--containers", "/x"], "--containers");
    refused(&["ps", "--limit", "5"], "--limit");
    refused(&["trace", "1", "--addr", "x", "--ca-file", "x"], "--ca-file");
    refused(&["admin", "seal", "--addr", "http://x", "--server-name", "x"], "--server-name");
    refused(&["logs", "a", "--addr", "https://x", "--cert", "x"], "--key");
    refused(&["check", "rules", "x", "--connect"], "--connect");
    refused(&["completions", "csh"], "csh");
}

#[test]
fn what_has_an_effect_is_taken() {
    let taken = |words: &[&str]| read(words).unwrap_or_else(|error| panic!("{words:?}: {error}")).command;
    let Command::Metrics(metrics) = taken(&["metrics", "up", "--limit", "3", "--step", "15s", "--since", "5m"]) else { panic!() };
    assert_eq!((metrics.limit, metrics.step.as_deref(), metrics.range.since.as_deref()), (Some(3), Some("15s"), Some("5m")));
    taken(&["metrics", "up", "--to", "now-1h"]);
    // Whoever has WEIR_TENANT in their environment asks for all of them, too.
    let Command::Usage(usage) = taken(&["usage", "--all", "--tenant", "shop"]) else { panic!() };
    assert!(usage.all);
    // A number is a word to search for, not a metric query.
    taken(&["logs", "404", "--limit", "5"]);
    refused(&["logs", "404", "--step", "15s"], "--step");
    taken(&["logs", "{}", "-f", "-o", "ndjson", "--since", "1m", "--limit", "5"]);
    taken(&["logs", "sum(rate({}[1m]))", "--step", "15s"]);
    taken(&["up", "--listen", "localhost:0", "--no-node", "--node-name", "x"]);
    taken(&["completions", "fish"]);
}

/// A value that is typed wrong is answered for people.
#[test]
fn wrong_values_are_said_in_words() {
    refused(&["up", "--listen", "nowhere"], "such as 127.0.0.1:9640");
    refused(&["stop", "x", "--time", "soon"], "whole number");
    refused(&["run", "--cpus", "many", "--", "true"], "such as 0.5");
    refused(&["run", "--pids", "few", "--", "true"], "whole number");
}

/// Every command that can be seen has an explanation and examples that can be typed, and so has every option.
#[test]
fn help_has_examples_that_work() {
    let mut seen = 0;
    let mut left = vec![Arguments::command()];
    while let Some(command) = left.pop() {
        let name = command.get_name().to_owned();
        assert!(command.get_about().is_some(), "{name} says nothing of itself");
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(argument.get_help().is_some(), "{name} {}", argument.get_id());
        }
        let text = command.get_after_help().unwrap_or_else(|| panic!("{name} has no examples")).to_string();
        for example in text.lines().filter_map(|line| line.strip_prefix("  weir ")) {
            let words = words(example);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match read(&words) {
                Ok(_) => seen += 1,
                Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => seen += 1,
                Err(error) => panic!("{example}: {error}"),
            }
        }
        left.extend(command.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
    }
    assert!(seen > 25, "{seen} examples");
}

/// An example as a shell splits it: quotes, and up to a redirection or the words after three spaces.
fn words(example: &str) -> Vec<String> {
    let (mut words, mut quote, mut word) = (Vec::new(), None, String::new());
    let example = example.split("   ").next().unwrap_or_default().split(" > ").next().unwrap_or_default();
    for letter in example.chars() {
        match (letter, quote) {
            ('\'', _) => quote = if quote.is_some() { None } else { Some('\'') },
            (' ', None) if word.is_empty() => {}
            (' ', None) => words.push(std::mem::take(&mut word)),
            _ => word.push(letter),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}
