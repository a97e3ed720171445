//! Documents as people and programs write them, before and after.

use serde_json::json;

use super::*;

fn document(text: &str) -> Document {
    Document::parse(text.to_owned()).unwrap()
}

#[track_caller]
fn set(text: &str, path: &[&str], value: &Value, want: &str) {
    let mut document = document(text);
    document.set(path, value).unwrap();
    assert_eq!(document.as_str(), want);
    assert_sound(&document);
}

/// The offsets that are kept beside the text are still right, and the text is JSON.
#[track_caller]
fn assert_sound(document: &Document) {
    assert_eq!(Document::parse(document.as_str().to_owned()).as_ref(), Ok(document));
}

/// Documents in every style, to be changed at keys that they do not have.
const STYLES: [&str; 22] = [
    r#"{}"#,
    "{ }\n",
    "{}\n\n",
    "  {\"a\":{}}  ",
    r#"{"a":1}"#,
    r#"{"a": 1}"#,
    r#"{ "a" : 1 }"#,
    r#"{"a":1,"b":[1,2]}"#,
    r#"{"a": 1, "b": [1, 2]}"#,
    "{\n  \"a\": 1\n}\n",
    "{\n    \"a\": 1,\n    \"hooks\": {},\n    \"b\": { }\n}",
    "{\n\t\"a\": {\n\t\t\"b\": []\n\t}\n}\n",
    "{\r\n  \"a\": 1,\r\n  \"b\": [\r\n    1\r\n  ]\r\n}\r\n",
    "{\n\"a\":1\n}",
    "\u{feff}{\n  \"a\": 1\n}\n",
    "{\n  \"a\": 1,\n\n\n  \"b\": 2   \n\n}",
    "{\"a\":1\n,\"b\":2\n}",
    "{\"hooks\":{\"prestart\":[{\"path\":\"/x\"}]}}",
    "{\n  \"a\": 1e400, \"b\": 12345678901234567890123,\n  \"c\": 1.10, \"d\": -0.0, \"e\": \"\\ud800 \\/\"\n}",
    "{\"deep\": {\"list\": [[], {}], \"more\": {\"x\": null}}}",
    "{\n  \"größe\": \"日本語\"\n}",
    "{ \"a\": \"}],{[\\\"\" }",
];

