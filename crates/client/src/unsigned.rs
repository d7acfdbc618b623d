//! Transactions of keys that this process does not hold: in a TPM, a smart
//! card, a passkey, or on a machine without a network.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use wire::{
    Action, Amount, AnySignature, Assertion, BadSignature, PublicKey, Signature, SignedTransaction,
    Transaction,
    limits::{MAX_AUTHENTICATOR_DATA_BYTES, MAX_CLIENT_DATA_BYTES},
};

use crate::{account::EXPIRY_BLOCKS, error::ClientError, ledger::Client};

/// The most that a signature adds to a transaction: a passkey's, with its two
/// lengths and the byte of its kind.
const SIGNATURE_BYTES: u64 =
    (1 + 4 + MAX_AUTHENTICATOR_DATA_BYTES + 4 + MAX_CLIENT_DATA_BYTES + 64) as u64;

impl Client {
    /// A transaction of `sender` that is yet to be signed: its
    /// [`Transaction::challenge`] is what a passkey is given, and what a TPM
    /// signs the SHA-256 of.
    ///
    /// Errors: no node answers, or one gives proofs that do not hold.
    pub async fn unsigned(
        &self,
        sender: PublicKey,
        actions: Vec<Action>,
    ) -> Result<Transaction, ClientError> {
        let mut transaction = Transaction {
            version: Transaction::VERSION,
            circle: self.circle(),
            sender,
            sequence: self.account(&sender).await?.sequence,
            expires_at: self.recent_height().await?.plus(EXPIRY_BLOCKS),
            fee_limit: Amount::ZERO,
            actions,
        };
        let body = borsh::to_vec(&transaction).map_or(0, |bytes| bytes.len() as u64);
        transaction.fee_limit = self.fee(body + SIGNATURE_BYTES).await?;
        Ok(transaction)
    }
}

/// Why what a passkey gave is no signature.
#[derive(Debug, thiserror::Error)]
pub enum AssertionError {
    /// It is not the JSON of an assertion.
    #[error("this is not the JSON of a PublicKeyCredential with an assertion")]
    Json(#[from] serde_json::Error),
    /// A member is not base64url.
    #[error("a member of the assertion is not base64url")]
    Base64(#[from] base64::DecodeError),
    /// The client data is not UTF-8.
    #[error("the client data is not UTF-8")]
    Utf8(#[from] std::string::FromUtf8Error),
    /// The signature is not the DER of two numbers.
    #[error("the signature is not ES256 in DER")]
    Signature(#[from] BadSignature),
}

#[derive(Deserialize)]
struct Credential {
    response: Response,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    authenticator_data: String,
    #[serde(rename = "clientDataJSON")]
    client_data_json: String,
    signature: String,
}

/// The signature in what a browser gives for `navigator.credentials.get`, as
/// `PublicKeyCredential.toJSON()` writes it (WebAuthn §5.1.7).
///
/// Errors: [`AssertionError`]. Whether it holds is for [`AnySignature::verify`].
pub fn assertion(json: &str) -> Result<AnySignature, AssertionError> {
    let Credential { response } = serde_json::from_str(json)?;
    let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    Ok(AnySignature::WebAuthn(Assertion {
        authenticator_data: decode(&response.authenticator_data)?,
        client_data: String::from_utf8(decode(&response.client_data_json)?)?,
        signature: Signature::from_p256_der(&decode(&response.signature)?)?,
    }))
}

/// Joins a transaction and its signature.
///
/// Errors: [`BadSignature`] if it is not the sender's over this transaction.
pub fn join(
    transaction: Transaction,
    signature: AnySignature,
) -> Result<SignedTransaction, BadSignature> {
    let body = borsh::to_vec(&transaction).map_err(|_| BadSignature)?;
    signature.verify(&transaction.sender, Transaction::PURPOSE, &body)?;
    Ok(SignedTransaction {
        transaction,
        signature,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Chromium gave (`tests/webauthn/make.py`).
    #[derive(Deserialize)]
    struct Vector {
        purpose: String,
        message: String,
        spki: String,
        credential: serde_json::Value,
    }

    fn vector() -> Vector {
        serde_json::from_str(include_str!("../tests/webauthn/chromium.json")).unwrap()
    }

    #[test]
    fn a_browsers_passkey_signs_for_us() {
        let vector = vector();
        let spki = hex::decode(&vector.spki).unwrap();
        // A SubjectPublicKeyInfo of P-256 ends with the uncompressed point.
        let key = PublicKey::from_p256_point(&spki[spki.len() - 65..]).unwrap();
        let message = hex::decode(&vector.message).unwrap();
        let signature = assertion(&vector.credential.to_string()).unwrap();
        assert_eq!(signature.verify(&key, &vector.purpose, &message), Ok(()));
        assert!(signature.verify(&key, &vector.purpose, b"other").is_err());
    }

    #[test]
    fn what_is_no_assertion_is_refused_by_name() {
        let good = vector().credential;
        let with = |member: &str, value: serde_json::Value| {
            let mut changed = good.clone();
            changed["response"][member] = value;
            assertion(&changed.to_string())
        };
        assert!(matches!(assertion("{}"), Err(AssertionError::Json(_))));
        assert!(matches!(
            with("signature", "AAAA".into()),
            Err(AssertionError::Signature(_))
        ));
        assert!(matches!(
            with("authenticatorData", "!".into()),
            Err(AssertionError::Base64(_))
        ));
        assert!(matches!(
            with("clientDataJSON", "_w".into()),
            Err(AssertionError::Utf8(_))
        ));
    }
}
