//! Following the circle's blocks by server-sent events, without gap or repeat.
//!
//! Trusts nothing: events come from an untrusted node and only say what to
//! read. The stream reconnects to another node when one falls silent, and
//! resumes after the last block it gave.

use std::time::Duration;

use futures_util::Stream;
use reqwest::{StatusCode, header};
use serde::{Deserialize, Serialize};
use wire::{Digest, Event, Height, TransactionId};

use crate::{
    error::{ApiError, ClientError},
    ledger::Client,
    transport::{BodyError, bounded_body},
};

/// A node that sends nothing for this long is left: even a quiet circle makes
/// several blocks a second.
const SILENCE: Duration = Duration::from_secs(10);

/// One event's text: a full block's events are below this.
const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// One error page of a node.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// The pause before the first reconnection, and its limit; it doubles between.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
const MAX_RECONNECT_PAUSE: Duration = Duration::from_secs(2);

/// What happened in one block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockEvents {
    /// The block's height.
    pub height: Height,
    /// Its time, Unix milliseconds.
    pub time_ms: u64,
    /// Its header's digest.
    pub digest: Digest,
    /// What happened, in order.
    pub events: Vec<LedgerEvent>,
}

/// One event and the transaction that caused it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEvent {
    /// The cause; none for what the end of the block did.
    pub transaction: Option<TransactionId>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Blocks' events in the order of their heights, each once.
pub struct EventStream {
    client: Client,
    /// The height of the next block to give.
    next: Height,
    connection: Option<Connection>,
    failures: u32,
}

struct Connection {
    node: usize,
    response: reqwest::Response,
    decoder: Decoder,
}

impl EventStream {
    pub(crate) fn new(client: Client, from: Height) -> Self {
        Self {
            client,
            next: from,
            connection: None,
            failures: 0,
        }
    }

    /// The next block's events. It waits for as long as it takes; dropping the
    /// future loses nothing.
    ///
    /// Errors: a node's refusal that no other node would mend (it has pruned
    ///         the height, for instance). Broken connections are not errors.
    pub async fn next(&mut self) -> Result<BlockEvents, ClientError> {
        loop {
            match self.step().await {
                Ok(Some(block)) => {
                    self.failures = 0;
                    self.next = block.height.plus(1);
                    return Ok(block);
                }
                Ok(None) => {}
                Err(
                    error @ ClientError::Api(ApiError {
                        status: 400..=428, ..
                    }),
                ) => {
                    return Err(error);
                }
                Err(error) => self.pause(&error).await,
            }
        }
    }

    /// The same as a [`Stream`]; it ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<BlockEvents, ClientError>> {
        futures_util::stream::unfold(Some(self), |state| async move {
            let mut stream = state?;
            let item = stream.next().await;
            let rest = item.is_ok().then_some(stream);
            Some((item, rest))
        })
    }

    /// The height of the next block that [`EventStream::next`] will give.
    pub fn position(&self) -> Height {
        self.next
    }

    async fn pause(&mut self, error: &ClientError) {
        let node = self
            .connection
            .take()
            .map_or_else(|| self.client.transport().preferred(), |c| c.node);
        tracing::debug!(%error, next = %self.next, "event stream broke");
        self.client.transport().avoid(node);
        let pause = RECONNECT_PAUSE * (1 << self.failures.min(6));
        self.failures += 1;
        // The first reconnection is at once: another node is usually there.
        if self.failures > 1 {
            tokio::time::sleep(pause.min(MAX_RECONNECT_PAUSE)).await;
        }
    }

    /// Gives a block, or makes progress without one.
    async fn step(&mut self) -> Result<Option<BlockEvents>, ClientError> {
        let Some(connection) = &mut self.connection else {
            self.connection = Some(self.connect().await?);
            return Ok(None);
        };
        while let Some(message) = connection.decoder.next()? {
            if message.event != "block" {
                continue;
            }
            let block: BlockEvents =
                serde_json::from_str(&message.data).map_err(|error| ClientError::Decode {
                    what: "event",
                    reason: error.to_string(),
                })?;
            if block.height < self.next {
                continue;
            }
            if block.height > self.next {
                return Err(ClientError::Decode {
                    what: "event",
                    reason: format!("block {} came instead of {}", block.height, self.next),
                });
            }
            return Ok(Some(block));
        }
        let node = connection.node;
        let chunk = tokio::time::timeout(SILENCE, connection.response.chunk()).await;
        let broke = |reason: &str| ClientError::Decode {
            what: "event stream",
            reason: reason.to_owned(),
        };
        match chunk {
            Err(_) => Err(broke("the node fell silent")),
            Ok(Err(source)) => Err(ClientError::Unreachable {
                node: self.client.nodes()[node].to_string(),
                source,
            }),
            Ok(Ok(None)) => Err(broke("the node closed it")),
            Ok(Ok(Some(bytes))) => {
                connection.decoder.push(&bytes)?;
                Ok(None)
            }
        }
    }

    async fn connect(&self) -> Result<Connection, ClientError> {
        let transport = self.client.transport();
        let node = transport.preferred();
        let url = transport.url(node, &format!("v1/events?from={}", self.next))?;
        let unreachable = |source| ClientError::Unreachable {
            node: self.client.nodes()[node].to_string(),
            source,
        };
        let request = transport
            .http()
            .get(url)
            .header(header::ACCEPT, "text/event-stream")
            .send();
        let response = tokio::time::timeout(SILENCE, request)
            .await
            .map_err(|_| ClientError::Decode {
                what: "event stream",
                reason: "the node did not answer".to_owned(),
            })?
            .map_err(unreachable)?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(Connection {
                node,
                response,
                decoder: Decoder::default(),
            });
        }
        match bounded_body(response, MAX_ERROR_BYTES).await {
            Ok(body) => Err(ClientError::Api(ApiError::parse(
                self.client.nodes()[node].to_string(),
                status.as_u16(),
                &body,
            ))),
            Err(BodyError::Http(source)) => Err(unreachable(source)),
            Err(BodyError::TooLarge) => Err(ClientError::TooLarge {
                limit: MAX_ERROR_BYTES,
            }),
        }
    }
}

