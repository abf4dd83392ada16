//! `mysync writer rewind|rebase|resume`: moves a writer's fence to another place in the log, and starts a stopped writer again.
//!
//! The fence is compared before it is replaced, so a writer that runs meanwhile loses no batch: its next one finds the fence changed and stops
//! without effect. With the embedded log the process that runs is asked to begin anew; otherwise the next start does. With the log on Kafka
//! any number of processes may run, and none need be reached: each watches the fences of its partitions, and goes on where such a command has
//! put them.

mod places;

use std::process::ExitCode;

use mysync_change::fence::{Fence, Place, Rebuild};
use mysync_connectors::redis::Redis;
use mysync_pipeline::ports::LogReader;
use mysync_pipeline::status::now_us;

use crate::cli::{RebaseTo, RewindTo, WhichWriter};
use crate::client::{self, Answer};
use crate::config::{ConnectorSettings, LogKind, Settings, WriterSettings};
use crate::fault::Fault;
use crate::outside::{self, Reader};
use crate::{adapters, status, tail};

/// A writer that runs changes its fence with every batch; one of the tries falls between two.
const TRIES: usize = 100;

/// What the owner of a fence begins with that was put there by such a command.
const MOVED_BY: &str = "mysync writer ";

/// Where to.
#[derive(Debug, Clone, Copy)]
pub enum Move {
    Rewind(RewindTo),
    Rebase(RebaseTo),
}

impl Move {
    fn verb(self) -> &'static str {
        match self {
            Move::Rewind(_) => "rewind",
            Move::Rebase(_) => "rebase",
        }
    }
}

/// Whether a fence was put where it is by such a command, and nobody has gone on from there yet.
pub fn is_moved(fence: &Fence) -> bool {
    fence.owner.starts_with(MOVED_BY)
}

pub async fn run(which: &WhichWriter, to: Move) -> Result<ExitCode, Fault> {
    let settings = Settings::load(&which.process.config.config)?;
    let (name, writer) = (&which.name, find(&settings, &which.name)?);
    refuse_without_kafka(&settings.log.kind, to)?;
    let ConnectorSettings::Redis(redis) = settings
        .connectors
        .get(&writer.connector)
        .ok_or_else(|| Fault::unusable("CONNECTOR_UNKNOWN", format!("there is no connector {}", writer.connector)))?;
    let redis = adapters::redis(&writer.connector, redis)?;
    let mut logs = outside::readers(&settings.log, &writer.name, &writer.tables).await?;
    let store = |partition| Redis::new(redis.clone(), &settings.source.name, &writer.name, partition);
    let mut stores: Vec<Redis> = logs.keys().map(|partition| store(*partition)).collect();
    // Everything is looked at before anything is moved. Which log the writer is in is said in partition 0, the first.
    if let (Some(log), Some(store)) = (logs.values().next(), stores.first_mut()) {
        refuse_other_log(store.read_fence().await?.as_ref(), &log.log_id().to_string(), name, to)?;
    }
    let places = places::destinations(&mut logs, name, to).await?;
    // It moves last: one that was moved in part is in the other log still.
    for ((partition, log), store) in logs.iter_mut().zip(&mut stores).rev() {
        match places.get(partition) {
            Some(place) => move_partition(log, store, name, *partition, place, to).await?,
            None => println!("writer {name}, partition {partition}: stays where it is"),
        }
    }
    if let LogKind::Kafka(_) = settings.log.kind {
        println!(
            "processes that deliver it go on from there within seconds, even if it had stopped; otherwise the next start does"
        );
        return Ok(ExitCode::SUCCESS);
    }
    match which.process.admin.or(settings.admin.listen) {
        Some(address) => match client::post(address, &resume_path(name)) {
            Ok(answer) => resumed(&answer, "the fence has moved, but ")?,
            Err(_) => println!("no process answers on {address}: the next start goes on from there"),
        },
        None => println!("a process that runs must be restarted: admin.listen is \"none\""),
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts a writer of a running process again, where its fence says.
pub fn resume(which: &WhichWriter) -> Result<ExitCode, Fault> {
    let address = status::address(&which.process)?;
    resumed(&client::post(address, &resume_path(&which.name))?, "")?;
    Ok(ExitCode::SUCCESS)
}

fn resume_path(name: &str) -> String {
    format!("/api/writers/{name}/resume")
}

/// What the running process says to it.
fn resumed(answer: &Answer, but: &str) -> Result<(), Fault> {
    if answer.is_good() {
        println!("the running process goes on from there");
        return Ok(());
    }
    let why = answer.refusal();
    Err(Fault::failed("WRITER_NOT_RESUMED", format!("{but}the running process does not go on: {why}")))
}

fn find<'s>(settings: &'s Settings, name: &str) -> Result<&'s WriterSettings, Fault> {
    settings.writers.iter().find(|writer| writer.name == name).ok_or_else(|| {
        let known: Vec<&str> = settings.writers.iter().map(|writer| writer.name.as_str()).collect();
        let known = if known.is_empty() { "none at all".to_owned() } else { known.join(", ") };
        Fault::unusable("WRITER_UNKNOWN", format!("there is no writer {name}; there is {known}"))
    })
}

