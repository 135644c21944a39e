//! What errors repeat of what was wrong. Used by whoever reads what strangers write.

/// The first 64 characters: enough to recognise it by, not enough to flood a log.
pub fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}
