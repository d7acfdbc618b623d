//! `ringfort member`: who belongs to the circle, and what its members decide.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use client::{
    Client,
    account::{Account, lock_path},
    keyfile::{KeyKind, UnlockedKey},
};
use serde::Serialize;
use wire::{
    AccountId, Action, AttestValidator, Change, EvidenceKind, Height, JoinRequest, Measurement,
    MemberRole, MemberUpdate, Parameters, Policy, ProposalId, Propose, ReferenceValue, Subject,
    ValidatorPolicy, Vote, limits::MAX_MEMBERS, record, state_key,
};
use zeroize::Zeroizing;

use super::sent::SentReport;
use crate::{
    failure::{Advice, Status},
    session::Session,
    terminal::table,
    user,
};

/// Proposals that are listed at most: every member's open ones and as many decided.
const MAX_PROPOSALS: usize = 2048;

/// Members and their votes.
#[derive(clap::Args)]
pub struct Member {
    /// Act as this validator of the circle on this machine, with its identity's key.
    #[arg(long, global = true, value_name = "INDEX")]
    as_node: Option<u16>,
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// Commands on members.
#[derive(clap::Subcommand)]
enum Command {
    /// List the members.
    List,
    /// List proposals.
    Proposals,
    /// Show the rules in force.
    Rules,
    /// Show the epoch, its committee and the resharing that is under way.
    Epoch,
    /// Propose a change; you approve of it thereby.
    #[command(subcommand)]
    Propose(Proposed),
    /// Vote on a proposal.
    Vote {
        /// The proposal's id.
        proposal: ProposalId,
        /// For it, or against it.
        vote: Choice,
    },
    /// Show which code your validator runs, by evidence for it.
    Attest {
        /// The evidence: JSON, as `ringfort` shows evidence.
        evidence: PathBuf,
        /// The height of the recent block to which it is bound.
        #[arg(long)]
        block: u64,
    },
    /// Approve: of a proposal by its id, or of a join request by its file.
    Approve {
        /// A proposal's id, or the file that `ringfort join` wrote.
        what: String,
    },
}

/// A vote.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Choice {
    /// For the proposal.
    Yes,
    /// Against it.
    No,
}

/// A role, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Neither votes nor validates.
    Observer,
    /// Votes.
    Voter,
    /// Votes and validates.
    Validator,
}

impl From<Role> for MemberRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Observer => Self::Observer,
            Role::Voter => Self::Voter,
            Role::Validator => Self::Validator,
        }
    }
}

/// What can be proposed.
#[derive(clap::Subcommand)]
enum Proposed {
    /// A member joins, by the file that `ringfort join` wrote.
    Add {
        /// The join request.
        request: PathBuf,
    },
    /// A member leaves.
    Remove {
        /// Its account.
        member: AccountId,
    },
    /// A member's role, level or address change.
    Update {
        /// Its account.
        member: AccountId,
        /// A new role.
        #[arg(long)]
        role: Option<Role>,
        /// A new security level.
        #[arg(long)]
        level: Option<u8>,
        /// A new address of its validator, HOST:PORT.
        #[arg(long)]
        address: Option<String>,
    },
    /// The circle's key is shared anew at the next epoch, though the validators stay:
    /// a validator that lost its share gets another, and old shares become useless.
    Reshare,
    /// A rule in numbers changes.
    Parameter {
        /// Its name, as `ringfort member rules` shows it.
        name: String,
        /// Its new value.
        value: u64,
    },
    /// Enclave code is admitted.
    AdmitCode {
        /// SHA-256 of the code.
        measurement: Measurement,
        /// The kind of evidence that may claim it, such as tpm or tdx-dcap.
        #[arg(value_parser = evidence_kind)]
        kind: EvidenceKind,
    },
    /// Enclave code is no longer admitted.
    ExpelCode {
        /// SHA-256 of the code.
        measurement: Measurement,
        /// The kind of evidence that may claim it.
        #[arg(value_parser = evidence_kind)]
        kind: EvidenceKind,
    },
    /// Validators must show that they run one of these, or nothing at all.
    ValidatorPolicy {
        /// Admitted code, as MEASUREMENT:KIND; none to ask for nothing.
        #[arg(long = "code", value_parser = reference_value)]
        codes: Vec<ReferenceValue>,
        /// Blocks for which evidence counts.
        #[arg(long, default_value_t = 0)]
        renew_within: u64,
    },
    /// An account may record certificates.
    AddAuthority {
        /// The account.
        account: AccountId,
    },
    /// An account may no longer record certificates.
    RemoveAuthority {
        /// The account.
        account: AccountId,
    },
    /// A kind of change is decided in another way.
    Policy {
        /// Which kind, such as add_member or code.
        #[arg(value_parser = subject)]
        subject: Subject,
        /// majority, threshold:N or any-of-level:N.
        #[arg(value_parser = policy)]
        policy: Policy,
    },
    /// All nodes follow another version of the rules from a height on.
    Upgrade {
        /// The version.
        version: u32,
        /// The first height.
        height: u64,
    },
}

