//! LogQL: `lex ast parse eval`.
