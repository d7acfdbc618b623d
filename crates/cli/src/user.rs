//! Who acts, over which circle? Opens key files and makes the SDK's values
//! from the state directory, and finds what people name in short.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use client::{
    Client, SecretString, Url, User,
    account::{Account, lock_path},
    keyfile::{self, UnlockedKey},
    storage::{AccessPolicy, ObjectStorage, S3Credentials, directory_url},
    wallet::Wallet,
};
use wire::{
    RequestId,
    record::{Request, RequestStatus},
    state_key,
};

use crate::{
    failure::Advice,
    passphrase,
    session::Session,
    state_directory::{CircleFile, StateDirectory},
    tpm_key,
};

/// Requests that are read at once.
const REQUESTS_AT_ONCE: usize = client::MAX_PROVEN_KEYS;

/// The circle's client: everything it returns is proven under the key in `circle.toml`.
///
/// Errors: no circle here; a node's URL is malformed.
pub fn client(session: &Session) -> anyhow::Result<Client> {
    client_of(&session.state.read()?)
}

fn client_of(file: &CircleFile) -> anyhow::Result<Client> {
    let parse = |url: &String| Url::parse(url).with_context(|| format!("circle.toml names {url}"));
    let nodes = file
        .nodes
        .iter()
        .map(parse)
        .collect::<anyhow::Result<Vec<_>>>()?;
    Client::new(nodes, file.circle_key, file.circle).context("reach the circle")
}

/// The key file that a command uses: the one it names, or the only one there is.
///
/// Errors: there is none, or more than one.
fn key_file(session: &Session) -> anyhow::Result<PathBuf> {
    if let Some(given) = &session.key {
        return Ok(named_key_file(&session.state, given));
    }
    let keys = keyfile::list(&session.state.user()).unwrap_or_default();
    match keys.as_slice() {
        [only] => Ok(only.path.clone()),
        [] => Err(Advice::new(
            format!("there is no key in {}", session.state.user().display()),
            "`ringfort keys new` makes one",
        )
        .into()),
        several => {
            let names: Vec<&str> = several.iter().map(|key| key.name.as_str()).collect();
            Err(Advice::new(
                format!("there are several keys: {}", names.join(", ")),
                "say which with --key NAME",
            )
            .into())
        }
    }
}

/// The file of a key that was named: a path, or a name in the user's directory.
pub fn named_key_file(state: &StateDirectory, given: &str) -> PathBuf {
    if given.contains('/') || given.ends_with(".key") {
        PathBuf::from(given)
    } else {
        state.user().join(format!("{given}.key"))
    }
}

/// Opens the session's key.
///
/// Errors: there is none; the passphrase is wrong.
pub fn unlock(session: &Session) -> anyhow::Result<(PathBuf, UnlockedKey)> {
    if session.key.as_deref().and_then(tpm_key::place).is_some() {
        return Err(Advice::new(
            "this command needs a key file: it writes the key, or uses it as a secret",
            "a key in a TPM signs transactions, and keeps the wallet of what it runs",
        )
        .into());
    }
    let path = key_file(session)?;
    let passphrase = passphrase::for_key_file(&path, session.passphrase_file.as_deref())?;
    let key = open(&path, passphrase)?;
    Ok((path, key))
}

/// Opens a key file with its passphrase.
///
/// Errors: it is no key file; the passphrase is wrong.
pub fn open(path: &std::path::Path, passphrase: String) -> anyhow::Result<UnlockedKey> {
    keyfile::open(path, &SecretString::from(passphrase)).context("open the key file")
}

/// The session's account.
///
/// Errors: as for [`unlock`] and [`client`].
pub fn account(session: &Session) -> anyhow::Result<Account> {
    let client = client(session)?;
    if let Some(place) = session.key.as_deref().and_then(tpm_key::place) {
        let signer = tpm_key::TpmSigner::open(&place)?;
        return Ok(Account::with_signer(client, Arc::new(signer), None));
    }
    let (path, key) = unlock(session)?;
    Ok(Account::new(client, Arc::new(key), Some(lock_path(&path))))
}

/// The id of the session's account, of a key that is not unlocked for it.
///
/// Errors: there is no key; a TPM that was named cannot be asked.
pub fn own_id(session: &Session) -> anyhow::Result<wire::AccountId> {
    use client::account::Signer as _;
    match session.key.as_deref().and_then(tpm_key::place) {
        Some(place) => Ok(tpm_key::TpmSigner::open(&place)?.public().account()),
        None => Ok(summary(session)?.account),
    }
}

/// The session's user: account, wallet and stores.
///
/// Errors: as for [`account`].
pub fn user(session: &Session) -> anyhow::Result<User> {
    let client = client(session)?;
    if let Some(place) = session.key.as_deref().and_then(tpm_key::place) {
        let signer = tpm_key::TpmSigner::open(&place)?;
        let directory = session.state.user().join("wallet");
        let identity = signer.wallet_identity(&directory)?;
        let wallet = Wallet::with_identity(directory, &identity);
        let wallet = wallet.context("what the TPM keeps is no wallet's key")?;
        let account = Account::with_signer(client, Arc::new(signer), None);
        return user_of(account, wallet);
    }
    let (path, key) = unlock(session)?;
    let key = Arc::new(key);
    let wallet = Wallet::new(session.state.user().join("wallet"), &key);
    let account = Account::new(client, key, Some(lock_path(&path)));
    user_of(account, wallet)
}

