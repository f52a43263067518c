//! Who holds what, as lines.

use serde_json::Value;

/// A line for each node, one for each group that operators want led by a certain one, and one that
/// says whether groups are on the move.
pub(crate) fn members(answer: &Value) -> String {
    let list = |key: &str| answer[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let node = |node: &Value| {
        let numbers = ["groups", "leads", "learning", "leaving"];
        let numbers: Vec<String> =
            numbers.iter().map(|key| format!("{key}={}", node[*key])).collect();
        format!(
            "node={} address={} status={} data={} {}",
            text(&node["node"]),
            text(&node["address"]),
            text(&node["status"]),
            node["data"],
            numbers.join(" ")
        )
    };
    let preferred = |wish: &Value| {
        format!(
            "group={} preferred={} leader={}",
            wish["group"],
            text(&wish["node"]),
            text(&wish["leader"])
        )
    };
    let mut lines: Vec<String> = list("members").iter().map(node).collect();
    lines.extend(list("preferred").iter().map(preferred));
    lines.push(format!(
        "settled={} groups_moving={} groups_without_leader={}",
        answer["settled"], answer["groups_moving"], answer["groups_without_leader"]
    ));
    lines.join("\n")
}
