//! The table of routes. A route cannot be written down without saying who may use it.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodRouter, delete, get, post, put};
use http::Method;

use super::authorize::{Gate, authorize};
use super::{Doors, Scope};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everyone, without a token.
    Open,
    /// Whoever has the scope.
    Needs(Scope),
}

impl From<Scope> for Access {
    fn from(scope: Scope) -> Self {
        Self::Needs(scope)
    }
}

/// One route.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) summary: &'static str,
    handler: MethodRouter<Doors>,
}

/// Routes, in the order they were written down.
#[derive(Default)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A route that reads. Handlers may take `State<Context>`, and `Extension<Who>` when the route is not open.
    #[must_use]
    pub fn get<H, T>(
        self,
        path: &'static str,
        access: impl Into<Access>,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Doors>,
        T: 'static,
    {
        self.with(Method::GET, path, access.into(), summary, get(handler))
    }

    /// A route that changes something.
    #[must_use]
    pub fn post<H, T>(
        self,
        path: &'static str,
        access: impl Into<Access>,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Doors>,
        T: 'static,
    {
        self.with(Method::POST, path, access.into(), summary, post(handler))
    }

    /// A route that puts something in the place of what there is.
    #[must_use]
    pub fn put<H, T>(
        self,
        path: &'static str,
        access: impl Into<Access>,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Doors>,
        T: 'static,
    {
        self.with(Method::PUT, path, access.into(), summary, put(handler))
    }

    /// A route that removes something.
    #[must_use]
    pub fn delete<H, T>(
        self,
        path: &'static str,
        access: impl Into<Access>,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Doors>,
        T: 'static,
    {
        self.with(Method::DELETE, path, access.into(), summary, delete(handler))
    }

    /// All routes.
    pub(crate) fn all(&self) -> &[Route] {
        &self.0
    }

    fn with(
        mut self,
        method: Method,
        path: &'static str,
        access: Access,
        summary: &'static str,
        handler: MethodRouter<Doors>,
    ) -> Self {
        self.0.push(Route { method, path, access, summary, handler });
        self
    }

    /// Puts each handler behind `authorize` with what its line in the table asks for.
    pub(crate) fn guarded(self, doors: &Doors) -> Router<Doors> {
        self.0.into_iter().fold(Router::new(), |router, route| {
            let gate = Gate { doors: doors.clone(), access: route.access, path: route.path };
            let guarded = route.handler.route_layer(axum::middleware::from_fn_with_state(gate, authorize));
            router.route(route.path, guarded)
        })
    }
}
