//! Files that ask for more than they hold, or hold other than they say.

use std::fs;
use std::path::Path;

use super::super::common::{stderr, text};
use super::{done, refused};

/// A picture of `side` x `side` black pixels of one bit, with a palette and, if asked for, transparency.
fn bomb(path: &Path, side: u32, transparent: bool) {
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), side, side);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::One);
    encoder.set_palette(vec![0, 0, 0, 255, 255, 255]);
    if transparent {
        encoder.set_trns(vec![255, 128]);
    }
    encoder.set_compression(png::Compression::Best);
    let mut writer = encoder.write_header().unwrap();
    let mut stream = writer.stream_writer().unwrap();
    let row = vec![0; side.div_ceil(8) as usize];
    (0..side).for_each(|_| std::io::Write::write_all(&mut stream, &row).unwrap());
    stream.finish().unwrap();
}

#[test]
fn pictures_that_grow_by_their_palette_are_refused_before_memory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    for (side, transparent) in [(40_000, false), (40_000, true)] {
        bomb(&path, side, transparent);
        refused(2, &["info", text(&path)], &["a.png", "memory"]);
        let out = folder.path().join("out");
        let arguments = ["evaluate", "--segmentations", text(&path), "--labels", text(&path), "--out", text(&out)];
        // One line for the case, and one that there is no other.
        let output = super::limited(4096, &arguments);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("a.png"), "{}", stderr(&output));
    }
}

#[test]
fn a_word_longer_than_a_line_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    done(&[
        "phantom",
        text(&folder.path().join("ph")),
        "--train",
        "2",
        "--val",
        "1",
        "--test",
        "1",
        "--size",
        "4,16,16",
    ]);
    let plan = folder.path().join("plan.toml");
    let name = "A".repeat(70_000);
    let data = folder.path().join("ph");
    let text_of_plan =
        format!("seeds = [1]\n[train]\ndata = \"{}\"\nepochs = 1\n[[method]]\nname = \"{name}\"\n", text(&data));
    fs::write(&plan, text_of_plan).unwrap();
    let output = super::limited(4096, &["compare", text(&plan), "--dry-run"]);
    assert!(matches!(output.status.code(), Some(0 | 2)), "{:?}", output.status);
}

#[test]
fn a_list_of_cases_names_files_inside_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("ph");
    done(&["phantom", text(&root), "--train", "2", "--val", "1", "--test", "1", "--size", "4,16,16"]);
    let path = root.join("dataset.json");
    let mut dataset: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for name in ["../elsewhere.nii.gz", "/etc/passwd"] {
        dataset["training"][0]["image"] = name.into();
        fs::write(&path, dataset.to_string()).unwrap();
        refused(2, &["check", text(&root)], &["dataset.json", "training[0]", "points outside the folder"]);
    }
}

/// Names of cases that a spreadsheet takes for formulas, or that XML has no characters for.
#[cfg(unix)]
#[test]
fn names_are_names_in_tables_and_drawings() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("ph");
    done(&["phantom", text(&root), "--train", "2", "--val", "1", "--test", "3", "--size", "4,16,16"]);
    let names = ["=1+1", "-x", "a\u{1b}b"];
    for (kind, to) in [("posteriorsTs", "scores"), ("labelsTs", "labels")] {
        let to = folder.path().join(to);
        fs::create_dir(&to).unwrap();
        let mut files: Vec<_> = fs::read_dir(root.join(kind)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().zip(names).for_each(|(file, name)| {
            fs::copy(file, to.join(format!("{name}.nii.gz"))).unwrap();
        });
    }
    let [scores, labels, out] = ["scores", "labels", "out"].map(|name| folder.path().join(name));
    done(&["evaluate", "--probabilities", text(&scores), "--labels", text(&labels), "--out", text(&out)]);
    let table = fs::read_to_string(out.join("cases.csv")).unwrap();
    assert!(table.contains("\n'=1+1,") && table.contains("\n'-x,"));
    assert!(!table.lines().any(|line| line.starts_with(['=', '-', '+', '@'])));
    for entry in fs::read_dir(out.join("plots")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "svg") {
            assert!(!fs::read_to_string(&path).unwrap().contains('\u{1b}'), "{}", path.display());
        }
    }
    assert!(!fs::read_to_string(out.join("report.html")).unwrap().contains('\u{1b}'));
    let copy = folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    fs::write(copy.join("cases.csv"), &table).unwrap();
    let ranked = done(&["rank", text(&out), text(&copy), "--metrics", "dsc"]);
    assert!(ranked.stdout.starts_with(b"3 cases"));
}
