//! A writer that can be started: component, mapping, grant and limits.

use std::path::PathBuf;
use std::sync::Arc;

use mysync_pipeline::failure::Failure;
use mysync_pipeline::ports;
use sha2::{Digest, Sha256};

use crate::component::{Component, hex};
use crate::engine::Engine;
use crate::error::WasmError;
use crate::grant::Grant;
use crate::instance::Instance;
use crate::limits::Limits;

/// What an operator says of a writer.
#[derive(Debug, Clone)]
pub struct PluginSettings {
    /// Its name, in errors and log lines.
    pub name: String,
    /// A component, or a core module made for one.
    pub component: PathBuf,
    /// The text of its TOML file.
    pub mapping: String,
    pub grant: Grant,
    pub limits: Limits,
    /// Partitions of the log it reads from.
    pub partitions: u32,
}

/// What all instances of a writer have in common.
pub(crate) struct Terms {
    pub name: Arc<str>,
    pub component: Component,
    pub mapping: String,
    pub grant: Grant,
    pub limits: Limits,
    pub partitions: u32,
}

/// A loaded writer. Clones start instances of the same one.
#[derive(Clone)]
pub struct Plugin {
    terms: Arc<Terms>,
    digest: String,
}

impl Plugin {
    /// Loads the component. Its mapping is not looked at before `start`.
    pub async fn load(engine: &Engine, settings: PluginSettings) -> Result<Self, WasmError> {
        let PluginSettings { name, component, mapping, grant, mut limits, partitions } = settings;
        let component = Component::load(engine, &component).await?;
        // Places in collected commands have 32 bits.
        limits.output_bytes = limits.output_bytes.min(u32::MAX as usize);
        let digest = Sha256::new().chain_update(component.sha256()).chain_update(&mapping).finalize();
        let terms = Terms { name: name.into(), component, mapping, grant, limits, partitions };
        Ok(Self { terms: Arc::new(terms), digest: hex(&digest) })
    }

    /// Starts and configures an instance.
    pub async fn start(&self) -> Result<Instance, WasmError> {
        Instance::start(self.terms.clone()).await
    }
}

impl ports::Plugin for Plugin {
    type Instance = Instance;

    async fn start(&mut self) -> Result<Instance, Failure> {
        Ok(Plugin::start(self).await?)
    }

    fn digest(&self) -> &str {
        &self.digest
    }
}
