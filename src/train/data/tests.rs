//! From files to sequences, as training and `prepare` go through them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::template::ChatTemplate;
use crate::model::tokenizer::{Tokenizer, byte_level};
use crate::train::settings::{Method, OverLong};

fn encoder(method: Method) -> Encoder {
    let tokenizer = Tokenizer::from_json(byte_level::tokenizer_json().as_bytes(), &[]).unwrap();
    Encoder::new(Arc::new(tokenizer), Arc::new(ChatTemplate::chatml()), 300, method).unwrap()
}

fn shape(length: usize) -> Shape {
    Shape { length, isolate: false, over_long: OverLong::Split, max_bad_lines: 100, seed: 7 }
}

fn file(dir: &Path, content: &str) -> PathBuf {
    let path = dir.join("data.jsonl");
    std::fs::write(&path, content).unwrap();
    path
}

fn open(path: &Path) -> Source {
    Source::open(path, &mut |_, _| Ok(())).unwrap()
}

fn units(path: &Path, part: Part, shape: Shape, shuffled: bool, place: Place) -> Units {
    Units::new(open(path), part, encoder(Method::Sft), shape, shuffled, place).unwrap()
}

/// The next units, with what is said between them.
fn take(units: &mut Units, count: usize) -> (Vec<Unit>, Vec<Fed>) {
    let (mut taken, mut said) = (Vec::new(), Vec::new());
    while taken.len() < count {
        match units.take().unwrap() {
            Fed::Unit(unit) => taken.push(unit),
            other => said.push(other),
        }
    }
    (taken, said)
}

fn text_of(unit: &Unit) -> String {
    unit.sequences[0].tokens.iter().map(|token| char::from_u32(*token).unwrap_or('?')).collect()
}

#[test]
fn each_pass_reads_every_row_once_in_another_order() {
    let dir = tempfile::tempdir().unwrap();
    let rows: String = (0..20).fold(String::new(), |mut rows, i| {
        writeln!(rows, "{{\"text\": \"row{i:02}\"}}").unwrap();
        rows
    });
    let path = file(dir.path(), &rows);
    // A row is five tokens: it and its end.
    let mut all = units(&path, Part::All, shape(6), true, Place::default());
    let mut passes = Vec::new();
    for epoch in 1..4 {
        let mut text = String::new();
        loop {
            match all.take().unwrap() {
                Fed::Unit(unit) => text.push_str(&text_of(&unit)),
                Fed::Epoch(place) => {
                    assert_eq!((place.epoch, place.row, place.counts.examples), (epoch, 0, 20 * epoch));
                    break;
                }
                Fed::Bad { .. } => panic!(),
            }
        }
        for i in 0..20 {
            assert_eq!(text.matches(&format!("row{i:02}")).count(), 1, "{text}");
        }
        passes.push(text);
    }
    assert!(passes[0] != passes[1] && passes[1] != passes[2]);
    let again = take(&mut units(&path, Part::All, shape(6), true, Place::default()), 5).0;
    assert!(passes[0].starts_with(&again.iter().map(text_of).collect::<String>()));
}

#[test]
fn what_is_held_out_is_never_trained() {
    let dir = tempfile::tempdir().unwrap();
    let rows: String = (0..50).fold(String::new(), |mut rows, i| {
        writeln!(rows, "{{\"text\": \"row{i:02}\"}}").unwrap();
        rows
    });
    let path = file(dir.path(), &rows);
    let held = Part::held(50, 0.1);
    assert_eq!((held, Part::held(3, 0.01), Part::held(3, 0.0)), (5, 1, 0));
    let rows_of = |part, shuffled| {
        let mut rows = Vec::new();
        let mut units = units(&path, part, shape(6), shuffled, Place::default());
        while let Fed::Unit(unit) = units.take().unwrap() {
            rows.extend(unit.rows);
        }
        rows.sort_unstable();
        rows.dedup();
        rows
    };
    let (trained, held) = (rows_of(Part::Trained { held }, true), rows_of(Part::Held { held }, false));
    assert_eq!((trained.len(), held.len()), (45, 5));
    let mut all = [trained, held].concat();
    all.sort_unstable();
    assert_eq!(all, (0..50).collect::<Vec<_>>());
}

#[test]
fn bad_lines_are_said_once_and_only_so_many_are_borne() {
    let dir = tempfile::tempdir().unwrap();
    let content = "{\"text\": \"good\"}\nnot json\n\n{\"text\": 5}\n{\"text\": \"fine\"}\n";
    let path = file(dir.path(), content);
    let mut all = units(&path, Part::All, shape(4), false, Place::default());
    let (_, said) = take(&mut all, 6);
    let bad: Vec<u64> =
        said.iter().filter_map(|fed| if let Fed::Bad { line, .. } = fed { Some(*line) } else { None }).collect();
    assert_eq!(bad, [2, 4]);
    assert!(all.take().is_ok());
    let strict = Shape { max_bad_lines: 1, ..shape(4) };
    let mut all = units(&path, Part::All, strict, false, Place::default());
    let error = (0..9).find_map(|_| all.take().err()).unwrap().to_string();
    assert!(error.contains("data.jsonl:4") && error.contains("--max-bad-lines"), "{error}");
}

