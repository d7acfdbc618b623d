//! What can be said on the command line? The tree of commands, as clap reads
//! it; each command's own arguments are in its file in `commands`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    commands,
    failure::EXIT_STATUSES,
    session::{DEFAULT_STATE, Format},
};

/// A cloud that a circle of organisations runs for each other without
/// trusting each other.
#[derive(Parser)]
#[command(name = "ringfort", version, after_help = EXIT_STATUSES)]
pub struct Arguments {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Directory of the circle's state.
    #[arg(
        long,
        global = true,
        env = "RINGFORT_STATE",
        default_value = DEFAULT_STATE,
        value_name = "DIR"
    )]
    pub state: PathBuf,
    /// How to print results.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Human)]
    pub output: Format,
    /// Key that acts, by its name or file, or tpm:LABEL[@DEVICE] for one in a TPM;
    /// the only key file there is if not given.
    #[arg(long, global = true, env = "RINGFORT_KEY", value_name = "NAME")]
    pub key: Option<String>,
    /// File that holds the key file's passphrase.
    #[arg(
        long,
        global = true,
        env = "RINGFORT_PASSPHRASE_FILE",
        value_name = "FILE"
    )]
    pub passphrase_file: Option<PathBuf>,
    /// Print no progress.
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// Every command, in the order in which `--help` lists them.
#[derive(Subcommand)]
pub enum Command {
    /// Start a circle on this machine, or go on with one that was stopped.
    Up(commands::up::Up),
    /// Stop the circle on this machine.
    Down(commands::down::Down),
    /// Tell how every part of the circle is.
    Status,

    /// Run an encrypted payload at a name of its own.
    Run(Box<commands::run::Run>),
    /// List what runs.
    Ps(commands::ps::Ps),
    /// Show what a payload printed; only its user can.
    Logs(commands::logs::Logs),
    /// Fetch a job's output and exit status; only its user can.
    Result(commands::result::ResultOf),
    /// Stop a payload: its enclaves forget the key.
    Stop(commands::operate::Operate),
    /// Start a stopped payload again, by a new handshake.
    Start(commands::operate::Operate),
    /// End a payload; what is left of its escrow comes back.
    Rm(commands::rm::Rm),

    /// Accounts: what they hold, and transfers.
    #[command(subcommand)]
    Account(commands::account::Account),
    /// Lock funds under a condition.
    Lock(commands::lock::Lock),
    /// Spend a lock.
    Unlock(commands::unlock::Unlock),
    /// Names: register, show, set, secure, delegate, renew, sell, buy, rotate and more.
    #[command(subcommand)]
    Name(Box<commands::name::Name>),
    /// Record that a file existed and that your key vouches for it; or check one.
    Notarise(commands::notarise::Notarise),
    /// Transactions of keys held elsewhere: a TPM, a smart card, a passkey.
    #[command(subcommand)]
    Transaction(commands::transaction::Signing),
    /// Certificates: the log, revocation, what one proves by itself.
    #[command(subcommand)]
    Cert(commands::cert::Cert),
    /// Connect to a server by the key that the ledger proves, without any
    /// certificate authority.
    Connect(commands::connect::Connect),
    /// Be the server that `connect` finds, in front of a service of this machine.
    Listen(commands::listen::Listen),
    /// Offers of providers.
    #[command(subcommand)]
    Offer(commands::offer::Offer),
    /// Proofs: fetch one, and verify it with everything switched off.
    #[command(subcommand)]
    Proof(commands::proof::Proof),
    /// Keys that nobody holds alone: labels, and encryption to them.
    #[command(subcommand)]
    Key(commands::key::Key),
    /// Key files.
    #[command(subcommand)]
    Keys(commands::keys::Keys),
    /// The circle: its id, its key, its rules.
    #[command(subcommand)]
    Circle(commands::circle::Circle),
    /// Hosts: what their hardware can say, and whether they run what was published.
    #[command(subcommand)]
    Host(commands::host::Host),
    /// Members: list them, propose a change, vote.
    Member(commands::member::Member),
    /// Ask to become a member of a circle, and wait until its members agree.
    Join(commands::join::Join),
    /// Found a circle with others: make its key jointly, and its genesis.
    #[command(subcommand)]
    Found(commands::found::Found),

    /// Found a circle anew on its last proven state, after too many validators are lost.
    #[command(subcommand)]
    Recover(commands::recover::Recover),

    /// Run a validator with its API (daemon), or back its state up and restore it.
    Node(commands::node::Node),
    /// Run a provider of compute (daemon).
    Provider(commands::daemon::Daemon),
    /// Run an authoritative name server (daemon).
    Names(commands::daemon::Daemon),
    /// Sign the circle's zones for its name servers (daemon), or roll their keys.
    Signer(commands::signer::Signer),
    /// Run the circle's certificate authority (daemon).
    Ca(commands::daemon::Daemon),
    /// Answer handshakes for the user while no one watches (daemon).
    Agent(commands::daemon::Daemon),
    /// Hold a share of the circle's master secret (daemon).
    Keykeeper(commands::daemon::Daemon),
    /// Vaults: keys that only a certain local application may use.
    #[command(subcommand)]
    Vault(commands::vault::Vault),
    /// Run the parts of the circle at --state; `up` starts this.
    #[command(hide = true)]
    Supervise,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_tree_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_option_takes_a_secret_itself() {
        fn walk(command: &clap::Command) {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                let secret = ["passphrase", "secret", "private_key", "seed"].contains(&name);
                assert!(!secret, "{} --{name}", command.get_name());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Arguments::command());
    }
}
