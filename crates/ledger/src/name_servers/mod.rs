//! Name servers: who may answer in the circle's name, and how each proves it.

mod certify;
mod register;

pub(crate) use certify::certify;
pub(crate) use register::register;