/// The embedded log has no offsets.
fn refuse_without_kafka(log: &LogKind, to: Move) -> Result<(), Fault> {
    match (log, to) {
        (LogKind::Embedded(_), Move::Rewind(RewindTo::Offset { .. })) => Err(Fault::unusable(
            "LOG_KIND",
            "a writer cannot be rewound to an offset with the embedded log: 'mysync log tail' shows records with their times and numbers; give \
             a time, or the number of the record before",
        )),
        _ => Ok(()),
    }
}

async fn move_partition(
    log: &mut Reader,
    store: &mut Redis,
    writer: &str,
    partition: u32,
    place: &Place,
    to: Move,
) -> Result<(), Fault> {
    let log_id = log.log_id().to_string();
    // From its beginning a log that keeps the last record of each key has holes, as it should.
    let compaction = log.compaction().await?.filter(|_| place.seq == 0);
    let rebuild = compaction.map(|log| Rebuild::begin(log.last, now_us()));
    let mut last = None;
    for _ in 0..TRIES {
        let fence = store.read_fence().await?;
        let moved = replacement(&log_id, fence.as_ref(), place.clone(), to, now_us());
        let new = Fence { rebuild: rebuild.clone(), ..moved };
        match store.replace_fence(fence.as_ref(), &new).await {
            Ok(()) => {
                println!("{}", told(writer, partition, fence.as_ref(), &new));
                return Ok(());
            }
            Err(failure) if failure.code == "FENCE_CHANGED" => last = Some(failure),
            Err(failure) => return Err(failure.into()),
        }
    }
    let why = last.map_or_else(String::new, |failure| failure.message);
    Err(Fault::failed("FENCE_CHANGED", format!("writer {writer} is too busy: {why}. Stop the process first")))
}

/// A rewind goes to a place in the log that the store was written from.
fn refuse_other_log(fence: Option<&Fence>, log_id: &str, writer: &str, to: Move) -> Result<(), Fault> {
    match (to, fence.filter(|fence| fence.log != log_id)) {
        (Move::Rewind(_), Some(Fence { log, .. })) => Err(Fault::failed(
            "LOG_REPLACED",
            format!(
                "the store was last written for writer {writer} from log {log}, and this is log {log_id}: its sequence numbers mean nothing \
                 here. 'mysync writer rebase {writer}' goes on with this log"
            ),
        )),
        _ => Ok(()),
    }
}

/// The fence that says so. A writer that begins at the log's start owes nothing to a former mapping. Two moves to the same place differ in their
/// time: whoever watches the fence begins anew for each.
fn replacement(log_id: &str, fence: Option<&Fence>, place: Place, to: Move, now_us: u64) -> Fence {
    let keeps = matches!(to, Move::Rewind(to) if to != RewindTo::Start);
    let digest = fence.filter(|_| keeps).map_or("", |fence| &fence.digest).to_owned();
    Fence::new(log_id.to_owned(), format!("{MOVED_BY}{} at {}", to.verb(), tail::time(now_us)), digest, place)
}

