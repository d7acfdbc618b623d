//! Headers and their certificates.

use std::str::FromStr;

use axum::{Json, extract::State};
use proof::Certificate;
use serde::Serialize;
use utoipa::ToSchema;
use wire::{Digest, Header, Height};

use super::{Api, error::ApiError, request::Path};

/// A block's header, and the circle's signature over it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CertifiedHeader {
    /// The header.
    #[schema(value_type = Object)]
    header: Header,
    /// The certificate; none where the block became final through a child.
    #[schema(value_type = Option<Object>)]
    certificate: Option<Certificate>,
    /// The header's digest: what the certificate signs.
    #[schema(value_type = String)]
    digest: Digest,
}

/// Which header.
pub(crate) enum Which {
    /// The tip's.
    Latest,
    /// The latest with a certificate of its own.
    Certified,
    /// The one at this height.
    At(Height),
}

impl FromStr for Which {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "latest" => Ok(Self::Latest),
            "certified" => Ok(Self::Certified),
            height => height
                .parse()
                .map(|height| Self::At(Height(height)))
                .map_err(|_| "a height, `latest` or `certified` is wanted"),
        }
    }
}

/// The header at a height, the latest one, or the latest certified one.
#[utoipa::path(get, path = "/v1/headers/{height}",
    params(("height" = String, Path, description = "a height, `latest` or `certified`")),
    responses((status = 200, body = CertifiedHeader), (status = 404, body = ApiError)))]
pub(crate) async fn header(
    State(api): State<Api>,
    Path(which): Path<Which>,
) -> Result<Json<CertifiedHeader>, ApiError> {
    api.read(move |snapshot| {
        let height = match which {
            Which::Latest => snapshot.height(),
            Which::Certified => snapshot.certified()?.ok_or_else(ApiError::unproven)?,
            Which::At(height) => height,
        };
        let header = snapshot
            .header_at(height)?
            .ok_or_else(|| ApiError::no_block(snapshot))?;
        Ok(Json(CertifiedHeader {
            header,
            certificate: snapshot.certificate(height)?,
            digest: header.digest(),
        }))
    })
    .await
}
