//! The header that is checked in is the one that the sources give.

use std::path::Path;

#[test]
fn the_header_is_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("a config");
    let bindings = cbindgen::Builder::new().with_config(config).with_crate(root).with_parse_deps(false).generate();
    let mut made = Vec::new();
    bindings.expect("the sources are read").write(&mut made);
    let path = root.join("include/segcal.h");
    if std::fs::read(&path).unwrap_or_default() != made {
        let new = path.with_extension("h.new");
        std::fs::write(&new, &made).expect("the folder can be written");
        panic!("include/segcal.h is not what the sources give: look at {} and put it there", new.display());
    }
}
