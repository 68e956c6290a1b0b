//! The dashboard that every node serves under `/ui/`.
//!
//! [`model`] is pure logic: it knows neither the browser nor the network and is tested on the host.
//! `api` is the only module that talks to a node, `dom` the only one that makes elements, `parts` are
//! the widgets, `pages` the screens, `shell` the frame round them, `app` all of it.

pub mod model;

#[cfg(target_arch = "wasm32")]
mod api;
#[cfg(target_arch = "wasm32")]
mod app;
#[cfg(target_arch = "wasm32")]
mod dom;
#[cfg(target_arch = "wasm32")]
mod pages;
#[cfg(target_arch = "wasm32")]
mod parts;
#[cfg(target_arch = "wasm32")]
mod route;
#[cfg(target_arch = "wasm32")]
mod shell;
#[cfg(target_arch = "wasm32")]
mod stopped;

#[cfg(target_arch = "wasm32")]
pub use app::mount;
