//! The commands, one file each; this one sends each to its file.

pub mod account;
pub mod cert;
pub mod circle;
pub mod connect;
pub mod daemon;
pub mod down;
pub mod found;
pub mod host;
pub mod join;
pub mod key;
pub mod keykeeper;
pub mod keys;
pub mod label_holder;
pub mod listen;
pub mod lock;
pub mod logs;
pub mod member;
pub mod name;
pub mod node;
pub mod notarise;
pub mod offer;
pub mod operate;
pub mod proof;
pub mod ps;
pub mod recover;
pub mod result;
pub mod rm;
pub mod run;
mod sent;
pub mod signer;
pub mod status;
pub mod supervise;
pub mod transaction;
pub mod unlock;
pub mod up;
mod validator_evidence;
pub mod vault;

use anyhow::Context as _;
use wire::Operation;

use crate::{arguments::Command, failure::Status, session::Session};

/// Carries out one command.
///
/// Errors: whatever went wrong, with its causes; `failure` prints it.
pub fn execute(session: &Session, command: Command) -> anyhow::Result<Status> {
    match command {
        Command::Up(up) => up::execute(session, &up),
        Command::Down(down) => down::execute(session, &down),
        Command::Status => status::execute(session),
        Command::Run(run) => run::execute(session, &run),
        Command::Ps(ps) => ps::execute(session, &ps),
        Command::Logs(logs) => logs::execute(session, &logs),
        Command::Result(result) => result::execute(session, &result),
        Command::Stop(stop) => operate::execute(session, &stop, Operation::Stop),
        Command::Start(start) => operate::execute(session, &start, Operation::Start),
        Command::Rm(rm) => rm::execute(session, &rm),
        Command::Account(account) => account::execute(session, account),
        Command::Lock(lock) => lock::execute(session, &lock),
        Command::Unlock(unlock) => unlock::execute(session, &unlock),
        Command::Name(name) => name::execute(session, *name),
        Command::Notarise(notarise) => notarise::execute(session, &notarise),
        Command::Transaction(signing) => transaction::execute(session, &signing),
        Command::Connect(connect) => connect.execute(session),
        Command::Listen(listen) => listen.execute(session),
        Command::Cert(cert) => cert::execute(session, cert),
        Command::Offer(offer) => offer::execute(session, offer),
        Command::Proof(proof) => proof::execute(session, proof),
        Command::Key(key) => key::execute(session, key),
        Command::Keys(keys) => keys::execute(session, keys),
        Command::Circle(circle) => circle::execute(session, circle),
        Command::Host(host) => host::execute(session, host),
        Command::Member(member) => member::execute(session, &member),
        Command::Join(join) => join::execute(session, &join),
        Command::Found(found) => found::execute(session, &found),
        Command::Recover(recover) => recover::execute(session, &recover),
        Command::Node(node) => node::execute(session, &node),
        Command::Provider(provider) => daemon::provider(&provider),
        Command::Names(names) => daemon::names(&names),
        Command::Signer(signer) => signer::execute(session, signer),
        Command::Ca(authority) => daemon::certificate_authority(&authority),
        Command::Agent(agent) => daemon::agent(&agent),
        Command::Keykeeper(keykeeper) => keykeeper::execute(&keykeeper),
        Command::Vault(vault) => vault::execute(session, vault),
        Command::Supervise => supervise::execute(session),
    }
}

/// Runs a command that reads the terminal until `conversation` ends.
///
/// Errors: the conversation's; as for [`runtime`].
fn converse(conversation: impl Future<Output = anyhow::Result<Status>>) -> anyhow::Result<Status> {
    let runtime = runtime()?;
    let done = runtime.block_on(conversation);
    // A read of the terminal cannot be called off.
    runtime.shutdown_background();
    done
}

/// The runtime that commands of the SDK run on.
///
/// Errors: the operating system gives no thread or no poller.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")
}
