//! The engine alone, with a chain that is a list: over real TCP between
//! processes, and simulated under seeds.

mod lifecycle;
mod list_chain;
mod simulated;
mod tcp;