const VALUES: [&str; 5] =
    ["1", "{}", "[]", r#"{"path":"/bin/sh","args":["sh","-c","x"],"env":{"a":null}}"#, r#"[[{"a":"\n"}]]"#];

#[test]
fn setting_and_removing_a_key_gives_the_bytes_of_before() {
    for style in STYLES {
        for value in VALUES {
            let value: Value = serde_json::from_str(value).unwrap();
            for path in
                [&["new"][..], &["new", "er"], &["new", "er", "est"], &["hooks", "x"], &["deep", "more", "y"]]
            {
                let mut document = document(style);
                let made = (1..=path.len()).find(|depth| document.get(&path[..*depth]) == Ok(None)).unwrap();
                document.set(path, &value).unwrap();
                assert_sound(&document);
                assert_eq!(
                    serde_json::from_str(document.get(path).unwrap().unwrap()).ok(),
                    Some(value.clone())
                );
                assert_eq!(document.remove(&path[..made]), Ok(true));
                assert_eq!(document.as_str(), style, "{path:?}");
                assert_sound(&document);
            }
        }
    }
}

#[test]
fn pushing_and_taking_away_an_element_gives_the_bytes_of_before() {
    for list in
        ["[]", "[ ]", "[1]", "[ 1, 2 ]", "[1,2]", "[\n    1,\n    2\n  ]", "[{\"a\": [\n] }]", "[1e400]"]
    {
        for text in [format!("{{\n  \"a\": 1,\n  \"list\": {list}\n}}\n"), format!("{{\"list\":{list}}}")] {
            for value in VALUES {
                let value = json!({ "ours": serde_json::from_str::<Value>(value).unwrap() });
                let mut document = document(&text);
                for _ in 0..3 {
                    document.push(&["list"], &value).unwrap();
                    assert_sound(&document);
                }
                assert_eq!(document.retain(&["list"], |element| *element != value), Ok(3));
                assert_eq!(document.as_str(), text);
                assert_sound(&document);
            }
        }
    }
}

#[test]
fn what_is_put_in_is_laid_out_as_its_siblings_are() {
    let value = json!({ "x": [1, {}], "y": "z" });
    for (before, after) in [
        (r#"{"a":1}"#, r#"{"a":1,"k":{"x":[1,{}],"y":"z"}}"#),
        (r#"{"a": 1}"#, r#"{"a": 1, "k": {"x": [1, {}], "y": "z"}}"#),
        (r#"{ "a" : 1 }"#, r#"{ "a" : 1, "k" : {"x" : [1, {}], "y" : "z"} }"#),
        ("{ }", r#"{ "k": {"x": [1, {}], "y": "z"} }"#),
        ("{}\n", "{\n  \"k\": {\n    \"x\": [\n      1,\n      {}\n    ],\n    \"y\": \"z\"\n  }\n}\n"),
        (
            "{\n\t\"a\": 1\n}",
            "{\n\t\"a\": 1,\n\t\"k\": {\n\t\t\"x\": [\n\t\t\t1,\n\t\t\t{}\n\t\t],\n\t\t\"y\": \"z\"\n\t}\n}",
        ),
        (
            "{\r\n  \"a\":1\r\n}",
            "{\r\n  \"a\":1,\r\n  \"k\":{\r\n    \"x\":[\r\n      1,\r\n      {}\r\n    ],\r\n    \"y\":\"z\"\r\n  }\r\n}",
        ),
    ] {
        set(before, &["k"], &value, after);
    }
    set("{\n  \"a\": {}\n}", &["a", "b"], &json!(1), "{\n  \"a\": {\n    \"b\": 1\n  }\n}");
    set("{\n  \"a\": {\"x\": 0}\n}", &["a", "b"], &json!([1, 2]), "{\n  \"a\": {\"x\": 0, \"b\": [1, 2]}\n}");
    set("{\n    \"a\": []\n}", &["a"], &json!([1]), "{\n    \"a\": [\n        1\n    ]\n}");
}

#[test]
fn a_value_that_is_there_is_replaced_where_it_is() {
    set(r#"{"a":1,"b" : {"x":2} ,"c":3}"#, &["b"], &json!("new"), r#"{"a":1,"b" : "new" ,"c":3}"#);
    set(r#"{"a":1,"b" : {"x":2} ,"c":3}"#, &["b", "x"], &json!([]), r#"{"a":1,"b" : {"x":[]} ,"c":3}"#);
}

#[test]
fn null_counts_as_missing() {
    set(r#"{"a":null,"b":1}"#, &["a", "x", "y"], &json!(1), r#"{"a":{"x":{"y":1}},"b":1}"#);
    let mut document = document(r#"{"a":null,"b":{"c":null}}"#);
    assert_eq!(document.get(&["a"]), Ok(Some("null")));
    assert_eq!(document.get(&["a", "x"]), Ok(None));
    assert_eq!(document.remove(&["a", "x"]), Ok(false));
    assert_eq!(document.retain(&["b", "c"], |_| false), Ok(0));
    document.push(&["b", "c"], &json!(1)).unwrap();
    document.push(&["b", "d"], &json!(2)).unwrap();
    assert_eq!(document.into_string(), r#"{"a":null,"b":{"c":[1],"d":[2]}}"#);
}

#[test]
fn keys_are_compared_as_what_they_mean() {
    let mut document = document(r#"{"hoo\u006bs":{"p\/q":1},"\ud800":2}"#);
    assert_eq!(document.get(&["hooks", "p/q"]), Ok(Some("1")));
    assert_eq!(document.get(&["hoo\\u006bs"]), Ok(None));
    assert_eq!(document.remove(&["hooks"]), Ok(true));
    assert_eq!(document.as_str(), r#"{"\ud800":2}"#);
}

#[test]
fn elements_go_with_one_comma_each() {
    for (wanted, want) in [
        (&[0, 1, 2, 3][..], "{\"l\": [ 0,\n 1 , 2, 3 ]}"),
        (&[1, 2, 3], "{\"l\": [ 1 , 2, 3 ]}"),
        (&[2], "{\"l\": [ 2 ]}"),
        (&[0, 3], "{\"l\": [ 0, 3 ]}"),
        (&[0, 2], "{\"l\": [ 0 , 2 ]}"),
        (&[], "{\"l\": [ ]}"),
    ] {
        let mut document = document("{\"l\": [ 0,\n 1 , 2, 3 ]}");
        let removed = document.retain(&["l"], |element| wanted.contains(&element.as_i64().unwrap())).unwrap();
        assert_eq!((document.as_str(), removed), (want, 4 - wanted.len()));
        assert_sound(&document);
    }
}

#[test]
fn what_no_value_can_hold_is_kept_unasked() {
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    let text = format!("{{\"l\":[1e400,1,{deep}]}}");
    let mut document = document(&text);
    assert_eq!(document.retain(&["l"], |_| false), Ok(1));
    assert_eq!(document.as_str(), format!("{{\"l\":[1e400,{deep}]}}"));
}

#[test]
fn a_key_that_is_there_twice_is_an_error_only_on_the_path() {
    let mut document = document(r#"{"a":{"x":1,"\u0078":2,"y":3},"b":1,"b":2}"#);
    let twice = |key: &str| Err(Error::DuplicateKey(key.to_owned()));
    assert_eq!(document.get(&["b"]), twice("b"));
    assert_eq!(document.set(&["a", "x"], &json!(1)), twice("a.x").map(drop_str));
    assert_eq!(document.remove(&["a", "x"]), twice("a.x").map(|_| false));
    assert_eq!(document.get(&["a", "y"]), Ok(Some("3")));
}

fn drop_str(_: Option<&str>) {}

#[test]
fn only_an_object_is_a_document_and_only_objects_lead_on() {
    let wrong =
        |subject: &str, found, wanted| Error::WrongType { subject: subject.to_owned(), found, wanted };
    for (text, found) in
        [("[1]", "an array"), ("null", "null"), ("\u{feff} 1", "a number"), ("\"x\"", "a string")]
    {
        assert_eq!(Document::parse(text.to_owned()), Err(wrong("the document", found, "an object")));
    }
    let mut document = document(r#"{"a":[1],"b":{"c":true},"d":"x"}"#);
    let before = document.clone();
    assert_eq!(document.get(&["a", "x"]), Err(wrong("a", "an array", "an object")));
    assert_eq!(document.set(&["b", "c", "d"], &json!(1)), Err(wrong("b.c", "true or false", "an object")));
    assert_eq!(document.remove(&["d", "x"]), Err(wrong("d", "a string", "an object")));
    assert_eq!(document.push(&["b"], &json!(1)), Err(wrong("b", "an object", "an array")));
    assert_eq!(document.retain(&["b"], |_| true), Err(wrong("b", "an object", "an array")));
    assert_eq!(document.set(&[], &json!(1)), Err(Error::NoKey));
    assert_eq!(document.push(&[], &json!(1)), Err(Error::NoKey));
    assert_eq!(document.remove(&[]), Err(Error::NoKey));
    assert_eq!(document, before);
    assert_eq!(document.get(&[]), Ok(Some(before.as_str())));
}

#[test]
fn what_is_no_json_is_refused() {
    for text in [
        "",
        " ",
        "{",
        "{}}",
        "{} x",
        "{a:1}",
        "{'a':1}",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{\"a\":01}",
        "{\"a\":\"\n\"}",
        "// c\n{}",
        "{ /* c */ }",
        "{\"a\":1 // c\n}",
        "{\"a\":nul}",
        "{\"a\":+1}",
        "{1:2}",
        "{\"a\":[1,]}",
        "{\"a\":\"\\x\"}",
        "\0{}",
        "{}\0",
    ] {
        assert!(matches!(Document::parse(text.to_owned()), Err(Error::NotJson(_))), "{text:?}");
    }
}

#[test]
fn depth_of_a_document_is_no_depth_of_the_stack() {
    let deep = format!("{}1{}", "{\"a\":[".repeat(200_000), "]}".repeat(200_000));
    let mut document = document(&deep);
    document.set(&["b"], &json!(1)).unwrap();
    assert_eq!(document.remove(&["b"]), Ok(true));
    assert_eq!(document.as_str(), deep);
    let unfinished = "[".repeat(1 << 20);
    assert!(matches!(Document::parse(format!("{{\"a\":{unfinished}")), Err(Error::NotJson(_))));
}

#[test]
fn long_paths_are_made_and_taken_away() {
    let keys: Vec<_> = (0..300).map(|n| format!("k{n}")).collect();
    let path: Vec<_> = keys.iter().map(String::as_str).collect();
    let mut document = document("{\"a\": 1}");
    document.set(&path, &json!(1)).unwrap();
    assert_eq!(document.get(&path), Ok(Some("1")));
    assert_eq!(document.remove(&["k0"]), Ok(true));
    assert_eq!(document.as_str(), "{\"a\": 1}");
}
