//! HEAD requests for what is stored and stale by its age: they go to the origin as they are, and bring what is stored up to
//! date (RFC 9111 §4.3.5).
//!
//! A HEAD never raises born, so that it says nothing against a purge: the renewed header starts with the old born and is
//! held against every mark since. Nor does it end what an unsafe request made stale.

use super::{Asked, Passed, Proxy, pass_back};
use crate::fetch::Base;
use crate::flight::{FetchFailure, Reading};
use crate::intake::{read_tags, strip_tags, take_unshared};
use crate::object::{NewObject, Object};
use crate::origin::{OriginRequest, RequestContent};
use crate::respond::{Forwarded, answer_failure};
use crate::shelf::Renewal;
use crate::tier::Child;
use crate::upstream;
use http::{HeaderMap, Method, StatusCode};
use httpcache::{CACHE_GROUPS, Freshness, HeadUpdate};
use std::sync::Arc;
use std::time::SystemTime;

impl Proxy {
    /// Sends a HEAD to the origin, and lets its answer count for what is stored.
    pub(super) async fn send_head(
        &self,
        asked: &Asked,
        base: Base,
        reading: &Reading,
        forwarded: Forwarded,
    ) -> Passed {
        let state = &self.state;
        // Before the request is sent: an unsafe request from here on keeps what it says from being stored.
        let landing = state.flights.alone(asked.url_key, &asked.url, reading);
        let request_time = (state.clocks.wall)();
        let answered = match state.fetches.try_acquire() {
            Ok(_permit) => {
                let request = OriginRequest {
                    method: Method::HEAD,
                    path_and_query: asked.asked_url.path_and_query().to_owned(),
                    headers: self.passed_on_headers(asked),
                    content: RequestContent::Nothing,
                    client_scheme: asked.scheme,
                    upgrade: false,
                    interim: None,
                };
                let floor = upstream::place(state, &reading.clock, reading.seen);
                let child = Child { floor, leased: reading.leased, hit: None };
                upstream::ask(&self.client, state, &asked.routed.route, child, request).await
            }
            Err(_) => Err(FetchFailure::TooManyFetches),
        };
        let status = answered.as_ref().ok().map(http::Response::status);
        if status.is_none_or(httpcache::is_stale_if_error) {
            base.object.note_failure((state.clocks.wall)());
            if let Some(response) = self.stale_instead(asked, forwarded, status).await {
                return Passed::Answered(response);
            }
        }
        let response = match answered {
            Ok(response) => response,
            Err(failure) => return Passed::Answered(answer_failure(state, true, failure)),
        };
        let mut headers = response.headers().clone();
        httpcache::strip_hop_by_hop(&mut headers);
        match self.update(asked, &base.object, response.status(), &headers, request_time) {
            Update::None => {}
            Update::Renew(renewed) => {
                let renewal = landing.store(base.key, |allowed| {
                    state.shelf.renew(base.key, &base.object, renewed.filter(|_| allowed))
                });
                if renewal == Renewal::DroppedFromDisk {
                    state.shelf.settle(base.key).await;
                }
            }
        }
        Passed::Answered(pass_back(state, forwarded.reason, None, asked.asker, response))
    }

    fn update(
        &self,
        asked: &Asked,
        object: &Arc<Object>,
        status: StatusCode,
        headers: &HeaderMap,
        request_time: SystemTime,
    ) -> Update {
        let length = object.content.whole().map(|pieces| pieces.length());
        let in_slices = object.content.slices().map(|slices| slices.length);
        let Some(length) = length.or(in_slices) else { return Update::None };
        let stored = object.head.unpack();
        let mut fields = match httpcache::update_by_head(object.status, &stored, length, status, headers) {
            HeadUpdate::Nothing => return Update::None,
            HeadUpdate::Outdated => return Update::Renew(None),
            HeadUpdate::Fields(_) if object.is_outdated() => return Update::None,
            HeadUpdate::Fields(fields) => fields,
        };
        let config = &self.state.config;
        let read = read_tags(&config.tag_headers, headers);
        strip_tags(&config.tag_headers, &mut fields);
        let (policy, request) = (&asked.policy, self.headers_of(asked));
        let may_store = httpcache::may_store(&Method::GET, request, object.status, &fields, policy).is_ok();
        let now = (self.state.clocks.wall)();
        let mut freshness = Freshness::of_response(object.status, &fields, request_time, now, policy);
        let tags_ignored = object.tags_ignored.saturating_add(read.ignored);
        if tags_ignored > 0 {
            freshness = freshness.at_most(config.ignored_tags_lifetime);
        }
        let groups = httpcache::groups(&fields, &CACHE_GROUPS);
        let grouping = self.state.groups.grouping(&asked.url, &groups, object.group_event());
        let (true, Ok(tags)) = (may_store, object.tags.union(&read.tags)) else { return Update::Renew(None) };
        take_unshared(policy, &mut fields);
        Update::Renew(Some(Object::new(NewObject {
            url: object.url.clone(),
            birth: object.birth.clone(),
            tags,
            tags_ignored,
            grouping,
            status: object.status,
            headers: fields,
            freshness,
            declared_length: object.declared_length,
            content: Arc::clone(&object.content),
        })))
    }
}

/// What a HEAD makes of a stored response.
enum Update {
    /// Nothing.
    None,
    /// This, or nothing that is stored.
    Renew(Option<Arc<Object>>),
}
