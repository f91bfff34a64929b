//! Cases that change, fail, or belong to another evaluation; keys on the command line.

use super::*;

/// Three cases of which each prediction agrees with its reference.
fn three_cases(folder: &Folder) {
    for case in ["a", "b", "c"] {
        folder.labels(&format!("y/{case}.nii"), labels());
        folder.scores(&format!("p/{case}.nii"), probabilities(&labels()));
    }
}

/// A prediction that misses half of the structure.
fn half() -> Vec<f32> {
    let labels = labels().into_iter().enumerate();
    probabilities(&labels.map(|(voxel, label)| if voxel % 16 < 4 { label } else { 0 }).collect::<Vec<_>>())
}

const THREE: [&str; 7] = ["-q", "--probabilities", "p", "--labels", "y", "--out", "out"];

fn dsc(summary: &Value) -> Vec<(String, f64)> {
    let figure =
        |case: &Value| (case["case"].as_str().unwrap().to_owned(), case["structures"]["1"]["dsc"].as_f64().unwrap());
    summary["cases"].as_array().unwrap().iter().map(figure).collect()
}

#[test]
fn a_case_whose_files_changed_is_measured_anew() {
    let folder = Folder::new();
    three_cases(&folder);
    assert_eq!(folder.evaluate(&THREE).0, Some(0));
    // Another model under the same names; one file is still being written.
    for case in ["a", "b", "c"] {
        folder.scores(&format!("p/{case}.nii"), half());
    }
    let whole = fs::read(folder.at("p/b.nii")).unwrap();
    fs::write(folder.at("p/b.nii"), &whole[..900]).unwrap();
    let (status, _, summary) = folder.evaluate(&[&THREE[..], &["--resume"]].concat());
    assert_eq!(status, Some(1));
    assert_eq!(dsc(&summary).len(), 2);
    assert!(!folder.at("out/states/b.json").exists(), "a case that fails keeps no state");
    fs::write(folder.at("p/b.nii"), whole).unwrap();
    let (status, _, resumed) = folder.evaluate(&[&THREE[..], &["--resume"]].concat());
    assert_eq!(status, Some(0));
    let figures = dsc(&resumed);
    assert!(figures.len() == 3 && figures.iter().all(|(_, dsc)| *dsc < 0.8), "{figures:?}");
    assert_eq!(folder.evaluate(&THREE).2, resumed, "one run gives the same");
    // The reference counts as well.
    folder.labels("y/c.nii", half()[VOXELS..].iter().map(|p| u8::from(*p > 0.5)).collect());
    let (_, _, summary) = folder.evaluate(&[&THREE[..], &["--resume"]].concat());
    assert_eq!(dsc(&summary)[2].1, 1.0);
}