#[test]
fn data_without_a_single_example_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let said = |content: &str| {
        let path = file(dir.path(), content);
        let error = Source::open(&path, &mut |_, _| Ok(())).and_then(|mut source| {
            source.method()?;
            let mut units = Units::new(source, Part::All, encoder(Method::Sft), shape(8), true, Place::default())?;
            (0..9).try_for_each(|_| units.take().map(|_| ()))
        });
        format!("{:#}", error.unwrap_err())
    };
    assert!(said("").contains("is empty"));
    assert!(said("\n\n  \n").contains("is empty"));
    assert!(said("hello\n").contains("line 1") && said("hello\n").contains("not valid JSON"));
    assert!(said("{\"text\": \"x\"}\n").contains("no example that can be used (1 bad lines)"));
    assert!(Source::open(&dir.path().join("none"), &mut |_, _| Ok(())).is_err());
}

#[test]
fn the_method_is_told_by_the_first_row_that_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let method = |content: &str| open(&file(dir.path(), content)).method().unwrap();
    assert_eq!(method("\nbroken\n{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}"), Method::Orpo);
    assert_eq!(method("{\"text\": \"a\"}"), Method::Sft);
}

#[test]
fn a_feed_gives_what_the_units_give_and_can_be_left_at_any_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "{\"text\": \"some text\"}\n{\"text\": \"and more\"}\n");
    let make = || units(&path, Part::All, shape(5), true, Place::default());
    let mut feed = Feed::start(make()).unwrap();
    let mut units = make();
    for _ in 0..100 {
        assert_eq!(feed.take().unwrap(), units.take().unwrap());
    }
    drop(feed);
    let broken = file(dir.path(), "{}\n");
    let mut feed = Feed::start(
        Units::new(
            open(&broken),
            Part::All,
            encoder(Method::Sft),
            Shape { max_bad_lines: 0, ..shape(5) },
            true,
            Place::default(),
        )
        .unwrap(),
    )
    .unwrap();
    assert!(feed.take().unwrap_err().to_string().contains("--max-bad-lines"));
    assert!(feed.take().is_err());
}

#[test]
fn a_pass_whose_first_row_gave_all_there_was_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    // One token too long for a sequence, so that its end alone bears no loss; in either order of the rows.
    for content in ["broken\n{\"text\": \"at least one\"}\n", "{\"text\": \"at least one\"}\nbroken\n"] {
        let path = file(dir.path(), content);
        let from = |place| units(&path, Part::All, shape(11), false, place);
        let (whole, _) = take(&mut from(Place::default()), 4);
        for at in 0..3 {
            assert_eq!(take(&mut from(whole[at].after), 3 - at).0, whole[at + 1..], "from {:?}", whole[at].after);
        }
    }
}

fn rows() -> impl Strategy<Value = Vec<String>> {
    let row = prop_oneof![
        4 => "[a-z ]{1,30}".prop_map(|text| serde_json::json!({"text": text}).to_string()),
        2 => ("[a-z]{1,8}", "[a-z]{0,20}").prop_map(|(q, a)| serde_json::json!({"instruction": q, "output": a}).to_string()),
        1 => Just("broken".to_owned()),
        1 => Just(String::new()),
    ];
    prop::collection::vec(row, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn from_every_place_the_rest_is_the_same(
        mut rows in rows(), length in 3usize..40, isolate in any::<bool>(), cut in any::<bool>(), seed in 0u64..1000,
    ) {
        rows.push("{\"text\": \"at least one\"}".into());
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), &rows.join("\n"));
        let over_long = if cut { OverLong::Cut } else { OverLong::Split };
        let shape = Shape { length, isolate, over_long, max_bad_lines: 99, seed };
        let from = |place| units(&path, Part::All, shape, true, place);
        let (whole, said) = take(&mut from(Place::default()), 12);
        for at in 0..10 {
            let (rest, _) = take(&mut from(whole[at].after), whole.len() - at - 1);
            prop_assert_eq!(&rest[..], &whole[at + 1..], "from {:?}", whole[at].after);
        }
        // Beginnings of passes are told just as often.
        let middle = whole[5].after;
        let count = |said: &[Fed]| said.iter().filter(|fed| matches!(fed, Fed::Epoch(_))).count();
        let first = take(&mut from(Place::default()), 6).1;
        let second = take(&mut from(middle), 6).1;
        prop_assert_eq!(count(&first) + count(&second), count(&said));
    }

    #[test]
    fn prepared_data_is_the_same_sequences(mut rows in rows(), length in 3usize..40, isolate in any::<bool>()) {
        rows.push("{\"text\": \"at least one\"}".into());
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), &rows.join("\n"));
        let shape = Shape { isolate, ..shape(length) };
        let out = dir.path().join("new/data.safetensors");
        let options = PrepareOptions { out: out.clone(), shape, drop_duplicates: false };
        let mut lines = Lines::open(&path, &mut |_, _| Ok(())).unwrap();
        let report = prepare(&mut lines, &encoder(Method::Sft), &options, &mut |_, _| {}, &mut |_, _| Ok(())).unwrap();
        let mut plain = units(&path, Part::All, shape, false, Place::default());
        let mut prepared = units(&out, Part::All, shape, false, Place::default());
        prop_assert_eq!(prepared.rows(), report.sequences);
        let all = report.sequences as usize;
        let sequences = |units: Vec<Unit>| units.into_iter().map(|unit| unit.sequences).collect::<Vec<_>>();
        prop_assert_eq!(sequences(take(&mut prepared, all).0), sequences(take(&mut plain, all).0));
        let count = plain.take();
        prop_assert!(matches!(count, Ok(Fed::Epoch(place)) if place.counts.examples == report.examples));
    }
}

