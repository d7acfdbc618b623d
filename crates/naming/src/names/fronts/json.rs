//! Questions in a URL and answers in JSON, in the form that Google's and
//! Cloudflare's resolvers use (RFC 8427 is another, which nobody speaks).

use domain::{
    base::{
        Message, MessageBuilder, Name, ParsedRecord, Rtype,
        opt::{ExtendedError, OptRecord},
    },
    rdata::AllRecordData,
};
use serde::Serialize;

/// The longest name in a URL: 255 octets, each escaped as `\DDD` and each
/// letter of that as `%XX`.
const MAX_NAME_TEXT: usize = 255 * 4 * 3;

/// The size of a datagram that an OPT record must name though there is none.
const UDP_SIZE: u16 = 1232;

/// What a URL asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::names) struct Asked {
    name: Name<Vec<u8>>,
    rtype: Rtype,
    dnssec_ok: bool,
    checking_disabled: bool,
}

impl Asked {
    /// Reads a URL's query: `name`, `type` (a number or a mnemonic, `A` by
    /// default), `do` and `cd`.
    ///
    /// Errors: what is wrong, for the asker.
    pub fn parse(query: &str) -> Result<Self, &'static str> {
        let name = parameter(query, "name").ok_or("the parameter `name` is missing")?;
        if name.len() > MAX_NAME_TEXT {
            return Err("the parameter `name` is no domain name");
        }
        let name =
            Name::vec_from_str(&name).map_err(|_| "the parameter `name` is no domain name")?;
        let rtype = match parameter(query, "type") {
            None => Rtype::A,
            Some(text) => text
                .parse::<u16>()
                .map(Rtype::from_int)
                .or_else(|_| text.parse())
                .map_err(|_| "the parameter `type` is no record type")?,
        };
        let flag = |key| parameter(query, key).is_some_and(|text| text == "1" || text == "true");
        Ok(Self {
            name,
            rtype,
            dnssec_ok: flag("do"),
            checking_disabled: flag("cd"),
        })
    }

    /// The same question as a message.
    pub fn to_message(&self) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec();
        let header = builder.header_mut();
        header.set_rd(true);
        header.set_cd(self.checking_disabled);
        let mut question = builder.question();
        // A vector grows, and one question fits any message.
        let _ = question.push((&self.name, self.rtype));
        let mut additional = question.additional();
        let _ = additional.opt(|opt| {
            opt.set_udp_payload_size(UDP_SIZE);
            opt.set_dnssec_ok(self.dnssec_ok);
            Ok(())
        });
        additional.finish()
    }
}

/// The value of `key` in a URL's query (the form of HTML forms).
pub(in crate::names) fn parameter(query: &str, key: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name == key).then(|| decode(value))?
    })
}

/// Undoes percent-encoding; none for what is not UTF-8 then.
fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        decoded.push(match octet {
            b'+' => b' ',
            b'%' => {
                let digit = |octet: Option<u8>| char::from(octet?).to_digit(16);
                let (high, low) = (digit(octets.next())?, digit(octets.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

/// An answer in JSON; the keys are Google's.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Told {
    status: u16,
    #[serde(rename = "TC")]
    truncated: bool,
    #[serde(rename = "RD")]
    recursion_desired: bool,
    #[serde(rename = "RA")]
    recursion_available: bool,
    #[serde(rename = "AD")]
    authentic: bool,
    #[serde(rename = "CD")]
    checking_disabled: bool,
    question: Vec<ToldQuestion>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    answer: Vec<ToldRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    authority: Vec<ToldRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    additional: Vec<ToldRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    comment: Vec<String>,
}

#[derive(Serialize)]
struct ToldQuestion {
    name: String,
    #[serde(rename = "type")]
    rtype: u16,
}

#[derive(Serialize)]
struct ToldRecord {
    name: String,
    #[serde(rename = "type")]
    rtype: u16,
    #[serde(rename = "TTL")]
    ttl: u32,
    data: String,
}

/// A response in JSON; none if it does not parse.
pub(in crate::names) fn render(octets: &[u8]) -> Option<Vec<u8>> {
    let message = Message::from_octets(octets).ok()?;
    let header = message.header();
    let opt = message.opt();
    let comment = opt.as_ref().map(comments).unwrap_or_default();
    let told = Told {
        status: message.opt_rcode().to_int(),
        truncated: header.tc(),
        recursion_desired: header.rd(),
        recursion_available: header.ra(),
        authentic: header.ad(),
        checking_disabled: header.cd(),
        question: message
            .question()
            .flatten()
            .map(|question| ToldQuestion {
                name: absolute(question.qname()),
                rtype: question.qtype().to_int(),
            })
            .collect(),
        answer: records(message.answer().ok()?)?,
        authority: records(message.authority().ok()?)?,
        additional: records(message.additional().ok()?)?,
        comment,
    };
    serde_json::to_vec(&told).ok()
}

fn comments(opt: &OptRecord<&[u8]>) -> Vec<String> {
    opt.opt()
        .iter::<ExtendedError<_>>()
        .flatten()
        .map(|error| {
            let text = error.text().and_then(Result::ok);
            let text = text.map_or_else(String::new, |text| format!(": {text}"));
            format!("EDE({}){text}", error.code().to_int())
        })
        .collect()
}

fn records<'a>(
    section: impl Iterator<Item = Result<ParsedRecord<'a, &'a [u8]>, domain::base::wire::ParseError>>,
) -> Option<Vec<ToldRecord>> {
    let mut told = Vec::new();
    for record in section {
        let record = record.ok()?;
        if record.rtype() == Rtype::OPT {
            continue;
        }
        let record = record.to_any_record::<AllRecordData<_, _>>().ok()?;
        told.push(ToldRecord {
            name: absolute(record.owner()),
            rtype: record.rtype().to_int(),
            ttl: record.ttl().as_secs(),
            data: record.data().to_string(),
        });
    }
    Some(told)
}

/// A name with its final dot.
fn absolute(name: &impl domain::base::ToName) -> String {
    let text = name.fmt_with_dot().to_string();
    if text.is_empty() {
        ".".to_owned()
    } else {
        text
    }
}

/// Checks what is promised of any URL and any response: nothing panics, a
/// question that is read is a message with that question, and JSON is JSON.
pub(in crate::names) fn fuzz(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(asked) = Asked::parse(text)
    {
        let message = asked.to_message();
        let message = Message::from_octets(&message[..]).expect("a header");
        let question = message.sole_question().expect("one question");
        assert_eq!(*question.qname(), asked.name);
        assert_eq!(question.qtype(), asked.rtype);
    }
    if let Some(text) = render(data) {
        serde_json::from_slice::<serde_json::Value>(&text).expect("JSON");
    }
}
