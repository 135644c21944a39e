//! See the module's door.

use std::sync::Arc;

use super::Api;

/// Its routes.
pub fn router(_api: Arc<Api>) -> axum::Router {
    axum::Router::new()
}
