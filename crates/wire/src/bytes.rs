//! How byte strings look in JSON: lower-case hex.

/// A list of byte strings as a list of hex texts.
pub mod list {
    use serde::{Deserialize, Deserializer, Serializer, ser::SerializeSeq};

    /// Writes each byte string as hex.
    pub fn serialize<S: Serializer>(list: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(list.len()))?;
        for bytes in list {
            sequence.serialize_element(&hex::encode(bytes))?;
        }
        sequence.end()
    }

    /// Reads each text as hex.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Vec<u8>>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts
            .iter()
            .map(|text| hex::decode(text).map_err(serde::de::Error::custom))
            .collect()
    }
}
