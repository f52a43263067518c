use crate::manifest::Manifest;

fn check(text: &str, name: &str, dependencies: &[&str], workspace_lints: bool) {
    let dependencies = dependencies.iter().map(|name| (*name).to_owned()).collect();
    let expected = Manifest { name: name.to_owned(), dependencies, workspace_lints };
    assert_eq!(Manifest::parse(text), expected, "{text}");
}

#[test]
fn reads_what_manifests_say() {
    check("", "", &[], false);
    check("[package]\nname = \"starcite-net\"\n[lints]\nworkspace = true", "net", &[], true);
    check("[dependencies]\nmodel.workspace = true\nbytes = \"1\"", "", &["model", "bytes"], false);
    check("[dependencies]\n# raft = 1\nstarcite-raft = { path = \"x\" }", "", &["raft"], false);
    check("[dev-dependencies]\nshard.workspace = true\n[features]\nx = []", "", &["shard"], false);
    check("[build-dependencies.uring]\nworkspace = true", "", &["uring"], false);
    check("[target.'cfg(unix)'.dependencies]\nnet.workspace = true", "", &["net"], false);
}