#[test]
fn what_is_resumed_is_found_however_its_path_is_spelled() {
    let folder = Folder::new();
    three_cases(&folder);
    assert_eq!(folder.evaluate(&THREE).0, Some(0));
    let before = fs::metadata(folder.at("out/states/a.json")).unwrap().modified().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_segcal"))
        .current_dir(folder.at("y"))
        .args(["evaluate", "--probabilities", "../p", "--labels", ".", "--out", "../out", "--resume"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fs::metadata(folder.at("out/states/a.json")).unwrap().modified().unwrap(), before);
}

#[test]
fn nothing_of_an_earlier_evaluation_stays() {
    let folder = Folder::new();
    three_cases(&folder);
    assert_eq!(folder.evaluate(&THREE).0, Some(0));
    fs::write(folder.at("out/plots/own.csv"), "").unwrap();
    assert!(folder.at("out/plots/worst-1-c.svg").is_file());
    fs::remove_file(folder.at("p/c.nii")).unwrap();
    fs::remove_file(folder.at("y/c.nii")).unwrap();
    // Going on would leave the third case to a later merge.
    let (status, messages, _) = folder.evaluate(&[&THREE[..], &["--resume"]].concat());
    assert_eq!(status, Some(2));
    assert!(messages.contains("states/c.json: belongs to a case"), "{messages}");
    assert_eq!(folder.evaluate(&THREE).0, Some(0));
    for left in ["states/c.json", "states/c.npz", "plots/worst-1-c.svg", "plots/worst-1-c.csv", "plots/worst-1-c.png"] {
        assert!(!folder.at("out").join(left).exists(), "{left}");
    }
    assert!(folder.at("out/plots/own.csv").is_file() && folder.at("out/plots/worst-1-a.svg").is_file());
    let [from, to] = ["out", "joined"].map(|name| text(&folder.at(name)).to_owned());
    assert!(segcal(&["-q", "merge", &from, "--out", &to]).status.success());
    let joined = fs::read_to_string(folder.at("joined/summary.json")).unwrap();
    assert_eq!(dsc(&serde_json::from_str(&joined).unwrap()).len(), 2);
}

#[test]
fn states_of_other_files_are_refused_before_anything_is_written() {
    let folder = Folder::new();
    three_cases(&folder);
    assert_eq!(folder.evaluate(&THREE).0, Some(0));
    fs::rename(folder.at("p"), folder.at("q")).unwrap();
    folder.labels("y/d.nii", labels());
    folder.scores("q/d.nii", probabilities(&labels()));
    let files = ["summary.json", "cases.csv", "summary.csv", "report.html"];
    let read = || files.map(|file| fs::read(folder.at("out").join(file)).unwrap());
    let first = read();
    let other = ["--probabilities", "q", "--labels", "y", "--out", "out", "--resume"];
    let (status, messages, _) = folder.evaluate(&other);
    assert_eq!(status, Some(2));
    assert!(messages.contains("was measured from") && messages.contains("p/a.nii"), "{messages}");
    fs::rename(folder.at("q"), folder.at("p")).unwrap();
    let (status, messages, _) = folder.evaluate(&[&THREE[1..], &["--resume", "--voxel-units"]].concat());
    assert_eq!(status, Some(2));
    assert!(messages.contains("different settings (voxel_units: false and true)"), "{messages}");
    assert!(read() == first && !folder.at("out/states/d.json").exists());
}

#[test]
fn references_without_a_prediction_are_left_out_on_request() {
    let folder = Folder::new();
    three_cases(&folder);
    folder.labels("y/d.nii", labels());
    let paths = ["p", "y", "out"].map(|name| text(&folder.at(name)).to_owned());
    let given = ["evaluate", "--probabilities", &paths[0], "--labels", &paths[1], "--out", &paths[2]];
    assert_eq!(segcal(&given).status.code(), Some(1));
    let output = segcal(&[&given[..], &["--only-predicted", "--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let messages = stderr(&output);
    assert!(messages.contains("1 reference without a prediction") && messages.contains("left out: d"), "{messages}");
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((dsc(&json).len(), json["failed"].as_array().unwrap().len()), (3, 0));
}

#[test]
fn cases_that_fail_are_reported_wherever_the_others_are() {
    let folder = Folder::new();
    three_cases(&folder);
    // One prediction has no reference, one reference no prediction, one prediction is cut off.
    fs::rename(folder.at("y/a.nii"), folder.at("y/d.nii")).unwrap();
    fs::write(folder.at("p/b.nii"), &fs::read(folder.at("p/b.nii")).unwrap()[..900]).unwrap();
    let paths = ["p", "y", "out"].map(|name| text(&folder.at(name)).to_owned());
    let given = ["evaluate", "--probabilities", &paths[0], "--labels", &paths[1], "--out", &paths[2]];
    let output = segcal(&given);
    assert_eq!(output.status.code(), Some(1));
    let [shown, messages] = [stdout(&output), stderr(&output)];
    let summary: Value = serde_json::from_str(&fs::read_to_string(folder.at("out/summary.json")).unwrap()).unwrap();
    assert_eq!(dsc(&summary), [("c".to_owned(), 1.0)]);
    let failed = summary["failed"].as_array().unwrap();
    let names: Vec<_> = failed.iter().map(|failure| failure["case"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "d"]);
    let page = fs::read_to_string(folder.at("out/report.html")).unwrap();
    assert!(page.contains("Evaluation of 1 of 4 cases") && page.contains("3 cases left out"), "{page}");
    for failure in failed {
        let (case, error) = (failure["case"].as_str().unwrap(), failure["error"].as_str().unwrap());
        assert!(shown.contains(&format!("left out: {case}: {error}")), "{shown}");
        assert!(messages.contains(&format!("error: {case}: {error}")), "{messages}");
    }
    assert!(
        names
            .iter()
            .zip(["no reference", "b.nii", "no prediction"])
            .enumerate()
            .all(|(number, (_, part))| { failed[number]["error"].as_str().unwrap().contains(part) })
    );
    let json: Value = serde_json::from_str(&stdout(&segcal(&[&given[..], &["--json"]].concat()))).unwrap();
    assert_eq!(json["failed"], summary["failed"]);
    // Joined parts report what none of them has measured.
    let other = Folder::new();
    other.labels("y/a.nii", labels());
    other.scores("p/a.nii", probabilities(&labels()));
    assert_eq!(other.evaluate(&THREE).0, Some(0));
    let parts = [&paths[2], text(&other.at("out")), text(&folder.at("joined"))].map(str::to_owned);
    let output = segcal(&["-q", "merge", &parts[0], &parts[1], "--out", &parts[2], "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let joined: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(joined["failed"].as_array().unwrap().len(), 2);
    assert_eq!(dsc(&joined).len(), 2);
}

#[test]
fn empty_regions_are_counted_beside_empty_structures() {
    let folder = Folder::new();
    three_cases(&folder);
    folder.labels("y/b.nii", vec![0; VOXELS]);
    let (status, messages, summary) = folder.evaluate(&THREE);
    assert_eq!(status, Some(0), "{messages}");
    assert_eq!(summary["empty"]["1"]["reference"], 1);
    let counted = |kind: &str| summary["empty"]["foreground"][kind].as_u64();
    assert_eq!(["prediction", "reference", "both", "neither"].map(counted), [0, 0, 1, 2].map(Some));
    assert_eq!(summary["empty"]["all"]["both"], 0);
}

#[test]
fn keys_of_the_config_may_be_given_on_the_command_line() {
    let folder = Folder::new();
    three_cases(&folder);
    fs::write(folder.at("c.toml"), "bins = 7\nband_mm = 3\n").unwrap();
    let run = |more: &[&str]| {
        let paths = THREE[1..]
            .iter()
            .map(|word| if word.starts_with('-') { (*word).to_owned() } else { text(&folder.at(word)).to_owned() });
        let words: Vec<String> = ["evaluate".to_owned()].into_iter().chain(paths).collect();
        let all: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let output = segcal(&all);
        let summary = fs::read_to_string(folder.at("out").join("summary.json")).unwrap_or_default();
        (output.status.code(), stderr(&output), serde_json::from_str::<Value>(&summary).unwrap_or_default())
    };
    let config = text(&folder.at("c.toml")).to_owned();
    let (status, messages, summary) = run(&["--config", &config, "bins=10", "regions.whole=[1]"]);
    assert_eq!(status, Some(0), "{messages}");
    let settings = &summary["settings"];
    assert_eq!((&settings["bins"], &settings["band_mm"]), (&10.into(), &3.0.into()), "{settings}");
    assert_eq!(settings["unions"]["whole"][0], 1);
    assert_eq!(run(&["bins=10", "--bins", "12"]).2["settings"]["bins"], 12);
    let (status, messages, _) = run(&["bin=10"]);
    assert!(status == Some(2) && messages.contains("bin: unknown config key (did you mean bins?)"), "{messages}");
    fs::write(folder.at("c.toml"), "tolerance = 1\n").unwrap();
    assert!(run(&["--config", &config]).1.contains("did you mean tolerance_mm?"));
    // A file in the place of the results.
    fs::remove_dir_all(folder.at("out")).unwrap();
    fs::write(folder.at("out"), "").unwrap();
    let (status, messages, _) = run(&[]);
    assert!(status == Some(2) && messages.contains("out: is a file, not a folder"), "{messages}");
}