fn evidence_kind(text: &str) -> Result<EvidenceKind, String> {
    [
        EvidenceKind::Development,
        EvidenceKind::Tpm,
        EvidenceKind::SgxDcap,
        EvidenceKind::TdxDcap,
        EvidenceKind::SevSnp,
        EvidenceKind::AwsNitro,
    ]
    .into_iter()
    .find(|kind| kind.name() == text)
    .ok_or_else(|| "give development, tpm, sgx-dcap, tdx-dcap, sev-snp or aws-nitro".to_owned())
}

fn reference_value(text: &str) -> Result<ReferenceValue, String> {
    let (measurement, kind) = text.split_once(':').ok_or("give MEASUREMENT:KIND")?;
    let measurement = measurement
        .parse()
        .map_err(|error| format!("{measurement}: {error}"))?;
    let kind = evidence_kind(kind)?;
    Ok(ReferenceValue { measurement, kind })
}

fn subject(text: &str) -> Result<Subject, String> {
    serde_json::from_value(serde_json::Value::String(text.replace('-', "_"))).map_err(|_| {
        "give add_member, remove_member, update_member, replace_seat, parameters, code, \
         authorities, policy, upgrade or names"
            .to_owned()
    })
}

fn policy(text: &str) -> Result<Policy, String> {
    let wrong = || "give majority, threshold:N or any-of-level:N".to_owned();
    match text.split_once(':') {
        None if text == "majority" => Ok(Policy::Majority),
        Some(("threshold", need)) => Ok(Policy::Threshold {
            need: need.parse().map_err(|_| wrong())?,
        }),
        Some(("any-of-level", level)) => Ok(Policy::AnyOfLevel {
            level: level.parse().map_err(|_| wrong())?,
        }),
        _ => Err(wrong()),
    }
}

/// Carries out a command on members.
pub fn execute(session: &Session, member: &Member) -> anyhow::Result<Status> {
    match &member.command {
        Command::List => list(session),
        Command::Proposals => proposals(session),
        Command::Rules => rules(session),
        Command::Epoch => epoch(session),
        Command::Propose(proposed) => {
            let change = change(session, proposed)?;
            propose(session, member.as_node, change)
        }
        Command::Attest { evidence, block } => {
            let text = std::fs::read_to_string(evidence)
                .with_context(|| format!("read {}", evidence.display()))?;
            let evidence = serde_json::from_str(&text)
                .with_context(|| format!("{} holds no evidence", evidence.display()))?;
            let block = Height(*block);
            let action = Action::AttestValidator(AttestValidator { block, evidence });
            let account = account(session, member.as_node)?;
            SentReport::send_from(session, &account, action, "attested", |_| None)
        }
        Command::Vote { proposal, vote } => {
            let approve = matches!(vote, Choice::Yes);
            cast(session, member.as_node, *proposal, approve)
        }
        Command::Approve { what } => match what.parse() {
            Ok(proposal) => cast(session, member.as_node, proposal, true),
            Err(_) => approve_join(session, member.as_node, what.as_ref()),
        },
    }
}

/// The account that acts: the session's, or a validator's of this machine.
pub(super) fn account(session: &Session, as_node: Option<u16>) -> anyhow::Result<Account> {
    let Some(index) = as_node else {
        return user::account(session);
    };
    let path = session.state.node(index).join("identity.seed");
    let text = Zeroizing::new(
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?,
    );
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), &mut *seed)
        .with_context(|| format!("{} holds no seed", path.display()))?;
    let key = UnlockedKey::from_seed(&format!("node-{index}"), KeyKind::Ed25519, seed)
        .context("every seed is an Ed25519 key")?;
    let client = user::client(session)?;
    Ok(Account::new(client, Arc::new(key), Some(lock_path(&path))))
}

fn propose(session: &Session, as_node: Option<u16>, change: Change) -> anyhow::Result<Status> {
    let account = account(session, as_node)?;
    let action = Action::Propose(Propose { change });
    SentReport::send_from(session, &account, action, "proposed", |transaction| {
        Some(ProposalId::made_by(transaction, 0).to_string())
    })
}

