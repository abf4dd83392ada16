//! Records that Kafka has deleted before a writer read them.

use anyhow::{Context, Result, ensure};
use mysync_e2e_tests::{Machine, World, clusters, dumps, shop};
use mysync_test_support::{Kafka, Mysync};

use crate::scene::{end, options, run, start, wait_equal, wait_in_log, wait_stopped, wait_through};

const WRITERS: [&str; 3] = ["users-cache", "orders-cache", "bulk-cache"];

/// Deletes what is in the topic now.
async fn delete_all(kafka: &Kafka, topic: &str) -> Result<()> {
    for (partition, end) in (0..).zip(kafka.committed_ends(topic).await?) {
        kafka.delete_records(topic, partition, end).await?;
    }
    Ok(())
}

/// The way on that the writers were told.
async fn make_up_for_it(world: &World, capture: &Mysync, deliver: Mysync, machine: &Machine) -> Result<Mysync> {
    for writer in WRITERS {
        let said = wait_stopped(&deliver, writer, "LOG_TRIMMED", 2).await?;
        let [rebase, dump] =
            [format!("mysync writer rebase {writer} --to start"), format!("mysync dump --writer {writer}")];
        ensure!(said.contains(&format!("'{rebase}'")) && said.contains(&format!("'{dump}'")), "{said}");
    }
    let status = deliver.terminate().await?;
    ensure!(status.code().is_some(), "it ended with {status}");
    for writer in WRITERS {
        print!("{}", world.command_well(&["writer", "rebase", writer, "--to", "start"])?);
    }
    let deliver = start(world, machine.dir(), "deliver").await?;
    for writer in WRITERS {
        let number = dumps::order(world, &["--writer", writer])?;
        dumps::wait(capture, number, "done").await?;
    }
    wait_through(world).await?;
    Ok(deliver)
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_went_before_a_writer_came_back_are_made_up_for_by_a_dump() -> Result<()> {
    let test = "records_that_went_before_a_writer_came_back_are_made_up_for_by_a_dump";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, options(&kafka, test, "partitions = 2")).await? else { return Ok(()) };
    let capture = run(&world, "capture").await?;
    let machine = Machine::new(&world)?;
    let deliver = start(&world, machine.dir(), "deliver").await?;
    shop::fill(&world.mysql, &[("users", 200), ("orders", 200), ("bulk", 500)]).await?;
    wait_equal(&world).await?;
    end(deliver).await?;

    // Something is left behind what is gone.
    world.mysql.exec("UPDATE shop.bulk SET k = 100; UPDATE shop.orders SET note = 'gone'").await?;
    world.mysql.exec("UPDATE shop.users SET score = 100").await?;
    wait_in_log(&world, &kafka, test).await?;
    delete_all(&kafka, test).await?;
    world.mysql.exec("UPDATE shop.bulk SET c = 'left' WHERE id % 2 = 0; UPDATE shop.users SET name = 'left'").await?;
    wait_in_log(&world, &kafka, test).await?;
    let deliver = world.spawn_half(machine.dir(), "deliver")?;
    let checked = world.command(&["check"])?;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    ensure!(checked.status.code() == Some(1) && said.contains("LOG_TRIMMED"), "{said}");
    let deliver = make_up_for_it(&world, &capture, deliver, &machine).await?;
    println!("{} entries, something was left", wait_equal(&world).await?);
    end(deliver).await?;

    // Nothing is left.
    world.mysql.exec("UPDATE shop.bulk SET k = 200; UPDATE shop.orders SET note = 'all gone'").await?;
    world.mysql.exec("UPDATE shop.users SET score = 200").await?;
    wait_in_log(&world, &kafka, test).await?;
    delete_all(&kafka, test).await?;
    let deliver = world.spawn_half(machine.dir(), "deliver")?;
    let deliver = make_up_for_it(&world, &capture, deliver, &machine).await?;
    println!("{} entries, nothing was left", wait_equal(&world).await?);
    end(deliver).await?;
    end(capture).await
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_go_while_a_writer_stands_still_are_told_of() -> Result<()> {
    let test = "records_that_go_while_a_writer_stands_still_are_told_of";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, options(&kafka, test, "partitions = 2")).await? else { return Ok(()) };
    let capture = run(&world, "capture").await?;
    let machine = Machine::new(&world)?;
    let deliver = start(&world, machine.dir(), "deliver").await?;
    shop::fill(&world.mysql, &[("users", 200), ("orders", 200), ("bulk", 500)]).await?;
    wait_equal(&world).await?;
    // A machine that is frozen for less than its groups give it.
    deliver.pause()?;
    world.mysql.exec("UPDATE shop.bulk SET k = 100; UPDATE shop.orders SET note = 'gone'").await?;
    world.mysql.exec("UPDATE shop.users SET score = 100").await?;
    wait_in_log(&world, &kafka, test).await?;
    delete_all(&kafka, test).await?;
    world.mysql.exec("UPDATE shop.users SET name = 'left' WHERE id % 2 = 0").await?;
    wait_in_log(&world, &kafka, test).await?;
    deliver.go_on()?;
    let deliver = make_up_for_it(&world, &capture, deliver, &machine).await?;
    println!("{} entries", wait_equal(&world).await?);
    end(deliver).await?;
    end(capture).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_writer_is_told_that_the_log_has_lost_its_beginning() -> Result<()> {
    let test = "a_new_writer_is_told_that_the_log_has_lost_its_beginning";
    let Some(kafka) = clusters::shared(test)? else { return Ok(()) };
    let Some(world) = World::start(test, options(&kafka, test, "partitions = 2")).await? else { return Ok(()) };
    let capture = run(&world, "capture").await?;
    shop::fill(&world.mysql, &[("users", 200), ("orders", 200), ("bulk", 500)]).await?;
    wait_in_log(&world, &kafka, test).await?;
    delete_all(&kafka, test).await?;
    wait_in_log(&world, &kafka, test).await?;
    let machine = Machine::new(&world)?;
    let deliver = world.spawn_half(machine.dir(), "deliver")?;
    for writer in WRITERS {
        let said = wait_stopped(&deliver, writer, "LOG_INCOMPLETE", 2).await?;
        ensure!(said.contains("dump = \"initial\""), "{said}");
    }
    let keys: Vec<String> = world.redis.ask(&["KEYS", "*:*"])?;
    ensure!(keys.iter().all(|key| key.starts_with("mysync:")), "something was written: {keys:?}");
    let status = deliver.terminate().await?;
    ensure!(status.code().is_some(), "it ended with {status}");
    for (writer, text) in shop::without_dumps() {
        let text = text.replace("dump = \"never\"\n", "");
        std::fs::write(machine.dir().join("plugins/shop-team").join(format!("{writer}.toml")), text)?;
    }
    let deliver = start(&world, machine.dir(), "deliver").await?;
    wait_through(&world).await.context("with dump = \"initial\"")?;
    println!("{} entries", wait_equal(&world).await?);
    end(deliver).await?;
    end(capture).await
}
