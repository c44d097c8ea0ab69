//! What stands before every route: identity, counting, and who may call.
//!
//! Outermost first: [`identify`] gives the request its id and finishes refusals, [`count`] measures, then panics are
//! caught, then [`admit`] decides by host, origin and token. A memory store on loopback is reachable from every web page
//! its owner opens; so pages from elsewhere are refused outright (EverOS lets them in), and so are names that somebody
//! else's DNS points at loopback.

use crate::api::Code;
use crate::respond::Refusal;
use crate::router::{App, ROUTES};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::any::Any;
use std::net::IpAddr;

/// The request's id, for handlers.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

/// Whether the caller may read memories; `/health` says less to those who may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Trusted,
    Unknown,
}

/// Gives the request an id and finishes refusals. An id sent along is ignored, as in EverOS.
pub(crate) async fn identify(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id: String = app.world().random().iter().map(|byte| format!("{byte:02x}")).collect();
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        if refusal.status.is_server_error() {
            let detail = refusal.detail.as_deref().unwrap_or(&refusal.message);
            tracing::error!(request_id = id, %method, path, code = refusal.code.name(), detail, "request failed");
        }
        let headers = std::mem::take(response.headers_mut());
        response = refusal.render(id.clone(), app.now(), path.clone());
        // Layers within may have set headers (CORS); what describes the old body goes.
        for (name, value) in &headers {
            if name != header::CONTENT_LENGTH && name != header::CONTENT_TYPE {
                response.headers_mut().append(name, value.clone());
            }
        }
    }
    tracing::debug!(request_id = id, %method, path, status = response.status().as_u16(), "answered");
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

/// Counts and times requests by route.
pub(crate) async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let method = method_label(request.method());
    let path = request.uri().path();
    let path = ROUTES.into_iter().find(|route| *route == path).unwrap_or("{unmatched}");
    let began = app.world().monotonic();
    let response = next.run(request).await;
    if !matches!(path, "/metrics" | "/health") {
        let took = app.world().monotonic().saturating_sub(began);
        app.requests().observe(method, path, response.status().as_u16(), took);
    }
    response
}

/// Returns the method for a label: anybody may invent methods, and each would be a new series.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}

/// Turns a panic into a fault of ours.
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Refusal::internal(format!("panic: {message}")).into_response()
}

/// Lets in whom the host, the origin and the token speak for, and answers preflights.
pub(crate) async fn admit(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let options = app.options();
    if options.addr.ip().is_loopback() && !host_is_ours(&request, &options.hosts) {
        let message = "this server does not answer to that host name";
        return Refusal::new(StatusCode::FORBIDDEN, Code::Forbidden, message).into_response();
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    if origin.as_ref().is_some_and(|origin| !origin_is_allowed(origin, &options.origins)) {
        let message = "pages of that origin may not call this server";
        return vary(Refusal::new(StatusCode::FORBIDDEN, Code::Forbidden, message).into_response());
    }
    if let Some(origin) = &origin
        && request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    {
        return share(preflight(request.headers()), origin);
    }
    let shown = bearer(request.headers());
    let trusted = match (&options.token, shown) {
        (None, _) => true,
        (Some(token), Some(secret)) => token.is(secret),
        (Some(_), None) => false,
    };
    let response = if trusted || request.uri().path() == "/health" {
        request.extensions_mut().insert(if trusted { Caller::Trusted } else { Caller::Unknown });
        next.run(request).await
    } else {
        let message = "this server wants `Authorization: Bearer <token>`, with the token it was started with";
        Refusal::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, message).into_response()
    };
    match origin {
        Some(origin) => share(response, &origin),
        None => vary(response),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = std::str::from_utf8(headers.get(header::AUTHORIZATION)?.as_bytes()).ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

/// Tells whether the request is addressed to this machine by a name that only it has.
fn host_is_ours(request: &Request, hosts: &[String]) -> bool {
    let header = request.headers().get(header::HOST);
    let named = match (request.uri().authority(), header) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(header)) => match header.to_str() {
            Ok(host) => host,
            Err(_) => return false,
        },
        // Only programs leave it out; browsers, which this is about, never do.
        (None, None) => return true,
    };
    let name = without_port(named);
    is_loopback_name(name) || hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
}

/// Tells whether a page of this origin may call: one served from loopback, or one that was configured.
fn origin_is_allowed(origin: &HeaderValue, origins: &[String]) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    if origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) {
        return true;
    }
    ["http://", "https://"]
        .iter()
        .any(|scheme| origin.strip_prefix(scheme).is_some_and(|authority| is_loopback_name(without_port(authority))))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => authority,
    }
}

fn is_loopback_name(name: &str) -> bool {
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn preflight(headers: &HeaderMap) -> Response {
    let mut response = Response::new(Body::from("OK"));
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
    );
    answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    if let Some(wanted) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}

/// Lets the page of an allowed origin read the answer.
fn share(response: Response, origin: &HeaderValue) -> Response {
    let mut response = vary(response);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("x-request-id"));
    response
}

fn vary(mut response: Response) -> Response {
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
    response
}

#[cfg(test)]
mod tests;