fn told(writer: &str, partition: u32, old: Option<&Fence>, new: &Fence) -> String {
    let at = |place: &Place| match place.seq {
        0 => "the beginning of the log".to_owned(),
        seq => format!("seq {seq}"),
    };
    let goes = at(&new.applied);
    let what = match old {
        None => format!("begins behind {goes}: it had no fence"),
        Some(old) if old.log != new.log => {
            format!("leaves log {} for log {}, and begins behind {goes}", old.log, new.log)
        }
        Some(old) if old.applied.seq > new.applied.seq => format!(
            "goes back from {} to {goes}: the changes between are written again, and until that is done readers may see older values",
            at(&old.applied)
        ),
        Some(old) if old.applied.seq < new.applied.seq => format!(
            "goes forward from {} to {goes}: the changes between are passed over and missing in the store",
            at(&old.applied)
        ),
        Some(_) => format!("stays at {goes}"),
    };
    format!("writer {writer}, partition {partition}: {what}")
}

#[cfg(test)]
mod tests {
    use mysync_change::envelope::LogId;

    use super::*;
    use crate::config::EmbeddedSettings;

    fn fence(log: LogId, seq: u64) -> Fence {
        Fence::new(log.to_string(), "task".to_owned(), "digest".to_owned(), Place { seq, ..Place::default() })
    }

    #[test]
    fn the_embedded_log_has_no_offsets_to_go_to() {
        let embedded = LogKind::Embedded(EmbeddedSettings::default());
        let refused = refuse_without_kafka(&embedded, Move::Rewind(RewindTo::Offset { partition: 0, offset: 1 }));
        assert_eq!(refused.map_err(|fault| (fault.code, fault.exit)), Err(("LOG_KIND", 2)));
        for to in [Move::Rewind(RewindTo::Start), Move::Rewind(RewindTo::Time(1)), Move::Rebase(RebaseTo::End)] {
            assert_eq!(refuse_without_kafka(&embedded, to), Ok(()));
        }
    }

    #[test]
    fn a_writer_that_goes_back_some_way_keeps_its_mapping() {
        let digest = |to| replacement("log", Some(&fence(LogId([7; 16]), 21)), Place::default(), to, 1).digest;
        for to in [RewindTo::Behind(1), RewindTo::Time(1), RewindTo::Offset { partition: 0, offset: 1 }] {
            assert_eq!(digest(Move::Rewind(to)), "digest");
        }
        assert_eq!(digest(Move::Rewind(RewindTo::Start)), "");
        assert_eq!(digest(Move::Rebase(RebaseTo::End)), "");
    }

    #[test]
    fn a_move_to_the_same_place_is_another_one() {
        let moved = |now_us| replacement("log", None, Place::default(), Move::Rebase(RebaseTo::Start), now_us);
        let (one, other) = (moved(1_764_150_000_000_001), moved(1_764_150_000_000_002));
        assert!(is_moved(&one) && is_moved(&other) && one != other, "{}", one.owner);
    }

    #[test]
    fn another_log_needs_a_rebase() {
        let (ours, other) = (LogId([7; 16]).to_string(), fence(LogId([8; 16]), 21));
        for to in [RewindTo::Start, RewindTo::Behind(21)] {
            let refused = refuse_other_log(Some(&other), &ours, "users", Move::Rewind(to)).unwrap_err();
            assert_eq!(refused.code, "LOG_REPLACED");
            assert_eq!(refuse_other_log(None, &ours, "users", Move::Rewind(to)), Ok(()));
        }
        assert_eq!(refuse_other_log(Some(&other), &ours, "users", Move::Rebase(RebaseTo::Start)), Ok(()));
    }

    #[test]
    fn what_is_going_to_happen_is_said() {
        let ours = LogId([7; 16]);
        let to = |seq| {
            replacement(&ours.to_string(), None, Place { seq, ..Place::default() }, Move::Rebase(RebaseTo::End), 1)
        };
        for (old, new, said) in [
            (Some(fence(ours, 21)), to(0), "written again"),
            (Some(fence(ours, 21)), to(31), "passed over"),
            (Some(fence(LogId([8; 16]), 21)), to(31), "leaves log 0808"),
            (None, to(0), "it had no fence"),
        ] {
            let text = told("users", 0, old.as_ref(), &new);
            assert!(text.contains(said), "{text}");
        }
    }
}
