//! EDNS options: which of a client's matter, and what goes back.
//!
//! Cookies (RFC 7873) over every transport, the idle time of a connection
//! (RFC 7828) over streams, padding (RFC 7830) where it hides something.
//! Unknown options are passed over (RFC 6891 §6.1.2).

use domain::base::{
    iana::{OptRcode, OptionCode},
    message_builder::OptBuilder,
    opt::{
        Opt, UnknownOptData,
        cookie::Cookie,
        keepalive::{IdleTimeout, TcpKeepalive},
    },
    wire::Composer,
};
use domain::dep::octseq::{Octets, Parser};

use super::Arrival;

/// Octets of an option's code and length.
pub(in crate::names) const OPTION_HEADER: usize = 4;

/// A padded response has a multiple of this many octets (RFC 8467 §4.1).
pub(in crate::names) const PADDING_BLOCK: usize = 468;

/// The lengths of a cookie: the client's alone, or with the server's of 8 to
/// 32 octets (RFC 7873 §4).
const COOKIE_LENGTHS: [std::ops::RangeInclusive<usize>; 2] = [8..=8, 16..=40];

/// What a client's options ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Its cookie.
    pub cookie: Option<Cookie>,
    /// Whether it would like to know how long a connection may idle.
    pub keepalive: bool,
    /// Whether it padded its query.
    pub padded: bool,
}

impl Asked {
    /// Reads the options of a query.
    ///
    /// Errors: FORMERR for options that do not fill their record, and for a
    ///         cookie of a length that none has (RFC 7873 §5.2.2).
    pub fn read(opt: &Opt<impl Octets + ?Sized>) -> Result<Self, OptRcode> {
        let mut asked = Self::default();
        for option in opt.iter::<UnknownOptData<_>>() {
            let option = option.map_err(|_| OptRcode::FORMERR)?;
            match option.code() {
                // RFC 7873 §5.2: only the first one counts.
                OptionCode::COOKIE if asked.cookie.is_none() => {
                    asked.cookie = Some(read_cookie(option.as_slice())?);
                }
                OptionCode::TCP_KEEPALIVE => asked.keepalive = true,
                OptionCode::PADDING => asked.padded = true,
                _ => {}
            }
        }
        Ok(asked)
    }
}

fn read_cookie(octets: &[u8]) -> Result<Cookie, OptRcode> {
    if !COOKIE_LENGTHS
        .iter()
        .any(|lengths| lengths.contains(&octets.len()))
    {
        return Err(OptRcode::FORMERR);
    }
    Cookie::parse(&mut Parser::from_ref(octets)).map_err(|_| OptRcode::FORMERR)
}

/// What goes back beside an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    cookie: Option<Cookie>,
    keepalive: Option<IdleTimeout>,
    pad: bool,
    /// Whether the client sent a cookie that is not good.
    pub bad_cookie: bool,
    /// Whether the client's cookie proves its address.
    pub good_cookie: bool,
}

impl Options {
    /// The options for the answer to a query that asked for `asked`.
    pub fn answering(asked: &Asked, arrival: &Arrival<'_>) -> Self {
        let judged = match (&asked.cookie, arrival.cookies) {
            (Some(cookie), Some(keys)) => Some(keys.judge(cookie, arrival.client, arrival.now_s)),
            _ => None,
        };
        Self {
            bad_cookie: judged.as_ref().is_some_and(|judged| !judged.valid),
            good_cookie: judged.as_ref().is_some_and(|judged| judged.valid),
            cookie: judged.map(|judged| judged.reply),
            // RFC 7828 §3.3.1: never over UDP.
            keepalive: arrival
                .idle_timeout
                .filter(|_| asked.keepalive)
                .map(IdleTimeout::from),
            // RFC 7830 §6: padding is for encrypted transports.
            pad: asked.padded && arrival.transport.is_encrypted(),
        }
    }

    /// Octets that the options take, padding aside.
    pub fn octets(&self) -> usize {
        use domain::base::opt::ComposeOptData as _;
        let cookie = self.cookie.as_ref().map_or(0, |cookie| {
            OPTION_HEADER + usize::from(cookie.compose_len())
        });
        let keepalive = self.keepalive.map_or(0, |_| OPTION_HEADER + 2);
        let padding = if self.pad { OPTION_HEADER } else { 0 };
        cookie + keepalive + padding
    }

    /// Writes the options. Padding comes last, for it depends on the others.
    ///
    /// Units: `before` is the length in octets of the message so far, the OPT
    ///        record and what other options it holds included; `limit` is the
    ///        most that the message may have.
    pub fn write<Target: Composer>(
        &self,
        opt: &mut OptBuilder<'_, Target>,
        before: usize,
        limit: usize,
    ) -> Result<(), Target::AppendError> {
        if let Some(cookie) = &self.cookie {
            opt.push(cookie)?;
        }
        if let Some(idle) = self.keepalive {
            opt.push(&TcpKeepalive::new(Some(idle)))?;
        }
        if self.pad {
            let length = before + self.octets();
            let padded = length.next_multiple_of(PADDING_BLOCK).min(limit);
            let padding = u16::try_from(padded.saturating_sub(length)).unwrap_or(0);
            opt.padding(padding)?;
        }
        Ok(())
    }
}
