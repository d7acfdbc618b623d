//! How do people name an entry of the ledger, and how is its record shown?

use std::str::FromStr;

use borsh::BorshDeserialize;
use serde::Serialize;
use wire::{AccountId, ContractId, DomainName, LockId, OfferId, RequestId, record, state_key};

/// An entry of the ledger, as it is named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry(Vec<u8>);

impl Entry {
    /// The state key.
    pub fn key(&self) -> Vec<u8> {
        self.0.clone()
    }
}

impl FromStr for Entry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        fn id<T: FromStr>(text: &str) -> Result<T, String>
        where
            T::Err: ToString,
        {
            text.parse().map_err(|error: T::Err| error.to_string())
        }
        if text == "circle" {
            return Ok(Self(state_key::circle()));
        }
        if text == "pool" {
            return Ok(Self(state_key::pool()));
        }
        if let Some(digits) = text.strip_prefix("hex:") {
            let key = hex::decode(digits).map_err(|error| error.to_string())?;
            return Ok(Self(key));
        }
        let (kind, rest) = text
            .split_once('/')
            .ok_or("an entry is KIND/ID, circle, pool or hex:KEY")?;
        let key = match kind {
            "name" => state_key::name(&id::<DomainName>(rest)?),
            "released" => state_key::released(&id::<DomainName>(rest)?),
            "recovery" => state_key::recovery(&id::<DomainName>(rest)?),
            "account" => state_key::account(id::<AccountId>(rest)?),
            "lock" => state_key::lock(id::<LockId>(rest)?),
            "offer" => state_key::offer(id::<OfferId>(rest)?),
            "request" => state_key::request(id::<RequestId>(rest)?),
            "contract" => state_key::contract(id::<ContractId>(rest)?),
            "enclave" => state_key::enclave(id::<ContractId>(rest)?),
            "certificate" => state_key::certificate(id::<ContractId>(rest)?),
            "completion" => state_key::completion(id::<ContractId>(rest)?),
            other => return Err(format!("{other:?} is no kind of entry")),
        };
        Ok(Self(key))
    }
}

/// A record as JSON; the bytes in hex where this build does not know the form.
fn json<T: BorshDeserialize + Serialize>(value: &[u8]) -> serde_json::Value {
    let decoded = record::decode::<T>(value).ok();
    decoded
        .and_then(|record| serde_json::to_value(record).ok())
        .unwrap_or_else(|| serde_json::Value::String(hex::encode(value)))
}

/// The entry in words, and its record as JSON.
pub fn describe(key: &[u8], value: Option<&[u8]>) -> (String, Option<serde_json::Value>) {
    type Shower = fn(&[u8]) -> serde_json::Value;
    // By the prefixes of `state_key`.
    let kinds: [(&[u8], &str, Shower); 11] = [
        (b"d/", "released", json::<record::Released>),
        (b"v/", "recovery", json::<record::Recovery>),
        (b"a/", "account", json::<record::Account>),
        (b"n/", "name", json::<record::Name>),
        (b"l/", "lock", json::<record::Lock>),
        (b"o/", "offer", json::<record::Offer>),
        (b"r/", "request", json::<record::Request>),
        (b"t/", "contract", json::<record::Contract>),
        (b"e/", "enclave", json::<record::Enclave>),
        (
            state_key::CERTIFICATES,
            "certificate",
            json::<record::Certificate>,
        ),
        (b"j/", "completion", json::<record::Completion>),
    ];
    for (prefix, kind, shower) in kinds {
        if let Some(rest) = key.strip_prefix(prefix) {
            let id = match (kind, std::str::from_utf8(rest)) {
                ("name" | "released" | "recovery", Ok(name)) => name.to_owned(),
                _ => hex::encode(rest),
            };
            return (format!("{kind}/{id}"), value.map(shower));
        }
    }
    if key == state_key::circle() {
        return ("circle".into(), value.map(json::<record::CircleRecord>));
    }
    if key == state_key::pool() {
        return ("pool".into(), value.map(json::<record::Pool>));
    }
    let raw = value.map(|value| serde_json::Value::String(hex::encode(value)));
    (format!("hex:{}", hex::encode(key)), raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_entry_is_shown_as_it_was_named() {
        let id = "11".repeat(32);
        let mut forms = vec![
            "circle".to_owned(),
            "pool".to_owned(),
            "name/hello.internal".to_owned(),
            "released/hello.internal".to_owned(),
            "recovery/hello.internal".to_owned(),
            format!("hex:{id}"),
        ];
        for kind in [
            "account",
            "lock",
            "offer",
            "request",
            "contract",
            "enclave",
            "certificate",
            "completion",
        ] {
            forms.push(format!("{kind}/{id}"));
        }
        for form in forms {
            let entry: Entry = form.parse().unwrap();
            assert_eq!(describe(&entry.key(), None), (form, None));
        }
    }

    #[test]
    fn refuses_what_names_no_entry() {
        for bad in ["", "name", "name/UPPER", "account/12", "thing/11", "hex:zz"] {
            assert!(bad.parse::<Entry>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_record_is_shown_as_json_and_strange_bytes_as_hex() {
        let account = record::Account {
            balance: wire::Amount(5),
            sequence: 7,
        };
        let key = state_key::account(AccountId([1; 32]));
        let (_, shown) = describe(&key, Some(&record::encode(&account)));
        assert_eq!(shown.unwrap()["balance"], 5);
        let (_, shown) = describe(&key, Some(&[9, 9]));
        assert_eq!(shown.unwrap(), "0909");
    }
}