/// A user with that wallet.
///
/// Errors: the clients of stores and providers cannot be set up.
pub fn user_of(account: Account, wallet: Wallet) -> anyhow::Result<User> {
    let storage = ObjectStorage::new(AccessPolicy::unrestricted(), s3_credentials())?;
    Ok(User::new(account, wallet, storage)?)
}

/// Keys of an S3 store, from the variables that its other tools read.
fn s3_credentials() -> Option<S3Credentials> {
    let variable = |name| std::env::var(name).ok();
    Some(S3Credentials {
        access_key_id: variable("AWS_ACCESS_KEY_ID")?,
        secret_access_key: variable("AWS_SECRET_ACCESS_KEY")?.into(),
        session_token: variable("AWS_SESSION_TOKEN").map(Into::into),
    })
}

/// Where payloads are uploaded: `given`, or the two directories of an embedded circle.
///
/// Errors: none was given and the circle runs elsewhere.
pub fn mirrors(session: &Session, given: &[String]) -> anyhow::Result<Vec<String>> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    if session.state.read()?.embedded.is_none() {
        return Err(Advice::new(
            "a payload needs a store to be uploaded to, and this circle has none of its own",
            "give one or more with --mirror URL (file:, s3:, https:)",
        )
        .into());
    }
    let url = |path: &PathBuf| directory_url(path).context("name a mirror");
    session.state.mirrors().iter().map(url).collect()
}

/// One of the user's requests, with what the wallet calls it.
pub struct OwnRequest {
    /// Its id.
    pub id: RequestId,
    /// Its record, proven.
    pub record: Request,
    /// What the user calls it; none if it was posted from another wallet.
    pub label: Option<String>,
}

impl OwnRequest {
    /// Whether it has not ended.
    pub fn is_open(&self) -> bool {
        !matches!(self.record.status, RequestStatus::Closed(_))
    }
}

/// All requests of the user, the newest first.
///
/// Errors: no node answers, or one gives proofs that do not hold.
pub async fn requests(user: &User) -> anyhow::Result<Vec<OwnRequest>> {
    let ids = user.requests().await.context("list your requests")?;
    let mut requests = Vec::new();
    for ids in ids.chunks(REQUESTS_AT_ONCE) {
        let keys = ids.iter().map(|id| state_key::request(*id)).collect();
        let proven = user.account().client().proven_many(keys).await?;
        for (id, proven) in ids.iter().zip(&proven) {
            let Some(record) = client::decode::<Request>(proven)? else {
                continue;
            };
            let secrets = user.wallet().request(&record.terms.agreement_key)?;
            requests.push(OwnRequest {
                id: *id,
                label: secrets.map(|secrets| secrets.label.clone()),
                record,
            });
        }
    }
    requests.sort_by_key(|request| std::cmp::Reverse(request.record.posted_at));
    Ok(requests)
}

/// The request that `text` names: an id, the beginning of one, a service's name or a label.
/// Where several answer to it, an open one goes before an ended one; else it must be one.
///
/// Errors: none or several answer to it.
pub async fn find(user: &User, text: &str) -> anyhow::Result<OwnRequest> {
    let requests = requests(user).await?;
    let matching: Vec<OwnRequest> = requests
        .into_iter()
        .filter(|request| answers_to(request, text))
        .collect();
    let open = matching.iter().filter(|request| request.is_open()).count();
    let none = || {
        Advice::new(
            format!("none of your requests answers to {text:?}"),
            "`ringfort ps --all` lists them, by id, name and label",
        )
    };
    match (open, matching.len()) {
        (0, 0) => Err(none().into()),
        (1, _) => matching
            .into_iter()
            .find(OwnRequest::is_open)
            .ok_or_else(|| none().into()),
        // Several ended ones of one name: the newest is meant.
        (0, _) => matching.into_iter().next().ok_or_else(|| none().into()),
        (several, _) => Err(Advice::new(
            format!("{several} open requests answer to {text:?}"),
            "give the beginning of an id: `ringfort ps` lists them",
        )
        .into()),
    }
}

/// Digits of an id that name it without doubt among one user's.
const MIN_ID_DIGITS: usize = 4;

fn answers_to(request: &OwnRequest, text: &str) -> bool {
    let id = request.id.to_string();
    let name = request.record.terms.name.as_ref().map(|name| name.as_str());
    (text.len() >= MIN_ID_DIGITS && id.starts_with(&text.to_ascii_lowercase()))
        || name == Some(text)
        || request.label.as_deref() == Some(text)
}

/// What can be said of the session's key without its passphrase.
///
/// Errors: as for the key itself.
pub fn summary(session: &Session) -> anyhow::Result<keyfile::KeySummary> {
    summary_of(session, session.key.as_deref())
}

/// The same of the key that is named, or of the only one there is.
///
/// Errors: there is none of that name, or several and none was named.
pub fn summary_of(session: &Session, name: Option<&str>) -> anyhow::Result<keyfile::KeySummary> {
    let path = match name {
        Some(name) => named_key_file(&session.state, name),
        None => key_file(session)?,
    };
    let directory = path.parent().unwrap_or(std::path::Path::new("."));
    keyfile::list(directory)?
        .into_iter()
        .find(|key| key.path == path)
        .ok_or_else(|| {
            Advice::new(
                format!("there is no key file {}", path.display()),
                "`ringfort keys list` shows the ones there are",
            )
            .into()
        })
}
