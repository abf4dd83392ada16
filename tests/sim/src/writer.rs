//! A writer in the host: `SET key value` and `DEL key`.

use mysync_change::batch::{Batch, Images, Plan, TableRows, Values};
use mysync_change::operations::RedisCommands;
use mysync_change::rows::Operation;
use mysync_change::schema::TableShape;
use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports::{Mapped, Plugin, Writer};

use crate::Mutant;
use crate::random::Random;

pub struct SimPlugin {
    random: Random,
    mutant: Option<Mutant>,
}

pub struct SimWriter {
    random: Random,
    mutant: Option<Mutant>,
}

impl SimPlugin {
    pub fn new(random: Random, mutant: Option<Mutant>) -> Self {
        Self { random, mutant }
    }
}

impl Plugin for SimPlugin {
    type Instance = SimWriter;

    async fn start(&mut self) -> Result<SimWriter, Failure> {
        self.random.may_fail("starting the writer")?;
        Ok(SimWriter { random: self.random.clone(), mutant: self.mutant })
    }

    fn digest(&self) -> &str {
        "sim"
    }
}

fn read(images: &Images, at: usize) -> (i64, String) {
    let (Values::Signed(keys), Values::Text(values)) = (&images.columns[0].values, &images.columns[1].values) else {
        panic!("columns in the plan's order")
    };
    let from = if at == 0 { 0 } else { values.ends[at - 1] as usize };
    (keys[at], String::from_utf8(values.data[from..values.ends[at] as usize].to_vec()).unwrap())
}

fn map(rows: &TableRows, commands: &mut RedisCommands, mutant: Option<Mutant>) {
    let (mut before, mut after) = (0, 0);
    for (i, number) in rows.numbers.iter().enumerate() {
        let image = |images: &Images, at: &mut usize| {
            let mine = images.rows.get(*at) == Some(&(i as u32));
            mine.then(|| {
                *at += 1;
                read(images, *at - 1)
            })
        };
        let (old, new) = (image(&rows.before, &mut before), image(&rows.after, &mut after));
        let mut put = |arguments: &[&str]| {
            commands.rows.push(*number);
            commands.arguments.push(arguments.len() as u32);
            arguments.iter().for_each(|argument| commands.values.push(argument.as_bytes()));
        };
        match rows.operations[i] {
            Operation::MoveOut if mutant == Some(Mutant::NewHalfFromOldKey) => {
                put(&["DEL", &old.unwrap().0.to_string()]);
                let (key, value) = new.unwrap();
                put(&["SET", &key.to_string(), &value]);
            }
            Operation::Delete | Operation::MoveOut => put(&["DEL", &old.unwrap().0.to_string()]),
            _ => {
                let (key, value) = new.unwrap();
                put(&["SET", &key.to_string(), &value]);
            }
        }
    }
}

impl Writer for SimWriter {
    async fn define(&mut self, _id: u32, _shape: &TableShape) -> Result<Plan, Failure> {
        Ok(Plan { columns: vec![0, 1], ..Plan::default() })
    }

    async fn write(&mut self, batch: Batch) -> Result<Mapped, Failure> {
        self.random.may_fail("mapping a batch")?;
        let mut mapped = Mapped::default();
        batch.tables.iter().for_each(|rows| map(rows, &mut mapped.commands, self.mutant));
        Ok(mapped)
    }
}
