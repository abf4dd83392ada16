//! The contract's types and functions, generated from `wit/`.

#![allow(missing_docs, unsafe_code, reason = "generated")]

wit_bindgen::generate!({
    path: "../../wit",
    world: "redis-writer",
    pub_export_macro: true,
    export_macro_name: "export_bindings",
    default_bindings_module: "mysync_writer_sdk::bindings",
});
