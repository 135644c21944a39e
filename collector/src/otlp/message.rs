//! What a request of any signal is made of: resources, field 1, with scopes, field 2, with records, field 2. Pure.

use std::borrow::Cow;

use crate::proto::{Fields, ProtoError};

/// What errors call them.
const REQUEST: &str = "the request";
const OF_RESOURCE: &str = "a resource with its scopes";
const OF_SCOPE: &str = "a scope with its records";

/// Of a request: each a resource with its scopes.
pub(super) fn resources(request: &[u8]) -> impl Iterator<Item = Result<&[u8], ProtoError>> {
    messages(request, REQUEST, 1)
}

/// Of a resource: each a scope with its records.
pub(super) fn scopes(resource: &[u8]) -> impl Iterator<Item = Result<&[u8], ProtoError>> {
    messages(resource, OF_RESOURCE, 2)
}

/// Of a scope.
pub(super) fn records(scope: &[u8]) -> impl Iterator<Item = Result<&[u8], ProtoError>> {
    messages(scope, OF_SCOPE, 2)
}

/// Who a resource or a scope is: its field 1. One that comes in pieces is as if they stood together.
pub(super) fn who(message: &[u8]) -> Result<Cow<'_, [u8]>, ProtoError> {
    let mut found = Cow::Borrowed(&[][..]);
    for piece in messages(message, OF_RESOURCE, 1) {
        let piece = piece?;
        if found.is_empty() { found = Cow::Borrowed(piece) } else { found.to_mut().extend_from_slice(piece) }
    }
    Ok(found)
}

/// The fields of one number, which are messages.
pub(super) fn messages<'a>(
    message: &'a [u8],
    name: &'static str,
    wanted: u32,
) -> impl Iterator<Item = Result<&'a [u8], ProtoError>> {
    Fields::new(message, name).filter_map(move |field| match field {
        Ok((number, field)) if number == wanted => Some(field.bytes()),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

/// Records of a request and the bytes that they take in it.
pub(super) fn count(request: &[u8]) -> Result<usize, ProtoError> {
    let mut count = 0;
    for resource in resources(request) {
        count += count_of_resource(resource?)?.0;
    }
    Ok(count)
}

/// Records of a resource, and the bytes of them all.
pub(super) fn count_of_resource(resource: &[u8]) -> Result<(usize, usize), ProtoError> {
    let (mut count, mut bytes) = (0, 0);
    for scope in scopes(resource) {
        for record in records(scope?) {
            count += 1;
            bytes += record?.len();
        }
    }
    Ok((count, bytes))
}
