//! The cases of public reports, from their files as they are: each gives the right value, or a message that names file,
//! value and remedy. They lie in the folder of shared data, and are passed over where it is absent.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{segcal, shared, stderr, stdout, text};
use serde_json::Value;
use tempfile::TempDir;

/// One case with a folder for what comes out.
struct Case {
    folder: PathBuf,
    out: TempDir,
}

/// What a run of the program gave.
struct Ran {
    status: Option<i32>,
    messages: String,
    printed: String,
    summary: Value,
}

impl Case {
    fn open(name: &str) -> Option<Self> {
        let folder = shared()?.join("cases").join(name);
        folder.is_dir().then(|| Self { folder, out: tempfile::tempdir().unwrap() })
    }

    fn out(&self, name: &str) -> PathBuf {
        self.out.path().join(name)
    }

    /// Runs the program; words that begin with `@` are files of the case, with `>` files that come out.
    fn run(&self, line: &str) -> Ran {
        let path = |word: &str| match (word.split_once('@'), word.split_once('>')) {
            (Some((key, name)), _) => format!("{key}{}", text(&self.folder.join(name))),
            (_, Some((key, name))) => format!("{key}{}", text(&self.out(name))),
            _ => word.to_owned(),
        };
        let words: Vec<String> = line.split_whitespace().map(path).collect();
        let output = segcal(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let summary = fs::read_to_string(self.out("e/summary.json"));
        let summary = summary.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
        Ran { status: output.status.code(), messages: stderr(&output), printed: stdout(&output), summary }
    }

    fn evaluate(&self, line: &str) -> Ran {
        _ = fs::remove_dir_all(self.out("e"));
        self.run(&format!("evaluate {line} --out >e"))
    }
}

impl Ran {
    fn figure(&self, of: &str, name: &str, key: &str) -> f64 {
        self.summary["mean"][of][name][key].as_f64().unwrap_or(f64::NAN)
    }

    fn of(&self, structure: &str, key: &str) -> f64 {
        self.figure("structures", structure, key)
    }

