//! The ledger's tests: a table of cases for each module's actions, properties
//! over arbitrary sequences, and a golden scenario. One binary, since they
//! share their world.

mod accounts;
mod attested;
mod certificates;
mod contracts;
mod enclaves;
mod escrow;
mod evidence;
mod forget;
mod golden;
mod hosts;
mod keys;
mod locks;
mod market;
mod matching;
mod members;
mod name_keys;
mod name_records;
mod name_sales;
mod name_servers;
mod names;
mod notary;
mod properties;
mod recovery;
mod rejects;
mod resharing;
mod steps;
mod updates;
mod world;
mod zones;