fn cast(
    session: &Session,
    as_node: Option<u16>,
    proposal: ProposalId,
    approve: bool,
) -> anyhow::Result<Status> {
    let account = account(session, as_node)?;
    let action = Action::Vote(Vote { proposal, approve });
    SentReport::send_from(session, &account, action, "voted", |_| None)
}

/// Votes for the open proposal that adds this member, or makes it.
fn approve_join(
    session: &Session,
    as_node: Option<u16>,
    file: &std::path::Path,
) -> anyhow::Result<Status> {
    let request = read_request(file)?;
    let client = user::client(session)?;
    let change = Change::AddMember(Box::new(request));
    let all = super::runtime()?.block_on(read_proposals(&client))?;
    let made = all.iter().find(|shown| {
        shown.record.status == record::ProposalStatus::Open && shown.record.change == change
    });
    match made {
        Some(shown) => cast(session, as_node, shown.id, true),
        None => propose(session, as_node, change),
    }
}

fn read_request(file: &std::path::Path) -> anyhow::Result<JoinRequest> {
    let advice = || {
        Advice::new(
            format!(
                "{} is neither a proposal's id nor a join request",
                file.display()
            ),
            "`ringfort member proposals` lists ids; `ringfort join` writes a request",
        )
    };
    let text = std::fs::read_to_string(file).map_err(|_| advice())?;
    serde_json::from_str(&text).map_err(|_| advice().into())
}

fn change(session: &Session, proposed: &Proposed) -> anyhow::Result<Change> {
    Ok(match proposed {
        Proposed::Add { request } => Change::AddMember(Box::new(read_request(request)?)),
        Proposed::Remove { member } => Change::RemoveMember(*member),
        Proposed::Update {
            member,
            role,
            level,
            address,
        } => Change::UpdateMember {
            member: *member,
            update: MemberUpdate {
                role: role.map(MemberRole::from),
                level: *level,
                facts: None,
                address: address.clone(),
            },
        },
        Proposed::Reshare => Change::Reshare,
        Proposed::Parameter { name, value } => {
            Change::SetParameters(Box::new(with_parameter(session, name, *value)?))
        }
        Proposed::AdmitCode { measurement, kind } => Change::AdmitCode(ReferenceValue {
            measurement: *measurement,
            kind: *kind,
        }),
        Proposed::ExpelCode { measurement, kind } => Change::ExpelCode(ReferenceValue {
            measurement: *measurement,
            kind: *kind,
        }),
        Proposed::ValidatorPolicy {
            codes,
            renew_within,
        } => Change::SetValidatorPolicy(ValidatorPolicy {
            codes: codes.clone(),
            renew_within: *renew_within,
        }),
        Proposed::AddAuthority { account } => Change::AddAuthority(*account),
        Proposed::RemoveAuthority { account } => Change::RemoveAuthority(*account),
        Proposed::Policy { subject, policy } => Change::SetPolicy {
            subject: *subject,
            policy: *policy,
        },
        Proposed::Upgrade { version, height } => Change::Upgrade {
            version: *version,
            height: Height(*height),
        },
    })
}

/// The parameters in force with one of them changed.
fn with_parameter(session: &Session, name: &str, value: u64) -> anyhow::Result<Parameters> {
    let rules = read_rules(session)?;
    let mut parameters = serde_json::to_value(&rules.parameters)?;
    let place = parameters.get_mut(name).ok_or_else(|| {
        Advice::new(
            format!("there is no parameter {name}"),
            "`ringfort member rules` shows them all",
        )
    })?;
    *place = value.into();
    serde_json::from_value(parameters).with_context(|| format!("{value} is too large for {name}"))
}

/// The rules in force, proven.
fn read_rules(session: &Session) -> anyhow::Result<Arc<record::Rules>> {
    let client = user::client(session)?;
    Ok(super::runtime()?.block_on(client.newest_rules())?)
}

fn rules(session: &Session) -> anyhow::Result<Status> {
    let rules = read_rules(session)?;
    session.print(&*rules, |rules| {
        // Lists of keys and numbers: JSON is for people here too.
        let text = serde_json::to_string_pretty(rules).unwrap_or_default();
        format!("{text}\n")
    })?;
    Ok(Status::Done)
}

/// A member, with its account.
#[derive(Serialize)]
struct ShownMember {
    account: AccountId,
    #[serde(flatten)]
    record: record::Member,
}

