//! Long lists in pages: a page is asked for with the last name of the one before.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::Deserialize;

use super::error::Refused;
use crate::http::Shared;

/// The most names of a page.
const PAGE_NAMES_MAX: usize = 1_000;

/// Which part of a list is asked for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    /// An empty token asks for the first page. Without a token everything is answered, for clients that know no pages.
    page_token: Option<String>,
    page_size: Option<usize>,
    /// The namespace above those to list.
    pub(super) parent: Option<String>,
}

impl Page {
    /// The names of this page, and the token for the next one. `names` are in order.
    pub(super) fn of(&self, mut names: Vec<String>) -> Result<(Vec<String>, Option<String>), Refused> {
        let Some(token) = &self.page_token else { return Ok((names, None)) };
        let size = self.page_size.unwrap_or(PAGE_NAMES_MAX).min(PAGE_NAMES_MAX);
        if size == 0 {
            return Err(Refused::bad_request("pageSize must be 1 or more"));
        }
        names.retain(|name| name > token);
        let more = names.len() > size;
        names.truncate(size);
        let next = if more { names.last().cloned() } else { None };
        Ok((names, next))
    }
}

impl FromRequestParts<Shared> for Page {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refused> {
        let query = Query::<Self>::from_request_parts(parts, shared).await;
        query.map(|Query(page)| page).map_err(|error| Refused::bad_request(error.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_together_are_the_list() {
        let names: Vec<String> = (0..25).map(|number| format!("t{number:02}")).collect();
        let (mut found, mut token) = (Vec::new(), Some(String::new()));
        while let Some(page_token) = token {
            let page = Page { page_token: Some(page_token), page_size: Some(10), parent: None };
            let (some, next) = page.of(names.clone()).unwrap();
            assert!(some.len() <= 10 && !some.is_empty());
            found.extend(some);
            token = next;
        }
        assert_eq!(found, names);
        let all = Page { page_token: None, page_size: Some(1), parent: None };
        assert_eq!(all.of(names.clone()).unwrap(), (names, None));
        assert!(Page { page_token: Some(String::new()), page_size: Some(0), parent: None }.of(Vec::new()).is_err());
    }
}
