//! The pages: each puts widgets together and owns no figures.

pub(crate) mod overview;
