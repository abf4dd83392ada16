//! Kafka for tests: one node that tests share as long as any of them runs, and clusters of their own for those that hurt it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::Result;
use mysync_test_support::{Kafka, KafkaPlan, skip};

/// One that is installed; otherwise the test is skipped, which is said.
pub fn installed(test: &str) -> bool {
    let installed = Kafka::home().is_some();
    if !installed {
        skip(test, "MYSYNC_KAFKA_HOME names no Kafka");
    }
    installed
}

/// One node, that nobody may hurt.
pub fn shared(test: &str) -> Result<Option<Arc<Kafka>>> {
    static SHARED: Mutex<Weak<Kafka>> = Mutex::new(Weak::new());
    if !installed(test) {
        return Ok(None);
    }
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kafka) = shared.upgrade() {
        return Ok(Some(kafka));
    }
    let kafka = Arc::new(Kafka::start(1, &[])?);
    *shared = Arc::downgrade(&kafka);
    Ok(Some(kafka))
}

/// A cluster of the test's own.
pub fn own(test: &str, plan: KafkaPlan) -> Result<Option<Kafka>> {
    if installed(test) { Ok(Some(plan.start()?)) } else { Ok(None) }
}
