//! The OpenAPI document: `GET /openapi.json`, always there.

use crate::api::{self, Failure};
use crate::router::App;
use crate::{health, memories, operate, search};
use axum::Json;
use axum::extract::State;
use utoipa::OpenApi;
use utoipa::openapi::path::{HttpMethod, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};

#[derive(OpenApi)]
#[openapi(
    paths(
        health::health,
        health::metrics,
        operate::status,
        operate::sync,
        operate::verify,
        operate::plan,
        operate::prune,
        operate::compact,
        operate::inspect,
        operate::rebuild
    ),
    components(schemas(Failure, api::add::Content))
)]
struct Unversioned;

#[derive(OpenApi)]
#[openapi(paths(memories::add, memories::flush, search::search, memories::get))]
struct Memory;

/// Answers the document.
pub(crate) async fn serve(State(app): State<App>) -> Json<utoipa::openapi::OpenApi> {
    Json(document(&app.options().version))
}

/// Returns the document. Operation ids are EverOS's: name, path and method, so the versions differ.
pub fn document(version: &str) -> utoipa::openapi::OpenApi {
    let mut document = Unversioned::openapi();
    document.info = utoipa::openapi::InfoBuilder::new()
        .title("evermark")
        .version(version)
        .description(Some(
            "Long-term memory for AI agents, kept in Markdown files. Speaks EverOS's API and adds to it.",
        ))
        .license(Some(utoipa::openapi::License::new("Apache-2.0")))
        .build();
    for prefix in ["/api/v1", "/api/v2"] {
        let memory = Memory::openapi();
        for (path, item) in memory.paths.paths {
            document.paths.paths.insert(format!("{prefix}{path}"), item);
        }
        if let (Some(all), Some(more)) = (document.components.as_mut(), memory.components) {
            all.schemas.extend(more.schemas);
        }
    }
    for (path, item) in &mut document.paths.paths {
        name_operations(path, item);
    }
    if let Some(components) = document.components.as_mut() {
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
    // Either: without a token set, none is wanted.
    document.security =
        Some(vec![SecurityRequirement::default(), SecurityRequirement::new("bearer", Vec::<String>::new())]);
    document
}

fn name_operations(path: &str, item: &mut PathItem) {
    let slug: String = path.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '_' }).collect();
    for (method, operation) in [(HttpMethod::Get, item.get.as_mut()), (HttpMethod::Post, item.post.as_mut())] {
        if let Some(operation) = operation {
            let method = match method {
                HttpMethod::Get => "get",
                _ => "post",
            };
            let name = operation.operation_id.take().unwrap_or_default();
            operation.operation_id = Some(format!("{name}{slug}_{method}"));
        }
    }
}
