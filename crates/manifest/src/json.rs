//! What both JSON files have in common.

use crate::Error;
use crate::error::excerpt;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, de};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// Largest file that is parsed at all. A manifest with 100,000 programs takes about 25 MB.
const MAX_BYTES: usize = 128 << 20;

/// Parses `bytes`, whose key `schema` must be `schema` (the caller checks that of what is returned); a file of another
/// version is reported as such and not by the first key that differs.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], schema: &str) -> Result<T, Error> {
    #[derive(Deserialize)]
    struct Probe {
        schema: String,
    }
    if bytes.len() > MAX_BYTES {
        return Err(Error::new(format_args!("{} bytes are too many: at most {MAX_BYTES}", bytes.len())));
    }
    serde_json::from_slice(bytes).map_err(|e| match serde_json::from_slice::<Probe>(bytes) {
        Ok(Probe { schema: found }) if found != schema => {
            Error::new(format_args!("schema {} is not known here: only '{schema}' is", excerpt(&found)))
        }
        _ => Error::new(e),
    })
}

/// Two-space indented JSON in the order of declaration, maps in key order, and a newline at the end.
pub fn write<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(Error::new)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A map in which no key may come twice (serde's own maps keep the last, so that two readers could see two different files).
pub fn unique_map<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord + fmt::Display,
    V: Deserialize<'de>,
{
    struct Unique<K, V>(PhantomData<(K, V)>);
    impl<'de, K, V> Visitor<'de> for Unique<K, V>
    where
        K: Deserialize<'de> + Ord + fmt::Display,
        V: Deserialize<'de>,
    {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = access.next_entry::<K, V>()? {
                if map.contains_key(&key) {
                    return Err(de::Error::custom(format_args!("key {} comes twice", excerpt(&key.to_string()))));
                }
                map.insert(key, value);
            }
            Ok(map)
        }
    }
    deserializer.deserialize_map(Unique(PhantomData))
}

/// Whether `name` is a plain name of a file in the same directory: letters, digits, `.`, `_`, `-`, not beginning with a dot.
pub fn is_file_name(name: &str) -> bool {
    !name.starts_with('.')
        && (1..=crate::NAME_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