fn list(session: &Session) -> anyhow::Result<Status> {
    let client = user::client(session)?;
    let members: Vec<ShownMember> = super::runtime()?.block_on(read_all(
        &client,
        state_key::MEMBERS,
        MAX_MEMBERS,
        |id, record| ShownMember {
            account: AccountId(id),
            record,
        },
    ))?;
    session.print(&members, |members| {
        let row = |member: &ShownMember| {
            let terms = &member.record.terms;
            vec![
                terms.name.clone(),
                format!("{:?}", terms.role).to_lowercase(),
                terms.level.to_string(),
                member.account.to_string(),
            ]
        };
        let rows: Vec<_> = members.iter().map(row).collect();
        table(&["NAME", "ROLE", "LEVEL", "ACCOUNT"], &rows)
    })?;
    Ok(Status::Done)
}

/// A proposal, with its id.
#[derive(Serialize)]
struct ShownProposal {
    id: ProposalId,
    #[serde(flatten)]
    record: record::Proposal,
}

async fn read_proposals(client: &Client) -> anyhow::Result<Vec<ShownProposal>> {
    read_all(client, state_key::PROPOSALS, MAX_PROPOSALS, |id, record| {
        ShownProposal {
            id: ProposalId(id),
            record,
        }
    })
    .await
}

fn proposals(session: &Session) -> anyhow::Result<Status> {
    let client = user::client(session)?;
    let proposals = super::runtime()?.block_on(read_proposals(&client))?;
    session.print(&proposals, |proposals| {
        let row = |shown: &ShownProposal| {
            let votes = &shown.record.votes;
            let yes = votes.iter().filter(|(_, approve)| *approve).count();
            let status = match shown.record.status {
                record::ProposalStatus::Open => format!("open until {}", shown.record.until),
                record::ProposalStatus::Enacted { at } => format!("enacted at {at}"),
                record::ProposalStatus::Refused { at } => format!("refused at {at}"),
            };
            vec![
                shown.id.to_string(),
                format!("{:?}", shown.record.change.subject()),
                yes.to_string(),
                (votes.len() - yes).to_string(),
                status,
            ]
        };
        let rows: Vec<_> = proposals.iter().map(row).collect();
        table(&["PROPOSAL", "ABOUT", "FOR", "AGAINST", "STATUS"], &rows)
    })?;
    Ok(Status::Done)
}

fn epoch(session: &Session) -> anyhow::Result<Status> {
    let client = user::client(session)?;
    let epoch: record::Epoch = super::runtime()?
        .block_on(client.require(state_key::epoch(), || "the circle's epoch".to_owned()))?;
    session.print(&epoch, |epoch| {
        let resharing = match &epoch.resharing {
            Some(resharing) => format!(
                "round {} for {} validators since height {}",
                resharing.round,
                resharing.target.len(),
                resharing.began_at
            ),
            None => "none under way".to_owned(),
        };
        let mut text = format!("epoch      {}\nresharing  {resharing}\n", epoch.number);
        for seat in &epoch.committee {
            text.push_str(&format!("validator  {}\n", seat.key));
        }
        text
    })?;
    Ok(Status::Done)
}

/// Every record under a prefix whose keys end in 32 bytes, each proven.
async fn read_all<R: borsh::BorshDeserialize, T>(
    client: &Client,
    prefix: &[u8],
    limit: usize,
    shown: impl Fn([u8; 32], R) -> T,
) -> anyhow::Result<Vec<T>> {
    let keys = client.list_keys(prefix, limit).await?;
    let mut all = Vec::with_capacity(keys.len());
    for keys in keys.chunks(client::MAX_PROVEN_KEYS) {
        let proven = client.proven_many(keys.to_vec()).await?;
        for (key, proven) in keys.iter().zip(&proven) {
            let id = key[prefix.len()..].try_into();
            if let (Ok(id), Some(record)) = (id, client::decode(proven)?) {
                all.push(shown(id, record));
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_and_subjects_are_read_as_they_are_typed() {
        assert_eq!(policy("majority"), Ok(Policy::Majority));
        assert_eq!(policy("threshold:3"), Ok(Policy::Threshold { need: 3 }));
        assert_eq!(
            policy("any-of-level:2"),
            Ok(Policy::AnyOfLevel { level: 2 })
        );
        assert!(policy("random").is_err() && policy("threshold:x").is_err());
        assert_eq!(subject("add-member"), Ok(Subject::AddMember));
        assert_eq!(subject("names"), Ok(Subject::Names));
        assert!(subject("everything").is_err());
        assert_eq!(evidence_kind("tdx-dcap"), Ok(EvidenceKind::TdxDcap));
    }
}