/// One message of an event stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    event: String,
    data: String,
}

/// Splits bytes into messages (WHATWG HTML §9.2.6) and never holds more than
/// [`MAX_EVENT_BYTES`]: the published decoders have no bound.
#[derive(Default)]
struct Decoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were searched for a line's end.
    searched: usize,
    message: Message,
}

impl Decoder {
    fn push(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let held = self.buffer.len() + self.message.data.len();
        if held + bytes.len() > MAX_EVENT_BYTES {
            return Err(ClientError::TooLarge {
                limit: MAX_EVENT_BYTES,
            });
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole message, if it has arrived.
    fn next(&mut self) -> Result<Option<Message>, ClientError> {
        let mut consumed = 0;
        let mut complete = None;
        while let Some(offset) = self.buffer[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n')
        {
            let end = self.searched + offset;
            let line = &self.buffer[consumed..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let line = std::str::from_utf8(line).map_err(|_| ClientError::Decode {
                what: "event stream",
                reason: "not UTF-8".to_owned(),
            })?;
            let done = take_line(&mut self.message, line);
            consumed = end + 1;
            self.searched = consumed;
            if done {
                complete = Some(std::mem::take(&mut self.message));
                break;
            }
        }
        self.buffer.drain(..consumed);
        self.searched = if complete.is_some() {
            0
        } else {
            self.buffer.len()
        };
        Ok(complete)
    }
}

/// Takes one line into `message`; whether it ends a message that has data.
fn take_line(message: &mut Message, line: &str) -> bool {
    if line.is_empty() {
        if message.data.is_empty() {
            message.event.clear();
            return false;
        }
        return true;
    }
    let (field, value) = line.split_once(':').unwrap_or((line, ""));
    let value = value.strip_prefix(' ').unwrap_or(value);
    match field {
        "event" => value.clone_into(&mut message.event),
        "data" => {
            if !message.data.is_empty() {
                message.data.push('\n');
            }
            message.data.push_str(value);
        }
        // Comments keep the connection alive; ids repeat the height.
        _ => {}
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn messages(chunks: &[&[u8]]) -> Vec<Message> {
        let mut decoder = Decoder::default();
        let mut messages = Vec::new();
        for chunk in chunks {
            decoder.push(chunk).unwrap();
            while let Some(message) = decoder.next().unwrap() {
                messages.push(message);
            }
        }
        messages
    }

    const TEXT: &[u8] = b": hello\n\nevent: block\nid: 4\ndata: {\"a\":\ndata: 1}\n\n\
        event:block\r\ndata:x\r\n\r\nevent: unfinished\ndata: y\n";

    #[test]
    fn joins_data_lines_and_ignores_comments_and_unfinished_messages() {
        let expected = vec![
            Message {
                event: "block".to_owned(),
                data: "{\"a\":\n1}".to_owned(),
            },
            Message {
                event: "block".to_owned(),
                data: "x".to_owned(),
            },
        ];
        assert_eq!(messages(&[TEXT]), expected);
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_changes_nothing(cuts in prop::collection::vec(0..TEXT.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.extend([0, TEXT.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &TEXT[pair[0]..pair[1]]).collect();
            prop_assert_eq!(messages(&chunks), messages(&[TEXT]));
        }
    }

    #[test]
    fn refuses_an_event_without_end() {
        let mut decoder = Decoder::default();
        let line = vec![b'a'; 1024 * 1024];
        let refused = (0..20).any(|_| decoder.push(&line).is_err());
        assert!(refused);
    }

    #[test]
    fn an_event_of_the_api_decodes() {
        let text = format!(
            r#"{{"height":7,"time_ms":5,"digest":"{d}","events":[
                {{"transaction":null,"event":"pool_paid","each":3}},
                {{"transaction":"{d}","event":"job_completed","contract":"{d}"}}]}}"#,
            d = "11".repeat(32)
        );
        let block: BlockEvents = serde_json::from_str(&text).unwrap();
        assert_eq!(block.height, Height(7));
        assert_eq!(block.events[0].transaction, None);
        assert!(matches!(block.events[1].event, Event::JobCompleted { .. }));
    }
}
