//! Writers made of the guests, all in one engine as in the program.

use std::sync::OnceLock;

use mysync_change::operations::RedisCommands;
use mysync_change::pattern::Pattern;
use mysync_wasm::{Engine, EngineSettings, Grant, Limits, Plugin, PluginSettings};

use crate::components;

pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(&EngineSettings::default()).expect("an engine"))
}

/// The keys that guests are granted.
pub fn grant() -> Grant {
    Grant::new(vec![Pattern::new("user:*"), Pattern::new("users")], None)
}

/// A guest with what its mapping tells it to do, and default limits.
pub fn settings(guest: &str, mapping: &str) -> PluginSettings {
    PluginSettings {
        name: guest.to_owned(),
        component: components::guest(guest),
        mapping: mapping.to_owned(),
        grant: grant(),
        limits: Limits::default(),
        partitions: 1,
    }
}

/// The redis-writer with these `[[map]]` tables, granted every key.
pub fn redis_writer(mapping: &str) -> PluginSettings {
    PluginSettings {
        name: "redis-writer".to_owned(),
        component: components::plugin("redis-writer"),
        mapping: mapping.to_owned(),
        grant: Grant::new(vec![Pattern::new("*")], None),
        limits: Limits::default(),
        partitions: 1,
    }
}

pub async fn load(settings: PluginSettings) -> Plugin {
    Plugin::load(engine(), settings).await.expect("a component that can be loaded")
}

/// Commands as lines: row, name, arguments.
pub fn shown(commands: &RedisCommands) -> Vec<String> {
    let (mut at, mut start) = (0, 0);
    let each = commands.rows.iter().zip(&commands.arguments).map(|(row, count)| {
        let mut line = row.to_string();
        for _ in 0..*count {
            let end = commands.values.ends[at] as usize;
            line += &format!(" {}", String::from_utf8_lossy(&commands.values.data[start..end]));
            (at, start) = (at + 1, end);
        }
        line
    });
    each.collect()
}
