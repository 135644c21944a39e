//! PromQL: `lex ast parse eval`.
