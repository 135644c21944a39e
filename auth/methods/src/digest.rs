//! Keyed digests of secrets: what is kept and compared in their place.

use ring::{hmac, rand};

/// SHA-256's.
pub(crate) type Digest = [u8; 32];

/// A key of this process alone. Without it nobody can choose or predict a digest, so that the time which a table takes to find
/// one tells nothing of the secret, and what is kept is worth nothing outside of this process.
#[derive(Clone, Debug)]
pub(crate) struct DigestKey(hmac::Key);

impl DigestKey {
    pub fn new() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new());
        Self(key.expect("invariant: the system has random numbers"))
    }

    /// Of all parts; where one ends and the next begins counts.
    pub fn digest(&self, parts: &[&[u8]]) -> Digest {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut digest = Digest::default();
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_keys_count() {
        let key = DigestKey::new();
        assert_eq!(key.digest(&[b"ab", b"c"]), key.digest(&[b"ab", b"c"]));
        assert_ne!(key.digest(&[b"ab", b"c"]), key.digest(&[b"a", b"bc"]));
        assert_ne!(key.digest(&[b"ab"]), DigestKey::new().digest(&[b"ab"]));
    }
}
