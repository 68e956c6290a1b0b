//! The widgets. They read the live view from the context and know no page.

pub(crate) mod figures;
pub(crate) mod identity;
pub(crate) mod mark;
pub(crate) mod members;
pub(crate) mod status_line;
