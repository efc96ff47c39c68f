//! `/openapi.json`, made from the handlers and their types.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use freshet_edge::ice::IceServer;
use freshet_edge::problem::{PROBLEM_JSON, ProblemDetail};
use freshet_edge::roster::{SessionEntry, SessionsPage};
use freshet_edge::stream_health::{HealthWarning, LayerHealth, StreamHealth, TrackHealth};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Ref, RefOr, ResponseBuilder, Server};

use super::access::{BanInfo, BansPage, Dismissed, Spec};
use super::model::{
    CapacityInfo, ClientConfig, ClusterInfo, LinkInfo, MemberInfo, NodeInfo, NodesPage, RoomInfo, RoomsPage,
    StreamInfo, TreeInfo,
};
use super::viewer::LayerPick;
use super::{about, access, health, media, read, viewer};
use crate::app::App;
use crate::events::chat::{ChatPost, ChatReceipt};
use crate::events::http;

/// The description's parts.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Freshet",
        description = "A WebRTC SFU cluster for live events: the coordinator's surface."
    ),
    paths(
        media::publish,
        media::view,
        media::patch_docs,
        media::delete_docs,
        media::look_docs,
        media::peek_docs,
        viewer::subscribe_docs,
        viewer::read_docs,
        viewer::peek_docs,
        viewer::unsubscribe_docs,
        viewer::choose_docs,
        read::rooms,
        read::room,
        health::stream_health,
        http::post_chat,
        http::room_events,
        access::spec,
        access::put_spec,
        access::delete_spec,
        access::sessions,
        access::dismiss,
        access::bans,
        access::put_ban,
        access::delete_ban,
        read::nodes,
        read::cluster,
        about::config,
        serve,
        about::healthz_docs,
        about::readyz,
        about::metrics,
    ),
    components(schemas(
        BanInfo,
        BansPage,
        CapacityInfo,
        ChatPost,
        ChatReceipt,
        ClientConfig,
        ClusterInfo,
        Dismissed,
        HealthWarning,
        IceServer,
        LayerHealth,
        LayerPick,
        LinkInfo,
        MemberInfo,
        NodeInfo,
        NodesPage,
        ProblemDetail,
        RoomInfo,
        RoomsPage,
        SessionEntry,
        SessionsPage,
        Spec,
        StreamHealth,
        StreamInfo,
        TrackHealth,
        TreeInfo,
    ))
)]
struct Description;

/// The whole document. Paths in it are below the public URL, which a document below a prefix could not say itself.
pub fn document(public_url: Option<&str>) -> utoipa::openapi::OpenApi {
    let mut document = Description::openapi();
    document.servers = public_url.map(|url| vec![Server::new(url)]);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    complete(&mut document);
    document
}

/// Says of every operation what holds of all: the headers of a refusal's status, and that there are others.
fn complete(document: &mut utoipa::openapi::OpenApi) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemDetail"))).build();
    let other = ResponseBuilder::new()
        .description("Any other problem, as docs/api.md lists them: match `status` and `reason`")
        .content(PROBLEM_JSON, problem)
        .build();
    for item in document.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.head, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let responses = &mut operation.responses.responses;
            for (status, response) in responses.iter_mut() {
                let (name, says) = match status.as_str() {
                    "401" => ("WWW-Authenticate", "`Bearer`, and what was wrong"),
                    "429" | "502" | "503" | "504" => {
                        ("Retry-After", "After so many seconds it is worth asking again")
                    }
                    _ => continue,
                };
                if let RefOr::T(response) = response {
                    let header = HeaderBuilder::new().description(Some(says)).build();
                    response.headers.insert(name.to_owned(), header);
                }
            }
            responses.insert("default".to_owned(), RefOr::T(other.clone()));
        }
    }
}

/// This description.
#[utoipa::path(
    get, path = "/openapi.json", tag = "about", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = String, content_type = "application/json"))
)]
pub async fn serve(State(app): State<Arc<App>>) -> Response {
    Json(document(app.state().config.public_url.as_deref())).into_response()
}
