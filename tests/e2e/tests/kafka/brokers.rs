//! Three brokers, of which one at a time is away, slow, silent, or cut off; and lines to them that say everything twice.

use std::time::Duration;

use anyhow::{Error, Result};
use mysync_e2e_tests::chance::{kills, moment};
use mysync_e2e_tests::load::Load;
use mysync_e2e_tests::told::{capture, wait_rows};
use mysync_e2e_tests::witness::Witness;
use mysync_e2e_tests::{World, clusters};
use mysync_test_support::{Kafka, KafkaPlan, Random};

use crate::crew::{Worker, in_partitions, leader, wait_through, well_in_partitions};

/// Two that capture and two that deliver, on a log of three partitions with three copies each.
struct Crew {
    world: World,
    captures: Vec<Worker>,
    delivers: Vec<Worker>,
    load: Load,
    witness: Witness,
}

impl Crew {
    async fn start(test: &str, kafka: &Kafka, random: &mut Random) -> Result<Option<Self>> {
        let Some(world) = World::start(test, in_partitions(kafka, test)).await? else { return Ok(None) };
        let mut captures = vec![Worker::start(&world, "capture").await?, Worker::new(&world, "capture")?];
        captures[1].restart(&world)?;
        let mut delivers = vec![Worker::new(&world, "deliver")?, Worker::new(&world, "deliver")?];
        delivers.iter_mut().try_for_each(|worker| worker.restart(&world))?;
        wait_through(&world).await?;
        let load = Load::start(&world.mysql, random, &[]);
        let witness = Witness::start(&world.redis, false);
        Ok(Some(Self { world, captures, delivers, load, witness }))
    }

    /// Nobody has given up, and more goes into the log and out of it.
    async fn go_on(&mut self) -> Result<Duration> {
        for worker in self.captures.iter_mut().chain(&mut self.delivers) {
            worker.check()?;
        }
        let through = wait_through(&self.world).await?;
        let leads = leader(&self.captures).await?;
        wait_rows(|| capture(self.captures[leads].process()?), 50).await?;
        Ok(through)
    }

