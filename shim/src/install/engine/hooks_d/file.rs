//! A file in a directory of hooks, as engines read it: oci-hooks(5).

use serde_json::{Map, Value};

/// The known keys, each with the known keys below it.
const KEYS: [(&str, &[&str]); 4] =
    [("version", &[]), ("hook", &["path", "args", "env", "timeout"]), ("when", &[]), ("stages", &[])];

/// Its values, with known keys spelt as in oci-hooks(5). To an engine a key that differs in case alone is the same, and a
/// byte order mark an error.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let file: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    let Value::Object(file) = file else { return Err("no JSON object".to_owned()) };
    let names: Vec<_> = KEYS.iter().map(|(name, _)| *name).collect();
    let mut file = spelt(file, &names);
    for (name, below) in KEYS {
        if let Some(Value::Object(inner)) = file.get_mut(name) {
            *inner = spelt(std::mem::take(inner), below);
        }
    }
    Ok(Value::Object(file))
}

/// The object with its known keys spelt as in `names`.
fn spelt(object: Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    let mut known = Map::new();
    for (key, value) in object {
        match names.iter().find(|name| key.eq_ignore_ascii_case(name)) {
            // The right spelling beats others.
            Some(name) if key == *name || !known.contains_key(*name) => {
                known.insert((*name).to_owned(), value);
            }
            Some(_) => {}
            None if names.is_empty() => drop(known.insert(key, value)),
            None => {}
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_compared_as_engines_compare_them() {
        let text = r#"{"Version":"1.0.0","HOOK":{"Path":"/bin/sh","args":["sh"],"x":1},"when":{"always":true},"Stages":["poststop"]}"#;
        let file = parse(text).unwrap();
        assert_eq!((&file["version"], &file["hook"]["path"]), (&"1.0.0".into(), &"/bin/sh".into()));
        assert_eq!((&file["stages"][0], &file["when"]["always"]), (&"poststop".into(), &true.into()));
        for broken in ["", "{", "[]", "\u{feff}{}", "// x\n{}"] {
            assert!(parse(broken).is_err(), "{broken:?}");
        }
    }
}
