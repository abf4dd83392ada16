#![doc = include_str!("../README.md")]

mod mapping;

pub use mapping::RedisWriter;

mysync_writer_sdk::export!(RedisWriter);