    async fn end(mut self, kafka: &Kafka) -> Result<()> {
        let committed = self.load.stop().await?;
        println!("{}", well_in_partitions(&self.world, kafka).await?);
        println!("{committed} transactions, {} steps seen", self.witness.stop()?);
        for worker in self.captures.iter_mut().chain(&mut self.delivers) {
            worker.end().await?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_three_brokers_is_killed_and_comes_back() -> Result<()> {
    let test = "each_of_three_brokers_is_killed_and_comes_back";
    let Some(mut kafka) = clusters::own(test, KafkaPlan::new(3))? else { return Ok(()) };
    let mut random = Random::from_env();
    let Some(mut crew) = Crew::start(test, &kafka, &mut random).await? else { return Ok(()) };
    let first = kafka.controller()?;
    // From the one that leads the others on.
    for id in (first..=3).chain(1..first) {
        let role = if kafka.controller()? == id { "the controller" } else { "a broker" };
        kafka.kill(id)?;
        let through = crew.go_on().await?;
        tokio::time::sleep(moment(&mut random, Duration::from_secs(2))).await;
        kafka.restart(id)?;
        let back = crew.go_on().await?;
        println!(
            "{role} is away: a change went through {:.1} s after it was killed, and {:.1} s after it was back",
            through.as_secs_f64(),
            back.as_secs_f64()
        );
    }
    crew.end(&kafka).await
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_to_brokers_are_slow_silent_and_cut() -> Result<()> {
    let test = "lines_to_brokers_are_slow_silent_and_cut";
    let Some(kafka) = clusters::own(test, KafkaPlan::new(3).proxied())? else { return Ok(()) };
    let mut random = Random::from_env();
    let Some(mut crew) = Crew::start(test, &kafka, &mut random).await? else { return Ok(()) };
    for id in kafka.ids() {
        let proxy = kafka.proxy(id)?;
        proxy.delay(Duration::from_millis(100));
        let slow = crew.go_on().await?;
        proxy.restore();
        for _ in 0..5 {
            proxy.cut_after(random.below(100_000) as usize);
            tokio::time::sleep(moment(&mut random, Duration::from_millis(400))).await;
            proxy.cut();
        }
        let cut = crew.go_on().await?;
        proxy.hold();
        tokio::time::sleep(moment(&mut random, Duration::from_secs(4))).await;
        proxy.restore();
        let silent = crew.go_on().await?;
        proxy.refuse();
        tokio::time::sleep(moment(&mut random, Duration::from_secs(4))).await;
        proxy.restore();
        let refused = crew.go_on().await?;
        let [slow, cut, silent, refused] = [slow, cut, silent, refused].map(|time| time.as_secs_f64());
        println!(
            "broker {id}: a change goes through in {slow:.1} s while it is slow, {cut:.1} s after cuts, {silent:.1} s after silence, \
             {refused:.1} s after it was cut off"
        );
    }
    crew.end(&kafka).await
}

/// From their first byte on: whoever takes over the log's transactions does so twice, and is fenced by itself when the copy is late.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_to_brokers_arrives_twice() -> Result<()> {
    let test = "whatever_is_sent_to_brokers_arrives_twice";
    let Some(kafka) = clusters::own(test, KafkaPlan::new(3).proxied())? else { return Ok(()) };
    let mut random = Random::from_env();
    let Some(mut crew) = Crew::start(test, &kafka, &mut random).await? else { return Ok(()) };
    for turn in 0..kills(2) {
        let later = if turn % 2 == 0 { Duration::ZERO } else { moment(&mut random, Duration::from_secs(1)) };
        kafka.ids().try_for_each(|id| Ok::<_, Error>(kafka.proxy(id)?.duplicate(later)))?;
        // Others take over, and new ones join.
        let leads = leader(&crew.captures).await?;
        crew.captures[leads].restart(&crew.world)?;
        crew.delivers[0].restart(&crew.world)?;
        tokio::time::sleep(Duration::from_secs(8) + moment(&mut random, Duration::from_secs(4))).await;
        let log = kafka.offsets(test).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let more: i64 = kafka.offsets(test).await?.iter().zip(log).map(|((_, now), (_, then))| now - then).sum();
        for id in kafka.ids() {
            kafka.proxy(id)?.restore();
            kafka.proxy(id)?.cut();
        }
        // Who has not come to its start yet does not start on lines that are cut.
        crew.captures[leads].restart(&crew.world)?;
        crew.delivers[0].restart(&crew.world)?;
        let through = crew.go_on().await?;
        println!(
            "twice, {} ms later: {more} offsets in 2 s; a change went through {:.1} s after everything was said once",
            later.as_millis(),
            through.as_secs_f64()
        );
    }
    crew.end(&kafka).await
}

/// What was on its way to the brokers when connections were cut is said again over others, and arrives after all in the middle of what came
/// later: the end of a transaction, too.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_on_its_way_when_lines_were_cut_arrives_late() -> Result<()> {
    let test = "what_was_on_its_way_when_lines_were_cut_arrives_late";
    let Some(kafka) = clusters::own(test, KafkaPlan::new(3).proxied())? else { return Ok(()) };
    let mut random = Random::from_env();
    let Some(mut crew) = Crew::start(test, &kafka, &mut random).await? else { return Ok(()) };
    for turn in 1..=kills(6) {
        kafka.ids().try_for_each(|id| Ok::<_, Error>(kafka.proxy(id)?.hold()))?;
        tokio::time::sleep(moment(&mut random, Duration::from_millis(800))).await;
        kafka.ids().try_for_each(|id| Ok::<_, Error>(kafka.proxy(id)?.strand()))?;
        let cut = crew.go_on().await?.as_secs_f64();
        kafka.ids().try_for_each(|id| Ok::<_, Error>(kafka.proxy(id)?.arrive_late()))?;
        let late = crew.go_on().await?.as_secs_f64();
        println!("turn {turn}: a change went through {cut:.1} s after the cut, and {late:.1} s after what was late");
    }
    crew.end(&kafka).await
}

/// Nobody can reach any broker for a while; the machines that run the program are well.
#[tokio::test(flavor = "multi_thread")]
async fn all_brokers_are_away_for_a_while() -> Result<()> {
    let test = "all_brokers_are_away_for_a_while";
    let Some(mut kafka) = clusters::own(test, KafkaPlan::new(1))? else { return Ok(()) };
    let mut random = Random::from_env();
    let Some(mut crew) = Crew::start(test, &kafka, &mut random).await? else { return Ok(()) };
    for _ in 0..kills(1) {
        kafka.kill(1)?;
        tokio::time::sleep(moment(&mut random, Duration::from_secs(10))).await;
        kafka.restart(1)?;
        println!("a change went through {:.1} s after Kafka was back", crew.go_on().await?.as_secs_f64());
    }
    crew.end(&kafka).await
}
