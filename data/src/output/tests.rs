use std::fs;

use super::*;

#[test]
fn parts_share_a_folder_that_nobody_else_writes_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let part = |id| OutputFolder::for_part(&path, Part::new(id, 2).unwrap());
    let (first, second) = (part(0).unwrap(), part(1).unwrap());
    assert!(OutputFolder::exclusive(&path).is_err());
    drop(first);
    assert!(OutputFolder::exclusive(&path).is_err(), "the other part is still at work");
    drop(second);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "the last removes the lock");
    let alone = OutputFolder::exclusive(&path).unwrap();
    assert!(part(0).is_err());
    drop(alone);
    assert!(part(0).is_ok());
}

#[test]
fn a_failed_write_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    write_text(&path, "old").unwrap();
    let error = write_atomic(&path, |out| {
        out.write_all(b"new")?;
        Err(Error::new("stop"))
    });
    assert!(error.unwrap_err().to_string().contains("a.txt: stop"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the temporary file is gone");
}

#[test]
fn a_missing_folder_is_a_write_failure_and_bad_content_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let error = write_text(&folder.path().join("no/such/x"), "").unwrap_err();
    assert!(is_write_failure(&error), "{error}");
    assert!(!is_write_failure(&Error::new("x")));
    let full = Path::new("/dev/full");
    if full.exists() {
        let mut out = Marking(fs::File::options().write(true).open(full).unwrap());
        assert!(is_write_failure(&out.write_all(b"x").map_err(Error::from).unwrap_err()));
    }
}

#[test]
fn a_result_replaces_no_input_and_goes_into_a_folder_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let [input, other] = ["a.npy", "b.npy"].map(|name| folder.path().join(name));
    fs::write(&input, "x").unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    assert!(claim(&other, [&*input]).is_ok());
    let refused = |path: &Path| claim(path, [&*input]).unwrap_err();
    assert!(refused(&folder.path().join("sub/../a.npy")).to_string().contains("is an input"));
    assert!(refused(&folder.path().join("sub")).to_string().contains("not a regular file"));
    #[cfg(unix)]
    assert!(refused(Path::new("/dev/null")).to_string().contains("/dev/null: is not a regular file"));
    let missing = refused(&folder.path().join("no/b.npy"));
    assert!(is_write_failure(&missing), "{missing}");
}

#[test]
fn a_result_has_one_writer_and_no_leftovers_and_ends_without_a_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.json");
    fs::write(folder.path().join(".segcal-1-0.part"), "half").unwrap();
    let first = claim(&path, []).unwrap();
    let refused = claim(&path, []).unwrap_err().to_string();
    assert!(refused.contains("map.json: another process is writing this file"), "{refused}");
    write_text(&path, "whole").unwrap();
    drop(first);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn names_that_climb_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let out = OutputFolder::create(root.path().join("out")).unwrap();
    for name in ["../x", "/etc/x", "a/../../x", "", ".", "a/..", ".."] {
        let error = out.file(name).unwrap_err().to_string();
        assert!(error.contains("points outside"), "{name}: {error}");
    }
    assert!(out.file("plots/a.svg").unwrap().parent().unwrap().is_dir());
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(root.path(), out.path().join("link")).unwrap();
        assert!(out.file("link/x").unwrap_err().to_string().contains("symbolic link"));
    }
}

#[test]
fn an_exclusive_folder_has_one_writer_and_no_leftovers_and_ends_without_a_lock() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("out");
    let first = OutputFolder::exclusive(&path).unwrap();
    let refused = OutputFolder::exclusive(&path).unwrap_err().to_string();
    assert!(refused.contains("out: another process is writing to this folder"), "{refused}");
    let clone = first.clone();
    drop(first);
    assert!(OutputFolder::exclusive(&path).is_err(), "a clone holds the lock");
    drop(clone);
    fs::create_dir(path.join("states")).unwrap();
    for name in [".segcal-1-0.part", "states/.segcal-1-1.part", "states/kept.json"] {
        fs::write(path.join(name), "x").unwrap();
    }
    drop(OutputFolder::exclusive(&path).unwrap());
    assert!(path.join("states/kept.json").exists());
    let names = |folder: &Path| fs::read_dir(folder).unwrap().count();
    assert_eq!((names(&path), names(&path.join("states"))), (1, 1));
}

#[cfg(unix)]
#[test]
fn a_link_is_replaced_and_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (target, link) = (folder.path().join("target"), folder.path().join("link"));
    write_text(&target, "target").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    write_text(&link, "new").unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "target");
    assert_eq!(fs::read_to_string(&link).unwrap(), "new");
}

#[test]
fn json_has_no_literal_for_nan() {
    #[derive(Serialize)]
    struct Row {
        #[serde(serialize_with = "serialize_number")]
        value: f64,
    }
    let row = |value| serde_json::to_string(&Row { value }).unwrap();
    assert_eq!(row(f64::NAN), "{\"value\":\"nan\"}");
    assert_eq!(row(f64::INFINITY), "{\"value\":\"inf\"}");
    assert_eq!(row(0.25), "{\"value\":0.25}");
}

#[test]
fn a_long_table_and_a_document_are_written_piece_by_piece() {
    let row = |csv: &mut Csv, number: u32| csv.row(&[&number, &"a, b"]);
    let (mut whole, mut pieces, mut text) = (Csv::new(&["n", "text"]), Csv::new(&["n", "text"]), Vec::new());
    for number in 0..4 {
        row(&mut whole, number);
        row(&mut pieces, number);
        if number % 2 == 1 {
            pieces.pass_on(&mut text).unwrap();
        }
    }
    assert_eq!(pieces.finish(), "");
    assert_eq!(String::from_utf8(text).unwrap(), whole.finish());
    let (document, mut text) = (serde_json::json!({ "a": [1.5, "x"], "b": {}, "c": [] }), Vec::new());
    write_json(&mut text, &document).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), to_json(&document).unwrap() + "\n");
    let full = fs::File::options().write(true).open("/dev/full");
    if let Ok(full) = full {
        assert!(is_write_failure(&write_json(&mut Marking(full), &document).unwrap_err()));
    }
}