#[test]
fn preparing_counts_what_it_finds() {
    let dir = tempfile::tempdir().unwrap();
    let rows = ["{\"text\": \"abcd\"}", "{\"text\": \"abcd\"}", "nonsense", "", "{\"text\": \"0123456789abcdef\"}"];
    let path = file(dir.path(), &rows.join("\n"));
    let out = dir.path().join("data.safetensors");
    let run = |over_long, drop_duplicates, method, path: &Path| {
        let shape = Shape { over_long, ..shape(8) };
        let options = PrepareOptions { out: out.clone(), shape, drop_duplicates };
        let mut lines = Lines::open(path, &mut |_, _| Ok(())).unwrap();
        let mut bad = Vec::new();
        let report =
            prepare(&mut lines, &encoder(method), &options, &mut |line, _| bad.push(line), &mut |_, _| Ok(())).unwrap();
        (report, bad)
    };
    let (report, bad) = run(OverLong::Cut, false, Method::Sft, &path);
    assert_eq!(bad, [3]);
    let want = Report {
        lines: 5,
        examples: 3,
        bad: 1,
        duplicates: 1,
        over_long: 1,
        cut_tokens: 8,
        tokens: 24,
        // Two seams, a padded end, and the first of each sequence bear none.
        labels: 13,
        sequences: 3,
        unlabelled: 0,
        padding: 6,
        lengths: [4, 4, 4, 16, 16, 16],
    };
    assert_eq!(report, want);
    let (report, _) = run(OverLong::Split, true, Method::Sft, &path);
    assert_eq!((report.examples, report.duplicates, report.cut_tokens, report.sequences), (2, 1, 0, 3));

    let pairs = "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}\n".repeat(2);
    let pairs = file(dir.path(), &pairs);
    let (mut report, _) = {
        let options = PrepareOptions { out: out.clone(), shape: shape(64), drop_duplicates: true };
        let mut lines = Lines::open(&pairs, &mut |_, _| Ok(())).unwrap();
        (prepare(&mut lines, &encoder(Method::Orpo), &options, &mut |_, _| {}, &mut |_, _| Ok(())).unwrap(), ())
    };
    report.lengths = [0; 6];
    assert_eq!((report.examples, report.sequences, report.duplicates), (1, 2, 1));
    let mut units =
        Units::new(open(&out), Part::All, encoder(Method::Orpo), shape(64), true, Place::default()).unwrap();
    assert_eq!(take(&mut units, 1).0[0].sequences.len(), 2);
    let said = |method, length| {
        Units::new(open(&out), Part::All, encoder(method), shape(length), true, Place::default())
            .err()
            .unwrap()
            .to_string()
    };
    assert!(said(Method::Sft, 64).contains("prepared for orpo"));
    assert!(said(Method::Orpo, 32).contains("--max-seq-len 64, not 32"));
}

#[test]
fn damaged_prepared_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "{\"text\": \"some text that is long\"}\n");
    let out = dir.path().join("data.safetensors");
    let options = PrepareOptions { out: out.clone(), shape: shape(8), drop_duplicates: false };
    let mut lines = Lines::open(&path, &mut |_, _| Ok(())).unwrap();
    prepare(&mut lines, &encoder(Method::Sft), &options, &mut |_, _| {}, &mut |_, _| Ok(())).unwrap();
    let whole = std::fs::read(&out).unwrap();
    std::fs::write(&out, &whole[..whole.len() - 1]).unwrap();
    assert!(Source::open(&out, &mut |_, _| Ok(())).is_err());
    // A token that the model does not have.
    let mut other = whole.clone();
    let at = whole.windows(8).position(|w| w == [b's', 0, 0, 0, b'o', 0, 0, 0]).unwrap();
    other[at + 1] = 7;
    std::fs::write(&out, &other).unwrap();
    let mut all = units(&out, Part::All, shape(8), false, Place::default());
    let said = all.take().unwrap_err().to_string();
    assert!(said.contains("outside the model's vocabulary of 300"), "{said}");
    // Weights are no data.
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny/model.safetensors");
    let said = format!("{:#}", Source::open(&weights, &mut |_, _| Ok(())).err().unwrap());
    assert!(said.contains("not from `bit-axon prepare`"), "{said}");
}