    #[track_caller]
    fn expect(&self, status: i32, words: &[&str]) {
        let all = format!("{}{}", self.messages, self.printed);
        assert_eq!(self.status, Some(status), "{all}");
        words.iter().for_each(|word| assert!(all.contains(word), "\"{word}\" is not in {all}"));
    }
}

/// A case, or the end of the test where the folder of shared data is absent.
macro_rules! case {
    ($name:literal) => {
        match Case::open($name) {
            Some(case) => case,
            None => return,
        }
    };
}

fn close(value: f64, expected: f64) {
    assert!((value - expected).abs() <= 5e-5, "{value} where {expected} is expected");
}

#[test]
fn axis_order() {
    let case = case!("axis-order-silently-wrong");
    for (name, order) in [("cube", "[class, x, y, z]"), ("square", "[class, x, y]")] {
        let axes = if name == "cube" { "cube_xyz" } else { "square_xy" };
        let given = format!("--probabilities @{axes}.npz --labels @{name}.nii.gz");
        let ran = case.evaluate(&given);
        ran.expect(0, &[order, "--axes"]);
        assert_eq!((ran.of("1", "dsc"), ran.of("1", "hd95_max")), (1.0, 0.0), "{name}");
        // The wrong order is measured where it is said.
        let ran = case.evaluate(&format!("{given} --axes kzyx"));
        assert_eq!(ran.status, Some(0));
        close(ran.of("1", "dsc"), if name == "cube" { 0.8801 } else { 0.4699 });
    }
}

#[test]
fn bad_predictions() {
    let case = case!("bad-predictions-refused");
    let ran = case.evaluate("--probabilities @p --labels @y");
    ran.expect(0, &[]);
    assert_eq!((ran.of("1", "dsc"), ran.of("2", "dsc")), (0.6, 0.75));
    assert_eq!(ran.summary["cases"].as_array().unwrap().len(), 5);
    assert_eq!(ran.summary["failed"], Value::Array(Vec::new()));
}

#[test]
fn channels() {
    let case = case!("channels-panic");
    case.run("-q train @c.toml data=@ok out=>run").expect(0, &[]);
    case.run("predict >run @images --out >pred").expect(1, &["b: the image has 2 channels, but the network takes 1"]);
    let done = |name: &str| case.out("pred/segmentations").join(name).is_file();
    assert_eq!(["a.nii.gz", "b.nii.gz", "c.nii.gz"].map(done), [true, false, true]);
    let words = ["c3: the image has 2 channels, but the network takes 1"];
    case.run("-q train @c.toml data=@val2ch out=>run2").expect(2, &words);
    let words = ["labelsTr/c3.nii.gz: holds 2 volumes where a label map has one"];
    case.run("-q train @c.toml data=@label4d out=>run3").expect(2, &words);
}

#[test]
fn tissue_maps_of_8_bits() {
    let case = case!("eight-bit-tissue-maps");
    let words = ["p/s_0.nii.gz", "up to 255", "--background implied"];
    case.evaluate("--probabilities @p --labels @y").expect(2, &words);
    let words = ["p/s_0.nii.gz: these are scaled probabilities, not logits", "255", "--background implied"];
    case.evaluate("--logits @p --labels @y").expect(2, &words);
    let ran = case.evaluate("--probabilities @p --labels @y --background implied");
    ran.expect(0, &["taken as a probability of 1"]);
    assert!(ran.summary["warnings"].to_string().contains("taken as a probability of 1"));
    assert_eq!(ran.summary["cases"][0]["regions"]["structure:1"]["ece"].as_f64().map(f64::is_finite), Some(true));
}

#[test]
fn rare_foreground() {
    let case = case!("guard-blind-to-rare-foreground");
    for name in ["sigmoid", "zero"] {
        let file = format!("{name}/c.nii.gz");
        case.evaluate(&format!("--probabilities @{name} --labels @y")).expect(2, &[&file, "64 of the 64 voxels"]);
    }
}

#[test]
fn ignored_label() {
    let case = case!("ignore-label-counted");
    for given in ["--segmentations @pred", "--probabilities @prob"] {
        let ran = case.evaluate(&format!("{given} --labels @ds/labelsTs"));
        ran.expect(0, &[]);
        assert_eq!((ran.of("1", "dsc"), ran.of("1", "hd95_max")), (1.0, 0.0));
        assert!(ran.summary["mean"]["structures"]["2"].is_null(), "{given}");
        assert!(ran.summary["ignored"]["c1"].as_u64().unwrap() > 0);
    }
}

#[test]
fn labels_through_a_slope() {
    let case = case!("int32-labels-with-slope-refused");
    for (name, labels) in [("int32", &["3", "6"][..]), ("binary_int32", &["1"]), ("uint16", &["3", "6"])] {
        let ran = case.evaluate(&format!("--segmentations @{name}.nii.gz --labels @{name}.nii.gz"));
        ran.expect(0, &[]);
        let found: Vec<&String> = ran.summary["mean"]["structures"].as_object().unwrap().keys().collect();
        assert_eq!(found, labels, "{name}");
        labels.iter().for_each(|label| assert_eq!(ran.of(label, "dsc"), 1.0, "{name}"));
    }
}

#[test]
fn maps_at_infinity() {
    let case = case!("maps-at-infinity-called-converged");
    for (method, labels) in
        [("temperature", "sep"), ("class-temperature", "sep"), ("class-temperature", "one"), ("vector", "sep")]
    {
        let out = format!("{method}-{labels}.json");
        let ran = case.run(&format!("calibrate fit {method} --logits @p --labels @{labels} --out >{out}"));
        ran.expect(0, &["did not converge"]);
        let stored = fs::read_to_string(case.out(&out)).unwrap();
        let flat: String = stored.split_whitespace().collect();
        assert!(flat.contains("\"converged\":false"), "{method}: {stored}");
    }
}

#[test]
fn forms_of_nnunet() {
    let case = case!("nnunet-dataset-forms");
    for name in ["regions", "datasetkey"] {
        case.run(&format!("check @{name}")).expect(0, &["3 cases (3 train", "0 1 2", "nothing is wrong"]);
    }
    let ran = case.run("check @rgb");
    ran.expect(0, &["nothing is wrong"]);
    let line = ran.printed.lines().find(|line| line.starts_with("r0")).unwrap();
    assert!(line.split_whitespace().any(|word| word == "3"), "{line}");
    // What is three channels in training is three channels in prediction.
    let config = case.folder.with_file_name("channels-panic").join("c.toml");
    case.run(&format!("-q train {} data=@rgb out=>run", text(&config))).expect(0, &[]);
    case.run("predict >run @rgb/imagesTr --out >pred").expect(0, &["3 of 3 cases"]);
    case.run("check @tif").expect(2, &["file_ending: files with the extension .tif are not supported"]);
}

#[test]
fn names_that_are_no_text() {
    let case = case!("non-utf8-names-dropped");
    let ran = case.evaluate("--probabilities @p --labels @y");
    ran.expect(0, &[]);
    assert_eq!((ran.of("1", "dsc"), ran.summary["cases"].as_array().unwrap().len()), (0.5, 2));
    for (from, to) in [("p", "ds/images"), ("y", "ds/labels")] {
        copy(&case.folder.join(from), &case.out(to));
    }
    case.run("check >ds").expect(0, &["2 cases", "M%FCller"]);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn units_of_nrrd() {
    let case = case!("nrrd-space-units");
    for name in ["named", "plain"] {
        case.run(&format!("prepare @{name} >{name} --as la")).expect(0, &["2 to train"]);
        let ran = case.run(&format!("info --json >{name}/imagesTr/p0_0000.nii.gz"));
        let document: Value = serde_json::from_str(&ran.printed).unwrap();
        let shown = document.to_string();
        let pixdim = document["pixdim"].as_array().or_else(|| document[0]["pixdim"].as_array());
        let size = pixdim.unwrap_or_else(|| panic!("{shown}"))[1].as_f64().unwrap();
        assert!((size / 0.00038 - 1.0).abs() < 1e-6, "{name}: {size}");
    }
}

#[test]
fn one_sigmoid_class() {
    let case = case!("one-class-sigmoid");
    let ran = case.evaluate("--probabilities @p --labels @y");
    ran.expect(0, &[]);
    assert_eq!(ran.of("1", "dsc"), 1.0);
    close(ran.figure("regions", "foreground", "ece"), 0.2);
    close(ran.figure("regions", "foreground", "nll"), 0.2231);
}

#[test]
fn contradicting_spacings() {
    let case = case!("sform-contradicts-pixdim");
    let words = ["y.nii.gz", "0.800000", "0.600000", "--spacing-from pixdim"];
    let given = "--segmentations @p.nii.gz --labels @y.nii.gz";
    let ran = case.evaluate(given);
    ran.expect(0, &words);
    assert!(ran.summary["warnings"][0].as_str().unwrap().contains("0.600000"));
    close(ran.of("1", "hd"), 8.0);
    let ran = case.evaluate(&format!("{given} --spacing-from pixdim"));
    ran.expect(0, &words[..3]);
    close(ran.of("1", "hd"), 6.0);
    case.run("info @y.nii.gz").expect(0, &words[..3]);
}

#[test]
fn sheared_grid() {
    let case = case!("sheared-grid-distances");
    let ran = case.evaluate("--segmentations @p.nii.gz --labels @y.nii.gz");
    ran.expect(0, &[]);
    close(ran.of("1", "hd"), 15.2190);
    close(ran.of("1", "hd95_max"), 14.0424);
}

#[test]
fn messages() {
    let case = case!("unclear-messages");
    case.run("check @bom").expect(0, &["nothing is wrong"]);
    let channels = "dataset.json names 2 channels, the image has 1 channel";
    case.run("check @lists").expect(1, &["2 cases", channels]);
    case.run("check @modality").expect(1, &[channels]);
    case.run("check @notest").expect(1, &["imagesTs/x.nii.gz: dataset.json lists this file, but it is missing"]);
    let config = case.folder.with_file_name("channels-panic").join("c.toml");
    let ran = case.run(&format!("train {} data=@notest out=>run samples.size=[4,4]", text(&config)));
    ran.expect(0, &["imagesTs/x.nii.gz", "not needed for training"]);
    let ran = case.evaluate("--segmentations @nfd --labels @nfc");
    assert_eq!((ran.status, ran.of("1", "dsc")), (Some(0), 1.0), "{}", ran.messages);
    let ran = case.evaluate("--segmentations @m1 --labels @m255");
    ran.expect(0, &["the label maps contain the labels 1, the references 255"]);
    assert_eq!(ran.summary["warnings"].as_array().unwrap().len(), 1);
    let ran = case.evaluate("--probabilities @u8k20.nii --labels @m1/c.nii.gz");
    ran.expect(0, &[]);
    assert_eq!(ran.summary["cases"].as_array().unwrap().len(), 1);
}
