//! `logs/query`: what is typed into a search box, and what is asked of a trace or span, as LogQL.

use axum::response::Response;
use serde_json::json;
use weir_budget::RequestBudget;
use weir_logql::search::{Search, to_logql};
use weir_logql::{Expr, parse_open};

use super::super::Api;
use super::super::params::Params;
use super::super::reply::Reply;
use super::WeirError;
use crate::call::Call;

/// `{"query": "<LogQL>"}`. Errors: a text, selector or id that cannot be read, with the place.
pub(super) async fn query(api: Call, params: Params) -> Result<Response, WeirError> {
    let work = move |_: &Api, budget: &RequestBudget| {
        let search = Search {
            text: params.get("search").unwrap_or_default(),
            selector: selector(params.get("selector").unwrap_or_default())?,
            trace: params.get("trace").map(str::parse).transpose().map_err(|error| format!("parameter trace: {error}"))?,
            span: params.get("span").map(str::parse).transpose().map_err(|error| format!("parameter span: {error}"))?,
        };
        Ok(Reply::json(budget, &json!({"query": to_logql(&search)?}), None)?)
    };
    api.answer(work).await
}

fn selector(text: &str) -> Result<&str, WeirError> {
    if text.trim().is_empty() {
        return Ok("");
    }
    match parse_open(text).map_err(|error| format!("parameter selector: {error}"))? {
        Expr::Log(log) if log.stages.is_empty() => Ok(text),
        _ => Err("parameter selector: a selector such as {app=\"x\"} is wanted, and nothing behind it".to_owned().into()),
    }
}
