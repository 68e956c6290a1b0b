//! The dashboard that every node serves under `/ui/`.
//!
//! [`model`] is pure logic: it knows neither the browser nor the network and is tested on the host.
//! `api` is the only module that talks to a node, `components` are the widgets, `pages` puts them
//! together. Nothing in here changes the cluster.

#![cfg_attr(
    target_arch = "wasm32",
    expect(
        unreachable_pub,
        reason = "leptos' component macro makes its functions public"
    )
)]

pub mod model;

#[cfg(target_arch = "wasm32")]
mod api;
#[cfg(target_arch = "wasm32")]
mod app;
#[cfg(target_arch = "wasm32")]
mod components;
#[cfg(target_arch = "wasm32")]
mod pages;

#[cfg(target_arch = "wasm32")]
pub use app::mount;
