//! `docs/catalog/` is generated from the catalog.

use std::{fs, path::Path};

use tidings_core::catalog::{Catalog, page::page};

#[test]
fn the_pages_say_what_the_catalog_says() {
    let catalog = Catalog::builtin();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/catalog");
    for platform in catalog.platforms() {
        let written = fs::read_to_string(folder.join(format!("{platform}.md"))).unwrap_or_default();
        assert!(
            Some(written) == page(&catalog, platform),
            "docs/catalog/{platform}.md is not what the catalog says; to renew it: \
             cargo run -- types --markdown {platform} > docs/catalog/{platform}.md"
        );
    }
    let mut pages: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().trim_end_matches(".md").to_owned())
        .collect();
    pages.sort();
    assert_eq!(pages, catalog.platforms());
}
