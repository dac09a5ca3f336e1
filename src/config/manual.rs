//! `docs/configuration.md`, made from `default.toml` and `source.toml`: the comment of a key is its manual.

use super::layers::{DEFAULTS, SOURCE_DEFAULTS};

const HEAD: &str = "\
# Configuration

<!-- Made by `tidings config doc` from `src/config/default.toml`; a test holds them together. -->

Settings come from `tidings.toml` in the working folder (or `--config FILE`), then from environment variables, then from
`--set section.key=value`; the last one wins. An environment variable is the key in upper case with two underscores
between its parts: `TIDINGS__LOG__TOPIC_PREFIX` sets `log.topic_prefix`. Lists are comma separated there.

Unknown keys are refused, and all mistakes are reported at once. `tidings config show` prints what is in force and where
it comes from; `tidings check` looks whether it works.
";

const SOURCE_HEAD: &str = "
## [[source]]

One kind of producer; [SOURCES](SOURCES.md) has recipes. Any number of these sections, in the configuration file. What is left
empty is looked for where CloudEvents and Tidings' own envelope have it.
";

/// The whole page.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n## Top level\n");
    write(DEFAULTS, &mut page);
    page.push_str(SOURCE_HEAD);
    write(SOURCE_DEFAULTS, &mut page);
    page
}

fn write(defaults: &str, page: &mut String) {
    let mut comment: Vec<&str> = Vec::new();
    for line in defaults.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
        } else if let Some(section) = line.strip_prefix('[') {
            page.push_str(&format!("\n## [{}]\n\n{}\n", section.trim_end_matches(']'), comment.join(" ")));
            comment.clear();
        } else if let Some((key, value)) = line.split_once(" = ") {
            page.push_str(&format!("\n- **`{key}`** = `{value}`\\\n  {}\n", comment.join(" ")));
            comment.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_in_docs_is_the_one_made_here() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == super::page(),
            "docs/configuration.md is old: `cargo run -- config doc > docs/configuration.md`"
        );
    }

    #[test]
    fn every_key_has_a_manual() {
        assert!(!super::page().contains("\\\n  \n"));
    }
}
