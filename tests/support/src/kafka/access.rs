//! What users may do.

use anyhow::{Result, ensure};

use super::request::{CREATE_ACLS, DESCRIBE_ACLS, ask, string};
use super::{Kafka, START_TIME};
use crate::waiting::until_blocking;

/// What a right is about. A name stands for everything that begins with it; `*` for everything.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    Cluster,
    Transactions(&'a str),
}

#[derive(Debug, Clone, Copy)]
pub enum Operation {
    All = 2,
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
}

impl Kafka {
    /// Lets a user do this. In force at every node that runs when this returns.
    pub fn allow(&self, user: &str, on: Resource, operation: Operation) -> Result<()> {
        self.set_right(user, on, operation, 3)
    }

    /// Keeps a user from doing this, whatever else is allowed.
    pub fn deny(&self, user: &str, on: Resource, operation: Operation) -> Result<()> {
        self.set_right(user, on, operation, 2)
    }

    fn set_right(&self, user: &str, on: Resource, operation: Operation, kind: u8) -> Result<()> {
        let (resource, name) = match on {
            Resource::Topic(name) => (2, name),
            Resource::Group(name) => (3, name),
            Resource::Cluster => (4, "kafka-cluster"),
            Resource::Transactions(name) => (5, name),
        };
        let literal = name == "*" || matches!(on, Resource::Cluster);
        let mut right = vec![resource];
        right.extend(string(name)?);
        right.push(if literal { 3 } else { 4 });
        right.extend(string(&format!("User:{user}"))?);
        right.extend(string("*")?);
        right.extend([operation as u8, kind]);

        let ports: Vec<u16> = self.running().map(|(_, node)| node.ports.inner).collect();
        let one = [&1_i32.to_be_bytes()[..], &right].concat();
        until_blocking("a right is set", START_TIME, || {
            let answer = ask(ports.first().copied().unwrap_or_default(), CREATE_ACLS, &one)?;
            ensure!(matches!(answer[..], [_, _, _, _, 0, 0, 0, 1, 0, 0, ..]), "refused: {answer:?}");
            Ok(())
        })?;
        until_blocking("a right is in force", START_TIME, || {
            for port in &ports {
                let answer = ask(*port, DESCRIBE_ACLS, &right)?;
                ensure!(matches!(answer[..], [_, _, _, _, 0, 0, _, _, 0, 0, 0, 1, ..]), "not yet: {answer:?}");
            }
            Ok(())
        })
    }
}
