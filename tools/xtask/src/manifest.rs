//! The edges between the crates of the tree, read from their manifests.

/// What the house rules ask of a manifest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The package's name without the house's prefix.
    pub(crate) name: String,
    /// Names of all it depends on, in any way, as written.
    pub(crate) dependencies: Vec<String>,
    /// Whether it takes the lints of the workspace.
    pub(crate) workspace_lints: bool,
}

const PREFIX: &str = "starcite-";

impl Manifest {
    /// Reads the few forms that the tree's manifests use: one key a line, tables by heading.
    pub(crate) fn parse(text: &str) -> Manifest {
        let mut manifest = Manifest::default();
        let mut table = "";
        for line in text.lines().map(str::trim) {
            if let Some(heading) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                table = heading;
                if let Some((kind, name)) = table.rsplit_once('.')
                    && kind.ends_with("dependencies")
                {
                    manifest.dependencies.push(short(name).to_owned());
                }
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let (key, value) = (key.trim(), value.trim());
            match (table, key) {
                ("package", "name") => manifest.name = short(value.trim_matches('"')).to_owned(),
                ("lints", "workspace") => manifest.workspace_lints = value == "true",
                (table, key) if table.ends_with("dependencies") && !key.starts_with('#') => {
                    let name = key.split('.').next().expect("a split has a first part");
                    manifest.dependencies.push(short(name).to_owned());
                }
                _ => {}
            }
        }
        manifest
    }
}

fn short(name: &str) -> &str {
    let name = name.trim_matches('"');
    name.strip_prefix(PREFIX).unwrap_or(name)
}
