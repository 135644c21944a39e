//! Credentials into principals, by the methods that `[auth]` names, in their order.
