//! Lives that went wrong once, each with what was wrong then. A seed means the same life as long as
//! nobody changes what the plain options, the nemesis and the wires draw: `extras=none` keeps what came
//! later out of it, `extras=old` the newest themes alone.

use crate::command::parse;
use crate::runner::try_run;

fn lives_well(words: &str) {
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    let plan = parse(&words).expect("a plan");
    let report = try_run(plan.options(plan.first).expect("options"), false);
    let report = report.unwrap_or_else(|what| panic!("cargo sim {}: {what}", words.join(" ")));
    assert!(report.findings.is_empty(), "cargo sim {}: {report}", words.join(" "));
}

macro_rules! regressions {
    ($($(#[doc = $what:literal])+ $name:ident $words:literal,)*) => {
        $($(#[doc = $what])+ #[test] fn $name() { lives_well($words); })*
    };
}

regressions! {
    /// A checkpoint's term was newer than the log's, whose older one counted.
    term_and_vote_do_not_go_back_at_open
        "11 extras=none faults=kill,power-cut,power-cut-all,partition,one-way",
    /// Segments with nothing but votes were never let go, until no vote could be written.
    a_log_of_votes_is_let_go
        "1 extras=none faults=kill,power-cut,power-cut-all,partition,one-way",
    /// Uncommitted entries pinned all segments, and the log could not grow to commit them.
    entries_that_pin_the_log_are_written_again
        "28 extras=none faults=kill,power-cut,power-cut-all,partition,one-way",
    /// The second snapshot's file did not name the chunks of the first, which were removed.
    a_second_snapshot_keeps_the_chunks_of_the_first
        "9 extras=none faults=kill,power-cut,power-cut-all,partition,one-way",
    /// A follower that disagreed beneath the leader's memory was asked the same again for ever.
    who_disagrees_beneath_the_floor_gets_a_snapshot
        "92 extras=none faults=kill,power-cut,power-cut-all,partition,one-way",
    /// Entries behind a checkpoint that another leader's entry had replaced were taken up at open.
    stale_entries_behind_a_checkpoint_do_not_come_back
        "220 extras=none faults=kill,power-cut,power-cut-all,partition,one-way",
    /// The entries behind a checkpoint went with the stale ones.
    entries_behind_a_checkpoint_stay
        "152 extras=none faults=kill,power-cut,power-cut-all,partition,one-way",
    /// A snapshot of the sender's next life had the number of one of its last.
    snapshots_of_two_lives_are_told_apart
        "274 extras=none faults=kill,power-cut,power-cut-all,partition,one-way",
    /// Entries that were written again stood in front of the ones they continue.
    a_log_that_jumps_is_read_on
        "198 extras=none faults=kill,power-cut,power-cut-all,partition,one-way",
    /// A full log did not take what would have freed its old segments.
    a_full_log_takes_what_frees_it "8130 extras=none",
    /// The same, with votes.
    a_full_log_takes_votes "8141 extras=none",
    /// What a node had said in a term it has left came late and counted as new.
    what_took_long_is_not_new "8366 extras=none",
    /// Leave to rest came after its sender had died.
    leave_to_rest_of_a_dead_leader_wakes "10699 extras=none",
    /// A leader came to rest without a member whose pulse it heard.
    nobody_is_left_behind_at_rest "10729 extras=none",
    /// A voter that was wanted and had died with its disk became one of two that were needed.
    no_group_is_left_to_one_who_is_gone "50 extras=none faults=members,empty-disk,kill,pause",
    /// Snapshot followed snapshot: what came meanwhile had left the log before each was taken over.
    a_newcomer_is_not_outrun_for_ever "50037 extras=none",
    /// The same, and one of two newcomers waited for the other.
    one_newcomer_does_not_wait_for_another "50679",
    /// The checkers blamed an old leader, long asleep, for what it could not know its heir lacked.
    an_old_leader_need_not_know_what_newer_ones_did "51452",
    /// The checkers did not see what a voter committed alone, from a group's first entry on.
    what_one_voter_commits_alone_is_seen "61 faults=members,empty-disk,kill,pause",
    /// The judges demanded that a newcomer catch up whose one disk had to take what others spread on three.
    a_newcomer_takes_what_its_disk_can "201038 faults=members,empty-disk,kill,pause",
    /// A second disk was damaged while one that lied no more still owed what it had promised: two of three
    /// were lost, of what nobody could have kept.
    a_disk_that_lies_no_more_still_owes "201027 extras=old",
    /// A disk that had forgotten what a paused leader was still to be told of counted as whole, and the leader's
    /// own could be damaged: two of three lost it.
    a_disk_owes_what_a_leader_may_yet_count "301285",
    /// The checkers blamed a node for voting in a term it had stood in: its disk had forgotten that before
    /// anybody heard of it.
    a_candidacy_nobody_heard_of_may_be_forgotten
        "203063 faults=lying-sync,lost-write,misdirect,rot,members,power-cut,partition",
    /// A life removed a snapshot that nothing named, and died before it had written. What the life before
    /// it had written named the snapshot, and landed in between.
    what_a_late_write_names_is_still_there
        "203227 extras=old faults=lying-sync,lost-write,misdirect,rot,members,power-cut,partition",
    /// The same.
    what_a_late_write_names_stays "305004 extras=old",
    /// The audit began while an append that its client had given up lay at a leader, and saw it at two nodes of
    /// three.
    the_audit_waits_for_what_was_given_up "205007",
    /// The checkers did not see that what was durable had been replaced: a state of another history was being
    /// taken over when the process was killed, and the log restarted behind it.
    a_state_of_another_history_replaces_what_was_durable "582 theme=sundered",
    /// Two voters became two others while a third was still to learn, and one of them lost its disk.
    a_group_that_is_too_small_gives_up_nobody "441509 extras=old",
}
